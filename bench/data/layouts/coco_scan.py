"""A first look at masks as JSON text: most polygons are right, which their commas and brackets and
their first point show without decoding 40 million numbers.

What is not plainly right is left to `bench.data.layouts.coco_masks`, which decodes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.data.layouts.coco_masks import DECODED

UNKNOWN, POLYGONS, ABSENT = 0, 1, 2
MANY = 4096  # masks looked at together
SEPARATOR = b"\0"  # no JSON has one
DIGITS = b"0123456789.- \t\n\r"  # of numbers without an exponent, and space between them
TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
OPENING = b"[ \t\n\r"
NOWHERE = (np.nan, np.nan)  # in no box
NONE = (b"", b"null", b"[]")
LONGEST = b"0" * 300  # a number of so many digits may be too large for a float


def scan_masks(segmentations: Sequence[Any], boxes: np.ndarray) -> np.ndarray:
    """(N,) int8, for every mask: ABSENT where there is none; POLYGONS where its text is polygons
    of three points or more of finite numbers, the first of which lies in the box (N, 4; x, y,
    width, height), so that mask and box have something in common; UNKNOWN where only decoding it
    tells."""
    kinds = np.zeros(len(segmentations), np.int8)
    known: dict[bytes, bool] = {}
    for start in range(0, len(kinds), MANY):
        part = segmentations[start : start + MANY]
        if not any(isinstance(mask, DECODED) for mask in part):
            kinds[start : start + MANY] = _scan(part, boxes[start : start + MANY], known)
    return kinds


def _scan(texts: Sequence[Any], boxes: np.ndarray, known: dict[bytes, bool]) -> np.ndarray:
    """`scan_masks` of some texts. known: skeletons that were seen, and whether they are right."""
    kinds = np.zeros(len(texts), np.int8)
    joined = SEPARATOR.join(b"" if text is None else text for text in texts)
    skeletons = joined.translate(None, DIGITS).split(SEPARATOR)
    if len(skeletons) != len(texts) or LONGEST in joined.translate(TO_ZERO):
        return kinds
    points: list[float] = []
    for at, (skeleton, text) in enumerate(zip(skeletons, joined.split(SEPARATOR), strict=True)):
        right = known.get(skeleton)
        if right is None:
            right = known[skeleton] = _is_right(skeleton)
        if right:
            x, y, _ = text.split(b",", 2)
            points += (float(x.lstrip(OPENING)), float(y))
            continue
        points += NOWHERE
        if text in NONE:
            kinds[at] = ABSENT
    first = np.array(points).reshape(-1, 2)
    ends = boxes[:, :2] + boxes[:, 2:]
    kinds[((first >= boxes[:, :2]) & (first <= ends)).all(1)] = POLYGONS
    return kinds


def _is_right(skeleton: bytes) -> bool:
    """Whether a text without its numbers is polygons of an even number of coordinates, at least
    six: `[[,,,,,],[,,,,,,,]]`.

    >>> _is_right(b"[[,,,,,],[,,,,,,,]]"), _is_right(b"[[,,,,]]"), _is_right(b"[,,,,,]")
    (True, False, False)
    """
    if not (skeleton.startswith(b"[[") and skeleton.endswith(b"]]")):
        return False
    polygons = skeleton[2:-2].split(b"],[")
    return all(len(p) >= 5 and len(p) % 2 and p == b"," * len(p) for p in polygons)
