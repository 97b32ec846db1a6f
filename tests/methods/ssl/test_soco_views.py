"""SoCo: box rules, and boxes that follow crop and flip through the real loader."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bench.contracts.images import ImageSet
from bench.contracts.views import Sample, Source
from bench.stages.proposals import ProposalTable
from bench.views.augment import MEAN, STD
from bench.views.loader import BatchOrder, make_loader, to_device
from bench.views.sample import NONE
from methods.ssl.soco.boxes import draw, inside, jitter, pad, usable_boxes
from methods.ssl.soco.views import SocoViews
from tests.methods.ssl.soco import VIEW_OF, soco

RULES = {"min_side": 32.0, "max_ratio": 3.0, "share": (0.3, 0.8)}
IMAGE = (0, 0, 640, 480)


def test_usable_boxes_by_hand() -> None:
    """640 x 480: sqrt(area) / 554.3 must lie in .3 .. .8, so sqrt(area) in 166.3 .. 443.4."""
    good, long, small, large, tiny = (
        [0, 0, 200, 200],
        [0, 0, 601, 200],
        [0, 0, 100, 120],
        [0, 0, 600, 470],
        [0, 0, 31, 200],
    )
    every = np.array([tiny, long, small, large, good], float)
    assert usable_boxes(every, IMAGE, **RULES).tolist() == [good]
    assert usable_boxes(every[:4], IMAGE, **RULES).tolist() == [small, large], (
        "without the rule of size"
    )
    assert usable_boxes(every[:2], IMAGE, **RULES).tolist() == [long], "nor that of aspect"
    assert usable_boxes(every[:1], IMAGE, **RULES).tolist() == [list(IMAGE)], "then the image"
    assert usable_boxes(every[:0], IMAGE, **RULES).tolist() == [list(IMAGE)]
    assert usable_boxes(every[2:3] / 4, (0, 0, 160, 120), **RULES).tolist() == [[0, 0, 25, 30]], (
        "scales"
    )


def test_boxes_are_cut_to_a_region_and_drawn_where_they_meet_a_crop() -> None:
    boxes = np.array([[10, 10, 60, 60], [0, 0, 20, 20], [90, 90, 99, 99], [20, 30, 30, 80]], float)
    cut = inside(boxes, (20, 20, 70, 70))
    assert cut.tolist() == [[20, 20, 60, 60], [20, 30, 30, 70]]
    rng = np.random.default_rng(0)
    assert draw(boxes, (60, 60, 90, 90), 4, rng).tolist() == [], "edges alone do not meet"
    for _ in range(20):
        found = draw(boxes, (15, 15, 40, 40), 2, rng)
        assert len(found) == len(np.unique(found, axis=0)) == 2
        assert {tuple(b) for b in found} <= {tuple(b) for b in boxes[[0, 1, 3]]}
    assert {tuple(b) for b in draw(boxes, (15, 15, 40, 40), 9, rng)} == {
        tuple(b) for b in boxes[[0, 1, 3]]
    }


def test_jitter_moves_by_at_most_a_tenth_and_half_of_the_boxes() -> None:
    box = np.tile([100.0, 200, 180, 260], (4000, 1))
    moved = jitter(box, IMAGE, 0.5, 0.1, np.random.default_rng(0))
    same = (moved == box).all(1)
    assert same.mean() == pytest.approx(0.5, abs=0.03)
    low = (moved[:, :2] - box[:, :2]) / [80, 60]
    sides = (moved[:, 2:] - moved[:, :2]) / [80, 60]
    assert np.abs(low).max() <= 0.1 + 1e-9
    assert np.abs(sides - 1).max() <= 0.1 + 1e-9
    assert np.abs(low[~same]).mean() == pytest.approx(0.05, abs=0.004)
    edge = jitter(np.tile([0.0, 0, 50, 50], (200, 1)), IMAGE, 1.0, 0.1, np.random.default_rng(1))
    assert edge.min() >= 0


def test_padding_repeats_boxes_and_their_ids() -> None:
    boxes = np.array([[1, 1, 2, 2], [3, 3, 4, 4]], float)
    padded, ids = pad(boxes, 5, np.random.default_rng(0))
    assert ids[:2].tolist() == [0, 1]
    assert (padded == boxes[ids]).all()
    assert len(ids) == 5


@dataclass
class Coloured(ImageSet):
    """Grey images with one pure red, one green and one blue rectangle, apart from one another."""

    folder: Path

    def __post_init__(self) -> None:
        self.name, self.split, self.classes = "coloured", "train", []
        self.ids = np.array([70, 30, 50])
        self.sizes = np.array([[192, 144], [128, 160], [150, 150]], np.int32)
        self.boxes = []
        for i, (width, height) in enumerate(self.sizes):
            image = np.full((height, width, 3), 128, np.uint8)
            cell, rng, boxes = width // 3, np.random.default_rng(i), []
            for at in range(3):
                x1 = at * cell + int(rng.integers(2, 6))
                y1 = int(rng.integers(5, height // 4))
                x2, y2 = (at + 1) * cell - int(rng.integers(2, 6)), y1 + height // 2
                image[y1:y2, x1:x2] = 0
                image[y1:y2, x1:x2, 2 - at] = 255  # OpenCV writes BGR: red, green, blue
                boxes.append([x1, y1, x2, y2])
            self.boxes.append(np.array(boxes, np.float32))
            cv2.imwrite(str(self.file(i)), image)

    def file(self, index: int) -> Path:
        return self.folder / f"{index}.png"

    def table(self) -> ProposalTable:
        """Proposals stored in another order than the images, so that they must be found by id."""
        order = np.argsort(self.ids)
        first = np.arange(0, 3 * len(order) + 1, 3)
        return ProposalTable(
            self.ids[order], first, np.concatenate([self.boxes[i] for i in order]), np.ones(9)
        )


@dataclass
class Plain:
    """The viewer without colour operations; its flips stay."""

    viewer: SocoViews

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        sample = self.viewer(sources, rng)
        return Sample([replace(v, augment=NONE) for v in sample.views], sample.extra)


@dataclass
class Sources:
    boxes: tuple
    count: int = 3

    def __len__(self) -> int:
        return self.count

    def sources(self, index: int, rng: np.random.Generator) -> list[Source]:
        return [Source(index, b) for b in self.boxes]


def batches(folder: Path, boxes: tuple = (None, None), epochs: int = 12, **settings: object):  # type: ignore[no-untyped-def]
    images = Coloured(folder)
    method = soco(share=(0.05, 0.9), min_side=0, **settings)
    viewer = Plain(SocoViews(method.params, images.table(), images.ids, images.sizes))
    order = BatchOrder(3, 3, epochs, 0)
    for step, batch in enumerate(make_loader(images, Sources(boxes), viewer, 5, order, 0)):
        yield images, to_device(batch, "cpu", step, epochs)


def rgb(images: torch.Tensor) -> torch.Tensor:
    return images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)


def coloured_box(image: torch.Tensor, colour: int) -> list[float]:
    """The rectangle of a colour, by its saturation above half; pixel edges."""
    other = image[[c for c in range(3) if c != colour]].max(0).values
    ys, xs = torch.nonzero(image[colour] - other > 0.5, as_tuple=True)
    return [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]


@pytest.mark.parametrize("boxes", [(None, None), ((10.0, 4.0, 120.0, 100.0),) * 2])
def test_boxes_follow_crop_resize_and_flip(tmp_path: Path, boxes: tuple) -> None:
    """Each box of each view lies on the rectangle of its colour in the loaded pixels."""
    seen, flips = 0, set()
    for _, batch in batches(tmp_path, boxes, jitter_p=0.0):
        assert {r: v.images.shape[-1] for r, v in batch.views.items()} == {
            "view1": 64,
            "view2": 64,
            "view3": 32,
        }
        for row, role in enumerate(VIEW_OF):
            view = batch.views[role]
            flips |= {(role, bool(f)) for f in view.flipped}
            for n, picture in enumerate(rgb(view.images)):
                for box in batch.extra["boxes"][n, row]:
                    if float((box[2:] - box[:2]).min()) < 6:
                        continue
                    x, y = ((box[:2] + box[2:]) / 2).long().tolist()
                    colour = int(picture[:, y, x].argmax())
                    assert float(picture[colour, y, x]) > 0.9, "the box's middle is a rectangle's"
                    assert coloured_box(picture, colour) == pytest.approx(box.tolist(), abs=1.0)
                    seen += 1
    assert seen > 200
    assert len(flips) == 6, "every view is flipped at times and at times not"


def test_equal_ids_are_equal_colours_and_view3_may_show_view2s_crop(tmp_path: Path) -> None:
    for images, batch in batches(tmp_path, epochs=4, jitter_p=0.0, v3="downsampled"):
        assert torch.equal(batch.views["view2"].boxes, batch.views["view3"].boxes)
        sizes = torch.tensor(images.sizes)[batch.views["view1"].index]
        assert torch.equal(batch.views["view1"].boxes[:, 2:], sizes.float()), "the whole image"
        boxes, ids = batch.extra["boxes"], batch.extra["ids"]
        for n in range(3):
            colours: dict[int, set[int]] = {}
            for row, role in enumerate(VIEW_OF):
                picture = rgb(batch.views[role].images[n])
                for box, name in zip(boxes[n, row], ids[n, row], strict=True):
                    if float((box[2:] - box[:2]).min()) >= 6:
                        x, y = ((box[:2] + box[2:]) / 2).long().tolist()
                        colours.setdefault(int(name), set()).add(int(picture[:, y, x].argmax()))
            assert all(len(c) == 1 for c in colours.values()), (
                "v3 downsampled: both pairs share their boxes"
            )
    independent = [b.views for _, b in batches(tmp_path, epochs=4)]
    assert not any(torch.equal(v["view2"].boxes, v["view3"].boxes) for v in independent)


def test_without_common_boxes_the_whole_views_correspond(tmp_path: Path) -> None:
    """Paired crops whose boxes share no pixel."""
    for _, batch in batches(tmp_path, ((0, 0, 40, 60), (60, 70, 120, 140)), epochs=2):
        boxes = batch.extra["boxes"]
        assert torch.equal(boxes[:, :3], torch.tensor([0, 0, 64, 64.0]).expand(3, 3, 4, 4))
        assert torch.equal(boxes[:, 3], torch.tensor([0, 0, 32, 32.0]).expand(3, 4, 4))
        assert not batch.extra["ids"].any()
    images = Coloured(tmp_path)
    viewer = SocoViews(soco().params, images.table(), images.ids, images.sizes)
    sample = viewer([Source(0), Source(1)], np.random.default_rng(0))
    assert [v.image for v in sample.views] == [0, 1, 1]
    assert sample.extra["boxes"][0].tolist() == [[0, 0, 64, 64]] * 4


def test_absolute_pixels_are_the_images_own() -> None:
    """32 pixels on a picture of 160 x 120, whose scaled rule asks for 8."""
    region, box = (0.0, 0.0, 160.0, 120.0), np.array([[10.0, 10.0, 40.0, 50.0]])
    assert usable_boxes(box, region, 32, 3, (0, 1), "scaled").tolist() == box.tolist()
    assert usable_boxes(box, region, 32, 3, (0, 1), "absolute").tolist() == [list(region)]


def test_the_ends_of_every_rule_are_inside_it() -> None:
    """480 x 480: sides from 32, aspect up to 3, sqrt(area) from .3 x 480 = 144 to .8 x 480."""

    def usable(*boxes: list[float]) -> list[list[float]]:
        found: list[list[float]] = usable_boxes(
            np.array(boxes, float), (100, 50, 580, 530), **RULES
        ).tolist()
        return found

    large, small = [100, 50, 484, 434], [110, 60, 254, 204]
    assert usable([100, 50, 484, 434.1], large, [110, 60, 254, 203.9], small) == [large, small]
    assert usable([100, 50, 401, 150], long := [100, 50, 400, 150]) == [long], "aspect 3"
    # too small a share both: the rule of size is the first to be dropped
    assert usable([100, 50, 196, 81.9], thin := [100, 50, 196, 82]) == [thin], "32 high"


def test_boxes_move_and_grow_inside_their_region_wherever_that_is() -> None:
    """Written as one reads it, from the same draws: the corner by U(-r, r) of the sides, the sides
    by 1 + U(-r, r), cut to the region."""
    region, ratio = (100.0, 200.0, 160.0, 240.0), 0.4
    rng = np.random.default_rng(3)
    low = np.array(region[:2]) + rng.uniform(0, [40, 25], (200, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 15, (200, 2))], 1)
    draws = np.random.default_rng(9).uniform(-ratio, ratio, (200, 4))
    found, cut = jitter(boxes, region, 1.0, ratio, np.random.default_rng(9)), 0
    for (x1, y1, x2, y2), (dx, dy, dw, dh), new in zip(boxes, draws, found, strict=True):
        left, top = x1 + dx * (x2 - x1), y1 + dy * (y2 - y1)
        exact = [left, top, left + (1 + dw) * (x2 - x1), top + (1 + dh) * (y2 - y1)]
        want = [min(max(v, region[i % 2]), region[2 + i % 2]) for i, v in enumerate(exact)]
        cut += want != exact
        assert new.tolist() == pytest.approx(want)
    assert cut > 5
    assert np.array_equal(jitter(boxes, region, 0.0, ratio, np.random.default_rng(9)), boxes)


def test_a_box_meets_a_crop_if_it_does_in_both_directions() -> None:
    """Boxes that touch the crop at one of its four edges, then a pixel nearer."""
    crop, rng = (20, 100, 40, 140), np.random.default_rng(0)
    left, right = [0, 110, 20, 120], [40, 110, 50, 120]
    above, below = [25, 90, 30, 100], [25, 140, 30, 150]
    touching = np.array([left, right, above, below], float)
    assert len(draw(touching, crop, 9, rng)) == 0
    nearer = np.tile([[1, 0], [-1, 0], [0, 1], [0, -1]], 2)
    assert len(draw(touching + nearer, crop, 9, rng)) == 4
