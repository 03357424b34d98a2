# + stain jitter: hematoxylin, eosin and residual vary as between laboratories.
_base_ = './mask_rcnn_aug.py'

_augment = [*_base_._augment, dict(type='RandomHEDJitter', sigma=0.05)]
train_pipeline = [*_base_._load_image, *_base_._load_cells, *_base_._train_size, *_augment, *_base_._train_pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
