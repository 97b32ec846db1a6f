"""What a folder holds: an error names the set that reads it before it offers a download."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bench.data.layouts.coco_find import list_json
from bench.data.walk import is_hidden

MOST = 2000  # names that are looked at
DEPTH = 3  # folders below the root
YEARS = (("voc2007", "VOC2007", "trainval.txt"), ("voc2012", "VOC2012", "train.txt"))


def recognise(root: Path) -> list[tuple[str, str]]:
    """(set, what there is of it) of each of people's layouts that the folder may be, the likeliest
    first; nothing is parsed."""
    found = []
    coco = list_json(root) if root.is_dir() else []
    if coco:
        more = f" and {len(coco) - 1} more" if len(coco) > 1 else ""
        found.append(("coco_json", f"the COCO file {coco[0]}{more}"))
    names = list(islice(_names(root, DEPTH), MOST)) if root.is_dir() else []
    yaml = [n for n in names if n.endswith((".yaml", ".yml")) or Path(n).name == "classes.txt"]
    if yaml and any(n.endswith(".txt") and "labels/" in f"/{n}" for n in names):
        found.append(("yolo", f"{yaml[0]} and labels/"))
    years = [(name, f"the folder {folder}/") for name, folder in _find_years(root)]
    xml = [n for n in names if n.endswith(".xml")]
    if years:
        found += years
    elif xml:
        found.append(("voc_layout", f"the annotation {xml[0]}"))
    return found


def _find_years(root: Path) -> Iterator[tuple[str, str]]:
    """(set, folder) of the years of PASCAL VOC that lie there as the archives unpack them."""
    for name, year, list_name in YEARS:
        for base in (root, root / "VOCdevkit"):
            if (base / year / "ImageSets" / "Main" / list_name).is_file():
                yield name, str((base / year).relative_to(root))
        if root.name == year and (root / "ImageSets" / "Main" / list_name).is_file():
            yield name, "ImageSets"


def suggest(root: Path, name: str) -> str:
    """How to read what lies there by another set than `name`, as the end of an error; "" where
    nothing is recognised."""
    found = [each for each in recognise(root) if each[0] != name]
    return " or ".join(
        f"{'but it' if not at else 'it'} has {what}; try: --data {kind}={root}"
        for at, (kind, what) in enumerate(found)
    )


def _names(folder: Path, depth: int, prefix: str = "") -> Iterator[str]:
    """Names below a folder; of each folder its files first, a few of them."""
    entries = sorted(islice(folder.iterdir(), MOST))
    visible = [e for e in entries if not is_hidden(e.name)]
    yield from islice((prefix + e.name for e in visible if not e.is_dir()), 200)
    if depth:
        for entry in visible:
            if entry.is_dir():
                yield from _names(entry, depth - 1, f"{prefix}{entry.name}/")
