"""Differences between results over common seeds, and between configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.core.statistics import summarise
from bench.results.views.lineage import StageInfo


def paired_difference(
    one: Mapping[int, float], other: Mapping[int, float]
) -> dict[str, Any] | None:
    """`other - one` over the seeds both have: {mean, ci95, n, seeds}; ci95 is the half-width of
    the 95 % Student-t interval of the mean difference, None for one seed. None where no seed is
    common.

    The same seed is the same data order and initial weights: pairing takes out what both share.
    """
    seeds = sorted(set(one) & set(other))
    if not seeds:
        return None
    return {**summarise([other[s] - one[s] for s in seeds]), "seeds": seeds}


def verdict(difference: Mapping[str, Any] | None) -> str:
    """ "better", "worse", "not distinguishable" (the interval holds 0) or "unknown" (one seed)."""
    if difference is None or difference["ci95"] is None:
        return "unknown"
    if abs(difference["mean"]) <= difference["ci95"]:
        return "not distinguishable"
    return "better" if difference["mean"] > 0 else "worse"


def collect_settings(stages: Mapping[str, StageInfo], key: str) -> dict[str, str]:
    """Every setting of the stage `key` and of those it needs: {"role/kind.setting": value as
    JSON}."""
    found: dict[str, str] = {}

    def visit(at: str, path: str) -> None:
        stage = stages.get(at)
        if stage is None:
            return
        found[f"{path}{stage.kind}"] = f"{stage.name} (version {stage.version})"
        for name, value in _flatten(stage.params):
            found[f"{path}{stage.kind}.{name}"] = value
        for role, child in stage.inputs.items():
            visit(child, f"{path}{role}/")

    visit(key, "")
    return found


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
