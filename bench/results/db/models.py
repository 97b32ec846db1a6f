"""The results database: stages, cells, results, metrics, provenance (SQLAlchemy 2 declarative)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# rows that differ in one may not be compared
BOARD = ("scale", "pretrain_data", "task", "task_data", "engine")


class Base(DeclarativeBase):
    """All tables."""


class StageRow(Base):
    """A committed stage."""

    __tablename__ = "stages"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), index=True)
    name: Mapped[str] = mapped_column(String(128))
    version: Mapped[int] = mapped_column(Integer)
    params: Mapped[dict[str, Any]] = mapped_column(JSON)
    inputs: Mapped[dict[str, str]] = mapped_column(JSON)
    folder: Mapped[str] = mapped_column(Text)  # relative to the store
    runner: Mapped[str] = mapped_column(String(128), server_default="", default="")
    # of its code
    source_digest: Mapped[str] = mapped_column(String(64), server_default="", default="")
    seconds: Mapped[float | None] = mapped_column(Float(53))


class ProvenanceRow(Base):
    """Where a stage comes from: commit, packages, host, device, wall time, tracker."""

    __tablename__ = "provenance"
    stage_key: Mapped[str] = mapped_column(
        ForeignKey("stages.key", ondelete="CASCADE"), primary_key=True
    )
    record: Mapped[dict[str, Any]] = mapped_column(JSON)


class CropRow(Base):
    """Objectness statistics of a crop on a split of a data set (a crop_stats stage)."""

    __tablename__ = "crop_stats"
    stage_key: Mapped[str] = mapped_column(
        ForeignKey("stages.key", ondelete="CASCADE"), primary_key=True
    )
    crop: Mapped[str] = mapped_column(String(128), index=True)
    data: Mapped[str] = mapped_column(String(128))
    data_key: Mapped[str] = mapped_column(String(64))
    split: Mapped[str] = mapped_column(String(32))
    source: Mapped[str] = mapped_column(String(16))
    params: Mapped[dict[str, Any]] = mapped_column(JSON)
    stats: Mapped[dict[str, Any]] = mapped_column(JSON)


class CellRow(Base):
    """A cell that was asked for, and how it ended: done, running, failed, interrupted,
    unsupported.

    `label` is the cell's identity: its final stage's key, or for a cell without one a digest of
    its names.
    """

    __tablename__ = "cells"
    label: Mapped[str] = mapped_column(String(64), primary_key=True)
    method: Mapped[str] = mapped_column(String(128))
    crop: Mapped[str] = mapped_column(String(128))
    task: Mapped[str] = mapped_column(String(128))
    scale: Mapped[str] = mapped_column(String(32))
    pretrain_data: Mapped[str] = mapped_column(String(128))
    pretrain_data_key: Mapped[str] = mapped_column(String(64))
    task_data: Mapped[str] = mapped_column(String(128))
    task_data_key: Mapped[str] = mapped_column(String(64))
    # what the user calls the data
    pretrain_name: Mapped[str] = mapped_column(String(64), server_default="", default="")
    task_name: Mapped[str] = mapped_column(String(64), server_default="", default="")
    engine: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int] = mapped_column(Integer)
    overrides: Mapped[dict[str, str]] = mapped_column(JSON)
    # digest of everything but the seed: a leaderboard row
    group: Mapped[str] = mapped_column(String(64))
    # Digests of the seedless pretraining and of the rest of the final stage: a row and a column of
    # a board.
    pretraining: Mapped[str] = mapped_column(String(64), server_default="", default="")
    protocol: Mapped[str] = mapped_column(String(64), server_default="", default="")
    # `holdout`
    validation: Mapped[bool] = mapped_column(Boolean, server_default=false(), default=False)
    command: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str | None] = mapped_column(Text)
    __table_args__ = (
        Index("cells_by_names", "task", "method", "crop", "scale"),
        Index("cells_by_group", "group"),
        Index("cells_board", *BOARD, "group", "label", "seed", "state", "validation"),
    )


class JournalRow(Base):
    """Who asked for a cell, when its state last changed (seconds since 1970), and what people
    write about it."""

    __tablename__ = "journal"
    label: Mapped[str] = mapped_column(
        ForeignKey("cells.label", ondelete="CASCADE"), primary_key=True
    )
    user: Mapped[str] = mapped_column(String(64), server_default="", default="")
    changed: Mapped[float | None] = mapped_column(Float(53))
    note: Mapped[str] = mapped_column(Text, server_default="", default="")
    tags: Mapped[str] = mapped_column(Text, server_default="", default="")  # with commas


class ResultRow(Base):
    """The evaluation of a cell. `source`: "measured" here, or "imported" from elsewhere."""

    __tablename__ = "results"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    label: Mapped[str] = mapped_column(ForeignKey("cells.label", ondelete="CASCADE"), index=True)
    source: Mapped[str] = mapped_column(String(16))
    headline: Mapped[str] = mapped_column(String(64))
    value: Mapped[float | None] = mapped_column(Float(53))  # of the headline metric
    __table_args__ = (
        UniqueConstraint("label", "source"),
        Index("results_board", "label", "source", "headline", "value"),
    )


class MetricRow(Base):
    """One number of a result; `position` keeps the task's order."""

    __tablename__ = "metrics"
    result_id: Mapped[int] = mapped_column(
        ForeignKey("results.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[float] = mapped_column(Float(53))
    position: Mapped[int] = mapped_column(Integer)
