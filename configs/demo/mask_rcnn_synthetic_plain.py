# Experiment 1 at the size of the demo: no augmentation.
_base_ = './mask_rcnn_synthetic.py'

_augment = []
train_pipeline = [*_base_._load_image, *_base_._load_cells, *_base_._train_size, *_augment, *_base_._train_pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
