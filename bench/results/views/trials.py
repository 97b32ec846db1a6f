"""What a sweep's trials say, as plain rows for charts and tables: pure functions of what `studies`
reads."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any

from sqlalchemy.engine import make_url

Row = Mapping[str, Any]  # of `bench.results.views.studies.read_trials`
STATES = {"complete": "done", "fail": "failed"}  # of Optuna, in our words
# given numbers whose largest is so many times the smallest are spread by their logarithm
WIDE = 50.0


def text_of(value: Any) -> str:
    """A setting's value as `--set` reads it."""
    return value if isinstance(value, str) else json.dumps(value)


def keep_complete(trials: Sequence[Row]) -> list[Row]:
    """The trials that have a value."""
    return [t for t in trials if t["value"] is not None]


def find_marked(study: Row, trials: Sequence[Row]) -> int | None:
    """The number of the trial whose settings won; before there is a winner, of the best trial so
    far."""
    if study["winner"]:
        won = study["winner"]["values"]
        return next((t["number"] for t in trials if t["params"] == won), None)
    return study["best"]["number"] if study["best"] else None


def choose_spread(values: Sequence[Any], spacing: str) -> str:
    """How values lie on an axis: `log`, `linear`, or `names` where one of them is no number."""
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return "names"
    positive = bool(values) and min(values) > 0
    wide = spacing == "values" and positive and max(values) / min(values) >= WIDE
    return "log" if positive and (wide or spacing == "log") else "linear"


def list_points(trials: Sequence[Row], setting: str, winner: int | None) -> list[dict[str, Any]]:
    """{trial, x, text, value, low, high, seeds, winner} of every trial with a value, by x; low and
    high are the ends of the 95 % interval over seeds, None for one seed."""
    found = []
    for trial in keep_complete(trials):
        if setting in trial["params"]:
            x, value, half = trial["params"][setting], trial["value"], trial["ci95"]
            ends = (None, None) if half is None else (value - half, value + half)
            found.append(
                {
                    "trial": trial["number"],
                    "x": x,
                    "text": text_of(x),
                    "value": value,
                    "low": ends[0],
                    "high": ends[1],
                    "seeds": len(trial["scores"]),
                    "winner": trial["number"] == winner,
                }
            )
    numbers = choose_spread([p["x"] for p in found], "") != "names"
    return sorted(found, key=lambda p: (p["x"] if numbers else p["text"], p["trial"]))


def average_points(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """{x, value}: the mean over the points at each x."""
    by: dict[str, list[Row]] = {}
    for row in rows:
        by.setdefault(row["text"], []).append(row)
    return [
        {"x": m[0]["x"], "value": statistics.fmean(r["value"] for r in m)} for m in by.values()
    ]


def list_parallel(study: Row, trials: Sequence[Row], winner: int | None) -> list[dict[str, Any]]:
    """A row per trial and axis, {trial, place, axis, at, text, value, winner}: the settings in
    their order, then the metric; `at` is from 0 (the axis's lowest) to 1. Trials that lack a
    setting are left out."""
    names = list(study["params"])
    rows = [t for t in keep_complete(trials) if all(n in t["params"] for n in names)]
    found = []
    for place, name in enumerate([*names, study["metric"]]):
        values = [t["value"] if place == len(names) else t["params"][name] for t in rows]
        spacing = "linear" if place == len(names) else study["spacing"][name]
        for trial, value, at in zip(rows, values, scale_values(values, spacing), strict=True):
            text = f"{value:.2f}" if place == len(names) else text_of(value)
            found.append(
                {
                    "trial": trial["number"],
                    "place": place,
                    "axis": name,
                    "at": at,
                    "text": text,
                    "value": trial["value"],
                    "winner": trial["number"] == winner,
                }
            )
    return found


def scale_values(values: Sequence[Any], spacing: str) -> list[float]:
    """Where values lie between the lowest (0) and the highest (1); the middle where all are equal."""
    kind = choose_spread(values, spacing)
    if kind == "names":
        order = sorted({text_of(v) for v in values})
        numbers = [float(order.index(text_of(v))) for v in values]
    else:
        numbers = [math.log(v) if kind == "log" else float(v) for v in values]
    low, high = min(numbers, default=0.0), max(numbers, default=0.0)
    return [(n - low) / (high - low) if high > low else 0.5 for n in numbers]


def format_score(mean: float | None, ci95: float | None) -> str:
    """`61.20 ± 0.85`."""
    if mean is None:
        return "-"
    return f"{mean:.2f}" + ("" if ci95 is None else f" ± {ci95:.2f}")


def describe_winner(study: Row, number: int | None) -> str:
    """Which settings won and what they score, in a sentence."""
    best, winner = study["best"], study["winner"]
    if winner:
        values = ", ".join(f"{k} = {text_of(v)}" for k, v in winner["values"].items())
        test = winner["test"]
        seeds = f"{test['n']} seed{'s' if test['n'] > 1 else ''}"
        trial = "" if number is None else f" (trial {number})"
        return (
            f"Winner{trial}: {values}. Test {study['metric']} "
            f"{format_score(test['mean'], test['ci95'])}, {seeds}."
        )
    if best is None:
        return "No trial is complete yet."
    values = ", ".join(f"{k} = {text_of(v)}" for k, v in best["params"].items())
    number = best["number"]
    return f"Best so far (trial {number}): {values}. The sweep's end scores it on the test images."


def state_of(trial: Row) -> str:
    """`done`, `reused` (every stage was there), or Optuna's word."""
    if trial["state"] == "complete":
        return "reused" if trial["made"] == 0 else "done"
    return STATES.get(trial["state"], str(trial["state"]))


def continue_command(study: Row) -> str:
    """The command that continues the sweep."""
    return f"bench sweep --study {quote(study['name'])}"


def monitor_command(url: str) -> str:
    """The command that shows the same studies in optuna-dashboard; a password is left out."""
    return f"optuna-dashboard {quote(make_url(url).render_as_string(hide_password=True))}"
