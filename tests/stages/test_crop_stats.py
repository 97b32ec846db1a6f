"""Objectness statistics against loops over pixels, published formulas and a bootstrap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from bench.contracts.context import StageContext
from bench.contracts.views import Source
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.stages import crop_stats
from bench.stages.crop_stats import Job, group_by_image, pool_over_groups, summarise
from tests.methods.crops.sets import Boxed, crop, table
from tests.small_set import SmallSet


class Fixed:
    """Samples with the sources given."""

    def __init__(self, samples: list[list[Source]]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def sources(self, index: int, rng: np.random.Generator) -> list[Source]:
        return self.samples[index]


def pairs(*boxes: tuple[float, float, float, float]) -> list[list[Source]]:
    """A pseudo-image sample of image 0 for each box, without a random crop."""
    return [[Source(0, box, scale=(1.0, 1.0))] * 2 for box in boxes]


def of_image(
    images: Any, samples: list[list[Source]], source: Any = "boxes", seeds: int = 1
) -> dict[str, Any]:
    return Job(images, source, group_by_image(Fixed(samples), images, seeds), seeds)(0)


def test_objectness_and_its_classes_by_hand() -> None:
    """An object over the left 10 of 50 columns: 0, 20, 50, 80, 100 % of a crop; poor < 20, precise
    > 80."""
    images = Boxed([(50, 10)], [[(0, 0, 10, 10)]])
    crops = [
        (10, 0, 20, 10),
        (0, 0, 50, 10),
        (0, 0, 20, 10),
        (2, 0, 12, 10),
        (0, 0, 10, 5),
        (0, 0, 12, 10),
    ]
    found = of_image(images, pairs(*crops))
    assert found["objectness"].tolist() == pytest.approx([0, 0.2, 0.5, 0.8, 1, 10 / 12])
    assert found["poor"].tolist() == [True, False, False, False, False, False]
    assert found["coarse"].tolist() == [False, True, True, True, False, False]
    assert found["precise"].tolist() == [False, False, False, False, True, True]
    assert found["area"].tolist() == pytest.approx([0.2, 1, 0.4, 0.2, 0.1, 0.24])
    assert found["side"].tolist() == pytest.approx(np.sqrt([100, 500, 200, 100, 50, 120]))


def test_coverage_is_half_an_object_in_one_crop() -> None:
    """Crops hold 50 % and 49 % of objects 0 and 1; object 2 only by two crops together; 3 is
    difficult."""
    objects = [[(0, 0, 20, 10), (30, 0, 130, 10), (200, 0, 220, 10), (300, 0, 310, 10)]]
    images = Boxed([(400, 10)], objects, difficult=[(0, 3)])
    crops = [
        (0, 0, 10, 10),
        (30, 0, 79, 10),
        (200, 0, 209, 10),
        (209, 0, 218, 10),
        (300, 0, 310, 10),
    ]
    assert of_image(images, pairs(*crops))["coverage"].tolist() == [1, 0, 0]
    assert of_image(images, pairs(*crops), seeds=2)["coverage"].tolist() == [1, 0, 0] * 2
    assert of_image(images, [], seeds=3)["coverage"].tolist() == [0] * 9  # no crop covers nothing


def test_overlap_is_the_iou_of_every_pair_of_crops() -> None:
    images = Boxed([(40, 10)], [[]])
    found = of_image(images, pairs((0, 0, 20, 10), (10, 0, 30, 10), (20, 0, 40, 10)))
    assert found["overlap"].tolist() == pytest.approx([1 / 3, 0, 1 / 3])
    assert of_image(images, pairs((0, 0, 20, 10)))["overlap"].tolist() == []


def test_shared_objectness_is_that_of_the_views_intersection() -> None:
    """The object covers columns 10..20; views 0..15 and 5..25 share 5..15, half of it object."""
    images = Boxed([(40, 10)], [[(10, 0, 20, 10)]])
    exact = {"scale": (1.0, 1.0)}
    samples = [
        [Source(0, (0, 0, 15, 10), **exact), Source(0, (5, 0, 25, 10), **exact)],  # type: ignore[arg-type]
        [Source(0, (0, 0, 10, 10), **exact), Source(0, (30, 0, 40, 10), **exact)],  # type: ignore[arg-type]
    ]
    found = of_image(images, samples)
    assert found["view_iou"].tolist() == pytest.approx([10 / 25, 0])
    assert found["shared_objectness"].tolist() == [0.5]  # views that do not meet share nothing


def test_a_sample_counts_each_of_its_boxes_once() -> None:
    """Equal boxes are one region, a pair of different ones two; a small view is a drawn crop."""
    images = Boxed([(60, 40)], [[]])
    box = (0, 0, 30, 30)
    small = Source(0, None, scale=(0.1, 0.1), role="small")
    samples = [[Source(0, box)] * 2, [Source(0, box), Source(0)], [Source(0)] * 2 + [small] * 3]
    (drawn,) = group_by_image(Fixed(samples), images, 2)
    per_seed = [drawn.regions[drawn.seeds == s].tolist() for s in (0, 1)]
    assert [len(p) for p in per_seed] == [1 + 2 + 4, 7]
    assert per_seed[0][:4] == [[*box], [*box], [0, 0, 60, 40], [0, 0, 60, 40]]
    assert per_seed[0][:4] == per_seed[1][:4]
    areas = [(r[2] - r[0]) * (r[3] - r[1]) for r in per_seed[0][4:]]
    assert all(200 < a < 280 for a in areas)  # a tenth of 2400
    assert per_seed[0][4:] != per_seed[1][4:]  # another epoch draws anew
    assert drawn.views.shape == (6, 2, 4)


def test_on_scenes_it_is_a_loop_over_pixels(tmp_path: Path) -> None:
    images = SmallSet(tmp_path, 3)
    rng = np.random.default_rng(0)
    for source in ("boxes", "masks"):
        for index in range(3):
            width, height = map(int, images.sizes[index])
            low = rng.integers(0, [width - 30, height - 30], (4, 2))
            crops = np.concatenate([low, low + rng.integers(5, 30, (4, 2))], 1)
            samples = [[Source(index, tuple(map(float, c)), scale=(1.0, 1.0))] * 2 for c in crops]  # type: ignore[arg-type]
            job = Job(images, source, group_by_image(Fixed(samples), images, 1))  # type: ignore[arg-type]
            truth = np.zeros((height, width), bool)
            for mask, box in zip(images.masks[index], images.objects(index).boxes, strict=True):
                if source == "masks":
                    truth |= np.asarray(mask, bool)
                else:
                    x1, y1, x2, y2 = np.rint(box).astype(int)
                    truth[y1:y2, x1:x2] = True
            expected = [float(truth[b:d, a:c].mean()) for a, b, c, d in crops]
            assert job(index)["objectness"].tolist() == pytest.approx(expected)


def test_pooling_by_hand() -> None:
    """Groups (2, 3), (1): mean 2; ratio estimator by hand; one group or none has no interval."""
    found = pool_over_groups([np.array([2.0, 3.0]), np.array([]), np.array([1.0])])
    assert found["mean"] == pytest.approx(2)
    assert found["n"] == 3
    spread = np.sqrt(2 / 1 * ((5 - 2 * 2) ** 2 + (1 - 2) ** 2)) / 3
    assert found["ci95"] == pytest.approx(scipy_stats.t.ppf(0.975, 1) * spread)
    assert pool_over_groups([np.array([1.0, 2.0])]) == {"mean": 1.5, "ci95": None, "n": 2}
    assert pool_over_groups([np.array([])]) == {"mean": None, "ci95": None, "n": 0}


def test_with_one_value_a_group_the_interval_is_students() -> None:
    values = np.random.default_rng(0).normal(size=12)
    found = pool_over_groups([values[i : i + 1] for i in range(12)])
    low, high = scipy_stats.t.interval(0.95, 11, loc=values.mean(), scale=scipy_stats.sem(values))
    assert (found["mean"], found["ci95"]) == pytest.approx((values.mean(), (high - low) / 2))


def test_the_interval_is_that_of_a_bootstrap_over_images() -> None:
    """Crops of one image are alike, so images are drawn: the interval over crops would be half as
    wide."""
    rng = np.random.default_rng(0)
    groups = [rng.normal(rng.normal(1), 0.3, rng.integers(1, 9)) for _ in range(150)]
    found = pool_over_groups(groups)
    sums, counts = np.array([g.sum() for g in groups]), np.array([len(g) for g in groups])
    draws = rng.integers(0, 150, (8000, 150))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    half = scipy_stats.t.ppf(0.975, 149) * means.std(ddof=1)
    assert found["ci95"] == pytest.approx(half, rel=0.06)
    every = np.concatenate(groups)
    assert found["ci95"] > 1.6 * 1.96 * scipy_stats.sem(every)


def test_the_summary_counts_images_and_crops() -> None:
    images = Boxed([(50, 10)] * 3, [[(0, 0, 10, 10)], [], [(0, 0, 50, 10)]])
    samples = [
        *pairs((0, 0, 10, 10), (0, 0, 20, 10)),
        [Source(2, (0, 0, 50, 10), scale=(1.0, 1.0))] * 2,
    ]
    job = Job(images, "boxes", group_by_image(Fixed(samples), images, 2), 2)
    parts = [job(i) for i in range(3)]
    whole = [part.pop("image") for part in parts]
    assert whole == pytest.approx([0.2, 0, 1])
    found = summarise(parts, 3, 2)
    assert (found["images"], found["samples_per_epoch"], found["seeds"]) == (3, 3, 2)
    assert found["crops_per_image"] == pytest.approx(1)  # of one epoch, whatever the seeds
    assert found["images_without_crop"] == 1
    assert found["objectness"]["mean"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert found["objectness"]["n"] == 6
    assert found["side_quantiles"]["50"] == pytest.approx(np.sqrt(200))
    assert found["poor"]["mean"] + found["coarse"]["mean"] + found["precise"][
        "mean"
    ] == pytest.approx(1)
    json.dumps(found, allow_nan=False)


def run(
    folder: Path,
    images: Any,
    name: str,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
    **settings: Any,
) -> Any:
    folder.mkdir(parents=True)
    params = {
        "crop": crop(name, **settings).identity(),
        "split": "train",
        "source": "boxes",
        "seeds": 2,
    }
    monkeypatch.setattr(StageContext, "images", lambda self, role, split: images)
    boxes = [[(2.0, 3.0, 40.0, 33.0), (10.0, 5.0, 44.0, 40.0)]] * len(images)
    runtime = Runtime(home=folder, database="", workers=workers)
    crop_stats.run(
        StageContext(
            Stage("crop_stats", name, 1, params, ""),
            folder,
            table(folder / "p", images, boxes),
            runtime,
        )
    )
    return json.loads((folder / "stats.json").read_text())


@pytest.mark.parametrize("name", ["image", "gt", "obj_obj_dilate", "multi"])
def test_processes_change_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = SmallSet(tmp_path, 20)
    one, two = (run(tmp_path / str(n), images, name, n, monkeypatch) for n in (0, 2))
    assert one == two


def test_what_the_strategies_give_on_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poor < image; a partition's mean is near the image's; annotated boxes are all object (paper
    000)."""
    images = SmallSet(tmp_path, 12)
    found = {
        n: run(tmp_path / n, images, n, 0, monkeypatch)
        for n in ("poor", "image", "grid", "gt_pad", "gt")
    }
    mean = {n: f["objectness"]["mean"] for n, f in found.items()}
    assert mean["gt"] == 1
    assert mean["poor"] < mean["image"] < mean["gt_pad"] < mean["gt"]
    assert mean["grid"] == pytest.approx(mean["image"], abs=0.05)
    assert found["gt"]["coverage"]["mean"] == 1
    assert found["image"]["coverage"]["mean"] == 1
    assert found["image"]["crops_per_image"] == 1
    assert found["grid"]["crops_per_image"] == 5
    assert found["grid"]["overlap"]["mean"] == 0  # a partition
