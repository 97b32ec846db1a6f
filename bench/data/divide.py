"""A set with one list becomes train and val: which images go where, and the lists that say so.

Images are never touched. A set that can be divided has `Divisible`'s two methods.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from bench.core.errors import BadInput, brief
from bench.core.files import write_bytes
from bench.data.findings import Findings

Parts = Mapping[str, Sequence[str]]  # train and val: the names of their images


class Lists(NamedTuple):
    """files: content by name. settings: what makes the set read them from `folder`, by field."""

    files: dict[str, bytes]
    settings: dict[str, str]


@runtime_checkable
class Divisible(Protocol):
    """A data set whose training list can be divided."""

    def split_names(self, root: Path) -> dict[str, list[str]]:
        """What its lists call the images of each split that is there."""
        ...

    def write_lists(self, root: Path, folder: str, parts: Parts) -> Lists:
        """The lists of the parts, which will lie in `folder`, relative to the root."""
        ...


def group_names(names: Sequence[str], pattern: str | None) -> dict[str, list[str]]:
    """Names by group: what the first parenthesis of the regular expression matches in them, or all
    that it matches; without a pattern, every name is its own group. BadData with all names that
    do not match, BadInput where the pattern is none."""
    if pattern is None:
        return {name: [name] for name in names}
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadInput(
            f"--group is a regular expression, got {brief(pattern)} ({error}); "
            r"try: --group '(.*)_\d+'"
        ) from None
    groups: dict[str, list[str]] = {}
    findings = Findings()
    for name in names:
        match = compiled.search(name)
        key = match and match[1 if compiled.groups else 0]
        if not key:
            findings.add(
                "a name is of no group",
                f"image {name} is of no group: --group {pattern!r} matches nothing in its name",
            )
            continue
        groups.setdefault(key, []).append(name)
    findings.refuse()
    return groups


def divide(groups: Mapping[str, Sequence[str]], share: float, seed: int) -> dict[str, list[str]]:
    """Train and val: whole groups go to val, in the order of sha256("split SEED GROUP"), where
    that brings the number of its images nearer to `share` of all; at least one group each.

    Names keep their order. BadInput for fewer than two groups.
    """
    if len(groups) < 2:
        raise BadInput(f"{len(groups)} group of images cannot be divided; try: another --group")
    order = sorted(
        groups, key=lambda name: hashlib.sha256(f"split {seed} {name}".encode()).digest()
    )
    target = share * sum(map(len, groups.values()))
    chosen: set[str] = set()
    count = 0
    for name in order:
        more = count + len(groups[name])
        if abs(more - target) < abs(count - target) and len(chosen) < len(groups) - 1:
            chosen.add(name)
            count = more
    chosen = chosen or {min(order, key=lambda name: len(groups[name]))}
    parts: dict[str, list[str]] = {"train": [], "val": []}
    for name, members in groups.items():
        parts["val" if name in chosen else "train"] += members
    return parts


def save_lists(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the lists; nothing is written where a file of another content is there."""
    for name, content in files.items():
        file = folder / name
        if file.exists() and (not file.is_file() or file.read_bytes() != content):
            raise BadInput(
                f"{file} is there with another content, and is left as it is; try: --out OTHER"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_bytes(folder / name, content, shared=True)
    except OSError as error:
        raise BadInput(
            f"{folder} cannot be written ({error.strerror}); lists lie below the set's folder"
        ) from None
