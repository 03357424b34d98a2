# Tiles, each predicted from its eight orientations, at three scales whose results are fused.
_base_ = './mask_rcnn_aug_tiled_tta.py'

# For an ensemble of folds: detectors=[_base_.model] * 3, checkpoints=[None, 'fold1.pth', 'fold2.pth'].
_scales = (1.5, 2.0, 2.5)
model = dict(_delete_=True, type='EnsembleDetector', detectors=[dict(_base_.model, scale=scale) for scale in _scales])
