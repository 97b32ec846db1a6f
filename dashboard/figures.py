"""Charts, as Altair objects: pure functions of plain rows. Colours follow `look.PALETTE`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import altair as alt
import pandas as pd

from bench.results.views.differences import DrawnDifference
from dashboard.look import PALETTE


def curves(rows: Sequence[Mapping[str, float]], figure: str) -> alt.Chart:
    """One figure of a training over its steps."""
    frame = pd.DataFrame([{"step": r["step"], figure: r[figure]} for r in rows if figure in r])
    spread = frame[figure].max() - frame[figure].min() if len(frame) else 0
    return (
        alt.Chart(frame)
        .mark_line(color=PALETTE[0], strokeWidth=1.8)
        .encode(
            x=alt.X("step:Q", title="step"),
            y=alt.Y(f"{_safe(figure)}:Q", title=figure, scale=alt.Scale(zero=not spread)),
            tooltip=[
                alt.Tooltip("step:Q"),
                alt.Tooltip(f"{_safe(figure)}:Q", format=".4g", title=figure),
            ],
        )
        .add_params(alt.selection_interval(bind="scales"))
        .properties(height=200)
    )


def class_bars(scores: Mapping[str, Mapping[str, float]], score: str) -> alt.Chart:
    """A score of every class, best first."""
    frame = pd.DataFrame(
        [{"class": name, "value": s[score]} for name, s in scores.items() if score in s]
    )
    return (
        alt.Chart(frame)
        .mark_bar(color=PALETTE[0])
        .encode(
            x=alt.X(
                "value:Q",
                title=f"{score}, percent",
                scale=alt.Scale(domain=[0, 100]),
                axis=alt.Axis(tickCount=5),
            ),
            y=alt.Y(
                "class:N", sort="-x", title=None, axis=alt.Axis(labelLimit=180, labelOverlap=False)
            ),
            tooltip=["class:N", alt.Tooltip("value:Q", format=".1f", title=score)],
        )
        .properties(height=alt.Step(20))
    )


def differences(
    rows: Sequence[DrawnDifference], link: Callable[[str], str]
) -> alt.LayerChart | alt.FacetChart:
    """Paired differences with their intervals. `link`: the address of the result of a cell."""
    frame = pd.DataFrame([{**row, "link": link(row["cell"])} for row in rows])
    height = alt.Step(18)
    pick = alt.selection_point(fields=["row"], bind="legend")
    zoom = alt.selection_interval(bind="scales", encodings=["x"])
    base = alt.Chart(frame).encode(
        y=alt.Y("task:N", title=None, sort=_names(rows, "task")),
        yOffset=alt.YOffset("row:N", sort=_names(rows, "row")),
        color=alt.Color(
            "row:N",
            title=None,
            scale=alt.Scale(domain=_names(rows, "row"), range=list(PALETTE)),
            legend=alt.Legend(orient="top"),
        ),
        tooltip=[
            "task:N",
            "row:N",
            *(alt.Tooltip(f"{n}:Q", format="+.2f") for n in ("mean", "low", "high")),
            alt.Tooltip("n:Q"),
            alt.Tooltip("seeds:N"),
        ],
        opacity=alt.when(pick).then(alt.value(1)).otherwise(alt.value(0.1)),
        href="link:N",
    )
    zero = (
        alt.Chart(pd.DataFrame({"zero": [0]}))
        .mark_rule(strokeDash=[4, 3], color="#888888")
        .encode(x="zero:Q")
    )
    whiskers = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title="difference, points"), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=70).encode(
        x="mean:Q",
        shape=alt.Shape("row:N", title=None, scale=alt.Scale(domain=_names(rows, "row"))),
    )
    layers = alt.layer(zero, whiskers, points.add_params(zoom))
    return layers.add_params(pick).properties(height=height)


def _names(rows: Sequence[DrawnDifference], field: Literal["task", "row"]) -> list[str]:
    """The names of a field, in the order of the rows, which is that of the table."""
    return list(dict.fromkeys(row[field] for row in rows))


def describe_differences(rows: Sequence[DrawnDifference]) -> str:
    """The chart of `differences` in words."""
    parts = [
        f"{r['task']}, {r['row']}: {r['mean']:+.1f} ({r['low']:+.1f} to {r['high']:+.1f})"
        for r in rows
    ]
    return f"Differences from the first row with their intervals. {'; '.join(parts)}."


def _safe(field: str) -> str:
    """A field name in Vega's shorthand, where some characters mean something."""
    return "".join("\\" + c if c in ".[]:\\'\"" else c for c in field)
