"""Mean objectness of each crop against a task's metric: is there a sweet spot?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.errors import BadInput
from bench.figures import _look
from bench.figures._content import Content
from bench.figures._statistics import fit_parabola, measured_ranges, sweet_spot
from bench.results.views.ranking import correlate_ranks, format_correlation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from sqlalchemy import Connection

    from bench.results.views.objectness import Point

SOURCE = "paper 000, Fig. 5"
OPTIONS = ("task", "metric", "source", "size", "objects", "method", "crop", "scale", "data")
FIRST = "bench run --crop '*' ... and bench crops stats, on the same data"
SIZES = {"steps": "gradient steps", "time": "time of pretraining", "none": ""}
AREA = 26.0  # points^2 of a marker without a size; with sizes, of the smallest and largest:
AREAS = 10.0, 80.0
X = "mean objectness of the crops, %"


def collect(
    connection: Connection,
    home: Path,
    task: str = "",
    metric: str = "",
    source: str = "both",
    size: str = "steps",
    objects: str = "boxes",
    method: str = "*",
    crop: str = "*",
    scale: str = "",
    data: str = "",
) -> Content:
    """What was measured and what papers report, as far as it is asked for; BadInput where that is
    nothing."""
    measured = []
    if source != "reported":
        measured += _measured(connection, home, (task, metric), (scale, data), (size, objects))
    if source != "measured":
        measured += _reported(task, metric, strict=source == "reported")
    wanted = [(m, [p.strip() for p in m.split(",")]) for m in (method, crop)]
    lines = []
    for title, y, points in measured:
        mine = [
            p
            for p in points
            if any(fnmatch(p.method.lower(), m.lower()) for m in wanted[0][1])
            and any(fnmatch(p.crop.lower(), c.lower()) for c in wanted[1][1])
        ]
        if mine:
            lines.append(series(title, y, mine))
    if not lines:
        raise BadInput(f"no result of a crop whose objectness was measured; run first: {FIRST}")
    return {"series": lines, "size": SIZES[size]}


Found = list[tuple[str, str, "Sequence[Point]"]]


def _measured(
    connection: Connection,
    home: Path,
    what: tuple[str, str],
    where: tuple[str, str],
    how: tuple[str, str],
) -> Found:
    from bench.results.views.objectness import list_metrics, list_topics, read_points, read_topic

    given = (*where, what[0])
    fitting = [
        t
        for t in list_topics(connection)
        if all(g in ("", v) for g, v in zip(given, t[:3], strict=True))
    ]
    for topic in fitting:
        rows = read_topic(connection, topic)
        known = list_metrics(rows)
        metric = what[1] or (known[0] if known else "")
        if what[0] and what[1] and metric not in known:
            raise BadInput(f"{topic.task} has no metric {metric!r}; it has {', '.join(known)}")
        points = read_points(connection, home, rows, metric, how[1], how[0])
        if points:
            title = f"measured: {topic.scale}, pretrained on {topic.data}"
            return [(title, f"{metric} of {topic.task}, %", points)]
    return []


def _reported(task: str, metric: str, strict: bool) -> Found:
    """The paper's own points: in the column asked for, else, unless `strict`, in its first one."""
    from bench.results.papers.reported import load_values
    from bench.results.views.objectness import reported_points

    name, column, points = reported_points(load_values(), task, metric)
    if not points and not strict:
        name, column, points = reported_points(load_values())
    return [("reported: paper 000, Table 2", f"{column} of {name}, %", points)] if points else []


def series(title: str, y: str, points: Sequence[Point]) -> Content:
    """The points of one plot by method, each method with its rank correlation, and its parabola
    where that bends for sure."""
    groups = []
    for method in dict.fromkeys(p.method for p in points):
        mine = [p for p in points if p.method == method]
        xs, ys = [p.x for p in mine], [p.y for p in mine]
        curve = fit_parabola(xs, ys)
        groups.append(
            {
                "method": method,
                "points": [dict(vars(p)) for p in mine],
                "correlation": correlate_ranks(xs, ys),
                "n": len(mine),
                "bend": None if curve is None else [curve.a, curve.a_half],
                "curve": list(curve.coefficients) if curve and curve.bends else None,
                "peak": sweet_spot(curve, xs) if curve else None,
                "peak_half": curve.turn_half if curve else None,
            }
        )
    return {"title": title, "x": X, "y": y, "groups": groups}


def list_curves(one: Mapping[str, Any]) -> dict[str, list[list[tuple[float, float]]]]:
    """By method of a series, the lines of its parabola, each as points: drawn where points were
    measured alone, and only if it bends for sure."""
    curves = {}
    for group in one["groups"]:
        if group["curve"]:
            xs = [p["x"] for p in group["points"]]
            lines = [np.linspace(low, high, 100) for low, high in measured_ranges(xs)]
            heights = [np.polyval(group["curve"], line) for line in lines]
            curves[group["method"]] = [
                list(zip(line.tolist(), height.tolist(), strict=True))
                for line, height in zip(lines, heights, strict=True)
            ]
    return curves


def describe(content: Content) -> str:
    """The plots in words."""
    parts = []
    for one in content["series"]:
        groups = "; ".join(_legend(g).replace("\n", ", ") for g in one["groups"])
        parts.append(f"{one['y']} over the {one['x']} ({one['title']}). {groups}.")
    return "Scatter plot: " + " ".join(parts)


HEADS = (
    *("source", "method", "crop", "objectness", "objectness ci95", "metric", "value"),
    *("ci95", "results", "seeds", "size"),
)


def list_rows(content: Content) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """A row for each point."""
    rows: list[tuple[object, ...]] = [
        (
            one["title"],
            p["method"],
            p["label"],
            p["x"],
            p["x_ci"],
            one["y"],
            p["y"],
            p["y_ci"],
            p["n"],
            " ".join(map(str, p["seeds"])),
            p["size"],
        )
        for one in content["series"]
        for group in one["groups"]
        for p in group["points"]
    ]
    return HEADS, rows


def draw(content: Content) -> Figure:
    """A plot for each source, side by side."""
    import matplotlib

    with matplotlib.rc_context(_look.STYLE):
        figure = _look.new_figure(3.6 * len(content["series"]) + 0.1, 3.9)
        plots = figure.subplots(1, len(content["series"]), squeeze=False)[0]
        for axes, one in zip(plots, content["series"], strict=True):
            _plot(axes, one, content["size"])
        for axes, one in zip(plots, content["series"], strict=True):
            labels = {
                (p["label"], round(p["x"], 6)): p["x"] for g in one["groups"] for p in g["points"]
            }
            _look.write_names_above(axes, list(labels.values()), [text for text, _ in labels])
    return figure


def _plot(axes: Axes, one: Content, size: str) -> None:
    every = [p for g in one["groups"] for p in g["points"]]
    sizes = [p["size"] for p in every if p["size"] is not None]
    curves = list_curves(one)
    for at, group in enumerate(one["groups"]):
        colour, marker = (
            _look.PALETTE[at % len(_look.PALETTE)],
            _look.MARKERS[at % len(_look.MARKERS)],
        )
        points = group["points"]
        xs, ys = [p["x"] for p in points], [p["y"] for p in points]
        bars = [[p[name] or 0.0 for p in points] for name in ("x_ci", "y_ci")]
        axes.errorbar(
            xs,
            ys,
            bars[1],
            bars[0],
            fmt="none",
            ecolor=colour,
            elinewidth=0.8,
            alpha=0.6,
            capsize=1.5,
        )
        areas = [_area(p["size"], sizes) for p in points]
        axes.scatter(
            xs,
            ys,
            areas,
            color=colour,
            marker=marker,
            edgecolors="white",
            linewidths=0.5,
            zorder=3,
        )
        axes.plot([], [], marker, color=colour, markersize=4.5, label=_legend(group))
        _curve(axes, group, curves.get(group["method"], []), colour)
    for value in sorted({min(sizes), max(sizes)}) if sizes and size else []:
        axes.scatter([], [], _area(value, sizes), color="#999999", label=_cost(value, size))
    axes.set(xlabel=f"{one['x']}\n({one['title']})", ylabel=one["y"])
    axes.margins(0.1, 0.12)
    axes.legend(
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.45, -0.29),
        handletextpad=0.4,
        borderaxespad=0,
    )


def _curve(
    axes: Axes, group: dict[str, Any], lines: Sequence[Sequence[tuple[float, float]]], colour: str
) -> None:
    """The parabola where points were measured; where it is highest."""
    for line in lines:
        axes.plot(
            [x for x, _ in line],
            [y for _, y in line],
            color=colour,
            linewidth=1.0,
            linestyle=(0, (5, 2)),
            zorder=1,
        )
    if group["peak"] is not None:
        top = float(np.polyval(group["curve"], group["peak"]))
        axes.plot(
            group["peak"],
            top,
            marker="|",
            color=colour,
            markersize=11,
            markeredgewidth=1.4,
            zorder=2,
        )


def _legend(group: dict[str, Any]) -> str:
    """The method, its rank correlation, and what its curve says, a line each."""
    if group["correlation"] is None:
        return f"{group['method']} (n = {group['n']})"
    text = f"{group['method']}: ρ {format_correlation(group['correlation'])}"
    if group["bend"] is None:
        return text
    bend, half = (1000 * v for v in group["bend"])
    text += f"\nquadratic term {bend:+.1f} ± {half:.1f} per 1000"
    if group["peak"] is not None:
        return f"{text}, best at {group['peak']:.0f} ± {group['peak_half']:.0f} %"
    return text + (", its top is in a gap" if group["curve"] else ", so no curve")


def _area(value: float | None, sizes: Sequence[float]) -> float:
    """Of a marker: in proportion to the cost, from `AREAS[0]` on."""
    if value is None or not sizes or max(sizes) <= 0:
        return AREA
    return AREAS[0] + (AREAS[1] - AREAS[0]) * value / max(sizes)


def _cost(value: float, size: str) -> str:
    if size == SIZES["steps"]:
        return f"{value:,.0f} {size}"
    return f"{value / 3600:.1f} h" if value >= 3600 else f"{value / 60:.1f} min"
