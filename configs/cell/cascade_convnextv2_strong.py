# + a cascade and ConvNeXt-V2, with the schedule of the best public solution: 300 epochs of batches of four.
_base_ = './mask_rcnn_strong.py'

_detector = _base_.model.detector.detector
# Images are normalized as for the backbone that is replaced.
assert _detector.backbone.type == 'ResNet', f'ConvNeXt-V2 replaces a ResNet, not {_detector.backbone.type}'
_head, _rcnn = _detector.roi_head.bbox_head, _detector.train_cfg.rcnn
_stds = ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
_cascade = dict(
    type='CascadeRCNN',
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        name='convnextv2_base.fcmae_ft_in22k_in1k',
        pretrained=True,
        drop_path_rate=0.3,
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
    roi_head=dict(
        type='DenseCascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[dict(_head, bbox_coder=dict(_head.bbox_coder, target_stds=stds)) for stds in _stds],
        mask_head=dict(num_convs=6),
    ),
    train_cfg=dict(
        rcnn=[
            dict(
                _rcnn,
                assigner=dict(
                    _rcnn.assigner, pos_iou_thr=iou, neg_iou_thr=iou, min_pos_iou=iou, match_low_quality=False
                ),
            )
            for iou in (0.5, 0.6, 0.7)
        ]
    ),
)
model = dict(detector=dict(detector=_cascade))

train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
train_cfg = dict(max_epochs=300, val_interval=10)
