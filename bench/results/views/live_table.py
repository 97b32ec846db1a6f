"""A table of a board kept while results are written: most writes change values, not its rows and
columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import is_not

from bench.results.views.board import Table
from bench.results.views.entries import Entry
from bench.results.views.placement import make_table

# of an entry, beside its values: what rows and columns are made from
FIXED = (
    *("group", "source", "pretraining", "protocol", "headline", "n"),
    *("pretrain_data_key", "pretrain_name", "task_name"),
)


class LiveTable:
    """`make_table` of the entries of `LiveEntries` and of `content`; not for several threads at
    once."""

    def __init__(self, content: str = "") -> None:
        self.content = content
        self.made = 0  # tables that were made from all entries
        self._entries: list[Entry] = []
        self._table: Table | None = None

    def refresh(self, entries: Sequence[Entry]) -> Table:
        """The table of these entries. Where nothing changed but the values of entries that have as
        many as before, only their rows are new."""
        entries = list(entries)
        table = self._table and _replace_entries(self._table, self._entries, entries)
        if table is None:
            self.made += 1
            table = make_table(entries, self.content)
        self._entries, self._table = entries, table
        return table


def _replace_entries(table: Table, old: list[Entry], new: list[Entry]) -> Table | None:
    """The table with the entries that differ replaced; None where it may be another table."""
    if len(old) != len(new):
        return None
    pairs = [(old[i], new[i]) for i, other in enumerate(map(is_not, old, new)) if other]
    if not all(_is_alike(before, after) for before, after in pairs):
        return None
    at = {row.key: i for i, row in enumerate(table.rows)}
    rows = list(table.rows)
    for before, after in pairs:
        if before.place is None or before.place[0] not in at:
            return None
        key, column = before.place
        row = rows[at[key]].copy()
        if row.entries.get(column) is not before:
            return None  # a row or a column of its own
        row.entries = {**row.entries, column: after}
        rows[at[key]] = row
        after.place, after.settings = before.place, before.settings
    return replace(table, rows=tuple(rows))


def _is_alike(before: Entry, after: Entry) -> bool:
    """Whether the entries belong to the same place of the same table."""
    return (
        bool(before.values and after.values and before.pretraining)
        and before.overrides == after.overrides
        and all(getattr(before, name) == getattr(after, name) for name in FIXED)
    )
