"""Classification sets: folders of images with one class each,
listed by folders, CSV or JSON; the stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.data import Data, HowToGet
from bench.contracts.images import ImageSet, Objects
from bench.core.errors import BadData, nearest
from bench.core.files import write_json
from bench.core.image import is_whole_jpeg, read_size
from bench.core.params import Runtime, digest
from bench.core.stage import Stage
from bench.data.findings import Findings
from bench.data.index import IndexedImages, Row, write_index
from bench.data.runner import read_splits
from bench.data.walk import Walk, list_folders, walk_images


@dataclass(frozen=True)
class Listed:
    """An image of a split: its id, its file relative to the root, its class; -1 for none."""

    id: int
    file: str
    label: int


@dataclass(frozen=True)
class Contents:
    """A set: class names, the images of each split that is there, and what is odd about it."""

    classes: list[str]
    splits: dict[str, list[Listed]]
    remarks: dict[str, list[str]] = field(default_factory=dict)


class Labelled(Data):
    """A set with one class per image. Subclasses say what the folder lists (`contents`) and which
    files or folders that depends on (`sources`).

    The key covers the lists' content and the names and classes of the images, not their bytes.
    Making the stage reads every header and looks for the end of every JPEG, which finds truncated
    files; `report.json` counts."""

    @classmethod
    def annotations(cls) -> frozenset[str]:
        return frozenset({"objects"})

    def contents(self, root: Path) -> Contents:
        """What the folder lists; BadData in one line where the layout is not the official one."""
        raise NotImplementedError

    def root(self, given: Path | None) -> Path:
        """The folder given, or `$BENCH_DATA/<name>`."""
        place = self.place(given)
        if not place.exists():
            raise BadData(
                f"{place} does not exist; get {self.how_to_get}; then: --data {self.name}=PATH"
            )
        return place

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        place = self.root(root)
        contents = self.contents(place)
        for split, images in contents.splits.items():
            if not images:
                raise BadData(
                    f"{self.name} split {split} is empty in {place}; get {self.how_to_get}"
                )
        mark = digest(
            [
                contents.classes,
                {s: [[i.id, i.file, i.label] for i in v] for s, v in contents.splits.items()},
            ]
        )
        return self.make_stage(place, runtime, fingerprint=mark)

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        contents = self.contents(root)
        report: dict[str, dict[str, object]] = {}
        for split, rows in read_splits(ctx, partial(check_row, root), contents.splits, 64).items():
            write_index(ctx.work / split, contents.classes, rows)
            report[split] = {
                "images": len(rows),
                "classes": len({r.label for r in rows}),
                "remarks": contents.remarks.get(split, []),
            }
        write_json(ctx.work / "report.json", report)

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return ClassifiedImages(self.name, split, index, root)


class ClassifiedImages(IndexedImages):
    """Images with a class each and no boxes: the one object of an image is the image."""

    def objects(self, index: int) -> Objects:
        width, height = (float(v) for v in self.sizes[index])
        label = int(self._array("image_class")[index])
        n = int(label >= 0)
        no = np.zeros(n, bool)
        return Objects(
            np.array([[0, 0, width, height]] * n, np.float32).reshape(n, 4),
            np.full(n, label, np.int64),
            no,
            no,
            np.full(n, width * height),
            np.full(n, self.ids[index], np.int64),
        )


def check_row(root: Path, image: Listed) -> Row | str:
    """The index row of an image with a header and an end; or what is wrong, one line."""
    path = root / image.file
    try:
        size = read_size(path)
        if _is_truncated(path):
            raise BadData(
                f"image {path} has no end, a truncated JPEG; unpack or download it again"
            )
    except BadData as error:
        return str(error)
    return Row(image.id, image.file, size, label=image.label)


def _is_truncated(path: Path) -> bool:
    """Whether a JPEG has no end marker; the whole file is read only where its last 4 kB have
    none."""
    with open(path, "rb") as file:
        if file.read(2) != b"\xff\xd8":
            return False
        file.seek(max(0, path.stat().st_size - 4096))
        return b"\xff\xd9" not in file.read() and not is_whole_jpeg(path.read_bytes())


def class_folders(root: Path, split: str, get: HowToGet) -> tuple[dict[str, list[str]], Walk]:
    """Image names by class folder of `root/split`, at any depth in it, sorted; and what else lies
    there. BadData where there are no class folders."""
    place = root / split
    if not place.is_dir():
        raise BadData(f"{root} has no folder {split}/; get {get}")
    names, others = list_folders(place)
    others.left_out.update({"loose images": len(others.files)} if others.files else {})
    folders = {}
    for name in names:
        walk = walk_images(place / name)
        folders[name] = walk.files
        others.add(walk, name)
    if not folders:
        raise BadData(
            f"{place} has no class folders but loose images; sort them into folders: {get}"
        )
    return folders, others


def folders_of(root: Path, splits: Iterable[str], get: HowToGet) -> Contents:
    """Contents of `root/<split>/<class>/<image>`: ids count from 1 in the order of (class, name);
    the classes are those of the first split, which the others may not exceed; only the first must
    be there."""
    listed: dict[str, dict[str, list[str]]] = {}
    remarks: dict[str, list[str]] = {}
    for split in splits:
        if not listed or (root / split).is_dir():
            listed[split], others = class_folders(root, split, get)
            remarks[split] = others.remarks()
    first = next(iter(listed.values()))
    classes = sorted(first)
    _check_classes(root, listed, classes)
    at = {name: i for i, name in enumerate(classes)}
    numbered = {}
    for split, folders in listed.items():
        files = [(f"{split}/{c}/{n}", at[c]) for c in sorted(folders) for n in folders[c]]
        numbered[split] = [Listed(i, f, c) for i, (f, c) in enumerate(files, 1)]
    return Contents(classes, numbered, remarks)


def _check_classes(
    root: Path, listed: Mapping[str, Mapping[str, list[str]]], classes: Sequence[str]
) -> None:
    """BadData with every class that has no folder in the first split, which may be empty there."""
    first, findings = next(iter(listed)), Findings()
    for split, folders in listed.items():
        for name in sorted(set(folders) - set(classes)):
            guess, meant = nearest(name, classes), root / first / name
            findings.add(
                "a class the training split lacks",
                f"{root / split} has class {name!r} with {len(folders[name]):,} images, which "
                f"{first}/ lacks{f' (did you mean {guess!r}?)' if guess else ''}; rename or move "
                f"it, or, if it is meant, say so by an empty folder: mkdir '{meant}'",
            )
    findings.refuse()


def read_text(file: Path, get: HowToGet) -> list[str]:
    """The lines of a list, or BadData."""
    with suppress(OSError, ValueError):
        return [line for line in file.read_text().splitlines() if line.strip()]
    raise BadData(f"list {file} is missing or cannot be read; get {get}")
