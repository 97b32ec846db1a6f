"""Edge Boxes: what they surround, their frame, their edges, scaling back, flat images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bench.contracts.context import StageContext
from bench.contracts.registry import load
from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.data.boxes import iou
from bench.data.scenes.draw import draw_scene
from methods.proposals.edge_boxes.edges import gradient_edges
from tests.methods.crops.sets import Boxed

EDGE_BOXES: Any = load("proposals", "edge_boxes")


def make(**settings: object) -> Any:
    return EDGE_BOXES(EDGE_BOXES.Params(**settings))


def square(box: tuple[int, int, int, int], size: tuple[int, int] = (320, 240)) -> np.ndarray:
    """A white rectangle on black."""
    x1, y1, x2, y2 = box
    image = np.zeros((size[1], size[0], 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    return image


@pytest.mark.parametrize("box", [(70, 60, 200, 160), (150, 90, 260, 210), (30, 40, 110, 200)])
def test_the_best_box_is_the_contour(box: tuple[int, int, int, int]) -> None:
    boxes, scores = make().propose(square(box), 0)
    assert iou(boxes[:1].astype(float), np.array([box], float))[0, 0] > 0.9
    assert (np.diff(scores) <= 0).all()
    assert scores[0] > 0.1


def test_boxes_are_opencvs_with_the_first_pixel_put_back() -> None:
    image = draw_scene(0, 1).image
    boxes, scores = make(min_area=480**2 / 9, top=10_000).propose(image, 0)
    maker = cv2.ximgproc.createEdgeBoxes(
        alpha=0.65,
        beta=0.75,
        minScore=0.01,
        maxBoxes=10_000,
        maxAspectRatio=3,
        minBoxArea=(min(image.shape[:2]) / 3) ** 2,
    )
    theirs, values = maker.getBoundingBoxes(*gradient_edges(image))
    theirs = {
        (x - 1, y - 1, x + w, y + h): round(float(v), 5)
        for (x, y, w, h), v in zip(theirs, np.ravel(values), strict=True)
    }
    assert len(boxes) > 20
    assert {
        tuple(b): round(float(s), 5)
        for b, s in zip(boxes.astype(int).tolist(), scores, strict=True)
    } == theirs


def test_a_box_may_start_at_the_first_pixel() -> None:
    boxes, _ = make(min_area=30_000).propose(square((4, 4, 316, 236)), 0)
    assert boxes.min() == 0
    assert boxes[:, 2].max() == 320
    assert iou(boxes.astype(float), np.array([(0, 0, 320, 240)], float)).max() > 0.9


def test_edges_are_thin_lie_on_the_contour_and_point_across_it() -> None:
    edges, orientation = gradient_edges(square((100, 60, 200, 160)))
    assert edges.dtype == orientation.dtype == np.float32
    assert edges.max() == 1
    assert set(np.nonzero(edges[110])[0]) <= {98, 99, 100, 101, 198, 199, 200, 201}
    assert set(np.nonzero(edges[:, 150])[0]) <= {58, 59, 60, 61, 158, 159, 160, 161}
    x, y = edges[110].argmax(), edges[:, 150].argmax()
    # a vertical edge: gradient along x
    assert np.sin(orientation[110, x]) == pytest.approx(0, abs=0.02)
    assert orientation[y, 150] == pytest.approx(np.pi / 2, abs=0.02)
    assert ((orientation >= 0) & (orientation <= np.pi)).all()


def test_the_strongest_channel_counts() -> None:
    grey = square((100, 60, 200, 160))
    for channel in range(3):
        coloured = np.zeros_like(grey)
        coloured[..., channel] = grey[..., channel]
        np.testing.assert_allclose(gradient_edges(coloured)[0], gradient_edges(grey)[0], atol=1e-6)


def test_the_least_area_follows_the_image() -> None:
    """minBoxArea 1000 at a short side of 480 is 250 at 240."""
    image = draw_scene(0, 4).image
    for factor in (1, 2):
        large = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
        boxes = make(min_area=20_000, top=10_000).propose(large, 0)[0]
        sides = boxes[:, 2:] - boxes[:, :2]
        least = 20_000 * (min(large.shape[:2]) / 480) ** 2
        assert 0.5 * least < sides.prod(1).min() < 1.5 * least


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (3, 7), (20, 20), (8, 300)])
def test_a_flat_or_tiny_image_gives_itself(shape: tuple[int, int]) -> None:
    boxes, scores = make().propose(np.full((*shape, 3), 7, np.uint8), 0)
    assert boxes.tolist() == [[0, 0, shape[1], shape[0]]]
    assert scores.tolist() == [0]


@pytest.mark.parametrize("shape", [(1, 50), (3, 7), (5, 5), (20, 20), (17, 90)])
def test_tiny_images_give_finite_scores_and_boxes_inside(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    boxes, scores = make().propose(image, 0)
    assert np.isfinite(scores).all()
    assert (np.diff(scores) <= 0).all()
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= [shape[1], shape[0]]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def prepared(
    folder: Path, images: Boxed, inputs: dict[str, Path] | None = None, **settings: object
) -> Any:
    stage = Stage("proposals", "edge_boxes", 1, {}, "")
    folder.mkdir(exist_ok=True)
    return make(**settings).prepare(
        StageContext(stage, folder, inputs or {}, Runtime(home=folder, database="")), images
    )


class Square(Boxed):
    def image(self, index: int) -> np.ndarray:
        return square((100, 60, 200, 160))


def test_max_side_scales_boxes_back(tmp_path: Path) -> None:
    images = Square([(320, 240)], [[]])
    boxes, scores = prepared(tmp_path, images, max_side=160)(0, 0)
    half = cv2.resize(images.image(0), (160, 120), interpolation=cv2.INTER_AREA)
    theirs, values = make().propose(half, 0)
    assert np.array_equal(boxes, theirs * 2)
    assert np.array_equal(scores, values)
    assert iou(boxes[:1].astype(float), np.array([(100, 60, 200, 160)], float)).max() > 0.6


def test_the_result_says_which_edges_were_used(tmp_path: Path) -> None:
    prepared(tmp_path, Boxed([], []))
    assert json.loads((tmp_path / "model.json").read_text()) == {
        "edges": "image gradients",
        "supervised": False,
    }


def test_what_is_no_model_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(BadInput, match="no structured-forest model"):
        prepared(tmp_path / "a", Boxed([], []), {"model": folder})
    for text in (
        "",
        "rubbish",
        "%YAML:1.0\n---\nnothing: 1\n",
        "%YAML:1.0\n---\noptions:\n   stride: 2\n",
    ):
        (folder / "x.yml").write_text(text)
        with pytest.raises(BadInput, match=r"x\.yml is no structured-forest edge model"):
            prepared(tmp_path / "b", Boxed([], []), {"model": folder})
