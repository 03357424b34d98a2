# + H&E colors brought to one standard, in training and in testing.
_base_ = './mask_rcnn_aug.py'

_load_image = [*_base_._load_image, dict(type='NormalizeStain')]
train_pipeline = [*_load_image, *_base_._load_cells, *_base_._train_size, *_base_._augment, *_base_._train_pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_pipeline = [*_load_image, *_base_._test_size, *_base_._test_pack]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
