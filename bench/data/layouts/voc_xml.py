"""Annotation files of PASCAL VOC: one XML file an image, objects with names and corners."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from bench.core.errors import BadData, nearest

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
ENCODING = re.compile(rb"""<\?xml[^>]*?encoding=["']([\w.:-]+)["']""")
CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Rules:
    """How annotations are read. classes: the names that objects may have; None is any. advice:
    what to do about a file that breaks a rule. origin: the number of the first pixel."""

    classes: tuple[str, ...] | None = CLASSES
    advice: str = "unpack the VOC archive again"
    origin: int = 1


OFFICIAL = Rules()


@dataclass(frozen=True)
class Described:
    """What an annotation file says.
    objects: (class, difficult, (xmin, ymin, xmax, ymax) as written)."""

    size: tuple[int, int]
    objects: list[tuple[str, bool, tuple[float, ...]]]


def read_annotation(file: Path, rules: Rules = OFFICIAL) -> Described:
    """The annotation of an image. Only objects and their own boxes: parts (head, hand, foot) are
    not read. BadData, with all faults, for what is no VOC annotation, a class that is none of
    those known, a box without four numbers."""
    root = read_xml(file)
    _check_nesting(file, root)
    try:
        width, height = (int(root.findtext(f"size/{side}") or "") for side in ("width", "height"))
    except ValueError:
        raise BadData(f"{file} is not a VOC annotation: it has no size; {rules.advice}") from None
    objects, faults = [], []
    for number, node in enumerate(root.findall("object"), 1):
        try:
            objects.append(_object(file, number, node, rules))
        except BadData as error:
            faults.append(str(error))
    if faults:
        raise BadData.of(faults, "findings")
    return Described((width, height), objects)


def read_xml(file: Path) -> ElementTree.Element:
    """The root element, whatever encoding the file declares that Python knows: expat itself knows
    no multi-byte ones but Unicode's. BadData where it is no XML."""
    try:
        data = file.read_bytes()
        try:
            return ElementTree.fromstring(data)
        except (ValueError, LookupError):
            declared = ENCODING.match(data)
            if declared is None:
                raise
            return ElementTree.fromstring(data.decode(declared[1].decode()))
    except (OSError, ValueError, LookupError, ElementTree.ParseError, RecursionError) as error:
        raise BadData(
            f"annotation {file} cannot be read ({error}); restore it, or save it as UTF-8"
        ) from None


def _check_nesting(file: Path, root: ElementTree.Element) -> None:
    """Objects in other places or of other spelling would be taken for none at all."""
    direct = len(root.findall("object"))
    likely = sum(str(node.tag).lower() in ("object", "objects") for node in root.iter())
    if likely != direct:
        raise BadData(
            f"annotation {file} has {likely} elements named like an object, but {direct} are "
            "<object> directly below <annotation>, the only ones that are read; write all so"
        )


def _object(
    file: Path, number: int, node: ElementTree.Element, rules: Rules
) -> tuple[str, bool, tuple[float, ...]]:
    where, again = f"annotation {file}: object {number}", rules.advice
    name = (node.findtext("name") or "").strip()
    if not name and rules.classes is None:
        raise BadData(f"{where} has no name; {again}")
    if rules.classes is not None and name not in rules.classes:
        guess = nearest(name, rules.classes)
        hint = f" (did you mean {guess!r}?)" if guess else ""
        raise BadData(
            f"{where} is a {name!r}, none of the {len(rules.classes)} classes{hint}; {again}"
        )
    box = tuple(_number(node.findtext(f"bndbox/{corner}")) for corner in CORNERS)
    if not np.isfinite(box).all():
        raise BadData(f"{where} has no box of four numbers; {again}")
    for low, high in ((0, 2), (1, 3)):
        # equal: no width, as corners are inside the box
        if box[low] - rules.origin > box[high]:
            raise BadData(
                f"{where}: {CORNERS[low]} {box[low]:g} is larger than {CORNERS[high]} "
                f"{box[high]:g}; are they exchanged?"
            )
    difficult = (node.findtext("difficult") or "0").strip()  # some annotations leave it out
    if difficult not in ("0", "1"):
        raise BadData(f"{where}: difficult must be 0 or 1, got {difficult!r}; {again}")
    return name, difficult == "1", box


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return float("nan")
