# + stain jitter: haematoxylin, eosin and residual vary as between laboratories.
_base_ = '{{$MMCELL_BASE:./mask_rcnn_aug.py}}'

train_pipeline = [*_base_.train_pipeline[:-1], dict(type='RandomHEDJitter', sigma=0.05), _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
