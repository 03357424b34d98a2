# What helps dense cells, together: larger cells, smaller anchors, more proposals, outlines shared by all classes, all
# orientations, averaged weights; predicted in enlarged tiles, each from its eight orientations.
_base_ = './mask_rcnn_aug_proposals.py'

_sizes = ('LimitLongEdge', 'ChainedResize', 'RandomCrop', 'FilterAnnotations')  # what the crop replaces
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='RandomZoomCrop', size=_base_._crop_size, zoom=(1.0, 2.0), rare_prob=0.25),
    *[step for step in _base_.train_pipeline[2:-1] if step['type'] not in _sizes],
    dict(type='RandomQuarterTurn'),
    dict(type='RandomHEDJitter', sigma=0.05),
    _base_.train_pipeline[-1],
]
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
test_pipeline = [step for step in _base_.test_pipeline if step['type'] not in _sizes]  # the tiles are enlarged
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
