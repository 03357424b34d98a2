"""Which class a detection is of: the probability of each, not only the score of the one that it is reported under."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmdet.models.layers import multiclass_nms
from mmdet.utils import ConfigType, InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

if TYPE_CHECKING:
    from mmdet.models.roi_heads import StandardRoIHead as _InFrontOf
else:
    _InFrontOf = object


class ClassProbabilities(_InFrontOf):
    """For a RoI head of MMDetection, in front of it among the bases: detections keep the softmax of their proposal.

    MMDetection's heads give one score for each detection and drop the rest of the softmax: the probabilities below
    `score_thr`, and that of the background. Here each detection has them all, as `probabilities`, (n, num_classes + 1)
    with the background last; its boxes, scores and labels are those of MMDetection, bit for bit.
    """

    def predict_bbox(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        rpn_results_list: InstanceList,
        rcnn_test_cfg: ConfigType | None,
        rescale: bool = False,
        **options: Any,
    ) -> InstanceList:
        """Predict boxes; arguments as MMDetection's.

        Returns:
            Of each image `bboxes` (n, 4), `scores` (n,), `labels` (n,) and `probabilities` (n, num_classes + 1).
        """
        # Without a config the heads leave out their last step, by which scores of one proposal part.
        results = super().predict_bbox(x, batch_img_metas, rpn_results_list, None, rescale, **options)
        return results if rcnn_test_cfg is None else [suppress(each, rcnn_test_cfg) for each in results]


def suppress(results: InstanceData, cfg: ConfigType) -> InstanceData:
    """The last step of MMDetection's box heads: scores above a threshold, suppressed class by class, the best of them.

    Args:
        results: Of n proposals `bboxes` (n, 4), or (n, num_classes * 4), and `scores` (n, num_classes + 1), background
            last.
        cfg: Of which `score_thr`, `nms` and `max_per_img` are read.

    Returns:
        Detections by falling score, with `probabilities`, the scores of their proposals.
    """
    boxes, labels, places = multiclass_nms(
        results.bboxes, results.scores, cfg.score_thr, cfg.nms, cfg.max_per_img, return_inds=True
    )
    # Places are those among all proposals times all classes.
    proposals = places // (results.scores.shape[1] - 1)
    return InstanceData(bboxes=boxes[:, :4], scores=boxes[:, 4], labels=labels, probabilities=results.scores[proposals])
