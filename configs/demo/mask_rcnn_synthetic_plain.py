# Experiment 1 at the size of the demo: no augmentation.
_base_ = './mask_rcnn_synthetic.py'

_pipeline = [
    step
    for step in _base_.train_dataloader.dataset.pipeline
    if step['type'] not in ('RandomFlip', 'RandomBrightness', 'RandomGrayscale')
]
train_dataloader = dict(dataset=dict(pipeline=_pipeline))
