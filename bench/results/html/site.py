"""Boards and plots as one page that needs no server, no network and nothing beside it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from bench.results.html.answer import NOTE, answer, effects_table
from bench.results.html.board import SIGNS, board_table
from bench.results.html.matrix import explain_matrix, matrix_table
from bench.results.html.pieces import note, read_style, section, show_small_print, table, title
from bench.results.views.board import Board
from bench.results.views.board_text import describe_marks, describe_ranking
from bench.results.views.crop_effects import list_crop_effects
from bench.results.views.crop_matrix import list_matrix_columns, make_crop_matrix

GENERATOR = "bench leaderboard --html"  # by which the page is known as one of ours
LEGEND = (
    "Numbers are percent. {marks} † is a dead network, whose numbers mean nothing. Bars go from "
    "the lowest to the highest value of the column. Point at a number, or touch it, to read its "
    "seeds and what its mark says."
)


@dataclass(frozen=True)
class Plot:
    """A drawing as SVG, what it shows in words, and its points as a table."""

    title: str
    svg: bytes
    alt: str
    heads: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Section:
    """A board with its plots: one scale and one content of a pretraining set."""

    title: str
    board: Board
    plots: Sequence[Plot] = ()


def write_site(sections: Sequence[Section], plots: Sequence[Plot], version: str) -> str:
    """The page. `plots` belong to no board. The same results are the same page, byte by byte."""
    script = Path(__file__).with_name("site.js").read_text(encoding="utf-8")
    style = Path(__file__).with_name("site.css").read_text(encoding="utf-8") + read_style()
    links = "".join(
        f'<a href="#board{at}">{escape(one.title)}</a>' for at, one in enumerate(sections)
    )
    body = title("Leaderboard", "Which crop, for which task, how sure are we?")
    body += f'<nav class="b-soft" aria-label="boards">{links}</nav>' if len(sections) > 1 else ""
    body += "".join(_show_section(at, one) for at, one in enumerate(sections))
    body += section("What papers report") if plots else ""
    body += "".join(map(_show_plot, plots))
    body += show_small_print(f"Written by {GENERATOR}, bench {version}.")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="generator" content="{GENERATOR}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_allow(script)}">\n'
        f"<title>bench leaderboard</title>\n<style>\n{style}</style>\n</head>\n"
        f'<body>\n<main>\n{body}\n</main>\n<output id="hint" aria-live="polite"></output>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _allow(script: str) -> str:
    """A policy under which a browser runs this one script and fetches nothing."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'"
    )


def _show_section(at: int, one: Section) -> str:
    board = one.board
    parts = [f'<h2 class="b-board" id="board{at}">{escape(one.title)}</h2>']
    if not board.rows:
        return parts[0] + note("No row matches what was asked for.")
    effects = list_crop_effects(board)
    if line := answer(board, effects):
        parts.append(f'<p class="b-answer">{escape(line)}</p>')
    parts += [
        show_small_print(describe_ranking(board)),
        f'<div class="b-bar"><label class="b-soft">Find rows<br><input type="search" '
        f'data-for="table{at}" placeholder="method, crop, setting"></label>'
        f'<output class="b-soft" data-for="table{at}"></output></div>',
        board_table(board, board.rows).replace("<div ", f'<div id="table{at}" ', 1),
        show_small_print(LEGEND.format(marks=describe_marks(board, {"best": "bold", **SIGNS}))),
    ]
    if effects:
        parts += [section("Which crop?"), effects_table(board, effects), show_small_print(NOTE)]
    parts += [_show_matrices(board), *map(_show_plot, one.plots)]
    return "".join(parts)


def _show_matrices(board: Board) -> str:
    """Methods x crops of every task; that of the first is open."""
    parts: list[str] = []
    for column in list_matrix_columns(board):
        matrix = make_crop_matrix(board, column)
        if matrix is not None:
            name = escape(f"{column.title} {column.headline}")
            state = "" if parts else " open"
            parts.append(
                f"<details{state}><summary>{name}</summary>{matrix_table(matrix)}"
                f"<details><summary>points above the crop image</summary>"
                f"{matrix_table(matrix, 'gain')}</details></details>"
            )
    if not parts:
        return ""
    notes = (show_small_print(explain_matrix("score")), show_small_print(explain_matrix("gain")))
    return "".join((section("Methods × crops"), *parts, *notes))


def _show_plot(plot: Plot) -> str:
    data = base64.b64encode(plot.svg).decode()
    return (
        f"{section(plot.title)}<figure>"
        f'<img alt="{escape(plot.alt)}" src="data:image/svg+xml;base64,{data}">'
        f"</figure><details><summary>as a table</summary>{table(plot.heads, plot.rows)}</details>"
    )
