# Experiment 2: + flips, brightness, grayscale.
_base_ = './mask_rcnn.py'

_augment = [
    # Tissue has no up or down: each of the four orientations that flips make is as likely.
    dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']),
    dict(type='RandomBrightness', delta=0.3),
    # Luma of ITU-R BT.601, in the order blue, green, red.
    dict(type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.299)),
]
train_pipeline = [*_base_._load_image, *_base_._load_cells, *_base_._train_size, *_augment, *_base_._train_pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
