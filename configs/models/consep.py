# The model `consep`, docs/models/consep.md: EfficientNet-Lite2 with ImageNet weights and what helps dense cells, as in
# cell/mask_rcnn_strong.py, trained on all annotated images with one GPU.
_base_ = '../small/mask_rcnn_aug_lite.py'

_channels = 128  # of the FPN and of the heads
_crop_size = 512

# Cells at about twice their size, a quarter of the crops around a cell of a class that is drawn evenly; in all
# orientations and slightly other stains.
_train_size = [dict(type='RandomZoomCrop', size=_crop_size, zoom=(1.5, 2.5), rare_prob=0.25)]
_augment = [*_base_._augment, dict(type='RandomQuarterTurn'), dict(type='RandomHEDJitter', sigma=0.05)]
train_pipeline = [*_base_._load_image, *_base_._load_cells, *_train_size, *_augment, *_base_._train_pack]
train_dataloader = dict(
    batch_size=8, num_workers=7, dataset=dict(ann_file='annotations/trainval.json', pipeline=train_pipeline)
)
# 1,260 steps on 105 images. No image is left to validate on; --fold leaves some out.
train_cfg = dict(max_epochs=90, val_begin=91)
optim_wrapper = dict(dtype='bfloat16', optimizer=dict(lr=1.5e-3, weight_decay=0.05), clip_grad=dict(max_norm=10))
param_scheduler = dict(warmup_ratio=0.1)
auto_scale_lr = dict(base_batch_size=8)
custom_hooks = [dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.001, gamma=10, update_buffers=True)]

# Anchors from 16 px, one box and one outline for all classes, and proposals for hundreds of cells.
_rpn_head, _roi_head = _base_.model.rpn_head, _base_.model.roi_head
_train, _test = _base_.model.train_cfg, _base_.model.test_cfg
_detector = dict(
    _base_.model,
    backbone=dict(
        _base_.model.backbone,
        name='tf_efficientnet_lite2',
        init_cfg=dict(type='Pretrained', checkpoint='data/weights/tf_efficientnet_lite2.pth'),
    ),
    neck=dict(_base_.model.neck, in_channels=[24, 48, 120, 352], out_channels=_channels),
    rpn_head=dict(
        _rpn_head,
        in_channels=_channels,
        feat_channels=_channels,
        anchor_generator=dict(_rpn_head.anchor_generator, scales=[4]),
    ),
    roi_head=dict(
        _roi_head,
        bbox_roi_extractor=dict(_roi_head.bbox_roi_extractor, out_channels=_channels),
        bbox_head=dict(_roi_head.bbox_head, in_channels=_channels, reg_class_agnostic=True),
        mask_roi_extractor=dict(_roi_head.mask_roi_extractor, out_channels=_channels),
        mask_head=dict(
            _roi_head.mask_head, num_convs=4, in_channels=_channels, conv_out_channels=_channels, class_agnostic=True
        ),
    ),
    train_cfg=dict(
        rpn=dict(_train.rpn, sampler=dict(_train.rpn.sampler, num=1024)),
        rpn_proposal=dict(_train.rpn_proposal, nms_pre=1000, max_per_img=1500),
        rcnn=dict(_train.rcnn, sampler=dict(_train.rcnn.sampler, num=512, pos_fraction=0.5)),
    ),
    test_cfg=dict(
        rpn=dict(_test.rpn, nms_pre=4000, max_per_img=4000, nms=dict(_test.rpn.nms, iou_threshold=0.8)),
        rcnn=dict(_test.rcnn, nms=dict(_test.rcnn.nms, iou_threshold=0.4)),
    ),
)
# Predicted in tiles of twice their size, each also mirrored; this and the thresholds of both NMS did best on a fold
# (docs/results.md).
_views = dict(type='CellTTA', detector=_detector, turns=(0,))
model = dict(_delete_=True, type='TiledDetector', detector=_views, tile=512, overlap=128, scale=2.0)
_test_size = []  # the tiles are enlarged
test_pipeline = [*_base_._load_image, *_test_size, *_base_._test_pack]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
