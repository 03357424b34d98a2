# + an exponential moving average of the weights, which is what is validated and saved.
_base_ = '{{$MMCELL_BASE:./mask_rcnn_aug.py}}'

custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.001, gamma=100, update_buffers=True, priority=49)
]
