"""What a sweep's trials say, as plain rows for charts and tables: pure functions of what `studies`
reads."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any, TypedDict

from bench.core.params import format_setting as format_setting
from bench.core.redact import redact_url
from bench.results.views.differences import Verdict
from bench.results.views.marks import mark_column
from bench.results.views.studies import StudyRow, TrialRow, find_best

STATES = {"complete": "done", "fail": "failed"}  # of Optuna, in our words
# listed numbers whose largest is at least so many times the smallest are placed by their logarithm
WIDE = 50.0


def keep_complete(trials: Sequence[TrialRow]) -> list[TrialRow]:
    """The trials that have a value."""
    return [t for t in trials if t["value"] is not None]


@dataclass(frozen=True)
class Decision:
    """Whether the trial with the highest mean is the best one. `rivals` are not told apart from
    it, the highest first."""

    best: TrialRow
    rivals: tuple[TrialRow, ...]
    compared: int  # complete trials

    @property
    def verdict(self) -> Verdict:
        """ "supported" where all other trials are told apart from it, else "undecided"."""
        return "supported" if self.compared > 1 and not self.rivals else "undecided"


def decide(trials: Sequence[TrialRow]) -> Decision | None:
    """Which trial is the best, by the rule of the board (`marks.mark_column`): with one seed
    nobody knows. None before a trial is complete."""
    best, complete = find_best(trials), keep_complete(trials)
    if best is None:
        return None
    marks = mark_column([dict(enumerate(t["scores"] or [t["value"] or 0.0])) for t in complete])
    rivals = [t for t, m in zip(complete, marks, strict=True) if m != "worse" and t is not best]
    rivals.sort(key=lambda t: -(t["value"] or 0.0))
    return Decision(best, tuple(rivals), len(complete))


NAMED = 4  # rivals that a sentence names


def format_params(params: Mapping[str, Any]) -> str:
    """`n_crops=3 lr=0.1`: settings without their owners."""
    return " ".join(f"{k.rpartition('.')[2]}={format_setting(v)}" for k, v in params.items())


def describe_end(trial: TrialRow) -> str:
    """`trial 3: n_crops=5: 12.3 (complete)`; "" while the trial has not ended."""
    if trial["state"] not in ("complete", "pruned", "fail"):
        return ""
    how = trial["reason"] or ("reused" if trial["made"] == 0 else trial["state"])
    score = format_score(trial["value"], trial["ci95"])
    return f"trial {trial['number']}: {format_params(trial['params'])}: {score} ({how})"


def describe_decision(decision: Decision) -> str:
    """`supported: n_crops=3 is told apart from ...`, or `undecided between n_crops=3 and ...`."""
    best = format_params(decision.best["params"])
    if decision.verdict == "supported":
        others = decision.compared - 1
        return f"supported: {best} is told apart from the {others} other trial(s)"
    if decision.compared == 1:
        return f"undecided: {best} is the only complete trial"
    names = [best, *(format_params(t["params"]) for t in decision.rivals[:NAMED])]
    more = len(decision.rivals) - NAMED
    names += [f"{more} more"] if more > 0 else []
    why = "one seed" if len(decision.best["scores"]) < 2 else "their intervals overlap"
    return f"undecided between {', '.join(names[:-1])} and {names[-1]} ({why})"


def find_marked(study: StudyRow, trials: Sequence[TrialRow]) -> int | None:
    """The number of the trial whose settings won; before there is a winner, of the best trial so
    far."""
    if study["winner"]:
        won = study["winner"]["values"]
        return next((t["number"] for t in trials if t["params"] == won), None)
    return study["best"]["number"] if study["best"] else None


def choose_spread(values: Sequence[Any], spacing: str) -> str:
    """How to place values on an axis: `log`, `linear`, or `names` where one is not a number."""
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return "names"
    positive = bool(values) and min(values) > 0
    wide = spacing == "values" and positive and max(values) / min(values) >= WIDE
    return "log" if positive and (wide or spacing == "log") else "linear"


class SettingPoint(TypedDict):
    """A trial at its value of one setting; `low` and `high` are the ends of the 95 % interval over
    seeds, None for one seed."""

    trial: int
    x: Any
    text: str  # x as `--set` reads it
    value: float
    low: float | None
    high: float | None
    seeds: int
    winner: bool
    cell: str  # label of its first cell, "" where it has none


def list_points(
    trials: Sequence[TrialRow], setting: str, winner: int | None
) -> list[SettingPoint]:
    """A point for every trial that has a value and the setting, by the setting's value. `winner`:
    the number of the trial that won."""
    points: list[SettingPoint] = []
    for trial in trials:
        value, half = trial["value"], trial["ci95"]
        if value is None or setting not in trial["params"]:
            continue
        x = trial["params"][setting]
        points.append(
            {
                "trial": trial["number"],
                "x": x,
                "text": format_setting(x),
                "value": value,
                "low": None if half is None else value - half,
                "high": None if half is None else value + half,
                "seeds": len(trial["scores"]),
                "winner": trial["number"] == winner,
                "cell": next(iter(trial["cells"]), ""),
            }
        )
    numbers = choose_spread([p["x"] for p in points], "") != "names"
    return sorted(points, key=lambda p: (p["x"] if numbers else p["text"], p["trial"]))


class MeanPoint(TypedDict):
    """The mean over the points at one value of a setting."""

    x: Any
    value: float


def average_points(points: Sequence[SettingPoint]) -> list[MeanPoint]:
    """The mean over the points at each x, in their order."""
    groups: dict[str, list[SettingPoint]] = {}
    for point in points:
        groups.setdefault(point["text"], []).append(point)
    return [
        {"x": members[0]["x"], "value": statistics.fmean(p["value"] for p in members)}
        for members in groups.values()
    ]


class AxisPoint(TypedDict):
    """A trial on one of several parallel axes."""

    trial: int
    place: int  # of the axis, from the left
    axis: str
    at: float  # from 0, the axis's lowest value, to 1
    text: str
    value: float  # of the metric
    winner: bool


def list_parallel(
    study: StudyRow, trials: Sequence[TrialRow], winner: int | None
) -> list[AxisPoint]:
    """A point per axis and trial. The axes are the settings in their order, then the metric.
    Trials without a value, or that lack a setting, are left out."""
    names = list(study["params"])
    complete = [(t, t["value"]) for t in trials if t["value"] is not None]
    rows = [(t, score) for t, score in complete if all(n in t["params"] for n in names)]
    points: list[AxisPoint] = []
    for place, name in enumerate([*names, study["metric"]]):
        is_metric = place == len(names)
        values = [score if is_metric else t["params"][name] for t, score in rows]
        spacing = "linear" if is_metric else study["spacing"][name]
        places = scale_values(values, spacing)
        for (trial, score), value, at in zip(rows, values, places, strict=True):
            points.append(
                {
                    "trial": trial["number"],
                    "place": place,
                    "axis": name,
                    "at": at,
                    "text": f"{value:.2f}" if is_metric else format_setting(value),
                    "value": score,
                    "winner": trial["number"] == winner,
                }
            )
    return points


def scale_values(values: Sequence[Any], spacing: str) -> list[float]:
    """Each value's place between the lowest (0) and the highest (1); 0.5 where all are equal."""
    kind = choose_spread(values, spacing)
    if kind == "names":
        order = sorted({format_setting(v) for v in values})
        numbers = [float(order.index(format_setting(v))) for v in values]
    else:
        numbers = [math.log(v) if kind == "log" else float(v) for v in values]
    low, high = min(numbers, default=0.0), max(numbers, default=0.0)
    return [(n - low) / (high - low) if high > low else 0.5 for n in numbers]


def format_score(mean: float | None, ci95: float | None) -> str:
    """`61.20 ± 0.85`."""
    if mean is None:
        return "-"
    return f"{mean:.2f}" + ("" if ci95 is None else f" ± {ci95:.2f}")


def describe_winner(study: StudyRow, number: int | None, trials: Sequence[TrialRow] = ()) -> str:
    """Which settings were chosen, what they score, and whether they are the best, in sentences."""
    decision = decide(trials)
    sure = f" Best on validation: {describe_decision(decision)}." if decision else ""
    best, winner = study["best"], study["winner"]
    if winner:
        values = ", ".join(f"{k} = {format_setting(v)}" for k, v in winner["values"].items())
        test = winner["test"]
        seeds = f"{test['n']} seed{'s' if test['n'] > 1 else ''}"
        trial = "" if number is None else f" (trial {number})"
        return (
            f"Chosen{trial}: {values}. Test {study['metric']} "
            f"{format_score(test['mean'], test['ci95'])}, {seeds}.{sure}"
        )
    if best is None:
        return "No trial is complete yet."
    values = ", ".join(f"{k} = {format_setting(v)}" for k, v in best["params"].items())
    number = best["number"]
    return (
        f"Highest so far (trial {number}): {values}. The sweep's end scores it on the test images."
        f"{sure}"
    )


def state_of(trial: TrialRow) -> str:
    """`done`, `reused` (every stage was there), or Optuna's word."""
    if trial["state"] == "complete":
        return "reused" if trial["made"] == 0 else "done"
    return STATES.get(trial["state"], str(trial["state"]))


def continue_command(study: StudyRow) -> str:
    """The command that continues the sweep."""
    return f"bench sweep --study {quote(study['name'])}"


def monitor_command(url: str) -> str:
    """The command that shows the same studies in optuna-dashboard; a password is left out."""
    return f"optuna-dashboard {quote(redact_url(url))}"
