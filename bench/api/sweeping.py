"""Search the best value of a setting."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from bench.api.request import (
    Names,
    Seeds,
    TrackingOptions,
    join_names,
    join_seeds,
    join_settings,
    make_runtime,
    open_progress,
)
from bench.api.running import components_of
from bench.api.studies import MORE, SweepOptions, data_places, open_study
from bench.contracts.registry import refuse_registered

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.params import Runtime
    from bench.core.progress import Progress
    from bench.results.views.studies import TrialRow, Winner
    from bench.results.views.trials import Decision
    from bench.sweep.study import Sweep

Values = str | Sequence[Any] | None
Show = Callable[["list[TrialRow]", "dict[str, str]"], None]


@dataclass
class SweepResult:
    """What a sweep has found so far.

    study: its name, which goes on with it. trials: every trial. best: the one with the highest
    mean on validation images; None before a trial is complete. winner: its settings as ordinary
    cells, scored on the test images once. decision: whether the best is told apart from the
    others. importances: the share of the spread that each setting explains. unfinished: trials are
    left, as the time is over.
    """

    study: str
    metric: str
    trials: list[TrialRow]
    best: TrialRow | None = None
    winner: Winner | None = None
    decision: Decision | None = None
    importances: Mapping[str, float] = field(default_factory=dict)
    unfinished: bool = False

    @property
    def failed(self) -> list[TrialRow]:
        """The trials that failed, each with its reason."""
        return [t for t in self.trials if t["state"] == "fail"]

    def to_frame(self) -> pd.DataFrame:
        """A row for each trial: its settings, value, interval and state."""
        import pandas as pd

        fixed = ("number", "value", "ci95", "state", "reason", "seconds")
        rows = [
            {**t["params"], **{name: t[name] for name in fixed}}  # type: ignore[literal-required]
            for t in self.trials
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        best = f"; best {self.best['params']}: {self.best['value']:.4g}" if self.best else ""
        return f"<SweepResult {self.study}: {len(self.trials)} trials of {self.metric}{best}>"


def sweep(
    param: Mapping[str, Values] | Sequence[str] | str = (),
    *,
    method: Names | None = None,
    crop: Names | None = None,
    task: Names | None = None,
    data: str | None = None,
    task_data: str | None = None,
    scale: str | None = None,
    seeds: Seeds | None = None,
    set: Mapping[str, Any] | None = None,
    backbone: str | None = None,
    precision: str | None = None,
    sampler: str = "auto",
    pruner: str = "auto",
    trials: int | None = None,
    timeout: float | None = None,
    holdout: float | None = None,
    parallel: int = 1,
    study: str | None = None,
    progress: bool | Progress = True,
    workers: int = 2,
    devices: int | str = "auto",
    **tracking: Unpack[TrackingOptions],
) -> SweepResult:
    """Find the best value of a setting on validation images; score it on the test images once.

    Every trial is an ordinary cell. The same call again reuses what is done and goes on.

    param: setting -> its values: a list, a text such as "0.0:0.3" or "log:1e-3:1", or None for the
    values that the setting declares; or names alone. What is not named of method, crop and task is
    chosen (`bench sweep` says how). sampler, pruner, trials, holdout: as `bench sweep --help` has
    them. timeout: seconds after which no trial begins. parallel: trials at the same time, each a
    process. study: its name; alone, go on with that study. workers, devices: of each trial.
    tracking: `TrackingOptions`; every trial is a run in the group of the study.

    Raises BadInput where a name or a value breaks a rule, StageFailed where workers keep dying.

    Examples:
        >>> found = bench.sweep({"knn.k": [1, 3]}, method="random_init", task="knn", workers=0,
        ...     set={"scenes_objects.n_train": 24, "scenes_objects.n_val": 8}, progress=False)
        >>> [t["state"] for t in found.trials], found.winner["values"] == found.best["params"]
        (['complete', 'complete'], True)
    """
    options: SweepOptions = {
        "params": spell_params(param),
        "method": join_names(method),
        "crop": join_names(crop),
        "task": join_names(task),
        "data": data,
        "task_data": task_data,
        "scale": scale,
        "seeds": None if seeds is None else join_seeds(seeds),
        "sets": join_settings(set),
        "backbone": backbone,
        "precision": precision,
        "sampler": sampler,
        "pruner": pruner,
        "trials": trials,
        "holdout": holdout,
        "timed": timeout is not None,
    }
    runtime = make_runtime({"devices": devices, "workers": workers, **tracking})
    made, paths = open_study(runtime, study, options)
    until = float("inf") if timeout is None else time.time() + timeout
    from bench.sweep.lines import TrialLines

    with open_progress(progress) as shown:
        drive(made, runtime, parallel, until, options, TrialLines(made, shown.note, parallel))
    return conclude(made, runtime, paths, progress)


def spell_params(param: Mapping[str, Values] | Sequence[str] | str) -> tuple[str, ...]:
    """The NAME[=VALUES] texts of --param."""
    from bench.core.params import format_setting

    if isinstance(param, str):
        return (param,)
    if not isinstance(param, Mapping):
        return tuple(param)
    texts = []
    for name, values in param.items():
        if values is None:
            texts.append(name)
        elif isinstance(values, str):
            texts.append(f"{name}={values}")
        else:
            texts.append(f"{name}={','.join(map(format_setting, values))}")
    return tuple(texts)


def drive(
    sweep: Sweep,
    runtime: Runtime,
    parallel: int,
    until: float,
    options: SweepOptions,
    show: Show,
) -> None:
    """Run trials in `parallel` processes until all are done or the time (`time.time()`) is over;
    `show(trials, what each process does)` is called about twice a second."""
    from bench.core.signals import listen_for_stop
    from bench.launch.launchers import gpu_groups
    from bench.sweep.drive import Pool

    used = (pair for cell in sweep.setup.cells for pair in components_of(cell))
    refuse_registered(used, "a sweep")
    places = [
        part
        for name in MORE
        if (value := options[name])
        for part in (f"--{name.replace('_', '-')}", value)
    ]

    def start(number: int) -> list[str]:
        code = "from bench.cli import main; main()"
        fixed = [sys.executable, "-c", code, "sweep", "--study", sweep.name, *places]
        devices = ["--devices", str(runtime.devices), "--workers", str(runtime.workers)]
        end = ["--worker-of", str(os.getpid()), "--until", str(until)]
        return [*fixed, *devices, *spell_tracking(runtime), *end]

    logs = runtime.home / "sweeps" / sweep.name
    pool = Pool(sweep, parallel, start, logs, until, gpu_groups(runtime))
    with listen_for_stop(at_once=True):
        pool.run(show)


def spell_tracking(runtime: Runtime) -> list[str]:
    """The options of a command that tracks as this runtime does."""
    texts = {
        "--tracker": runtime.tracker,
        "--wandb-project": runtime.wandb_project,
        "--wandb-entity": runtime.wandb_entity,
        "--wandb-tags": ",".join(runtime.wandb_tags),
        "--wandb-notes": runtime.wandb_notes,
    }
    words = [f"{name}={text}" for name, text in texts.items() if text]
    return words if runtime.wandb_system else [*words, "--no-wandb-system"]


def conclude(
    sweep: Sweep,
    runtime: Runtime,
    paths: Mapping[str, Path | None],
    progress: bool | Progress = True,
) -> SweepResult:
    """What the sweep has found; its best configuration is scored on the test images."""
    from bench.results.views.studies import (
        compute_importances,
        describe_trial,
        find_best,
        is_lost,
    )
    from bench.results.views.trials import decide

    rows = [describe_trial(t) for t in sweep.trials() if not is_lost(t)]
    result = SweepResult(sweep.name, sweep.setup.headline, rows, find_best(rows))
    if result.best is None:
        return result
    result.unfinished = sweep.left()
    result.winner = score_winner(sweep, result.best["params"], runtime, paths, progress)
    result.importances = compute_importances(sweep.study)
    result.decision = decide(rows)
    return result


def score_winner(
    sweep: Sweep,
    values: Mapping[str, Any],
    runtime: Runtime,
    paths: Mapping[str, Path | None],
    progress: bool | Progress = True,
) -> Winner:
    """Score the chosen configuration, as ordinary cells, on the test images; keep that with the
    study."""
    from bench.core.statistics import summarise
    from bench.launch.session import open_engine
    from bench.launch.tracking import tag_runtime
    from bench.results.views.studies import WINNER
    from bench.sweep.work import evaluate_winner

    tracked = tag_runtime(runtime, f"study:{sweep.name}", "winner")
    with open_engine(tracked, open_progress(progress)) as (engine, _):
        plan, scores = evaluate_winner(sweep, values, runtime, paths, engine)
    winner: Winner = {
        "values": dict(values),
        "cells": [c.final.key for c in plan.cells if c.final],
        "commands": [c.command() for c in plan.cells],
        "scores": scores,
        "test": summarise(scores),
    }
    if sweep.study.user_attrs.get(WINNER) != winner:
        sweep.study.set_user_attr(WINNER, winner)
    return winner


def work_on_trials(
    runtime: Runtime, study: str, options: SweepOptions, driver: int, until: float
) -> None:
    """Be a worker of the process `driver`: run trials one after another."""
    from bench.launch.session import open_engine
    from bench.sweep.drive import follow
    from bench.sweep.study import Sweep
    from bench.sweep.work import Work

    follow(driver)
    sweep = Sweep.load(runtime.database, study)
    with open_engine(runtime, open_progress(True)) as (engine, _):
        Work(sweep, runtime, data_places(options), engine.listener, engine.progress, until).run()
