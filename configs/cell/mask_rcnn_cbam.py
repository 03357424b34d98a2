# Experiment 3: + CBAM after every block of stages 2 to 4.
_base_ = './mask_rcnn.py'

model = dict(backbone=dict(type='CBAMResNet', position='block', cbam_stages=(2, 3, 4)))
