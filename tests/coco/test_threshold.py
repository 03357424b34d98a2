import pytest

from mmcell.coco.threshold import choose_threshold, recorded_threshold, threshold_of, write_record
from mmcell.errors import InputError
from mmcell.io.files import write_json


def test_what_is_given_counts():
    assert choose_threshold(0, 0.4)[0] == 0
    for score in (-0.1, 1.5, float('nan')):
        with pytest.raises(InputError, match='--score-thr'):
            choose_threshold(score, 0.4)


@pytest.mark.parametrize('value', [None, 'high', float('nan'), -1, 2, [0.5]])
def test_what_is_no_threshold_is_none(value):
    assert threshold_of({'score_thr': value}) is None


def test_only_the_record_of_these_results_counts(tmp_path):
    results = tmp_path / 'val-results.json'
    assert recorded_threshold(results) is None
    write_record(results, {'checkpoint': 'a.pth'}, 0.3)
    assert recorded_threshold(results) == 0.3
    write_json(tmp_path / 'metrics.json', {'results': 'val-results.json', 'score_thr': 0.25})
    assert recorded_threshold(results) == 0.25
    write_json(tmp_path / 'metrics.json', {'results': 'test-results.json', 'score_thr': 0.25})
    assert recorded_threshold(results) == 0.3
    assert recorded_threshold(tmp_path / 'test-results.json') == 0.25
    assert recorded_threshold(tmp_path / 'other.json') is None
    (tmp_path / 'model.json').write_text('{')
    with pytest.raises(InputError, match=r'model\.json'):
        recorded_threshold(results)
