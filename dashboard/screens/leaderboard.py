"""Which crop, for which task, how sure are we?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from bench.results.html.answer import NOTE, Effects, answer, effects_table
from bench.results.html.board import SIGNS, board_table, list_reasons
from bench.results.views.board import Board, Choice, Row, Table
from bench.results.views.board_text import FORMATS, describe_marks, describe_ranking, export_board
from dashboard.address import Address
from dashboard.live import show_running
from dashboard.look import href, note, section, show_small_print, title
from dashboard.matrix import show_matrix
from dashboard.source import Source
from dashboard.table import link_board
from dashboard.widgets import download, expander, select_several

TITLE, ORDER = "Leaderboard", 0
PAGE_ROWS = 50
SCALES = ("tiny", "small", "paper")  # papers report what compares with the last
CODE = {"": "any code", "current": "code as installed", "changed": "code changed since"}
NAMES = {"csv": "CSV", "json": "JSON", "md": "Markdown", "tex": "LaTeX"}


def page(source: Source) -> None:
    """Filters, the table, downloads."""
    st.html(title("Leaderboard", "Which crop, for which task, how sure are we?"))
    address = Address("leaderboard")
    with st.container(key="b-filters"):  # beside each other on a phone too: see style.css
        first = st.columns([1, 1, 2, 2, 2], vertical_alignment="bottom")
    scale, data = choose_board(source, address, first)
    # on a phone all filters are shown while this one is open: see style.css
    with st.container(key="b-more"), expander("Filters and options", expanded=False):
        second = st.columns(4, vertical_alignment="bottom")
        reported = address.switch(
            "Show numbers that papers report", "reported", scale == SCALES[-1]
        )
        table = choose_content(source, address, scale, data, second[0], reported)
        choice = choose_rows(table, address, first, second)
    where = {"scale": scale, "data": data, "content": address.now.get("content", [""])[0]}
    board, effects = source.board(table, (*where.values(), str(reported)), choice)
    shown = board.rows
    pages = max(1, -(-len(shown) // PAGE_ROWS))
    with st.container(key="b-pager"):
        line, pager = st.columns([5, 1], vertical_alignment="bottom")
    at = address.count("Page", "part", 1, pages, where=pager) if pages > 1 else 1
    part = shown[(at - 1) * PAGE_ROWS : at * PAGE_ROWS]
    line.html(show_small_print(f"{scale}, {data}: {count_text(board, part, at)}"))
    show_running(source)
    if shown:
        st.html(show_small_print(describe_ranking(board)))
        if said := answer(board, effects):
            st.html(f'<p class="b-answer">{escape(said)}</p>')
        choices = {k: v for k, v in address.now.items() if k not in ("part", "rank")}
        links = link_board(where, choices)
        st.html(board_table(board, part, links))
        if reasons := list_reasons(board, part, links):
            st.html(reasons)
        legend(board)
        show_crop_effects(board, effects)
        draw_chart = show_matrix(board, address)
        compare(part, where)
        downloads(board)
        address.write()
        draw_chart()
    else:
        st.html(note("No row matches these filters. Remove one of them."))
        address.write()


def choose_board(
    source: Source, address: Address, columns: Sequence[DeltaGenerator]
) -> tuple[str, str]:
    """The scale and the pretraining set: results of others are never shown beside them."""
    boards = source.boards()
    scales = list(dict.fromkeys(b.scale for b in boards))
    scale = address.one("Scale", "scale", scales, scales[0], where=columns[0])
    sets = [b.data for b in boards if b.scale == scale]
    return scale, address.one("Pretrained on", "data", sets, sets[0], where=columns[1])


def choose_content(
    source: Source,
    address: Address,
    scale: str,
    data: str,
    where: DeltaGenerator,
    reported: bool = False,
) -> Table:
    """The table of the set's content that was asked for; a set with other images is another
    set."""
    table = source.table(scale, data, "", reported)
    if len(table.contents) < 2:
        return table
    short = {key[:12]: key for key in table.contents}
    chosen = address.one(
        "Content of the set",
        "content",
        list(short),
        next(iter(short)),
        where=where,
        format_func=lambda key: f"{table.names.get(short[key], '')} {key}".strip(),
        help="Different images were used under the name of this pretraining set; a digest tells "
        "them apart.",
    )
    return source.table(scale, data, short[chosen], reported)


def choose_rows(
    table: Table,
    address: Address,
    first: Sequence[DeltaGenerator],
    second: Sequence[DeltaGenerator],
) -> Choice:
    """The other filters."""
    measured = [r for r in table.rows if r.source != "reported"]
    tasks = list(dict.fromkeys(c.task for c in table.columns))
    chosen = address.several("Tasks", "task", tasks, where=first[2])
    methods = address.several(
        "Methods", "method", sorted({r.method for r in measured}), where=first[3]
    )
    crops = address.several("Crops", "crop", sorted({r.crop for r in measured}), where=first[4])
    engines = sorted({c.engine for c in table.columns if c.engine})
    engine = (
        address.several("Detection library", "engine", engines, where=second[0])
        if len(engines) > 1
        else ()
    )
    ranked = ["", *(c.title for c in table.columns if not chosen or c.task in chosen)]
    rank = address.one(
        "Rank by",
        "rank",
        ranked,
        "",
        where=second[1],
        format_func=lambda t: t or "mean rank",
    )
    most = max((e.n for r in measured for e in r.entries.values()), default=1)
    seeds = address.count(
        "At least this many seeds", "seeds", 1, max(1, most), where=second[2], disabled=most < 2
    )
    code = address.one(
        "Code", "code", list(CODE), "", where=second[3], format_func=CODE.__getitem__
    )
    engines_asked = (*engine, "") if engine else ()
    return Choice(engines_asked, methods, crops, chosen, seeds, code, rank)


def count_text(board: Board, part: Sequence[Row], at: int) -> str:
    """`24 of 335 rows`, and which of them are on this page."""
    rows = sum(r.source != "reported" for r in board.rows)
    first = (at - 1) * PAGE_ROWS + 1
    text = f"{rows} of {board.total} rows"
    return (
        text
        if len(part) == len(board.rows)
        else f"{text}; {first} to {first + len(part) - 1} on this page"
    )


def show_crop_effects(board: Board, effects: Effects) -> None:
    """Each crop against whole images, over methods, for every task."""
    if effects:
        st.html(section("Which crop?"))
        st.html(effects_table(board, effects))
        st.html(show_small_print(NOTE))


def legend(board: Board) -> None:
    marks = describe_marks(board, {"best": "bold", **SIGNS})
    st.html(
        show_small_print(
            f"Numbers are percent. {marks} † is a dead network, whose numbers mean "
            "nothing. Bars go from the lowest to the highest value of the "
            "column. Click a cell to open it; point at an empty one to see why it is empty and "
            "which command fills it, or open the list below the table."
        )
    )


def compare(part: Sequence[Row], where: dict[str, str]) -> None:
    """Pick rows of this page, then follow the link."""
    titles = {row.key: row.title for row in part if row.source != "reported"}
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    picked = select_several(
        "Compare rows",
        list(titles),
        left,
        format_func=lambda k: titles.get(k, k),
        max_selections=4,
        key="picked",
        placeholder="Pick two to four rows of this page",
    )
    if len(picked) > 1:
        to = href("compare", row=picked, **where)
        right.html(
            f'<div class="b-go"><a href="{to}" target="_self">Compare {len(picked)} rows →</a>'
            "</div>"
        )


def downloads(board: Board) -> None:
    """What is shown, all pages of it, as a file."""
    with st.container(horizontal=True, vertical_alignment="center"):
        count = len(board.rows)
        what = "this row" if count == 1 else f"these {count} rows"
        st.html(show_small_print(f"Download {what}:"))
        for form, mime in FORMATS.items():
            download(
                NAMES[form],
                partial(export_board, board, form),
                f"leaderboard.{form}",
                mime,
                key=f"download.{form}",
            )
