"""Methods x crops of a task as a chart to touch: an Altair object, a pure function of the same
matrix as the table and the picture for papers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import altair as alt
import pandas as pd

from bench.results.html.matrix import Shade, list_cells
from bench.results.views.crop_matrix import CropMatrix
from bench.results.views.entries import Entry
from dashboard.charts import PAPER, mix

HEAT = {"up": "#0072B2", "down": "#D55E00"}
STRONGEST = 0.45  # of a colour over the page, so that numbers on it have 4.5:1
AXIS: dict[str, Any] = {"labelLimit": 160, "labelOverlap": False, "ticks": False}
DIM = 0.12  # opacity of the methods that a legend has not picked
ENTRY = 120  # pixels of an entry of the legend


@dataclass(frozen=True)
class Size:
    """How large a cell is, in pixels, and what is written in it."""

    width: int
    height: int
    text: str  # a column of `list_cells`, "" for colours alone


Zoom = Literal["small", "medium", "large"]
SIZES: dict[Zoom, Size] = {
    "small": Size(22, 16, ""),
    "medium": Size(54, 24, "text"),
    "large": Size(104, 34, "full"),
}


def heat_map(
    matrix: CropMatrix,
    shade: Shade,
    link: Callable[[Entry], str],
    theme: str,
    zoom: Zoom = "medium",
) -> alt.LayerChart | alt.FacetChart:
    """The chart. `link`: the address of a result; `theme`: "light" or "dark". A click on a method
    in the legend picks its row (with Shift several)."""
    size = SIZES[zoom]
    pick = alt.selection_point(fields=["method"], bind="legend")
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
        opacity=alt.when(pick).then(alt.value(1)).otherwise(alt.value(DIM)),
    )
    cells = base.mark_rect(cursor="pointer").encode(
        color=alt.Color("shade:Q", scale=scale_colours(shade, theme), legend=None),
        stroke=list_methods(matrix, size, theme),
    )
    numbers = [
        base.transform_filter("datum.bold" if bold else "!datum.bold")
        .mark_text(
            color=PAPER[theme][1],
            fontSize=12,
            fontWeight="bold" if bold else "normal",
            cursor="pointer",
        )
        .encode(text=f"{size.text}:N")
        for bold in (False, True)
        if size.text
    ]
    chart = alt.layer(cells.add_params(pick), *numbers)
    return chart.properties(width=alt.Step(size.width), height=alt.Step(size.height))


def list_methods(matrix: CropMatrix, size: Size, theme: str) -> alt.Stroke:
    """The legend that picks methods. All cells have an edge of the page's colour: a colour of a
    method would be one more beside those of the numbers."""
    legend = alt.Legend(
        title="Pick methods",
        columns=max(1, size.width * len(matrix.crops) // ENTRY),
        symbolType="square",
        symbolSize=90,
        symbolFillColor=PAPER[theme][1],
        symbolStrokeColor=PAPER[theme][1],
        labelLimit=ENTRY - 24,
        values=list(matrix.methods),
    )
    scale = alt.Scale(domain=list(matrix.methods), range=[PAPER[theme][0]])
    return alt.Stroke("method:N", scale=scale, legend=legend)


def scale_colours(shade: Shade, theme: str) -> alt.Scale:
    """From the page's colour to the strongest of each heat."""
    page = PAPER[theme][0]
    up, down = (mix(HEAT[kind], page, STRONGEST) for kind in ("up", "down"))
    if shade == "gain":
        return alt.Scale(domain=[-1, 0, 1], range=[down, page, up], interpolate="rgb")
    return alt.Scale(domain=[0, 1], range=[page, up], interpolate="rgb")
