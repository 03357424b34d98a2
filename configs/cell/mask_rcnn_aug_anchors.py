# + anchors from 16 px instead of 32: most nuclei at 40x are 15 to 30 px wide.
_base_ = './mask_rcnn_aug.py'

model = dict(rpn_head=dict(anchor_generator=dict(scales=[4])))
