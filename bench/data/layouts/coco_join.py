"""What several COCO files say together: keypoints beside instances, the classes of the splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from bench.core.errors import nearest
from bench.data.findings import Findings
from bench.data.layouts.coco_file import CocoFile, CocoObject

NEAR = 0.5  # pixels by which the boxes of one object may differ in two files


class Skeleton(NamedTuple):
    """The keypoints of a set. `named`: whether its files name them; else they are numbered, and
    nothing is known of left and right."""

    names: tuple[str, ...]
    named: bool


def join_keypoints(instances: CocoFile, persons: CocoFile, findings: Findings) -> int:
    """Give the objects of `instances` the keypoints of `persons`, a file with annotations of its
    own; how many were joined by image and box because their ids are not the same.

    An id alone proves nothing, some tools number the annotations of every file anew: image,
    category (by name) and box must agree.
    """
    names = {c.id: c.name for c in instances.categories}
    their_names = {c.id: c.name for c in persons.categories}
    by_id = {o.id: i for i, o in enumerate(instances.objects)}
    by_place: dict[tuple[int, str], list[int]] = defaultdict(list)
    for i, item in enumerate(instances.objects):
        by_place[item.image, names[item.category]].append(i)
    moved, taken = 0, set()
    for person in persons.objects:
        if person.keypoints is None:
            continue
        key = (person.image, their_names[person.category])
        same = [i for i in by_place.get(key, []) if _is_near(instances.objects[i].box, person.box)]
        at = by_id.get(person.id)
        if at not in same:
            free = [i for i in same if i not in taken]
            at = free[0] if len(free) == 1 else None
            moved += at is not None
        if at is None or at in taken:
            findings.add(
                "keypoints have no object",
                f"{persons.name}: annotation {person.id}: {instances.name} has "
                f"{'several objects' if len(same) > 1 else 'no object'} of image {person.image} "
                f"with category {key[1]!r} and bbox {list(person.box)}",
            )
            continue
        taken.add(at)
        instances.objects[at] = instances.objects[at]._replace(
            keypoints=person.keypoints, labelled=person.labelled
        )
    return moved


def _is_near(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(abs(a - b) <= NEAR for a, b in zip(one, other, strict=True))


def _gather_keypoints(
    files: Mapping[str, CocoFile], named_in: Mapping[str, CocoFile]
) -> tuple[dict[int, str], dict[tuple[str, ...], str]]:
    """How many keypoints objects have, and the lists of names, each with its first place."""
    counts: dict[int, str] = {}
    names: dict[tuple[str, ...], str] = {}
    for split, file in files.items():
        for item in file.objects:
            if item.keypoints is not None:
                counts.setdefault(len(item.keypoints) // 3, f"{file.name}: annotation {item.id}")
        source = named_in.get(split, file)
        for category in source.categories:
            if category.keypoints:
                names.setdefault(category.keypoints, f"{source.name}: category {category.name!r}")
    return counts, names


def find_skeleton(
    files: Mapping[str, CocoFile],
    named_in: Mapping[str, CocoFile],
    usual: tuple[str, ...],
    findings: Findings,
) -> Skeleton | None:
    """The one skeleton of all splits; None where no object has keypoints. `files`: instances by
    split. `named_in`: the files whose categories name the keypoints. `usual`: the names of a
    skeleton of that many keypoints whose files name none."""
    counts, names = _gather_keypoints(files, named_in)
    if not counts:
        return None
    for what in (
        [(str(n), where) for n, where in counts.items()],
        [(", ".join(n), where) for n, where in names.items()],
    ):
        if len(what) > 1:
            (one, where), (other, there) = what[:2]
            findings.add(
                "two skeletons",
                f"{there} has keypoints {other}, but {where} has {one}; a set has one skeleton",
            )
            return None
    count, where = next(iter(counts.items()))
    listed = next(iter(names), ())
    if listed and len(listed) != count:
        findings.add(
            "keypoints and their names differ",
            f"{where} has {count} keypoints, but {names[listed]} names {len(listed)}",
        )
        return None
    if listed or count == len(usual):
        return Skeleton(listed or usual, True)
    return Skeleton(tuple(f"keypoint_{i}" for i in range(1, count + 1)), False)


def join_classes(files: Mapping[str, CocoFile], findings: Findings) -> list[str]:
    """The class list of all splits: the names of the first one's categories by ascending id. Other
    splits are joined by name, whatever their ids; a category of theirs that objects have and the
    first one lacks is a finding."""
    first, *others = files.values()
    classes = [c.name for c in sorted(first.categories, key=lambda c: c.id)]
    for other in others:
        used = {o.category for o in other.objects}
        for category in other.categories:
            if category.id in used and category.name not in classes:
                guess = nearest(category.name, classes)
                hint = f" (did you mean {guess!r}?)" if guess else ""
                findings.add(
                    "a class the training split lacks",
                    f"{other.name}: category {category.id} {category.name!r} has objects, but "
                    f"{first.name} has no such category{hint}",
                )
    return classes


def check_boxes(file: CocoFile, findings: Findings) -> None:
    """Boxes that are legal and no real set has: all of them within 0..1."""
    boxes = [o.box for o in file.objects]
    if boxes and max(map(max, boxes)) <= 1:
        findings.add(
            "boxes lie in 0..1",
            f"{file.name}: all {len(boxes):,} boxes lie in 0..1, the first is {list(boxes[0])}; "
            "bbox is x, y, width, height in pixels",
        )


def describe_texts(file: CocoFile) -> list[str]:
    """A remark on numbers that are written as text."""
    return [f"{file.texts:,} numbers are written as text, and read as numbers"] * (file.texts > 0)


def describe_boxes(file: CocoFile) -> list[str]:
    """Remarks on boxes that are possible but rarely meant."""
    boxes, remarks = [o.box for o in file.objects], []
    if not boxes:
        return ["no object at all"]
    sizes = {i.id: i.size for i in file.images}
    thin = sum(min(box[2:]) < 2 for box in boxes)
    if thin * 2 > len(boxes):
        remarks.append(f"{thin:,} of {len(boxes):,} boxes are narrower or lower than 2 pixels")
    beyond = sum(_reaches_beyond(o, sizes[o.image]) for o in file.objects)
    if beyond * 10 > len(boxes):
        remarks.append(
            f"{beyond:,} of {len(boxes):,} boxes reach beyond their image by more than a tenth of "
            "it; bbox is x, y, width, height and not two corners"
        )
    large = sum(
        o.area is not None and o.area > 1.5 * max(o.box[2] * o.box[3], 1) for o in file.objects
    )
    if large * 10 > len(boxes):
        remarks.append(f"{large:,} of {len(boxes):,} areas are larger than their box")
    return remarks


def _reaches_beyond(item: CocoObject, size: tuple[int, int]) -> bool:
    x, y, width, height = item.box
    return x + width > 1.1 * size[0] or y + height > 1.1 * size[1]
