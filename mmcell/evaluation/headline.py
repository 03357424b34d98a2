"""The numbers that results are told by, in one table: what an ablation compares, a page shows, a curve follows.

`save_best` in `configs/_base_/runtime.py` names those of :attr:`Headline.saves_best`; a test holds the two together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Headline:
    """One number.

    Attributes:
        name: What tables and curves call it.
        title: What the page calls it.
        score: Its key in :meth:`CocoScores.as_dict`, of masks, or :meth:`CellScores.as_dict`, and in bootstrap samples.
        prefix: Prefix of the metric that logs it: 'segm' or 'cell'.
        logged_by_mmdet: The key under which MMDetection's own metric logs the same; empty if it has none.
        is_compared: Whether ablations and curves have it, too.
        saves_best: Whether a training keeps the checkpoint in which it is best.
    """

    name: str
    title: str
    score: str
    prefix: str
    logged_by_mmdet: str = ''
    is_compared: bool = True
    saves_best: bool = False

    @property
    def logged(self) -> str:
        """The key under which a training logs it."""
        return f'{self.prefix}/{self.score}'

    @property
    def best_checkpoint(self) -> str:
        """How the name of the checkpoint in which it is best begins, as MMEngine forms it."""
        return f'best_{self.logged}_'.replace('/', '_')

    def logged_for(self, class_name: str) -> str:
        """The key under which a training logs it for one class, if it does."""
        return f'{self.prefix}/{to_tag(f"{self.score}/{class_name}")}'


def to_tag(name: str) -> str:
    """A name of the characters that TensorBoard allows, without a slash.

    >>> to_tag('AP50_1000/round cell')
    'AP50_1000_round_cell'
    """
    return re.sub(r'[^-\w.]', '_', name)


HEADLINES = (
    Headline('mAP', 'mAP @1000', 'mAP_1000', 'segm', 'coco/segm_mAP', saves_best=True),
    Headline('AP50', 'AP50 @1000', 'AP50_1000', 'segm', 'coco/segm_mAP_50', saves_best=True),
    Headline('PQ', 'PQ', 'PQ_pooled', 'cell'),
    Headline('AJI', 'AJI', 'AJI_pooled', 'cell', is_compared=False),
    Headline('Dice', 'Dice', 'Dice_pooled', 'cell', is_compared=False),
    Headline('F1', 'F1', 'F1_pooled', 'cell', is_compared=False),
)
#: What ablations and curves have.
COMPARED = tuple(headline for headline in HEADLINES if headline.is_compared)
#: What decides which checkpoint of a run is tested.
DECIDING = HEADLINES[1]
