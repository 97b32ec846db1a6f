"""Charts, as Altair objects: pure functions of plain rows. Colours follow `look.PALETTE`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd

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


def differences(rows: Sequence[Mapping[str, object]]) -> alt.LayerChart | alt.FacetChart:
    """Paired differences with their intervals: rows of {task, row, mean, low, high}."""
    frame = pd.DataFrame(list(rows))
    height = alt.Step(18)
    base = alt.Chart(frame).encode(
        y=alt.Y("task:N", title=None, sort=_names(rows, "task")),
        yOffset=alt.YOffset("row:N", sort=_names(rows, "row")),
        color=alt.Color(
            "row:N",
            title=None,
            sort=_names(rows, "row"),
            scale=alt.Scale(range=list(PALETTE)),
            legend=alt.Legend(orient="top"),
        ),
        tooltip=[
            "task:N",
            "row:N",
            *(alt.Tooltip(f"{n}:Q", format="+.2f") for n in ("mean", "low", "high")),
        ],
    )
    zero = (
        alt.Chart(pd.DataFrame({"zero": [0]}))
        .mark_rule(strokeDash=[4, 3], color="#888888")
        .encode(x="zero:Q")
    )
    whiskers = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title="difference, points"), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x="mean:Q", shape=alt.Shape("row:N", title=None)
    )
    return alt.layer(zero, whiskers, points).properties(height=height)


def _names(rows: Sequence[Mapping[str, object]], field: str) -> list[str]:
    """The names of a field, in the order of the rows, which is that of the table."""
    return list(dict.fromkeys(str(row[field]) for row in rows))


def describe_differences(rows: Sequence[Mapping[str, object]]) -> str:
    """The chart of `differences` in words."""
    parts = [
        f"{r['task']}, {r['row']}: {r['mean']:+.1f} ({r['low']:+.1f} to {r['high']:+.1f})"
        for r in rows
    ]
    return f"Differences from the first row with their intervals. {'; '.join(parts)}."


def _safe(field: str) -> str:
    """A field name in Vega's shorthand, where some characters mean something."""
    return "".join("\\" + c if c in ".[]:\\'\"" else c for c in field)
