"""Make cells and return what came of them."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from bench.api.request import (
    Names,
    Request,
    RuntimeOptions,
    Seeds,
    join_names,
    join_seeds,
    join_settings,
    make_runtime,
    open_progress,
)
from bench.contracts import registry
from bench.core.errors import BenchError

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.params import Runtime
    from bench.core.progress import Progress
    from bench.launch.local import Outcome
    from bench.plan.cell import Cell, Plan, PlannedCell
    from bench.results.db.database import Database

State = Literal["done", "failed", "left out", "unsupported"]


@dataclass(frozen=True)
class CellResult:
    """One cell, and how it ended.

    metrics: by name, in the task's units; empty unless the state is done. key: of the cell's last
    stage, which `bench show` takes; None where the combination is unsupported. folder, backbone:
    what that stage left, and the file of the network that it judged, where they exist.
    """

    method: str
    crop: str
    task: str
    scale: str
    data: str
    task_data: str
    seed: int
    overrides: Mapping[str, str]
    state: State
    reason: str | None
    key: str | None
    metrics: Mapping[str, float]
    folder: Path | None
    backbone: Path | None
    command: str


class CellsFailed(BenchError):
    """Some cells of a run failed; the others are finished. `results` has all of them."""

    def __init__(self, message: str, results: Results) -> None:
        super().__init__(message)
        self.results = results
        self.exit_code = results.exit_code


@dataclass
class Results:
    """What a run left: a sequence of its cells.

    plan: what was asked for. outcome: the stages that were made and reused, the errors, and the
    seconds. database_error: why the results database could not be written, if it could not; the
    results are in the store then (`bench results rebuild`). left_out: cells that had failed before
    and were not tried again, with the reason, by key.
    """

    plan: Plan
    outcome: Outcome
    runtime: Runtime
    database: Database | None
    database_error: str | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def cells(self) -> list[CellResult]:
        """Every cell, in the order of the plan."""
        return [self._describe(planned) for planned in self.plan.cells]

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, position: int) -> CellResult:
        return self.cells[position]

    def __iter__(self) -> Iterator[CellResult]:
        return iter(self.cells)

    def state(self, planned: PlannedCell) -> tuple[State, str | None]:
        """How a cell of the plan ended, and why where it is not done."""
        if planned.final is None:
            return "unsupported", planned.unsupported
        key = planned.final.key
        if key in self.left_out:
            return "left out", self.left_out[key]
        error = self.outcome.errors.get(key)
        return ("failed", str(error)) if error else ("done", None)

    def _describe(self, planned: PlannedCell) -> CellResult:
        from bench.core.records import read_metrics
        from bench.core.store import Store

        cell, final = planned.cell, planned.final
        state, reason = self.state(planned)
        folder = backbone = None
        if state == "done" and final is not None:
            store = Store(self.runtime.home)
            folder = store.folder(final)
            if "backbone" in final.inputs:
                backbone = store.folder(final.inputs["backbone"]) / "backbone.pth"
        return CellResult(
            cell.method,
            cell.crop,
            cell.task,
            cell.scale,
            cell.data,
            cell.task_data,
            cell.seed,
            dict(cell.overrides),
            state,
            reason,
            final.key if final else None,
            read_metrics(folder) if folder else {},
            folder,
            backbone,
            planned.command(),
        )

    @property
    def exit_code(self) -> int:
        """What the command line exits with: 0 all done; 2 every failure is bad input or bad data,
        or nothing but unsupported pairs was asked for; 1 otherwise."""
        errors = self.outcome.errors
        if errors:
            return 2 if all(e.exit_code == 2 for e in errors.values()) else 1
        if self.plan.cells and all(c.final is None for c in self.plan.cells):
            return 2
        if self.database_error:
            return 2
        return 1 if self.left_out else 0

    def raise_errors(self) -> None:
        """Raise CellsFailed where a cell failed, and Unsupported where none could be made."""
        from bench.core.errors import Unsupported

        failed = [cell for cell in self.cells if cell.state == "failed"]
        if failed:
            first = failed[0]
            others = f" ({len(failed)} of {len(self)} cells failed)" if len(self) > 1 else ""
            who = f"{first.method} x {first.crop} x {first.task} seed {first.seed}"
            raise CellsFailed(f"{who}: {first.reason}{others}", self)
        if self.cells and all(cell.state == "unsupported" for cell in self.cells):
            raise Unsupported(str(self.cells[0].reason))

    def to_frame(self) -> pd.DataFrame:
        """A row for each cell; every metric is a column."""
        import pandas as pd

        rows = []
        for cell in self.cells:
            row: dict[str, Any] = {
                name: value for name, value in vars(cell).items() if name != "metrics"
            }
            rows.append({**row, **cell.metrics})
        return pd.DataFrame(rows)

    def leaderboard(self) -> pd.DataFrame:
        """The rows of the leaderboard that these cells belong to, with all their seeds."""
        from bench.api.tables import frame_rows

        done = {cell.key for cell in self.cells if cell.state == "done" and cell.key}
        rows = self.database.read_rows_of(done) if self.database and done else []
        return frame_rows(rows)

    def __repr__(self) -> str:
        counts = {s: sum(cell.state == s for cell in self.cells) for s in _STATES}
        parts = [f"{count} {state}" for state, count in counts.items() if count]
        return (
            f"<Results: {', '.join(parts) or 'no cell'}; {len(self.outcome.made)} stages made, "
            f"{len(self.outcome.reused)} reused, {self.outcome.seconds:.0f} s>"
        )

    def _repr_html_(self) -> str:
        columns = ["method", "crop", "task", "scale", "seed", "state"]
        frame = self.to_frame()
        metrics = [n for c in self.cells for n in c.metrics]
        shown = frame[[*columns, *dict.fromkeys(metrics)]] if len(frame) else frame
        return f"<p>{html.escape(repr(self)[1:-1])}</p>{shown.to_html(index=False, na_rep='')}"


_STATES: tuple[State, ...] = ("done", "failed", "left out", "unsupported")


def run(
    method: Names | None = None,
    crop: Names | None = None,
    task: Names = "",
    *,
    data: str | None = None,
    task_data: str | None = None,
    scale: str = "tiny",
    seeds: Seeds = 0,
    set: Mapping[str, Any] | None = None,
    backbone: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
    force: bool = False,
    skip_failed: bool = False,
    progress: bool | Progress = True,
    raise_errors: bool = True,
    **runtime: Unpack[RuntimeOptions],
) -> Results:
    """Pretrain, transfer and score every method x crop x task x seed, each stage once.

    What is done is reused, and after a kill the same call goes on. A cell that fails stops no
    other. Pairs that cannot work are left out with the reason.

    method, crop, task: names or globs, as a list or separated by commas, or "all"; the default
    crop is "image". data, task_data: what to pretrain on, and what the task trains and scores on:
    "NAME" or "NAME=PATH"; the scale and the task set the defaults. scale: "tiny", "small" or
    "paper". seeds: a number, numbers, or a text such as "0-4". set: settings by KEY, as
    `bench list params NAME` lists them. backbone: the network to train, or "weights=FILE" and no
    method, to judge a checkpoint. precision: "fp32" or "bf16". engine: the library that trains
    detectors. force: make every stage again. skip_failed: leave out cells that failed before.
    progress: show it, or not, or by an object of one's own. runtime: `RuntimeOptions`.

    Raises BadInput or BadData before anything runs, for a name or a value that breaks a rule; and
    at the end, unless raise_errors is False, CellsFailed (with `results`) where a cell failed.

    Examples:
        >>> few = {"scenes_objects.n_train": 24, "scenes_objects.n_val": 8}
        >>> results = bench.run("random_init", task="knn", set=few, workers=0, progress=False)
        >>> results[0].state, sorted(results[0].metrics)
        ('done', ['top1', 'top5'])
    """
    request = Request(
        join_names(method),
        join_names(crop),
        join_names(task) or "",
        scale,
        join_seeds(seeds),
        data,
        task_data,
        join_settings(set),
        backbone,
        precision,
        engine,
    )
    results = run_request(request, make_runtime(runtime, force), progress, skip_failed)
    if raise_errors:
        results.raise_errors()
    return results


def run_request(
    request: Request,
    runtime: Runtime,
    progress: bool | Progress = True,
    skip_failed: bool = False,
) -> Results:
    """Plan and make the cells of a request; nothing is raised for a cell that fails."""
    from bench.core.store import Store

    Store(runtime.home)  # an error now, where it cannot be written
    return run_plan(request.plan(runtime), runtime, progress, skip_failed)


def run_plan(
    plan: Plan,
    runtime: Runtime,
    progress: bool | Progress = True,
    skip_failed: bool = False,
) -> Results:
    """Make every cell of a plan; `skip_failed` leaves out those that failed when they were last
    tried."""
    from bench.launch.session import open_engine
    from bench.plan.cell import Plan

    if runtime.launcher != "local" or runtime.max_parallel > 1:
        used = (pair for c in plan.cells for pair in components_of(c.cell))
        registry.refuse_registered(used, "making stages side by side")
    left_out = _find_failed(plan, runtime.database) if skip_failed else {}
    wanted = [c for c in plan.cells if not (c.final and c.final.key in left_out)]
    with open_engine(runtime, open_progress(progress)) as (engine, database):
        outcome = engine.run(Plan(wanted))
        error: str | None = getattr(engine.listener, "error", None)
        if runtime.tracker != "none" and not error:
            from bench.api.board import track_board

            track_board(plan, outcome, runtime, database, engine.progress)
    return Results(plan, outcome, runtime, None if error else database, error, left_out)


def components_of(cell: Cell) -> list[tuple[str, str]]:
    """(kind, name) of what a cell names."""
    data = [("data", cell.data), ("data", cell.task_data)]
    return [("method", cell.method), ("crop", cell.crop), ("task", cell.task), *data]


def _find_failed(plan: Plan, database: str) -> dict[str, str]:
    """Why the cells of the plan failed that failed when they were last tried, by final key."""
    from bench.results.db.database import open_database

    failed = {c["label"]: c["reason"] or "" for c in open_database(database).read_cells("failed")}
    finals = (c.final.key for c in plan.cells if c.final)
    return {key: failed[key] for key in finals if key in failed}
