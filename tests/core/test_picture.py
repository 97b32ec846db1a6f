"""Contact sheets and drawn boxes, pixel by pixel."""

from __future__ import annotations

import numpy as np

from bench.core.picture import PALETTE, contact_sheet, draw_boxes


def test_a_contact_sheet_holds_every_picture_unchanged() -> None:
    a, b, c = (np.full((h, w, 3), v, np.uint8) for h, w, v in ((4, 6, 10), (3, 5, 20), (2, 2, 30)))
    sheet = contact_sheet([[a, b], [c]], gap=2)
    assert sheet.shape == (4 + 2 + 2 + 2, 6 + 2 + 5 + 2, 3)
    assert (sheet[:4, :6] == 10).all()
    assert (sheet[:3, 8:13] == 20).all()
    assert (sheet[6:8, :2] == 30).all()
    assert (sheet == 255).all(2).sum() == sheet.shape[0] * sheet.shape[1] - 24 - 15 - 4


def test_boxes_are_drawn_on_their_own_edge_pixels_of_a_copy() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    drawn = draw_boxes(image, np.array([[3, 4, 13, 10], [20, 2, 28, 18]], np.float32))
    assert not image.any()
    assert drawn[4, 3].tolist() == drawn[9, 12].tolist() == list(PALETTE[0])
    assert drawn[2, 20].tolist() == drawn[17, 27].tolist() == list(PALETTE[1])
    assert drawn.any(2).sum() == 2 * (10 + 6) - 4 + 2 * (8 + 16) - 4
    assert not draw_boxes(image, np.zeros((0, 4))).any()
