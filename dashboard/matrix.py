"""The leaderboard's methods x crops of one task: a chart to touch, the same as a table, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from html import unescape
from typing import Any

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

SHADES = {"score": "the score", "gain": f"points above {BASE}"}
HOW = "Point at a cell to read it; click it to open its result."


def show_matrix(board: Board, address: Address) -> Callable[[], None]:
    """Methods x crops of one task; nothing where no task has several of them. Returns what draws
    the chart at its place, for the end of the page: the rest is in the browser before the chart's
    library is imported."""
    columns = {c.title: c for c in list_matrix_columns(board)}
    if not columns:
        return draw_nothing
    st.html(section("Methods × crops"))
    first, second, _ = st.columns([2, 2, 4], vertical_alignment="bottom")
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
    return partial(draw_chart, matrix, shade, place)


def draw_nothing() -> None:
    """Where there is no chart."""


def draw_chart(matrix: CropMatrix, shade: Shade, place: DeltaGenerator) -> None:
    rows = json.dumps(list_cells(matrix, shade, link_cell))
    theme = "dark" if is_dark() else "light"
    spec = _write_spec(digest_of(f"{matrix.column} {shade} {theme} {rows}"), matrix, shade, theme)
    place.vega_lite_chart(spec, width="content")


@st.cache_resource(max_entries=24, show_spinner=False)
def _write_spec(key: str, _matrix: CropMatrix, _shade: Shade, _theme: str) -> dict[str, Any]:
    """The chart as Vega-Lite reads it, written once for all sessions."""
    from dashboard.matrix_figure import heat_map  # imports Altair and pandas

    chart = dress(heat_map(_matrix, _shade, link_cell, _theme), _theme == "dark")
    spec: dict[str, Any] = chart.properties(description=describe_matrix(_matrix, _shade)).to_dict()
    return spec


def link_cell(entry: Entry) -> str:
    """The address of a result, as a chart takes it."""
    return unescape(link_result(entry))
