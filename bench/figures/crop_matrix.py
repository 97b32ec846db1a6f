"""Methods x crops of a task as a picture, for the dashboard's downloads."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from bench.figures import _look
from bench.results.html.matrix import Shade, explain_matrix, shade_cell
from bench.results.views.crop_matrix import CropMatrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"up": _look.PALETTE[0], "down": _look.PALETTE[1]}
STRONGEST = 0.75  # of a colour over white: black text has 6:1 on it
CELL = (0.62, 0.24)  # inches


def draw(matrix: CropMatrix, shade: Shade) -> Figure:
    """The table of the dashboard: the same numbers, colours and bold ones, and below it what they
    mean."""
    import matplotlib

    wide, high = len(matrix.crops), len(matrix.methods)
    with matplotlib.rc_context(_look.STYLE):
        below = textwrap.fill(explain_matrix(shade), max(46, 16 * wide))
        lines = below.count("\n") + 1
        height = 1.2 + CELL[1] * high + 0.13 * lines
        figure = _look.new_figure(1.5 + CELL[0] * wide, height)
        axes = figure.subplots()
        axes.set(xlim=(0, wide), ylim=(high, 0))
        for y, method in enumerate(matrix.methods):
            for x, crop in enumerate(matrix.crops):
                _draw_cell(axes, matrix, shade, (method, crop), (x, y))
        axes.set_xticks([x + 0.5 for x in range(wide)], matrix.crops, rotation=40, ha="left")
        axes.xaxis.tick_top()
        axes.set_yticks([y + 0.5 for y in range(high)], matrix.methods)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        column = matrix.column
        axes.set_title(f"{column.title} · {column.headline}", loc="left", pad=10)
        figure.supxlabel(below, fontsize=_look.SMALL, x=0.02, ha="left")
    return figure


def _draw_cell(
    axes: Any, matrix: CropMatrix, shade: Shade, key: tuple[str, str], at: tuple[int, int]
) -> None:
    from matplotlib.patches import Rectangle

    cell = matrix.cells.get(key)
    if cell is None:
        return
    text, kinds, share = shade_cell(matrix, shade, cell, key[1])
    colour = next((COLOURS[kind] for kind in COLOURS if kind in kinds), "white")
    axes.add_patch(
        Rectangle(
            at, 1, 1, facecolor=colour, alpha=STRONGEST * share, edgecolor="white", linewidth=0.6
        )
    )
    axes.text(
        at[0] + 0.5,
        at[1] + 0.5,
        text,
        ha="center",
        va="center_baseline",
        fontsize=_look.SMALL,
        fontweight="bold" if "best" in kinds else "normal",
    )
