# + one box and one mask for all classes, learned from all cells: a rare class need not learn its own outlines.
_base_ = './mask_rcnn_aug.py'

model = dict(roi_head=dict(bbox_head=dict(reg_class_agnostic=True), mask_head=dict(class_agnostic=True)))
