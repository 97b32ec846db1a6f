"""The papers' tables as data: which cells their rows and columns are, and what was measured of them."""

from bench.results.tables.compare import beside, compare, recorded
from bench.results.tables.model import Claim, Column, Row, Table, listing, load

__all__ = [
    "Claim", "Column", "Row", "Table", "beside", "compare", "listing", "load", "recorded",
]  # fmt: skip
