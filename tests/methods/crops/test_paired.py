"""Paired crops (paper 001) against boxes worked out by hand: size rule, s_min, dilation, shift,
released code."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from bench.contracts import registry
from bench.contracts.component import SCALES
from bench.contracts.views import Source
from bench.data.boxes import scaled_side
from methods.crops._paired import at_least, dilate, shift
from tests.methods.crops.sets import Boxed, crop, epoch, table

PAIRED = ("obj_scene", "obj_obj", "obj_obj_dilate", "obj_obj_shift", "dilate_dilate")
COCO = (640, 480)  # pixels count as the paper's here


def one_box(
    folder: Path, name: str, box: tuple[float, ...], size: tuple[int, int] = COCO, **settings: Any
) -> Any:
    images = Boxed([size], [[]])
    return crop(name, **settings).sampler(images, table(folder, images, [[box]]))


def ordered(pair: list[Source]) -> list[Source]:
    """The object view first: which of the two is query or key is drawn."""
    return sorted(pair, key=lambda s: s.kind)


def test_one_rule_scales_pixels() -> None:
    assert scaled_side(224, 640, 480) == 224
    assert scaled_side(224, 480, 1000) == 224
    assert scaled_side(224, 240, 320) == 112
    assert scaled_side(96, 144, 192) == pytest.approx(28.8)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((100, 100, 200, 150), (38, 13, 262, 237)),  # 224 around (150, 125)
        ((100, 100, 400, 150), (100, 13, 400, 237)),  # wide enough already
        ((100, 100, 400, 400), (100, 100, 400, 400)),  # large enough
        ((0, 0, 40, 40), (0, 0, 224, 224)),  # moved back into the image
        ((600, 440, 640, 480), (416, 256, 640, 480)),
        ((300, 200, 301, 200.5), (188.5, 88.25, 412.5, 312.25)),  # below 2 pixels: grows like any
    ],
)
def test_the_minimum_size_rule(box: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert at_least(np.array([box]), 224, COCO).tolist() == [list(map(float, expected))]


def test_a_window_larger_than_the_image_is_the_image() -> None:
    assert at_least(np.array([(10, 10, 20, 20)]), 224, (300, 120)).tolist() == [[0, 0, 224, 120]]
    assert at_least(np.array([(0, 3, 1, 5)]), 224, (1, 9)).tolist() == [[0, 0, 1, 9]]


def plain_released(
    box: tuple[float, ...], side: float, size: tuple[int, int]
) -> tuple[float, ...]:
    """METHODS 2.5, item 4, one axis after the other."""
    x1, y1, x2, y2 = box
    ends = []
    for low, high, length in ((x1, x2, size[0]), (y1, y2, size[1])):
        if high - low < side:
            if low - side / 2 > 0:
                low = low - side / 2
            else:
                low, high = 0, side
            if high + side / 2 < length:
                high = high + side / 2
            else:
                low = high - side
        ends.append((max(0, low), min(length, high)))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def test_the_released_codes_size_rule() -> None:
    for box, expected in [
        ((200, 200, 260, 240), (88, 88, 372, 352)),  # w + 224 by h + 224
        # only the low side; near the top 0..224, then + 112
        ((200, 100, 600, 140), (200, 0, 600, 336)),
        ((590, 200, 620, 460), (396, 200, 620, 460)),  # near the right: 224 before the end
        ((0, 0, 640, 480), (0, 0, 640, 480)),
    ]:
        assert at_least(np.array([box]), 224, COCO, "released_code").tolist() == [
            list(map(float, expected))
        ]
    rng = np.random.default_rng(0)
    for _ in range(200):
        size = (int(rng.integers(1, 700)), int(rng.integers(1, 700)))
        low = rng.uniform(0, size)
        box = (*low, *(low + rng.uniform(0, np.array(size) - low)))
        found = at_least(np.array([box]), 224, size, "released_code")[0]
        assert found.tolist() == pytest.approx(plain_released(box, 224, size))
    assert at_least(np.zeros((0, 4)), 224, COCO, "released_code").shape == (0, 4)


def test_dilation_by_hand() -> None:
    assert dilate((100, 100, 200, 200), 0.1, COCO) == (36, 52, 264, 248)  # 64 and 48 pixels
    assert dilate((10, 10, 630, 470), 0.1, COCO) == (0, 0, 640, 480)
    assert dilate((100, 100, 200, 200), 0.0, COCO) == (100, 100, 200, 200)
    # the released code moves each side by a part of its own coordinate
    assert dilate((10, 105, 200, 201), 0.2, COCO, "released_code") == (8, 84, 240, 241)


def test_shift_has_the_distance_and_every_direction() -> None:
    rng = np.random.default_rng(0)
    moves = []
    for _ in range(500):
        x1, y1, x2, y2 = shift((270, 190, 370, 290), 80, 100, COCO, rng)
        assert (x2 - x1, y2 - y1) == pytest.approx((100, 100))
        moves.append(complex(x1 - 270, y1 - 190))
    distance, angle = np.abs(moves), np.angle(moves)
    assert 80 <= distance.min() < 81
    assert 99 < distance.max() <= 100
    assert np.histogram(angle, 8, (-np.pi, np.pi))[0].min() > 35


def test_shift_stays_inside_the_image() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):  # in a corner a quarter of the directions is left
        x1, y1, x2, y2 = shift((0, 0, 100, 100), 80, 100, COCO, rng)
        assert 80 <= np.hypot(x1, y1) <= 100
        assert x1 >= 0
        assert y1 >= 0
    for _ in range(50):  # no direction fits: moved back, so nearer than asked
        x1, y1, x2, y2 = shift((10, 10, 630, 470), 80, 100, COCO, rng)
        assert 0 <= x1 <= 20
        assert 0 <= y1 <= 20
        assert (x2 - x1, y2 - y1) == pytest.approx((620, 460))
    assert shift((0, 0, 640, 480), 80, 100, COCO, rng) == (0, 0, 640, 480)


@pytest.mark.parametrize("size", [COCO, (320, 240), (1280, 960)])
def test_pixels_follow_the_image(size: tuple[int, int], tmp_path: Path) -> None:
    """Everything scales with the image: size rule, shift, dilation; so do all boxes."""
    factor, scaled = size[0] / 640, {"pixels": "scaled"}
    box = tuple(v * factor for v in (300, 220, 340, 260))
    inner = [v * factor for v in (208, 128, 432, 352)]
    object_, dilated = ordered(epoch(one_box(tmp_path, "obj_obj_dilate", box, size, **scaled))[0])
    assert object_.box == pytest.approx(inner)
    assert dilated.box == pytest.approx([v * factor for v in (144, 80, 496, 400)])
    object_, moved = ordered(epoch(one_box(tmp_path, "obj_obj_shift", box, size, **scaled))[0])
    assert object_.box == pytest.approx(inner)
    assert moved.box is not None
    assert 80 <= np.hypot(moved.box[0] - inner[0], moved.box[1] - inner[1]) / factor <= 100


def test_absolute_pixels_are_the_images_own_whatever_its_size(tmp_path: Path) -> None:
    """The authors' 224 and 80 to 100 pixels on an image of 1280 x 960, the default at `paper`."""
    box, size = (600.0, 440.0, 680.0, 520.0), (1280, 960)
    object_, moved = ordered(epoch(one_box(tmp_path, "obj_obj_shift", box, size))[0])
    assert object_.box == (528, 368, 752, 592)
    assert moved.box is not None
    assert 80 <= np.hypot(moved.box[0] - 528, moved.box[1] - 368) <= 100


@pytest.mark.parametrize("kind", ["method", "crop"])
def test_pixels_are_absolute_at_paper_and_scaled_below(kind: Literal["method", "crop"]) -> None:
    names = {
        "method": ["orl", "soco", "ccop"],
        "crop": ["obj_scene", "obj_obj", "obj_obj_dilate", "obj_obj_shift", "dilate_dilate"],
    }
    for name in names[kind]:
        rules = [registry.load(kind, name).resolve(s).params.pixels for s in SCALES]
        assert rules == ["scaled", "scaled", "absolute"], name


def test_the_pairs_of_every_strategy(tmp_path: Path) -> None:
    """A 300 x 240 box: area 72000 of 307200, so the s_min rule gives .2 / .234375 = .8533."""
    box = (100.0, 100.0, 400.0, 340.0)
    larger = (36.0, 52.0, 464.0, 388.0)
    scale = (pytest.approx(0.2 / 0.234375), 1.0)
    expected = {
        "obj_scene": [(box, "object", scale), (None, "scene", None)],
        "obj_obj": [(box, "object", scale)] * 2,
        "obj_obj_dilate": [(box, "object", scale), (larger, "scene", scale)],
        "dilate_dilate": [(larger, "object", scale)] * 2,
    }
    for name, pair in expected.items():
        found = ordered(epoch(one_box(tmp_path, name, box))[0])
        assert [(s.box, s.kind, s.scale) for s in found] == pair, name
        assert all((s.image, s.role, s.size) == (0, "view", None) for s in found)


def test_obj_scene_may_leave_the_s_min_rule_out(tmp_path: Path) -> None:
    """Paper 001 states the rule for dilate and shift; whether obj_scene's object view follows it
    is a setting, which is in no key while it has its default."""
    box = (100.0, 100.0, 400.0, 340.0)
    object_, scene = ordered(epoch(one_box(tmp_path, "obj_scene", box, s_min_rule=False))[0])
    assert (object_.box, object_.scale, scene.scale) == (box, None, None)
    assert "s_min_rule" not in crop("obj_scene").identity()["params"]
    assert crop("obj_scene", s_min_rule=False).identity()["params"]["s_min_rule"] is False


def test_the_order_of_the_views_is_drawn(tmp_path: Path) -> None:
    sampler = one_box(tmp_path, "obj_scene", (100, 100, 400, 340))
    first = [epoch(sampler, seed)[0][0].kind for seed in range(200)]
    assert 70 <= first.count("object") <= 130


def test_s_min_uses_the_mean_relative_area_after_the_size_rule(tmp_path: Path) -> None:
    images = Boxed([(480, 480), (960, 480)], [[], []])
    inputs = table(tmp_path, images, [[(0, 0, 480, 240), (9, 9, 19, 19)], [(0, 0, 480, 480)]])
    shares = [0.5, (224 / 480) ** 2, 0.5]
    sampler = crop("obj_obj").sampler(images, inputs)
    assert sampler.scale == (pytest.approx(0.2 / np.mean(shares)), 1.0)
    assert crop("obj_obj", s_min=0.1).sampler(images, inputs).scale[0] == pytest.approx(
        0.1 / np.mean(shares)
    )
    assert crop("obj_obj", s_min=None).sampler(images, inputs).scale is None
    full = crop("obj_obj", s_min=0.9).sampler(images, inputs).scale
    assert 0.99 < full[0] < 1  # never (1, 1): that would mean no random crop at all


def test_papers_coco_figure() -> None:
    """Boxes of 39 % of the image give .2 / .39 = .51 (section 3)."""
    import tempfile

    side = 480 * 0.39**0.5
    with tempfile.TemporaryDirectory() as folder:
        images = Boxed([(480, 480)], [[]])
        found = (
            crop("obj_obj")
            .sampler(images, table(Path(folder), images, [[(0, 0, side, side)]]))
            .scale
        )
    assert round(found[0], 2) == 0.51


def test_an_image_is_one_sample_of_one_of_its_first_n_boxes(tmp_path: Path) -> None:
    boxes = [[(i, 0, i + 300, 300) for i in range(12)], [], [(5, 5, 5, 9), (0, 0, 300, 300)]]
    images = Boxed([COCO] * 3, [[]] * 3)
    sampler = crop("obj_obj", n_crops=4).sampler(images, table(tmp_path, images, boxes))
    assert len(sampler) == 3
    drawn = [[pair[0].box for pair in epoch(sampler, seed)] for seed in range(200)]
    first = [one[0] for one in drawn]
    assert set(first) == {tuple(map(float, b)) for b in boxes[0][:4]}
    assert min(first.count(b) for b in set(first)) > 25
    assert {one[1] for one in drawn} == {(0, 0, 640, 480)}  # no box: the image
    assert {one[2] for one in drawn} == {(0, 0, 300, 300)}  # an empty box is none
    assert crop("obj_obj").params.n_crops == 10


def test_heads() -> None:
    assert {n: crop(n).heads() for n in PAIRED} == {
        "obj_scene": 2,
        "obj_obj": 1,
        "obj_obj_dilate": 2,
        "obj_obj_shift": 2,
        "dilate_dilate": 1,
    }
    assert {crop(n, two_heads=False).heads() for n in PAIRED} == {1}
    assert {crop(n, mode="released_code").heads() for n in PAIRED} == {1}
    assert {crop(n).heads() for n in ("image", "gt", "multi", "coarse")} == {1}


def test_released_code_has_a_sample_per_box_and_no_s_min(tmp_path: Path) -> None:
    images = Boxed([COCO] * 3, [[]] * 3)
    boxes = [[(i, 0, i + 300, 300) for i in range(3)], [], [(8, 8, 400, 400)]]
    inputs = table(tmp_path, images, boxes)
    sampler = crop("obj_obj", mode="released_code").sampler(images, inputs)
    found = [pair[0] for pair in epoch(sampler)]
    assert [s.image for s in found] == [0, 0, 0, 1, 2]
    assert [s.box for s in found] == [
        (0, 0, 300, 300),
        (1, 0, 301, 300),
        (2, 0, 302, 300),
        (0, 0, 640, 480),
        (8, 8, 400, 400),
    ]
    assert all(s.scale is None for s in found)


def test_released_code_dilates_before_the_size_rule(tmp_path: Path) -> None:
    """x: 190..410 is 220 wide, below 224: 78..522. Dilated by .2: 152..492, wide enough."""
    sampler = one_box(
        tmp_path, "obj_obj_dilate", (190, 100, 410, 400), mode="released_code", delta=0.2
    )
    object_, other = ordered(epoch(sampler)[0])
    assert object_.box == (78, 100, 522, 400)
    assert other.box == (152, 80, 492, 480)


def test_released_codes_obj_scene_only_resizes_the_object(tmp_path: Path) -> None:
    sampler = one_box(tmp_path, "obj_scene", (100, 100, 400, 340), mode="released_code")
    object_, scene = ordered(epoch(sampler)[0])
    assert (object_.box, object_.scale) == ((100, 100, 400, 340), (1.0, 1.0))
    assert (scene.box, scene.scale) == (None, None)


def test_released_codes_shift_is_two_windows_off_the_circle(tmp_path: Path) -> None:
    sampler = one_box(
        tmp_path, "obj_obj_shift", (0, 0, 9, 9), mode="released_code", shift_min=90, shift_range=0
    )
    moves = []
    for seed in range(300):
        pair = epoch(sampler, seed)[0]
        boxes = np.array([s.box for s in pair])
        assert np.allclose(boxes[:, 2:] - boxes[:, :2], 224)
        assert boxes.min() >= 0
        assert (boxes[:, 2:] <= COCO).all()
        assert all(s.scale == (1.0, 1.0) for s in pair)  # resized only
        moves.append(boxes[0, :2] - boxes[1, :2])
    radius = np.hypot(*np.array(moves).T)
    assert np.abs(moves).max() <= 90 + 1e-9
    assert radius.min() < 60  # cos and sin of different angles: no circle
    assert radius.max() > 105
    small = one_box(
        tmp_path, "obj_obj_shift", (0, 0, 9, 9), (300, 300), mode="released_code", shift_min=4000
    )
    assert epoch(small)[0] == [Source(0), Source(0)]  # nothing fits: two random crops of the image


def test_without_a_size_rule_a_speck_stays_and_shows_a_pixel(tmp_path: Path) -> None:
    from bench.views.sample import whole_pixels

    sampler = one_box(tmp_path, "obj_obj", (10.1, 10.1, 10.3, 10.4), min_size=0)
    (first, _) = epoch(sampler)[0]
    assert first.box == pytest.approx((10.1, 10.1, 10.3, 10.4))
    assert whole_pixels(first.box, *COCO) == (10, 10, 11, 11)
