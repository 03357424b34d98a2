# + training on crops seen at one to two times their size, testing on tiles at one and a half.
_base_ = './mask_rcnn_aug.py'

_train_size = [dict(type='RandomZoomCrop', size=_base_._crop_size, zoom=(1.0, 2.0))]
train_pipeline = [*_base_._load_image, *_base_._load_cells, *_train_size, *_base_._augment, *_base_._train_pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(_delete_=True, type='TiledDetector', detector=_base_.model, tile=512, overlap=128, scale=1.5)
_test_size = []  # the tiles are enlarged
test_pipeline = [*_base_._load_image, *_test_size, *_base_._test_pack]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
