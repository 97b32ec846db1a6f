"""The Data contract: a folder in its official layout becomes splits of images.

A Data component turns a folder in its official layout into a `data` stage. The stage's params are
the fingerprint of the content, never a path; the folder of this run is in
`Runtime.roots[stage.key]`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.contracts.component import Component
from bench.contracts.images import ImageSet, Subset
from bench.core.errors import BadData
from bench.core.files import expand_path

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.core.params import Runtime
    from bench.core.stage import Stage


# (root, n_train, n_val, seed): writes that many generated images of each split below `root`
WriteSample = Callable[[Path, int, int, int], object]


@dataclass(frozen=True)
class HowToGet:
    """What to download for a set, from whom, and what becomes of it. As a text it follows the word
    "get".

    files: MB (10^6 bytes; 0: less than one) by the name their authors give them, none where there
    is nothing to download. site: whose page has them. layout: where to put them and what the
    folder then holds.
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

    kind = "data"
    splits: tuple[str, ...] = ("train", "val")
    needs_path: bool = True
    how_to_get: HowToGet
    folder: str = ""  # where it is looked for under BENCH_DATA; "": a folder of the set's name
    official: Mapping[str, int] = {}  # images of the published lists (or splits) by their names
    sample_settings: tuple[str, ...] = ()  # FIELD=VALUE that a `sample` needs to be read
    # whether scores are of the annotations as they are written (`read_annotations`), which the
    # index holds clipped and in float32
    scored_as_written: bool = False

    @classmethod
    def sample(cls) -> WriteSample | None:
        """What writes generated scenes in this set's layout; None for sets that are generated.
        The function is imported here and not at the top of the set's file: listing and planning
        do not need it."""
        return None

    @classmethod
    def annotations(cls) -> frozenset[str] | None:
        """What the set's images may have, of `bench.contracts.needs.ANNOTATIONS`; None: whatever
        is asked for, so that planning refuses nothing."""
        return None

    @classmethod
    def default_place(cls) -> Path | None:
        """Where the set is looked for when no path is given: `$BENCH_DATA/<folder>`."""
        base = os.environ.get("BENCH_DATA")
        return expand_path(base) / (cls.folder or cls.name) if base else None

    @classmethod
    def place(cls, given: Path | None) -> Path:
        """The path `given`, or the default one; BadData without either. It need not exist."""
        folder = given or cls.default_place()
        if folder is None and not cls.how_to_get.files:
            raise BadData(f"data {cls.name!r} needs a path; try: --data {cls.name}=FOLDER")
        if folder is None:
            raise BadData(
                f"no path is known for data {cls.name!r}: get {cls.how_to_get}; then: --data "
                f"{cls.name}=PATH, or set BENCH_DATA to the folder that holds "
                f"{cls.folder or cls.name}/"
            )
        return folder

    def published(self) -> dict[str, int]:
        """How many images the published lists give each split; a split with another list is left
        out."""
        counts = {}
        for split in self.splits:
            parts = str(getattr(self.params, split, split)).split("+")
            if all(part in self.official for part in parts):
                counts[split] = sum(self.official[part] for part in parts)
        return counts

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        """The `data` stage of the folder (None: where it is looked for by default), checked
        cheaply: layout, annotations, that files exist. Raises BadData in one line; ends with
        `staged`."""
        raise NotImplementedError

    def make_stage(self, root: Path, runtime: Runtime, **content: str) -> Stage:
        """The stage of the data that lies at `root` in this run; `content`: what its key depends
        on beside the params (`fingerprint`)."""
        from bench.core.stage import Stage

        params = {"params": self.params.identity(), **content}
        stage = Stage("data", self.name, self.version, params, "bench.data.runner:run")
        runtime.roots[stage.key] = root
        return stage

    def run(self, ctx: StageContext) -> None:
        """Make the stage's folder: index arrays per split, and `report.json` (counts, repairs)."""
        raise NotImplementedError

    def read_annotations(self, root: Path, split: str, classes: Sequence[str]) -> dict[str, Any]:
        """A split's annotations as they are written, where the set is `scored_as_written`: a COCO
        instances dict whose categories are 1..K in the order of `classes` (the split's), whose
        annotations are numbered from 1 in the order of the file."""
        raise NotImplementedError

    def load(self, folder: Path, root: Path, split: str) -> ImageSet:
        """A split from the committed stage `folder` and this run's data `root`; raises BadData
        where there is no such split."""
        if split not in self.splits:
            known = (
                f"splits {' and '.join(self.splits)}"
                if self.splits[1:]
                else f"split {self.splits[0]} only"
            )
            raise BadData(f"{self.name} has the {known}, not {split!r}")
        if not (folder / split).is_dir():
            raise BadData(f"{root} has no {split} of {self.name}; get {self.how_to_get}")
        images, first = self.open_split(folder / split, root, split), self.splits[0]
        if split != first and (folder / first).is_dir():
            check_same_classes(self.open_split(folder / first, root, first), images)
        return images

    def load_part(self, folder: Path, root: Path, split: str, share: float) -> ImageSet:
        """A part of the training images: "val" is `share` of them, "train" the others
        (`choose_held_out`)."""
        if split not in ("train", "val"):
            raise BadData(
                f"{self.name} with a validation part has the splits train and val, not {split!r}"
            )
        images = self.load(folder, root, "train")
        held = choose_held_out(images.ids, share)
        return Subset(images, np.flatnonzero(held if split == "val" else ~held), split)

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        """The split whose index arrays lie in `index`."""
        raise NotImplementedError


def check_same_classes(first: ImageSet, other: ImageSet) -> None:
    """BadData unless both splits number the same classes, and the same keypoints, in the same way:
    labels are compared by number everywhere."""
    pairs = (
        ("class", list(first.classes), list(other.classes)),
        ("keypoint", list(first.keypoint_names), list(other.keypoint_names)),
    )
    for noun, ours, theirs in pairs:
        if ours != theirs:
            differ = (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
            at = next(differ, min(len(ours), len(theirs)))
            one, two = (repr(names[at]) if at < len(names) else "none" for names in (ours, theirs))
            raise BadData(
                f"data {first.name!r}: {noun} {at} of {first.split} is {one}, of {other.split} "
                f"{two}; its splits must list the same {noun} names in the same order"
            )


def choose_held_out(ids: np.ndarray, share: float) -> np.ndarray:
    """(N,) bool: which training images are held out for validation, at least one and not all.

    The ids are ordered by sha256("holdout <id>"), and the first `share` of them, rounded, are held
    out. The rule knows no seed: every cell that asks for the same share of the same data is scored
    on the same images.
    """
    if len(ids) < 2:
        raise BadData(f"{len(ids)} training image cannot be divided; use data with more")
    marks = [hashlib.sha256(f"holdout {int(i)}".encode()).digest() for i in ids]
    order = sorted(range(len(ids)), key=marks.__getitem__)
    held = np.zeros(len(ids), bool)
    held[order[: min(max(round(share * len(ids)), 1), len(ids) - 1)]] = True
    return held
