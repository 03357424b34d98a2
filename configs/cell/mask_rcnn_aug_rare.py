# + crops of which every other one is cut around a cell of a class that is drawn first, each class as likely.
_base_ = '{{$MMCELL_BASE:./mask_rcnn_aug.py}}'

_sizes = ('LimitLongEdge', 'ChainedResize', 'RandomCrop', 'FilterAnnotations')  # what the crop replaces
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='RandomZoomCrop', size=_base_._crop_size, zoom=(1.0, 1.0), rare_prob=0.5),
    *[step for step in _base_.train_pipeline[2:] if step['type'] not in _sizes],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_pipeline = [step for step in _base_.test_pipeline if step['type'] not in _sizes]  # crops are not resized either
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
