# + more proposals, and more and more positive boxes to learn from: an image holds hundreds of cells, not a handful.
_base_ = './mask_rcnn_aug.py'

_train = _base_.model.train_cfg
model = dict(
    train_cfg=dict(
        rpn=dict(sampler=dict(num=512)),
        rpn_proposal=dict(nms_pre=2 * _train.rpn_proposal.nms_pre, max_per_img=2 * _train.rpn_proposal.max_per_img),
        rcnn=dict(sampler=dict(num=2 * _train.rcnn.sampler.num, pos_fraction=0.5)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=4000, max_per_img=4000)),
)
