# Experiment 1 of the course report: torchvision's Mask R-CNN R50-FPN, four classes.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/dataset.py',
    '../_base_/schedule.py',
    '../_base_/runtime.py',
]

model = dict(
    # torchvision freezes batch norm, its affine parameters included.
    backbone=dict(norm_cfg=dict(type='BN', requires_grad=False)),
    # The text of the report: batch norm after each convolution of the FPN. Its code has none: mask_rcnn_plain_fpn.py.
    neck=dict(norm_cfg=dict(type='BN', requires_grad=True)),
    rpn_head=dict(type='DenseRPNHead'),  # precise in mixed precision
    # Foreground classes only; torchvision counts the background too and so says 5.
    # Masks leave the head as RLE, pasted inside their boxes: no array of cells x height x width.
    roi_head=dict(
        type='DenseRoIHead',
        bbox_roi_extractor=dict(type='DenseRoIExtractor'),  # right in any memory layout, fast on a CPU
        bbox_head=dict(num_classes=4),
        mask_roi_extractor=dict(type='DenseRoIExtractor'),
        mask_head=dict(type='BoxedRLEMaskHead', num_classes=4),
    ),
    train_cfg=dict(
        # Cells meet only the anchors and proposals near them: no array of boxes x cells.
        rpn=dict(assigner=dict(type='SparseMaxIoUAssigner')),
        # Proposals of different levels do not suppress each other: level by level, the same are kept in less time.
        rpn_proposal=dict(nms=dict(split_thr=1)),
        rcnn=dict(assigner=dict(type='SparseMaxIoUAssigner')),
    ),
    # A dense image holds up to a thousand cells.
    test_cfg=dict(rpn=dict(nms=dict(split_thr=1)), rcnn=dict(max_per_img=1000)),
)
