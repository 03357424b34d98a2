# + gradients of four batches in each step.
_base_ = './mask_rcnn_aug.py'

optim_wrapper = dict(accumulative_counts=4)
