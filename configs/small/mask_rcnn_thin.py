# Experiment 1 at a size that learns CoNSeP on two CPU cores, with a pretrained ResNet: a ResNet-50 with half the
# filters (tools/fetch_weights.py resnet50_thin), a narrow FPN, crops of 256 px. --base puts experiments over it.
_base_ = '../cell/mask_rcnn.py'

_channels = 64  # of the FPN and of the heads; Mask R-CNN has 256
_crop_size = 256
_rare_classes = [0]  # 2 % of CoNSeP's cells

model = dict(
    # What Caffe's models of ImageNet see: blue, green, red, without the mean.
    data_preprocessor=dict(mean=[104.0, 117.0, 123.0], std=[1.0, 1.0, 1.0], bgr_to_rgb=False),
    backbone=dict(
        base_channels=32,
        stem_channels=64,
        style='caffe',
        init_cfg=dict(type='Pretrained', checkpoint='data/weights/resnet50_thin.pth'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024], out_channels=_channels),
    rpn_head=dict(in_channels=_channels, feat_channels=_channels),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=_channels),
        bbox_head=dict(in_channels=_channels, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=_channels),
        mask_head=dict(num_convs=2, in_channels=_channels, conv_out_channels=_channels),
    ),
    train_cfg=dict(
        # A crop of 256 px holds some fifty cells; to suppress 2000 proposals a level takes a third of a step on a CPU.
        rpn_proposal=dict(nms_pre=500, max_per_img=500),
        # A crop is a sixteenth of the image that Mask R-CNN samples 512 boxes of; cells are dense: it takes a quarter.
        rcnn=dict(sampler=dict(num=128)),
    ),
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
train_cfg = dict(max_epochs=14, val_begin=15)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
auto_scale_lr = dict(base_batch_size=2)
default_hooks = dict(logger=dict(interval=21))
