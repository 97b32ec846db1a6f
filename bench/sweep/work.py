"""A worker of a sweep: takes trials until none is left; a trial is a set of ordinary cells."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from bench.contracts.task import DEAD, DEAD_TEXT
from bench.core.errors import BenchError, StageFailed
from bench.core.identity import process_name
from bench.core.params import Runtime, digest
from bench.core.progress import Progress
from bench.core.records import read_metrics
from bench.core.store import Store
from bench.launch.local import Listener, LocalEngine
from bench.launch.tracked import TrackedRun, describe_cell, flatten_settings
from bench.launch.tracking import make_tracker, tag_runtime
from bench.plan.cell import Plan, PlannedCell
from bench.plan.planner import make_plan
from bench.sweep.kept import keep_study
from bench.sweep.space import Space
from bench.sweep.study import REASON, WORKER, Sweep, make_pruner

if TYPE_CHECKING:
    from optuna import Trial

    from bench.sweep.monitor import OnlineKnn


class TrialFailed(Exception):
    """A cell of the trial failed; the reason is kept with the trial, and the sweep goes on."""


@dataclass
class Work:
    """What a worker needs: the sweep, and how and where cells run."""

    sweep: Sweep
    runtime: Runtime
    paths: Mapping[str, Path | None]
    listener: Listener
    progress: Progress
    until: float = float("inf")  # time.time() after which no trial is begun

    def __post_init__(self) -> None:
        self.runtime = tag_runtime(self.runtime, f"study:{self.sweep.name}")

    def run(self) -> None:
        """Take trials until none is left. Ctrl-C leaves with the trial given back."""
        study = self.sweep.study
        study.pruner = make_pruner(self.sweep.setup.pruner)
        while time.time() < self.until:
            with ExitStack() as gate:
                gate.enter_context(self.sweep.gate())
                self.sweep.give_back()
                if not self.sweep.more():
                    return
                study.sampler = self.sweep.next_sampler()
                study.optimize(
                    lambda trial: self._trial(trial, gate), n_trials=1, catch=(TrialFailed,)
                )
            with suppress(OSError):  # for a rebuild alone; a full disk has no room for it
                keep_study(self.runtime.home, study)

    def _trial(self, trial: Trial, gate: ExitStack) -> float:
        """The mean headline metric over seeds on the validation part."""
        trial.set_user_attr(WORKER, process_name())
        values = {
            s.name: suggest_value(trial, s, self.sweep.setup.grid) for s in self.sweep.setup.spaces
        }
        trial.set_user_attr("values", values)
        gate.close()  # the trial is taken; the next worker may draw
        self.progress.note(
            f"trial {trial.number}: " + ", ".join(f"{k}={v}" for k, v in values.items())
        )
        from optuna import TrialPruned

        try:
            plan = make_plan(self.sweep.setup.trial(values), self.runtime, self.paths)
            score = self._score(trial, plan)
        except BenchError as error:
            trial.set_user_attr(REASON, str(error))
            self._track(trial, values, "failed")
            raise TrialFailed(str(error)) from None
        except TrialPruned:
            self._track(trial, values, "pruned")
            raise
        self._track(trial, values, "complete")
        return score

    def _track(self, trial: Trial, values: Mapping[str, Any], state: str) -> None:
        """Show the trial as a run of its own, in the study's group; its cells have theirs."""
        tracked = describe_trial_run(self.sweep, trial.number, values)
        scores = trial.user_attrs.get("scores", [])
        summary: dict[str, Any] = {"state": state, "seeds": len(scores)}
        if state == "complete":
            summary[self.sweep.setup.headline] = fmean(scores)
        tracker = make_tracker(self.runtime, tracked, self.progress.note)
        tracker.finish(summary, failed=state == "failed")

    def _score(self, trial: Trial, plan: Plan) -> float:
        trial.set_user_attr("cells", [c.final.key for c in plan.cells if c.final])
        trial.set_user_attr("commands", [c.command() for c in plan.cells])
        scores, stages = [], 0
        for position, planned in enumerate(plan.cells):
            score, new = self._cell(planned, trial if position == 0 else None)
            scores.append(score)
            stages += new
            trial.set_user_attr("scores", scores)
        trial.set_user_attr("made", stages)
        return fmean(scores)

    def _cell(self, planned: PlannedCell, trial: Trial | None) -> tuple[float, int]:
        """A cell's headline metric and how many stages had to be made for it; the first seed's
        pretraining may be pruned."""
        if planned.final is None:
            raise BenchError(planned.unsupported or "unsupported")
        engine = LocalEngine(self.runtime, Store(self.runtime.home), self.listener, self.progress)
        watch = self._monitor(engine, planned, trial)
        engine.watch = watch
        try:
            outcome = engine.run(Plan([planned]))
        except KeyboardInterrupt:
            if watch is None or not watch.pruned:
                raise
            from optuna import TrialPruned

            self.listener.cell_state(planned, "interrupted", f"pruned by sweep {self.sweep.name}")
            raise TrialPruned from None
        for error in outcome.errors.values():
            raise error
        return read_score(engine.store, planned, self.sweep.setup.headline), len(outcome.made)

    def _monitor(
        self, engine: LocalEngine, planned: PlannedCell, trial: Trial | None
    ) -> OnlineKnn | None:
        from bench.sweep.monitor import OnlineKnn

        assert planned.final is not None
        backbone = planned.final.inputs["backbone"]
        if trial is None or self.sweep.setup.pruner == "none" or engine.store.has(backbone):
            return None
        return OnlineKnn.of(engine, planned.final, trial)


def describe_trial_run(sweep: Sweep, number: int, values: Mapping[str, Any]) -> TrackedRun:
    """The tracked run of a trial: what is the same for all trials, and the values of this one."""
    cell = sweep.setup.cells[0]
    config = {k: v for k, v in describe_cell(cell).items() if k != "seed"}
    config |= {
        "study": sweep.name,
        "trial": number,
        "seeds": " ".join(str(c.seed) for c in sweep.setup.cells),
        "holdout": sweep.setup.holdout,
        **flatten_settings(values.items()),
    }
    key = digest({"study": sweep.name, "trial": number, "key": sweep.setup.key})
    return TrackedRun(key[:16], f"trial {number}", sweep.name, "trial", config)


def read_score(store: Store, planned: PlannedCell, headline: str) -> float:
    """The headline metric of a cell that is done; StageFailed where its network is dead."""
    assert planned.final is not None
    metrics = read_metrics(store.folder(planned.final))
    if DEAD in metrics:
        raise StageFailed(f"{planned.final}: dead: {DEAD_TEXT}")
    return metrics[headline]


def suggest_value(trial: Trial, space: Space, grid: bool) -> Any:
    """The trial's value of a setting. The numbers of a grid are kept as a range that holds them,
    so that a later command may add values."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in space.values)
    if space.finite and not (grid and numbers):
        return trial.suggest_categorical(space.name, space.values)
    if space.finite:
        low, high = float(min(space.values)), float(max(space.values))
        drawn = trial.suggest_float(space.name, low, high)
        return next(v for v in space.values if v == drawn)
    if space.whole:
        return trial.suggest_int(space.name, int(space.low), int(space.high), log=space.log)
    return space.round_drawn(trial.suggest_float(space.name, space.low, space.high, log=space.log))


def evaluate_winner(
    sweep: Sweep,
    values: Mapping[str, Any],
    runtime: Runtime,
    paths: Mapping[str, Path | None],
    engine: LocalEngine,
) -> tuple[Plan, list[float]]:
    """The chosen configuration as ordinary cells, on the test images: the plan and every seed's
    score."""
    plan = make_plan(sweep.setup.final(values), runtime, paths)
    outcome = engine.run(plan)
    for error in outcome.errors.values():
        raise error
    return plan, [read_score(engine.store, c, sweep.setup.headline) for c in plan.cells]
