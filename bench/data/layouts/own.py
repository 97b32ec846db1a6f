"""What the layouts of people's own data share: names of splits, paths as they are written in
files, ids of images that have none, images that must be there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from bench.core.errors import BadData, BadInput
from bench.data.files import Listing
from bench.data.findings import Findings
from bench.data.walk import SUFFIXES

# names of folders and lists, in the order in which they are looked for
SPLIT_NAMES = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "test", "testing"),
}
ID_BITS = 48  # with an object's number behind it, an id still has less than 63 bits


class BadPath(ValueError):
    """A path in a file of the set that is not below the set's folder; the text is the rule."""


def clean_path(text: str) -> str:
    """A path that a file of the set names, with slashes and without `.`; BadPath where it is
    absolute, empty or leads out of its folder. Tools on Windows write backslashes."""
    text = text.strip().replace("\\", "/")
    if text.startswith("/") or re.match(r"[A-Za-z]:|[a-z]+://", text):
        raise BadPath("is absolute; paths in a set are relative to its folder")
    parts = PurePosixPath(text).parts
    if not parts or "\0" in text:
        raise BadPath("is no path")
    if ".." in parts:
        raise BadPath("leads out of its folder; paths in a set stay below it")
    return "/".join(parts)


def clean_setting(owner: str, text: str) -> str:
    """A path in a setting of a set; BadInput where `clean_path` refuses it."""
    try:
        return clean_path(text)
    except BadPath as error:
        raise BadInput(f"{owner}: {text!r} {error}") from None


def image_ids(names: Iterable[str]) -> dict[str, int]:
    """An id for each name: 48 bits of its sha256, so that other images, their order and the split
    have no influence. Of two names with the same bits, the one that sorts later gets others."""
    ids: dict[str, int] = {}
    taken: set[int] = set()
    for name in sorted(set(names)):
        text, number = name, 0
        while not number or number in taken:
            raw = hashlib.sha256(text.encode()).digest()
            number, text = int.from_bytes(raw[: ID_BITS // 8], "big"), f"{text}+"
        taken.add(number)
        ids[name] = number
    return ids


def find_alike(missing: Iterable[str], there: Iterable[str]) -> dict[str, str]:
    """For those missing file names that differ in nothing but upper and lower case, or the suffix
    of images or its absence, from one that is there: that one."""
    letters: dict[str, str] = {}
    stems: dict[str, str] = {}
    for name in there:
        letters.setdefault(name.lower(), name)
        stems.setdefault(_strip_suffix(name), name)
    alike = {n: letters.get(n.lower()) or stems.get(_strip_suffix(n), "") for n in missing}
    return {name: other for name, other in alike.items() if other}


def _strip_suffix(name: str) -> str:
    """The name in lower case without the suffix of an image."""
    stem, dot, suffix = name.lower().rpartition(".")
    return stem if dot + suffix in SUFFIXES else name.lower()


def require_images(where: str, names: Sequence[str], listing: Listing, findings: Findings) -> None:
    """A finding for each image that is not listed; `where`: the file that names them. Names are
    relative to the root of the set."""
    missing = [name for name in names if name not in listing]
    if not missing:
        return
    alike = find_alike(missing, listing)
    for name in missing:
        other = alike.get(name, "")
        how = "in other letters" if other.lower() == name.lower() else "with another suffix"
        hint = f"; {other} is, {how}" if other else ""
        findings.add("an image is missing", f"{where}: image {name} is not there{hint}")


def no_split(name: str, root: Path, split: str) -> BadData:
    """The error of a split that nothing in the folder or the settings names."""
    return BadData(
        f"{root} has no {split} of {name}; name its list: --set {name}.{split}=LIST, or divide "
        f"train: bench data split {name}={root} --val .2"
    )


def folder_of(given: Path, name: str, what: str) -> Path:
    """The folder of a set; BadData where it is none."""
    if not given.is_dir():
        raise BadData(f"no folder at {given}; data {name!r} is {what}; try: --data {name}=FOLDER")
    return given
