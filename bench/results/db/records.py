"""The rows that go into the database and come out of it, as plain data with named fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from bench.core.statistics import Summary


class CellNames(TypedDict):
    """What a cell, and a row of a leaderboard, are made of."""

    method: str
    crop: str
    task: str
    scale: str
    pretrain_data: str
    task_data: str
    engine: str


class CellRecord(CellNames):
    """A cell. `label` is its identity; cells of one `group` differ in the seed only.

    `pretrain_name` and `task_name` are what the user calls the data, "" where that is nothing.
    `pretraining` and `protocol` are digests of its seedless pretraining and of the rest of its
    final stage: its row and its column on a board. Keys and digests are "" where there is none.
    """

    seed: int
    overrides: dict[str, str]
    pretrain_data_key: str
    task_data_key: str
    pretrain_name: str
    task_name: str
    pretraining: str
    protocol: str
    label: str
    group: str
    command: str


class StoredCell(CellRecord):
    """A cell of the database, with how it ended: done, running, failed, interrupted or
    unsupported, and why."""

    state: str
    reason: str | None


class RunRecord(StoredCell):
    """A cell with its headline metric, who asked for it, when its state last changed (seconds
    since 1970), and its note and tags. source: "measured", "imported" or "" where it has no
    result."""

    headline: str
    value: float | None
    source: str
    user: str
    changed: float | None
    note: str
    tags: list[str]


class ResultRecord(TypedDict):
    """The content of `result.json`, and a line of an export (which has `source` and lacks
    `stages` and `seconds`)."""

    schema: int
    source: NotRequired[str]  # "measured" here or "imported" from elsewhere
    headline: str
    cell: CellRecord
    metrics: dict[str, float]
    order: list[str]  # the names of the metrics, as the task lists them
    stages: NotRequired[list[str]]  # keys
    seconds: NotRequired[float | None]


class LeaderboardRow(CellNames):
    """The cells of one group from one source: they are equal in everything but the seed."""

    pretrain_data_key: str  # rows of another content of the data are another board's
    task_data_key: str
    pretrain_name: str  # what the user calls the data, or ""
    task_name: str
    group: str
    pretraining: str
    seeds: list[int]
    metrics: dict[str, Summary]  # over seeds
    scores: dict[str, dict[int, float]]  # every metric's value by seed
    headline: str
    overrides: dict[str, str]
    source: str
    cells: list[str]  # labels
    dead: bool  # one of its networks is (`bench.contracts.task.DEAD`)


class PooledMean(TypedDict):
    """The mean over all crops of all images, a share of 1; None where there is no crop. `ci95` is
    the half-width of the 95 % interval over images, None for fewer than two."""

    mean: float | None
    ci95: float | None
    n: int  # crops


class CropStatistics(TypedDict):
    """What `stats.json` says of a crop's regions, as far as it is read here: their objectness, and
    the shares of poor, coarse and precise ones."""

    objectness: PooledMean
    poor: PooledMean
    coarse: PooledMean
    precise: PooledMean


class CropRecord(TypedDict):
    """The statistics of a crop on a split of a data set (a crop_stats stage)."""

    stage_key: str
    crop: str
    data: str
    data_key: str
    split: str
    source: str  # of the objects: "boxes" or "masks"
    params: Mapping[str, Any]  # of the crop
    stats: CropStatistics
