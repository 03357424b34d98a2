# The model `nuclei`, docs/models/nuclei.md: `consep` trained on with nuclei of one class.
_base_ = './consep.py'

load_from = 'consep'
_heads = dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1))
model = dict(scale=1.5, detector=dict(detector=dict(roi_head=_heads)))  # at twice their size it found less on a fold
train_cfg = dict(max_epochs=20, val_begin=21)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
