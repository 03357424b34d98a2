# + more proposals, and more and more positive boxes to learn from: an image holds hundreds of cells, not a handful.
_base_ = '{{$MMCELL_BASE:./mask_rcnn_aug.py}}'

model = dict(
    train_cfg=dict(
        rpn=dict(sampler=dict(num=512)),
        rpn_proposal=dict(nms_pre=4000, max_per_img=2000),
        rcnn=dict(sampler=dict(num=2 * _base_.model.train_cfg.rcnn.sampler.num, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=4000, max_per_img=4000)),
)
