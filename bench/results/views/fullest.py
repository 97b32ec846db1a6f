"""Which columns rows are ranked over: those with the most complete results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set

MOST = 4096  # sets of columns that are looked at


def choose_columns(rows: Iterable[Set[str]], columns: Sequence[str]) -> list[str]:
    """Of `columns`, in their order, those that give the fullest board: the most columns x rows
    that have a result in all of them; of equally full ones, that with most rows. rows: the columns
    in which each row has a result. Without any result, all columns.

    A fullest set is what some rows have in common, so it is found among the intersections of rows.
    Of more than MOST of these, those of the most frequent rows are looked at.
    """
    known = frozenset(columns)
    patterns = Counter(frozenset(row & known) for row in rows)
    patterns.pop(frozenset(), None)
    sets: set[frozenset[str]] = set()
    for pattern, _ in sorted(patterns.items(), key=lambda p: (-p[1], sorted(p[0]))):
        sets |= {pattern, *(pattern & other for other in sets)}
        if len(sets) > MOST:
            break
    sets.discard(frozenset())
    if not sets:
        return list(columns)

    def fullness(chosen: frozenset[str]) -> tuple[int, int, list[str]]:
        count = sum(n for pattern, n in patterns.items() if chosen <= pattern)
        return count * len(chosen), count, sorted(chosen)

    fullest = max(sets, key=fullness)
    return [c for c in columns if c in fullest]
