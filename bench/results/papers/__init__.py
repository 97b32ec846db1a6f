"""The papers' tables as data: which cells their rows and columns are, and what was measured of
them."""

from bench.results.papers.measured import compare, put_beside, read_recorded
from bench.results.papers.tables import Claim, Column, Row, Table, listing, load

__all__ = [
    "Claim",
    "Column",
    "Row",
    "Table",
    "compare",
    "listing",
    "load",
    "put_beside",
    "read_recorded",
]
