# 60 epochs; the learning rate rises linearly over the first quarter of all steps, then falls by a cosine to zero.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=60, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='AmpOptimWrapper',  # mixed precision; tools/train.py falls back to full precision on a CPU
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=5e-4),
)
param_scheduler = dict(type='WarmupCosineLR', warmup_ratio=0.25, by_epoch=True, convert_to_iter_based=True)
# With tools/train.py --auto-scale-lr the rate grows with the global batch, processes times batch_size, over this one.
auto_scale_lr = dict(enable=False, base_batch_size=1)
