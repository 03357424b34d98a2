"""Class probabilities in result dicts: cells have them, evaluation and submission do not see them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmcell.coco.cells import cells_of
from mmcell.coco.fuse import fuse_results
from mmcell.coco.results import probabilities_of, to_results
from mmcell.coco.submission import validate_submission, write_submission
from mmcell.coco.truth import load_truth
from mmcell.errors import InputError
from mmcell.evaluation.coco_ap import evaluate_coco
from mmcell.io.files import write_json


@pytest.fixture
def with_probabilities(dataset):
    """The results of `dataset`, each with a softmax in which its class has its score."""
    rows = np.random.default_rng(0).dirichlet(np.ones(4), len(dataset.results))
    results = []
    for result, row in zip(dataset.results, rows):
        probabilities = np.insert(row * (1 - result['score']), result['category_id'] - 1, result['score'])
        results.append({**result, 'probabilities': probabilities.tolist()})
    return results


def test_a_prediction_carries_them():
    softmax = torch.tensor([[0.7, 0.2, 0.1], [1 / 3, 1 / 3, 1 / 3]])
    prediction = dict(
        bboxes=torch.zeros(2, 4), scores=softmax[:, 0], labels=torch.zeros(2).long(), probabilities=softmax
    )
    results = to_results(1, prediction, [1, 2])
    assert [result['probabilities'] for result in results] == [[0.7, 0.2, 0.1], [0.333333] * 3]
    np.testing.assert_allclose(probabilities_of(results, 2), softmax, atol=1e-6)
    assert probabilities_of(results, 2).sum(axis=1) == pytest.approx([1, 1], abs=1e-15)
    del prediction['probabilities']
    assert 'probabilities' not in to_results(1, prediction, [1, 2])[0]


def test_cells_have_those_of_their_results(dataset, with_probabilities):
    truth = load_truth(dataset.truth)

    def cells(results, way='score'):
        return [found for _, found in cells_of(results, truth.images, truth.categories, way=way)]

    by_score = {result['score']: result['probabilities'] for result in with_probabilities}
    for ours, plain in zip(cells(with_probabilities), cells(dataset.results), strict=True):
        assert ours.label_map().tobytes() == plain.label_map().tobytes() and np.array_equal(ours.scores, plain.scores)
        expected = [by_score[score] for score in ours.scores.tolist()]
        np.testing.assert_allclose(ours.probabilities, np.reshape(expected, (-1, 5)))
    for found in cells(with_probabilities, 'votes'):
        np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    # Of an image of which one result lacks them, scores make them up.
    del with_probabilities[0]['probabilities']
    assert np.array_equal(cells(with_probabilities)[0].probabilities, cells(dataset.results)[0].probabilities)


@pytest.mark.parametrize('value', [None, 'high', [0.5], [0.2] * 6, [[0.2] * 5], [-0.2, 0.4, 0.4, 0.2, 0.2], [0.3] * 5])
def test_what_is_no_probability_is_refused(dataset, with_probabilities, value):
    truth = load_truth(dataset.truth)
    with_probabilities[1]['probabilities'] = value
    with pytest.raises(InputError, match='have probabilities that'):
        list(cells_of(with_probabilities, truth.images, truth.categories))


def test_average_precision_and_submission_do_not_change(dataset, with_probabilities, tmp_path):
    plain, ours = (evaluate_coco(load_truth(dataset.truth), each) for each in (dataset.results, with_probabilities))
    assert repr(plain.as_dict()) == repr(ours.as_dict())
    written = []
    for name, results in (('plain', dataset.results), ('ours', with_probabilities)):
        paths = write_submission(results, dataset.truth, tmp_path / name)
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]
    write_json(tmp_path / 'val-results.json', sorted(with_probabilities, key=lambda result: result['image_id']))
    assert validate_submission(tmp_path / 'val-results.json', dataset.truth) == len(dataset.results)


def test_fusion_hands_them_on(with_probabilities):
    # Fused with itself, a member stays what it is.
    fused = {result['score']: result for result in fuse_results([with_probabilities] * 2)}
    assert len(fused) == len(with_probabilities)
    for result in with_probabilities:
        assert fused[result['score']]['probabilities'] == pytest.approx(result['probabilities'], abs=1e-6)
