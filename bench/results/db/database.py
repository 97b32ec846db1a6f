"""The results database, opened for writing and reading. Writes are idempotent, each of them one
transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, Engine, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.orm import Session, sessionmaker

from bench.core.stage import Provenance, StageRecord
from bench.results.db import queries, runs
from bench.results.db.connection import (
    PATIENCE,
    explain,
    for_writing,
    is_locked,
    make_engine,
    may_pass,
)
from bench.results.db.export import iterate_results
from bench.results.db.journal import Origin, annotate, origin_now
from bench.results.db.models import CellRow, CropRow, ProvenanceRow, StageRow
from bench.results.db.place import explain_url
from bench.results.db.records import (
    CellRecord,
    CropRecord,
    CropStatistics,
    LeaderboardRow,
    ResultRecord,
    RunRecord,
    StoredCell,
)
from bench.results.db.rows import (
    choose_imports,
    put_cell,
    put_result,
    read_cell,
    refuse_twins,
)
from bench.results.db.schema import upgrade_schema


def open_database(url: str) -> Database:
    """Open the database at an SQLAlchemy URL; it is made or upgraded first where that is needed.

    BadInput where the URL is none, or the database cannot be opened.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = make_engine(url)
        _upgrade_patiently(engine)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        raise explain_url(url, error) from None
    except (SQLAlchemyError, OSError) as error:
        raise explain(error, url, "opened") from None
    return Database(engine)


def _upgrade_patiently(engine: Engine) -> None:
    """Upgrade, tried again while another process that opens the file holds it (SQLite does not
    wait when it switches to its write-ahead log)."""
    until = time.monotonic() + PATIENCE
    for attempt in count(1):
        try:
            return upgrade_schema(engine)
        except OperationalError as error:
            if not is_locked(error) or time.monotonic() > until:
                raise
            time.sleep(min(0.02 * attempt, 0.3))


class Database:
    """The open database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.session = sessionmaker(engine)
        self._writing = sessionmaker(for_writing(engine))

    @property
    def url(self) -> str:
        """The URL with its password: for `redact` alone."""
        return self.engine.url.render_as_string(hide_password=False)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection for reading; what the database refuses is a DatabaseProblem."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise explain(error, self.url, "read") from None

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with self.connect() as connection, Session(connection) as session:
            yield session

    def _write(self, action: Callable[[Session], None]) -> None:
        """One transaction; tried again for `PATIENCE` seconds where another process wrote the same
        row first or holds the file, and where the connection was lost (every write is idempotent:
        it may have arrived). DatabaseProblem where that does not help.
        """
        until = time.monotonic() + PATIENCE
        for attempt in count(1):
            try:
                with self._writing.begin() as session:
                    action(session)
                return
            except SQLAlchemyError as error:
                passing = isinstance(error, DBAPIError) and may_pass(error)
                if not passing or time.monotonic() > until:
                    raise explain(error, self.url, "written") from None
                time.sleep(min(0.02 * attempt, 0.3))

    def record_stage(self, record: StageRecord, folder: str, provenance: Provenance) -> None:
        """Record a committed stage (`Stage.record()`), its folder relative to the store, and its
        provenance."""
        row = {
            "key": record["key"],
            "kind": record["kind"],
            "name": record["name"],
            "version": record["version"],
            "params": record["params"],
            "inputs": record["inputs"],
            "runner": record.get("runner", ""),
            "seconds": provenance.get("seconds"),
            "source_digest": provenance.get("source_digest") or "",
            "folder": folder,
        }

        def action(session: Session) -> None:
            session.merge(StageRow(**row))
            session.flush()
            session.merge(ProvenanceRow(stage_key=record["key"], record=provenance))

        self._write(action)

    def record_crop(self, record: StageRecord, stats: CropStatistics) -> None:
        """Record the statistics of a crop_stats stage that is recorded already."""
        params = record["params"]

        def action(session: Session) -> None:
            data = session.get(StageRow, record["inputs"]["data"])
            row = CropRow(
                stage_key=record["key"],
                crop=record["name"],
                data=data.name if data else "",
                data_key=record["inputs"]["data"],
                split=params["split"],
                source=params["source"],
                params=params["crop"]["params"],
                stats=stats,
            )
            session.merge(row)

        self._write(action)

    def record_cell(self, cell: CellRecord, state: str, reason: str | None = None) -> None:
        """Record a cell (`describe_cell`) and its state."""

        def action(session: Session) -> None:
            put_cell(session, cell, state, reason, origin_now())

        self._write(action)

    def record_result(
        self, record: ResultRecord, source: str = "measured", origin: Origin | None = None
    ) -> None:
        """Record a result (`describe_result`); its cell becomes done. Recording it again changes
        nothing. origin: who made it, and when, if that is not this process now."""
        if source == "measured" and origin is None:
            origin = origin_now()
        self._write(lambda session: put_result(session, record, source, origin))

    def record_import(self, records: Sequence[ResultRecord], where: str) -> tuple[int, int]:
        """Record the results of an export (`check_import`), all of them or none; (how many were
        recorded, how many are known here, as measured or better).

        What was measured here, with the same numbers, is not imported, and neither is what the
        exporter had imported of a cell that it had measured too. BadInput where a result would be
        a second one of a row and seed.
        """
        counts = (0, 0)

        def action(session: Session) -> None:
            nonlocal counts
            chosen = choose_imports(session, records)
            refuse_twins(session, chosen, where)
            for record in chosen:
                put_result(session, record, "imported")
            counts = len(chosen), len(records) - len(chosen)

        self._write(action)
        return counts

    def find_unrecorded(self, keys: Iterable[str]) -> set[str]:
        """Those of the stages that are not in the database."""
        asked = set(keys)
        with self._read() as session:
            return asked - {
                key for (key,) in session.query(StageRow.key).where(StageRow.key.in_(asked))
            }

    def read_rows(self, validation: bool = False, **filters: Any) -> list[LeaderboardRow]:
        """Leaderboard rows: cells equal in everything but the seed are one row.

        Filters are column=values (`method=["orl"]`). The rows come with the best headline first
        within a task and scale. Cells that are scored on a part of the training images (`holdout`)
        are left out, unless `validation` is set.
        """
        return self.read_best(None, validation, **filters)[0]

    def read_best(
        self, limit: int | None, validation: bool = False, **filters: Any
    ) -> tuple[list[LeaderboardRow], int]:
        """The best `limit` rows of every board (None: all), and how many rows there are in all."""
        if not validation:
            filters["validation"] = [False]
        with self.connect() as connection:
            heads = queries.select_heads(connection, filters)
            boards: dict[tuple[str, ...], list[queries.Head]] = {}
            for head in heads:
                boards.setdefault(head.board, []).append(head)
            wanted = [head for members in boards.values() for head in members[:limit]]
            return sorted(queries.read_rows(connection, wanted), key=_sort_key), len(heads)

    def read_names(self, column: str) -> set[str]:
        """The different values that cells have in a column, such as "method"."""
        with self.connect() as connection:
            return set(connection.scalars(select(getattr(CellRow, column)).distinct()))

    def read_rows_of(self, labels: Iterable[str]) -> list[LeaderboardRow]:
        """The rows that contain these cells, with all their seeds."""
        with self.connect() as connection:
            groups: list[str] = []
            for some in queries.split_in_parts(labels):
                query = select(CellRow.group).where(CellRow.label.in_(some)).distinct()
                groups += connection.scalars(query)
        return self.read_rows(validation=True, group=groups) if groups else []

    def read_cells(self, state: str | None = None, **filters: Any) -> list[StoredCell]:
        """Every cell, or those in one state, with its state and reason. Filters are
        column=values, as those of `read_rows`."""
        wanted = {**filters, "state": [state] if state else None}
        with self._read() as session:
            query = queries.narrow_query(select(CellRow), wanted).order_by(CellRow.label)
            return [read_cell(row) for row in session.scalars(query)]

    def read_runs(
        self,
        limit: int | None = None,
        user: str | None = None,
        tag: str | None = None,
        **filters: Any,
    ) -> list[RunRecord]:
        """Cells with their journal, the last changed first; filters as those of `read_cells`."""
        with self._read() as session:
            return runs.read_runs(session, limit, user, tag, filters)

    def annotate(
        self, label: str, note: str | None = None, tags: Sequence[str] | None = None
    ) -> None:
        """Replace a cell's note or its tags."""
        self._write(lambda session: annotate(session, label, note, tags))

    def find_cells(self, prefix: str) -> list[StoredCell]:
        """The cells whose label starts with this."""
        with self._read() as session:
            return runs.find_cells(session, prefix)

    def find_users(self, key: str) -> list[str]:
        """kind/name and key of the recorded stages that have a stage as an input."""
        with self._read() as session:
            return runs.find_users(session, key)

    def delete(self, key: str) -> None:
        """Delete a stage, the cell whose last stage it is, and what is recorded of both."""
        self._write(lambda session: runs.delete(session, key))

    def read_crops(self) -> list[CropRecord]:
        """Every crop's statistics."""
        fields = [c.key for c in CropRow.__table__.columns]
        with self._read() as session:
            rows = session.query(CropRow).order_by(CropRow.crop, CropRow.stage_key)
            return [
                cast("CropRecord", {name: getattr(row, name) for name in fields}) for row in rows
            ]

    def iterate_results(self) -> Iterator[ResultRecord]:
        """Every result, sorted by its cell's label and its source: what an export writes. All are
        of one moment, whoever writes meanwhile."""
        with self.connect() as connection:
            if self.engine.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield from iterate_results(connection)

    def read_results(self) -> list[ResultRecord]:
        """All that `iterate_results` yields."""
        return list(self.iterate_results())


def _sort_key(row: LeaderboardRow) -> tuple[Any, ...]:
    headline = row["metrics"].get(row["headline"])
    mean = headline["mean"] if headline else float("-inf")
    names = (row["task"], row["scale"], row["pretrain_data"], row["task_data"], row["engine"])
    where = (*names, row["pretrain_data_key"], row["task_data_key"])
    return (*where, row["dead"], -mean, row["method"], row["crop"], row["cells"])
