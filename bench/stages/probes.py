"""Probes of a backbone in training, for its learning curves.

They only look: the weights are copied into a network of their own in evaluation mode, and the
random generators are put back, so that a training ends with the same bits with and without them.
They are no part of any key.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.data.preprocess import Transform
from bench.data.semantic import single_labels
from bench.nn.backbones import build_backbone
from bench.nn.probes import feature_std, knn_accuracy, linear_accuracy, rankme
from bench.stages.extract import Extractor
from bench.views.loader import crop_resize
from bench.views.sample import whole_pixels

MOST = {"train": 2000, "val": 500}  # images or objects that are looked at
BATCH = 64
LOOKS = 20  # in a training
SMALLEST = 2  # pixels, the shortest side of an object
Labelled = tuple[Tensor, Tensor]  # (n, 3, s, s) uint8 and their classes (n,) int64
Measure = Callable[[Tensor, Tensor, Tensor, Tensor], float]
MEASURES: dict[str, Measure] = {"knn": knn_accuracy, "linear": linear_accuracy}


@dataclass
class Probe:
    """Figures of a backbone at the end of some epochs: the accuracy in percent of the probes that
    were asked for, fitted on images (or objects) of split train and scored on those of val, and
    the effective rank and the spread of its features.

    backbone: its name. shown: what is looked at, "images" or "objects", by split.
    """

    names: Sequence[str]
    backbone: str
    shown: dict[str, dict[str, Labelled]]
    copy: nn.Module | None = field(default=None, repr=False)

    @classmethod
    def of(cls, ctx: StageContext) -> Probe:
        """The probes that the runtime names, of a pretraining's own data; one that the data have
        no labels for is left out with a note."""
        params = ctx.params["method"]["params"]
        size = int(params["image_size"])
        shown: dict[str, dict[str, Labelled]] = {}
        names = []
        for name in dict.fromkeys(ctx.runtime.probe):
            kind = "objects" if name.startswith("object_") else "images"
            pick = pick_objects if kind == "objects" else pick_labelled
            try:
                if kind not in shown:
                    shown[kind] = {
                        s: pick(ctx.images("data", s), m, size) for s, m in MOST.items()
                    }
            except BadData as error:
                ctx.progress.note(f"no probe {name}: {error}")
            else:
                names.append(name)
        if not shown:
            split = str(ctx.params["split"])
            shown["images"] = {"train": pick_any(ctx.images("data", split), MOST["train"], size)}
        return cls(names, str(params["backbone"]), shown)

    def measure(self, backbone: nn.Module) -> dict[str, float]:
        """The figures of the backbone as it is now."""
        device = next(backbone.parameters()).device
        with keep_generators(device):
            if self.copy is None:
                self.copy = build_backbone(self.backbone)
            self.copy.load_state_dict(backbone.state_dict())
            extract = Extractor(self.copy, ["gap"], device)
            features = {
                kind: {split: extract_all(extract, images) for split, (images, _) in parts.items()}
                for kind, parts in self.shown.items()
            }
            return self._describe(features)

    def _describe(self, features: dict[str, dict[str, Tensor]]) -> dict[str, float]:
        figures = {}
        for name in self.names:
            kind = "objects" if name.startswith("object_") else "images"
            mine, labels = features[kind], self.shown[kind]
            figures[f"probe/{name}"] = MEASURES[name.removeprefix("object_")](
                mine["train"], labels["train"][1], mine["val"], labels["val"][1]
            )
        first = next(iter(features.values()))["train"]
        return {
            **figures,
            "probe/rankme": rankme(first),
            "probe/feature_std": feature_std(first),
        }


@contextmanager
def keep_generators(device: torch.device) -> Iterator[None]:
    """The generators of torch, NumPy and Python are afterwards as they were."""
    python, array = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(array)


def extract_all(extract: Extractor, images: Tensor) -> Tensor:
    """(n, D): the pooled features of (n, 3, s, s) images, a batch after the other."""
    return torch.cat([extract(batch)["gap"] for batch in images.split(BATCH)])


def pick_any(images: ImageSet, most: int, size: int) -> Labelled:
    """Up to `most` images, evenly over the set, squashed to size x size, without classes (-1)."""
    at = _spread(np.arange(len(images)), most)
    transform = Transform("squash", size, size)
    shown = torch.stack([transform(images.image(int(i))) for i in at])
    return shown, torch.full((len(at),), -1)


def pick_labelled(images: ImageSet, most: int, size: int) -> Labelled:
    """Up to `most` images that have a label, evenly over the set, squashed to size x size, and the
    labels; BadData where there is none."""
    labels = single_labels(images)
    known = np.flatnonzero(labels >= 0)
    if len(known) == 0:
        raise BadData(f"{images.name}/{images.split} has no labelled image")
    at = _spread(known, most)
    transform = Transform("squash", size, size)
    return torch.stack([transform(images.image(int(i))) for i in at]), torch.from_numpy(labels[at])


def pick_objects(images: ImageSet, most: int, size: int) -> Labelled:
    """Up to `most` objects, evenly over up to as many images, cut out by their boxes and squashed
    to size x size, and their classes; no crowds, no difficult and no tiny ones. BadData where
    there is none."""
    pairs = []
    for index in _spread(np.arange(len(images)), most):
        objects = images.objects(int(index))
        sides = (objects.boxes[:, 2:] - objects.boxes[:, :2]).min(1, initial=np.inf)
        plain = ~(objects.crowd | objects.difficult) & (sides >= SMALLEST)
        pairs += [(int(index), int(o)) for o in np.flatnonzero(plain)]
    if not pairs:
        raise BadData(f"{images.name}/{images.split} has no annotated object")
    crops, labels = [], []
    for index, number in (pairs[i] for i in _spread(np.arange(len(pairs)), most)):
        objects, image = images.objects(index), images.image(index)
        height, width = image.shape[:2]
        x1, y1, x2, y2 = map(float, objects.boxes[number])
        crops.append(crop_resize(image, whole_pixels((x1, y1, x2, y2), width, height), size))
        labels.append(int(objects.labels[number]))
    return torch.stack(crops), torch.tensor(labels)


def _spread(values: np.ndarray, most: int) -> np.ndarray:
    """Up to `most` of the values, evenly over them."""
    at = np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int)
    return values[np.unique(at)]
