# + up to five cells of rare classes pasted from another image (Ghiasi et al., CVPR 2021).
_base_ = './mask_rcnn_aug.py'

_paste = [dict(type='CopyPasteCells', classes=_base_._rare_classes, max_cells=5, prob=0.5)]
_single = [*_base_._load_image, *_base_._load_cells, *_base_._train_size]
train_pipeline = [*_paste, *_base_._augment, *_base_._train_pack]  # augments both together
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=dict(_base_.train_dataloader.dataset, pipeline=_single),
        pipeline=train_pipeline,
    )
)
