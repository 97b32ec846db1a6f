"""The leaderboard's methods x crops of one task: a chart to touch, the same as a table, files."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from html import unescape
from typing import TYPE_CHECKING, Any, cast

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from bench.figures.recorded import draw_matrix
from bench.results.html.matrix import (
    Shade,
    describe_matrix,
    explain_matrix,
    list_cells,
    matrix_table,
)
from bench.results.views.board import Board
from bench.results.views.crop_effects import BASE
from bench.results.views.crop_matrix import (
    CropMatrix,
    list_matrix_columns,
    make_crop_matrix,
    write_matrix_csv,
)
from bench.results.views.entries import Entry
from dashboard.address import Address
from dashboard.charts import dress, is_dark
from dashboard.look import section, show_small_print
from dashboard.pictures import digest_of, offer_drawing
from dashboard.table import link_result
from dashboard.widgets import lazy_expander

if TYPE_CHECKING:
    from dashboard.matrix_figure import Zoom

PAUSE = 0.5  # seconds in which the browser draws the rest before Altair is imported
SHADES = {"score": "the score", "gain": f"points above {BASE}"}
ZOOMS: dict[Zoom, str] = {
    "small": "small, colours alone",
    "medium": "medium, with numbers",
    "large": "large, with intervals and n",
}
HOW = (
    "Point at a cell to read it; click it to open its result; click a method in the legend to "
    "pick it (with Shift several)."
)


def show_matrix(board: Board, address: Address) -> Callable[[], None]:
    """Methods x crops of one task; nothing where no task has several of them. Returns what draws
    the chart at its place, for the end of the page: the rest is in the browser before the chart's
    library is imported."""
    columns = {c.title: c for c in list_matrix_columns(board)}
    if not columns:
        return draw_nothing
    st.html(section("Methods × crops"))
    first, second, third, _ = st.columns([2, 2, 2, 2], vertical_alignment="bottom")
    at = address.one("Task of the matrix", "heat", list(columns), next(iter(columns)), where=first)
    shade: Shade = (
        "gain"
        if address.one(
            "Show",
            "shade",
            list(SHADES),
            "score",
            where=second,
            format_func=SHADES.__getitem__,
        )
        == "gain"
        else "score"
    )
    zoom = choose_zoom(address, third)
    matrix = make_crop_matrix(board, columns[at])
    if matrix is None:
        return draw_nothing
    place = st.container(key="b-heat")  # scrolls sideways where the page is narrow: see style.css
    st.html(show_small_print(f"{explain_matrix(shade)} {HOW}"))
    table = lazy_expander("The matrix as a table", key="b-matrix-table")
    if table.open:
        table.html(matrix_table(matrix, shade, link_result))
    offer_drawing(
        f"matrix {shade} {digest_of(write_matrix_csv(matrix))}",
        f"crops-{columns[at].task}-{shade}",
        partial(draw_matrix, matrix, shade),
        partial(write_matrix_csv, matrix),
    )
    return partial(draw_chart, matrix, shade, zoom, place)


def choose_zoom(address: Address, where: DeltaGenerator) -> Zoom:
    """How large the cells are."""
    asked = address.one(
        "Cells",
        "zoom",
        list(ZOOMS),
        "medium",
        where=where,
        format_func=lambda zoom: ZOOMS[cast("Zoom", zoom)],
    )
    return cast("Zoom", asked)


def draw_nothing() -> None:
    """Where there is no chart."""


def draw_chart(matrix: CropMatrix, shade: Shade, zoom: Zoom, place: DeltaGenerator) -> None:
    if "altair" not in sys.modules:
        time.sleep(PAUSE)
    place.vega_lite_chart(write_chart(matrix, shade, is_dark(), zoom), width="content")


def write_chart(
    matrix: CropMatrix, shade: Shade, dark: bool, zoom: Zoom = "medium"
) -> dict[str, Any]:
    """The chart as Vega-Lite reads it."""
    rows = json.dumps(list_cells(matrix, shade, link_cell))
    theme = "dark" if dark else "light"
    key = digest_of(f"{matrix.column} {shade} {theme} {zoom} {rows}")
    return _write_spec(key, matrix, shade, theme, zoom)


def write_first_charts(board: Board) -> None:
    """Write what a first visit shows, in both themes, before somebody asks for it."""
    for column in list_matrix_columns(board)[:1]:
        matrix = make_crop_matrix(board, column)
        if matrix is None:
            continue
        for dark in (False, True):
            write_chart(matrix, "score", dark)


@st.cache_resource(max_entries=24, show_spinner=False)
def _write_spec(
    key: str, _matrix: CropMatrix, _shade: Shade, _theme: str, _zoom: Zoom
) -> dict[str, Any]:
    """The chart as Vega-Lite reads it, written once for all sessions."""
    from dashboard.matrix_figure import heat_map  # imports Altair and pandas

    chart = dress(heat_map(_matrix, _shade, link_cell, _theme, _zoom), _theme == "dark")
    spec: dict[str, Any] = chart.properties(description=describe_matrix(_matrix, _shade)).to_dict()
    # as a part of the chart: Streamlit sends data of the whole one by PyArrow, whose import takes
    # as long as the rest of the page
    (values,) = spec.pop("datasets").values()
    del spec["data"]
    return {**spec, "layer": [{"data": {"values": values}, "layer": spec["layer"]}]}


def link_cell(entry: Entry) -> str:
    """The address of a result, as a chart takes it."""
    return unescape(link_result(entry))
