# + training on crops seen at one to two times their size, testing on tiles at one and a half.
_base_ = '{{$MMCELL_BASE:./mask_rcnn_aug.py}}'

_sizes = ('LimitLongEdge', 'ChainedResize', 'RandomCrop', 'FilterAnnotations')  # what the crop replaces
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='RandomZoomCrop', size=_base_._crop_size, zoom=(1.0, 2.0)),
    *[step for step in _base_.train_pipeline[2:] if step['type'] not in _sizes],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(_delete_=True, type='TiledDetector', detector=_base_.model, tile=512, overlap=128, scale=1.5)
test_pipeline = [step for step in _base_.test_pipeline if step['type'] not in _sizes]  # the tiles are enlarged
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
