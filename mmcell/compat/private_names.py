"""The private names of other packages that we use, and why: nothing promises that a release keeps them.

The pins in `requirements.txt` and `requirements-nodeps.txt` name the releases that have them. Tests hold this list
against those releases and against our code, so that whoever raises a pin or reaches for one more name sees it here.
"""

from __future__ import annotations

from typing import NamedTuple


class PrivateName(NamedTuple):
    """A name that we read, call or override.

    Attributes:
        owner: Full name of the class or module that has it.
        name: The name.
        reason: What we need it for, as there is no public way.
    """

    owner: str
    name: str
    reason: str


PRIVATE_NAMES = (
    PrivateName('mmengine.registry.Registry', '_locations', 'a registry of MMDetection looks for our classes too'),
    PrivateName('mmengine.registry.Registry', '_imported', 'one that has looked already will not look again'),
    PrivateName('mmengine.logging.logger', '_get_rank', 'imports torch, which takes seconds, to log a line'),
    PrivateName('mmengine.logging.logger', '_get_device_id', 'imports torch, which takes seconds, to log a line'),
    PrivateName('mmengine.config.DictAction', '_parse_iterable', 'takes the spaces and commas out of paths'),
    PrivateName('mmengine.optim.scheduler', '_ParamScheduler', 'every scheduler is derived from it'),
    PrivateName('mmengine.optim.scheduler._ParamScheduler', '_get_value', 'a scheduler says its value there'),
    PrivateName('mmengine.optim.scheduler._ParamScheduler', '_global_step', 'how far it is, behind its end as well'),
    PrivateName('mmengine.runner.Runner', '_resume', 'whether a checkpoint is resumed from or only loaded'),
    PrivateName('mmengine.runner.Runner', '_load_from', 'what a checkpoint is called in a note'),
    PrivateName('mmengine.runner.checkpoint', '_get_mmengine_home', 'names of open-mmlab:// may be files in there'),
    PrivateName('mmengine.runner.Runner', '_train_loop', 'the public property builds the loop, too early'),
    PrivateName('mmengine.runner.EpochBasedTrainLoop', '_decide_current_val_interval', 'whether a validation was due'),
    PrivateName('mmengine.hooks.CheckpointHook', '_save_checkpoint_with_step', 'removes after it has saved'),
    PrivateName('mmengine.hooks.CheckpointHook', '_save_best_checkpoint', 'removes after it has saved'),
    PrivateName('mmengine.dataset.BaseDataset', '_metainfo', 'classes come from the json, which is read late'),
    PrivateName('mmdet.datasets.transforms.LoadAnnotations', '_load_bboxes', 'read as one array, not box by box'),
    PrivateName('mmdet.datasets.transforms.LoadAnnotations', '_load_masks', 'read as a label map'),
    PrivateName('mmdet.datasets.transforms.LoadAnnotations', '_process_masks', 'which masks are ignored, as there'),
    PrivateName('mmdet.datasets.transforms.Resize', '_resize_img', 'leaves no pixel of a strip'),
    PrivateName('mmdet.datasets.transforms.Resize', '_resize_masks', 'leaves no pixel of a strip'),
    PrivateName('mmdet.models.backbones.ResNet', '_freeze_stages', 'freezes the attention of the stem, too'),
    PrivateName('mmdet.models.detectors.BaseDetector', '_forward', 'abstract: every detector has to have it'),
    PrivateName('mmdet.models.roi_heads.StandardRoIHead', '_mask_forward', 'masks of other boxes than its own'),
    PrivateName('mmdet.models.roi_heads.CascadeRoIHead', '_mask_forward', 'masks of other boxes than its own'),
    PrivateName('mmdet.models.roi_heads.mask_heads.FCNMaskHead', '_predict_by_feat_single', 'masks leave it as RLE'),
    PrivateName('mmdet.models.DetDataPreprocessor', '_channel_conversion', 'members of an ensemble have to agree'),
    PrivateName('mmdet.visualization.DetLocalVisualizer', '_draw_instances', 'draws RLE and label maps'),
    PrivateName(
        'multiprocessing.queues.Queue',
        '_on_queue_feeder_error',
        'torch drops a batch that it cannot hand over, in silence',
    ),
    PrivateName('torch', '_weights_only_unpickler', 'its warning of files that we refuse ourselves is dropped'),
    PrivateName('numpy', '_core', 'a checkpoint holds numpy arrays by the names of its functions'),
    PrivateName('numpy._core.multiarray', '_reconstruct', 'a checkpoint holds numpy arrays by this name'),
    PrivateName('faster_coco_eval.COCOeval_faster', '_paramsEval', 'one evaluation gives every bootstrap sample'),
    PrivateName('faster_coco_eval.COCOeval_faster', '_evalImgs_cpp', 'one evaluation gives every bootstrap sample'),
)
