"""A lab's own data in YOLO's layout: data.yaml, images/, labels/ with boxes or outlines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData, nearest
from bench.core.image import check_image
from bench.core.params import Params, param
from bench.data.divide import Lists, Parts
from bench.data.files import Listing, list_files
from bench.data.findings import Findings
from bench.data.index import Row
from bench.data.layouts.annotated import AnnotatedSet, Contents, Counts, Member, ReadRow
from bench.data.layouts.own import BadPath, clean_setting, image_ids, require_images
from bench.data.layouts.yolo_images import list_images
from bench.data.layouts.yolo_labels import Labels, label_file, read_labels, to_pixels
from bench.data.layouts.yolo_yaml import (
    Described,
    find_description,
    find_entries,
    place_entry,
    read_description,
)
from bench.data.plausible import describe_clipped


class YoloParams(Params):
    """Which images are which split."""

    yaml: str = param(
        "", help="description of the set, such as data.yaml; empty is the one that is found"
    )
    train: str = param(
        "",
        help="images to train on: a folder, a text file with a path a line, or another data.yaml "
        "with names of its own; empty is what the description says",
    )
    val: str = param("", help="images to score on, as for train")


class Yolo(AnnotatedSet):
    """YOLO's layout as Ultralytics, Roboflow, CVAT and Label Studio write it: class names in
    `data.yaml` (or `classes.txt`), an image's labels in the text file of its name, in `labels/`
    instead of `images/` or beside it.

    A line is a class and a box (its centre, width and height) or an outline of three or more
    corners, in shares of the image. val is what the description calls val, or else test. Splits
    are joined by the names of classes, whatever their numbers. An image without a label file has
    no objects. Keypoints are not read.
    """

    looks_like = "a folder with data.yaml, images/ and labels/"
    how_to_get = HowToGet(layout="a folder with data.yaml, images/ and labels/")
    Params: type[Params] = YoloParams
    params: YoloParams

    @classmethod
    def annotations(cls) -> frozenset[str]:
        return frozenset({"objects", "masks"})

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.own import write_yolo

        return write_yolo

    def contents(self, root: Path, findings: Findings) -> Contents:
        described = self._describe_splits(root, findings)
        images = {
            split: list(
                dict.fromkeys(name for p in places for name in list_images(root, p, findings))
            )
            for split, (_, places) in described.items()
        }
        labels = {name: label_file(name) for each in images.values() for name in each}
        listing = list_files(root, {f.rpartition("/")[0] for pair in labels.items() for f in pair})
        for split, each in images.items():
            require_images(f"{described[split][0].file} {split}", each, listing, findings)
        ids = image_ids(labels)
        members = {
            split: sorted(
                (Member(ids[n], n, labels[n] if labels[n] in listing else "") for n in each),
                key=lambda m: m.id,
            )
            for split, each in images.items()
        }
        unused = _find_unused(listing, labels)
        for split, those in members.items():
            if not findings:
                _require_labels(root, split, those, findings)
        return Contents(
            members,
            listing,
            {split: own.names for split, (own, _) in described.items()},
            {split: "pose" for split, (own, _) in described.items() if own.pose},
            {s: _describe(ms, described[s][0].pose, unused) for s, ms in members.items()},
        )

    def split_names(self, root: Path) -> dict[str, list[str]]:
        return {s: [m.image for m in ms] for s, ms in self._list(root).members.items()}

    def write_lists(self, root: Path, folder: str, parts: Parts) -> Lists:
        own, _ = self._describe_splits(root, Findings())["train"]
        lists = {f"{s}.txt": "".join(f"{n}\n" for n in names) for s, names in parts.items()}
        return Lists(
            {name: text.encode() for name, text in lists.items()},
            {split: f"{folder}/{split}.txt" for split in parts}
            | {"yaml": str(own.file.relative_to(root))},
        )

    def _describe_splits(
        self, root: Path, findings: Findings
    ) -> dict[str, tuple[Described, list[str]]]:
        """The description of each split that is there, and where its images are, relative to the
        root."""
        given = {"train": self.params.train, "val": self.params.val}
        if given["train"] and not given["val"]:
            del given["val"]
        splits: dict[str, tuple[Described, list[str]]] = {}
        for split, text in given.items():
            owner = f"{self.name}.{split}"
            place = clean_setting(owner, text) if text else ""
            if place and not (root / place).exists():
                raise BadData(f"{owner}: there is no {text!r} in {root}")
            if place.endswith((".yaml", ".yml")):
                own = read_description(root, place, findings)
                written = own.entries.get(split) or own.entries.get("train", [])
                splits[split] = own, _place_all(root, own, written, findings)
                continue
            own = self._description(root, splits, findings)
            if place:
                splits[split] = own, [place]
            elif own.entries or given["train"]:
                written = own.entries.get(split, [])
                splits[split] = own, _place_all(root, own, written, findings)
            else:
                splits[split] = own, find_entries(root).get(split, [])
        own, places = splits["train"]
        if not places and not findings:
            raise BadData(f"{own.file} names no images to train on; write train: FOLDER in it")
        return {split: each for split, each in splits.items() if each[1]}

    def _description(
        self, root: Path, splits: dict[str, tuple[Described, list[str]]], findings: Findings
    ) -> Described:
        """The description of the root, read once."""
        owner = f"{self.name}.yaml"
        text = self.params.yaml
        name = clean_setting(owner, text) if text else find_description(root)
        for own, _ in splits.values():
            if own.file == root / name:
                return own
        if not (root / name).is_file():
            raise BadData(f"{owner}: there is no {text!r} in {root}")
        return read_description(root, name, findings)

    def shown(
        self, root: Path, split: str, contents: Contents, findings: Findings
    ) -> dict[str, str]:
        names = contents.names[split]
        shown: dict[str, str] = {}
        for member in contents.members[split]:
            if member.annotation:
                file = root / member.annotation
                labels = read_labels(file, len(names), split in contents.forms, findings)
                for label in labels.objects:
                    shown.setdefault(names[label.label], str(file))
        return shown

    def join_classes(
        self, contents: Contents, shown: Mapping[str, Mapping[str, str]], findings: Findings
    ) -> list[str]:
        classes = contents.names["train"]
        for split in shown:
            for name, file in shown[split].items():
                if name not in classes:
                    guess = nearest(name, classes)
                    hint = f" (did you mean {guess!r}?)" if guess else ""
                    findings.add(
                        "a class the training split lacks",
                        f"{file}: class {name!r} has objects, but train has no such class{hint}",
                    )
        return classes

    def row_reader(
        self, root: Path, split: str, contents: Contents, classes: list[str]
    ) -> ReadRow:
        names = contents.names[split]
        numbers = [classes.index(name) if name in classes else -1 for name in names]
        return partial(_read_row, root, numbers, split in contents.forms)

    def describe(self, root: Path, split: str, counts: Counts) -> list[str]:
        repeated = counts["repeated"]
        noun = "line is" if repeated == 1 else "lines are"
        rule = "a line is CLASS X Y WIDTH HEIGHT with the centre of the box, and not two corners"
        return [
            *[f"{repeated:,} {noun} in a file twice, and read once"] * (repeated > 0),
            *describe_clipped(counts["clipped"], counts["objects"], rule),
        ]


def _place_all(
    root: Path, own: Described, entries: Sequence[str], findings: Findings
) -> list[str]:
    places = []
    for entry in entries:
        try:
            places.append(place_entry(root, own, entry))
        except BadPath as error:
            findings.add("a path of a split", f"{own.file}: {entry!r} {error}")
    return places


def _require_labels(root: Path, split: str, members: Sequence[Member], findings: Findings) -> None:
    if members and not any(m.annotation for m in members):
        findings.add(
            "no image has a label file",
            f"{root}: no image of {split} has a label file; that of {members[0].image} would be "
            f"{label_file(members[0].image)}",
        )


def _find_unused(listing: Listing, labels: Mapping[str, str]) -> list[str]:
    """Label files of no image that is listed."""
    used = set(labels.values())
    texts = [f for f in listing if f.endswith(".txt") and "/labels/" in f"/{f}"]
    return [f for f in texts if f not in used and not f.endswith("/classes.txt")]


def _describe(members: Sequence[Member], pose: bool, unused: Sequence[str]) -> list[str]:
    without = sum(not m.annotation for m in members)
    remarks = []
    if without:
        remarks.append(
            f"{without:,} of {len(members):,} images have no label file: they count as images "
            "without objects"
        )
    folders = {m.annotation.rpartition("/")[0] for m in members}
    own = sorted(f for f in unused if f.rpartition("/")[0] in folders)
    if own:
        noun = "label file has" if len(own) == 1 else "label files have"
        remarks.append(f"{len(own):,} {noun} no image that is listed, the first is {own[0]}")
    if pose:
        remarks.append("keypoints are not read, only boxes")
    return remarks


def _read_row(
    root: Path, numbers: Sequence[int], pose: bool, member: Member
) -> tuple[Row, Counts] | str:
    """The index row of an image and its counts; or what is wrong, one line."""
    try:
        checked = check_image(root / member.image)
        findings = Findings()
        objects, repeated = Labels([], 0)
        if member.annotation:
            file = root / member.annotation
            objects, repeated = read_labels(file, len(numbers), pose, findings)
        findings.refuse()
    except BadData as error:
        return str(error)
    row = Row(member.id, member.image, checked.size, mark=checked.mark)
    counts = {"images": 1, "objects": 0, "clipped": 0, "dropped": 0, "unmasked": 0}
    counts["repeated"] = repeated
    for label in objects:
        number = numbers[label.label]
        annotation, clipped = to_pixels(label, number, member.id, checked.size)
        if annotation is None:
            counts["dropped"] += 1
            continue
        counts["objects"] += 1
        counts["clipped"] += clipped
        counts["unmasked"] += not label.outline
        row.annotations.append(annotation)
    return row, counts
