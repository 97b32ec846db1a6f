"""BING's training from boxes: stage 1, one linear filter for all sizes; stage 2, one line per
size."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.contracts.proposals import scale_back, shrink
from bench.core.errors import BadData, BadInput
from bench.core.files import write_json
from bench.core.processes import parallel
from bench.core.progress import Advance
from bench.core.seeds import rng_for
from bench.data.boxes import iou
from methods.proposals.bing.ng import SIZES, BingModel, W, gradient_map, window_boxes, window_sizes

OVERLAP = 0.5  # a window with this IoU with an object's box is a positive, with less a negative
NEGATIVES = 100  # random windows of an image
LEAST_POSITIVES = 10  # a size with fewer positive windows is no size of objects
C1, C2 = 1.0, 1.0  # weight of the loss against the norm, stages 1 and 2


def fit_svm(x: np.ndarray, y: np.ndarray, c: float) -> np.ndarray:
    """(n, d) and labels (n,) in {-1, 1} -> (d + 1,): weights and bias that minimise

        |w|^2 / 2 + b^2 / 2 + c sum_i max(0, 1 - y_i (w x_i + b))^2,

    the L2-regularised squared-hinge SVM of LIBLINEAR (its bias is regularised too), in float64.
    """
    from bench.nn.svm import PlainRows, solve

    rows = PlainRows(np.hstack([np.asarray(x, np.float64), np.ones((len(x), 1))]))
    point = solve(rows, y[:, None], np.array([c]), positive_weight=1.0, tol=1e-9)
    return np.asarray(point.coef[:, 0].numpy())


@dataclass(frozen=True)
class Annotated:
    """Image i of a training set as both stages see it: pixels and boxes, shrunk to `max_side`."""

    images: ImageSet
    max_side: int | None

    def __call__(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        image, factor = shrink(self.images.image(i), self.max_side)
        return image, scale_back(object_boxes(self.images, i), 1 / factor, image.shape)


def object_boxes(images: ImageSet, i: int) -> np.ndarray:
    """(n, 4) xyxy: objects that are neither crowds nor difficult."""
    objects = images.objects(i)
    return np.asarray(objects.boxes[~(objects.crowd | objects.difficult)])


@dataclass(frozen=True)
class StageOne:
    """The labelled windows of image i, in any process: features (n, 64) uint8, size of each, label
    of each.

    Positives: for every object and every size, the window nearest to the object's centre, if its
    IoU is at least 0.5; features are taken from the very maps that are searched later. Negatives:
    random windows.
    """

    source: Annotated
    scaled: bool
    seed: int

    def __call__(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image, boxes = self.source(i)
        rng = rng_for(self.seed, "bing windows", int(self.source.images.ids[i]))
        use, sides = window_sizes(image.shape[1], image.shape[0], self.scaled)
        if not len(use):
            return np.zeros((0, W * W), np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64)
        x: list[np.ndarray] = []
        sizes: list[np.ndarray] = []
        y: list[np.ndarray] = []
        share = rng.multinomial(NEGATIVES, np.full(len(use), 1 / len(use)))
        for at, size, negatives in zip(use, sides, share, strict=True):
            gradients = gradient_map(image, size)
            rows, columns = _around(boxes, gradients.shape, image.shape)
            limit = (gradients.shape[0] - W + 1, gradients.shape[1] - W + 1)
            rows = np.concatenate([rows, rng.integers(limit[0], size=negatives)])
            columns = np.concatenate([columns, rng.integers(limit[1], size=negatives)])
            best = _best(window_boxes(rows, columns, gradients.shape, image.shape), boxes)
            aimed = np.arange(len(rows)) < len(boxes)
            keep = aimed == (best >= OVERLAP)  # aimed and hit, or random and missed
            x.append(_cells(gradients, rows[keep], columns[keep]))
            y.append(np.where(aimed[keep], 1, -1))
            sizes.append(np.full(keep.sum(), at))
        return np.concatenate(x), np.concatenate(sizes), np.concatenate(y)


def _around(
    boxes: np.ndarray, shape: tuple[int, ...], image: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Cells (row, column) of the windows whose centres are nearest to those of the boxes."""
    scale = np.array([shape[1] / image[1], shape[0] / image[0]])
    centre = (boxes[:, :2] + boxes[:, 2:]).astype(np.float64) / 2 * scale
    corner = np.clip(np.rint(centre - W / 2), 0, np.array([shape[1], shape[0]]) - W).astype(
        np.int64
    )
    return corner[:, 1], corner[:, 0]


def _best(windows: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(n,): the largest IoU of each window with any of the boxes, 0 without boxes."""
    return np.asarray(iou(windows, boxes.astype(np.float64)).max(axis=1, initial=0))


def _cells(gradients: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    views = np.lib.stride_tricks.sliding_window_view(gradients, (W, W))
    return np.ascontiguousarray(views[rows, columns]).reshape(-1, W * W)


@dataclass(frozen=True)
class StageTwo:
    """What the filter finds in image i: size of each window, response of each, whether it holds an
    object."""

    source: Annotated
    model: BingModel

    def __call__(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        image, boxes = self.source(i)
        windows = self.model.windows(image)
        sizes = [np.full(len(s), at) for at, _, s in windows]
        hits = [_best(b, boxes) >= OVERLAP for _, b, _ in windows]
        return (
            np.concatenate([np.zeros(0, np.int64), *sizes]),
            np.concatenate([np.zeros(0, np.float32), *(s for _, _, s in windows)]),
            np.concatenate([np.zeros(0, bool), *hits]),
        )


def learn_template(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Windows (n, 64) uint8 and labels in {-1, 1} -> (W, W) float32, its own mirror image.

    It is the SVM of the windows and their mirror images together. That problem's one solution is
    symmetric, so it is solved for half a template, on sums of mirrored cells: u = (left + right) /
    sqrt(2) keeps |w|^2.
    """
    cells = x.reshape(-1, W, W).astype(np.float64) / 255
    folded = (cells[:, :, : W // 2] + cells[:, :, ::-1][:, :, : W // 2]) / np.sqrt(2)
    half = fit_svm(folded.reshape(len(x), -1), y.astype(np.float64), 2 * C1)[:-1].reshape(
        W, W // 2
    )
    return (np.hstack([half, half[:, ::-1]]) / np.sqrt(2) / 255).astype(np.float32)


def learn_calibration(
    sizes: np.ndarray, responses: np.ndarray, hits: np.ndarray, used: np.ndarray
) -> np.ndarray:
    """(36, 2): v and t of each used size, from its windows' responses and whether they hold an
    object."""
    lines = np.zeros((len(SIZES), 2))
    for at in np.flatnonzero(used):
        s, y = responses[sizes == at].astype(np.float64), np.where(hits[sizes == at], 1.0, -1.0)
        if not len(s):
            lines[at] = 0, -1
            continue
        middle, spread = s.mean(), max(float(s.std()), 1e-6)
        v, t = fit_svm(((s - middle) / spread)[:, None], y, C2)
        lines[at] = v / spread, t - v * middle / spread
    return lines


def train_bing(
    source: Annotated,
    todo: np.ndarray,
    empty: BingModel,
    seed: int,
    workers: int,
    advance: Advance,
) -> tuple[BingModel, dict[str, int]]:
    """Both stages on the images at positions `todo` (n,) of the source, with the settings of
    `empty`, and what they were trained from; `advance` is called once per image and stage."""
    windows = []
    for part in parallel(StageOne(source, empty.scaled, seed), todo.tolist(), workers):
        windows.append(part)
        advance(1)
    x, sizes, y = (np.concatenate(p) for p in zip(*windows, strict=True))
    positives = np.bincount(sizes[y > 0], minlength=len(SIZES))
    if not positives.any():
        raise BadInput(
            f"BING cannot be trained on {source.images.name}: no window of the {len(todo)} images "
            "fits an object; try: --set bing.train_on=scenes"
        )
    used = positives >= min(LEAST_POSITIVES, int(positives.max()))
    first = replace(empty, template=learn_template(x, y), used=used)
    responses = []
    for part in parallel(StageTwo(source, first), todo.tolist(), workers):
        responses.append(part)
        advance(1)
    at, values, hits = (np.concatenate(p) for p in zip(*responses, strict=True))
    lines = learn_calibration(at, values, hits, used)
    counts = {"positive_windows": int(positives.sum()), "negative_windows": int((y < 0).sum())}
    return replace(first, calibration=lines), {**counts, "sizes": int(used.sum())}


def run(ctx: StageContext) -> None:
    """The model stage: leaves `model.npz` and `model.json`, which says from which boxes."""
    p = ctx.params
    images = ctx.images("data", str(p["split"]))
    todo = choose(images, int(p["images"]), ctx.seed("bing images"))
    boxes = _count_boxes(images, todo)
    source = Annotated(images, p["max_side"])
    empty = BingModel.empty(int(p["per_size"]), bool(p["scale_sizes"]))
    advance = ctx.progress.task("train BING", 2 * len(todo))
    model, counts = train_bing(source, todo, empty, ctx.seed("bing"), ctx.runtime.workers, advance)
    model.save(ctx.work / "model.npz")
    info = {
        "model": "trained here",
        "supervised": True,
        "boxes": f"{boxes} ground-truth boxes of {images.name}/{images.split}",
        "data": images.name,
        "split": images.split,
        "images": len(todo),
        "objects": boxes,
        **counts,
    }
    write_json(ctx.work / "model.json", info)


def choose(images: ImageSet, most: int, seed: int) -> np.ndarray:
    """At most `most` positions, drawn by image id: the order of the set plays no part."""
    order = np.argsort(images.ids, kind="stable")
    if len(order) <= most:
        return order
    drawn = rng_for(seed, "images").choice(len(order), most, replace=False)
    return order[np.sort(drawn)]


def _count_boxes(images: ImageSet, todo: np.ndarray) -> int:
    then = (
        "BING needs boxes to train on; try: --set bing.train_on=scenes, or --set bing.model=PATH"
    )
    try:
        count = sum(len(object_boxes(images, int(i))) for i in todo)
    except BadData as error:
        raise BadInput(f"{images.name} has no annotated objects ({error}); {then}") from None
    if not count:
        raise BadInput(f"{images.name}/{images.split} has no annotated objects; {then}")
    return count
