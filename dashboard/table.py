"""Where the parts of the leaderboard's table lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.results.html.board import Links
from bench.results.views.board import Column, Row
from bench.results.views.entries import Entry
from dashboard.look import href


def link_board(where: Mapping[str, str], choices: Mapping[str, Sequence[str]]) -> Links:
    """Links to the pages of results. `where` says which board it is, for cells that do not exist;
    `choices` is the page's address, for the headings, which sort."""

    def sort(rank: str) -> str:
        return href("leaderboard", **{**choices, "rank": rank})

    def empty(row: Row, column: Column) -> str:
        return href("cell", row=row.key, column=column.key, **where)

    return Links(sort, link_result, empty)


def link_result(entry: Entry) -> str:
    """The page of all seeds of a result; that of the cell where there is only one cell, without a
    result."""
    label = min(entry.labels.items())[1]
    if not entry.values and len(entry.labels) == 1:
        return href("cell", key=label[:16])
    return href("result", key=label[:16], source=entry.source)
