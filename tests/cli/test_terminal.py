"""What verbs print on a terminal of 80 columns: nothing wider, nothing cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.cli._table import Column, echo_prose, echo_terms, print_table
from bench.contracts import registry
from bench.results.db.database import open_database
from tests.e2e import micro
from tests.results.test_tables import record

NUMBERS = [Column("method", key=True), *(Column(f"metric_{n}", right=True) for n in range(9))]


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines), lines
    return lines


def test_columns_are_as_wide_as_their_texts(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [Column("name"), Column("images per second", right=True)]
    print_table(columns, [("byol", "12.5"), ("moco_v2", "9.0")], "Speed")
    assert printed(capsys) == [
        "Speed",
        "         images",
        "            per",
        "name     second",
        "-------  ------",
        "byol       12.5",
        "moco_v2     9.0",
    ]


def test_prose_wraps_beside_names_that_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    columns = [Column("name"), Column("summary", wrap=True)]
    print_table(columns, [("a" * 40, "one two three four five six seven eight nine")])
    lines = printed(capsys)
    assert lines[2] == "a" * 40 + "  one two three four five six seven"
    assert lines[3] == " " * 42 + "eight nine"


def test_a_wide_table_goes_on_below_with_its_first_column(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [(name, *(f"{n}.{i}" for n in range(9))) for i, name in enumerate(("byol", "orl"))]
    print_table(NUMBERS, rows)
    lines = printed(capsys)
    first, second = "\n".join(lines).split("\n\n")
    assert first.splitlines()[0].split() == ["method", *(f"metric_{n}" for n in range(7))]
    assert second.splitlines()[0].split() == ["method", "metric_7", "metric_8"]
    assert second.splitlines()[3].split() == ["orl", "7.1", "8.1"]


def test_a_wide_terminal_has_the_whole_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_table(NUMBERS, [("byol", *"123456789")])
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_lines_of_a_cell_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Column("row"), Column("AP", right=True)], [("first", "69.5\n11.0 ± 12.7")])
    assert printed(capsys)[2:] == ["first         69.5", "       11.0 ± 12.7"]


def test_a_word_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/" + "long/" * 20
    echo_prose(f"the folder is {path} and more", "  ", "")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["the folder is", f"  {path}", "  and more"]


def test_terms_stand_beside_their_texts_or_above(capsys: pytest.CaptureFixture[str]) -> None:
    echo_terms([("ab", "short"), ("c" * 30, "a text for a long name"), ("abcd", "word " * 20)])
    lines = printed(capsys)
    assert lines[:3] == ["  ab    short", "  " + "c" * 30, "      a text for a long name"]
    assert lines[3].startswith("  abcd  word word")
    assert lines[4].startswith("        word")


def bench(*arguments: str) -> str:
    """What a command prints, which is not wider than 80 columns."""
    done = micro.bench(*arguments)
    assert done.returncode in (0, 1, 2), done.stderr
    assert done.stdout, (arguments, done.stderr)
    assert not micro.wide_lines(done.stdout), arguments
    return done.stdout


@pytest.mark.parametrize("name", ["orl", "coco_det", "coarse", "selective_search", "scenes"])
def test_settings_of_a_component_fit(name: str) -> None:
    rows = json.loads(micro.bench("list", "params", name, "--json").stdout)
    text = " ".join(bench("list", "params", name).split())
    for row in rows:
        assert f"{row['owner']}.{row['name']} = {row['default']}" in text
        assert " ".join(row["help"].split()) in text
        for scale, value in row["scales"].items():
            assert f"{scale}: {value}" in text


def test_every_component_is_listed_with_its_whole_summary() -> None:
    text = " ".join(bench("list").split())
    for entry in registry.entries().values():
        assert f"{entry.name} {' '.join(entry.summary.split())}" in text


@pytest.mark.parametrize(
    "arguments",
    [
        "list params",
        "list --matrix",
        "data list",
        "data prepare coco",
        "doctor",
        "figure list",
        "table list",
        "table show 000/T14",
        "table show 001/T9",
        "table show 002/T1",
        "leaderboard",
        "plan --method byol,orl,mae --crop * --task coco_det,voc07_svm",
        "results check",
    ],
)
def test_every_listing_fits_80_columns(arguments: str, home: Path) -> None:
    database = open_database(f"sqlite:///{home / 'results.db'}")
    for crop, score in (("coarse", 12.0), ("gt", 10.0)):
        record(database, crop, score, overrides={f"{crop}.n_crops": "3"} if crop != "gt" else {})
    bench(*arguments.split())


@pytest.mark.parametrize(
    "arguments",
    [
        "crops recall --proposals ground_truth,random_boxes --set scenes.n_train=6 "
        "--set scenes.n_val=2",
        "perf plan --method byol --crop image --task knn",
        "data check scenes --set n_train=4 --set n_val=2",
    ],
)
def test_what_is_measured_fits_80_columns(arguments: str, home: Path) -> None:
    bench(*arguments.split())
