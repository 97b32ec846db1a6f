"""A paper's table with what was measured beside it, as plain data (`measured` makes it)."""

from __future__ import annotations

from typing import TypedDict

from bench.core.statistics import Summary
from bench.results.views.differences import Contrast, Verdict
from bench.results.views.marks import Mark
from bench.results.views.ranking import RankCorrelation


class Measured(TypedDict):
    """What was measured of a cell of the table."""

    measured: Summary | None  # over seeds
    values: dict[int, float]  # by seed
    seeds: list[int]
    cells: list[str]  # labels
    others: int  # further results of these names and settings, by other versions of code or data
    reason: str | None
    state: str  # measured, dead, reported only, not run, or how the cell ended (failed, ...)


class ComparedCell(Measured):
    """A number of the paper and its notes, beside what was measured."""

    reported: float
    notes: str
    doubtful: bool
    repeats: str | None  # the table that prints the number already
    mark: Mark | None  # of what was measured, among the rows of its column


class ComparedColumn(TypedDict):
    """A column: the paper's names, our task and metric.

    `correlation` is the rank correlation between its reported and measured numbers, without
    doubtful ones, each different cell once; None for fewer than 3.
    """

    name: str
    task: str
    protocol: str
    reported: str
    runs: str
    metric: str
    reported_only: str | None
    correlation: RankCorrelation | None


class ComparedRow(TypedDict):
    """A row, its settings at the scale, and its cells by column."""

    label: str
    method: str
    crop: str
    overrides: dict[str, str]
    note: str
    reported_only: str | None
    cells: dict[str, ComparedCell]


class Comparison(TypedDict):
    """Two rows in a column. The differences are those of the better row to the worse one.

    `possible` says whether both rows can be measured here, by different cells; `measured` is None
    where one of them was not. `verdict`: `bench.results.views.differences.judge`.
    """

    better: str
    worse: str
    column: str
    reported: float
    possible: bool
    measured: Contrast | None
    verdict: Verdict


class ComparedClaim(TypedDict):
    """A claim of the paper. `state`: "supported" where every comparison that can be measured here
    was and supports it, "contradicted" where one contradicts it, else "undecided"."""

    text: str
    source: str
    doubt: str | None
    state: Verdict
    comparisons: list[Comparison]


class PlainCitation(TypedDict):
    """A paper, field by field and as one line of `text`."""

    paper: str
    title: str
    authors: str
    venue: str
    year: int
    text: str


class ComparedTable(TypedDict):
    """The whole table at a scale."""

    name: str
    paper: str
    table: str
    caption: str
    scale: str
    citation: PlainCitation
    columns: list[ComparedColumn]
    rows: list[ComparedRow]
    claims: list[ComparedClaim]
