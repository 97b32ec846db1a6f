"""What verbs print: JSON, and tables and prose that are never wider than the terminal.

Names and values are never cut. Prose wraps at spaces; a table with too many columns goes on below,
in further blocks that repeat its first columns. Output that goes into a file or a pipe is not
wrapped, so that a line can be searched for.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

GAP = "  "
LEAST = 16  # letters that a column of prose is not narrowed below
UNLIMITED = 100_000  # letters of a line that nobody looks at in a terminal
LABEL = 26  # letters of a label that texts still line up behind


@dataclass(frozen=True)
class Column:
    """A column: its heading, where numbers (`right`) or prose (`wrap`) stand in it, and whether
    every block of a table that is too wide repeats it (`key`)."""

    head: str
    right: bool = False
    wrap: bool = False
    key: bool = False


def print_json(value: Any) -> None:
    """Print JSON."""
    click.echo(json.dumps(value, indent=1, allow_nan=False))


def terminal_width() -> int:
    """Letters of a line: COLUMNS, or the width of the terminal; as many as asked for elsewhere."""
    if os.environ.get("COLUMNS", "").isdecimal() or sys.stdout.isatty():
        return max(20, shutil.get_terminal_size((80, 24)).columns)
    return UNLIMITED


def echo_prose(text: str, indent: str = "", first: str | None = None, err: bool = False) -> None:
    """Print a text wrapped to the terminal, its lines indented; words are not broken."""
    click.echo("\n".join(_wrap(text, terminal_width(), indent, first)), err=err)


def echo_terms(rows: Iterable[tuple[str, str]], indent: str = "  ") -> None:
    """Print names with texts beside them, or below a name that is too long for that."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows if len(name) <= LABEL), default=0)
    hanging = indent + " " * width + GAP
    for name, text in rows:
        beside = len(hanging) + max(map(len, text.split()), default=0) <= terminal_width()
        if len(name) <= width and beside:
            echo_prose(text, hanging, f"{indent}{name:<{width}}{GAP}")
        else:
            click.echo(f"{indent}{name}")
            echo_prose(text, indent + 2 * GAP)


def print_table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], title: str = "", heads: bool = True
) -> None:
    """Print a table, with a title above it and its headings unless `heads` is False."""
    cells = [list(row) for row in rows]
    if title:
        echo_prose(title)
    for number, block in enumerate(_blocks(columns, cells, terminal_width())):
        if number:
            click.echo()
        click.echo("\n".join(_lines(columns, cells, block, heads)))


def _natural(column: Column, texts: Sequence[str]) -> int:
    """The width at which a column's texts stand on one line each, and its heading's words fit."""
    lines = (line for text in texts for line in text.split("\n"))
    return max([*map(len, lines), *map(len, column.head.split()), 1])


def _least(column: Column, texts: Sequence[str]) -> int:
    """The narrowest a column can be: its words where it holds prose, else its texts."""
    if not column.wrap:
        return _natural(column, texts)
    words = (word for text in (*texts, column.head) for word in text.split())
    return min(_natural(column, texts), max([LEAST, *map(len, words)]))


def _blocks(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int
) -> list[dict[int, int]]:
    """{position: width} of the columns of each block, of which no line is longer than `width` as
    far as words allow."""
    texts = [[row[i] for row in cells] for i in range(len(columns))]
    least = [_least(c, t) for c, t in zip(columns, texts, strict=True)]
    keys = [i for i, c in enumerate(columns) if c.key]
    blocks: list[list[int]] = [list(keys)]
    for i in (i for i in range(len(columns)) if i not in keys):
        both = [*blocks[-1], i]
        if len(blocks[-1]) > len(keys) and _total(least[n] for n in both) > width:
            both = [*keys, i]
            blocks.append(both)
        blocks[-1] = both
    natural = [_natural(c, t) for c, t in zip(columns, texts, strict=True)]
    return [_widen(sorted(block), least, natural, width) for block in blocks]


def _widen(
    block: list[int], least: Sequence[int], natural: Sequence[int], width: int
) -> dict[int, int]:
    """The room that is left, given to the columns of prose one after another."""
    widths = {i: least[i] for i in block}
    for i in block:
        room = max(0, width - _total(widths.values()))
        widths[i] += min(room, natural[i] - least[i])
    return widths


def _total(widths: Iterable[int]) -> int:
    widths = list(widths)
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _lines(
    columns: Sequence[Column],
    cells: Sequence[Sequence[str]],
    widths: dict[int, int],
    heads: bool,
) -> list[str]:
    lines: list[str] = []
    if heads:
        above = [columns[i].head for i in widths]
        lines += _row([columns[i] for i in widths], above, list(widths.values()), bottom=True)
        lines.append(GAP.join("-" * width for width in widths.values()))
    for row in cells:
        texts = [row[i] for i in widths]
        lines += _row([columns[i] for i in widths], texts, list(widths.values()))
    return lines


def _row(
    columns: Sequence[Column], texts: Sequence[str], widths: Sequence[int], bottom: bool = False
) -> list[str]:
    """The lines of a row: each cell wrapped in its column, at its top or (`bottom`) its foot."""
    wrapped = [
        [line for part in text.split("\n") for line in _wrap(part, width)]
        for text, width in zip(texts, widths, strict=True)
    ]
    height = max(len(lines) for lines in wrapped)
    padded = []
    for lines in wrapped:
        empty = [""] * (height - len(lines))
        padded.append([*empty, *lines] if bottom else [*lines, *empty])
    return [
        GAP.join(
            part.rjust(width) if column.right else part.ljust(width)
            for column, part, width in zip(columns, parts, widths, strict=True)
        ).rstrip()
        for parts in zip(*padded, strict=True)
    ]


def _wrap(text: str, width: int, indent: str = "", first: str | None = None) -> list[str]:
    lines = textwrap.wrap(
        text,
        max(width, len(indent) + 1),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [(indent if first is None else first).rstrip()]
