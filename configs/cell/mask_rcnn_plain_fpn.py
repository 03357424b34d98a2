# Experiment 1 as the reference's code has it: no batch norm in the FPN.
_base_ = './mask_rcnn.py'

model = dict(neck=dict(norm_cfg=None))
