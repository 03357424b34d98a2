"""What our metrics share: predictions are kept as result dicts, one entry an image."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from mmcell.coco.results import Result, sort_results, to_results
from mmcell.coco.truth import load_truth


class ResultsMetric(BaseMetric):
    """A metric over result dicts. Masks are RLE from the moment they arrive.

    Args:
        ann_file: Annotation file in COCO's format; label i is its i-th category by id.
        collect_device: 'cpu' or 'gpu', for results from several processes.
        prefix: Stands before the names.

    Raises:
        InputError: If the annotation file cannot be used.
    """

    def __init__(self, ann_file: str | Path, collect_device: str, prefix: str) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.truth = load_truth(ann_file)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of one batch: one entry an image, since mmengine drops padding by counting entries.

        Args:
            data_batch: Not used.
            data_samples: Dicts with `img_id` and `pred_instances`, see :func:`to_results`.
        """
        for sample in data_samples:
            predicted = to_results(sample['img_id'], sample['pred_instances'], self.truth.category_ids)
            self.results.append((sample['img_id'], predicted))

    def gather(self, results: Sequence[tuple[int, list[Result]]]) -> list[Result]:
        """Result dicts of all images, sorted; warns when images of the annotation file are missing."""
        missing = len(self.truth.images) - len({image_id for image_id, _ in results})
        if missing:
            MMLogger.get_current_instance().warning(
                f'{missing} images of the annotation file were not predicted: their cells count as missed'
            )
        return sort_results(result for _, predicted in results for result in predicted)


def to_tags(numbers: Mapping[str, float]) -> dict[str, float]:
    """The numbers under names of characters that TensorBoard allows, without a further slash."""
    return {re.sub(r'[^-\w.]', '_', name): value for name, value in numbers.items()}
