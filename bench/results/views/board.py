"""A board: rows are pretrainings (method x crop), columns are evaluations (task), cells are
results.

Rows are ranked over the columns that give the fullest board, unless one is asked for, so that the
first result of a new task unranks nothing. A row is complete when every one of these columns has a
result in it that is not of a dead network. Complete rows are ranked by the mean of their ranks in
those columns; incomplete rows are never ranked, and follow in the order of what they have. Which
numbers are the best of a column, and which cannot be told from it: `bench.results.views.marks`
says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.core.collector import collector_off
from bench.results.views.entries import Entry
from bench.results.views.fullest import choose_columns
from bench.results.views.marks import Mark, mark_column
from bench.results.views.ranking import ranks

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
    rank: str = ""  # the task, or the title of the column, to rank by; the fullest set of columns


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
    best: dict[str, Entry] = field(default_factory=dict)  # by column, where any is marked so
    marks: dict[tuple[str, str], Mark] = field(default_factory=dict)  # by keys of column and row
    over: list[Column] = field(default_factory=list)  # the columns that count in the rank
    left_out: dict[str, int] = field(
        default_factory=dict
    )  # title of each other: rows that have it
    rank: str = ""  # of the choice
    usual_n: int = 1  # seeds that most results have
    # lowest and highest mean, by column
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Every row and column of a scale and pretraining set, before any choice."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    contents: tuple[str, ...]  # keys of the pretraining set's contents, most results first
    names: Mapping[str, str] = field(default_factory=dict)  # what the user calls those contents


def make_board(table: Table, choice: Choice, changed: frozenset[str] = frozenset()) -> Board:
    """What `choice` shows of a table. `changed`: labels of cells whose code has changed since."""
    with collector_off():
        return _make_board(table, choice, changed)


def _make_board(table: Table, choice: Choice, changed: frozenset[str]) -> Board:
    shown = [
        c
        for c in table.columns
        if (not choice.tasks or c.task in choice.tasks)
        and (not choice.engines or c.engine in choice.engines)
    ]
    total = sum(row.source in COMPARED for row in table.rows)
    rows = [replace(row) for row in table.rows if _is_shown(row, shown, choice, changed)]
    board = Board(shown, rows, total, rank=choice.rank)
    _find_extremes(board)
    _order_rows(board, choice)
    return board


def _is_shown(
    row: Row, columns: Sequence[Column], choice: Choice, changed: frozenset[str]
) -> bool:
    if choice.methods and row.method not in choice.methods:
        return False
    if choice.crops and row.crop not in choice.crops:
        return False
    entries = [row.entries[c.key] for c in columns if c.key in row.entries]
    if row.source == "reported":
        return bool(entries)
    if any(e.values and e.n < choice.seeds for e in entries):
        return False
    if choice.code and changed.isdisjoint(_labels(entries)) != (choice.code == "current"):
        return False
    return bool(entries)


def _labels(entries: Iterable[Entry]) -> set[str]:
    return {e.labels[seed] for e in entries for seed in e.values}


def _find_extremes(board: Board) -> None:
    """The marks, the best entry and the range of each column, over what was measured."""
    counts: Counter[int] = Counter()
    for column in board.columns:
        done = [
            (row.key, e)
            for row in board.rows
            if row.source in COMPARED
            and (e := row.entries.get(column.key))
            and e.mean is not None
            and not e.dead
        ]
        marks = mark_column([e.values for _, e in done])
        for (key, entry), mark in zip(done, marks, strict=True):
            board.marks[column.key, key] = mark
            counts[entry.n] += 1
            if mark == "best":
                board.best.setdefault(column.key, entry)
        if done:
            means = [e.mean for _, e in done if e.mean is not None]
            board.spans[column.key] = (min(means), max(means))
    board.usual_n = max(counts, key=lambda n: (counts[n], n), default=1)


def _order_rows(board: Board, choice: Choice) -> None:
    """Ranked rows first, then incomplete ones, then what papers report where no row of its name is
    shown."""
    compared = [r for r in board.rows if r.source in COMPARED]
    over = _choose_ranked(board, compared, choice.rank)
    complete = [r for r in compared if over and all(_mean(r, key) is not None for key in over)]
    _rank_rows(complete, over)
    ids = {id(row) for row in complete}
    incomplete = [r for r in compared if id(r) not in ids]
    for row in incomplete:
        row.section = "incomplete"
    places = _place_rows(board, compared)
    incomplete.sort(key=lambda r: (places.get(r.key, 2.0), r.title))
    board.rows = _insert_reported(
        complete + incomplete, [r for r in board.rows if r.source == "reported"]
    )


def _choose_ranked(board: Board, rows: Sequence[Row], rank: str) -> list[str]:
    """Keys of the columns that count in the rank; `over` and `left_out` of the board say which."""
    asked = [c for c in board.columns if not rank or rank in (c.task, c.title)]
    having = [{c.key for c in board.columns if _mean(r, c.key) is not None} for r in rows]
    over = choose_columns(having, [c.key for c in asked])
    board.over = [c for c in asked if c.key in over]
    others = [c for c in asked if c.key not in over]
    board.left_out = {c.title: sum(c.key in row for row in having) for c in others}
    return over


def _place_rows(board: Board, rows: Sequence[Row]) -> dict[str, float]:
    """By key of each row with a result: the mean over its columns of its place among the rows that
    have the column, from 0, the best, to 1, the worst; .5 where it is alone."""
    places: dict[str, list[float]] = {}
    for column in board.columns:
        having = [(r.key, mean) for r in rows if (mean := _mean(r, column.key)) is not None]
        last = len(having) - 1
        order = ranks([-mean for _, mean in having])
        for (key, _), place in zip(having, order, strict=True):
            places.setdefault(key, []).append((place - 1) / last if last else 0.5)
    return {key: sum(each) / len(each) for key, each in places.items()}


def _mean(row: Row, column: str) -> float | None:
    """The mean that counts in the row's rank; that of a dead network does not."""
    entry = row.entries.get(column)
    return entry.mean if entry and not entry.dead else None


def _rank_rows(rows: list[Row], over: Sequence[str]) -> None:
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


def _insert_reported(rows: list[Row], reported: list[Row]) -> list[Row]:
    """What papers report, below the first row of its method, crop and settings. At the end what
    has no such
    row, unless it has settings of its own: a paper's ablations are a page of their own."""
    waiting: dict[tuple[str, str, str], list[Row]] = {}
    for row in reported:
        row.section = "reported"
        waiting.setdefault((row.method, row.crop, row.settings), []).append(row)
    ordered: list[Row] = []
    for row in rows:
        ordered.append(row)
        for reported_row in waiting.pop((row.method, row.crop, row.settings), []):
            reported_row.section = row.section
            ordered.append(reported_row)
    return ordered + [row for members in waiting.values() for row in members if not row.settings]
