# + EfficientNet-Lite with ImageNet weights instead of ResNet-18 from scratch: tools/fetch_weights.py gets them.
_base_ = './mask_rcnn_aug.py'

model = dict(
    data_preprocessor=dict(mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0]),
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        name='tf_efficientnet_lite0',
        out_indices=(1, 2, 3, 4),
        init_cfg=dict(type='Pretrained', checkpoint='data/weights/tf_efficientnet_lite0.pth'),
    ),
    neck=dict(in_channels=[24, 40, 112, 320]),
    # A crop of 256 px holds some fifty cells; to suppress 2000 proposals a level takes a third of a step on a CPU.
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=500)),
)
