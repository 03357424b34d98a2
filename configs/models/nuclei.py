# The model `nuclei`, docs/models/nuclei.md: `consep` trained on with nuclei of one class.
_base_ = './consep.py'

load_from = 'consep'
model = dict(detector=dict(detector=dict(roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)))))
train_cfg = dict(max_epochs=20, val_begin=21)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
