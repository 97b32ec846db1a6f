"""The results database, opened for writing and reading. Writes are idempotent, each of them one
transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.orm import Session, sessionmaker

from bench.core.errors import BadInput
from bench.core.redact import redact, redact_url
from bench.core.stage import Provenance, StageRecord
from bench.results.db import queries
from bench.results.db.models import CellRow, CropRow, MetricRow, ProvenanceRow, ResultRow, StageRow
from bench.results.db.place import explain_url
from bench.results.db.records import (
    CellRecord,
    CropRecord,
    CropStatistics,
    LeaderboardRow,
    ResultRecord,
    StoredCell,
)
from bench.results.db.schema import upgrade_schema

TRIES = 20  # of a write that collides with another process or loses its connection; 4 s in all
CONNECT_SECONDS = 10  # psycopg waits two minutes for a server that does not answer


def open_database(url: str) -> Database:
    """Open the database at an SQLAlchemy URL; it is made or upgraded first where that is needed.

    BadInput where the URL is none, or the database cannot be opened.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        waits = (
            {"connect_timeout": CONNECT_SECONDS}
            if parsed.get_backend_name() == "postgresql"
            else {}
        )
        engine = create_engine(url, pool_pre_ping=True, connect_args=waits)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _set_pragmas)
        _upgrade_patiently(engine)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        raise explain_url(url, error) from None
    except (DatabaseError, OSError) as error:
        reason = redact(" ".join(str(getattr(error, "orig", None) or error).split()), url)[:160]
        raise BadInput(
            f"the results database {redact_url(url)} cannot be opened ({reason}); if it is "
            "damaged, move it away and run: bench results rebuild"
        ) from None
    return Database(engine)


def _upgrade_patiently(engine: Engine) -> None:
    """Upgrade, tried again while another process that opens the file holds it (SQLite does not
    wait when it switches to its write-ahead log)."""
    for attempt in range(TRIES):
        try:
            return upgrade_schema(engine)
        except OperationalError as error:
            if "locked" not in str(error.orig) or attempt == TRIES - 1:
                raise
            time.sleep(0.02 * (attempt + 1))


def _set_pragmas(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    for pragma in (
        "busy_timeout=30000",
        "journal_mode=WAL",
        "foreign_keys=ON",
        "synchronous=NORMAL",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _may_pass(error: DBAPIError) -> bool:
    """Whether the same write may succeed a moment later."""
    if isinstance(error, IntegrityError) or error.connection_invalidated:
        return True
    state = str(getattr(error.orig, "sqlstate", None) or "")  # PostgreSQL's
    refused = isinstance(error, OperationalError) and "connection" in str(error.orig) and not state
    return "locked" in str(error.orig) or refused or state[:2] in ("08", "40", "57")


class Database:
    """The open database."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.session = sessionmaker(engine)

    def _write(self, action: Callable[[Session], None]) -> None:
        """One transaction; tried again where another process wrote the same row first or holds the
        file, and where the connection was lost (every write is idempotent: it may have arrived).
        """
        for attempt in range(TRIES):
            try:
                with self.session.begin() as session:
                    action(session)
                return
            except DBAPIError as error:
                if not _may_pass(error) or attempt == TRIES - 1:
                    raise
                time.sleep(0.02 * (attempt + 1))

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
            session.merge(_make_cell_row(cell, state, reason))

        self._write(action)

    def record_result(self, record: ResultRecord, source: str = "measured") -> None:
        """Record a result (`describe_result`); its cell becomes done. Recording it again changes
        nothing."""
        cell = record["cell"]

        def action(session: Session) -> None:
            if source == "measured" or session.get(CellRow, cell["label"]) is None:
                session.merge(_make_cell_row(cell, "done", None))
                session.flush()
            result = (
                session.query(ResultRow)
                .filter_by(label=cell["label"], source=source)
                .one_or_none()
            )
            if result is None:
                result = ResultRow(label=cell["label"], source=source, headline=record["headline"])
                session.add(result)
                session.flush()
            result.headline = record["headline"]
            result.value = record["metrics"].get(record["headline"])
            session.query(MetricRow).filter_by(result_id=result.id).delete()
            for position, name in enumerate(record["order"]):
                value = record["metrics"][name]
                session.add(
                    MetricRow(result_id=result.id, name=name, value=value, position=position)
                )

        self._write(action)

    def find_unrecorded(self, keys: Iterable[str]) -> set[str]:
        """Those of the stages that are not in the database."""
        asked = set(keys)
        with self.session() as session:
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
        with self.engine.connect() as connection:
            heads = queries.select_heads(connection, filters)
            boards: dict[tuple[str, ...], list[queries.Head]] = {}
            for head in heads:
                boards.setdefault(head.board, []).append(head)
            wanted = [head for members in boards.values() for head in members[:limit]]
            return sorted(queries.read_rows(connection, wanted), key=_sort_key), len(heads)

    def read_names(self, column: str) -> set[str]:
        """The different values that cells have in a column, such as "method"."""
        with self.engine.connect() as connection:
            return set(connection.scalars(select(getattr(CellRow, column)).distinct()))

    def read_rows_of(self, labels: Iterable[str]) -> list[LeaderboardRow]:
        """The rows that contain these cells, with all their seeds."""
        with self.engine.connect() as connection:
            groups: list[str] = []
            for some in queries.split_in_parts(labels):
                query = select(CellRow.group).where(CellRow.label.in_(some)).distinct()
                groups += connection.scalars(query)
        return self.read_rows(validation=True, group=groups) if groups else []

    def read_cells(self, state: str | None = None) -> list[StoredCell]:
        """Every cell, or those in one state, with its state and reason."""
        with self.session() as session:
            rows = session.query(CellRow).order_by(CellRow.label)
            return [_read_cell(row) for row in (rows.filter_by(state=state) if state else rows)]

    def read_crops(self) -> list[CropRecord]:
        """Every crop's statistics."""
        fields = [c.key for c in CropRow.__table__.columns]
        with self.session() as session:
            rows = session.query(CropRow).order_by(CropRow.crop, CropRow.stage_key)
            return [
                cast("CropRecord", {name: getattr(row, name) for name in fields}) for row in rows
            ]

    def read_results(self) -> list[ResultRecord]:
        """Every result, sorted by its cell's label and its source: what an export writes."""
        query = select(CellRow, ResultRow, MetricRow)
        query = query.join(ResultRow, ResultRow.label == CellRow.label)
        query = query.join(MetricRow, MetricRow.result_id == ResultRow.id)
        query = query.order_by(CellRow.seed, CellRow.label, MetricRow.position)
        records: dict[int, ResultRecord] = {}
        with self.session() as session:
            for cell, result, metric in session.execute(query):
                if result.id not in records:
                    records[result.id] = {
                        "schema": 1,
                        "source": result.source,
                        "headline": result.headline,
                        "cell": _cell_record(cell),
                        "metrics": {},
                        "order": [],
                    }
                records[result.id]["metrics"][metric.name] = metric.value
                records[result.id]["order"].append(metric.name)
        return sorted(records.values(), key=lambda r: (r["cell"]["label"], r.get("source", "")))


def is_validation(overrides: Mapping[str, Any]) -> bool:
    """Whether a cell with these settings is scored on a part of the training images."""
    return any(k.endswith(".holdout") and float(v) for k, v in overrides.items())


def _cell_record(row: CellRow) -> CellRecord:
    fields = [
        c.key for c in CellRow.__table__.columns if c.key not in ("state", "reason", "validation")
    ]
    return cast("CellRecord", {name: getattr(row, name) for name in fields})


def _read_cell(row: CellRow) -> StoredCell:
    return {**_cell_record(row), "state": row.state, "reason": row.reason}


def _make_cell_row(cell: CellRecord, state: str, reason: str | None) -> CellRow:
    fields = {c.key for c in CellRow.__table__.columns}
    values: dict[str, Any] = {k: v for k, v in cell.items() if k in fields}
    values |= {"state": state, "reason": reason, "validation": is_validation(cell["overrides"])}
    return CellRow(**values)


def _sort_key(row: LeaderboardRow) -> tuple[Any, ...]:
    headline = row["metrics"].get(row["headline"])
    mean = headline["mean"] if headline else float("-inf")
    where = (row["task"], row["scale"], row["pretrain_data"], row["task_data"], row["engine"])
    return (*where, row["dead"], -mean, row["method"], row["crop"], row["cells"])
