# + ConvNeXt-V2 instead of ResNet-50 (Woo et al., CVPR 2023), with the weights that timm publishes.
_base_ = './mask_rcnn_aug.py'

# Images are normalized as for the backbone that is replaced.
assert _base_.model.backbone.type == 'ResNet', f'ConvNeXt-V2 replaces a ResNet, not {_base_.model.backbone.type}'
# The sibling for a CPU learns from scratch.
_name, _channels, _pretrained = {
    50: ('convnextv2_base.fcmae_ft_in22k_in1k', [128, 256, 512, 1024], True),
    18: ('convnextv2_atto', [40, 80, 160, 320], False),
}[_base_.model.backbone.depth]
model = dict(
    backbone=dict(_delete_=True, type='TimmBackbone', name=_name, pretrained=_pretrained, drop_path_rate=0.1),
    neck=dict(in_channels=_channels),
)
