"""Entries put into the rows and columns of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.core.collector import collector_off
from bench.results.views.board import Column, Row, Table
from bench.results.views.entries import (
    Entry,
    evaluation_settings,
    format_settings,
    pretraining_settings,
)


def make_table(entries: Iterable[Entry], content: str = "") -> Table:
    """Entries put into rows and columns. Another content of the pretraining set is another table:
    `content` is its key, by default that with most results."""
    entries = list(entries)
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for entry in entries:
        counts[entry.pretrain_data_key] += entry.n
        if entry.pretrain_name:
            names[entry.pretrain_data_key] = entry.pretrain_name
    contents = tuple(sorted((k for k in counts if k), key=lambda k: (-counts[k], k)))
    if len(contents) > 1:
        chosen = content if content in contents else contents[0]
        entries = [e for e in entries if e.pretrain_data_key in ("", chosen)]
    with collector_off():
        columns = _make_columns(entries)
        rows = tuple(_make_rows(entries, columns))
        return Table(tuple(columns), rows, contents, names)


def _make_columns(entries: Sequence[Entry]) -> list[Column]:
    """Every evaluation there is, most results first; several of one task get notes that tell them
    apart."""
    first: dict[str, Entry] = {}
    counts: Counter[str] = Counter()
    for entry in entries:
        if entry.source == "reported":
            continue
        key = column_key(entry)
        if key not in first or (entry.values and not first[key].values):
            first[key] = entry
        counts[key] += entry.n
    named = {_names(e) for e in first.values() if e.protocol or e.values}
    first = {k: e for k, e in first.items() if e.protocol or e.values or _names(e) not in named}
    order = sorted(first, key=lambda k: (-counts[k], first[k].task, k))
    tasks = Counter(first[k].task for k in order)
    return [_make_column(k, first[k], tasks[first[k].task] > 1) for k in order]


def column_key(entry: Entry) -> str:
    """Identity of the entry's column: its protocol, or its names where that is unknown."""
    return entry.protocol or "/".join(
        (*_names(entry), entry.task_data_key, format_settings(evaluation_settings(entry)))
    )


def _names(entry: Entry) -> tuple[str, ...]:
    return entry.task, entry.task_data, entry.engine


def _make_column(key: str, entry: Entry, several: bool) -> Column:
    settings = evaluation_settings(entry)
    note = f"{format_settings(settings)} [{key[:4]}]".strip() if several else ""
    note = f"{entry.task_name} {note}".strip()
    return Column(key, entry.task, entry.task_data, entry.engine, entry.headline, note, settings)


def _make_rows(entries: Sequence[Entry], columns: Sequence[Column]) -> list[Row]:
    """Entries put into their rows. One without a result whose stages are unknown (its combination
    is impossible) goes to the rows and columns of its names."""
    rows: dict[str, Row] = {}
    alike: dict[tuple[str, ...], list[Row]] = {}
    places = {c.key for c in columns}
    for entry in sorted(entries, key=lambda e: (not e.pretraining, not e.values)):
        if entry.pretraining or entry.values or not alike.get(_row_names(entry)):
            key = _row_key(entry, rows)
            if key not in rows:
                settings = format_settings(pretraining_settings(entry))
                note = " ".join(part for part in (entry.cited, settings) if part)
                row = Row(key, entry.method, entry.crop, note, entry.source, settings)
                rows[key] = row
                alike.setdefault(_row_names(entry), []).append(row)
            targets = [rows[key]]
        else:
            targets = alike[_row_names(entry)]
        column = column_key(entry)
        keys = [column] if column in places else [c.key for c in columns if _fits(entry, c)]
        for row in targets:
            for at in keys:
                row.entries.setdefault(at, entry)
    _tell_apart(rows.values())
    return [row for row in rows.values() if row.entries]


def _row_names(entry: Entry) -> tuple[str, ...]:
    return entry.source, entry.method, entry.crop, format_settings(pretraining_settings(entry))


def _row_key(entry: Entry, rows: dict[str, Row]) -> str:
    """The row's identity; a second group at the place of another opens a row of its own."""
    key = f"{entry.source}/{entry.pretraining or '/'.join(_row_names(entry))}"
    there = rows[key].entries.get(column_key(entry)) if key in rows else None
    return key if there is None or there.group == entry.group else f"{key}/{entry.group}"


def _fits(entry: Entry, column: Column) -> bool:
    if entry.source == "reported":
        return (entry.task, entry.headline) == (column.task, column.headline)
    return _names(entry) == (column.task, column.task_data, column.engine)


def _tell_apart(rows: Iterable[Row]) -> None:
    """Rows of one name (a version was raised, a default changed) get the start of their key as a
    note."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.source, row.method, row.crop, row.note), []).append(row)
    for members in groups.values():
        if len(members) > 1:
            for row in members:
                row.note = f"{row.note} [{row.key.partition('/')[2][:6]}]".strip()
