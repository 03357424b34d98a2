# Tiles, each predicted from its eight orientations.
_base_ = './mask_rcnn_aug_tiled.py'

model = dict(detector=dict(_delete_=True, type='CellTTA', detector=_base_.model.detector))
