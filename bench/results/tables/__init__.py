"""The papers' tables as data: which cells their rows and columns are, and what was measured of them."""

from bench.results.tables.compare import compare
from bench.results.tables.model import Claim, Column, Row, Table, listing, load

__all__ = ["Claim", "Column", "Row", "Table", "compare", "listing", "load"]
