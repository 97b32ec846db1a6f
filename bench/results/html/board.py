"""A board as an HTML table: a row per pretraining, a column per evaluation. The page that shows it
says where its parts lead (`Links`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from bench.results.html.pieces import SYMBOLS, frame_table, hint_attributes, tag
from bench.results.views.board import Board, Column, Row
from bench.results.views.board_text import format_count, format_number, standing_of, state_of
from bench.results.views.commands import complete_command
from bench.results.views.entries import DEAD_TEXT, Entry
from bench.results.views.marks import MEANINGS, Mark

LINES = {
    "incomplete": "not ranked: a result is missing, or of a dead network, in a column that counts",
    "reported": "reported in papers; no row of this method and crop is shown",
}
SIGNS: dict[Mark, str] = {"tied": "≈", "unknown": "?"}  # of marks; the best is bold


@dataclass(frozen=True)
class Links:
    """The escaped addresses behind the parts of a board; "" is plain text."""

    sort: Callable[[str], str] = lambda rank: ""  # by the title of a column, "" the mean rank
    result: Callable[[Entry], str] = lambda entry: ""
    # of a row and column without a result
    empty: Callable[[Row, Column], str] = lambda row, column: ""


NO_LINKS = Links()


def board_table(board: Board, rows: list[Row], links: Links = NO_LINKS) -> str:
    """`rows` of the board as a table."""
    heads = [
        f'<th scope="col" class="num"{_sort_mark(not board.rank, "ascending")}>'
        f"{_link('#', 'sort by mean rank', links.sort(''))}</th>",
        '<th scope="col">method × crop</th>',
    ]
    heads += [_head(column, board, links) for column in board.columns]
    body, section = [], "ranked"
    for row in rows:
        if row.section != section and row.section in LINES:
            text = escape(LINES[row.section])
            body.append(f'<tr class="line"><td colspan="{len(heads)}">{text}</td></tr>')
        section = row.section
        cells = "".join(_cell(board, column, row, links) for column in board.columns)
        body.append(f'<tr class="{escape(row.source)}">{_name(row)}{cells}</tr>')
    head = f"<thead><tr>{''.join(heads)}</tr></thead>"
    uneven = any(format_count(board, e) for row in rows for e in row.entries.values())
    kind = "b board counts" if uneven else "b board"
    return frame_table(
        f'<table class="{kind}">{head}<tbody>{"".join(body)}</tbody></table>', full=True
    )


def _sort_mark(sorted_by: bool, order: str) -> str:
    return f' aria-sort="{order}"' if sorted_by else ""


def _link(inner: str, hint: str, to: str) -> str:
    """The inner HTML as a link that says on hover what it is, or as plain text that does."""
    if to:
        return f'<a href="{to}" target="_self"{hint_attributes(hint)}>{inner}</a>'
    return inner


def _head(column: Column, board: Board, links: Links) -> str:
    engine = f", {column.engine}" if column.engine else ""
    headline = column.headline or "no result"
    below = f"<small>{escape(headline)} · {escape(column.task_data + engine)}</small>"
    note = f"<small>{escape(column.note)}</small>" if column.note else ""
    counts = board.rank or column in board.over
    out = "" if counts else "<small>not in the rank</small>"
    mark = _sort_mark(bool(board.rank) and board.over == [column], "descending")
    name = _link(escape(column.task), f"sort by {column.title}", links.sort(column.title))
    return f'<th scope="col" class="num"{mark}>{name}{below}{note}{out}</th>'


def _name(row: Row) -> str:
    rank = "" if row.rank is None else str(row.rank)
    hint = "" if row.mean_rank is None else f"mean rank {row.mean_rank:.2f}"
    badge = "" if row.source == "measured" else tag(row.source)
    note = f"<small{hint_attributes(row.note)}>{escape(row.note)}</small>" if row.note else ""
    return (
        f'<td class="num"{hint_attributes(hint)}>{rank}</td>'
        f'<th scope="row" class="name">{escape(row.method)} × {escape(row.crop)}{badge}{note}</th>'
    )


def _cell(board: Board, column: Column, row: Row, links: Links) -> str:
    entry = row.entries.get(column.key)
    if entry is None or entry.mean is None:
        return _empty(column, row, entry, links)
    standing = standing_of(board, column, row)
    hint = hint_of(entry, standing)
    low, high = board.spans.get(column.key, (entry.mean, entry.mean))
    share = 100.0 if high == low else 4 + 96 * (entry.mean - low) / (high - low)
    interval = "" if entry.ci95 is None else f"±{entry.ci95:.1f} "
    sign = SYMBOLS["dead"] if entry.dead else SIGNS.get(standing, "") if standing else ""
    # few elements, since the browser's share of the first paint grows with them
    inner = (
        f'<span class="v">{entry.mean:.1f}</span>'
        f'<span class="ci">{interval}{format_count(board, entry)}</span>'
        f'<span class="t">{sign}</span>'
    )
    to = "" if row.source == "reported" else links.result(entry)
    kinds = f"cell bar {standing or ''}".strip()
    style = f"--share:{min(100.0, max(0.0, share)):.0f}"
    return f'<td class="{kinds}" style="{style}">{_open(inner, hint, to)}</td>'


def _open(inner: str, hint: str, to: str) -> str:
    """A cell's inside, which fills it."""
    return _link(inner, hint, to) if to else f"<span{hint_attributes(hint)}>{inner}</span>"


def hint_of(entry: Entry, standing: Mark | None = None) -> str:
    """The text that is shown where the pointer is over a result."""
    seeds = f"{entry.n} seed{'s' if entry.n > 1 else ''}"
    parts = [f"{entry.headline} {format_number(entry)}", seeds if entry.values else entry.reason]
    if entry.ci95 is not None:
        parts.append("± is the 95 % t-interval")
    parts += [f"{count} {state}" for state, count in entry.states.items() if state != "done"]
    parts += [MEANINGS[standing]] if standing else []
    parts += [f"dead: {DEAD_TEXT}"] if entry.dead else []
    return "; ".join(p for p in parts if p)


def _empty(column: Column, row: Row, entry: Entry | None, links: Links) -> str:
    state = state_of(row, column)
    if state == "not reported":
        return '<td class="cell"></td>'
    command = complete_command(row, column)
    reason = entry.reason if entry else ""
    hint = "; ".join(p for p in (state, reason, f"run: {command}" if command else "") if p)
    inner = f'<span class="s">{SYMBOLS[state]} {escape(state)}</span>'
    there = entry if entry and entry.labels else None
    to = links.result(there) if there else links.empty(row, column)
    return f'<td class="cell {escape(state)}">{_open(inner, hint, to)}</td>'


def list_reasons(board: Board, rows: list[Row], links: Links = NO_LINKS) -> str:
    """Why results of these rows are missing, where a reason is recorded, as a folded list for who
    cannot point at a cell; "" where there is nothing to say."""
    lines = []
    for row in rows:
        for column in board.columns:
            entry = row.entries.get(column.key)
            if entry is None or entry.mean is not None or not entry.reason:
                continue
            name = _link(
                escape(f"{row.title} on {column.title}"), "open the cell", links.result(entry)
            )
            state = state_of(row, column)
            text = escape(f"{SYMBOLS[state]} {state}: {entry.reason}")
            lines.append(f"<li>{name}: {text}</li>")
    if not lines:
        return ""
    head = f"Why {len(lines)} cell{'s are' if len(lines) > 1 else ' is'} empty"
    return (
        f'<details class="b-reasons"><summary>{head}</summary><ul>{"".join(lines)}</ul></details>'
    )
