# Experiments 2 and 3 together at the size of the demo.
_base_ = './mask_rcnn_synthetic.py'

model = dict(backbone=dict(type='CBAMResNet', position='block', cbam_stages=(2, 3, 4)))
