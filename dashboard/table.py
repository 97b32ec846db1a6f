"""The leaderboard as an HTML table: a row per pretraining, a column per evaluation, every cell a
link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from bench.results.views.board import Board, Column, Row
from bench.results.views.board_text import format_count, format_number, standing_of, state_of
from bench.results.views.commands import complete_command
from bench.results.views.entries import DEAD_TEXT, Entry
from bench.results.views.marks import MEANINGS, Mark
from dashboard.look import SYMBOLS, frame_table, hint_attributes, href, tag

LINES = {
    "incomplete": "not ranked: a result is missing, or of a dead network, in a column that counts",
    "reported": "reported in papers; no row of this method and crop is shown",
}
SIGNS: dict[Mark, str] = {"tied": "≈", "unknown": "?"}  # of marks; the best is bold


def board_table(
    board: Board,
    rows: list[Row],
    where: dict[str, str],
    choices: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """`rows` of the board as a table; `where` says which board it is in links to cells that do not
    exist. `choices`: the page's address, for the links of the headings, which sort."""
    heads = [
        f'<th scope="col" class="num"{_sort_mark(not board.rank, "ascending")}>'
        f"{_sort_link('#', 'mean rank', choices, '')}</th>",
        '<th scope="col">method × crop</th>',
    ]
    heads += [_head(column, board, choices) for column in board.columns]
    body, section = [], "ranked"
    for row in rows:
        if row.section != section and row.section in LINES:
            text = escape(LINES[row.section])
            body.append(f'<tr class="line"><td colspan="{len(heads)}">{text}</td></tr>')
        section = row.section
        cells = "".join(_cell(board, column, row, where) for column in board.columns)
        body.append(f'<tr class="{escape(row.source)}">{_name(row)}{cells}</tr>')
    head = f"<thead><tr>{''.join(heads)}</tr></thead>"
    uneven = any(format_count(board, e) for row in rows for e in row.entries.values())
    kind = "b board counts" if uneven else "b board"
    return frame_table(
        f'<table class="{kind}">{head}<tbody>{"".join(body)}</tbody></table>', full=True
    )


def _sort_mark(sorted_by: bool, order: str) -> str:
    return f' aria-sort="{order}"' if sorted_by else ""


def _sort_link(
    text: str, hint: str, choices: Mapping[str, Sequence[str]] | None, rank: str
) -> str:
    """A heading that sorts the board; plain text where there is no address to change."""
    if choices is None:
        return escape(text)
    to = href("leaderboard", **{**choices, "rank": rank})
    return f'<a href="{to}" target="_self"{hint_attributes(f"sort by {hint}")}>{escape(text)}</a>'


def _head(column: Column, board: Board, choices: Mapping[str, Sequence[str]] | None = None) -> str:
    engine = f", {column.engine}" if column.engine else ""
    headline = column.headline or "no result"
    below = f"<small>{escape(headline)} · {escape(column.task_data + engine)}</small>"
    note = f"<small>{escape(column.note)}</small>" if column.note else ""
    counts = board.rank or column in board.over
    out = "" if counts else "<small>not in the rank</small>"
    mark = _sort_mark(bool(board.rank) and board.over == [column], "descending")
    name = _sort_link(column.task, column.title, choices, column.title)
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


def _cell(board: Board, column: Column, row: Row, where: dict[str, str]) -> str:
    entry = row.entries.get(column.key)
    if entry is None or entry.mean is None:
        return _empty(column, row, entry, where)
    standing = standing_of(board, column, row)
    hint = hint_of(entry, standing)
    low, high = board.spans.get(column.key, (entry.mean, entry.mean))
    share = 100.0 if high == low else 4 + 96 * (entry.mean - low) / (high - low)
    interval = "" if entry.ci95 is None else f"±{entry.ci95:.1f} "
    sign = SYMBOLS["dead"] if entry.dead else SIGNS.get(standing, "") if standing else ""
    inner = (
        f'<span class="g"><span class="v">{entry.mean:.1f}</span>'
        f'<span class="ci">{interval}{format_count(board, entry)}</span>'
        f'<span class="t">{sign}</span></span>'
        f'<span class="track"><i style="width:{min(100.0, max(0.0, share)):.0f}%"></i></span>'
    )
    if row.source == "reported":
        return f'<td class="cell"><span{hint_attributes(hint)}>{inner}</span></td>'
    label = entry.labels[min(entry.values)]
    return f'<td class="cell {standing or ""}"><a {_open(hint, key=label[:16])}>{inner}</a></td>'


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


def _empty(column: Column, row: Row, entry: Entry | None, where: dict[str, str]) -> str:
    state = state_of(row, column)
    if state == "not reported":
        return '<td class="cell"></td>'
    command = complete_command(row, column)
    reason = entry.reason if entry else ""
    hint = "; ".join(p for p in (state, reason, f"run: {command}" if command else "") if p)
    inner = f'<span class="s">{SYMBOLS[state]} {escape(state)}</span>'
    if entry and entry.labels:
        to = _open(hint, key=next(iter(entry.labels.values()))[:16])
    else:
        to = _open(hint, row=row.key, column=column.key, **where)
    return f'<td class="cell {escape(state)}"><a {to}>{inner}</a></td>'


def _open(hint: str, **parameters: Any) -> str:
    return f'href="{href("cell", **parameters)}" target="_self"{hint_attributes(hint)}'
