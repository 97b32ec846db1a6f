"""Every page with damaged rows, half-written files and wrong addresses: what can be shown is
shown, and the rest is one line."""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from bench.core.statistics import is_number
from bench.results.db.database import Database
from bench.results.views.entries import DAMAGED, load_entries
from bench.results.views.stage_files import (
    read_class_scores,
    read_learning_curve,
    read_summary,
)
from dashboard.faults import FAULT
from dashboard.warm import spare_collector
from tests.dashboard.test_pages import (
    PAGES,
    cell_label,
    database,
    html,
    show,
    template,
    words,
)

__all__ = ["database", "template"]  # fixtures
EVIL = '<img src=x onerror="alert(1)">'
LONG, TURNED = "L" * 5000, "\u202e\u05e9\u05dc\u05d5\u05dd"
NO_NUMBERS = (float("inf"), float("-inf"), float("nan"), 1e308, 10**400, "abc", b"\x00", None)


def damage(database: Database, statement: str, **values: Any) -> None:
    with database.engine.begin() as connection:
        connection.execute(text(statement), values)


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number_is_known(value: Any) -> None:
    assert not is_number(value)
    assert is_number(-38.1)


@pytest.mark.parametrize("value", [float("inf"), 1e308, "abc"])
def test_a_value_that_is_no_number_is_in_no_mean_and_the_board_says_so(
    database: Database, value: Any
) -> None:
    label = cell_label(database, method="byol", crop="image", task="knn", scale="small")
    damage(database, "UPDATE results SET value = :v WHERE label = :label", v=value, label=label)
    damage(
        database,
        "UPDATE metrics SET value = :v WHERE result_id IN "
        "(SELECT id FROM results WHERE label = :label)",
        v=value,
        label=label,
    )
    entries = load_entries(connect(database), "small", "coco")
    (one,) = [e for e in entries if label in e.labels.values()]
    assert one.n == 2
    assert one.states == {"failed": 1}
    assert one.reason == DAMAGED
    board = words(show(method="byol", crop="image", task="knn"))
    assert "inf" not in board.split()
    for page in ("result", "cell", "compare", "coverage"):
        assert html(show(page, key=label))
    assert "2 seeds" in words(show("result", key=label))


def connect(database: Database) -> Connection:
    return database.engine.connect()


@pytest.mark.parametrize("page", ["leaderboard", "compare", "coverage", "result"])
def test_a_row_that_no_page_can_read_is_one_line_and_the_log_has_the_traceback(
    database: Database, page: str, caplog: pytest.LogCaptureFixture
) -> None:
    label = cell_label(database, method="byol", crop="image", task="knn", scale="small")
    damage(database, "UPDATE cells SET seed = 'abc' WHERE label = :label", label=label)
    with caplog.at_level(logging.ERROR, logger="bench.dashboard"):
        app = show(page, key=label)
    assert not app.exception
    shown = "".join(e.proto.body for e in app.get("html"))
    assert FAULT in shown
    assert "bench results check" in shown
    assert "TypeError" in caplog.text


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("value", [EVIL, LONG + TURNED, "-1", "9" * 40])
def test_a_wrong_address_shows_the_page_or_one_line(
    database: Database, page: str, value: str
) -> None:
    names = (
        *("scale", "data", "content", "task", "method", "crop", "rank", "seeds", "part", "heat"),
        *("shade", "zoom", "row", "column", "study", "paper", "table", "of", "size", "objects"),
        *("topic", "metric", "name", "key", "stage", "source", "settings", "every", "images"),
    )
    shown = html(show(page, **dict.fromkeys(names, value)))
    assert "<img" not in shown


def test_half_written_files_lose_no_more_than_what_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(
        '{"step": 0, "loss": 2.0}\n{"step": NaN, "loss": 1.0}\n{"step": "x"}\n{"loss": 3.0}\n'
        f'{{"step": 5, "loss": 1e999, "lr": {10**400}}}\n[1]\n{"[" * 100_000}\n{{"step": 9, "lo'
    )
    assert read_learning_curve(tmp_path) == [{"step": 0, "loss": 2.0}, {"step": 5}]
    (tmp_path / "per_class.json").write_text(
        '{"bbox": {"cat": 30.0, "dog": NaN, "cow": "x"}, "segm": 7}'
    )
    assert read_class_scores(tmp_path) == {"cat": {"AP_bbox": 30.0}}
    (tmp_path / "summary.json").write_text("[" * 100_000)
    assert read_summary(tmp_path) == {}


def test_the_collector_passes_over_what_was_there_at_the_start() -> None:
    try:
        spare_collector()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
