# The data set that tools/convert.py wrote: data/cell/, or the folder that the environment variable MMCELL_DATA names.
data_root = '{{$MMCELL_DATA:data/cell/}}'
dataset_type = 'CellDataset'
# train.json and val.json, or of the fold that MMCELL_FOLD names fold0_train.json and fold0_val.json.
_fold = '{{$MMCELL_FOLD:none}}'
_prefix = '' if _fold == 'none' else f'fold{_fold}_'
_crop_size = 768  # side in pixels of what the configs that train on crops see
_rare_classes = [2, 3]  # labels that some configs show more often

# The reference shrinks images to a long edge of 1024, then torchvision resizes them to 800, at most 1333.
train_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='LoadCellAnnotations', with_bbox=True, with_mask=True),
    dict(type='LimitLongEdge', max_size=1024),
    dict(type='ChainedResize', scale=(1333, 800), keep_ratio=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadCellImage'),
    dict(type='LimitLongEdge', max_size=1024),
    dict(type='ChainedResize', scale=(1333, 800), keep_ratio=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]

train_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file=f'annotations/{_prefix}train.json',
        data_prefix=dict(img='images/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file=f'annotations/{_prefix}val.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
# The test images of the competition have no truth: predictions on them are written, not scored.
test_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/test.json',
        data_prefix=dict(img='images/'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)

val_evaluator = [
    dict(type='DenseCocoMetric', ann_file=f'{data_root}/annotations/{_prefix}val.json'),
    dict(
        type='CellMetric', ann_file=f'{data_root}/annotations/{_prefix}val.json'
    ),  # picks its score threshold here, on val
]
test_evaluator = dict(
    type='DenseCocoMetric',
    ann_file=f'{data_root}/annotations/test.json',
    format_only=True,
    out_file='work_dirs/test-results.json',
)
