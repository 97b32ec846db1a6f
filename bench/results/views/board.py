"""A board: rows are pretrainings (method x crop), columns are evaluations (task), cells are
results.

A row is complete when every column it is ranked over has a result in it. Complete rows are ranked
by the mean of their ranks in those columns; incomplete rows are never ranked. Two numbers tie when
Welch's t-test at 5 % does not tell them apart; with one seed on either side nobody knows.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from bench.core.collector import collector_off
from bench.results.views.entries import (
    Entry,
    own_settings,
    row_settings,
    shown_settings,
)
from bench.results.views.ranking import difference, ranks

# sources that are ranked; what papers report is shown beside them
COMPARED = ("measured", "imported")


@dataclass(frozen=True)
class Choice:
    """What a board shows. Empty: everything."""

    engines: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    crops: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    seeds: int = 1  # at least, in every result of a row
    code: str = ""  # "": any, "current" or "changed"
    rank: str = ""  # the task to rank by; all columns


@dataclass(frozen=True)
class Column:
    """An evaluation: results in one column may be compared."""

    key: str
    task: str
    task_data: str
    engine: str
    headline: str
    note: str  # what tells it from other columns of the task
    settings: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        return f"{self.task} {self.note}".strip()


@dataclass
class Row:
    """A pretraining from one source, and its entry in every column that has one."""

    key: str
    method: str
    crop: str
    note: str
    source: str
    settings: str = ""  # of the pretraining
    entries: dict[str, Entry] = field(default_factory=dict)
    section: str = "ranked"  # or "incomplete" or "reported"
    rank: int | None = None
    mean_rank: float | None = None

    @property
    def title(self) -> str:
        return " ".join(part for part in (self.method, self.crop, self.note) if part)

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for entry in self.entries.values() for seed in entry.labels}) or [0]


@dataclass
class Board:
    """What is shown: `rows` in order, `total` rows there would be without the filters."""

    columns: list[Column]
    rows: list[Row]
    total: int
    best: dict[str, Entry] = field(default_factory=dict)  # by column
    # lowest and highest mean, by column
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Every row and column of a scale and pretraining set, before any choice."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    contents: tuple[str, ...]  # keys of the pretraining set's contents, most results first


def make_table(entries: Iterable[Entry], content: str = "") -> Table:
    """Entries put into rows and columns. Another content of the pretraining set is another table:
    `content` is its key, by default that with most results."""
    entries = list(entries)
    counts: Counter[str] = Counter()
    for entry in entries:
        counts[entry.pretrain_data_key] += entry.n
    contents = tuple(sorted((k for k in counts if k), key=lambda k: (-counts[k], k)))
    if len(contents) > 1:
        chosen = content if content in contents else contents[0]
        entries = [e for e in entries if e.pretrain_data_key in ("", chosen)]
    with collector_off():
        columns = _columns(entries)
        return Table(tuple(columns), tuple(_rows(entries, columns)), contents)


def make_board(table: Table, choice: Choice, changed: frozenset[str] = frozenset()) -> Board:
    """What `choice` shows of a table. `changed`: labels of cells whose code has changed since."""
    shown = [
        c
        for c in table.columns
        if (not choice.tasks or c.task in choice.tasks)
        and (not choice.engines or c.engine in choice.engines)
    ]
    total = sum(row.source in COMPARED for row in table.rows)
    rows = [replace(row) for row in table.rows if _wanted(row, shown, choice, changed)]
    board = Board(shown, rows, total)
    _extremes(board)
    _order(board, choice)
    return board


def _columns(entries: Sequence[Entry]) -> list[Column]:
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
    return [_column(k, first[k], tasks[first[k].task] > 1) for k in order]


def column_key(entry: Entry) -> str:
    """Identity of the entry's column: its protocol, or its names where that is unknown."""
    return entry.protocol or "/".join(
        (*_names(entry), entry.task_data_key, shown_settings(own_settings(entry)))
    )


def _names(entry: Entry) -> tuple[str, ...]:
    return entry.task, entry.task_data, entry.engine


def _column(key: str, entry: Entry, several: bool) -> Column:
    settings = own_settings(entry)
    note = f"{shown_settings(settings)} [{key[:4]}]".strip() if several else ""
    return Column(key, entry.task, entry.task_data, entry.engine, entry.headline, note, settings)


def _rows(entries: Sequence[Entry], columns: Sequence[Column]) -> list[Row]:
    """Entries put into their rows. One without a result whose stages are unknown (its combination
    is impossible) goes to the rows and columns of its names."""
    rows: dict[str, Row] = {}
    alike: dict[tuple[str, ...], list[Row]] = {}
    places = {c.key for c in columns}
    for entry in sorted(entries, key=lambda e: (not e.pretraining, not e.values)):
        names = _row_names(entry)
        if entry.pretraining or entry.values or not alike.get(names):
            key = _row_key(entry, rows)
            if key not in rows:
                settings = shown_settings(row_settings(entry))
                note = " ".join(part for part in (entry.cited, settings) if part)
                row = Row(key, entry.method, entry.crop, note, entry.source, settings)
                rows[key] = row
                alike.setdefault(names, []).append(row)
            targets = [rows[key]]
        else:
            targets = alike[names]
        column = column_key(entry)
        keys = [column] if column in places else [c.key for c in columns if _fits(entry, c)]
        for row in targets:
            for at in keys:
                row.entries.setdefault(at, entry)
    _tell_apart(rows.values())
    return [row for row in rows.values() if row.entries]


def _row_names(entry: Entry) -> tuple[str, ...]:
    return entry.source, entry.method, entry.crop, shown_settings(row_settings(entry))


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


def _wanted(row: Row, columns: Sequence[Column], choice: Choice, changed: frozenset[str]) -> bool:
    if choice.methods and row.method not in choice.methods:
        return False
    if choice.crops and row.crop not in choice.crops:
        return False
    found = [row.entries[c.key] for c in columns if c.key in row.entries]
    if row.source == "reported":
        return bool(found)
    if any(e.values and e.n < choice.seeds for e in found):
        return False
    if choice.code and changed.isdisjoint(_labels(found)) != (choice.code == "current"):
        return False
    return bool(found)


def _labels(entries: Iterable[Entry]) -> set[str]:
    return {e.labels[seed] for e in entries for seed in e.values}


def _extremes(board: Board) -> None:
    """The best entry and the range of each column, over what was measured."""
    for column in board.columns:
        done = [
            e
            for row in board.rows
            if row.source in COMPARED and (e := row.entries.get(column.key)) and e.mean is not None
        ]
        if done:
            means = [e.mean for e in done if e.mean is not None]
            board.best[column.key] = done[means.index(max(means))]
            board.spans[column.key] = (min(means), max(means))


def _order(board: Board, choice: Choice) -> None:
    """Ranked rows first, then incomplete ones, then what papers report where no row of its name is
    shown."""
    over = [c.key for c in board.columns if not choice.rank or c.task == choice.rank]
    compared = [r for r in board.rows if r.source in COMPARED]
    complete = [r for r in compared if over and all(_mean(r, key) is not None for key in over)]
    _rank(complete, over)
    ids = {id(row) for row in complete}
    incomplete = [r for r in compared if id(r) not in ids]
    for row in incomplete:
        row.section = "incomplete"
    incomplete.sort(key=lambda r: (-sum(e.mean is not None for e in r.entries.values()), r.title))
    board.rows = _with_reported(
        complete + incomplete, [r for r in board.rows if r.source == "reported"]
    )


def _mean(row: Row, column: str) -> float | None:
    entry = row.entries.get(column)
    return entry.mean if entry else None


def _rank(rows: list[Row], over: Sequence[str]) -> None:
    """Sort `rows` by the mean of their ranks in the columns `over`; the same mean is the same
    rank."""
    totals = [0.0] * len(rows)
    for column in over:
        for at, place in enumerate(ranks([-(_mean(row, column) or 0.0) for row in rows])):
            totals[at] += place
    for row, total in zip(rows, totals, strict=True):
        row.mean_rank = total / len(over)
    rows.sort(key=lambda r: (r.mean_rank or 0.0, r.title))
    for at, row in enumerate(rows):
        same = at > 0 and row.mean_rank == rows[at - 1].mean_rank
        row.rank = rows[at - 1].rank if same else at + 1


def _with_reported(rows: list[Row], reported: list[Row]) -> list[Row]:
    """What papers report, below the first row of its method, crop and settings. At the end what
    has no such
    row, unless it has settings of its own: a paper's ablations are a page of their own."""
    waiting: dict[tuple[str, str, str], list[Row]] = {}
    for row in reported:
        row.section = "reported"
        waiting.setdefault((row.method, row.crop, row.settings), []).append(row)
    made: list[Row] = []
    for row in rows:
        made.append(row)
        for found in waiting.pop((row.method, row.crop, row.settings), []):
            found.section = row.section
            made.append(found)
    return made + [row for members in waiting.values() for row in members if not row.settings]


def ties(one: Entry, other: Entry) -> bool | None:
    """Whether Welch's t-test at 5 % cannot tell two means apart; None where a side has one seed.

    |m1 - m2| <= t(.975, nu) sqrt(s1^2/n1 + s2^2/n2), nu by Welch and Satterthwaite, rounded down.
    """
    if one.mean is None or other.mean is None:
        return None
    found = difference(*({"mean": e.mean, "ci95": e.ci95, "n": e.n} for e in (one, other)))
    return None if found["ci95"] is None else abs(found["mean"] or 0.0) <= found["ci95"]


def compact_seeds(seeds: Sequence[int]) -> str:
    """`0-2,5` for 0, 1, 2 and 5."""
    parts: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def fill_command(row: Row, column: Column) -> str:
    """The command that fills the row's cell in a column, for all seeds the row has elsewhere."""
    model = next(iter(row.entries.values()))
    words = shlex.split(model.command)
    given = dict(zip(words[2::2], words[3::2], strict=False))
    given |= {
        "--task": column.task,
        "--seeds": compact_seeds(row.seeds),
        "--task-data": column.task_data,
    }
    given.pop("--set", None)
    sets = [("--set", f"{k}={v}") for k, v in (*row_settings(model), *column.settings)]
    return shlex.join([*words[:2], *(w for pair in (*given.items(), *sets) for w in pair)])


def cell_command(row: Row, column: Column) -> str:
    """The command for whatever a cell lacks; "" where nothing can be done."""
    entry = row.entries.get(column.key)
    if row.source == "reported" or (entry and entry.state in ("unsupported", "done")):
        return ""
    return entry.command if entry else fill_command(row, column)
