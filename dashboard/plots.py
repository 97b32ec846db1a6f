"""Charts to touch of what `bench figure` draws for papers: Altair objects, pure functions of the
same content. Point at a mark to read it, click it to open its result, click a legend's entry to
pick it (with Shift several), drag and scroll to zoom, double-click to go back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from bench.figures.objectness import list_curves
from bench.results.papers.compared import ComparedTable
from bench.results.papers.pairs import list_pairs
from dashboard.look import PALETTE

HOW = (
    "Point at a mark to read it; click it to open its result; click an entry of a legend to pick "
    "it (with Shift several); drag or scroll to zoom, and double-click to go back."
)
SHARES = (("poor", "#B97F00"), ("coarse", "#3B93C9"), ("precise", "#0072B2"))
SHAPES = alt.Scale(domain=["measured", "reported"], range=["circle", "diamond"])
Layers = alt.LayerChart | alt.FacetChart  # as Altair types what `layer` returns
Link = Callable[[str], str]  # the address of the result of a cell, by its label


def scatter(content: Mapping[str, Any], link: Link) -> Layers:
    """Objectness against a metric: what was measured (filled) and what papers report (hollow) as
    layers, the first with its axis on the left, the second on the right."""
    methods = list(dict.fromkeys(g["method"] for one in content["series"] for g in one["groups"]))
    colour = alt.Color("method:N", scale=_colours(methods))
    picks = [alt.selection_point(fields=[name], bind="legend") for name in ("method", "source")]
    both = len(content["series"]) > 1
    zoom = alt.selection_interval(bind="scales", encodings=["x"] if both else ["x", "y"])
    shown = alt.when(picks[0], picks[1])
    layers = [
        _draw_series(one, content["size"], link, colour, shown, right=at > 0)
        for at, one in enumerate(content["series"])
    ]
    layers[0] = layers[0].add_params(zoom)
    chart = alt.layer(*layers).add_params(*picks).properties(height=420)
    return chart.resolve_scale(y="independent") if both else chart


def _draw_series(
    one: Mapping[str, Any],
    size: str,
    link: Link,
    colour: alt.Color,
    shown: Any,
    right: bool,
) -> Any:
    source = one["title"].partition(":")[0]
    frame = pd.DataFrame(_list_points(one, source, link))
    x = alt.X("x:Q", title=one["x"], scale=alt.Scale(zero=False, padding=24))
    axis = alt.Axis(orient="right" if right else "left", grid=not right)
    y = alt.Y("y:Q", title=one["y"], scale=alt.Scale(zero=False, padding=24), axis=axis)
    opacity = shown.then(alt.value(1)).otherwise(alt.value(0.08))
    base = alt.Chart(frame).encode(x=x, color=colour, opacity=opacity)
    bars = [
        base.transform_filter("datum.y_low != null")
        .mark_rule(strokeWidth=1.5)
        .encode(y=alt.Y("y_low:Q", title=one["y"], axis=axis), y2="y_high:Q"),
        base.transform_filter("datum.x_low != null")
        .mark_rule(strokeWidth=1.5)
        .encode(x=alt.X("x_low:Q", title=one["x"]), x2="x_high:Q", y=y),
    ]
    curve = pd.DataFrame(
        [
            {"method": method, "source": source, "line": f"{method} {at}", "x": px, "y": py}
            for method, lines in list_curves(one).items()
            for at, line in enumerate(lines)
            for px, py in line
        ],
        columns=["method", "source", "line", "x", "y"],
    )
    curves = (
        alt.Chart(curve)
        .mark_line(strokeDash=[5, 4], strokeWidth=1.5)
        .encode(x=x, y=y, color=colour, detail="line:N", opacity=opacity)
    )
    # in the page's own colour of text, which all of the palette's have less contrast than
    names = alt.Chart(frame).transform_filter("datum.top").mark_text(dy=-13, fontSize=11)
    names = names.encode(x=x, opacity=opacity)
    marks = base.mark_point(filled=not right, strokeWidth=2)
    tops = pd.DataFrame(_list_tops(one, source), columns=["method", "source", "x", "y"])
    ticks = (
        alt.Chart(tops)
        .mark_tick(orient="vertical", thickness=2, size=16)
        .encode(x=x, y=y, color=colour, opacity=opacity)
    )
    points = marks.encode(y=y, **_point_channels(frame, size))
    return alt.layer(*bars, curves, ticks, points, names.encode(y=y, text="crop:N"))


def _colours(names: Sequence[str]) -> alt.Scale:
    """A colour for each name, in their order."""
    return alt.Scale(
        domain=list(names), range=[PALETTE[at % len(PALETTE)] for at in range(len(names))]
    )


def _list_tops(one: Mapping[str, Any], source: str) -> list[tuple[str, str, float, float]]:
    """The top of each parabola that has one where points were measured."""
    tops = []
    for group in one["groups"]:
        if group["curve"] and group["peak"] is not None:
            a, b, c = group["curve"]
            x = group["peak"]
            tops.append((group["method"], source, x, a * x * x + b * x + c))
    return tops


def _point_channels(frame: pd.DataFrame, size: str) -> dict[str, Any]:
    hints = [
        alt.Tooltip("source:N"),
        alt.Tooltip("method:N"),
        alt.Tooltip("crop:N"),
        alt.Tooltip("objectness:N", title="objectness, %"),
        alt.Tooltip("value:N", title="metric, %"),
        alt.Tooltip("n:Q", title="n"),
        alt.Tooltip("seeds:N"),
    ]
    sized = size and frame["size"].notna().any()
    if sized:
        hints.append(alt.Tooltip("size:Q", title=size, format=",.0f"))
    area = alt.Size("size:Q", title=size, scale=alt.Scale(range=[40, 320], zero=True))
    return {
        "tooltip": hints,
        "href": "link:N",
        "shape": alt.Shape("source:N", scale=SHAPES),
        "size": area if sized else alt.value(90),
    }


def _list_points(one: Mapping[str, Any], source: str, link: Link) -> list[dict[str, Any]]:
    """A row for each point; the highest of a crop bears its name."""
    points = [p for group in one["groups"] for p in group["points"]]
    highest: dict[str, float] = {}
    for p in points:
        highest[p["label"]] = max(p["y"], highest.get(p["label"], p["y"]))
    rows = []
    for p in points:
        ends = {
            f"{axis}_{side}": None if p[f"{axis}_ci"] is None else p[axis] + sign * p[f"{axis}_ci"]
            for axis in "xy"
            for side, sign in (("low", -1), ("high", 1))
        }
        rows.append(
            {
                "source": source,
                "method": p["method"],
                "crop": p["label"],
                "x": p["x"],
                "y": p["y"],
                **ends,
                "objectness": format_interval(p["x"], p["x_ci"]),
                "value": format_interval(p["y"], p["y_ci"]),
                "n": p["n"],
                "seeds": ", ".join(map(str, p["seeds"])) or "-",
                "size": p["size"],
                "link": link(p["cell"]) if p["cell"] else None,
                "top": p["y"] == highest[p["label"]],
            }
        )
    return rows


def format_interval(mean: float, ci95: float | None) -> str:
    """`38.1 ± 0.5`."""
    return f"{mean:.1f}" if ci95 is None else f"{mean:.1f} ± {ci95:.1f}"


def shares(content: Mapping[str, Any]) -> alt.Chart:
    """Shares of poor, coarse and precise crops, the emptiest strategy first."""
    rows = [
        {
            "crop": row["label"],
            "kind": kind,
            "order": at,
            "share": 100 * row[kind],
            "objectness": 100 * row["objectness"],
        }
        for row in content["rows"]
        for at, (kind, _) in enumerate(SHARES)
        if row[kind] is not None
    ]
    pick = alt.selection_point(fields=["kind"], bind="legend")
    names, colours = zip(*SHARES, strict=True)
    title = f"crops, % ({content['title']})"
    return (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title=title, scale=alt.Scale(domain=[0, 100])),
            y=alt.Y("crop:N", sort=None, title=None, axis=alt.Axis(labelLimit=220)),
            color=alt.Color("kind:N", title=None, scale=alt.Scale(domain=names, range=colours)),
            order="order:Q",
            opacity=alt.when(pick).then(alt.value(1)).otherwise(alt.value(0.15)),
            tooltip=[
                "crop:N",
                "kind:N",
                alt.Tooltip("share:Q", format=".1f", title="share, %"),
                alt.Tooltip("objectness:Q", format=".1f", title="mean objectness, %"),
            ],
        )
        .add_params(pick)
        .properties(height=alt.Step(26))
    )


def compare_reported(frame: ComparedTable, link: Link) -> Layers | None:
    """Every number of a paper's table against what was measured; None where nothing was."""
    rows = list_marks(frame, link)
    if not rows:
        return None
    columns = list(dict.fromkeys(row["column"] for row in rows))
    pick = alt.selection_point(fields=["column"], bind="legend")
    zoom = alt.selection_interval(bind="scales")
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("reported:Q", title="reported, %", scale=alt.Scale(zero=False, padding=20)),
        color=alt.Color(
            "column:N",
            title=None,
            scale=_colours(columns),
        ),
        opacity=alt.when(pick).then(alt.value(1)).otherwise(alt.value(0.08)),
    )
    title = "measured, %"
    whiskers = base.transform_filter("datum.low != null").mark_rule(strokeWidth=1.5)
    points = base.mark_point(filled=True, size=90).encode(
        y=alt.Y("measured:Q", title=title, scale=alt.Scale(zero=False, padding=20)),
        shape=alt.Shape("column:N", title=None, scale=alt.Scale(domain=columns)),
        href="link:N",
        tooltip=[
            "row:N",
            "column:N",
            alt.Tooltip("reported:Q", format=".1f"),
            alt.Tooltip("value:N", title="measured"),
            alt.Tooltip("n:Q"),
            "seeds:N",
        ],
    )
    bars = whiskers.encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    layers = alt.layer(bars, points.add_params(zoom))
    return layers.add_params(pick).properties(height=360)


def list_marks(frame: ComparedTable, link: Link) -> list[dict[str, Any]]:
    """A row for each number that was measured, as the chart takes it."""
    rows = []
    for pair in list_pairs(frame):
        mean, half = pair["measured"], pair["ci95"]
        rows.append(
            {
                **pair,
                "low": None if half is None else mean - half,
                "high": None if half is None else mean + half,
                "value": format_interval(mean, half),
                "seeds": ", ".join(map(str, pair["seeds"])),
                "link": link(pair["cell"]),
            }
        )
    return rows


def describe_pairs(rows: Sequence[Mapping[str, Any]]) -> str:
    """The chart of `compare_reported` in words."""
    return (
        f"Scatter plot of {len(rows)} numbers: reported in the paper on the horizontal axis, "
        "measured here on the vertical one. The table above has all of them."
    )
