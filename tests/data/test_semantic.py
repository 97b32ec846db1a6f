"""What an image is about: single labels and image-level labels of sets of scenes, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np

from bench.contracts.images import Objects
from bench.data.semantic import image_labels, single_labels
from tests.methods.crops.sets import Boxed

SMALL, LARGE, MIDDLE = (0, 0, 10, 10), (10, 10, 60, 70), (0, 40, 40, 80)


def labelled(
    boxes: list[tuple[float, ...]],
    labels: list[int],
    crowd: Sequence[tuple[int, int]] = (),
    difficult: Sequence[tuple[int, int]] = (),
) -> int:
    """The single label of an image with these objects."""

    class One(Boxed):
        def objects(self, index: int) -> Objects:
            return replace(super().objects(index), labels=np.array(labels, np.int64))

    return int(single_labels(One([(100, 80)], [boxes], crowd=crowd, difficult=difficult))[0])


def test_a_single_label_is_the_largest_object_wherever_it_is_listed() -> None:
    for order in permutations(range(3)):
        boxes = [(SMALL, LARGE, MIDDLE)[i] for i in order]
        assert labelled(boxes, [5 + i for i in order]) == 6, "the class of LARGE"


def test_crowds_and_difficult_objects_give_no_single_label() -> None:
    boxes, labels = [LARGE, SMALL, MIDDLE], [6, 5, 7]
    assert labelled(boxes, labels, crowd=[(0, 0)]) == 7
    assert labelled(boxes, labels, difficult=[(0, 0), (0, 2)]) == 5
    assert labelled(boxes, labels, crowd=[(0, 0), (0, 1)], difficult=[(0, 2)]) == -1
    assert labelled([], []) == -1


def test_of_equally_large_objects_the_first_names_the_image() -> None:
    assert labelled([SMALL, (50, 0, 90, 40), MIDDLE], [1, 2, 3]) == 2
    assert labelled([MIDDLE, (50, 0, 90, 40), SMALL], [3, 2, 1]) == 3


def test_image_labels_by_hand() -> None:
    """1 present, 0 as difficult objects only, -1 absent; present wins over difficult."""

    class Two(Boxed):
        def objects(self, index: int) -> Objects:
            return replace(super().objects(index), labels=np.array([[2, 0, 2], [0, 1, 1]][index]))

    images = Two([(100, 80)] * 2, [[SMALL] * 3] * 2, difficult=[(0, 0), (0, 1), (1, 2)])
    images.classes = ["a", "b", "c", "d"]
    assert image_labels(images).tolist() == [[0, -1, 1, -1], [1, 1, -1, -1]]
