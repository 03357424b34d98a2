# Experiment 3 at the size of the demo: + CBAM.
_base_ = './mask_rcnn_synthetic_plain.py'

model = dict(backbone=dict(type='CBAMResNet', position='block', cbam_stages=(2, 3, 4)))
