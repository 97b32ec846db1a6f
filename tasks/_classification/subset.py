"""The training images whose labels are used: those that a file names, or a balanced draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.contracts.images import ImageSet
from bench.core.errors import BadData, BadInput
from bench.core.seeds import rng_for

RECORDS = {"stage.json", "provenance.json", "done"}  # of a stage's folder, beside its files


def choose_balanced(labels: np.ndarray, total: int, seed: int) -> np.ndarray:
    """Places of `total` images, ascending, with as equal numbers of each class as the set has:
    every class gives its first image before any gives its second, and the classes that give one
    more are drawn too."""
    rng = rng_for(seed, "labelled subset")
    shuffled = rng.permutation(len(labels))
    mine = labels[shuffled]
    order = np.argsort(mine, kind="stable")
    first = np.searchsorted(mine[order], mine[order], side="left")
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - first  # the how-manieth of its class an image is
    turn = rng.permutation(labels.max(initial=0) + 1)[mine]
    return np.sort(shuffled[np.lexsort((turn, rank))[:total]])


def read_listed(images: ImageSet, positions: np.ndarray, folder: Path, setting: str) -> np.ndarray:
    """Places in `positions` of the images that the file in `folder` names, ascending. A line is a
    name or a path of an image, whatever follows after a space is not read. BadInput for a name
    that no image has."""
    files = sorted(f for f in folder.iterdir() if f.name not in RECORDS)
    if len(files) != 1:
        raise BadInput(
            f"{setting} must be one file, not a folder of {len(files)}; try: --set {setting}=FILE"
        )
    names = _read_names(files[0], setting)
    places: dict[str, int] = {}
    for place, position in enumerate(positions):
        name = images.file(int(position)).name
        if name in places:
            raise BadData(
                f"{images.name} has two images of the name {name}, "
                "so a list of names cannot be used"
            )
        places[name] = place
    lacks = [name for name in names if name not in places]
    if lacks:
        raise BadInput(
            f"{setting}: {len(lacks)} of {len(names)} names are no training image of "
            f"{images.name}, the first is {lacks[0]!r}; use the list of this data"
        )
    return np.sort(np.array([places[name] for name in names], np.int64))


def _read_names(file: Path, setting: str) -> list[str]:
    try:
        lines = [line.split() for line in file.read_text().splitlines()]
    except (OSError, ValueError):
        raise BadInput(
            f"{setting}: {file.name} is no text file; give one with a name a line"
        ) from None
    names = [words[0].rpartition("/")[2] for words in lines if words]
    if not names:
        raise BadInput(f"{setting}: {file.name} names no image; give a file with a name a line")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"{setting}: {file.name} names {twice} twice; remove one")
    return names
