"""The one rule that says which result of a column is best and which cannot be told from it: for
the board's page, the terminal, the exports, the papers' tables and sweeps."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from math import fsum
from typing import Literal

from bench.results.views.differences import compare_values

Mark = Literal["best", "tied", "worse", "unknown"]
Values = Mapping[int, float]  # by seed

MEANINGS: dict[Mark, str] = {
    "best": "the highest mean of its column, of rows with two seeds or more",
    "tied": "not distinguishable from the best (Tukey's test, 5 % over all rows of the column)",
    "worse": "below the best",
    "unknown": "unknown, since there is one seed or nothing to compare with",
}
# of plain text, equally wide, so that digits stand below digits
SIGNS: dict[Mark, str] = {"best": "*", "tied": "≈", "worse": "<", "unknown": "?"}


KEPT = 256
_known: dict[bytes, tuple[Mark, ...]] = {}


def mark_column(rows: Sequence[Values]) -> list[Mark]:
    """Each row's mark among the rows of a column; every row has a value or more.

    "best" has the highest mean of the rows with two seeds or more, "tied" cannot be told from it,
    "worse" can, and a row of one seed is "unknown". So is everything where fewer than two of
    several rows have two seeds. "worse" needs both: Tukey's studentised range over all rows
    (`bench.results.views.multiple`), and the pair's own 95 % interval (`compare_values`), which
    asks nothing of the spread of other rows. Of boards whose rows are all equal in truth, at most
    5 % have any "worse". The marks of the last KEPT columns are kept: on a large board they cost
    more than all else, and a write changes one column.
    """
    numbers = array("d", (x for values in rows for pair in values.items() for x in pair))
    counts = array("q", map(len, rows))
    key = blake2b(counts.tobytes() + numbers.tobytes(), digest_size=16).digest()
    marks = _known.get(key)
    if marks is None:
        marks = _known[key] = tuple(_mark(rows))
        for old in list(_known)[:-KEPT]:
            _known.pop(old, None)
    return list(marks)


def _mark(rows: Sequence[Values]) -> list[Mark]:
    marks: list[Mark] = ["unknown"] * len(rows)
    known = [at for at, values in enumerate(rows) if len(values) > 1]
    if not known or (len(known) == 1 and len(rows) > 1):
        return marks
    means = {at: fsum(rows[at].values()) / len(rows[at]) for at in known}
    best = max(known, key=lambda at: means[at])
    for at, worse in zip(
        known, _find_worse([rows[at] for at in known], known.index(best)), strict=True
    ):
        marks[at] = "worse" if worse else "best" if means[at] == means[best] else "tied"
    return marks


def _find_worse(rows: Sequence[Values], best: int) -> list[bool]:
    if len(rows) == 1:
        return [False]
    from bench.results.views.multiple import tell_apart  # imports NumPy and SciPy

    worse = []
    for values, below in zip(rows, tell_apart(rows, best), strict=True):
        gap = compare_values(values, rows[best]) if below else None
        worse.append(gap is not None and gap["ci95"] is not None and gap["mean"] > gap["ci95"])
    return worse
