# Experiments 2 and 3 together: CBAM with flips, brightness, grayscale.
_base_ = './mask_rcnn_aug.py'

model = dict(backbone=dict(type='CBAMResNet', position='block', cbam_stages=(2, 3, 4)))
