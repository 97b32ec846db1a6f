"""What the options that name cells mean: scales, globs, seeds, NAME=PATH, and default data."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.contracts import registry
from bench.contracts.component import SCALES
from bench.core.errors import BadInput, Unavailable, brief, unknown
from bench.core.files import expand_path
from bench.plan.named import NAME, find_named, named_names

MOST_SEEDS = 10_000  # of one command
LARGEST_SEED = 2**31 - 1  # the column of the database
NAMED = ",name="
PRETRAIN_DATA = {"tiny": "scenes", "": "coco"}  # scale -> the data of pretrainings


def check_scale(scale: str) -> str:
    """The scale, or an error with the nearest one."""
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES, "bench run --scale tiny ...")
    return scale


def match(kind: str, patterns: str, note: Callable[[str], None] | None = None) -> list[str]:
    """Names of `kind` for a comma list of names and globs, in the order given, each once.

    A name that is given in full must be that of a usable component, or Unavailable is raised. Of
    the names that a glob stands for, those of unusable components are left out where there is a
    `note`, which gets a line for each; else they are kept, and who plans with them says why.
    """
    names: list[str] = []
    for pattern in [p.strip() for p in patterns.split(",") if p.strip()]:
        hits = fnmatch.filter(registry.names(kind), pattern)
        if not hits:
            registry.entry(kind, pattern)  # raises with the nearest name
        if hits == [pattern]:
            registry.load(kind, pattern)
        elif note:
            hits = [hit for hit in hits if _is_usable(kind, hit, note)]
        names += [h for h in hits if h not in names]
    return names


def _is_usable(kind: str, name: str, note: Callable[[str], None]) -> bool:
    try:
        registry.load(kind, name)
    except Unavailable as error:
        note(f"left out: {error}")
        return False
    return True


def parse_seeds(text: str) -> list[int]:
    """`0`, `0,2,5` or `0-4`; BadInput for more than `MOST_SEEDS` or one beyond `LARGEST_SEED`."""
    ranges: list[range] = []
    try:
        for part in text.split(","):
            low, _, high = part.strip().partition("-")
            ranges.append(range(int(low), int(high or low) + 1))
    except ValueError:
        raise BadInput(
            f"seeds are numbers, lists or ranges, got {brief(text)}; try: --seeds 0-2"
        ) from None
    if not any(ranges):
        raise BadInput(f"no seed in {brief(text)}; try: --seeds 0-2")
    if max(r[-1] for r in ranges if r) > LARGEST_SEED:
        raise BadInput(f"a seed is at most {LARGEST_SEED}, got {brief(text)}; try: --seeds 0-2")
    if sum(map(len, ranges)) > MOST_SEEDS:
        raise BadInput(
            f"a command takes at most {MOST_SEEDS:,} seeds, got {brief(text)}; try: --seeds 0-4"
        )
    return list(dict.fromkeys(seed for each in ranges for seed in each))


class DataChoice(NamedTuple):
    """What --data says. name: the data set; None where nothing was said. path: its folder, where
    one was given. shown: what boards call it ("": its own name). settings: those of a named set,
    (SET.FIELD, value), which come before the command's own."""

    name: str | None
    path: Path | None
    shown: str = ""
    settings: tuple[tuple[str, str], ...] = ()


def parse_data(text: str | None) -> DataChoice:
    """The data set of `NAME`, `NAME=PATH`, either with `,name=...`, or of a set that the user
    named (`bench data add`)."""
    if not text:
        return DataChoice(None, None)
    what, shown = split_name(text)
    name, equals, path = what.partition("=")
    if name not in registry.names("data"):
        return _choose_named(name, equals + path, shown)
    registry.load("data", name)
    return DataChoice(name, expand_path(path) if path else None, shown)


def _choose_named(name: str, rest: str, shown: str) -> DataChoice:
    named = find_named(name)
    if named is None:
        known = [*registry.names("data"), *named_names()]
        raise unknown("data", name, known, "bench data list")
    if rest:
        raise BadInput(
            f"{name!r} is a named set with the folder {named.path}, and takes no other, got "
            f"{rest[1:]!r}; try: --data {named.data}{rest}"
        )
    registry.load("data", named.data)
    return DataChoice(named.data, named.path, shown or name, named.owned)


def split_name(text: str) -> tuple[str, str]:
    """(`coco=PATH`, `warehouse`) of `coco=PATH,name=warehouse`: what a user calls the data or the
    weights where results are shown; "" where there is none. It is no part of any key."""
    what, comma, name = text.rpartition(NAMED)
    if not comma:
        return text, ""
    if not NAME.fullmatch(name):
        raise BadInput(
            f"a name has up to 40 letters, digits and . _ + -, got {name!r}; try: {what},name=mine"
        )
    return what, name


def parse_settings(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The (key, value) pairs of KEY=VALUE texts."""
    return tuple(_parse_setting(text) for text in texts)


def _parse_setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"--set takes KEY=VALUE, got {brief(text)}; try: --set orl.epochs=2")
    return key.strip(), value.strip()


def default_data(scale: str) -> str:
    """The pretraining data of a scale."""
    return PRETRAIN_DATA.get(scale, PRETRAIN_DATA[""])


def default_task_data(task: str, scale: str) -> str:
    """The data that a task is scored on at a scale."""
    defaults: dict[str, str] = registry.load("task", task).data  # type: ignore[attr-defined]
    return defaults.get(scale, defaults.get("", "")) or default_data(scale)
