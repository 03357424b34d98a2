# The tiny sibling of configs/cell/mask_rcnn_aug.py: from scratch on synthetic tissue, in five minutes on two CPU cores.
_base_ = '../cell/mask_rcnn_aug.py'

_width = 32  # channels of the first stage; ResNet has 64
_channels = 64  # channels of the FPN and of the heads; Mask R-CNN has 256

model = dict(
    backbone=dict(
        depth=18,
        base_channels=_width,
        # From scratch: nothing to freeze, and batch norm has to learn its statistics.
        frozen_stages=-1,
        norm_cfg=dict(requires_grad=True),
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[_width, 2 * _width, 4 * _width, 8 * _width], out_channels=_channels, num_outs=4),
    # Cells are 12 to 45 px wide: three levels of anchors, from 16 px.
    rpn_head=dict(
        in_channels=_channels, feat_channels=_channels, anchor_generator=dict(scales=[4], strides=[4, 8, 16, 32])
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=_channels, featmap_strides=[4, 8, 16]),
        bbox_head=dict(in_channels=_channels, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=_channels, featmap_strides=[4, 8, 16]),
        mask_head=dict(num_convs=2, in_channels=_channels, conv_out_channels=_channels),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=200), rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)

# The images are 256x256 and stay so.
_train_size = []
_test_size = [dict(type='LimitLongEdge', max_size=1024)]
train_pipeline = [*_base_._load_image, *_base_._load_cells, *_train_size, *_base_._augment, *_base_._train_pack]
test_pipeline = [*_base_._load_image, *_test_size, *_base_._test_pack]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=36, val_interval=9)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(logger=dict(interval=8))
