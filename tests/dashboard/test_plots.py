"""Charts to touch: the numbers they are given, what a mark says and where it leads."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from bench.figures import objectness
from bench.figures.objectness import series
from bench.figures.recorded import describe_figure, list_points
from bench.results.views.objectness import Point
from dashboard.charts import INK, dress
from dashboard.matrix_figure import Zoom, heat_map
from dashboard.pictures import write_csv
from dashboard.plots import scatter, shares
from tests.results.test_crop_matrix import matrix

PLACES = (20.0, 35.0, 45.0, 55.0, 70.0)


def point(method: str, x: float, y: float, **other: Any) -> Point:
    given = {"x_ci": None, "y_ci": 0.5, "n": 3, "seeds": (0, 1, 4), "cell": f"{method}{x:.0f}"}
    return Point(method, f"crop{x:.0f}", f"crop{x:.0f}", x, y=y, **{**given, **other})


def content(*sources: str) -> dict[str, Any]:
    """byol bends, orl does not."""
    points = [point("byol", x, 60 - 0.01 * (x - 45) ** 2) for x in PLACES]
    points += [point("orl", x, 50 + 0.1 * x, y_ci=None, n=1) for x in PLACES]
    plain = [point("BYOL", x, 40 + x / 10, seeds=(), cell="") for x in PLACES]
    given = {"measured": points, "reported": plain}
    made = [series(f"{s}: somewhere", f"metric of {s}", given[s]) for s in sources]
    return {"series": made, "size": ""}


def rows(chart: dict[str, Any], *fields: str) -> list[dict[str, Any]]:
    """The chart's data with these fields."""
    return [r for data in chart["datasets"].values() for r in data if {*fields} <= set(r)]


def walk(part: Any) -> Any:
    """Every dictionary in a chart."""
    if isinstance(part, dict):
        yield part
        part = list(part.values())
    for child in part if isinstance(part, list) else ():
        yield from walk(child)


def test_a_mark_says_n_seeds_and_interval_and_leads_to_its_result() -> None:
    chart = scatter(content("measured"), lambda label: f"?key={label}").to_dict()
    points = {(r["method"], r["x"]): r for r in rows(chart, "link")}
    assert len(points) == 10
    first = points["byol", 20.0]
    assert (first["value"], first["n"], first["seeds"]) == ("53.8 ± 0.5", 3, "0, 1, 4")
    assert (first["y_low"], first["y_high"]) == (53.25, 54.25)
    assert first["link"] == "?key=byol20"
    assert (points["orl", 20.0]["value"], points["orl", 20.0]["y_low"]) == ("52.0", None)
    assert {r["crop"] for r in points.values() if r["top"]} == {f"crop{x:.0f}" for x in PLACES}
    assert sum(r["top"] for r in points.values()) == 5  # each crop is named once
    marks = [part for part in walk(chart) if part.get("href")]
    assert marks
    assert {t["field"] for t in marks[0]["tooltip"]} >= {"n", "seeds", "value", "crop", "method"}


@pytest.mark.parametrize("dark", [False, True])
def test_names_beside_points_have_the_colour_of_text(dark: bool) -> None:
    """The palette's own colours have 3:1, enough for points and too little for words."""
    chart = dress(scatter(content("measured"), str), dark).to_dict()
    (names,) = [
        p for p in walk(chart) if isinstance(p.get("mark"), dict) and p["mark"]["type"] == "text"
    ]
    assert "color" not in names["encoding"]
    assert chart["config"]["text"]["color"] == INK["dark" if dark else "light"][0]


def test_a_curve_is_drawn_where_it_bends_and_points_are() -> None:
    chart = scatter(content("measured"), str).to_dict()
    lines = rows(chart, "line")
    assert {r["method"] for r in lines} == {"byol"}
    assert (min(r["x"] for r in lines), max(r["x"] for r in lines)) == (20.0, 70.0)
    for line in lines[:: len(lines) // 7]:
        assert line["y"] == pytest.approx(60 - 0.01 * (line["x"] - 45) ** 2)
    fields = {"method", "source", "x", "y"}
    (top,) = (r for r in rows(chart, *fields) if set(r) == fields)
    assert (top["x"], top["y"]) == (pytest.approx(45), pytest.approx(60))


def test_measured_and_reported_are_layers_with_an_axis_each() -> None:
    chart = scatter(content("measured", "reported"), str).to_dict()
    assert chart["resolve"]["scale"]["y"] == "independent"
    assert {r["source"] for r in rows(chart, "top")} == {"measured", "reported"}
    given = [part["axis"] for part in walk(chart) if isinstance(part.get("axis"), dict)]
    axes = {axis["orient"] for axis in given if "orient" in axis}
    assert axes == {"left", "right"}
    assert all(r["link"] is None for r in rows(chart, "top") if r["source"] == "reported")
    picks = [p for p in chart["params"] if p.get("bind") == "legend"]
    assert [p["select"]["fields"] for p in picks] == [["method"], ["source"]]


def test_the_table_and_the_words_are_of_the_same_content() -> None:
    shown = content("measured", "reported")
    heads, lines = list_points("objectness", shown)
    assert len(lines) == 15
    assert dict(zip(heads, lines[0], strict=True))["value"] == 53.75
    assert dict(zip(heads, lines[0], strict=True))["seeds"] == "0 1 4"
    said = describe_figure("objectness", shown)
    assert "byol: ρ" in said
    assert "best at 45 ± 0 %" in said
    assert objectness.draw(shown) is not None
    assert write_csv(("a", "b"), [("=1+1", None)]) == "a,b\n'=1+1,\n"


def test_shares_add_up_and_keep_their_order() -> None:
    crops = [
        {"label": "poor", "poor": 0.5, "coarse": 0.3, "precise": 0.2, "objectness": 0.2},
        {"label": "gt", "poor": 0.0, "coarse": 0.1, "precise": 0.9, "objectness": 0.9},
    ]
    shown = {"title": "scenes train", "rows": crops}
    chart = shares(shown).to_dict()
    (data,) = chart["datasets"].values()
    assert [r["crop"] for r in data[::3]] == ["poor", "gt"]
    assert sum(r["share"] for r in data[:3]) == pytest.approx(100)
    assert "from 20.0 % (poor) to 90.0 % (gt)" in describe_figure("shares", shown)
    assert list_points("shares", shown)[1][1] == ("gt", 0.0, 10.0, 90.0, 90.0)


def test_a_cell_of_the_heat_map_says_n_seeds_and_interval_and_leads_to_its_result() -> None:
    chart = heat_map(matrix(), "gain", lambda e: f"?key={e.method}", "light").to_dict()
    cells = {(r["method"], r["crop"]): r for r in rows(chart, "link")}
    assert len(cells) == 4
    gt = cells["byol", "gt"]
    half = stats.t.ppf(0.975, 1) * stats.sem([53.0, 56.0])
    assert gt["mean"] == f"54.5 ± {half:.1f}"
    assert (gt["n"], gt["seeds"], gt["text"], gt["link"]) == (2, "0-1", "+3.5", "?key=byol")
    assert (gt["shade"], cells["byol", "image"]["shade"]) == (1.0, 0.0)
    assert "beside image: not distinguishable" in gt["about"]
    assert cells["orl", "grid"]["gain"] == "-1.0"
    assert cells["orl", "grid"]["shade"] == pytest.approx(-1.0 / 3.5)
    marks = [part for part in walk(chart) if part.get("href")]
    assert len(marks) == 3  # the cell and both kinds of numbers


@pytest.mark.parametrize(
    ("zoom", "written", "step"),
    [("small", "", 22), ("medium", "text", 54), ("large", "full", 104)],
)
def test_the_cells_of_a_heat_map_grow_and_say_more(zoom: Zoom, written: str, step: int) -> None:
    shown = matrix()
    chart = heat_map(shown, "score", lambda e: "", "light", zoom).to_dict()
    texts = {p["text"]["field"] for p in walk(chart) if isinstance(p.get("text"), dict)}
    assert texts == ({written} if written else set())
    assert chart["width"] == {"step": step}
    gt = next(r for r in rows(chart, "full") if (r["method"], r["crop"]) == ("byol", "gt"))
    half = stats.t.ppf(0.975, 1) * stats.sem([53.0, 56.0])
    assert gt["full"].startswith(f"54.5 ± {half:.1f}")
    assert gt["full"].endswith("(2)")


def test_the_legend_of_a_heat_map_picks_methods() -> None:
    shown = matrix()
    chart = heat_map(shown, "gain", lambda e: "", "dark").to_dict()
    (pick,) = chart["params"]
    assert (pick["bind"], pick["select"]["fields"]) == ("legend", ["method"])
    legends = [p["legend"] for p in walk(chart) if isinstance(p.get("legend"), dict)]
    assert [legend["values"] for legend in legends] == [list(shown.methods)]
    dimmed = [p["opacity"] for p in walk(chart) if isinstance(p.get("opacity"), dict)]
    assert len(dimmed) == 3  # the cells and both kinds of numbers
    assert all(part["condition"][0]["param"] == pick["name"] for part in dimmed)
