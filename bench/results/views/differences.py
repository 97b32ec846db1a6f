"""Differences between results over common seeds, and between configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.core.statistics import Difference, Summary, summarise
from bench.results.views.lineage import StageInfo


class PairedDifference(Summary):
    """The mean difference over the seeds that two results share, with its 95 % interval."""

    seeds: list[int]


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


def verdict(difference: Difference | PairedDifference | None) -> str:
    """ "better", "worse", "not distinguishable" (the interval holds 0) or "unknown" (one seed)."""
    if difference is None or difference["ci95"] is None:
        return "unknown"
    if abs(difference["mean"]) <= difference["ci95"]:
        return "not distinguishable"
    return "better" if difference["mean"] > 0 else "worse"


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
