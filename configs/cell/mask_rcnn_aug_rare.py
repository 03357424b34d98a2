# + crops of which every other one is cut around a cell of a class that is drawn first, each class as likely.
_base_ = './mask_rcnn_aug.py'

_train_size = [dict(type='RandomZoomCrop', size=_base_._crop_size, zoom=(1.0, 1.0), rare_prob=0.5)]
train_pipeline = [*_base_._load_image, *_base_._load_cells, *_train_size, *_base_._augment, *_base_._train_pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
_test_size = []  # crops are not resized either
test_pipeline = [*_base_._load_image, *_test_size, *_base_._test_pack]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
