# Experiment 3 as the reference's released code has it: one CBAM per stage.
_base_ = './mask_rcnn_cbam.py'

model = dict(backbone=dict(position='stage'))
