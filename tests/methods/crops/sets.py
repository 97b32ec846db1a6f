"""Image sets in memory with given sizes and boxes, and tables of given proposals, for tests of
crops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts import registry
from bench.contracts.images import ImageSet, Objects
from bench.contracts.views import Sampler, Source
from bench.stages.proposals import _write

Boxes = Sequence[Sequence[float]]


class Boxed(ImageSet):
    """Images of noise with the sizes (width, height) and boxes given; ids are 7, 14, 21, ... or
    `ids`.

    `crowd`, `difficult`: (image, object) positions so marked.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        boxes: Sequence[Boxes],
        ids: Sequence[int] | None = None,
        crowd: Sequence[tuple[int, int]] = (),
        difficult: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.name, self.split, self.classes = "boxed", "train", ["thing"]
        self.ids = np.array(ids if ids is not None else [7 * (i + 1) for i in range(len(sizes))])
        self.sizes = np.array(sizes, np.int32).reshape(-1, 2)
        self.boxes = [np.array(b, np.float32).reshape(-1, 4) for b in boxes]
        self.crowd, self.difficult = set(crowd), set(difficult)

    def image(self, index: int) -> np.ndarray:
        width, height = self.sizes[index]
        rng = np.random.default_rng(int(self.ids[index]))
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)

    def objects(self, index: int) -> Objects:
        boxes = self.boxes[index]
        n = len(boxes)
        marks = [
            np.array([(index, i) in s for i in range(n)], bool)
            for s in (self.crowd, self.difficult)
        ]
        area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).astype(np.float64)
        return Objects(boxes, np.zeros(n, np.int64), marks[0], marks[1], area, np.arange(n))


def table(folder: Path, images: ImageSet, boxes: Sequence[Boxes]) -> dict[str, Path]:
    """A proposals stage's folder with these boxes, best first, as a crop's inputs."""
    found = [np.array(b, np.float32).reshape(-1, 4) for b in boxes]
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, images.ids, [(b, np.linspace(1, 0, len(b), dtype=np.float32)) for b in found])
    return {"regions": folder}


def crop(name: str, **settings: Any) -> Any:
    """The crop at its default settings, but for those given."""
    cls = registry.load("crop", name)
    return cls(cls.Params(**settings))


def epoch(sampler: Sampler, seed: int = 0) -> list[list[Source]]:
    """The sources of every sample, each drawn with a generator of its own."""
    return [sampler.sources(i, np.random.default_rng((seed, i))) for i in range(len(sampler))]


def boxes_of(sampler: Sampler) -> dict[int, list[tuple[float, ...]]]:
    """The first source's boxes by image position."""
    found: dict[int, list[tuple[float, ...]]] = {}
    for first, *_ in epoch(sampler):
        assert first.box is not None
        found.setdefault(first.image, []).append(first.box)
    return found
