"""The reliability diagram of class probabilities, as SVG that stands inside a page."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from mmcell.evaluation.calibration import Calibration
from mmcell.report.figures import COLOURS, GRID, to_svg


def draw_reliability(calibration: Calibration) -> str:
    """Of each bin the share of cells that are what they are said to be, as a bar, beside the line of those in between.

    Below, how many cells each bin has. The title, which a screen reader reads, says the expected calibration error.
    """
    bins = len(calibration.counts)
    middles, width = (np.arange(bins) + 0.5) / bins, 1 / bins
    figure = Figure(figsize=(4.2, 4.2), layout='constrained')
    above, below = figure.subplots(2, sharex=True, gridspec_kw={'height_ratios': [3, 1]})
    above.bar(middles, np.nan_to_num(calibration.accuracies), 0.9 * width, color=COLOURS[5])
    above.plot([0, 1], [0, 1], color=COLOURS[6], linewidth=1, linestyle='--')
    filled = calibration.counts > 0
    above.plot(calibration.confidences[filled], calibration.accuracies[filled], 'o', color=COLOURS[1], markersize=4)
    above.set(title='Class probabilities', ylabel='share that is right', xlim=(0, 1), ylim=(0, 1.02))
    below.bar(middles, calibration.counts, 0.9 * width, color=COLOURS[0])
    below.set(xlabel='probability of the most probable class', ylabel='cells')
    for axes in (above, below):
        axes.grid(axis='y', color=GRID)
        axes.set_axisbelow(True)
        axes.spines[['top', 'right']].set_visible(False)
    cells = int(calibration.counts.sum())
    return to_svg(figure, f'Reliability diagram: expected calibration error {calibration.error:.3f} of {cells} cells.')
