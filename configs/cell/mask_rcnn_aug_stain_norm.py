# + H&E colours brought to one standard, in training and in testing.
_base_ = '{{$MMCELL_BASE:./mask_rcnn_aug.py}}'

train_pipeline = [_base_.train_pipeline[0], dict(type='NormalizeStain'), *_base_.train_pipeline[1:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
test_pipeline = [_base_.test_pipeline[0], dict(type='NormalizeStain'), *_base_.test_pipeline[1:]]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
