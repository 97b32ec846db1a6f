"""Methods x crops of a task as a chart to touch: an Altair object, a pure function of the same
matrix as the table and the picture for papers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import altair as alt
import pandas as pd

from bench.results.html.matrix import Shade, list_cells
from bench.results.views.crop_matrix import CropMatrix
from bench.results.views.entries import Entry
from dashboard.charts import PAPER, mix

HEAT = {"up": "#0072B2", "down": "#D55E00"}
STRONGEST = 0.45  # of a colour over the page, so that numbers on it have 4.5:1
CELL = (54, 24)  # pixels
AXIS: dict[str, Any] = {"labelLimit": 160, "labelOverlap": False, "ticks": False}


def heat_map(
    matrix: CropMatrix, shade: Shade, link: Callable[[Entry], str], theme: str
) -> alt.LayerChart | alt.FacetChart:
    """The chart. `link`: the address of a result; `theme`: "light" or "dark"."""
    base = alt.Chart(pd.DataFrame(list_cells(matrix, shade, link))).encode(
        x=alt.X(
            "crop:N",
            sort=list(matrix.crops),
            title=None,
            axis=alt.Axis(
                orient="top", labelAngle=-40, labelLimit=120, labelOverlap=False, ticks=False
            ),
        ),
        y=alt.Y(
            "method:N",
            sort=list(matrix.methods),
            title=None,
            axis=alt.Axis(**AXIS),
        ),
        href="link:N",
        tooltip=[
            *("method:N", "crop:N", "settings:N"),
            alt.Tooltip("mean:N", title=f"{matrix.column.headline}, %"),
            alt.Tooltip("n:Q"),
            alt.Tooltip("seeds:N"),
            alt.Tooltip("gain:N", title="above image"),
            alt.Tooltip("about:N", title="in words"),
        ],
    )
    cells = base.mark_rect(stroke=PAPER[theme][0], cursor="pointer").encode(
        color=alt.Color("shade:Q", scale=scale_colours(shade, theme), legend=None)
    )
    numbers = [
        base.transform_filter("datum.bold" if bold else "!datum.bold")
        .mark_text(
            color=PAPER[theme][1],
            fontSize=12,
            fontWeight="bold" if bold else "normal",
            cursor="pointer",
        )
        .encode(text="text:N")
        for bold in (False, True)
    ]
    chart = alt.layer(cells, *numbers)
    return chart.properties(width=alt.Step(CELL[0]), height=alt.Step(CELL[1]))


def scale_colours(shade: Shade, theme: str) -> alt.Scale:
    """From the page's colour to the strongest of each heat."""
    page = PAPER[theme][0]
    up, down = (mix(HEAT[kind], page, STRONGEST) for kind in ("up", "down"))
    if shade == "gain":
        return alt.Scale(domain=[-1, 0, 1], range=[down, page, up], interpolate="rgb")
    return alt.Scale(domain=[0, 1], range=[page, up], interpolate="rgb")
