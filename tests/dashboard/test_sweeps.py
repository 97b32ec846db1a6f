"""The page Sweeps, and the rows and charts it is made of."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bench.core.errors import BadInput
from bench.results.db.database import Database, open_database
from bench.results.views import studies
from bench.results.views.trials import (
    average_points,
    choose_spread,
    continue_command,
    describe_winner,
    find_marked,
    list_parallel,
    list_points,
    monitor_command,
    scale_values,
)
from dashboard.sweep_figures import parallels, plot_against, shares, ticks
from tests.dashboard.populate import sweep, sweeps
from tests.dashboard.test_pages import EVIL, html, show, words


@pytest.fixture
def url(home: Path) -> str:
    home.mkdir(exist_ok=True)
    return f"sqlite:///{home / 'results.db'}"


@pytest.fixture
def database(url: str) -> Database:
    sweeps(url)
    return open_database(url)


def trial(
    number: int, value: float | None, ci95: float | None = None, **params: Any
) -> dict[str, Any]:
    return {
        "number": number,
        "params": params,
        "value": value,
        "ci95": ci95,
        "cells": ["abc"],
        "scores": [value],
        "made": 1,
    }


def charts(app: Any) -> list[Any]:
    return list(app.get("vega_lite_chart") + app.get("arrow_vega_lite_chart"))


def test_points_have_intervals_and_lines_join_means() -> None:
    rows = [trial(0, 4.0, 1.0, k=10), trial(1, 2.0, k=2), trial(2, None, k=3), trial(3, 6.0, k=10)]
    found = list_points(rows, "k", winner=3)
    assert [(p["x"], p["value"], p["low"], p["high"], p["winner"]) for p in found] == [
        (2, 2.0, None, None, False),
        (10, 4.0, 3.0, 5.0, False),
        (10, 6.0, None, None, True),
    ]
    assert average_points(found) == [{"x": 2, "value": 2.0}, {"x": 10, "value": 5.0}]
    assert list_points(rows, "other", None) == []


def test_axes_suit_their_values() -> None:
    assert choose_spread([1, 3, 5], "values") == "linear"
    assert choose_spread([1, 3, 100], "values") == "log"
    assert choose_spread([1, 3, 100], "linear") == "linear"
    assert choose_spread([0.0, 0.1], "log") == "linear"  # no logarithm of zero
    assert choose_spread([1, "a"], "values") == choose_spread([True, False], "values") == "names"
    assert scale_values([0.01, 1.0, 0.1], "log") == pytest.approx([0, 1, 0.5])
    assert scale_values(["b", "a", "c"], "values") == [0.5, 0, 1]
    assert scale_values([7, 7], "linear") == [0.5, 0.5]


def test_parallel_coordinates_end_at_the_metric() -> None:
    study = {
        "params": {"k": "", "s": ""},
        "spacing": {"k": "linear", "s": "values"},
        "metric": "top1",
    }
    rows = [
        trial(0, 4.0, k=1, s="a"),
        trial(1, 8.0, k=3, s="b"),
        trial(2, 5.0, k=2),
        trial(3, None, k=2, s="a"),
    ]
    found = list_parallel(study, rows, winner=1)
    assert [(r["trial"], r["axis"], r["at"]) for r in found] == [
        (0, "k", 0),
        (1, "k", 1),
        (0, "s", 0),
        (1, "s", 1),
        (0, "top1", 0),
        (1, "top1", 1),
    ]
    assert {r["trial"] for r in found if r["winner"]} == {1}
    assert {(t["axis"], t["at"], t["text"]) for t in ticks(found)} == {
        ("k", 0, "1"),
        ("k", 1, "3"),
        ("s", 0, "a"),
        ("s", 1, "b"),
        ("top1", 0, "4.00"),
        ("top1", 1, "8.00"),
    }


def test_charts_hold_the_numbers_given() -> None:
    rows = list_points([trial(0, 4.0, 1.0, k=1), trial(1, 2.0, k=2)], "k", winner=0)
    chart = plot_against(rows, "k", "top1", "values", lambda label: f"?key={label}").to_dict()
    links = [r["link"] for data in chart["datasets"].values() for r in data if "link" in r]
    assert links == ["?key=abc", "?key=abc"]
    assert [{"x": 1, "value": 4.0}, {"x": 2, "value": 2.0}] in chart["datasets"].values()
    assert any(d[0].get("low") == 3.0 for d in chart["datasets"].values())
    # no line through drawn values
    assert len(plot_against(rows, "k", "top1", "linear", str).to_dict()["layer"]) == 3
    bars = shares({"k": 0.75, "s": 0.25}).to_dict()
    assert next(iter(bars["datasets"].values())) == [
        {"setting": "k", "share": 0.75},
        {"setting": "s", "share": 0.25},
    ]
    study = {"params": {"k": ""}, "spacing": {"k": "linear"}, "metric": "top1"}
    lines = parallels(
        list_parallel(study, [trial(0, 1.0, k=1), trial(1, 2.0, k=3)], None), "top1"
    ).to_dict()
    assert max(map(len, lines["datasets"].values())) == 4


def test_one_setting_shows_the_winner_its_test_score_and_commands(
    database: Database, url: str
) -> None:
    (one, _) = studies.read_studies(url)
    app = show("sweeps", study="n_crops")
    found = words(app)
    test = one["winner"]["test"]
    assert (
        found.count(
            f"Chosen (trial 3): coarse.n_crops = 5. Test top1 {test['mean']:.2f} ± "
            f"{test['ci95']:.2f}"
        )
        == 1
    )
    for row in studies.read_trials(url, "n_crops"):
        assert f"{row['value']:.2f} ± {row['ci95']:.2f}" in found
        assert f"key={row['cells'][2][:16]}" in html(app)
        assert row["commands"][1] in found
    assert found.count("done ◆") == 1
    assert len(charts(app)) == 1
    assert app.code[0].value == f"bench sweep --study n_crops\noptuna-dashboard {url}"


def test_several_settings_show_importances_parallel_coordinates_and_failures(
    database: Database,
) -> None:
    app = show("sweeps", study="three settings")
    found = words(app)
    assert len(charts(app)) == 3 + 1 + 1
    assert "Highest so far" in found
    assert "out of memory" in found
    assert "23 done, 1 failed" in found
    assert "bench sweep --study 'three settings'" in app.code[0].value


def test_the_sweep_is_in_the_address(database: Database) -> None:
    app = show("sweeps")
    app.selectbox(key="sweeps.study").set_value("three settings").run()
    assert app.query_params["study"] == "three settings"
    assert html(show(**dict(app.query_params))) == html(app)
    assert "Chosen" in words(show("sweeps", study="nobody"))


def test_reading_sweeps_writes_nothing(database: Database, url: str, home: Path) -> None:
    database.engine.dispose()
    before = hashlib.sha256((home / "results.db").read_bytes()).hexdigest()
    (home / "results.db").chmod(0o444)
    home.chmod(0o555)
    try:
        assert html(show("sweeps"))
        assert len(studies.read_trials(url, "n_crops")) == 6
        storage = studies._open_storage(url)
        with (
            pytest.raises(Exception, match=r"readonly|read-only"),
            storage.engine.begin() as connection,
        ):
            connection.execute(text("DELETE FROM studies"))
    finally:
        home.chmod(0o755)
    assert hashlib.sha256((home / "results.db").read_bytes()).hexdigest() == before


@pytest.mark.parametrize("table", ["trials", "study_user_attributes", "version_info"])
def test_damaged_tables_of_optuna_are_one_line(database: Database, url: str, table: str) -> None:
    with database.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO lost"))
    assert "cannot be read" in words(show("sweeps"))
    with pytest.raises(BadInput, match="cannot be read"):
        studies.read_studies(url)


def test_values_of_a_sweep_are_never_html(url: str) -> None:
    cell = {"method": EVIL, "crop": EVIL, "task": EVIL}
    sweep(
        url,
        EVIL,
        [({EVIL: EVIL, "b": 1}, [1.0]), ({EVIL: "x", "b": 2}, None)],
        reason=EVIL,
        cell=cell,
        seeds=1,
    )
    app = show("sweeps")
    assert "<img" not in html(app)
    assert EVIL in words(app)


def test_a_sweep_without_a_complete_trial_is_shown(url: str) -> None:
    sweep(url, "young", [({"k": 1}, None)])
    app = show("sweeps")
    assert "No trial is complete yet" in words(app)
    assert not charts(app)


def test_the_mark_goes_to_the_winner_else_to_the_best() -> None:
    rows = [trial(0, 1.0, k=1), trial(1, 2.0, k=2)]
    study: dict[str, Any] = {"winner": None, "best": rows[1], "metric": "top1", "name": "it's"}
    assert find_marked(study, rows) == 1
    won = {"values": {"k": 1}, "test": {"mean": 3.0, "ci95": None, "n": 1}}
    assert find_marked({**study, "winner": won}, rows) == 0
    assert (
        describe_winner({**study, "winner": won}, 0)
        == "Chosen (trial 0): k = 1. Test top1 3.00, 1 seed."
    )
    assert describe_winner({**study, "best": None}, None) == "No trial is complete yet."
    assert continue_command(study) == """bench sweep --study 'it'"'"'s'"""
    assert "secret" not in monitor_command("postgresql+psycopg://me:secret@host/db")
