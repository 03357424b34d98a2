# + CBAM that starts as identity, so that the backbone first sees what it has seen without.
_base_ = './mask_rcnn_aug.py'

model = dict(backbone=dict(type='CBAMResNet', identity_init=True))
