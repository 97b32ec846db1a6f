"""Every number of a paper's table that was measured here too, beside the printed one."""

from __future__ import annotations

from typing import TypedDict

from bench.results.papers.compared import ComparedTable


class Pair(TypedDict):
    """A number in percent, as the paper prints it and as the mean over seeds measured here."""

    row: str
    column: str
    reported: float
    measured: float
    ci95: float | None  # half-width of the 95 % t-interval over seeds
    n: int
    seeds: list[int]
    cell: str  # label of one of its cells


HEADS = tuple(Pair.__annotations__)


def list_pairs(frame: ComparedTable) -> list[Pair]:
    """A pair for each number that was measured, in the order of the table."""
    return [
        {
            "row": row["label"],
            "column": column,
            "reported": cell["reported"],
            "measured": cell["measured"]["mean"],
            "ci95": cell["measured"]["ci95"],
            "n": cell["measured"]["n"],
            "seeds": cell["seeds"],
            "cell": cell["cells"][0],
        }
        for row in frame["rows"]
        for column, cell in row["cells"].items()
        if cell["measured"] is not None
    ]
