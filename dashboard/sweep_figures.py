"""Charts of a sweep, as Altair objects: pure functions of the rows of
`bench.results.views.trials`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from bench.results.views.trials import SettingPoint, average_points, choose_spread
from dashboard.look import PALETTE

TICKS = 10  # different values up to which each has its own tick
GREY = "#7A7A7A"  # readable on white and on black
LOW_HIGH = ("#B8A05A", "#0072B2")  # of values: both ends readable on both
Rows = Sequence[Mapping[str, Any]]
Layers = alt.LayerChart | alt.FacetChart  # as Altair types what `layer` returns


def plot_against(
    rows: Sequence[SettingPoint],
    setting: str,
    metric: str,
    spacing: str,
    link: Callable[[str], str],
) -> Layers:
    """The points of a setting against the metric, with intervals; values that were listed are
    joined by a line through their means. `link`: the address of a cell."""
    links = [link(row["cell"]) if row["cell"] else None for row in rows]
    frame = pd.DataFrame(list(rows)).assign(link=links)
    values = [r["x"] for r in rows]
    kind = choose_spread(values, spacing)
    if kind == "names":
        frame["x"] = frame["text"]
        x = alt.X(
            "x:N",
            title=setting,
            sort=list(dict.fromkeys(frame["text"])),
            axis=alt.Axis(labelAngle=0),
        )
    else:
        ticks = sorted(set(values)) if len(set(values)) <= TICKS else None
        axis = (
            alt.Axis(values=ticks, format="~r", labelOverlap=True)
            if ticks
            else alt.Axis(format="~r")
        )
        x = alt.X(
            "x:Q",
            title=setting,
            axis=axis,
            scale=alt.Scale(
                type="log" if kind == "log" else "linear", zero=False, nice=False, padding=16
            ),
        )
    y = alt.Y("value:Q", title=f"{metric}, validation", scale=alt.Scale(zero=False))
    hints = [alt.Tooltip("trial:O"), alt.Tooltip("text:N", title="setting")]
    hints.append(alt.Tooltip("seeds:Q"))
    hints += [alt.Tooltip(f"{n}:Q", format=".2f") for n in ("value", "low", "high")]
    base = alt.Chart(frame).encode(x=x, tooltip=hints, href="link:N")
    layers: list[alt.Chart] = []
    if spacing == "values" and kind != "names":
        line = pd.DataFrame(average_points(rows))
        layers.append(alt.Chart(line).mark_line(color=PALETTE[5], strokeWidth=2).encode(x=x, y=y))
    whiskers = base.transform_filter("datum.low != null").mark_rule(
        color=PALETTE[0], strokeWidth=2
    )
    layers.append(whiskers.encode(y=alt.Y("low:Q", title=f"{metric}, validation"), y2="high:Q"))
    others = base.transform_filter("!datum.winner").mark_point(
        color=PALETTE[0], filled=True, size=55, opacity=1
    )
    winner = base.transform_filter("datum.winner").mark_point(
        color=PALETTE[1], filled=True, size=190, opacity=1, shape="diamond"
    )
    return alt.layer(*layers, others.encode(y=y), winner.encode(y=y)).properties(height=260)


def shares(importances: Mapping[str, float]) -> alt.Chart:
    """Importances, the largest first."""
    frame = pd.DataFrame(
        [{"setting": name, "share": share} for name, share in importances.items()]
    )
    return (
        alt.Chart(frame)
        .mark_bar(color=PALETTE[0])
        .encode(
            x=alt.X(
                "share:Q",
                title="importance",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", tickCount=5),
            ),
            y=alt.Y("setting:N", sort=None, title=None, axis=alt.Axis(labelLimit=220)),
            tooltip=["setting:N", alt.Tooltip("share:Q", format=".0%")],
        )
        .properties(height=alt.Step(26))
    )


def parallels(rows: Rows, metric: str) -> Layers:
    """A line per trial over axes, each of which goes from its lowest to its highest value."""
    frame = pd.DataFrame(list(rows))
    names = list(dict.fromkeys(frame["axis"]))
    axis = alt.Axis(
        orient="top", labelAngle=0, title=None, domain=False, ticks=False, labelLimit=160
    )
    x = alt.X("axis:N", sort=names, axis=axis, scale=alt.Scale(type="point", padding=0.35))
    scale = alt.Scale(domain=[-0.1, 1.1], nice=False)
    y = alt.Y("at:Q", axis=None, scale=scale)
    base = alt.Chart(frame).encode(x=x)
    ends = pd.DataFrame([{"axis": name, "low": 0, "high": 1} for name in names])
    rules = alt.Chart(ends).mark_rule(color=GREY, opacity=0.6)
    rules = rules.encode(x=x, y=alt.Y("low:Q", axis=None, scale=scale), y2="high:Q")
    lines = base.encode(
        y=y,
        detail="trial:N",
        order="place:Q",
        tooltip=["trial:O", alt.Tooltip("value:Q", format=".2f", title=metric)],
    )
    colour = alt.Color(
        "value:Q",
        title=metric,
        scale=alt.Scale(range=list(LOW_HIGH)),
        legend=alt.Legend(gradientLength=160),
    )
    others = (
        lines.transform_filter("!datum.winner")
        .mark_line(strokeWidth=1.6, opacity=0.85)
        .encode(color=colour)
    )
    winner = lines.transform_filter("datum.winner").mark_line(
        strokeWidth=3.5, color=PALETTE[1], point={"color": PALETTE[1], "filled": True, "size": 60}
    )
    return alt.layer(rules, others, winner, *_labels(rows, x, y)).properties(height=320)


def _labels(rows: Rows, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """The texts of `ticks`, of which those at the ends of an axis are outside it."""
    base = alt.Chart(pd.DataFrame(ticks(rows))).encode(x=x, y=y, text="text:N")
    top = base.transform_filter("datum.at == 1")
    bottom = base.transform_filter("datum.at == 0")
    between = base.transform_filter("datum.at > 0 && datum.at < 1")
    return [
        top.mark_text(baseline="bottom", dy=-7, color=GREY, fontSize=12),
        bottom.mark_text(baseline="top", dy=7, color=GREY, fontSize=12),
        between.mark_text(align="left", dx=7, color=GREY, fontSize=12),
    ]


def ticks(rows: Rows) -> list[dict[str, Any]]:
    """{axis, at, text}: every value of an axis with few of them, else the lowest and the
    highest."""
    by: dict[str, dict[float, str]] = {}
    for row in rows:
        by.setdefault(row["axis"], {})[row["at"]] = row["text"]
    texts = []
    for axis, places in by.items():
        ends = (min(places), max(places))
        few = list(places) if len(places) <= 6 and axis != rows[-1]["axis"] else ends
        texts += [{"axis": axis, "at": at, "text": places[at]} for at in few]
    return texts
