"""What the options that name cells mean: scales, globs, seeds, NAME=PATH, and default data."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

from bench.contracts import registry
from bench.contracts.component import SCALES
from bench.core.errors import BadInput, unknown

NAMED = ",name="
PRETRAIN_DATA = {"tiny": "scenes", "": "coco"}  # scale -> the data of pretrainings


def check_scale(scale: str) -> str:
    """The scale, or an error with the nearest one."""
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES, "bench run --scale tiny ...")
    return scale


def match(kind: str, patterns: str) -> list[str]:
    """Names of `kind` for a comma list of names and globs, in the order given, each once."""
    names: list[str] = []
    for pattern in [p.strip() for p in patterns.split(",") if p.strip()]:
        hits = fnmatch.filter(registry.names(kind), pattern)
        if not hits:
            registry.entry(kind, pattern)  # raises with the nearest name
        names += [h for h in hits if h not in names]
    return names


def parse_seeds(text: str) -> list[int]:
    """`0`, `0,2,5` or `0-4`."""
    seeds: list[int] = []
    try:
        for part in text.split(","):
            low, _, high = part.strip().partition("-")
            seeds += range(int(low), int(high or low) + 1)
    except ValueError:
        raise BadInput(
            f"seeds are numbers, lists or ranges, got {text!r}; try: --seeds 0-2"
        ) from None
    if not seeds:
        raise BadInput(f"no seed in {text!r}; try: --seeds 0-2")
    return list(dict.fromkeys(seeds))


def parse_data(text: str | None) -> tuple[str | None, Path | None]:
    """The data set and the folder of `NAME` or `NAME=PATH`; `,name=...` is `split_name`'s."""
    if not text:
        return None, None
    name, _, path = split_name(text)[0].partition("=")
    registry.entry("data", name)
    return name, Path(path).expanduser().absolute() if path else None


def split_name(text: str) -> tuple[str, str]:
    """(`coco=PATH`, `warehouse`) of `coco=PATH,name=warehouse`: what a user calls the data or the
    weights where results are shown; "" where there is none. It is no part of any key."""
    what, comma, name = text.rpartition(NAMED)
    if not comma:
        return text, ""
    if not re.fullmatch(r"[\w.+-]{1,40}", name):
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
        raise BadInput(f"--set takes KEY=VALUE, got {text!r}; try: --set orl.epochs=2")
    return key.strip(), value.strip()


def default_data(scale: str) -> str:
    """The pretraining data of a scale."""
    return PRETRAIN_DATA.get(scale, PRETRAIN_DATA[""])


def default_task_data(task: str, scale: str) -> str:
    """The data that a task is scored on at a scale."""
    defaults: dict[str, str] = registry.load("task", task).data  # type: ignore[attr-defined]
    return defaults.get(scale, defaults.get("", "")) or default_data(scale)
