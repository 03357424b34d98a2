# The model `nuclei`, docs/models/nuclei.md: `consep` trained on with nuclei of one class, in steps that a CPU can take.
_base_ = './consep.py'

load_from = 'consep'
_crop_size = 256
_train_size = [dict(type='RandomZoomCrop', size=_crop_size, zoom=(1.0, 2.0))]
train_pipeline = [*_base_._load_image, *_base_._load_cells, *_train_size, *_base_._augment, *_base_._train_pack]
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs=20, val_begin=21)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = dict(warmup_ratio=0.25)
auto_scale_lr = dict(base_batch_size=2)

# A crop holds a quarter of the cells of one of `consep`.
_detector = dict(
    roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)),
    train_cfg=dict(rpn=dict(sampler=dict(num=512)), rcnn=dict(sampler=dict(num=256))),
)
model = dict(scale=1.5, detector=dict(detector=_detector))
