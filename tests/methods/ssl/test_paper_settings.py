"""docs/design/paper-settings.csv has every setting of every method at paper scale, what follows
from them, and whose value it is. A default that changes fails here, and so does a new setting
without a line; the table is then to be corrected together with its source."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import registry
from tests.methods.ssl.paper_settings import gather_facts

TABLE = Path(__file__).parents[3] / "docs" / "design" / "paper-settings.csv"
SOURCES = {"paper", "code", "paper and code", "ours"}
METHODS = registry.names("method")


def read_table() -> list[dict[str, str]]:
    with TABLE.open(newline="") as file:
        return list(csv.DictReader(file))


def differences(name: str, facts: Mapping[str, str]) -> list[str]:
    """What the table and the method do not agree about, a line each."""
    rows = {row["setting"]: row["value"] for row in read_table() if row["method"] == name}
    both = sorted(rows.keys() | facts.keys())
    return [
        f"{name},{setting}: the table has {rows.get(setting)!r}, the code {facts.get(setting)!r}"
        for setting in both
        if rows.get(setting) != facts.get(setting)
    ]


@pytest.mark.parametrize("name", METHODS)
def test_the_table_is_what_a_method_does(name: str, tmp_path: Path) -> None:
    assert differences(name, gather_facts(name, tmp_path)) == []


def test_every_line_says_whose_value_it_is_once() -> None:
    rows = read_table()
    assert {row["method"] for row in rows} == set(METHODS)
    lines = [(row["method"], row["setting"]) for row in rows]
    assert len(set(lines)) == len(lines)
    for row in rows:
        assert row["source"] in SOURCES, row
        assert row["source"] != "ours" or row["note"], f"{row}: say what the authors have"


HEADS = ["head neck", "head predictor", "head predictor_object"]


@pytest.mark.parametrize(
    ("name", "changed", "lines"),
    [
        ("byol", {"lr": 0.3}, ["lr", "rate"]),
        ("byol", {"decay_norm_and_bias": False}, ["decay_norm_and_bias", "no decay"]),
        ("moco_v2", {"shuffle": "sync"}, ["batch norm", "shuffle"]),
        ("simclr", {"hidden": 1024}, ["head projector", "hidden"]),
        ("ccop", {"aug": "code_torchvision"}, ["aug", "view view1", "view view2"]),
        ("lewel", {"mlp_init": "fan_in"}, [*HEADS, "mlp_init"]),
        ("swav", {"small_size": 64, "n_small": 1}, ["n_small", "small_size", "view small1"]),
    ],
)
def test_a_changed_default_is_noticed(
    name: str, changed: dict[str, Any], lines: list[str], tmp_path: Path, monkeypatch: Any
) -> None:
    cls = registry.load("method", name)
    scales: Any = {**cls.scales, "paper": {**cls.scales.get("paper", {}), **changed}}
    monkeypatch.setattr(cls, "scales", scales)
    told = differences(name, gather_facts(name, tmp_path))
    named = [line.split(":")[0].partition(",")[2] for line in told]
    assert [n for n in named if n not in {f"view small{i}" for i in range(2, 7)}] == lines


def test_a_setting_without_a_line_is_noticed(tmp_path: Path) -> None:
    facts = gather_facts("simsiam", tmp_path)
    assert len(differences("simsiam", {**facts, "new": "1"})) == 1
    del facts["rate"]
    assert len(differences("simsiam", facts)) == 1
