"""Datasets: what a split holds, as compact arrays that pickle cheaply, keyed by image id.

A Data component turns a folder in its official layout into a `data` stage. The stage's params are the
fingerprint of the content, never a path; the folder of this run is in `Runtime.roots[stage.key]`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from bench.component import Component
from bench.errors import BadData

if TYPE_CHECKING:
    from bench.engine.context import StageContext
    from bench.params import Runtime
    from bench.stage import Stage


@dataclass(frozen=True)
class Objects:
    """The annotated objects of one image, n of them.

    boxes: (n, 4) float32, xyxy, absolute pixels, clipped to the image, no empty ones.
    labels: (n,) int64 in 0..K-1 (contiguous, in the order of `ImageSet.classes`).
    crowd: (n,) bool, COCO `iscrowd`. difficult: (n,) bool, VOC. area: (n,) float64, mask area where
    masks exist, else box area. ids: (n,) int64, annotation ids.
    segmentations: n items (COCO polygons or RLE dicts) or None where the set has no masks.
    keypoints: (n, k, 3) float32 x, y, visibility, or None.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    area: np.ndarray
    ids: np.ndarray
    segmentations: list | None = None
    keypoints: np.ndarray | None = None


class ImageSet:
    """One split: `len()` images, each with an id, a file, a (width, height) and maybe objects.

    Subclasses keep numpy arrays (memory-mapped where large) so that loader workers share them.
    """

    name: str
    split: str
    classes: list[str]
    ids: np.ndarray  # (N,) int64, unique; every cached table is keyed by these
    sizes: np.ndarray  # (N, 2) int32, width and height in the frame `read_rgb` returns
    # of `Objects.keypoints`; "left" and "right" in them are mirror images
    keypoint_names: tuple[str, ...] = ()
    background: bool = True  # whether 0 of `semantic` is a class that is scored; else no mask holds it

    def __len__(self) -> int:
        return len(self.ids)

    def file(self, index: int) -> Path:
        """The image file of position `index`."""
        raise NotImplementedError

    def objects(self, index: int) -> Objects:
        """The objects of position `index`; sets without annotations raise BadData."""
        raise NotImplementedError

    def semantic(self, index: int) -> np.ndarray | None:
        """(H, W) uint8: 0 background, 1..K the classes in their order, 255 void (not scored); None where the
        image has no such mask. Raises BadData where the mask file does not decode."""
        return None

    def has_semantic(self) -> np.ndarray:
        """(N,) bool: the images `semantic` has a mask of, without reading one."""
        return np.zeros(len(self), bool)

    def image_class(self) -> np.ndarray | None:
        """(N,) int64, the one class of each image, in classification sets; None in sets of scenes."""
        return None

    def image(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB, EXIF-upright."""
        from bench.data.image import read_rgb

        return read_rgb(self.file(index))

    def counts(self) -> dict[str, int]:
        """How much the split holds: images, and what else is known without reading an image."""
        return {"images": len(self)}


@dataclass(frozen=True)
class HowToGet:
    """What to download for a set, from whom, and what becomes of it. As a text it follows the word "get".

    files: MB (10^6 bytes; 0: less than one) by the name their authors give them, none where there is nothing
    to download. site: whose page has them. layout: where to put them and what the folder then holds.
    """

    files: Mapping[str, float] = field(default_factory=dict)
    site: str = ""
    layout: str = ""

    @property
    def megabytes(self) -> float:
        """All files together."""
        return sum(self.files.values())

    def __str__(self) -> str:
        if not self.files:
            return f"nothing: {self.layout}"
        named = [f"{name} ({size_text(mb)})" if mb else name for name, mb in self.files.items()]
        head, last = named[:-1], named[-1]
        return f"{', '.join(head)}{' and ' if head else ''}{last} from {self.site}, {self.layout}"


def size_text(megabytes: float) -> str:
    """`241 MB`, `18 GB`."""
    return f"{megabytes / 1000:.3g} GB" if megabytes >= 1000 else f"{max(megabytes, 1):.0f} MB"


class Data(Component):
    """A dataset in its official layout (`bench/data/sets/`)."""

    kind: ClassVar[str] = "data"
    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    needs_path: ClassVar[bool] = True
    how_to_get: ClassVar[HowToGet]
    folder: ClassVar[str] = ""  # where it is looked for under BENCH_DATA; "": a folder of the set's name
    official: ClassVar[Mapping[str, int]] = {}  # images of the published lists (or splits) by their names
    # "module:function" that writes generated scenes in this set's layout, (root, n_train, n_val, seed); ""
    # for sets that are generated. sample_settings: what the few images need to be read (FIELD=VALUE)
    sample: ClassVar[str] = ""
    sample_settings: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def default_place(cls) -> Path | None:
        """Where the set is looked for when no path is given: `$BENCH_DATA/<folder>`."""
        base = os.environ.get("BENCH_DATA")
        return Path(base).expanduser().absolute() / (cls.folder or cls.name) if base else None

    @classmethod
    def place(cls, given: Path | None) -> Path:
        """The path given, or the default one; BadData where there is neither. It need not exist."""
        found = given or cls.default_place()
        if found is None and not cls.how_to_get.files:
            raise BadData(f"data {cls.name!r} needs a path; try: --data {cls.name}=FOLDER")
        if found is None:
            raise BadData(
                f"no path is known for data {cls.name!r}: get {cls.how_to_get}; then: --data "
                f"{cls.name}=PATH, or set BENCH_DATA to the folder that holds {cls.folder or cls.name}/"
            )
        return found

    def published(self) -> dict[str, int]:
        """How many images the published lists give each split; a split with another list is left out."""
        found = {}
        for split in self.splits:
            parts = str(getattr(self.params, split, split)).split("+")
            if all(part in self.official for part in parts):
                found[split] = sum(self.official[part] for part in parts)
        return found

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        """The `data` stage of the folder (None: where it is looked for by default), checked cheaply:
        layout, annotations, that files exist. Raises BadData in one line; ends with `staged`."""
        raise NotImplementedError

    def staged(self, root: Path, runtime: Runtime, **content: str) -> Stage:
        """The stage of the data that lies at `root` in this run; `content`: what its key depends on beside
        the params (`fingerprint`)."""
        from bench.stage import Stage

        params = {"params": self.params.identity(), **content}
        stage = Stage("data", self.name, self.version, params, "bench.data.runner:run")
        runtime.roots[stage.key] = root
        return stage

    def run(self, ctx: StageContext) -> None:
        """Make the stage's folder: index arrays per split, and `report.json` (counts, repairs)."""
        raise NotImplementedError

    def load(self, folder: Path, root: Path, split: str) -> ImageSet:
        """A split from the committed stage `folder` and this run's data `root`; BadData where there is no
        such split."""
        if split not in self.splits:
            known = (
                f"splits {' and '.join(self.splits)}" if self.splits[1:] else f"split {self.splits[0]} only"
            )
            raise BadData(f"{self.name} has the {known}, not {split!r}")
        if not (folder / split).is_dir():
            raise BadData(f"{root} has no {split} of {self.name}; get {self.how_to_get}")
        return self.opened(folder / split, root, split)

    def opened(self, index: Path, root: Path, split: str) -> ImageSet:
        """The split whose index arrays lie in `index`."""
        raise NotImplementedError
