"""A Stage: one cached step of a cell, a pure function of its parameters and its input stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypedDict

from bench.core.params import digest

KEY_VERSION = 1  # raise it when the meaning of a key changes; the golden-key test pins the values


class StageRecord(TypedDict):
    """A stage as plain data, its inputs by their keys: the content of `stage.json`."""

    key: str
    kind: str
    name: str
    version: int
    params: dict[str, Any]
    runner: str
    inputs: dict[str, str]


class PluginRecord(TypedDict):
    """Another package with components: its version, and the commit of the checkout it runs from,
    with whether files of it differ from that; None outside a checkout."""

    version: str
    commit: str | None
    dirty: bool | None


class Provenance(TypedDict, total=False):
    """Where a stage's folder comes from: the content of `provenance.json`, never part of a key.

    A key is missing where it was not known, or where an older version wrote the record.
    """

    commit: str | None
    dirty: bool | None
    packages: dict[str, str]
    plugins: dict[str, PluginRecord]  # by the name of the distribution
    python: str
    host: str
    device: str
    cpus: int
    started: str  # ISO 8601, UTC
    seconds: float
    peak_memory_mib: int
    arguments: list[str]
    source_digest: str
    tracker_url: str | None


@dataclass(frozen=True, eq=False)
class Stage:
    """`key = sha256(canonical JSON of {KEY_VERSION, kind, name, version, params, inputs' keys})`.

    `runner` ("module:function") says which code makes the stage's folder from a `StageContext`;
    like the code itself it is no part of the key: a change of meaning raises `version`.
    """

    kind: str
    name: str
    version: int
    params: Mapping[str, Any]
    runner: str
    inputs: Mapping[str, Stage] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        return digest(
            {
                "key_version": KEY_VERSION,
                "kind": self.kind,
                "name": self.name,
                "version": self.version,
                "params": dict(self.params),
                "inputs": {role: stage.key for role, stage in self.inputs.items()},
            }
        )

    @property
    def short(self) -> str:
        """The first 12 hex digits, for folders and for people."""
        return self.key[:12]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name} {self.short}"

    def record(self) -> StageRecord:
        """The stage as plain data, for `stage.json`, `bench plan --json` and executors."""
        return {
            "key": self.key,
            "kind": self.kind,
            "name": self.name,
            "version": self.version,
            "params": dict(self.params),
            "runner": self.runner,
            "inputs": {role: stage.key for role, stage in self.inputs.items()},
        }


def walk(*roots: Stage) -> Iterator[Stage]:
    """Every stage that `roots` need, inputs first, each key once."""
    seen: set[str] = set()
    waiting = [(root, False) for root in reversed(roots)]
    while waiting:
        stage, inputs_done = waiting.pop()
        if inputs_done:
            yield stage
        elif stage.key not in seen:
            seen.add(stage.key)
            waiting.append((stage, True))
            waiting += [(child, False) for child in reversed(list(stage.inputs.values()))]
