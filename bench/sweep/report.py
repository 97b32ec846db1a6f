"""What a sweep shows: a table while it runs, and at the end a plot, importances and commands."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.core.params import format_setting
from bench.core.statistics import summarise
from bench.results.views.studies import TrialRow, find_best
from bench.results.views.trials import decide, format_score
from bench.sweep.setup import MANY, Setup

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 16  # trials in the table: the best one and the newest
BAR = 40  # characters
BINS = 12  # rows of a plot of a range


def make_table(rows: Sequence[TrialRow], setup: Setup, doing: dict[str, str]) -> Table:
    """The trials; `doing`: what a worker (host:pid) last said."""
    from rich.table import Table

    done = sum(r["state"] not in ("waiting", "running") for r in rows)
    of = f" of {max(setup.trials, len(rows))}" if setup.trials < MANY else ""
    grid = Table(title=f"{done}{of} trials", title_justify="left")
    for name in (
        "trial",
        *(s.name for s in setup.spaces),
        f"{setup.headline} (validation)",
        "state",
        "time",
    ):
        grid.add_column(
            name, no_wrap=name != "state", justify="right" if "validation" in name else "left"
        )
    best = find_best(rows)
    kept = [r for r in rows if r["state"] != "waiting"][-SHOWN:]
    if best is not None and best not in kept:
        kept = [best, *kept[1:]]
    for row in kept:
        state = {"complete": "done" if row["made"] else "reused"}.get(row["state"], row["state"])
        if row["state"] == "running":
            state = doing.get(_pid(row["worker"]), "running")
        values = (format_setting(row["params"].get(s.name, "")) for s in setup.spaces)
        mark = " *" if row is best else ""
        score = format_score(row["value"], row["ci95"])
        took = "" if row["seconds"] is None else f"{row['seconds']:.0f} s"
        grid.add_row(str(row["number"]), *values, score + mark, row["reason"] or state, took)
    return grid


def _pid(worker: str | None) -> str:
    return (worker or "").rpartition(":")[0]


def plot(rows: Sequence[TrialRow], name: str, metric: str) -> list[str]:
    """Lines of a setting against the metric: a bar per value, or per part of a range, of the mean
    over the trials there (± the 95 % Student-t half-width where one trial has several seeds). Bars
    begin at 0, so that their lengths are in the proportion of the scores; "best" is only said
    where `decide` supports it."""
    groups = _groups([r for r in rows if r["value"] is not None], name)
    if not groups:
        return []
    means = [_average(members) for _, members in groups]
    start, end = min(*means, 0.0), max(*means, 0.0) or 1.0
    decision = decide(rows)
    best = decision.best if decision and decision.verdict == "supported" else None
    width = max(len(label) for label, _ in groups)
    lines = [f"{name} against {metric} on the validation part; bars from {start:.2f} to {end:.2f}"]
    for (label, members), mean in zip(groups, means, strict=True):
        bar = "█" * round(BAR * (mean - start) / (end - start))
        around = members[0]["ci95"] if len(members) == 1 else None
        count = f"  ({len(members)} trials)" if len(members) > 1 else ""
        mark = "  best" if best in members else ""
        lines.append(
            f"  {label:>{width}}  {bar:<{BAR}}  {format_score(mean, around)}{count}{mark}"
        )
    return lines


def _average(rows: Sequence[TrialRow]) -> float:
    return statistics.fmean(r["value"] for r in rows if r["value"] is not None)


def _groups(rows: list[TrialRow], name: str) -> list[tuple[str, list[TrialRow]]]:
    """Trials by their value, in order; many numbers by parts with equal numbers of trials."""
    by: dict[str, list[TrialRow]] = {}
    having = [r for r in rows if name in r["params"]]
    values = [r["params"][name] for r in having]
    if all(isinstance(v, int | float) for v in values):
        having.sort(key=lambda r: r["params"][name])
    for row in having:
        by.setdefault(format_setting(row["params"][name]), []).append(row)
    if len(by) <= BINS:
        return list(by.items())
    size = -(-len(having) // BINS)
    parts = [having[i : i + size] for i in range(0, len(having), size)]
    return [
        (f"{format_setting(p[0]['params'][name])} to {format_setting(p[-1]['params'][name])}", p)
        for p in parts
    ]


def describe_spread(rows: Sequence[TrialRow]) -> list[str]:
    """The spread between seeds, where trials have several: how sure a difference is."""
    spreads = [
        statistics.stdev(r["scores"])
        for r in rows
        if len(r["scores"]) > 1 and r["value"] is not None
    ]
    if not spreads:
        return []
    return [f"standard deviation between seeds: {statistics.fmean(spreads):.2f} on average"]


def format_winner(metric: str, scores: Sequence[float]) -> str:
    """`mAP 61.2 ± 0.8 (3 seeds)`."""
    s = summarise(scores)
    more = "" if s["ci95"] is None else f" ± {s['ci95']:.2f}"
    return f"{metric} {s['mean']:.2f}{more} ({s['n']} seed{'s' if s['n'] > 1 else ''})"
