"""A table file, like `bench/results/data/tables/000_T1.toml`, as objects (format:
docs/design/tables.md)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, TypedDict

from bench.contracts.component import SCALES
from bench.core.errors import BadData, BadInput, nearest
from bench.plan.cell import Cell
from bench.plan.options import default_data
from bench.results.papers.reported import Value, list_table_names, values_of_table

# where every table pretrains on generated scenes, whatever the paper pretrains on
SMALLEST = SCALES[0]


@dataclass(frozen=True)
class Column:
    """One column of numbers: the paper's (task, protocol, reported) and, unless `reported_only`
    says why not, our task `runs` and its `metric`. `data` and `settings` are for the cells of this
    column alone."""

    name: str
    task: str
    protocol: str
    reported: str
    runs: str = ""
    metric: str = ""
    data: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    reported_only: str | None = None


@dataclass(frozen=True)
class Row:
    """One row: the method, the crop and the settings that make it, or why it is only reported."""

    label: str
    method: str = ""
    crop: str = ""
    data: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)  # at every scale
    by_scale: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    note: str = ""
    reported_only: str | None = None


@dataclass(frozen=True)
class Claim:
    """What the paper says of its rows: in every one of `orders`, best first, each row is above the
    next, in the named columns (none named: all). `doubt`: why the paper's own numbers do not bear
    it out."""

    text: str
    source: str
    orders: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...] = ()
    doubt: str | None = None


@dataclass(frozen=True)
class Table:
    """A table of a paper."""

    paper: str
    number: str
    caption: str
    data: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]

    @property
    def name(self) -> str:
        """`000/T1`."""
        return f"{self.paper}/{self.number}"

    def values(self) -> dict[tuple[str, str], Value]:
        """The reported numbers by (row label, column name)."""
        names = {(c.task, c.protocol, c.reported): c.name for c in self.columns}
        return {
            (v.row_label, names[v.column]): v for v in values_of_table(self.paper, self.number)
        }

    def cell(self, row: Row, column: Column, scale: str) -> Cell | None:
        """The cell (of seed 0, without the task's data) whose metric stands where the paper has a
        number; None where there is none to be measured."""
        reason = row.reported_only or column.reported_only
        if reason is not None or (row.label, column.name) not in self.values():
            return None
        data = default_data(scale)
        if scale != SMALLEST:
            data = column.data or row.data or self.data or data
        settings = {**row.settings, **row.by_scale.get(scale, {}), **column.settings}
        return Cell(row.method, row.crop, column.runs, data, "", scale, 0, tuple(settings.items()))

    def cells(self, scale: str) -> dict[Cell, list[tuple[str, str]]]:
        """Every different cell with the (row label, column name) it answers to."""
        cells: dict[Cell, list[tuple[str, str]]] = {}
        for row in self.rows:
            for column in self.columns:
                cell = self.cell(row, column, scale)
                if cell:
                    cells.setdefault(cell, []).append((row.label, column.name))
        return cells


class TableCounts(TypedDict):
    """A table, and how many rows, columns, values and claims it has."""

    name: str
    paper: str
    table: str
    caption: str
    rows: int
    columns: int
    values: int
    claims: int


def list_tables() -> list[TableCounts]:
    """Every table, in the order of the papers."""
    return [_count(load_table(name)) for name in list_table_names()]


def _count(table: Table) -> TableCounts:
    return {
        "name": table.name,
        "paper": table.paper,
        "table": table.number,
        "caption": table.caption,
        "rows": len(table.rows),
        "columns": len(table.columns),
        "values": len(table.values()),
        "claims": len(table.claims),
    }


@cache
def load_table(name: str) -> Table:
    """The table `000/T1`, or an error with the nearest name."""
    known = list_table_names()
    if name not in known:
        guess = nearest(name, known)
        hint = f" (did you mean {guess!r}?)" if guess else ""
        raise BadInput(f"unknown table {name!r}{hint}; try: bench table list")
    file = files("bench.results").joinpath(f"data/tables/{name.replace('/', '_')}.toml")
    paper, _, number = name.partition("/")
    return parse_table(paper, number, file.read_text(encoding="utf-8"))


def parse_table(paper: str, number: str, text: str) -> Table:
    """A table file's text; BadData where it is not TOML, has unknown fields, or does not agree
    with the reported numbers."""
    where = f"table {paper}/{number}"
    try:
        content = tomllib.loads(text)
        columns = tuple(c for block in content.pop("columns") for c in _parse_columns(**block))
        rows = tuple(_parse_row(**row) for row in content.pop("rows"))
        claims = tuple(_parse_claim(**claim) for claim in content.pop("claims", []))
        table = Table(
            paper, number, content.pop("caption"), content.pop("data", ""), columns, rows, claims
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise BadData(f"{where}: {error}") from None
    wrong = [*content, *_find_mistakes(table)]
    if wrong:
        raise BadData(f"{where} does not fit the reported numbers: {'; '.join(wrong[:3])}")
    return table


def _parse_columns(
    task: str,
    protocol: str,
    metrics: Any,
    prefix: str = "",
    runs: str = "",
    data: str = "",
    set: Mapping[str, str] | None = None,
    reported_only: str | None = None,
) -> list[Column]:
    """The columns of one (task, protocol); `metrics` maps reported ones to ours, or lists reported
    ones."""
    ours = metrics if reported_only is None else dict.fromkeys(metrics, "")
    shared: tuple[Any, ...] = (data, set or {}, reported_only)
    return [
        Column(f"{prefix} {reported}".strip(), task, protocol, reported, runs, metric, *shared)
        for reported, metric in ours.items()
    ]


def _parse_row(
    label: str,
    method: str = "",
    crop: str = "",
    data: str = "",
    set: Mapping[str, str] | None = None,
    note: str = "",
    reported_only: str | None = None,
    **by_scale: Mapping[str, str],
) -> Row:
    unknown = by_scale.keys() - SCALES
    if unknown or not (reported_only or (method and crop)):
        raise TypeError(
            f"row {label!r} needs method and crop, or reported_only; unknown: {sorted(unknown)}"
        )
    return Row(label, method, crop, data, set or {}, by_scale, note, reported_only)


def _parse_claim(
    text: str,
    source: str,
    orders: list[list[str]],
    columns: list[str] | None = None,
    doubt: str | None = None,
) -> Claim:
    return Claim(text, source, tuple(map(tuple, orders)), tuple(columns or ()), doubt)


def _find_mistakes(table: Table) -> list[str]:
    """What the file and the reported numbers do not share, and names that claims make up."""
    reported = values_of_table(table.paper, table.number)
    labels, names = [r.label for r in table.rows], [c.name for c in table.columns]
    pairs: list[tuple[str, set[Any], set[Any]]] = [
        ("row", set(labels), {v.row_label for v in reported}),
        (
            "column",
            {(c.task, c.protocol, c.reported) for c in table.columns},
            {v.column for v in reported},
        ),
    ]
    mistakes = [
        f"{what} {odd}" for what, mine, theirs in pairs for odd in sorted(mine ^ theirs, key=str)
    ]
    mistakes += [
        f"{name!r} twice" for name in [*labels, *names] if (labels + names).count(name) > 1
    ]
    for claim in table.claims:
        mistakes += [
            f"claim's row {x!r}" for order in claim.orders for x in order if x not in labels
        ]
        mistakes += [f"claim's column {x!r}" for x in claim.columns if x not in names]
    return mistakes
