custom_imports = dict(imports=['mmcell'])
default_scope = 'mmdet'
randomness = dict(seed=42)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='SafeCheckpointHook',
        interval=1,
        max_keep_ckpts=2,  # should the disk break the last one
        save_best=['segm/mAP_1000', 'segm/AP50_1000'],
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # A run that is killed and resumed ends with the same weights as one that was not: docs/reliability.md.
    exact_resume=dict(type='ExactResumeHook'),
    gradients=dict(type='KeepGradients'),
    memory_format=dict(type='ChannelsLastHook'),  # on a CPU
)
env_cfg = dict(
    cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0), dist_cfg=dict(backend='nccl')
)

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='CellVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(type='LogProcessor', window_size=50, by_epoch=True)
log_level = 'INFO'
load_from = None
resume = False
