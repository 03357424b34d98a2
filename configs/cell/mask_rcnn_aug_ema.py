# + a moving average of the weights, over the last tenth of the steps at first and at most the last thousand.
_base_ = './mask_rcnn_aug.py'

custom_hooks = [dict(type='EMAHook', ema_type='MomentumAnnealingEMA', momentum=0.001, gamma=10, update_buffers=True)]
