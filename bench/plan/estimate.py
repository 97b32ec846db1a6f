"""What a stage may take, by what like stages took in this store, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from statistics import median

from bench.core.params import digest
from bench.core.stage import Stage
from bench.core.store import Store


def estimate(store: Store, stages: Iterable[Stage]) -> dict[str, float | None]:
    """Seconds by stage key; see `summarise_like_stages`."""
    return summarise_like_stages(store, stages, "seconds", median)


def summarise_like_stages(
    store: Store, stages: Iterable[Stage], figure: str, over: Callable[[list[float]], float]
) -> dict[str, float | None]:
    """`over` what provenance says of like stages, by stage key. A like stage has the same kind,
    name and params, whatever its seed and inputs; failing that, the same kind and name. None where
    there is none: nothing is guessed."""
    exact: dict[str, list[float]] = {}
    rough: dict[tuple[str, str], list[float]] = {}
    for folder, record in store.committed():
        with suppress(OSError, ValueError, KeyError):
            value = float(json.loads((folder / "provenance.json").read_text())[figure])
            exact.setdefault(_like(record["kind"], record["name"], record["params"]), []).append(
                value
            )
            rough.setdefault((record["kind"], record["name"]), []).append(value)
    values: dict[str, float | None] = {}
    for stage in stages:
        same = exact.get(_like(stage.kind, stage.name, dict(stage.params)))
        near = same or rough.get((stage.kind, stage.name))
        values[stage.key] = over(near) if near else None
    return values


def _like(kind: str, name: str, params: dict[str, object]) -> str:
    return digest(
        {"kind": kind, "name": name, "params": {k: v for k, v in params.items() if k != "seed"}}
    )
