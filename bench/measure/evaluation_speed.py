"""Speed of evaluation: the work that a task's `peer` names, and loading images for a frozen
backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bench.contracts.component import Component
from bench.contracts.images import ImageSet
from bench.core.errors import StageFailed
from bench.data.preprocess import Normaliser, Transform
from bench.measure.timing import Summary, summary, time_in_turns
from bench.stages.extract import BATCH, Extractor, batches
from bench.views.augment import MEAN, STD

RESIZE, SIZE = 256, 224
LEVELS = 0.2  # mean difference of two resizings in grey levels, each rounded to whole ones
SHARE = 0.01  # what features differ by for it, of how far those of different images lie apart
EXTRACTED = 256


@dataclass(frozen=True)
class Work:
    """Two ways to evaluate one thing; both return what they found.

    `compare(ours, plain)`: (largest difference, further figures to report). At more than
    `tolerance` nothing is timed. The plain way may do a part of the work only: its seconds are
    taken `times` as long. `long`: what was timed is compared, once, instead of a run before.
    """

    name: str
    what: str
    ours: Callable[[], Any]
    plain: Callable[[], Any]
    compare: Callable[[Any, Any], tuple[float, dict[str, float]]]
    tolerance: float
    times: float = 1.0
    long: bool = False


class WorkRow(TypedDict):
    """What was timed: the work, the largest difference of the two results, further figures, how
    much of the work the plain way did (its seconds are multiplied by `times`), and how long each
    way takes."""

    work: str
    what: str
    difference: float
    facts: dict[str, float]
    times: float
    plain: Summary
    ours: Summary


def peer_works(tasks: Iterable[type[Component]], scale: str) -> list[Work]:
    """The works of the tasks that have a `peer`; tasks that share one are measured once."""
    peers = dict.fromkeys(task.peer() for task in tasks)
    return [work for make_works in peers if make_works for work in make_works(scale)]


def measure(work: Work, repeats: int) -> WorkRow:
    """Time both ways, ours in one thread; raises StageFailed where their results differ."""
    results: dict[str, Any] = {}

    def way(name: str, do: Callable[[], Any]) -> Callable[[], None]:
        return lambda: results.__setitem__(name, do())

    ways = {"plain": way("plain", work.plain), "ours": way("ours", work.ours)}
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if not work.long:
            time_in_turns(ways, 1, warm_up=0)
            gap, facts = _compare(work, results)
        timings = time_in_turns(ways, 1 if work.long else repeats, warm_up=0)
        gap, facts = _compare(work, results)
    finally:
        torch.set_num_threads(before)
    plain, ours = summary(timings["plain"], n=1), summary(timings["ours"])
    for name in ("median", "fastest", "slowest", "cpu"):
        plain[name] *= work.times
    ours["ratio"] = plain["median"] / ours["median"]
    ours["cpu_ratio"] = plain["cpu"] / ours["cpu"]
    return {
        "work": work.name,
        "what": work.what,
        "difference": gap,
        "facts": facts,
        "times": work.times,
        "plain": plain,
        "ours": ours,
    }


def _compare(work: Work, results: dict[str, Any]) -> tuple[float, dict[str, float]]:
    gap, facts = work.compare(results["ours"], results["plain"])
    if not gap <= work.tolerance:
        raise StageFailed(
            f"{work.name}: the results that are timed differ by {gap:.2g}; report this"
        )
    return gap, facts


def time_loading(images: ImageSet, workers: Iterable[int], passes: int) -> list[Work]:
    """The works of loading images for a frozen backbone, and of computing its features, each
    against the usual way: PIL's decoder with torchvision's transforms, and a network as it was
    built.

    The loaders take the images `passes` times over, so that starting workers takes little of the
    time; the network takes up to `EXTRACTED` images, of which most of the time is its own.
    """
    kinds = [Transform("center", RESIZE, SIZE), Transform("squash", RESIZE, SIZE)]
    many, some = (
        Repeated(images, passes * len(images)),
        Repeated(images, min(EXTRACTED, len(images))),
    )
    loading = [_loading(many, transform, n) for n in workers for transform in kinds]
    return loading + [_extraction(some, kinds[0], n) for n in workers]


def _loading(images: ImageSet, transform: Transform, workers: int) -> Work:
    std = torch.tensor(STD).view(3, 1, 1)

    def ours() -> Tensor:
        normalise = Normaliser(torch.device("cpu"))
        return _first(map(normalise, batches(images, transform, workers=workers)))

    def plain() -> Tensor:
        return _first(_plain_batches(images, transform, workers))

    def compare(one: Tensor, other: Tensor) -> tuple[float, dict[str, float]]:
        return float(((one - other) * 255 * std).abs().mean()), {}

    name = f"loader, {transform.mode}, {workers} workers"
    return Work(name, _describe(images), ours, plain, compare, LEVELS)


def _extraction(images: ImageSet, transform: Transform, workers: int) -> Work:
    """ResNet-18 in float32, random weights. The difference is that of the features of an image, on
    average, as a share of how far features lie from the mean of all images."""
    from bench.nn.backbones import build_backbone

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_backbone("resnet18").eval().requires_grad_(False)
    extract = Extractor(deepcopy(network), ["gap"], torch.device("cpu"))

    def ours() -> Tensor:
        return torch.cat([extract(b)["gap"] for b in batches(images, transform, workers=workers)])

    def plain() -> Tensor:
        return torch.cat([network(batch) for batch in _plain_batches(images, transform, workers)])

    def compare(one: Tensor, other: Tensor) -> tuple[float, dict[str, float]]:
        apart, spread = (one - other).norm(dim=1), (other - other.mean(0)).norm(dim=1).mean()
        return float(apart.mean() / spread), {"largest of an image": float(apart.max() / spread)}

    return Work(
        f"ResNet-18, {transform.mode}, {workers} workers",
        f"features of {_describe(images)}",
        ours,
        plain,
        compare,
        SHARE,
    )


def _describe(images: ImageSet) -> str:
    kind = Path(images.file(0)).suffix[1:]
    return f"{len(images)} images of {kind}, short side {RESIZE}, to {SIZE} px"


def _plain_batches(images: ImageSet, transform: Transform, workers: int) -> Iterable[Tensor]:
    return DataLoader(PlainShown(images, transform), BATCH, num_workers=workers)


def _first(loaded: Iterable[Tensor]) -> Tensor:
    """The first batch; the others are only loaded."""
    first = None
    for batch in loaded:
        first = batch.clone() if first is None else first
    assert first is not None
    return first


class PlainShown(Dataset[Tensor]):
    """The usual way: PIL and torchvision, normalised float tensors."""

    def __init__(self, images: ImageSet, transform: Transform) -> None:
        from torchvision import transforms as T

        size = transform.size
        second = T.Resize((size, size)) if transform.mode == "squash" else T.CenterCrop(size)
        self.images = images
        self.steps = T.Compose(
            [T.Resize(transform.resize), second, T.ToTensor(), T.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        from PIL import Image

        with Image.open(self.images.file(index)) as image:
            pixels: Tensor = self.steps(image.convert("RGB"))
        return pixels


class Repeated(ImageSet):
    """`count` images: those of a set, over and over."""

    def __init__(self, images: ImageSet, count: int) -> None:
        self.of = images
        self.ids = np.resize(images.ids, count)

    def __len__(self) -> int:
        return len(self.ids)

    def file(self, index: int) -> Path:
        return self.of.file(index % len(self.of))
