"""The entries of a board, kept while results are written: only what has changed is read again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from threading import Lock
from typing import cast

from sqlalchemy import Connection, bindparam, func, or_, select

from bench.core.collector import collector_off
from bench.results.db.models import CellRow, ResultRow
from bench.results.db.queries import select_dead, split_in_parts
from bench.results.views.entries import Entry, load_entries, sort_entries

BLOCK = 8192  # ids that are compared by their sums; those that differ by CHUNK of them
CHUNK = 64
MOST = 400  # groups beyond which reading everything is quicker
WHOLE_SECONDS = 600.0  # after which everything is read again
Sums = tuple[int, float, float]
Chunks = dict[int, Sums]
# by label: the group, and what may change without a result
Loose = dict[str, tuple[str | None, ...]]


class LiveEntries:
    """`load_entries` of a scale and a pretraining set, told of writes by `refresh`.

    Results are compared by number, sum and weighted sum of their values, BLOCK at a time by their
    ids, and where these differ CHUNK at a time; cells without a result, names and dead networks
    one by one. The groups of what differs are read again. A result that was deleted, and more than
    MOST groups, make everything be read. So does the passing of WHOLE_SECONDS, since the command
    of a finished cell may change unnoticed.
    """

    def __init__(self, scale: str, data: str) -> None:
        self.scale, self.data = scale, data
        self.read_groups = 0  # by the last refresh; -1 where it read everything
        self._lock = Lock()
        self._entries: dict[tuple[str, str], Entry] = {}
        self._blocks: Chunks = {}
        self._chunks: Chunks = {}
        self._loose: Loose = {}
        self._dead: set[tuple[str, str]] = set()
        self._whole = float("-inf")

    def refresh(self, connection: Connection) -> list[Entry]:
        """The entries as they are now. Those that have not changed are the same objects; neither
        they nor the list may be changed."""
        # what is kept here is large and has no cycles to look for
        with self._lock, collector_off():
            blocks, chunks = self._read_results(connection)
            loose = self._read_loose(connection)
            dead = select_dead(connection)
            groups = self._find_changed(connection, chunks, loose, dead)
            if groups is None:
                every = load_entries(connection, self.scale, self.data, dead=dead)
                self._entries = {(e.group, e.source): self._keep(e) for e in every}
                self._whole = time.monotonic()
            elif groups:
                self._put(groups, load_entries(connection, self.scale, self.data, groups, dead))
            self.read_groups = -1 if groups is None else len(groups)
            self._blocks, self._chunks = blocks, chunks
            self._loose, self._dead = loose, dead
            return list(self._entries.values())

    def _put(self, groups: set[str], entries: Iterable[Entry]) -> None:
        """Replace the entries of these groups; sorted again only where one is new."""
        fresh = {(e.group, e.source): self._keep(e) for e in entries}
        kept = {
            key: fresh.pop(key, entry)
            for key, entry in self._entries.items()
            if key[0] not in groups or key in fresh
        }
        if fresh:
            every = sort_entries([*kept.values(), *fresh.values()])
            kept = {(e.group, e.source): e for e in every}
        self._entries = kept

    def _keep(self, entry: Entry) -> Entry:
        """The entry; the object of before where that is equal, so that it is known again."""
        known = self._entries.get((entry.group, entry.source))
        return known if known is not None and known == entry else entry

    def _find_changed(
        self, connection: Connection, chunks: Chunks, loose: Loose, dead: set[tuple[str, str]]
    ) -> set[str] | None:
        """The groups to read; None for everything."""
        if time.monotonic() - self._whole > WHOLE_SECONDS or any(
            at not in chunks or chunks[at][0] < old[0] for at, old in self._chunks.items()
        ):
            return None
        groups = {group for group, _ in dead ^ self._dead}
        groups |= {str(what[0]) for _, what in loose.items() ^ self._loose.items()}
        changed = [at for at, sums in chunks.items() if self._chunks.get(at) != sums]
        if len(changed) > MOST // 2:
            return None
        for some in split_in_parts(changed):  # groups of other boards too: they have no entries
            query = select(CellRow.group).join(ResultRow, ResultRow.label == CellRow.label)
            ranges = (
                (ResultRow.id >= at * CHUNK) & (ResultRow.id < (at + 1) * CHUNK) for at in some
            )
            query = query.where(or_(*ranges))
            groups |= set(connection.scalars(query.distinct()))
        return None if len(groups) > MOST else groups

    def _read_results(self, connection: Connection) -> tuple[Chunks, Chunks]:
        """The sums of every block and chunk; those of the chunks of blocks that have not changed
        are taken from before."""
        last = connection.scalar(select(func.max(ResultRow.id))) or 0
        blocks = {
            at: _read_sums(connection, at * BLOCK, (at + 1) * BLOCK)
            for at in range(last // BLOCK + 1)
        }
        same = {at for at, sums in blocks.items() if self._blocks.get(at) == sums}
        chunks = {at: sums for at, sums in self._chunks.items() if at * CHUNK // BLOCK in same}
        for at in blocks.keys() - same:
            chunks |= _read_chunks(connection, at * BLOCK, (at + 1) * BLOCK)
        return blocks, chunks

    def _read_loose(self, connection: Connection) -> Loose:
        """Cells without a result's state, and cells whose data has a name."""
        what = (CellRow.label, CellRow.group, CellRow.state, CellRow.reason)
        query = select(*what, CellRow.pretrain_name, CellRow.task_name).where(
            # not by the index of the board, which leads to each of its cells
            func.coalesce(CellRow.scale, "") == self.scale,
            func.coalesce(CellRow.pretrain_data, "") == self.data,
            CellRow.validation.is_(False),
        )
        # two queries, since the first is answered from the index of states
        unfinished = (CellRow.state < "done") | (CellRow.state > "done")
        named = (CellRow.pretrain_name != "") | (CellRow.task_name != "")
        return {
            row[0]: tuple(row[1:])
            for which in (unfinished, named)
            for row in connection.execute(query.where(which))
        }


def _read_sums(connection: Connection, first: int, last: int) -> Sums:
    """(number of results, sum of their values, sum of value x id) of the ids from `first` to
    before `last`."""
    return cast("Sums", tuple(connection.execute(_SUMS, {"first": first, "last": last}).one()))


def _read_chunks(connection: Connection, first: int, last: int) -> Chunks:
    """Those sums by id // CHUNK."""
    rows = connection.execute(_CHUNKS, {"first": first, "last": last})
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


_VALUE = func.coalesce(ResultRow.value, 0.0)
_HERE = (ResultRow.id >= bindparam("first"), ResultRow.id < bindparam("last"))
_SUMS = select(
    func.count(),
    func.coalesce(func.sum(_VALUE), 0.0),
    func.coalesce(func.sum(_VALUE * ResultRow.id), 0.0),
).where(*_HERE)
_AT = (ResultRow.id // CHUNK).label("at")
_CHUNKS = (
    select(_AT, func.count(), func.sum(_VALUE), func.sum(_VALUE * ResultRow.id))
    .where(*_HERE)
    .group_by(_AT)
)
