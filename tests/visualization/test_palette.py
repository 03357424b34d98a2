import itertools

import numpy as np
from skimage.color import rgb2lab

from mmcell.visualization.palette import MAX_COLOURS, class_colour, class_colours


def test_every_class_has_a_colour_of_its_own():
    assert len(set(class_colours(MAX_COLOURS))) == MAX_COLOURS
    assert class_colour(MAX_COLOURS) == class_colour(0)
    # The color of a class does not depend on how many there are.
    assert [class_colour(label) for label in (0, 40, 7, 300)] == [
        class_colours(400)[label] for label in (0, 40, 7, 300)
    ]
    assert np.ravel(class_colours(400)).min() >= 0 and np.ravel(class_colours(400)).max() <= 255


def test_colours_of_a_few_classes_are_far_apart():
    lab = rgb2lab(np.array(class_colours(20)) / 255)
    distances = [np.linalg.norm(one - other) for one, other in itertools.combinations(lab, 2)]
    assert min(distances) > 25
