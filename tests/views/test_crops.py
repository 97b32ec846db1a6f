"""Where a view is cropped and how it is resized: torchvision is the reference."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from bench.contracts.views import Augment, ViewSpec
from bench.views.loader import crop_resize
from bench.views.sample import choose_crop, random_resized_crop, whole_pixels


def picture(height: int = 90, width: int = 120) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [16, 32, 75, 160])
@pytest.mark.parametrize(
    "box", [(0, 0, 120, 90), (7, 11, 60, 86), (119, 89, 120, 90), (40, 3, 115, 78)]
)
def test_crop_resize_is_resized_crop(box: tuple[int, int, int, int], size: int, mode: str) -> None:
    image = picture()
    x1, y1, x2, y2 = box
    theirs = tv.resized_crop(
        torch.from_numpy(image).permute(2, 0, 1),
        y1,
        x1,
        y2 - y1,
        x2 - x1,
        [size, size],
        interpolation=v2.InterpolationMode(mode),
        antialias=True,
    )
    ours = crop_resize(image, box, size, mode)
    assert ours.shape == (3, size, size)
    assert ours.dtype == torch.uint8
    assert (ours.int() - theirs.int()).abs().max() <= 1


def test_a_read_only_image_warns_nothing_and_stays_as_it_is() -> None:
    image = picture()
    image.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for size in (90, 32):
            crop_resize(image, (0, 0, 90, 90), size)
            crop_resize(image, (0, 0, 120, 90), size)


def test_a_crop_at_the_target_size_shares_nothing_with_the_image() -> None:
    image = picture()
    crop_resize(image, (0, 0, 90, 90), 90).zero_()
    assert np.array_equal(image, picture())


whole = st.integers(0, 400)
side = st.integers(1, 500)


@given(whole, whole, side, side, st.floats(0.01, 1), st.floats(0, 1), st.integers(0, 2**32))
def test_random_resized_crop_stays_in_its_box(
    left: int, top: int, width: int, height: int, low: float, more: float, seed: int
) -> None:
    box = (left, top, left + width, top + height)
    rng = np.random.default_rng(seed)
    x1, y1, x2, y2 = random_resized_crop(rng, box, (low, low + (1 - low) * more))
    assert left <= x1 < x2 <= left + width
    assert top <= y1 < y2 <= top + height
    assert all(float(v).is_integer() for v in (x1, y1, x2, y2))


@pytest.mark.parametrize(
    ("size", "scale"),
    [
        ((192, 144), (0.2, 1.0)),
        ((60, 100), (0.08, 1.0)),
        ((200, 80), (0.3, 0.6)),
        ((300, 30), (0.2, 1.0)),
        ((20, 200), (0.9, 1.0)),
    ],
)
def test_random_resized_crop_has_torchvisions_distribution(
    size: tuple[int, int], scale: tuple[float, float]
) -> None:
    width, height = size
    n = 3000
    torch.manual_seed(0)
    transform = v2.RandomResizedCrop(8, scale=scale)
    image = torch.empty(3, height, width)
    given_ = [transform.make_params([image]) for _ in range(n)]
    theirs = np.array([(p["left"], p["top"], p["width"], p["height"]) for p in given_], float)
    rng = np.random.default_rng(0)
    boxes = np.array(
        [random_resized_crop(rng, (10, 20, 10 + width, 20 + height), scale) for _ in range(n)]
    )
    ours = np.concatenate([boxes[:, :2] - (10, 20), boxes[:, 2:] - boxes[:, :2]], 1)
    for name, a, b, span in [
        ("x", ours[:, 0], theirs[:, 0], width),
        ("y", ours[:, 1], theirs[:, 1], height),
        ("width", ours[:, 2], theirs[:, 2], width),
        ("height", ours[:, 3], theirs[:, 3], height),
        ("area", ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3], width * height),
    ]:
        at = [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98]
        difference = np.abs(np.quantile(a, at) - np.quantile(b, at)).max() / span
        assert difference <= max(0.035, 1.01 / span), (name, difference)


def test_the_fallback_is_torchvisions_central_crop() -> None:
    rng = np.random.default_rng(0)
    # a 300 x 30 strip has no crop of half its area within 3/4..4/3
    assert random_resized_crop(rng, (0, 0, 300, 30), (0.9, 1.0)) == (130, 0, 170, 30)
    assert random_resized_crop(rng, (5, 6, 35, 306), (0.9, 1.0)) == (5, 136, 35, 176)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (None, (0, 0, 100, 80)),
        ((10.4, 20.6, 30.5, 41.5), (10, 21, 30, 42)),  # half to even
        ((-5.0, -3.2, 200.0, 90.0), (0, 0, 100, 80)),
        ((50.1, 10.0, 50.3, 20.0), (50, 10, 51, 20)),  # an empty side grows to the right
        ((100.0, 80.0, 120.0, 99.0), (99, 79, 100, 80)),  # at the border to the left
        ((-20.0, -20.0, -10.0, -10.0), (0, 0, 1, 1)),
    ],
)
def test_whole_pixels(box: tuple[float, ...] | None, expected: tuple[int, ...]) -> None:
    assert whole_pixels(box, 100, 80) == expected  # type: ignore[arg-type]


edge = st.floats(-50, 500)


@given(edge, edge, edge, edge, st.integers(1, 400), st.integers(1, 400))
@settings(max_examples=200)
def test_whole_pixels_are_inside_and_not_empty(
    a: float, b: float, c: float, d: float, width: int, height: int
) -> None:
    x1, y1, x2, y2 = whole_pixels((a, b, c, d), width, height)
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height
    assert all(isinstance(v, int) for v in (x1, y1, x2, y2))


def test_without_scale_the_view_is_exactly_its_box() -> None:
    rng = np.random.default_rng(0)
    spec = ViewSpec("view", 0, (3, 4, 33, 44), 16, Augment())
    assert choose_crop(spec, 100, 80, rng) == (3, 4, 33, 44)
    inside = [
        choose_crop(
            ViewSpec("view", 0, (3, 4, 33, 44), 16, Augment(), scale=(0.2, 1)), 100, 80, rng
        )
        for _ in range(50)
    ]
    assert len(set(inside)) > 30
    assert all(x1 >= 3 and y1 >= 4 and x2 <= 33 and y2 <= 44 for x1, y1, x2, y2 in inside)


def test_every_place_of_a_crop_is_drawn_also_the_last() -> None:
    """A 2 x 3 crop of a 5 x 5 box has 4 columns and 3 rows to start at, all equally likely."""
    rng, box = np.random.default_rng(0), (10, 20, 15, 25)
    exact = (6 / 25, 6 / 25), (2 / 3, 2 / 3)
    drawn = [random_resized_crop(rng, box, *exact) for _ in range(2400)]
    assert {(x2 - x1, y2 - y1) for x1, y1, x2, y2 in drawn} == {(2, 3)}
    places = Counter((x1 - 10, y1 - 20) for x1, y1, _, _ in drawn)
    assert set(places) == {(x, y) for x in range(4) for y in range(3)}
    assert all(150 < n < 250 for n in places.values()), "200 each"


def test_a_crop_may_be_as_wide_or_as_high_as_its_box() -> None:
    rng = np.random.default_rng(0)
    wide = {random_resized_crop(rng, (0, 0, 8, 40), (0.2, 0.2), (1, 1)) for _ in range(400)}
    assert wide == {(0, y, 8, y + 8) for y in range(33)}
    high = {random_resized_crop(rng, (0, 0, 40, 8), (0.2, 0.2), (1, 1)) for _ in range(400)}
    assert high == {(x, 0, x + 8, 8) for x in range(33)}


def test_ten_tries_then_the_central_crop() -> None:
    """As torchvision: two draws each. No .9 crop of a 300 x 30 strip has an aspect up to 4/3."""
    rng, twin = np.random.default_rng(0), np.random.default_rng(0)
    random_resized_crop(rng, (0, 0, 300, 30), (0.9, 1.0))
    twin.random(2 * 10)
    assert rng.random() == twin.random()
