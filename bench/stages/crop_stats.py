"""The crop_stats stage: how much object each crop of a strategy holds, and how its crops cover an
image.

Leaves `stats.json`, as `summarise` describes, and `per_image.npz`: for each measure its sum and
count in each image ("objectness_sum", "objectness_n", ...), and "image", the objectness of the
whole image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.views import Source
from bench.core.errors import BadInput
from bench.core.files import write_json
from bench.core.processes import parallel
from bench.core.seeds import rng_for
from bench.core.statistics import t_quantile
from bench.data.boxes import area, iou
from bench.data.objectness import Source as ObjectSource
from bench.data.objectness import count_in, integral, object_mask
from bench.stages.pretrain.setup import build_crop
from bench.views.sample import random_resized_crop, whole_pixels

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.views import Sampler

SCENE_SCALE = (0.2, 1.0)  # MoCo v2's view area range, which paper 001 measures intersections with
POOR, PRECISE = 0.2, 0.8  # paper 000, Fig. 3
COVERED = 0.5  # share of an object's box inside one crop from which it counts as covered
Kind = Literal["region", "view"]


def run(ctx: StageContext) -> None:
    """Measure the crop of `ctx.params` on a split of the data."""
    crop = build_crop(ctx.params["crop"])
    images = ctx.images("data", str(ctx.params["split"]))
    described = crop.with_every_region()
    sampler = described.sampler(images, dict(ctx.inputs))
    trained = sampler if described is crop else crop.sampler(images, dict(ctx.inputs))
    advance = ctx.progress.task(f"objectness {crop.name}", len(images))
    source = cast(ObjectSource, ctx.params["source"])
    seeds = int(ctx.params["seeds"])
    job = Job(images, source, group_by_image(sampler, images, seeds), seeds)
    per_image: list[dict[str, Any]] = []
    for part in parallel(job, range(len(images)), ctx.runtime.workers, 16):
        per_image.append(part)
        advance(1)
    whole = np.array([part.pop("image") for part in per_image])
    write_json(ctx.work / "stats.json", summarise(per_image, len(trained), seeds))
    arrays: dict[str, Any] = {"image": whole, **_sums(per_image)}
    np.savez(ctx.work / "per_image.npz", **arrays)


@dataclass(frozen=True)
class Drawn:
    """What one image got: regions (n, 4) with their seed (n,), and pairs of views (m, 2, 4) on
    whole pixels."""

    regions: np.ndarray
    seeds: np.ndarray
    views: np.ndarray


def group_by_image(sampler: Sampler, images: ImageSet, seeds: int) -> list[Drawn]:
    """Every sample's sources for `seeds` epochs, by image.

    A region is the box of a "view" source (equal ones of a sample count once) or, for multi-crop's
    small sources, which are defined by their scale alone, a drawn crop. Views are random crops
    with the source's scale, or with MoCo v2's where the method decides.
    """
    regions: list[list[tuple[int, Any]]] = [[] for _ in range(len(images))]
    views: list[list[Any]] = [[] for _ in range(len(images))]
    for seed in range(seeds):
        for index in range(len(sampler)):
            rng = rng_for(seed, "crop stats", index)
            sources = sampler.sources(index, rng)
            at = sources[0].image
            width, height = (int(v) for v in images.sizes[at])
            for box in dict.fromkeys(draw_region(s, width, height, rng) for s in sources):
                regions[at].append((seed, box))
            views[at].append([_view(s, width, height, rng) for s in sources[:2]])
    return [
        Drawn(
            np.array([box for _, box in r], np.int64).reshape(-1, 4),
            np.array([s for s, _ in r], np.int64),
            np.array(v, np.int64).reshape(-1, 2, 4),
        )
        for r, v in zip(regions, views, strict=True)
    ]


def draw_region(
    source: Source, width: int, height: int, rng: np.random.Generator
) -> tuple[float, ...]:
    """The region, xyxy in whole pixels, that a source stands for: its box, or for an extra view
    with a scale of its own a random resized crop inside it."""
    box = whole_pixels(source.box, width, height)
    if source.role == "view" or source.scale is None:
        return box
    return random_resized_crop(rng, box, source.scale)


def _view(source: Source, width: int, height: int, rng: np.random.Generator) -> tuple[float, ...]:
    return random_resized_crop(
        rng, whole_pixels(source.box, width, height), source.scale or SCENE_SCALE
    )


@dataclass(frozen=True)
class Job:
    """One image's sums, in any process."""

    images: ImageSet
    source: ObjectSource
    drawn: list[Drawn]
    seeds: int = 1

    def __call__(self, index: int) -> dict[str, Any]:
        drawn = self.drawn[index]
        width, height = (int(v) for v in self.images.sizes[index])
        table = integral(object_mask(self.images, index, self.source))
        shares = count_in(table, drawn.regions) / np.maximum(area(drawn.regions), 1)
        objects = self.images.objects(index)
        boxes = objects.boxes[~objects.crowd & ~objects.difficult].astype(np.float64)
        return {
            "image": float(table[-1, -1]) / (width * height),
            "objectness": shares,
            "poor": shares < POOR,
            "precise": shares > PRECISE,
            "coarse": (shares >= POOR) & (shares <= PRECISE),
            "area": area(drawn.regions) / (width * height),
            "side": np.sqrt(area(drawn.regions)),
            "coverage": _coverage(boxes, drawn, self.seeds),
            "overlap": _overlap(drawn),
            **_shared(table, drawn.views),
        }


def _by_seed(drawn: Drawn) -> Iterator[np.ndarray]:
    for seed in np.unique(drawn.seeds):
        yield drawn.regions[drawn.seeds == seed].astype(np.float64)


def _coverage(boxes: np.ndarray, drawn: Drawn, seeds: int) -> np.ndarray:
    """Per object and seed: does one region hold at least half of its box? Without regions, no."""
    if len(boxes) == 0 or len(drawn.regions) == 0:
        return np.zeros(len(boxes) * seeds)
    covered = []
    for regions in _by_seed(drawn):
        low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
        sides = np.maximum(high - low, 0)
        covered.append((sides[..., 0] * sides[..., 1] / area(boxes)[:, None]).max(1) >= COVERED)
    return np.concatenate(covered)


def _overlap(drawn: Drawn) -> np.ndarray:
    """IoU of every pair of regions that one seed drew in the image."""
    overlaps = []
    for regions in _by_seed(drawn):
        pairs = np.triu_indices(len(regions), 1)
        overlaps.append(iou(regions, regions)[pairs])
    return np.concatenate(overlaps) if overlaps else np.zeros(0)


def _shared(table: np.ndarray, views: np.ndarray) -> dict[str, np.ndarray]:
    """IoU of a sample's two views, and the share of object pixels in their intersection where they
    meet."""
    low = np.maximum(views[:, 0, :2], views[:, 1, :2])
    high = np.minimum(views[:, 0, 2:], views[:, 1, 2:])
    meet = (high > low).all(1)
    both = np.concatenate([low, high], 1)[meet]
    shared = np.zeros(len(views))
    shared[meet] = area(both)
    union = area(views[:, 0]) + area(views[:, 1]) - shared
    return {"view_iou": shared / union, "shared_objectness": count_in(table, both) / area(both)}


def summarise(per_image: Sequence[dict[str, Any]], samples: int, seeds: int) -> dict[str, Any]:
    """Means over all crops (objects, pairs) of all images, with 95 % intervals.

    {"objectness": {"mean", "ci95", "n"}, ...}: `mean` pools the crops of all images, as paper 000
    does; `ci95` is the half-width of the Student-t interval with images as the units that were
    drawn (crops of one image are alike), None for fewer than two; `n` counts the crops.
    """
    stats: dict[str, Any] = {
        name: pool_over_groups([np.asarray(image[name], np.float64) for image in per_image])
        for name in per_image[0]
    }
    sides = np.concatenate([image["side"] for image in per_image])
    stats["side_quantiles"] = {
        str(q): float(np.quantile(sides, q / 100)) if len(sides) else None
        for q in (10, 25, 50, 75, 90)
    }
    counts = [len(image["objectness"]) / seeds for image in per_image]
    stats["crops_per_image"] = float(np.mean(counts))
    stats["images_without_crop"] = sum(c == 0 for c in counts)
    return {"images": len(per_image), "samples_per_epoch": samples, "seeds": seeds, **stats}


def pool_over_groups(groups: Sequence[np.ndarray]) -> dict[str, Any]:
    """Mean over all values, and its interval by the ratio estimator over groups: with s_g the sum
    and n_g the count of a group, var = G / (G - 1) sum (s_g - mean n_g)^2 / (sum n_g)^2 (Cochran
    1977, section 6.4)."""
    sums = np.array([math.fsum(g) for g in groups])
    return pooled_sums(sums, np.array([len(g) for g in groups]), np.ones(len(groups)))


def pooled_sums(sums: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> dict[str, Any]:
    """`pool_over_groups` from every group's sum, count and weight, (G,) each:
    mean = sum w_g s_g / sum w_g n_g."""
    some = counts > 0
    sums, counts, weights = sums[some], counts[some], weights[some]
    total = int(counts.sum())
    if total == 0:
        return {"mean": None, "ci95": None, "n": 0}
    scale = math.fsum(weights * counts)
    mean = math.fsum(weights * sums) / scale
    if len(counts) < 2:
        return {"mean": mean, "ci95": None, "n": total}
    rest = math.fsum((weights * (sums - mean * counts)) ** 2)
    spread = math.sqrt(len(counts) / (len(counts) - 1) * rest) / scale
    return {"mean": mean, "ci95": t_quantile(0.975, len(counts) - 1) * spread, "n": total}


def _sums(per_image: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    sums = {
        f"{name}_sum": np.array([math.fsum(f[name]) for f in per_image]) for name in per_image[0]
    }
    return {
        **sums,
        **{f"{name}_n": np.array([len(f[name]) for f in per_image]) for name in per_image[0]},
    }


def tilt_to_objectness(
    stats: dict[str, Any], per_image: Mapping[str, np.ndarray], target: float
) -> dict[str, Any]:
    """`stats` over images weighed by w_i = exp(-t o_i), o_i the whole image's objectness, with the
    t that
    gives the images a weighted mean objectness of `target`: another data set's mix of small and
    large objects, as far as these images can show it. Counts, sizes in pixels and quantiles stay
    as they are.

    Raises BadInput if `target` is not between the smallest and the largest o_i.
    """
    weights = tilt(np.asarray(per_image["image"], np.float64), target)
    again = {
        name: pooled_sums(per_image[f"{name}_sum"], per_image[f"{name}_n"], weights)
        for name, value in stats.items()
        if isinstance(value, dict) and f"{name}_sum" in per_image
    }
    return {**stats, **again, "image_objectness": target}


def tilt(values: np.ndarray, target: float) -> np.ndarray:
    """(n,) weights exp(-t v), largest 1, with which the mean of `values` is `target` (exponential
    tilting: of all weights with that mean, the nearest to equal ones in Kullback-Leibler
    divergence)."""
    low, high = float(values.min()), float(values.max())
    if not low < target < high:
        raise BadInput(
            f"objectness of the images can only be weighed to a value between {low:.3f} and "
            f"{high:.3f}, the "
            f"extremes of these images, not {target:g}"
        )
    down, up = -1e4, 1e4
    for _ in range(200):
        t = (down + up) / 2
        logs = -t * values
        weights = np.exp(logs - logs.max())
        if float(weights @ values / weights.sum()) > target:
            down = t
        else:
            up = t
    return weights
