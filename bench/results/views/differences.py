"""Differences between results over common seeds, what they say of a claim, and differences between
configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from bench.core.statistics import Difference, Summary, summarise, t_quantile
from bench.results.views.lineage import StageInfo
from bench.results.views.ranking import difference, welch_dof

Verdict = Literal["supported", "contradicted", "undecided"]


class Contrast(Difference):
    """A difference, and the degrees of freedom of its interval (0 where there is none)."""

    dof: int


class PairedDifference(Summary):
    """The mean difference over the seeds that two results share, with its 95 % interval."""

    seeds: list[int]


class DrawnDifference(TypedDict):
    """A difference from the first row of a comparison that has an interval, as charts take it."""

    task: str
    row: str
    mean: float
    low: float
    high: float
    n: int
    seeds: str
    cell: str  # label of one of the row's cells


def paired_difference(
    one: Mapping[int, float], other: Mapping[int, float]
) -> PairedDifference | None:
    """`other - one` over the seeds that both have; None where they share none.

    The same seed is the same data order and initial weights: pairing takes out what both share.
    """
    seeds = sorted(set(one) & set(other))
    if not seeds:
        return None
    return {**summarise([other[s] - one[s] for s in seeds]), "seeds": seeds}


def compare_values(one: Mapping[int, float], other: Mapping[int, float]) -> Contrast:
    """`other - one`, both by seed: over the seeds that both have (`paired_difference`) if these
    are two or more, else of the means, with Welch's interval."""
    paired = paired_difference(one, other)
    if paired is not None and paired["ci95"] is not None:
        return {"mean": paired["mean"], "ci95": paired["ci95"], "dof": paired["n"] - 1}
    high, low = summarise(list(other.values())), summarise(list(one.values()))
    gap = difference(high, low)
    return {**gap, "dof": 0 if gap["ci95"] is None else welch_dof(high, low)}


def widen(ci95: float, dof: int, comparisons: int) -> float:
    """The half-width at which `comparisons` intervals hold together with 95 % (Bonferroni):
    t(1 - .025 / comparisons, dof) instead of t(.975, dof)."""
    if comparisons < 2 or ci95 == 0:
        return ci95
    return ci95 * t_quantile(1 - 0.025 / comparisons, dof) / t_quantile(0.975, dof)


def hold_together(gap: PairedDifference, comparisons: int) -> PairedDifference:
    """The difference with the interval that holds together with those of all `comparisons`."""
    if gap["ci95"] is None:
        return gap
    return {**gap, "ci95": widen(gap["ci95"], gap["n"] - 1, comparisons)}


def verdict(difference: Difference | PairedDifference | None) -> str:
    """ "better", "worse", "not distinguishable" (the interval holds 0) or "unknown" (one seed)."""
    if difference is None or difference["ci95"] is None:
        return "unknown"
    if abs(difference["mean"]) <= difference["ci95"]:
        return "not distinguishable"
    return "better" if difference["mean"] > 0 else "worse"


def judge(gap: Contrast | None, comparisons: int = 1) -> Verdict:
    """What a measured difference says of a claim that it is positive, one of `comparisons` of that
    claim: the one rule for the papers' claims and for sweeps.

    "supported": its 95 % interval is above 0. "contradicted": its interval is below 0, where the
    intervals of all comparisons hold together with 95 %. Else, and always with one seed,
    "undecided". A claim with all comparisons supported when one is false: at most 2.5 %, whatever
    their number (an intersection-union test); one contradicted when all are true: at most 2.5 %.
    """
    if gap is None or gap["ci95"] is None:
        return "undecided"
    if gap["mean"] > gap["ci95"]:
        return "supported"
    below = -gap["mean"] > widen(gap["ci95"], gap["dof"], comparisons)
    return "contradicted" if below else "undecided"


def judge_claim(verdicts: Sequence[Verdict]) -> Verdict:
    """A claim with these comparisons: "contradicted" where one is, "supported" where all are."""
    if "contradicted" in verdicts:
        return "contradicted"
    return "supported" if verdicts and set(verdicts) == {"supported"} else "undecided"


def collect_settings(stages: Mapping[str, StageInfo], key: str) -> dict[str, str]:
    """Every setting of the stage `key` and of those it needs: {"role/kind.setting": value as
    JSON}."""
    settings: dict[str, str] = {}

    def visit(at: str, path: str) -> None:
        stage = stages.get(at)
        if stage is None:
            return
        settings[f"{path}{stage.kind}"] = f"{stage.name} (version {stage.version})"
        for name, value in _flatten(stage.params):
            settings[f"{path}{stage.kind}.{name}"] = value
        for role, child in stage.inputs.items():
            visit(child, f"{path}{role}/")

    visit(key, "")
    return settings


def _flatten(value: Any, path: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        return [
            pair
            for k, v in value.items()
            for pair in _flatten(v, f"{path}.{k}" if path else str(k))
        ]
    return [(path, json.dumps(value))]


def find_differing(settings: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """{setting: its value in each configuration, "-" for none}, for settings that are not all
    equal."""
    names = dict.fromkeys(name for each in settings for name in each)
    table = {name: [each.get(name, "-") for each in settings] for name in names}
    return {name: values for name, values in table.items() if len(set(values)) > 1}
