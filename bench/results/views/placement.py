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
    names = {e.pretrain_data_key: e.pretrain_name for e in entries if e.pretrain_name}
    counts = dict.fromkeys((e.pretrain_data_key for e in entries), 0)
    if len(counts) > 1:
        for entry in entries:
            counts[entry.pretrain_data_key] += entry.n
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
    members: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.source != "reported":
            members.setdefault((entry.place or _place(entry))[1], []).append(entry)
    first = {key: next((e for e in of if e.values), of[0]) for key, of in members.items()}
    counts = {key: sum(len(e.values) for e in of) for key, of in members.items()}
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
    """Entries put into their rows, those with stages and results first. One without a result whose
    stages are unknown (its combination is impossible) goes to the rows and columns of its
    names."""
    rows: dict[str, Row] = {}
    places = {c.key for c in columns}
    certain = [e for e in entries if e.pretraining and e.values]
    for entry in certain:
        key, column = entry.place or _place(entry)
        row = rows.get(key)
        if row is None or column in row.entries:
            row = _find_row(rows, entry)
        if column in places:
            row.entries.setdefault(column, entry)
        else:
            _put_by_names([row], entry, columns)
    if len(certain) < len(entries):
        others = (e for e in entries if not (e.pretraining and e.values))
        _put_others(rows, sorted(others, key=lambda e: (not e.pretraining, not e.values)), columns)
    _tell_apart(rows.values())
    return [row for row in rows.values() if row.entries]


def _find_row(rows: dict[str, Row], entry: Entry) -> Row:
    """The row of an entry, made where it is new; at the place of another group it is a row of its
    own."""
    key, column = _place(entry)
    there = rows[key].entries.get(column) if key in rows else None
    if there is not None and there.group != entry.group:
        key = f"{key}/{entry.group}"
    if key not in rows:
        settings = _settings(entry)
        note = " ".join(part for part in (entry.cited, settings) if part)
        rows[key] = Row(key, entry.method, entry.crop, note, entry.source, settings)
    return rows[key]


def _put_others(rows: dict[str, Row], entries: Sequence[Entry], columns: Sequence[Column]) -> None:
    """Put entries that lack a result, or whose stages are unknown, into their rows."""
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows.values():
        alike.setdefault((row.source, row.method, row.crop, row.settings), []).append(row)
    for entry in entries:
        members = alike.setdefault(_row_names(entry), [])
        if entry.pretraining or entry.values or not members:
            known = len(rows)
            row = _find_row(rows, entry)
            if len(rows) > known:
                members.append(row)
            members = [row]
        _put_by_names(members, entry, columns)


def _put_by_names(rows: Sequence[Row], entry: Entry, columns: Sequence[Column]) -> None:
    """Put an entry into its column, or into those of its names where it has none."""
    own = _place(entry)[1]
    keys = [own] if any(c.key == own for c in columns) else []
    for key in keys or [c.key for c in columns if _fits(entry, c)]:
        for row in rows:
            row.entries.setdefault(key, entry)


def _row_names(entry: Entry) -> tuple[str, ...]:
    return entry.source, entry.method, entry.crop, _settings(entry)


def _place(entry: Entry) -> tuple[str, str]:
    """The keys of the entry's row and column, read once."""
    if entry.place is None:
        row = f"{entry.source}/{entry.pretraining or '/'.join(_row_names(entry))}"
        entry.place = row, column_key(entry)
    return entry.place


def _settings(entry: Entry) -> str:
    """The settings of the entry's pretraining, formatted once."""
    if entry.settings is None:
        entry.settings = format_settings(pretraining_settings(entry))
    return entry.settings


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
