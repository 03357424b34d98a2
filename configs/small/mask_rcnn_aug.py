# Experiment 2 at a size that learns CoNSeP on two CPU cores: ResNet-18 and a narrow FPN from scratch, crops of 256 px.
_base_ = '../cell/mask_rcnn_aug.py'

_channels = 64  # of the FPN and of the heads; Mask R-CNN has 256
_crop_size = 256
_rare_classes = [0]  # 2 % of CoNSeP's cells

model = dict(
    backbone=dict(
        depth=18,
        # From scratch: nothing to freeze, and batch norm has to learn its statistics.
        frozen_stages=-1,
        norm_cfg=dict(requires_grad=True),
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=_channels),
    rpn_head=dict(in_channels=_channels, feat_channels=_channels),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=_channels),
        bbox_head=dict(in_channels=_channels, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=_channels),
        mask_head=dict(num_convs=2, in_channels=_channels, conv_out_channels=_channels),
    ),
    # A crop is a sixteenth of the image that Mask R-CNN samples 512 boxes of; cells are dense, so it takes a quarter.
    train_cfg=dict(rcnn=dict(sampler=dict(num=128))),
)

_train_size = [
    dict(type='RandomCrop', crop_size=(_crop_size, _crop_size), recompute_bbox=True, allow_negative_crop=True),
    # A cell of which nothing is left leaves with its label and box.
    dict(type='FilterAnnotations', by_box=False, by_mask=True, keep_empty=False),
]
train_pipeline = [*_base_._load_image, *_base_._load_cells, *_train_size, *_base_._augment, *_base_._train_pack]
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(pipeline=train_pipeline))
_test_size = []  # images are seen as they are
test_pipeline = [*_base_._load_image, *_test_size, *_base_._test_pack]
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))

# Tested once, when it is trained.
train_cfg = dict(max_epochs=11, val_begin=12)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(logger=dict(interval=21))
