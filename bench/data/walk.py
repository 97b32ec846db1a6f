"""One walk over folders of images for every set that is found by its folders and not by lists."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
HIDDEN = frozenset(  # what systems and NAS boxes put beside people's files
    {"@eaDir", "__MACOSX", "lost+found", "$RECYCLE.BIN", "Thumbs.db", "desktop.ini"}
)


@dataclass
class Walk:
    """files: the images, relative to where the walk began, in the order of their paths. left_out:
    how many other files there are, by suffix. hidden: names that were skipped. suffixes: of the
    files that are walked for."""

    files: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    hidden: list[str] = field(default_factory=list)
    suffixes: frozenset[str] = SUFFIXES

    def remarks(self) -> list[str]:
        """What was not read, one line each; none where everything was."""
        lines = []
        if self.left_out:
            kinds = ", ".join(f"{n:,} {suffix}" for suffix, n in sorted(self.left_out.items()))
            count = self.left_out.total()
            noun = "file that is no image is" if count == 1 else "files that are no images are"
            lines.append(f"{count:,} {noun} left out: {kinds}")
        if self.hidden:
            more = f" and {len(self.hidden) - 3:,} more" if len(self.hidden) > 3 else ""
            lines.append(f"hidden names are left out: {', '.join(self.hidden[:3])}{more}")
        return lines

    def add(self, other: Walk, folder: str) -> None:
        """The files of another walk, which began in `folder`."""
        self.files += [f"{folder}/{name}" for name in other.files]
        self.left_out += other.left_out
        self.hidden += [f"{folder}/{name}" for name in other.hidden]


def is_hidden(name: str) -> bool:
    """Whether a name is not the user's: it begins with a dot, or the system made it."""
    return name.startswith(".") or name in HIDDEN


def list_folders(root: Path) -> tuple[list[str], Walk]:
    """The folders in `root`, links to folders included, by name; and the files beside them."""
    folders, beside = [], Walk()
    with os.scandir(root) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if is_hidden(entry.name):
                beside.hidden.append(entry.name)
            elif entry.is_dir():
                folders.append(entry.name)
            else:
                _put(entry, "", beside)
    return folders, beside


def walk_images(root: Path, suffixes: frozenset[str] = SUFFIXES) -> Walk:
    """Every image file below `root` at any depth, or every file of other `suffixes`. Suffixes
    count in any case. Links are followed, but not into a folder that the walk is inside of."""
    walk = Walk(suffixes=suffixes)
    _descend(root, "", frozenset({_identity(root)}), walk)
    walk.files.sort(key=lambda name: name.split("/"))
    walk.hidden.sort()
    return walk


def _descend(folder: Path, prefix: str, above: frozenset[tuple[int, int]], walk: Walk) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                walk.hidden.append(prefix + entry.name)
            elif entry.is_dir():
                place = _identity(Path(entry.path))
                if place in above:
                    walk.left_out["link to a folder around it"] += 1
                else:
                    _descend(Path(entry.path), f"{prefix}{entry.name}/", above | {place}, walk)
            else:
                _put(entry, prefix, walk)


def _put(entry: os.DirEntry[str], prefix: str, walk: Walk) -> None:
    suffix = os.path.splitext(entry.name)[1].lower()
    if not entry.is_file():
        walk.left_out["broken link" if entry.is_symlink() else "special file"] += 1
    elif suffix in walk.suffixes:
        walk.files.append(prefix + entry.name)
    else:
        walk.left_out[suffix or "without a suffix"] += 1


def _identity(folder: Path) -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino
