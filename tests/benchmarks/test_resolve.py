"""The table of ways to make cells."""

import json

import numpy as np
import pytest

from benchmarks.resolve import CANDIDATES, COLUMNS, compare_ways, main
from mmcell.cli.command import run
from mmcell.coco.truth import load_truth
from mmcell.evaluation import evaluate_cells, pick_threshold

VOTING = [how for how in CANDIDATES if how['way'] != 'objectness']


def with_probabilities(results):
    rows = np.random.default_rng(0).dirichlet(np.ones(5), len(results))
    return [{**result, 'probabilities': row.tolist()} for result, row in zip(results, rows)]


@pytest.mark.parametrize(('change', 'candidates'), [(list, VOTING), (with_probabilities, CANDIDATES)])
def test_rows_are_what_each_way_scores_by_itself(random_case, change, candidates):
    truth, results = random_case(5)
    results = change(results)
    for how, (row,) in zip(candidates, compare_ways(load_truth(truth), results, grid=(0.4,)), strict=True):
        expected = evaluate_cells(truth, results, 0.4, **how)
        assert row['way'].startswith(how['way']) and row['score_thr'] == 0.4
        assert row['PQ'] == expected.pooled('PQ') and row['F1'] == expected.pooled('F1')
        assert row['count_error'] == expected.as_dict()['count_error']
        assert [row['true'], row['found']] == expected.counts.sum(axis=0).tolist()


def test_the_table_shows_each_way_at_its_best_threshold(random_case, tmp_path, capsys):
    truth, results = random_case(5)
    files = tmp_path / 'results.json', tmp_path / 'truth.json'
    for path, content in zip(files, (results, truth)):
        path.write_text(json.dumps(content))
    main([str(path) for path in files])
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head == f'| {" | ".join(COLUMNS)} |' and len(lines) == len(VOTING)
    for how, line in zip(VOTING, lines):
        assert float(line.split('|')[2]) == pytest.approx(pick_threshold(truth, results, **how))
    with pytest.raises(SystemExit):
        main([str(files[0])])


@pytest.mark.parametrize('content', [None, '{}', '[1]', '['])
def test_a_bad_file_is_one_line(content, random_case, tmp_path, capsys):
    files = tmp_path / 'results.json', tmp_path / 'truth.json'
    files[1].write_text(json.dumps(random_case(5)[0]))
    if content is not None:
        files[0].write_text(content)
    with pytest.raises(SystemExit) as stop:
        run(main, [str(path) for path in files])
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and line.startswith(f'error: {files[0]}: ')
