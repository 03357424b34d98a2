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


def test_the_higher_score_takes_the_cell(coco, annotation, result):
    truth = coco([annotation(0, 0)])
    results = [result(0, 0, 0.6), result(0, 1, 0.9, category_id=2)]
    np.testing.assert_array_equal(confusion_matrix(truth, results, 0.5), [[0, 1, 0], [0, 0, 0], [1, 0, 0]])


def test_a_prediction_takes_the_best_cell_that_is_left(coco, annotation, result):
    truth = coco([annotation(0, 0), annotation(0, 2, category_id=2)])
    # The second prediction is nearer to the first cell, which is gone.
    results = [result(0, 0, 0.9), result(0, 0, 0.8)]
    np.testing.assert_array_equal(confusion_matrix(truth, results, 0.5), [[1, 0, 0], [1, 0, 0], [0, 0, 0]])


def test_crowds(coco, annotation, result):
    truth = coco([annotation(0, 0), annotation(15, 15, 20, iscrowd=1)])
    results = [result(20, 20), result(25, 30)]  # wholly inside, and half
    np.testing.assert_array_equal(confusion_matrix(truth, results, 0.5), [[0, 0, 1], [0, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(confusion_matrix(truth, results, 0.5, iou_thr=0.51)[2], [1, 0, 0])


def test_nothing(coco, annotation, result):
    assert not confusion_matrix(coco([]), [], 0.5).any()
    np.testing.assert_array_equal(confusion_matrix(coco([annotation(0, 0)]), [], 0.5)[0], [0, 0, 1])
    np.testing.assert_array_equal(confusion_matrix(coco([]), [result(0, 0)], 0.5)[2], [1, 0, 0])


def test_truth_as_prediction_on_consep(consep, as_results):
    counts = np.bincount([annotation['category_id'] for annotation in consep['annotations']], minlength=6)[1:]
    matrix = confusion_matrix(consep, as_results(consep['annotations']), 0.5)
    np.testing.assert_array_equal(matrix, np.diag(counts))
