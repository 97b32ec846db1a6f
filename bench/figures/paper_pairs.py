"""A paper's numbers against those measured here as a picture, for the dashboard's downloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.figures import _look
from bench.results.papers.pairs import Pair

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(pairs: Sequence[Pair], title: str) -> Figure:
    """A point for each number, with the 95 % t-interval over seeds where there are two or more; a
    colour and a marker for each column of the table."""
    import matplotlib

    columns = list(dict.fromkeys(pair["column"] for pair in pairs))
    with matplotlib.rc_context(_look.STYLE):
        figure = _look.new_figure(4.4, 3.4)
        axes = figure.subplots()
        for at, column in enumerate(columns):
            mine = [pair for pair in pairs if pair["column"] == column]
            axes.errorbar(
                [pair["reported"] for pair in mine],
                [pair["measured"] for pair in mine],
                yerr=[pair["ci95"] or 0.0 for pair in mine],
                fmt=_look.MARKERS[at % len(_look.MARKERS)],
                color=_look.PALETTE[at % len(_look.PALETTE)],
                markersize=4.5,
                elinewidth=0.8,
                capsize=1.5,
                label=column,
            )
        axes.set(xlabel="reported, %", ylabel="measured, %", title=title)
        axes.margins(0.08)
        figure.legend(loc="outside lower center", ncols=min(4, len(columns)), frameon=False)
    return figure
