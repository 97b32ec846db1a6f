"""Reading the sweeps of a results database: studies, their trials, how much each setting matters.

Read only: a database without studies has none, and none of these functions makes a table.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError

from bench.core.errors import BadInput
from bench.core.statistics import Summary, summarise
from bench.results.db.reading import describe_engine, explain_error

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SETUP, WINNER = "bench.setup", "bench.winner"  # user attributes that bench sweep sets


class PlainSpace(TypedDict):
    """The values of one setting as a study keeps them: a list, or a range from `low` to `high`."""

    name: str
    values: list[Any]
    low: float
    high: float
    log: bool
    whole: bool  # ints only


class TrialRow(TypedDict):
    """A trial of a sweep."""

    number: int
    params: dict[str, Any]  # the settings' values, by name
    value: float | None  # the mean over seeds on the validation part; None unless complete
    ci95: float | None  # half-width of its 95 % interval; None for one seed
    scores: list[float]  # by seed
    state: str  # waiting, running, complete, pruned or fail
    reason: str | None
    cells: list[str]  # keys that `bench show` takes
    commands: list[str]
    made: int | None  # stages that had to be made
    online: dict[int, float]  # kNN accuracy of the pretraining, by epoch
    seconds: float | None
    worker: str | None  # host:pid:start


class Winner(TypedDict):
    """The settings that won, as ordinary cells scored on the test images."""

    values: dict[str, Any]
    cells: list[str]
    commands: list[str]
    scores: list[float]  # by seed
    test: Summary


class StudyRow(TypedDict):
    """A sweep."""

    name: str
    method: str
    crop: str
    task: str
    scale: str
    seeds: list[int]
    params: dict[str, str]  # the values of each setting, in words
    spacing: dict[str, str]  # of each setting: values, linear or log
    metric: str
    holdout: float
    sampler: str
    pruner: str
    states: dict[str, int]  # how many trials are in each state
    best: TrialRow | None
    winner: Winner | None


def read_studies(url: str) -> list[StudyRow]:
    """Every sweep, by name."""
    storage = _open_storage(url)
    if storage is None:
        return []
    from optuna import get_all_study_names, load_study

    with _explain_errors():
        opened = [
            load_study(study_name=name, storage=storage) for name in get_all_study_names(storage)
        ]
        return [_describe_study(s) for s in opened if SETUP in s.user_attrs]


def read_trials(url: str, study: str) -> list[TrialRow]:
    """The trials of a sweep in their order, without those that were interrupted or lost and have
    been given back."""
    opened = _open_study(url, study)
    with _explain_errors():
        return (
            []
            if opened is None
            else [describe_trial(t) for t in opened.get_trials(deepcopy=False) if not is_lost(t)]
        )


def read_importances(url: str, study: str) -> dict[str, float]:
    """How much each setting of a sweep matters, most first, in shares of 1; {} where too few
    trials are complete to tell, or all have one value."""
    opened = _open_study(url, study)
    with _explain_errors():
        return {} if opened is None else compute_importances(opened)


def compute_importances(study: Study) -> dict[str, float]:
    """`read_importances` of an open study: 1 for a single setting, else by PED-ANOVA (Watanabe et
    al. 2023)."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    complete = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    names = list(dict.fromkeys(name for t in complete for name in t.params))
    if len(complete) < 2 or len({t.value for t in complete}) < 2:
        return {}
    if len(names) == 1:
        return {names[0]: 1.0}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError):  # too few trials with the same settings
        return {}
    return {name: float(share) for name, share in shares.items() if math.isfinite(share)}


def describe_trial(trial: FrozenTrial) -> TrialRow:
    """A trial as plain data."""
    attrs, state = trial.user_attrs, trial.state.name.lower()
    scores = list(attrs.get("scores", []))
    took = trial.duration.total_seconds() if trial.duration else None
    return {
        "number": trial.number,
        "params": attrs.get("values")
        or trial.system_attrs.get("fixed_params")
        or dict(trial.params),
        "value": trial.value if state == "complete" else None,
        "ci95": summarise(scores)["ci95"] if state == "complete" and scores else None,
        "scores": scores,
        "state": state,
        "reason": attrs.get("reason"),
        "cells": attrs.get("cells", []),
        "commands": attrs.get("commands", []),
        "made": attrs.get("made"),
        "online": dict(trial.intermediate_values),
        "seconds": took,
        "worker": attrs.get("worker"),
    }


def find_best(rows: Sequence[TrialRow]) -> TrialRow | None:
    """The complete trial with the largest value on the validation part, the first of equals."""
    complete = [(r["value"], r) for r in rows if r["value"] is not None]
    return max(complete, key=lambda pair: pair[0])[1] if complete else None


def is_lost(trial: FrozenTrial) -> bool:
    """Whether the trial was interrupted or its worker was lost, and another took its place."""
    return trial.state.name == "FAIL" and "reason" not in trial.user_attrs


def _describe_study(study: Study) -> StudyRow:
    setup = study.user_attrs[SETUP]
    rows = [describe_trial(t) for t in study.get_trials(deepcopy=False) if not is_lost(t)]
    cell = setup["cells"][0]
    states = [r["state"] for r in rows]
    return {
        "name": study.study_name,
        "method": cell["method"],
        "crop": cell["crop"],
        "task": cell["task"],
        "scale": cell["scale"],
        "seeds": [c["seed"] for c in setup["cells"]],
        "params": {s["name"]: _describe_values(s) for s in setup["spaces"]},
        "spacing": {s["name"]: _name_spacing(s) for s in setup["spaces"]},
        "metric": setup["headline"],
        "holdout": setup["holdout"],
        "sampler": setup["sampler"],
        "pruner": setup["pruner"],
        "states": {state: states.count(state) for state in sorted(set(states))},
        "best": find_best(rows),
        "winner": study.user_attrs.get(WINNER),
    }


def _name_spacing(space: PlainSpace) -> str:
    return "values" if space["values"] else "log" if space["log"] else "linear"


def _describe_values(space: PlainSpace) -> str:
    ends = f"{space['low']:g} to {space['high']:g}{' (log)' if space['log'] else ''}"
    return ", ".join(map(str, space["values"])) or ends


def _open_study(url: str, name: str) -> Study | None:
    storage = _open_storage(url)
    if storage is None:
        return None
    from optuna import load_study

    with _explain_errors():
        try:
            return load_study(study_name=name, storage=storage)
        except KeyError:
            return None


def _open_storage(url: str) -> Any:
    """Optuna's storage at `url`, opened for reading only; None where no sweep was ever run."""
    try:
        place, options, file = describe_engine(url)
        if file is not None and not file.exists():
            return None
        engine = create_engine(place, **options)
        with engine.connect() as connection:
            if not _has_tables(connection):
                return None
        engine.dispose()
    except (ArgumentError, DatabaseError, BadInput, ValueError):
        return None
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _explain_errors():
        return optuna.storages.RDBStorage(place, options, skip_table_creation=True)


def _has_tables(connection: Connection) -> bool:
    """Whether Optuna's tables are there: with a study in them, or at least marked with their
    versions. Else they are being made, and opening them would write."""
    tables = inspect(connection)

    def filled(name: str) -> bool:
        return tables.has_table(name) and bool(
            connection.execute(text(f"SELECT 1 FROM {name}")).first()
        )

    return filled("studies") or all(filled(name) for name in ("version_info", "alembic_version"))


@contextmanager
def _explain_errors() -> Iterator[None]:
    """BadInput, one line, where Optuna's tables cannot be read."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except StorageInternalError as error:
        cause = error.__cause__
        raise BadInput(
            explain_error(cause if isinstance(cause, SQLAlchemyError) else SQLAlchemyError(error))
        ) from None
    except SQLAlchemyError as error:
        raise BadInput(explain_error(error)) from None
    except RuntimeError as error:  # the tables are another version's
        raise BadInput(
            f"the sweeps cannot be read ({' '.join(str(error).split())[:240]})"
        ) from None
