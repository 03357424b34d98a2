# Experiment 2, predicted from the eight orientations of each image.
_base_ = './mask_rcnn_aug.py'

model = dict(_delete_=True, type='CellTTA', detector=_base_.model, mirror=(False, True), turns=(0, 1, 2, 3))
