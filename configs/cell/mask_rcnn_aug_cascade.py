# + a cascade of three box heads, each trained for a higher IoU (Cai & Vasconcelos, CVPR 2018).
_base_ = './mask_rcnn_aug.py'

_head, _rcnn = _base_.model.roi_head.bbox_head, _base_.model.train_cfg.rcnn
# Later heads start closer to their targets, so their offsets are divided by smaller standard deviations.
_stds = ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
model = dict(
    type='CascadeRCNN',
    roi_head=dict(
        type='DenseCascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[
            dict(_head, reg_class_agnostic=True, bbox_coder=dict(_head.bbox_coder, target_stds=stds)) for stds in _stds
        ],
    ),
    train_cfg=dict(
        rcnn=[
            dict(
                _rcnn,
                assigner=dict(
                    _rcnn.assigner, pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou, match_low_quality=False
                ),
            )
            for iou in (0.5, 0.6, 0.7)
        ]
    ),
)
