"""What papers report, as entries of a board: beside what is measured, never averaged or ranked
with it."""

from __future__ import annotations

from functools import cache

from bench.contracts.component import SCALES
from bench.plan.options import default_data
from bench.results.papers.reported import CITATIONS, Value, list_table_names
from bench.results.papers.tables import Column, Row, load_table
from bench.results.views.entries import Entry


@cache
def list_reported(data: str) -> tuple[Entry, ...]:
    """The numbers whose method, crop and task there are here, of networks pretrained on `data`;
    one for every
    paper, method, crop, settings, task and metric: the first that the paper prints."""
    entries: dict[str, Entry] = {}
    for name in list_table_names():
        table = load_table(name)
        rows, columns = {r.label: r for r in table.rows}, {c.name: c for c in table.columns}
        for (label, title), value in table.values().items():
            row, column = rows[label], columns[title]
            pretrained = column.data or row.data or table.data or default_data(SCALES[-1])
            wanted = (
                row.reported_only is None and column.reported_only is None and not value.repeats
            )
            if wanted and pretrained == data:
                entry = _make_entry(row, column, value)
                entries.setdefault(entry.group, entry)
    return tuple(entries.values())


def _make_entry(row: Row, column: Column, value: Value) -> Entry:
    citation = CITATIONS[value.paper]
    first = citation.authors.partition(",")[0].split()[-1]
    settings = {**row.settings, **row.by_scale.get(SCALES[-1], {}), **column.settings}
    doubt = f"; {value.notes}" if value.notes else ""
    pretraining = "/".join(
        (value.paper, row.method, row.crop, *map(str, sorted(settings.items())))
    )
    return Entry(
        group=f"{pretraining}/{column.runs}/{column.metric}",
        source="reported",
        method=row.method,
        crop=row.crop,
        task=column.runs,
        scale=SCALES[-1],
        pretrain_data=value.pretrain_data,
        pretrain_data_key="",
        task_data="",
        task_data_key="",
        engine="",
        overrides=settings,
        pretraining=pretraining,
        protocol="",
        command="",
        headline=column.metric,
        mean=value.value,
        cited=f"{first} {citation.year}",
        reason=f"{value.row_label}, {value.protocol}; {citation}, table {value.table}{doubt}",
    )
