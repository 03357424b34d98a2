# Experiment 2, predicted in half-overlapping tiles of the image as it is, each seen at twice its size.
_base_ = './mask_rcnn_aug.py'

model = dict(_delete_=True, type='TiledDetector', detector=_base_.model, tile=512, overlap=256, scale=2.0)

_test_size = []  # the tiles are enlarged, not the image
test_pipeline = [*_base_._load_image, *_test_size, *_base_._test_pack]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
