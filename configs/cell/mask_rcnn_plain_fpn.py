# Experiment 1 as in the code of the course report: no batch norm in the FPN.
_base_ = './mask_rcnn.py'

model = dict(neck=dict(norm_cfg=None))
