# Experiment 2 with parameters, gradients and optimizer state sharded over the processes: see docs/distributed.md.
_base_ = './mask_rcnn_aug.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    # One unit for the whole model: the heads are called by other methods than forward, so none can be gathered alone.
    model_wrapper=dict(type='MMFullyShardedDataParallel', use_orig_params=True),  # frozen stages beside trained ones
    state_dict_cfg='full',  # checkpoints that the unsharded configs load
)
