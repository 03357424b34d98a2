# + up to five cells of rare classes pasted from another image (Ghiasi et al., CVPR 2021).
_base_ = '{{$MMCELL_BASE:./mask_rcnn_aug.py}}'

_flip = [step['type'] for step in _base_.train_pipeline].index('RandomFlip')  # what follows is done to both together
train_pipeline = [
    dict(type='CopyPasteCells', classes=_base_._rare_classes, max_cells=5, prob=0.5),
    *_base_.train_pipeline[_flip:],
]
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=dict(_base_.train_dataloader.dataset, pipeline=_base_.train_pipeline[:_flip]),
        pipeline=train_pipeline,
    )
)
