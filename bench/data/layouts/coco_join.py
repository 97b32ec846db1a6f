"""What several COCO files say together: keypoints beside instances, the classes of the splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from bench.core.errors import nearest
from bench.data.findings import Findings
from bench.data.layouts.coco_entries import CocoFile, CocoObjects
from bench.data.plausible import describe_boxes

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
    theirs = np.array([i for i, p in enumerate(persons.objects.keypoints) if p is not None], int)
    places = _match_by_id(instances, persons, theirs)
    if places is not None:
        for at, there in zip(places, theirs, strict=True):
            _give_keypoints(instances.objects, at, persons.objects, there)
        return 0
    return _join_one_by_one(instances, persons, theirs, findings)


def _give_keypoints(objects: CocoObjects, at: int, others: CocoObjects, there: int) -> None:
    objects.keypoints[at] = others.keypoints[there]
    objects.labelled[at] = others.labelled[there]


def _match_by_id(instances: CocoFile, persons: CocoFile, theirs: np.ndarray) -> np.ndarray | None:
    """The positions of the objects of the same ids as the objects `theirs` of `persons`; None
    where one of them has no such object, or image, category or box do not agree."""
    objects, others = instances.objects, persons.objects
    if not len(objects):
        return None
    order = np.argsort(objects.ids)
    place = np.searchsorted(objects.ids[order], others.ids[theirs])
    at = order[np.minimum(place, len(order) - 1)]
    same = (objects.ids[at] == others.ids[theirs]) & (objects.images[at] == others.images[theirs])
    same &= (np.abs(objects.boxes[at] - others.boxes[theirs]) <= NEAR).all(1)
    kinds = {name: kind for kind, name in enumerate({c.name for c in instances.categories})}
    same &= _number_categories(instances, kinds)[at] == _number_categories(persons, kinds)[theirs]
    return at if same.all() else None


def _number_categories(file: CocoFile, kinds: Mapping[str, int]) -> np.ndarray:
    """(N,): the number in `kinds` of every object's category; -1 where it has none."""
    known, inverse = np.unique(file.objects.categories, return_inverse=True)
    names = {c.id: c.name for c in file.categories}
    return np.array([kinds.get(names[int(c)], -1) for c in known], int)[inverse]


def _join_one_by_one(
    instances: CocoFile, persons: CocoFile, theirs: np.ndarray, findings: Findings
) -> int:
    """`join_keypoints` where some ids are not the same."""
    names = {c.id: c.name for c in instances.categories}
    their_names = {c.id: c.name for c in persons.categories}
    by_id = {int(number): i for i, number in enumerate(instances.objects.ids)}
    by_place: dict[tuple[int, str], list[int]] = defaultdict(list)
    boxes = []
    for i, item in enumerate(instances.objects):
        by_place[item.image, names[item.category]].append(i)
        boxes.append(item.box)
    moved, taken = 0, set()
    for there in theirs:
        person = persons.objects[there]
        key = (person.image, their_names[person.category])
        same = [i for i in by_place.get(key, []) if _is_near(boxes[i], person.box)]
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
        _give_keypoints(instances.objects, at, persons.objects, there)
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
        for at, points in enumerate(file.objects.keypoints):
            if points is not None and len(points) // 3 not in counts:
                counts[len(points) // 3] = f"{file.name}: annotation {file.objects.ids[at]}"
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
        used = set(np.unique(other.objects.categories).tolist())
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
    boxes = file.objects.boxes
    if len(boxes) and boxes.max() <= 1:
        findings.add(
            "boxes lie in 0..1",
            f"{file.name}: all {len(boxes):,} boxes lie in 0..1, the first is "
            f"{boxes[0].tolist()}; bbox is x, y, width, height in pixels",
        )


def describe_texts(file: CocoFile) -> list[str]:
    """A remark on numbers that are written as text."""
    return [f"{file.texts:,} numbers are written as text, and read as numbers"] * (file.texts > 0)


def describe_objects(file: CocoFile) -> list[str]:
    """Remarks on boxes, areas and keypoints that are possible but rarely meant."""
    objects, sizes = file.objects, file.image_sizes()[file.places]
    remarks = describe_boxes(objects.boxes, sizes, objects.images, objects.categories)
    beyond = int((objects.boxes[:, :2] + objects.boxes[:, 2:] > 1.1 * sizes).any(1).sum())
    if beyond * 10 > len(objects):
        remarks.append(
            f"{beyond:,} of {len(objects):,} boxes reach beyond their image by more than a tenth "
            "of it; bbox is x, y, width, height and not two corners"
        )
    return [*remarks, *_describe_areas(file), *_describe_points(file)]


def _describe_areas(file: CocoFile) -> list[str]:
    """Remarks on areas that do not fit their boxes, or are 0."""
    area, boxes, remarks = file.objects.area, file.objects.boxes, []
    size = boxes[:, 2] * boxes[:, 3]
    # an area that is missing is NaN, of which both comparisons are false
    large = int((area > 1.5 * np.maximum(size, 1)).sum())
    if large * 10 > len(boxes):
        remarks.append(f"{large:,} of {len(boxes):,} areas are larger than their box")
    none = int(((area == 0) & (size > 0)).sum())
    if none * 10 > len(boxes):
        remarks.append(f"{none:,} of {len(boxes):,} areas are 0, of boxes that are not empty")
    return remarks


def _describe_points(file: CocoFile) -> list[str]:
    """A remark where a tenth of the keypoints that are visible lie outside of their image."""
    lists = [points for points in file.objects.keypoints if points is not None]
    if not lists:
        return []
    pointed = [at for at, points in enumerate(file.objects.keypoints) if points is not None]
    points = np.concatenate(lists).reshape(-1, 3)
    counts = [len(each) // 3 for each in lists]
    sizes = np.repeat(file.image_sizes()[file.places[pointed]], counts, axis=0)
    seen = points[:, 2] > 0
    outside = seen & ((points[:, :2] < 0) | (points[:, :2] > sizes)).any(1)
    if outside.sum() * 10 <= seen.sum():
        return []
    return [f"{outside.sum():,} of {seen.sum():,} keypoints lie outside of their image"]
