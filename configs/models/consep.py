# The model `consep`, docs/models/consep.md: EfficientNet-Lite0 with ImageNet weights and what helps dense cells, as in
# cell/mask_rcnn_strong.py, trained on all annotated images.
_base_ = '../small/mask_rcnn_aug_lite.py'

# Crops at one to two times their size, a quarter of them around a cell of a class that is drawn evenly; in all
# orientations and slightly other stains.
_train_size = [dict(type='RandomZoomCrop', size=_base_._crop_size, zoom=(1.0, 2.0), rare_prob=0.25)]
_augment = [*_base_._augment, dict(type='RandomQuarterTurn'), dict(type='RandomHEDJitter', sigma=0.05)]
train_pipeline = [*_base_._load_image, *_base_._load_cells, *_train_size, *_augment, *_base_._train_pack]
train_dataloader = dict(dataset=dict(ann_file='annotations/trainval.json', pipeline=train_pipeline))
train_cfg = dict(max_epochs=215, val_begin=216)  # No image is left to validate on; --fold leaves some out.
custom_hooks = [dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.001, gamma=10, update_buffers=True)]

# Anchors from 16 px, one box and one outline for all classes, and proposals for hundreds of cells.
_rpn_head, _roi_head = _base_.model.rpn_head, _base_.model.roi_head
_train, _test = _base_.model.train_cfg, _base_.model.test_cfg
_detector = dict(
    _base_.model,
    rpn_head=dict(_rpn_head, anchor_generator=dict(_rpn_head.anchor_generator, scales=[4])),
    roi_head=dict(
        _roi_head,
        bbox_head=dict(_roi_head.bbox_head, reg_class_agnostic=True),
        mask_head=dict(_roi_head.mask_head, class_agnostic=True),
    ),
    train_cfg=dict(
        rpn=dict(_train.rpn, sampler=dict(_train.rpn.sampler, num=512)),
        rpn_proposal=dict(_train.rpn_proposal, nms_pre=1000, max_per_img=1000),
        rcnn=dict(_train.rcnn, sampler=dict(_train.rcnn.sampler, num=256, pos_fraction=0.5)),
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
