"""A board as CSV, JSON, Markdown or LaTeX: the same rows, columns and order as it is shown in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any, NotRequired, TypedDict

from bench.results.views.board import COMPARED, Board, Column, Row
from bench.results.views.commands import complete_command
from bench.results.views.entries import Entry
from bench.results.views.latex import escape_latex, latex_needs
from bench.results.views.marks import MEANINGS, Mark

FORMATS = {
    "csv": "text/csv",
    "json": "application/json",
    "md": "text/markdown",
    "tex": "application/x-tex",
}


def format_number(entry: Entry) -> str:
    """`38.1 ± 0.5`, one decimal (metrics are in percent); no interval for one seed. Numbers of a
    dead network are followed by "(dead)"."""
    text = f"{entry.mean:.1f}"
    text = text if entry.ci95 is None else f"{text} ± {entry.ci95:.1f}"
    return f"{text} (dead)" if entry.dead else text


def export_board(board: Board, form: str) -> str:
    """The board as text in one of FORMATS."""
    return {"csv": as_csv, "json": as_json, "md": as_markdown, "tex": as_latex}[form](board)


Style = Mapping[Mark, str]  # how a mark is put on a number


class CellText(TypedDict):
    """A cell of a board, with full precision."""

    state: str
    task_data: str
    task_data_key: NotRequired[str]
    task_name: NotRequired[str]  # what the user calls the data
    engine: str
    metric: str
    mean: NotRequired[float]
    ci95: NotRequired[float | None]
    n: NotRequired[int]
    mark: NotRequired[Mark]
    cells: NotRequired[list[str]]  # labels, by seed
    reason: NotRequired[str]
    command: NotRequired[str]  # fills what the cell lacks


class RowText(TypedDict):
    """A row of a board, its cells by column."""

    rank: int | None
    mean_rank: float | None
    method: str
    crop: str
    settings: str
    source: str
    cells: dict[str, CellText]


def list_records(board: Board) -> list[RowText]:
    """The board's rows as plain data."""
    return [
        {
            "rank": row.rank,
            "mean_rank": row.mean_rank,
            "method": row.method,
            "crop": row.crop,
            "settings": row.note,
            "source": row.source,
            "cells": {
                column.title: _describe_cell(board, row, column) for column in board.columns
            },
        }
        for row in board.rows
    ]


def _describe_cell(board: Board, row: Row, column: Column) -> CellText:
    entry = row.entries.get(column.key)
    cell: CellText = {
        "state": state_of(row, column),
        "task_data": column.task_data,
        "engine": column.engine,
        "metric": column.headline,
    }
    if entry and entry.mean is not None:
        cell["mean"], cell["ci95"], cell["n"] = entry.mean, entry.ci95, entry.n
        cell["cells"] = [entry.labels[s] for s in sorted(entry.labels)]
        cell["task_data_key"], cell["task_name"] = entry.task_data_key, entry.task_name
    if (mark := standing_of(board, column, row)) is not None:
        cell["mark"] = mark
    if entry and entry.reason:
        cell["reason"] = entry.reason
    command = complete_command(row, column)
    if command:
        cell["command"] = command
    return cell


def state_of(row: Row, column: Column) -> str:
    """done, dead, running, failed, interrupted, unsupported or missing; what no paper reports is
    "not reported"."""
    entry = row.entries.get(column.key)
    if entry is None:
        return "not reported" if row.source == "reported" else "missing"
    return "dead" if entry.dead else entry.state


def as_json(board: Board) -> str:
    return json.dumps(list_records(board), indent=1, ensure_ascii=False) + "\n"


def as_csv(board: Board) -> str:
    """A line per row; five fields per column: mean, ci95, n, mark, state."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    whats = ("mean", "ci95", "n", "mark", "state")
    fields = [f"{c.title} {what}" for c in board.columns for what in whats]
    writer.writerow(["rank", "method", "crop", "settings", "source", *fields])
    for row in list_records(board):
        names = [row["rank"] or "", row["method"], row["crop"], row["settings"], row["source"]]
        cells: list[Mapping[str, object]] = [row["cells"][c.title] for c in board.columns]
        values = [cell.get(what) for cell in cells for what in whats]
        writer.writerow([disarm("" if v is None else v) for v in (*names, *values)])
    return text.getvalue()


def disarm(value: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets an apostrophe."""
    risky = isinstance(value, str) and len(value) > 1 and value[0] in "=+-@\t\r"
    return f"'{value}" if risky else value


MARKDOWN: Style = {"best": "**{}**", "tied": "{} ≈", "unknown": "{} ?"}
TEX: Style = {"best": r"\textbf{{{}}}", "tied": r"{}$^\approx$", "unknown": r"{}$^?$"}


def as_markdown(board: Board) -> str:
    """A table, and below it a line that says what its marks mean."""
    lines = _format_rows(board, MARKDOWN, escape_markdown)
    heads = [
        "#",
        "method",
        "crop",
        "settings",
        *(f"{c.title} {c.headline}" for c in board.columns),
    ]
    rule = ["---:", ":---", ":---", ":---", *("---:" for _ in board.columns)]
    table = "".join(
        f"| {' | '.join(line)} |\n" for line in ([escape_markdown(h) for h in heads], rule, *lines)
    )
    ranking = escape_markdown(describe_ranking(board))
    return f"{table}\n{describe_marks(board, sign_marks(MARKDOWN))} {ranking}\n"


def as_latex(board: Board) -> str:
    """A booktabs table, and below it a line that says what its marks mean."""
    lines = _format_rows(board, TEX, escape_latex)
    heads = ["", "method", "crop", "settings", *(f"{c.title} {c.headline}" for c in board.columns)]
    body = "".join(f"{' & '.join(line)} \\\\\n" for line in lines)
    names = [part for row in board.rows for part in (row.method, row.crop, row.note)]
    return (
        f"{latex_needs([*heads, *names])}\n"
        f"\\begin{{tabular}}{{rlll{'r' * len(board.columns)}}}\n\\toprule\n"
        f"{' & '.join(escape_latex(h) for h in heads)} "
        f"\\\\\n\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n\n"
        f"{describe_marks(board, sign_marks(TEX), escape_latex)} "
        f"{escape_latex(describe_ranking(board))}\n"
    )


def _format_rows(board: Board, style: Style, escape: Callable[[str], str]) -> list[list[str]]:
    lines = []
    for row in board.rows:
        source = "" if row.source == "measured" else f" ({row.source})"
        names = (str(row.rank or ""), row.method + source, row.crop, row.note)
        cells = (_format_cell(board, row, column, style, escape) for column in board.columns)
        lines.append([*map(escape, names), *cells])
    return lines


def _format_cell(
    board: Board, row: Row, column: Column, style: Style, escape: Callable[[str], str]
) -> str:
    entry = row.entries.get(column.key)
    if entry is None or entry.mean is None:
        state = state_of(row, column)
        return escape("" if state == "not reported" else state)
    count = format_count(board, entry)
    text = escape(format_number(entry) + (f" ({count})" if count else ""))
    mark = standing_of(board, column, row)
    return style.get(mark, "{}").format(text) if mark else text


def standing_of(board: Board, column: Column, row: Row) -> Mark | None:
    """The mark of a result in its column; None for reported numbers and where there is no
    result."""
    return board.marks.get((column.key, row.key))


def format_count(board: Board, entry: Entry) -> str:
    """`n=1` where a result has another number of seeds than most results of the board."""
    return "" if not entry.values or entry.n == board.usual_n else f"n={entry.n}"


def describe_ranking(board: Board) -> str:
    """Over which columns and rows the board is ranked, and what was left out and why."""
    ranked = sum(row.rank is not None for row in board.rows)
    rows = sum(row.source in COMPARED for row in board.rows)
    if not ranked:
        return "No row is ranked: none has a result in the columns that count."
    names = ", ".join(c.title for c in board.over)
    text = f"Ranked over {names}: {ranked} of {rows} rows have results in "
    text += "it." if len(board.over) == 1 else "all of them."
    if board.left_out:
        few = ", ".join(f"{title} ({n})" for title, n in board.left_out.items())
        text += f" Left out of the rank, since fewer rows have a result there: {few}."
    return text


def sign_marks(style: Style) -> dict[Mark, str]:
    """What each mark looks like, for `describe_marks`."""
    words: dict[Mark, str] = {"best": "bold"}
    return {mark: text.format(words.get(mark, "")).strip() for mark, text in style.items()}


def describe_marks(
    board: Board, signs: Mapping[Mark, str], escape: Callable[[str], str] = str
) -> str:
    """What ±, n and the marks mean, in a line for under the board."""
    n = board.usual_n
    head = (
        f"Mean over {n} seed{'s' if n > 1 else ''}, or over n where that is given; ± is half of "
        "the 95 % t-interval over seeds."
    )
    parts = [f"{sign}: {escape(MEANINGS[mark])}" for mark, sign in signs.items()]
    parts.append(f"no mark: {escape(MEANINGS['worse'])}")
    return f"{escape(head)} {'; '.join(parts)}."


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is."""
    for character in "\\|*_`<>[]":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")
