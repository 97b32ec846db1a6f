"""What was measured, as pandas tables."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.api.request import Names, join_names, widen

if TYPE_CHECKING:
    import pandas as pd

    from bench.results.db.database import Database
    from bench.results.db.records import LeaderboardRow

PLAIN = ("method", "crop", "task", "scale", "pretrain_data", "task_data", "engine")


def leaderboard(
    method: Names | None = None,
    crop: Names | None = None,
    task: Names | None = None,
    *,
    scale: Names | None = None,
    data: Names | None = None,
    validation: bool = False,
    limit: int | None = None,
) -> pd.DataFrame:
    """What was measured, the best headline metric first within a task, scale and data.

    A row is a cell without its seed. A metric is two columns: its mean over seeds, and NAME ci95,
    the half-width of the 95 % Student-t interval (missing for one seed). `mark` says of the
    headline metric whether the row is the best of its board, tied with it, worse, or unknown,
    among the rows returned; rows of different tasks, scales, engines or data share no board.

    method, crop, task, scale, data (of the pretraining): only these, as names or globs.
    validation: also what sweeps scored on a part of the training images. limit: rows of each
    board. Raises BadInput for a name that neither a component nor a result has.

    Examples:
        >>> len(bench.leaderboard(method="orl"))
        0
    """
    from bench.launch.session import open_runtime
    from bench.results.db.database import open_database

    database = open_database(open_runtime().database)
    rows, _ = read_board(database, (method, crop, task, scale, data), limit, validation)
    return frame_rows(rows)


Wanted = tuple[Names | None, Names | None, Names | None, Names | None, Names | None]


def read_board(
    database: Database, wanted: Wanted, limit: int | None, validation: bool = False
) -> tuple[list[LeaderboardRow], int]:
    """The best `limit` rows of every board (None: all) of the methods, crops, tasks, scales and
    data that the patterns stand for, and how many there are in all."""
    return database.read_best(limit, validation, **make_filters(database, wanted))


def make_filters(database: Database, wanted: Wanted) -> dict[str, list[str]]:
    """The names that each column of the results may have, by column; none where all may."""
    columns = ("method", "crop", "task", "scale", "pretrain_data")
    texts = {c: join_names(w) for c, w in zip(columns, wanted, strict=True)}
    return {column: _match(database, column, text) for column, text in texts.items() if text}


def _match(database: Database, column: str, patterns: str) -> list[str]:
    """The names of a column of the results, or of components, that a comma list of names and globs
    stands for; BadInput names the nearest one where a pattern stands for none."""
    from bench.contracts import registry
    from bench.contracts.component import SCALES
    from bench.core.errors import unknown

    kind = "data" if column == "pretrain_data" else column
    known = set(SCALES) if kind == "scale" else set(registry.names(kind))
    known |= database.read_names(column)
    matches: list[str] = []
    for pattern in filter(None, (each.strip() for each in str(widen(patterns)).split(","))):
        hits = [pattern] if pattern in known else fnmatch.filter(sorted(known), pattern)
        if not hits:
            raise unknown(kind, pattern, known, "bench leaderboard")
        matches += hits
    return matches


def frame_rows(rows: Sequence[LeaderboardRow]) -> pd.DataFrame:
    """Rows of the leaderboard as a table (see `leaderboard`)."""
    import pandas as pd

    marks = _mark_headlines(rows)
    lines: list[dict[str, Any]] = []
    for row, mark in zip(rows, marks, strict=True):
        line: dict[str, Any] = {name: row[name] for name in PLAIN}  # type: ignore[literal-required]
        line["overrides"] = " ".join(f"{k}={v}" for k, v in row["overrides"].items())
        line |= {"source": row["source"], "dead": row["dead"], "seeds": len(row["seeds"])}
        line |= {"headline": row["headline"], "mark": mark}
        for name, metric in row["metrics"].items():
            line[name], line[f"{name} ci95"] = metric["mean"], metric["ci95"]
        lines.append(line)
    first = [*PLAIN, "overrides", "source", "dead", "seeds", "headline", "mark"]
    return pd.DataFrame(lines, columns=None if lines else first)


def _mark_headlines(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Of each row, how its headline metric stands in its board."""
    from bench.results.views.labels import board_of
    from bench.results.views.marks import mark_column

    marks = ["unknown"] * len(rows)
    boards: dict[tuple[str, ...], list[int]] = {}
    for at, row in enumerate(rows):
        if row["headline"] in row["scores"] and not row["dead"]:
            boards.setdefault(board_of(row), []).append(at)
    for members in boards.values():
        column = mark_column([rows[at]["scores"][rows[at]["headline"]] for at in members])
        for at, mark in zip(members, column, strict=True):
            marks[at] = mark
    return marks


def results(
    method: Names | None = None,
    crop: Names | None = None,
    task: Names | None = None,
    *,
    scale: Names | None = None,
    data: Names | None = None,
) -> pd.DataFrame:
    """Every result as it was measured or imported: a row for each cell and seed.

    Columns: what the cell is, its seed, settings, source ("measured" or "imported") and key, then
    every metric. The arguments are those of `leaderboard`.

    Examples:
        >>> list(bench.results().columns)[:4]
        ['method', 'crop', 'task', 'scale']
    """
    import pandas as pd

    from bench.launch.session import open_runtime
    from bench.results.db.database import open_database

    database = open_database(open_runtime().database)
    filters = make_filters(database, (method, crop, task, scale, data))
    lines: list[dict[str, Any]] = []
    for result in database.iterate_results():
        cell: Mapping[str, Any] = result["cell"]
        if all(cell[column] in names for column, names in filters.items()):
            line = {name: cell[name] for name in (*PLAIN, "seed")}
            line["overrides"] = " ".join(f"{k}={v}" for k, v in cell["overrides"].items())
            line |= {"source": result.get("source", ""), "key": cell["label"]}
            lines.append(line | {name: result["metrics"][name] for name in result["order"]})
    first = [*PLAIN, "seed", "overrides", "source", "key"]
    return pd.DataFrame(lines, columns=None if lines else first)
