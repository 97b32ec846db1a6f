"""A paper's table with what was measured beside it, as plain data (`measured` makes it)."""

from __future__ import annotations

from typing import TypedDict

from bench.core.statistics import Difference, Summary


class Measured(TypedDict):
    """What was measured of a cell of the table."""

    measured: Summary | None  # over seeds
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


class ComparedColumn(TypedDict):
    """A column: the paper's names, our task and metric.

    `spearman` is the rank correlation between its reported and measured numbers over `pairs` rows,
    without doubtful ones, each different cell once; None for fewer than 3.
    """

    name: str
    task: str
    protocol: str
    reported: str
    runs: str
    metric: str
    reported_only: str | None
    spearman: float | None
    pairs: int


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

    `holds` says whether the measured difference is positive, `separated` whether its interval
    leaves out 0 (None for one seed); all three are None where one of the rows was not measured.
    """

    better: str
    worse: str
    column: str
    reported: float
    measured: Difference | None
    holds: bool | None
    separated: bool | None


class ComparedClaim(TypedDict):
    """A claim of the paper. `state`: "holds" where every comparison that was measured does, "does
    not hold", or "not measured"."""

    text: str
    source: str
    doubt: str | None
    state: str
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
