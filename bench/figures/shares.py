"""Shares of poor, coarse and precise crops of every strategy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.core.errors import BadInput
from bench.figures import _look
from bench.figures._content import Content

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from sqlalchemy import Connection

SOURCE = "paper 000, Fig. 3"
OPTIONS = ("data", "crop", "objects")
FIRST = "bench crops stats"
KINDS = (
    ("poor", "#E69F00", "poor: < 20 % object"),
    ("coarse", "#56B4E9", "coarse"),
    ("precise", "#0072B2", "precise: > 80 %"),
)


def collect(
    connection: Connection, home: Path, data: str = "", crop: str = "*", objects: str = "boxes"
) -> Content:
    """The shares of the crops that were measured; BadInput where none was."""
    from bench.results.views.objectness import read_shares

    name, rows = read_shares(connection, data, crop, objects)
    if not rows:
        where = f" --data {data}" if data else ""
        raise BadInput(f"no such crop's objectness was measured yet; run first: {FIRST}{where}")
    return {"title": f"{name}, objects by {objects}", "rows": rows}


def describe(content: Content) -> str:
    """The plot in words."""
    rows = content["rows"]
    low, high = rows[0], rows[-1]
    return (
        f"Bars of the shares of poor, coarse and precise crops of {len(rows)} crop strategies on "
        f"{content['title']}. The mean objectness goes from {100 * low['objectness']:.1f} % "
        f"({low['label']}) to {100 * high['objectness']:.1f} % ({high['label']})."
    )


def list_rows(content: Content) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """A row for each crop, in percent."""
    names = ("poor", "coarse", "precise", "objectness")
    rows: list[tuple[object, ...]] = [
        (row["label"], *(100 * row[name] for name in names)) for row in content["rows"]
    ]
    return ("crop", *(f"{name}, %" for name in names)), rows


def draw(content: Content) -> Figure:
    """A bar of 100 % for each crop, the emptiest crops on top; beside it the mean objectness."""
    import matplotlib

    rows = content["rows"]
    with matplotlib.rc_context(_look.STYLE):
        figure = _look.new_figure(4.4, 0.85 + 0.24 * len(rows))
        axes = figure.subplots()
        start = [0.0] * len(rows)
        for name, colour, label in KINDS:
            widths = [100 * r[name] for r in rows]
            axes.barh(
                range(len(rows)),
                widths,
                0.72,
                start,
                color=colour,
                edgecolor="white",
                label=label,
                linewidth=0.5,
            )
            for at, (left, width) in enumerate(zip(start, widths, strict=True)):
                if width >= 7:
                    dark = name == "precise"
                    axes.text(
                        left + width / 2,
                        at,
                        f"{width:.0f}",
                        ha="center",
                        va="center_baseline",
                        fontsize=6.5,
                        color="white" if dark else "black",
                    )
            start = [s + w for s, w in zip(start, widths, strict=True)]
        for at, row in enumerate(rows):
            axes.text(102, at, f"{100 * row['objectness']:.1f}", va="center", fontsize=_look.SMALL)
        axes.text(102, -0.9, "mean", fontsize=_look.SMALL, va="center")
        axes.set(
            xlim=(0, 100), ylim=(len(rows) - 0.5, -0.5), xlabel=f"crops, %  ({content['title']})"
        )
        axes.set_yticks(range(len(rows)), [r["label"] for r in rows])
        axes.tick_params(axis="y", length=0)
        figure.legend(
            loc="outside upper center", ncols=3, frameon=False, handlelength=1.0, columnspacing=1.2
        )
    return figure
