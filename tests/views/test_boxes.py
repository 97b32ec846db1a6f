"""Boxes in views: by hand, and against the pixels that a view shows."""

from __future__ import annotations

import numpy as np
import pytest

from bench.views.boxes import to_view
from bench.views.loader import crop_resize


def test_by_hand() -> None:
    box = np.array([[30, 20, 50, 60]])
    assert to_view(box, (20, 10, 60, 90), 80, False).tolist() == [[20, 10, 60, 50]]
    assert to_view(box, (20, 10, 60, 90), 80, True).tolist() == [[20, 10, 60, 50]]
    assert to_view(box, (40, 10, 80, 90), 80, False).tolist() == [[0, 10, 20, 50]], (
        "cut at the crop's edge"
    )
    assert to_view(box, (40, 10, 80, 90), 80, True).tolist() == [[60, 10, 80, 50]]
    assert to_view(box, (60, 10, 80, 90), 80, False)[0, 2] == 0, "outside: empty"
    assert to_view(np.zeros((0, 4)), (0, 0, 5, 5), 9, True).shape == (0, 4)


def test_flipping_twice_is_no_flip() -> None:
    once = to_view(np.array([[10.0, 20, 40, 60]]), (0, 10, 100, 110), 50, True)
    assert once.tolist() == [[30, 5, 45, 25]]
    assert to_view(once, (0, 0, 50, 50), 50, True).tolist() == [[5, 5, 20, 25]]


@pytest.mark.parametrize("flip", [False, True])
def test_a_rectangle_is_found_where_the_box_says(flip: bool) -> None:
    image = np.zeros((90, 120, 3), np.uint8)
    image[30:55, 40:75] = 255
    view = crop_resize(image, (20, 10, 100, 70), 160).numpy()[0]
    rows, columns = np.nonzero((view[:, ::-1] if flip else view) > 127)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert found == pytest.approx(
        to_view(np.array([[40, 30, 75, 55]]), (20, 10, 100, 70), 160, flip)[0].tolist(), abs=1.5
    )
