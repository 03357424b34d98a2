# Experiment 3 as in the released code of the course report: one CBAM per stage.
_base_ = './mask_rcnn_cbam.py'

model = dict(backbone=dict(position='stage'))
