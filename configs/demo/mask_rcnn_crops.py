# The demo's model on real, dense data: random crops of 256 px, whole images to validate on.
_base_ = './mask_rcnn_synthetic.py'

_train_size = [dict(type='RandomCrop', crop_size=(256, 256), recompute_bbox=True, allow_negative_crop=True)]
# A cell of which nothing is left leaves with its label and box.
_augment = [*_base_._augment, dict(type='FilterAnnotations', by_box=False, by_mask=True, keep_empty=False)]
train_pipeline = [*_base_._load_image, *_base_._load_cells, *_train_size, *_augment, *_base_._train_pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    # A crop holds up to 200 cells, a whole image up to a thousand.
    train_cfg=dict(rpn_proposal=dict(nms_pre=1000, max_per_img=500), rcnn=dict(sampler=dict(num=256))),
    test_cfg=dict(rpn=dict(nms_pre=3000, max_per_img=2000)),
)
train_cfg = dict(max_epochs=30, val_interval=10)
