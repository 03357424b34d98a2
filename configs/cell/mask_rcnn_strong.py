# What helps dense cells, together: larger cells, smaller anchors, more proposals, outlines shared by all classes, all
# orientations, averaged weights; predicted in enlarged tiles, each from its eight orientations.
_base_ = './mask_rcnn_aug_proposals.py'

_train_size = [dict(type='RandomZoomCrop', size=_base_._crop_size, zoom=(1.0, 2.0), rare_prob=0.25)]
_augment = [*_base_._augment, dict(type='RandomQuarterTurn'), dict(type='RandomHEDJitter', sigma=0.05)]
train_pipeline = [*_base_._load_image, *_base_._load_cells, *_train_size, *_augment, *_base_._train_pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
custom_hooks = [dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.001, gamma=10, update_buffers=True)]

_rpn_head, _roi_head = _base_.model.rpn_head, _base_.model.roi_head
_anchors = dict(_rpn_head.anchor_generator, scales=[4])  # from 16 px
_heads = dict(
    bbox_head=dict(_roi_head.bbox_head, reg_class_agnostic=True),
    mask_head=dict(_roi_head.mask_head, class_agnostic=True),
)
_detector = dict(_base_.model, rpn_head=dict(_rpn_head, anchor_generator=_anchors), roi_head=dict(_roi_head, **_heads))
_views = dict(type='CellTTA', detector=_detector)
model = dict(_delete_=True, type='TiledDetector', detector=_views, tile=512, overlap=128, scale=1.5)
_test_size = []  # the tiles are enlarged
test_pipeline = [*_base_._load_image, *_test_size, *_base_._test_pack]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
