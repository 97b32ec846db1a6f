"""What is done, missing and impossible on a board, and what filling it would cost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import Connection, select

from bench.results.db.models import CellRow, StageRow
from bench.results.views.entries import Entry, pretraining_settings

STATES = ("done", "running", "failed", "interrupted", "missing", "unsupported")
PLAN_SECONDS = 120


@dataclass(frozen=True)
class Possible:
    """Every method, crop and task there is, and the reasons why some do not go together."""

    methods: tuple[str, ...] = ()
    crops: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    pairs: Mapping[tuple[str, str], str] | None = None  # (method, crop) -> reason
    judged: Mapping[tuple[str, str], str] | None = None  # (method, task) -> reason


def ask_matrix(scale: str) -> Possible:
    """Asks `bench list --matrix` in a process of its own: it imports every component, which a
    reader of results has no use for. Empty where that fails."""
    code = "from bench.cli import main; main()"
    command = [sys.executable, "-c", code, "list", "--matrix", "--scale", scale, "--json"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PLAN_SECONDS, check=True
        )
        matrix = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return Possible()
    return read_matrix(matrix)


def read_matrix(matrix: Mapping[str, Any]) -> Possible:
    """From what `bench list --matrix --json` prints."""
    crops, tasks = matrix["crops"], matrix["tasks"]
    return Possible(
        methods=tuple(dict.fromkeys(r["method"] for r in crops)),
        crops=tuple(dict.fromkeys(r["crop"] for r in crops)),
        tasks=tuple(dict.fromkeys(r["task"] for r in tasks)),
        pairs={(r["method"], r["crop"]): r["reason"] for r in crops if not r["supported"]},
        judged={(r["method"], r["task"]): r["reason"] for r in tasks if not r["supported"]},
    )


@dataclass(frozen=True)
class Square:
    """One method x crop: how many of the tasks asked about are in each state, and why not."""

    states: Mapping[str, int]
    reasons: tuple[str, ...]
    missing: tuple[str, ...]  # tasks that a command would fill

    @property
    def state(self) -> str:
        """The one to colour it by: done only if everything that can be is."""
        if not self.missing and self.states.get("done"):
            return "done"
        return next(
            (s for s in ("running", "failed", "interrupted", "missing") if self.states.get(s)),
            "unsupported",
        )


Settings = tuple[tuple[str, str], ...]


def list_used_settings(entries: Iterable[Entry]) -> list[Settings]:
    """The settings that pretrainings were changed by: none first, if any has none, then by how
    many cells."""
    counts = Counter(pretraining_settings(e) for e in entries if e.source != "reported")
    return sorted(counts, key=lambda s: (s != (), -counts[s], s))


def make_matrix(
    entries: Iterable[Entry], tasks: Iterable[str], there_is: Possible, settings: Settings = ()
) -> dict[tuple[str, str], Square]:
    """{(method, crop): Square} over what there is and what was asked for, with these settings."""
    tasks = list(tasks)
    best: dict[tuple[str, str, str], Entry] = {}
    for entry in entries:
        if entry.source != "reported" and pretraining_settings(entry) == settings:
            _keep(best, entry)
    methods = dict.fromkeys([*there_is.methods, *(k[0] for k in best)])
    crops = dict.fromkeys([*there_is.crops, *(k[1] for k in best)])
    return {(m, c): _make_square(m, c, tasks, best, there_is) for m in methods for c in crops}


def _keep(best: dict[tuple[str, str, str], Entry], entry: Entry) -> None:
    key = entry.method, entry.crop, entry.task
    other = best.get(key)
    if other is None or STATES.index(entry.state) < STATES.index(other.state):
        best[key] = entry


def _make_square(
    method: str,
    crop: str,
    tasks: list[str],
    best: Mapping[tuple[str, str, str], Entry],
    there_is: Possible,
) -> Square:
    states: dict[str, int] = {}
    reasons: list[str] = []
    missing: list[str] = []
    for task in tasks:
        entry = best.get((method, crop, task))
        impossible = (there_is.pairs or {}).get((method, crop)) or (there_is.judged or {}).get(
            (method, task)
        )
        state = entry.state if entry else "unsupported" if impossible else "missing"
        states[state] = states.get(state, 0) + 1
        reason = entry.reason if entry else impossible
        if reason and state != "done":
            reasons.append(f"{task}: {reason}" if entry else reason)
        if state in ("missing", "failed", "interrupted"):
            missing.append(task)
    return Square(states, tuple(dict.fromkeys(reasons)), tuple(missing))


def read_usual_seconds(connection: Connection, scale: str) -> dict[tuple[str, str], float]:
    """Median seconds of what was made at a scale: {("evaluate", task) or ("pretrain", method):
    seconds}."""
    took: dict[tuple[str, str], list[float]] = {}
    evaluated = select(
        StageRow.kind, StageRow.name, StageRow.seconds, StageRow.inputs["backbone"].as_string()
    )
    evaluated = evaluated.join(CellRow, CellRow.label == StageRow.key).where(
        CellRow.scale == scale
    )
    backbones: set[str] = set()
    for kind, name, seconds, backbone in connection.execute(evaluated).fetchall():
        if seconds is not None:
            took.setdefault((kind, name), []).append(seconds)
        if backbone:
            backbones.add(backbone)
    trained = select(StageRow.key, StageRow.kind, StageRow.name, StageRow.seconds)
    trained = trained.where(StageRow.kind == "pretrain")
    for key, kind, name, seconds in connection.execute(trained).fetchall():
        if key in backbones and seconds is not None:
            took.setdefault((kind, name), []).append(seconds)
    return {key: median(values) for key, values in took.items()}


@dataclass(frozen=True)
class Cost:
    """Of filling squares: seconds of one device, cells, and cells of which nothing is known."""

    seconds: float
    cells: int
    unknown: int


def estimate_cost(
    squares: Mapping[tuple[str, str], Square], usual: Mapping[tuple[str, str], float]
) -> Cost:
    """What the missing cells would take, a seed each: the median of each task, and a pretraining
    of the median length where the square has no result yet. Proposals and data are not counted."""
    seconds, cells, unknown = 0.0, 0, 0
    for (method, _), square in squares.items():
        for task in square.missing:
            cells += 1
            known = usual.get(("evaluate", task))
            unknown += known is None
            seconds += known or 0.0
        if square.missing and not square.states.get("done"):
            known = usual.get(("pretrain", method))
            unknown += known is None
            seconds += known or 0.0
    return Cost(seconds, cells, unknown)
