"""What the runs of an ablation came to: a row for each, and for what all folds of a config make together."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmcell.config import diff_configs
from mmcell.engine.ablation import Experiment, find_progress, find_truth
from mmcell.evaluation import Sampled
from mmcell.report.comparison import Row, score, summarise_log, write_comparison
from mmcell.report.curves import read_run
from mmcell.report.figures import write_curves


def compare(experiments: Sequence[Experiment], work_dir: str | Path, samples: int = 1000) -> list[Path]:
    """Write the table and the curves of experiments, as far as they are.

    Args:
        experiments: From :func:`list_experiments`.
        work_dir: Folder to write to.
        samples: Bootstrap samples of images.

    Returns:
        The table as Markdown and CSV, then the pictures of the curves; the numbers of those lie beside them as CSV.

    Raises:
        InputError: If a run cannot be read or does not fit the val images.
    """
    curves = {each.name: read_run(each.folder) for each in experiments if _has_log(each.folder)}
    logs = {each.name: summarise_log(curves[each.name], each.folder) for each in experiments if each.name in curves}
    folds: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        if experiment.fold is not None:
            folds.setdefault(experiment.run, []).append(experiment)
    differs = tell_apart(experiments)
    rows = _to_rows({experiment.name: [experiment] for experiment in experiments}, differs, logs, samples)
    pooled = _to_rows(folds, differs, {}, samples)
    figures = write_curves(list(curves.values()), work_dir)
    return [*write_comparison(rows, work_dir, figures, samples, pooled), *figures]


def tell_apart(experiments: Sequence[Experiment]) -> dict[str, list[str]]:
    """What differs between each experiment and the first config's of its seed and fold, one setting a line, by name."""
    first = {(experiment.seed, experiment.fold): experiment for experiment in reversed(experiments)}
    return {
        experiment.name: diff_configs(first[experiment.seed, experiment.fold].config, experiment.config)
        for experiment in experiments
    }


def count_parameters(config: Config) -> int:
    """Number of parameters of a config's model, frozen ones included."""
    init_default_scope(config.get('default_scope', 'mmdet'))
    # A copy: detectors write into the config that they are built from.
    model = MODELS.build(copy.deepcopy(config.model))
    return sum(parameter.numel() for parameter in model.parameters())


def _to_rows(
    named: Mapping[str, Sequence[Experiment]],
    differs: Mapping[str, Sequence[str]],
    logs: Mapping[str, Mapping[str, float]],
    samples: int,
) -> list[Row]:
    """A row for each name: of one experiment, or of all folds of one. The baseline has its seed, and its fold."""
    rows, parameters = [], {}
    baselines: dict[tuple[int | None, int | None], tuple[Sequence[Experiment], dict[str, Sampled]]] = {}
    for name, members in named.items():
        head, scores = members[0], _score(members, samples)
        if head.group not in parameters:
            parameters[head.group] = count_parameters(head.config)
        first, reference = baselines.setdefault((head.seed, head.fold), (members, scores))
        paired = first is not members and _truths(first) == _truths(members)
        numbers = parameters[head.group], logs.get(name, {}), scores
        rows.append(Row(name, head.group, differs[head.name], *numbers, reference if paired else {}))
    return rows


def _score(members: Sequence[Experiment], samples: int) -> dict[str, Sampled]:
    if any(find_progress(experiment).stage != 'done' for experiment in members):
        return {}
    return score(_truths(members), [experiment.folder / 'test/val-results.json' for experiment in members], samples)


def _truths(members: Sequence[Experiment]) -> list[Path]:
    return [find_truth(experiment.config) for experiment in members]


def _has_log(folder: Path) -> bool:
    return any(folder.glob('*/vis_data/scalars.json'))
