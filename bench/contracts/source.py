"""Which code gives a stage its meaning, as a digest: a result whose digest differs from today's
was made by code that has changed since."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

PARTS = ("method", "crop", "proposals", "task")  # params of a stage that name a component


def component_names(params: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """(kind, name) of the components that a stage's params name."""
    found = [
        (part, params[part]["name"]) for part in PARTS if "name" in _mapping(params.get(part))
    ]
    return tuple(found)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def source_digest(runner: str, params: Mapping[str, Any]) -> str:
    """sha256 hex over the source files that give a stage its meaning: the module of its runner
    ("module:function") and the files of the components its params name."""
    return digest_of(runner, component_names(params))


def digest_of(runner: str, components: tuple[tuple[str, str], ...]) -> str:
    """`source_digest` of a stage with this runner and these components."""
    from bench.contracts.registry import entries

    files = {_file(runner.partition(":")[0])}
    for key in components:
        known = entries().get(key)  # a weights file's "method" is no component
        files |= {known.file} if known else set()
    total = hashlib.sha256()
    for file in sorted(str(f) for f in files if f):
        total.update(Path(file).read_bytes())
    return total.hexdigest()


def state_of_code(runner: str, params: Mapping[str, Any], recorded: str | None) -> str:
    """ "current", "changed" or "unknown": the recorded digest beside that of the code installed
    now."""
    if not runner or not recorded:
        return "unknown"
    return "current" if source_digest(runner, params) == recorded else "changed"


@cache
def _file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # a component that is no longer installed
        return None
    return Path(spec.origin) if spec and spec.origin else None
