"""The images of a YOLO set's splits: folders, and lists with a path a line."""

from __future__ import annotations

import posixpath
from pathlib import Path

from bench.data.findings import Findings
from bench.data.layouts.own import BadPath, clean_path
from bench.data.layouts.yolo_yaml import read_text
from bench.data.walk import walk_images


def list_images(root: Path, place: str, findings: Findings) -> list[str]:
    """The images of a folder, at any depth, or of a list; relative to the root."""
    if (root / place).is_dir():
        prefix = f"{place}/" if place else ""
        return [prefix + name for name in walk_images(root / place).files]
    if not place.lower().endswith(".txt"):
        findings.add(
            "no folder and no list",
            f"{root / place} is neither a folder of images nor a list (.txt)",
        )
        return []
    names: dict[str, None] = {}
    for number, line in enumerate(read_text(root / place).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{root / place} line {number}"
        try:
            name = _find_image(root, posixpath.dirname(place), clean_path(line))
        except BadPath as error:
            findings.add(f"a line {error}", f"{where}: {line.strip()[:60]!r} {error}")
            continue
        if name in names:
            findings.add("a list names an image twice", f"{where}: {name} is there twice")
        names[name] = None
    return list(names)


def _find_image(root: Path, beside: str, name: str) -> str:
    """Where an image of a list lies: relative to the list, to the root, or, as CVAT writes them,
    to a folder data/ that is the root. The first of these where it lies nowhere."""
    places = [posixpath.join(beside, name), name, name.removeprefix("data/")]
    return next((place for place in places if (root / place).is_file()), places[0])
