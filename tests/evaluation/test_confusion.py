"""The confusion matrix by mask IoU."""

import numpy as np

from mmcell.evaluation.confusion import confusion_matrix


def test_right_wrong_missed_and_false(coco, annotation, result):
    truth = coco([annotation(0, 0), annotation(0, 20), annotation(20, 0, category_id=2), annotation(20, 20)], images=2)
    results = [
        result(0, 1),
        result(0, 20, category_id=2),
        result(20, 0, category_id=2),
        result(20, 26),  # IoU 40 / 160
        result(0, 0, 0.4),  # below the threshold
        result(0, 0, image_id=2, category_id=2),
    ]
    matrix = confusion_matrix(truth, results, score_thr=0.5)
    np.testing.assert_array_equal(matrix, [[1, 1, 1], [0, 1, 0], [1, 1, 0]])


def test_an_object_under_two_classes_is_counted_once_under_the_better(coco, annotation, result):
    truth = coco([annotation(0, 0)])
    results = [result(0, 0, 0.6), result(0, 1, 0.9, category_id=2)]
    np.testing.assert_array_equal(confusion_matrix(truth, results, 0.5), [[0, 1, 0], [0, 0, 0], [0, 0, 0]])


def test_ways_to_resolve_are_handed_on(coco, annotation, result):
    truth = coco([annotation(0, 0)])
    results = [result(0, 0, 0.3), result(0, 0, 0.4, category_id=2)]
    assert confusion_matrix(truth, results, 0.5, way='score').tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]
    assert confusion_matrix(truth, results, 0.5, way='votes').tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_crowds_are_void(coco, annotation, result):
    truth = coco([annotation(0, 0), annotation(15, 15, 20, iscrowd=1)])
    # Wholly inside; half inside; just more than half.
    for places, alarms in (([(20, 20)], 0), ([(25, 30)], 1), ([(25, 29)], 0)):
        matrix = confusion_matrix(truth, [result(y, x) for y, x in places], 0.5)
        np.testing.assert_array_equal(matrix, [[0, 0, 1], [0, 0, 0], [alarms, 0, 0]])


def test_nothing(coco, annotation, result):
    assert not confusion_matrix(coco([]), [], 0.5).any()
    np.testing.assert_array_equal(confusion_matrix(coco([annotation(0, 0)]), [], 0.5)[0], [0, 0, 1])
    np.testing.assert_array_equal(confusion_matrix(coco([]), [result(0, 0)], 0.5)[2], [1, 0, 0])


def test_truth_as_prediction_on_consep(consep, as_results):
    counts = np.bincount([annotation['category_id'] for annotation in consep['annotations']], minlength=6)[1:]
    matrix = confusion_matrix(consep, as_results(consep['annotations']), 0.5)
    np.testing.assert_array_equal(matrix, np.diag(counts))
