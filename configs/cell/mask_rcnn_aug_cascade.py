# + a cascade of three box heads, each trained for a higher IoU (Cai & Vasconcelos, CVPR 2018).
_base_ = '{{$MMCELL_BASE:./mask_rcnn_aug.py}}'

_head, _rcnn = _base_.model.roi_head, _base_.model.train_cfg.rcnn
_stages = [(0.5, 1.0), (0.6, 0.5), (0.7, 0.25)]  # least IoU of a positive box, weight of the loss
model = dict(
    roi_head=dict(
        type='CascadeRoIHead',
        num_stages=len(_stages),
        stage_loss_weights=[weight for _, weight in _stages],
        bbox_head=[
            dict(
                **{
                    key: value
                    for key, value in _head.bbox_head.items()
                    if key not in ('bbox_coder', 'reg_class_agnostic')
                },
                bbox_coder=dict(
                    type='DeltaXYWHBBoxCoder',
                    target_means=[0.0, 0.0, 0.0, 0.0],
                    # Later stages start closer to their targets.
                    target_stds=[0.1 / number, 0.1 / number, 0.2 / number, 0.2 / number],
                ),
                reg_class_agnostic=True,
            )
            for number in range(1, len(_stages) + 1)
        ],
    ),
    train_cfg=dict(
        rcnn=[
            dict(
                **{key: value for key, value in _rcnn.items() if key != 'assigner'},
                assigner=dict(
                    type='MaxIoUAssigner',
                    pos_iou_thr=iou,
                    neg_iou_thr=iou,
                    min_pos_iou=iou,
                    match_low_quality=False,
                    ignore_iof_thr=-1,
                ),
            )
            for iou, _ in _stages
        ]
    ),
)
