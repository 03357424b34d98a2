# Experiment 2, predicted in half-overlapping tiles of the image as it is, each seen at twice its size.
_base_ = '{{$MMCELL_BASE:./mask_rcnn_aug.py}}'

model = dict(_delete_=True, type='TiledDetector', detector=_base_.model, tile=512, overlap=256, scale=2.0)

# The tiles are enlarged, not the image.
_test_pipeline = [step for step in _base_.test_pipeline if step['type'] not in ('LimitLongEdge', 'ChainedResize')]
val_dataloader = dict(dataset=dict(pipeline=_test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=_test_pipeline))
