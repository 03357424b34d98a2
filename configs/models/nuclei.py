# The model `nuclei`, docs/models/nuclei.md: the recipe of `consep` for nuclei of one class.
_base_ = './consep.py'

model = dict(detector=dict(detector=dict(roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)))))
