"""What the runs of an ablation came to: a row for each, and for what all folds of a config make together."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmcell.ablation.markdown import Row, score_runs, summarise_log, write_comparison
from mmcell.ablation.runs import Experiment, find_progress, find_truth
from mmcell.coco.schema import read_results
from mmcell.config import diff_configs
from mmcell.evaluation import Sampled, sort_results
from mmcell.io.files import write_json
from mmcell.report.figures import write_curves
from mmcell.report.scalars import read_run


def compare(experiments: Sequence[Experiment], work_dir: str | Path, samples: int = 1000) -> list[Path]:
    """Write the table and the curves of experiments, as far as they are.

    Args:
        experiments: From :func:`list_experiments`.
        work_dir: Folder to write to.
        samples: Bootstrap samples of images.

    Returns:
        The table as Markdown and CSV, the pictures of the curves (their numbers lie beside them as CSV), and for what
        was trained on folds `<run>-results.json`, the results of all folds, to be read beside `trainval.json`.

    Raises:
        InputError: If a run cannot be read or does not fit the val images.
    """
    logged = (each for each in experiments if any(each.folder.glob('*/vis_data/scalars.json')))
    curves = {each.name: read_run(each.folder) for each in logged}
    logs = {each.name: summarise_log(curves[each.name], each.folder) for each in experiments if each.name in curves}
    folds: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        if experiment.fold is not None:
            folds.setdefault(experiment.run, []).append(experiment)
    folds = {run: members for run, members in folds.items() if len(members) > 1}
    differs = tell_apart(experiments)
    rows = _to_rows({experiment.name: [experiment] for experiment in experiments}, differs, logs, samples)
    pooled = _to_rows(folds, differs, {}, samples)
    figures = write_curves(list(curves.values()), work_dir)
    together = [_write_together(run, members, Path(work_dir)) for run, members in folds.items() if _are_done(members)]
    bases = list(dict.fromkeys(str(each.base) for each in experiments if each.base is not None))
    return [*write_comparison(rows, work_dir, figures, samples, pooled, bases), *figures, *together]


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
    return score_runs(_truths(members), _results(members), samples) if _are_done(members) else {}


def _write_together(run: str, members: Sequence[Experiment], work_dir: Path) -> Path:
    path = work_dir / f'{run}-results.json'
    write_json(path, sort_results(result for source in _results(members) for result in read_results(source)))
    return path


def _are_done(members: Sequence[Experiment]) -> bool:
    return all(find_progress(experiment).stage == 'done' for experiment in members)


def _results(members: Sequence[Experiment]) -> list[Path]:
    return [experiment.folder / 'test/val-results.json' for experiment in members]


def _truths(members: Sequence[Experiment]) -> list[Path]:
    return [find_truth(experiment.config) for experiment in members]
