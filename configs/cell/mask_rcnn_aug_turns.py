# + quarter turns: with the flips, all eight orientations of a square.
_base_ = '{{$MMCELL_BASE:./mask_rcnn_aug.py}}'

train_pipeline = [*_base_.train_pipeline[:-1], dict(type='RandomQuarterTurn'), _base_.train_pipeline[-1]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
