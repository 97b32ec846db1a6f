"""The page Papers."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest

from bench.figures.recorded import draw_pairs
from bench.results.db.database import Database, open_database
from bench.results.papers.measured import compare_table
from bench.results.papers.pairs import HEADS, list_pairs
from bench.results.papers.reported import CITATIONS
from bench.results.papers.tables import list_tables
from bench.results.views.ranking import format_correlation
from dashboard.paper_table import claims_table, differences_table, paper_table
from dashboard.pictures import write_csv
from dashboard.plots import compare_reported
from dashboard.screens.papers import format_pair
from tests.dashboard.populate import paper_cells
from tests.dashboard.test_pages import EVIL, html, show, words


@pytest.fixture
def database(home: Path) -> Database:
    home.mkdir()
    found = open_database(f"sqlite:///{home / 'results.db'}")
    paper_cells(found, "000/T1", seeds=2)
    return found


def test_reported_numbers_are_beside_the_measured_ones(database: Database) -> None:
    frame = compare_table(database, "000/T1", "tiny")
    app = show("papers", paper="000", table="T1")
    found = words(app)
    for row in frame["rows"]:
        assert row["label"] in found
        for cell in row["cells"].values():
            assert f"<i>{cell['reported']:.1f}</i>" in html(app)
            if cell["measured"]:
                mean, half = cell["measured"]["mean"], cell["measured"]["ci95"]
                assert (
                    f'{mean:.1f}</span><span class="ci">±{half:.1f}</span><span class="ci">(2)'
                    in html(app)
                )
                assert f"key={cell['cells'][0][:16]}" in html(app)
    for column in frame["columns"]:
        assert column["correlation"]
        assert f"ρ {format_correlation(column['correlation'])}" in found
    for claim in frame["claims"]:
        assert claim["state"] in found
        assert claim["text"] in found
    assert str(CITATIONS["000"]) in found
    assert "1 of 24 numbers are not measured yet" in found  # the last cell
    assert app.code[0].value == "bench table run 000/T1 --scale tiny"


def test_the_chart_has_every_measured_number(database: Database) -> None:
    frame = compare_table(database, "000/T1", "tiny")
    chart = compare_reported(frame, lambda label: f"?key={label[:16]}")
    assert chart is not None
    shown = {
        (r["row"], r["column"]): r for data in chart.to_dict()["datasets"].values() for r in data
    }
    cells = {
        (row["label"], name): cell
        for row in frame["rows"]
        for name, cell in row["cells"].items()
        if cell["measured"]
    }
    assert set(shown) == set(cells)
    assert len(cells) == 23
    for at, cell in cells.items():
        measured = cell["measured"]
        assert measured
        assert (shown[at]["reported"], shown[at]["measured"]) == (
            cell["reported"],
            measured["mean"],
        )
        assert shown[at]["high"] - shown[at]["low"] == pytest.approx(2 * measured["ci95"])
        assert shown[at]["link"] == f"?key={cell['cells'][0][:16]}"
    assert compare_reported(compare_table(database, "000/T2", "small"), str) is None


def test_every_table_is_shown_and_its_claims(database: Database) -> None:
    """Without a browser: the HTML of all 49, and what is not measured says so."""
    names = [t["name"] for t in list_tables()]
    assert len(names) == 49
    for name in names:
        frame = compare_table(database, name, "small")
        made = paper_table(frame)
        assert made.count('scope="row"') == len(frame["rows"])
        assert made.count("<i>") == sum(len(r["cells"]) for r in frame["rows"])
        assert made.count("doubtful: ") % 2 == 0  # on hover and to a screen reader
        assert claims_table(frame).count("undecided") == len(frame["claims"])
        assert differences_table(frame).count("<tr>") == 1 + sum(
            len(c["comparisons"]) for c in frame["claims"]
        )


def test_the_choice_is_in_the_address(database: Database) -> None:
    app = show("papers")
    app.selectbox(key="papers.paper").set_value("003").run()
    app.selectbox(key="papers.scale").set_value("paper").run()
    assert app.query_params["paper"] == "003"
    assert app.query_params["scale"] == "paper"
    assert str(CITATIONS["003"]) in words(app)
    assert html(show(**dict(app.query_params))) == html(app)
    assert str(CITATIONS["000"]) in words(show("papers", paper="x", table="x", scale="x"))


def test_without_results_the_reported_numbers_and_the_command_are_shown(home: Path) -> None:
    open_database(f"sqlite:///{home / 'results.db'}")
    app = show(
        "papers", paper="001", table=next(t["table"] for t in list_tables() if t["paper"] == "001")
    )
    assert (
        "Nothing of this table was measured at this scale yet; run first: bench table run 001/"
        in words(app)
    )
    assert "<i>" in html(app)


def test_downloads_are_what_the_terminal_writes(database: Database) -> None:
    app = show("papers")
    labels = [b.proto.label for b in app.get("download_button")]
    assert labels == ["PNG", "SVG", "PDF", "CSV", "CSV", "Markdown", "LaTeX"]


def test_the_charts_files_hold_every_measured_number(database: Database) -> None:
    frame = compare_table(database, "000/T1", "tiny")
    pairs = list_pairs(frame)
    cells = [c for row in frame["rows"] for c in row["cells"].values() if c["measured"]]
    assert [p["measured"] for p in pairs] == [
        c["measured"]["mean"] for c in cells if c["measured"]
    ]
    assert {p["n"] for p in pairs} == {2}
    lines = list(csv.DictReader(io.StringIO(write_csv(HEADS, [format_pair(p) for p in pairs]))))
    assert [float(line["measured"]) for line in lines] == [p["measured"] for p in pairs]
    assert {line["seeds"] for line in lines} == {"0 1"}
    drawing = draw_pairs(pairs, "a title", "svg").decode()
    assert {p["column"] for p in pairs} | {"a title"} <= set(
        re.findall(r">([^<>]+)</text>", drawing)
    )
    assert draw_pairs(pairs, "a title", "pdf")[:5] == b"%PDF-"


def test_values_of_a_cell_are_never_html(database: Database) -> None:
    frame = compare_table(database, "000/T1", "tiny")
    cell = next(iter(frame["rows"][0]["cells"].values()))
    cell.update(measured=None, state=EVIL, reason=EVIL, doubtful=True, notes=EVIL)
    frame["rows"][0].update(label=EVIL, note=EVIL, method=EVIL)
    frame["columns"][0].update(task=EVIL, runs=EVIL)
    frame["claims"][0].update(text=EVIL, source=EVIL, doubt=EVIL)
    assert "<img" not in paper_table(frame) + claims_table(frame) + differences_table(frame)
