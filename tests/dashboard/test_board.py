"""Boards: what shares a row and a column, ranks, ties, states, commands, exports."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.core.statistics import summarise
from bench.results.html.board import Links, board_table, list_reasons
from bench.results.views.board import Board, Choice, make_board
from bench.results.views.board_text import (
    describe_ranking,
    export_board,
    format_number,
    standing_of,
    state_of,
)
from bench.results.views.commands import compact_seeds, fill_command
from bench.results.views.entries import Entry
from bench.results.views.placement import make_table
from dashboard.table import link_board


def entry(method: str = "byol", task: str = "knn", values: Any = (), **other: Any) -> Entry:
    """An entry with a value per seed."""
    crop, lr = other.pop("crop", "image"), other.pop("lr", "")
    found = {
        "group": f"{method}{crop}{lr}{task}",
        "source": "measured",
        "method": method,
        "crop": crop,
        "task": task,
        "scale": "tiny",
        "pretrain_data": "scenes",
        "pretrain_data_key": "a" * 64,
        "task_data": "scenes",
        "task_data_key": "a" * 64,
        "engine": "",
        "overrides": {f"{method}.lr": lr} if lr else {},
        "pretraining": f"{method}-{crop}-{lr}",
        "protocol": f"{task}-protocol",
        "headline": "top1",
        "command": f"bench run --method {method} --crop {crop} --task {task} --scale tiny"
        f" --seeds 0 --data scenes --task-data scenes{f' --set {method}.lr={lr}' if lr else ''}",
    }
    made = Entry(**{**found, **other})
    made.values = dict(enumerate(values))
    made.labels = {s: f"{len(made.group):02x}{s:062x}" for s in made.values or {0: 0}}
    if values:
        total = summarise(list(values))
        made.mean, made.ci95 = total["mean"], total["ci95"]
    return made


def board(*entries: Entry, **choice: Any) -> Board:
    return make_board(make_table(entries), Choice(**choice))


def names(found: Board) -> list[tuple[Any, ...]]:
    return [(r.rank, r.method, r.section) for r in found.rows]


def test_complete_rows_are_ranked_by_mean_rank_and_incomplete_ones_never() -> None:
    found = board(
        entry("byol", "knn", (50.0, 51.0)),
        entry("byol", "svm", (70.0, 71.0)),
        entry("orl", "knn", (60.0, 61.0)),
        entry("orl", "svm", (69.0, 69.5)),
        entry("soco", "knn", (10.0, 11.0)),
        entry("soco", "svm", (10.0, 11.0)),
        entry("mae", "knn", (99.0, 99.5)),
    )
    assert names(found) == [
        (1, "byol", "ranked"),
        (1, "orl", "ranked"),
        (3, "soco", "ranked"),
        (None, "mae", "incomplete"),
    ]
    assert [r.mean_rank for r in found.rows] == [1.5, 1.5, 3.0, None]


def test_a_dead_network_has_no_rank_and_is_marked_in_every_export() -> None:
    """It has the highest number of all, by the order of the images."""
    found = board(entry("byol", values=(50.0, 51.0)), entry("mae", values=(99.0, 99.5), dead=True))
    assert names(found) == [(1, "byol", "ranked"), (None, "mae", "incomplete")]
    (column,) = found.columns
    assert found.best[column.key].method == "byol"
    assert found.spans[column.key] == (50.5, 50.5)
    assert [standing_of(found, column, row) for row in found.rows] == ["best", None]
    lines = list(csv.DictReader(io.StringIO(export_board(found, "csv"))))
    assert [line["knn state"] for line in lines] == ["done", "dead"]
    records = json.loads(export_board(found, "json"))
    assert [r["cells"]["knn"]["state"] for r in records] == ["done", "dead"]
    for form in ("md", "tex"):
        marked = [line for line in export_board(found, form).splitlines() if "(dead)" in line]
        assert len(marked) == 1
        assert "mae" in marked[0]
    shown = board_table(found, found.rows, link_board({}, {}))
    assert "†" in shown
    assert "dead: the network&#x27;s features are the same" in shown


def grown_board(**choice: Any) -> Board:
    """Three rows of two tasks, and a first result of a third task."""
    scores = {"byol": (50.0, 70.0), "orl": (60.0, 80.0), "soco": (40.0, 60.0)}
    entries = [
        entry(method, task, (value, value + 0.5))
        for method, values in scores.items()
        for task, value in zip(("knn", "svm"), values, strict=True)
    ]
    return board(*entries, entry("soco", "coco_det", (20.0,)), **choice)


def test_a_first_result_of_a_new_task_unranks_no_row() -> None:
    found = grown_board()
    assert names(found) == [(1, "orl", "ranked"), (2, "byol", "ranked"), (3, "soco", "ranked")]
    assert [c.task for c in found.over] == ["knn", "svm"]
    assert describe_ranking(found) == (
        "Ranked over knn, svm: 3 of 3 rows have results in all of them. Left out of the rank, "
        "since fewer rows have a result there: coco_det (1)."
    )
    assert describe_ranking(found).replace("_", "\\_") in export_board(found, "md")
    assert describe_ranking(found).replace("_", "\\_") in export_board(found, "tex")


def test_the_board_can_be_sorted_by_a_column_that_few_rows_have() -> None:
    found = grown_board(rank="coco_det")
    assert names(found) == [
        (1, "soco", "ranked"),
        (None, "orl", "incomplete"),
        (None, "byol", "incomplete"),
    ]
    page = board_table(found, found.rows, link_board({}, {"task": ["knn", "coco_det"]}))
    assert page.count("aria-sort") == 1
    here = "?page=leaderboard&amp;task=knn&amp;task=coco_det"
    assert f'aria-sort="descending"><a href="{here}&amp;rank=coco_det"' in page
    assert f'"{here}"' in page  # back to the mean rank
    whole = board_table(grown_board(), grown_board().rows, link_board({}, {}))
    assert whole.count("not in the rank") == 1
    assert 'class="num" aria-sort="ascending"' in whole


def test_unranked_rows_are_in_the_order_of_what_they_have() -> None:
    found = board(
        *(entry(m, t, (v,)) for m, v in (("a", 50.0), ("b", 40.0)) for t in ("knn", "svm", "x")),
        entry("low", "knn", (10.0,)),
        entry("high", "knn", (90.0,)),
        entry("middle", "svm", (45.0,)),
        entry("none", "svm", reason="no memory", states={"failed": 1}),
    )
    assert [r.method for r in found.rows] == ["a", "b", "high", "middle", "low", "none"]
    assert [r.rank for r in found.rows] == [1, 2, None, None, None, None]


def test_ranking_by_one_task_asks_for_that_task_only() -> None:
    found = board(
        entry("byol", "knn", (50.0,)),
        entry("orl", "knn", (60.0,)),
        entry("mae", "svm", (99.0,)),
        entry("orl", "svm", (9.0,)),
        rank="knn",
    )
    assert names(found) == [
        (1, "orl", "ranked"),
        (2, "byol", "ranked"),
        (None, "mae", "incomplete"),
    ]


def test_different_settings_versions_and_task_data_never_share_a_place() -> None:
    found = board(
        entry("byol", values=(50.0,)),
        entry("byol", values=(51.0,), lr="0.5"),
        entry("byol", values=(52.0,), pretraining="other version", group="x"),
        entry("byol", values=(53.0,), protocol="other protocol", task_data="coco", group="y"),
    )
    assert len(found.rows) == 3
    assert len(found.columns) == 2
    titles = [r.title for r in found.rows]
    assert len(set(titles)) == 3
    assert "byol.lr=0.5" in " ".join(titles)
    assert len({c.title for c in found.columns}) == 2


def test_two_groups_at_one_place_without_recorded_stages_open_two_rows() -> None:
    same = {"pretraining": "", "protocol": ""}
    found = board(
        entry(values=(50.0,), group="1", **same), entry(values=(60.0,), group="2", **same)
    )
    assert sorted(e.mean for r in found.rows for e in r.entries.values() if e.mean) == [50.0, 60.0]


def test_another_content_of_the_pretraining_set_is_another_table() -> None:
    entries = [
        entry("byol", values=(50.0, 51.0)),
        entry("orl", values=(60.0,), pretrain_data_key="b" * 64),
    ]
    table = make_table(entries)
    assert table.contents == ("a" * 64, "b" * 64)
    assert [r.method for r in table.rows] == ["byol"]
    assert [r.method for r in make_table(entries, "b" * 64).rows] == ["orl"]


def test_an_impossible_cell_goes_to_the_row_and_column_of_its_names() -> None:
    nothing = {"pretraining": "", "protocol": "", "pretrain_data_key": "", "task_data_key": ""}
    stuck = entry(
        "byol", "svm", reason="needs labels", states={"unsupported": 1}, group="u", **nothing
    )
    found = board(entry("byol", "knn", (50.0,)), entry("orl", "svm", (60.0,)), stuck)
    assert len(found.columns) == 2
    row = next(r for r in found.rows if r.method == "byol")
    (svm,) = [c for c in found.columns if c.task == "svm"]
    assert state_of(row, svm) == "unsupported"
    assert row.entries[svm.key].reason == "needs labels"


def test_reported_numbers_stand_beside_and_are_never_ranked_nor_best() -> None:
    said = entry(
        "orl", "knn", (99.0,), source="reported", pretraining="002/T1", protocol="", group="r"
    )
    found = board(entry("byol", "knn", (50.0,)), entry("orl", "knn", (60.0,)), said)
    assert [(r.rank, r.source) for r in found.rows] == [
        (1, "measured"),
        (None, "reported"),
        (2, "measured"),
    ]
    assert standing_of(found, found.columns[0], found.rows[1]) is None
    assert found.total == 2


def marks(found: Board, at: int = 0) -> list[str | None]:
    return [standing_of(found, found.columns[at], row) for row in found.rows]


def test_one_seed_is_never_best_nor_takes_the_mark_of_another() -> None:
    """The row of one seed has the highest number; an unranked one too."""
    found = board(
        entry("byol", "knn", (50.0, 50.2, 50.1)),
        entry("orl", "knn", (40.0, 40.2, 40.1)),
        entry("soco", "knn", (50.0, 50.4, 50.1)),
        entry("mae", "knn", (99.0,)),
    )
    assert dict(zip([r.method for r in found.rows], marks(found), strict=True)) == {
        "mae": "unknown",
        "soco": "best",
        "byol": "tied",
        "orl": "worse",
    }
    (column,) = found.columns
    assert found.best[column.key].method == "soco"


def test_with_one_seed_everywhere_nothing_is_best() -> None:
    found = board(*(entry(m, "knn", (v,)) for m, v in (("byol", 50.0), ("orl", 70.0))))
    assert marks(found) == ["unknown", "unknown"]
    assert found.best == {}
    text = export_board(found, "md") + export_board(found, "tex")
    assert "70.0 ? |" in text
    assert "70.0$^?$" in text
    assert "**70" not in text
    assert "textbf{70" not in text
    assert [r["cells"]["knn"]["mark"] for r in json.loads(export_board(found, "json"))] == [
        "unknown",
        "unknown",
    ]


def test_n_is_printed_where_it_differs_from_most_results() -> None:
    found = board(
        entry("byol", "knn", (50.0, 51.0, 52.0)),
        entry("orl", "knn", (60.0, 61.0, 62.0)),
        entry("mae", "knn", (55.0,)),
        entry("soco", "knn", (40.0, 41.0)),
    )
    assert found.usual_n == 3
    for form, single, double in (
        ("md", "55.0 (n=1) ?", "40.5 ± 6.4 (n=2)"),
        ("tex", "55.0 (n=1)$^?$", r"40.5 $\pm$ 6.4 (n=2)"),
    ):
        text = export_board(found, form)
        assert single in text
        assert double in text
        assert text.count("(n=") == 2
        assert "Mean over 3 seeds, or over n where that is given" in text
    page = board_table(found, found.rows, link_board({}, {}))
    assert '<span class="ci">n=1</span>' in page
    assert '<span class="ci">±6.4 n=2</span>' in page
    assert page.count("n=") == 2


@pytest.mark.parametrize(
    ("choice", "methods"),
    [
        ({}, {"byol", "orl", "mae"}),
        ({"methods": ("byol", "mae")}, {"byol", "mae"}),
        ({"crops": ("grid",)}, {"orl"}),
        ({"seeds": 2}, {"byol"}),
        ({"tasks": ("svm",)}, {"mae"}),
        ({"code": "changed"}, {"byol"}),
        ({"code": "current"}, {"orl", "mae"}),
    ],
)
def test_filters(choice: dict[str, Any], methods: set[str]) -> None:
    first = entry("byol", "knn", (50.0, 51.0))
    table = make_table(
        [first, entry("orl", "knn", (60.0,), crop="grid"), entry("mae", "svm", (9.0,))]
    )
    found = make_board(table, Choice(**choice), frozenset([first.labels[1]]))
    assert {r.method for r in found.rows} == methods
    assert found.total == 3


def test_the_command_of_a_missing_cell_keeps_settings_seeds_and_data() -> None:
    found = board(
        entry("byol", "knn", (1.0, 2.0, 3.0), lr="0.5"),
        entry("orl", "svm", (1.0,), task_data="coco"),
    )
    row = next(r for r in found.rows if r.method == "byol")
    column = next(c for c in found.columns if c.task == "svm")
    assert fill_command(row, column) == (
        "bench run --method byol --crop image --task svm --scale tiny --seeds 0-2 --data scenes "
        "--task-data coco --set byol.lr=0.5"
    )


def test_the_command_of_a_missing_cell_keeps_a_checkpoint() -> None:
    weights = shlex.quote("weights=/a b.pth")
    command = f"bench run --backbone {weights} --task knn --scale tiny --seeds 0 --task-data x"
    found = board(entry("w", "knn", (1.0,), command=command), entry("orl", "svm", (1.0,)))
    row = next(r for r in found.rows if r.method == "w")
    column = next(c for c in found.columns if c.task == "svm")
    assert shlex.split(fill_command(row, column))[2:6] == [
        "--backbone",
        "weights=/a b.pth",
        "--task",
        "svm",
    ]


@given(st.sets(st.integers(0, 30), min_size=1))
def test_compact_seeds_read_back(seeds: set[int]) -> None:
    from bench.plan.options import parse_seeds

    assert parse_seeds(compact_seeds(list(seeds))) == sorted(seeds)


def example() -> Board:
    return board(
        entry("byol", "knn", (50.0, 51.0)),
        entry("orl", "knn", (50.5, 50.9)),
        entry("a_b", "knn", (10.0, 10.1)),
        entry("=cmd", "svm", (1.0,)),
        entry("failed|", "knn", reason="no memory", states={"failed": 1}),
    )


def test_json_has_every_cell_with_state_reason_and_command() -> None:
    rows = json.loads(export_board(example(), "json"))
    by_name = {r["method"]: r for r in rows}
    assert by_name["byol"]["cells"]["knn"]["mean"] == 50.5
    assert by_name["byol"]["cells"]["knn"]["n"] == 2
    assert by_name["byol"]["cells"]["svm"]["state"] == "missing"
    assert "--task svm" in by_name["byol"]["cells"]["svm"]["command"]
    assert by_name["failed|"]["cells"]["knn"] | {"command": ""} == {
        "state": "failed",
        "reason": "no memory",
        "command": "",
        "metric": "top1",
        "engine": "",
        "task_data": "scenes",
    }


def test_csv_reads_back_and_holds_no_formula() -> None:
    found = example()
    rows = list(csv.DictReader(io.StringIO(export_board(found, "csv"))))
    assert [r["method"].lstrip("'") for r in rows] == [r.method for r in found.rows]
    assert float(next(r for r in rows if r["method"] == "byol")["knn mean"]) == 50.5
    assert all(v[0] not in "=+@" for r in rows for v in r.values() if v)


def test_markdown_and_latex_show_the_same_numbers() -> None:
    found = example()
    markdown, latex = export_board(found, "md"), export_board(found, "tex")
    lines = markdown.splitlines()[:-2]  # less the line that explains the marks
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert len(lines) == 2 + len(found.rows)
    assert "**50.7 ± 2.5**" in markdown
    assert "50.5 ± 6.4 ≈" in markdown
    assert r"\textbf{50.7 $\pm$ 2.5}" in latex
    assert r"a\_b" in latex
    assert latex.count(r"\\") == 1 + len(found.rows)


def test_latex_says_what_it_needs_and_what_its_numbers_are() -> None:
    latin = export_board(board(entry("byol", values=(50.0, 51.0))), "tex")
    assert latin.splitlines()[0] == r"% needs \usepackage{booktabs}"
    below = latin[latin.index(r"\end{tabular}") :]
    assert (
        r"Mean over 2 seeds, or over n where that is given; $\pm$ is half of the 95 \% t-" in below
    )
    assert r"\textbf{bold}: the highest mean of its column" in below
    foreign = export_board(board(entry("方法", values=(50.0, 51.0))), "tex")
    assert "names outside Latin are shown by numbers in pdfLaTeX" in foreign.splitlines()[0]


def test_reasons_are_readable_without_pointing_at_a_cell() -> None:
    """Every reason of the rows shown, as text, with a link to its cell; no reason, no list."""
    failed = entry("orl", "knn", states={"failed": 1}, reason="<b>out of memory</b>")
    found = board(entry("byol", "knn", (50.0, 51.0)), failed)
    shown = list_reasons(found, found.rows, Links(result=lambda e: f"?{e.method}"))
    assert "Why 1 cell is empty" in shown
    assert "✕ failed: &lt;b&gt;out of memory&lt;/b&gt;" in shown
    assert 'href="?orl"' in shown
    assert "orl image on knn" in shown
    full = [row for row in found.rows if row.method == "byol"]
    assert list_reasons(found, full) == ""


def test_numbers_have_one_decimal_and_no_interval_for_one_seed() -> None:
    assert format_number(entry(values=(38.149,))) == "38.1"
    assert format_number(entry(values=(38.0, 38.2))) == "38.1 ± 1.3"


def test_what_papers_report_becomes_rows_of_its_own_with_its_citation() -> None:
    from bench.results.papers.board_entries import list_reported

    said = list_reported("coco")
    orl = [
        e for e in said if e.method == "orl" and e.task == "coco_det" and e.headline == "AP_bbox"
    ]
    assert [e.mean for e in orl if not e.overrides] == [40.3]  # its table 4
    assert all(e.n == 0 and e.ci95 is None and e.cited == "Xie 2021" for e in orl)
    found = board(
        entry("orl", "coco_det", (39.0,), headline="AP_bbox", pretrain_data="coco"), *said
    )
    assert found.total == 1
    assert found.rows[0].source == "measured"
    assert {r.rank for r in found.rows[1:]} == {None}
    assert standing_of(found, found.columns[0], found.rows[0]) == "unknown"
