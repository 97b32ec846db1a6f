"""Opening, writing and reading the results database. Writes are idempotent and each one
transaction."""

from __future__ import annotations

import fcntl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
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
from bench.results.db import queries
from bench.results.db.models import CellRow, CropRow, MetricRow, ProvenanceRow, ResultRow, StageRow

HEAD = "0003"  # the newest migration; a test compares it with the migrations folder
# Alembic's usual one belongs to Optuna, whose studies are in this database
VERSION_TABLE = "bench_version"
TRIES = 20  # of a write that collides with another process or loses its connection; 4 s in all
CONNECT_SECONDS = 10  # psycopg waits two minutes for a server that does not answer


def open_database(url: str) -> Database:
    """The database at an SQLAlchemy URL, made or upgraded if need be; one line where that cannot
    be."""
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
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise BadInput(
            f"BENCH_DB {url!r} is no database URL ({' '.join(str(error).split())[:100]}); "
            "try: BENCH_DB=sqlite:///FILE or postgresql+psycopg://..."
        ) from None
    except (DatabaseError, OSError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:160]
        raise BadInput(
            f"results database {_hide_password(url)} cannot be opened ({reason}); if it is damaged move "
            "it away and: "
            "bench results rebuild"
        ) from None
    return Database(engine)


def _upgrade_patiently(engine: Engine) -> None:
    """Upgrade, tried again while another process that opens the file holds it (SQLite does not
    wait when it switches to its write-ahead log)."""
    for attempt in range(TRIES):
        try:
            return _upgrade(engine)
        except OperationalError as error:
            if "locked" not in str(error.orig) or attempt == TRIES - 1:
                raise
            time.sleep(0.02 * (attempt + 1))


def _hide_password(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


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


def _read_version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def _adopt_version(connection: Connection) -> None:
    """Take over the version that a database from before `VERSION_TABLE` keeps in Alembic's own
    table, and leave that to Optuna, which keeps its version there."""
    tables = inspect(connection)
    if tables.has_table(VERSION_TABLE) or not tables.has_table("alembic_version"):
        return
    for (number,) in connection.execute(text("SELECT version_num FROM alembic_version")).all():
        if len(number) == len(HEAD) and number.isdecimal():
            connection.execute(
                text(f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) PRIMARY KEY)")
            )
            connection.execute(
                text(f"INSERT INTO {VERSION_TABLE} VALUES (:number)"), {"number": number}
            )
            connection.execute(text("DELETE FROM alembic_version"))
    connection.commit()


def _upgrade(engine: Engine) -> None:
    with engine.connect() as connection:
        if _read_version(connection) == HEAD:
            return
    with exclude_others(engine), engine.connect() as connection:
        _adopt_version(connection)
        found = _read_version(connection)
        if found == HEAD:
            return
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", "bench.results:migrations")
        config.set_main_option("path_separator", "os")
        known = {s.revision for s in ScriptDirectory.from_config(config).walk_revisions()}
        if found is not None and found not in known:
            raise BadInput(
                f"results database {_hide_password(str(engine.url))} has schema {found}, newer than this "
                "version's "
                f"{HEAD}; try: pip install --upgrade ssl-crop-bench"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


@contextmanager
def exclude_others(engine: Engine, what: str = "lock") -> Iterator[None]:
    """Only one process at a time is inside, of all that use this database, for each `what`; two
    that start together migrate once."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        with open(f"{engine.url.database}.{what}", "a") as handle:
            fcntl.lockf(handle, fcntl.LOCK_EX)
            yield
    elif engine.dialect.name == "postgresql":
        number = {"number": 7265636 + zlib.crc32(what.encode()) * (what != "lock")}
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:number)"), number)
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:number)"), number)
    else:
        yield


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

    def find_unrecorded(self, keys: Iterable[str]) -> set[str]:
        """Those of the stages that are not recorded."""
        asked = set(keys)
        with self.session() as session:
            return asked - {
                key for (key,) in session.query(StageRow.key).where(StageRow.key.in_(asked))
            }

    def record_stage(
        self, record: dict[str, Any], folder: str, provenance: dict[str, Any]
    ) -> None:
        """A committed stage (`Stage.record()`), its folder relative to the store, its provenance."""

        def action(session: Session) -> None:
            fields = {k: record[k] for k in ("key", "kind", "name", "version", "params", "inputs")}
            made = {
                "runner": record.get("runner", ""),
                "seconds": provenance.get("seconds"),
                "source_digest": provenance.get("source_digest") or "",
            }
            session.merge(StageRow(**fields, **made, folder=folder))
            session.flush()
            session.merge(ProvenanceRow(stage_key=record["key"], record=provenance))

        self._write(action)

    def record_crop(self, record: dict[str, Any], stats: dict[str, Any]) -> None:
        """The statistics of a crop_stats stage (`Stage.record()`) that is recorded already."""
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

    def read_crops(self) -> list[dict[str, Any]]:
        """Every crop's statistics: {crop, data, data_key, split, source, params, stats,
        stage_key}."""
        fields = [c.key for c in CropRow.__table__.columns]
        with self.session() as session:
            found = session.query(CropRow).order_by(CropRow.crop, CropRow.stage_key)
            return [{name: getattr(row, name) for name in fields} for row in found]

    def record_cell(self, cell: dict[str, Any], state: str, reason: str | None = None) -> None:
        """A cell (`cell_record`) and its state."""

        def action(session: Session) -> None:
            session.merge(_make_cell_row(cell, state, reason))

        self._write(action)

    def record_result(self, record: dict[str, Any], source: str = "measured") -> None:
        """A result record (`result_record`); its cell becomes done. Recording it again changes
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
                session.add(
                    MetricRow(
                        result_id=result.id,
                        name=name,
                        value=record["metrics"][name],
                        position=position,
                    )
                )

        self._write(action)

    def read_rows(self, validation: bool = False, **filters: Any) -> list[dict[str, Any]]:
        """Leaderboard rows: cells equal in everything but the seed are one row. Filters are
        column=values (`method=["orl"]`). Best headline first within a task and scale. Cells that
        are scored on a part of the training images (`holdout`) are left out but for `validation`.
        """
        return self.read_best(None, validation, **filters)[0]

    def read_best(
        self, limit: int | None, validation: bool = False, **filters: Any
    ) -> tuple[list[dict[str, Any]], int]:
        """The best `limit` rows of every board (None: all), and how many rows there are in all."""
        if not validation:
            filters["validation"] = [False]
        with self.engine.connect() as connection:
            found = queries.select_heads(connection, filters)
            shown: dict[tuple[str, ...], list[queries.Head]] = {}
            for head in found:
                shown.setdefault(head.board, []).append(head)
            wanted = [head for members in shown.values() for head in members[:limit]]
            return sorted(queries.read_rows(connection, wanted), key=_rank_of), len(found)

    def read_rows_of(self, labels: Iterable[str]) -> list[dict[str, Any]]:
        """The rows that contain these cells, with all their seeds."""
        with self.engine.connect() as connection:
            groups: list[str] = []
            for some in queries.split_in_parts(labels):
                query = select(CellRow.group).where(CellRow.label.in_(some)).distinct()
                groups += connection.scalars(query)
        return self.read_rows(validation=True, group=groups) if groups else []

    def read_cells(self, state: str | None = None) -> list[dict[str, Any]]:
        """Every cell, or those in one state, with its state and reason."""
        with self.session() as session:
            found = session.query(CellRow).order_by(CellRow.label)
            return [
                _describe_cell(row) for row in (found.filter_by(state=state) if state else found)
            ]

    def read_results(self) -> list[dict[str, Any]]:
        """Every result as {source, cell, headline, metrics, order}, sorted: what export writes."""
        with self.session() as session:
            found = _query_metrics(session)
        made: dict[int, dict[str, Any]] = {}
        for cell, result, metric in found:
            entry = made.setdefault(
                result.id,
                {
                    "schema": 1,
                    "source": result.source,
                    "headline": result.headline,
                    "cell": _cell_record(cell),
                    "metrics": {},
                    "order": [],
                },
            )
            entry["metrics"][metric.name] = metric.value
            entry["order"].append(metric.name)
        return sorted(made.values(), key=lambda r: (r["cell"]["label"], r["source"]))


def _describe_cell(row: CellRow) -> dict[str, Any]:
    return {**_cell_record(row), "state": row.state, "reason": row.reason}


def is_validation(overrides: Mapping[str, Any]) -> bool:
    """Whether a cell with these settings is scored on a part of the training images."""
    return any(k.endswith(".holdout") and float(v) for k, v in overrides.items())


def _cell_record(row: CellRow) -> dict[str, Any]:
    fields = [
        c.key for c in CellRow.__table__.columns if c.key not in ("state", "reason", "validation")
    ]
    return {name: getattr(row, name) for name in fields}


def _make_cell_row(cell: dict[str, Any], state: str, reason: str | None) -> CellRow:
    fields = {c.key for c in CellRow.__table__.columns}
    values = {k: v for k, v in cell.items() if k in fields}
    values |= {"state": state, "reason": reason, "validation": is_validation(cell["overrides"])}
    return CellRow(**values)


def _query_metrics(session: Session) -> list[Any]:
    query = session.query(CellRow, ResultRow, MetricRow).join(
        ResultRow, ResultRow.label == CellRow.label
    )
    query = query.join(MetricRow, MetricRow.result_id == ResultRow.id)
    return query.order_by(CellRow.seed, CellRow.label, MetricRow.position).all()


def _rank_of(row: dict[str, Any]) -> tuple[Any, ...]:
    headline = row["metrics"].get(row["headline"], {"mean": float("-inf")})
    where = (row["task"], row["scale"], row["pretrain_data"], row["task_data"], row["engine"])
    return (*where, -headline["mean"], row["method"], row["crop"], row["cells"])
