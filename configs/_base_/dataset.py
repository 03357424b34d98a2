import os

# The data set that tools/convert.py wrote: data/cell/, or the folder that the environment variable MMCELL_DATA names.
# MMEngine's own way, a variable in braces, pastes the path into this text: a quote or a backslash in it breaks that.
data_root = os.environ.get('MMCELL_DATA') or 'data/cell/'
dataset_type = 'CellDataset'
_crop_size = 768  # side in pixels of what the configs that train on crops see
_rare_classes = [2, 3]  # labels that some configs show more often

# The pieces of the pipelines. An experiment redefines the one that it changes, then puts them together as below.
_load_image = [dict(type='LoadCellImage')]
_load_cells = [dict(type='LoadCellAnnotations', with_bbox=True, with_mask=True)]
# The course report shrinks images to a long edge of 1024, then torchvision resizes them to 800, at most 1333.
_train_size = [
    dict(type='LimitLongEdge', max_size=1024),
    dict(type='ChainedResize', scale=(1333, 800), keep_ratio=True),
]
_test_size = _train_size
_augment = []
_train_pack = [dict(type='PackDetInputs')]
_test_pack = [dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]

train_pipeline = [*_load_image, *_load_cells, *_train_size, *_augment, *_train_pack]
test_pipeline = [*_load_image, *_test_size, *_test_pack]

train_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/train.json',
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
        ann_file='annotations/val.json',
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
    dict(type='DenseCocoMetric', ann_file=f'{data_root}/annotations/val.json'),
    # Picks its score threshold here, on val.
    dict(type='CellMetric', ann_file=f'{data_root}/annotations/val.json'),
]
test_evaluator = dict(
    type='DenseCocoMetric',
    ann_file=f'{data_root}/annotations/test.json',
    format_only=True,
    out_file='work_dirs/test-results.json',
)
