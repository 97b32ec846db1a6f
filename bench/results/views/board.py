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
from dataclasses import dataclass, field
from operator import add

from bench.core.collector import collector_off
from bench.results.views.entries import Entry
from bench.results.views.fullest import choose_columns
from bench.results.views.marks import Mark
from bench.results.views.memo import Memo
from bench.results.views.ranking import ranks
from bench.results.views.standings import Standings, look_at_column

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

    def copy(self) -> Row:
        """The row before it is ranked, with the same entries."""
        return Row(
            *(self.key, self.method, self.crop, self.note, self.source, self.settings),
            entries=self.entries,
        )


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
    standings: Mapping[str, Standings] = field(default_factory=dict, compare=False)  # by column


@dataclass(frozen=True)
class Table:
    """Every row and column of a scale and pretraining set, before any choice."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    contents: tuple[str, ...]  # keys of the pretraining set's contents, most results first
    names: Mapping[str, str] = field(default_factory=dict)  # what the user calls those contents


def make_board(
    table: Table,
    choice: Choice,
    changed: frozenset[str] = frozenset(),
    memo: Memo | None = None,
) -> Board:
    """What `choice` shows of a table. `changed`: labels of cells whose code has changed since.
    `memo`: of the last board of this choice; columns whose results have not changed since are
    taken from it."""
    with collector_off():
        return _make_board(table, choice, changed, memo or Memo())


def _make_board(table: Table, choice: Choice, changed: frozenset[str], memo: Memo) -> Board:
    shown = [
        c
        for c in table.columns
        if (not choice.tasks or c.task in choice.tasks)
        and (not choice.engines or c.engine in choice.engines)
    ]
    total = sum(row.source in COMPARED for row in table.rows)
    every = choice == Choice(rank=choice.rank)  # each row of a table has an entry
    rows = [row.copy() for row in table.rows if every or _is_shown(row, shown, choice, changed)]
    board = Board(shown, rows, total, rank=choice.rank)
    compared = [row for row in rows if row.source in COMPARED]
    board.standings = standings = _look_at_columns(board, compared, memo)
    _order_rows(board, compared, choice, standings, memo)
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
    if choice.seeds > 1 and any(e.values and e.n < choice.seeds for e in entries):
        return False
    if choice.code and changed.isdisjoint(_labels(entries)) != (choice.code == "current"):
        return False
    return bool(entries)


def _labels(entries: Iterable[Entry]) -> set[str]:
    return {e.labels[seed] for e in entries for seed in e.values}


def _look_at_columns(board: Board, rows: Sequence[Row], memo: Memo) -> dict[str, Standings]:
    """Fill in the marks, the best entry and the range of each column, over what was measured; the
    standings by key of the column."""
    seeds: Counter[int] = Counter()
    standings: dict[str, Standings] = {}
    for column in board.columns:
        at = column.key
        having = [
            (row.key, entry)
            for row in rows
            if (entry := row.entries.get(at)) and entry.mean is not None and not entry.dead
        ]
        keys, entries = [key for key, _ in having], [entry for _, entry in having]

        def look(at: str = at, keys: list[str] = keys, e: list[Entry] = entries) -> Standings:
            return look_at_column(at, keys, e)

        standing = standings[at] = memo.get(("column", at), [*keys, *entries], look)
        board.marks.update(standing.marks)
        seeds += standing.seeds
        if standing.best is not None:
            board.best[at] = standing.best
        if entries:
            board.spans[at] = standing.span
    board.usual_n = max(seeds, key=lambda n: (seeds[n], n), default=1)
    return standings


def _order_rows(
    board: Board,
    compared: Sequence[Row],
    choice: Choice,
    standings: Mapping[str, Standings],
    memo: Memo,
) -> None:
    """Ranked rows first, then incomplete ones, then what papers report where no row of its name is
    shown."""
    over = _choose_ranked(board, compared, choice.rank, standings, memo)
    keys = set.intersection(*(set(standings[at].means) for at in over)) if over else set()
    complete = [row for row in compared if row.key in keys]
    _rank_rows(complete, over, standings, memo)
    incomplete = [row for row in compared if row.key not in keys]
    for row in incomplete:
        row.section = "incomplete"
    places = [standing.places for standing in standings.values()]
    incomplete.sort(key=lambda r: (_mean_place(r.key, places), r.title))
    board.rows = _insert_reported(
        complete + incomplete, [r for r in board.rows if r.source == "reported"]
    )


def _choose_ranked(
    board: Board,
    rows: Sequence[Row],
    rank: str,
    standings: Mapping[str, Standings],
    memo: Memo,
) -> list[str]:
    """Keys of the columns that count in the rank; `over` and `left_out` of the board say which."""
    asked = [c for c in board.columns if not rank or rank in (c.task, c.title)]
    means = {at: standing.means for at, standing in standings.items()}

    def choose() -> list[str]:
        having = ({at for at, of in means.items() if row.key in of} for row in rows)
        return choose_columns(having, [c.key for c in asked])

    # each key is that of a row, and a column's end with its own
    having = [key for at, of in means.items() for key in (*of, at)]
    rows_asked = [row.key for row in rows]
    over = memo.get("over", [*(c.key for c in asked), None, *rows_asked, None, *having], choose)
    board.over = [c for c in asked if c.key in over]
    others = [c for c in asked if c.key not in over]
    board.left_out = {c.title: len(means[c.key]) for c in others}
    return over


def _mean_place(row: str, places: Sequence[Mapping[str, float]]) -> float:
    """The mean of a row's places in the columns that it has, by its key; behind all others where
    it has none."""
    each = [of[row] for of in places if row in of]
    return sum(each) / len(each) if each else 2.0


def _rank_rows(
    rows: list[Row], over: Sequence[str], standings: Mapping[str, Standings], memo: Memo
) -> None:
    """Sort `rows` by the mean of their ranks in the columns `over`; the same mean is the same
    rank."""
    totals = [0.0] * len(rows)
    for column in over:
        of = standings[column].means
        means = [of[row.key] for row in rows]

        def rank(means: list[float] = means) -> list[float]:
            return ranks([-mean for mean in means])

        totals = list(map(add, totals, memo.get(("ranks", column), means, rank)))
    for row, total in zip(rows, totals, strict=True):
        row.mean_rank = total / len(over)
    rows.sort(key=lambda r: (r.mean_rank or 0.0, r.title))
    for at, row in enumerate(rows):
        same = at > 0 and row.mean_rank == rows[at - 1].mean_rank
        row.rank = rows[at - 1].rank if same else at + 1


def _insert_reported(rows: list[Row], reported: list[Row]) -> list[Row]:
    """What papers report, below the first row of its method, crop and settings. At the end what
    has no such row, unless it has settings of its own: a paper's ablations are a page of their
    own."""
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
