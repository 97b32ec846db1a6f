"""What is wrong with a set, all of it: damage, which refuses it, and remarks, which do not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from bench.core.errors import BadData
from bench.data.index import Row

MOST = 20  # lines of one kind; the rest is counted
IMAGE = "an image is damaged"


class Findings:
    """Damage in the order it was met, at most `MOST` lines of a kind and then their number; every
    damaged image has its line."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = defaultdict(list)
        self._counts: Counter[str] = Counter()

    def add(self, kind: str, line: str) -> None:
        """A fault: `line` names file, entry, value and rule; `kind` is the rule alone."""
        self._counts[kind] += 1
        if self._counts[kind] <= MOST or kind == IMAGE:
            self._lines[kind].append(line)

    def add_images(self, lines: Iterable[str]) -> None:
        """Damaged images, each of which has its line."""
        for line in lines:
            self.add(IMAGE, line)

    def __bool__(self) -> bool:
        return bool(self._counts)

    def lines(self) -> list[str]:
        """Every finding, those of one kind together."""
        lines: list[str] = []
        for kind, those in self._lines.items():
            lines += those
            more = self._counts[kind] - len(those)
            lines += [f"and {more:,} more of the same kind: {kind}"] if more else []
        return lines

    def refuse(self) -> None:
        """BadData with all findings, if there are any."""
        if self:
            noun = "such images" if set(self._counts) == {IMAGE} else "findings"
            raise BadData.of(self.lines(), noun, self._counts.total())


def find_repeated(splits: Mapping[str, Iterable[Row]]) -> dict[str, list[str]]:
    """Remarks by split on pictures that lie there twice, or in an earlier split as well, byte for
    byte."""
    first: dict[str, tuple[str, str]] = {}
    remarks: dict[str, list[str]] = {}
    for split, rows in splits.items():
        twice: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for row in rows:
            if not row.mark:
                continue
            if row.mark in first:
                known, file = first[row.mark]
                twice[known].append((row.file, file))
            else:
                first[row.mark] = (split, row.file)
        remarks[split] = [_repeated(split, known, pairs) for known, pairs in twice.items()]
    return remarks


def _repeated(split: str, known: str, pairs: list[tuple[str, str]]) -> str:
    file, other = pairs[0]
    count = f"{len(pairs):,} pictures lie" if len(pairs) > 1 else "1 picture lies"
    if known == split:
        return f"{count} here twice under two names, the first is {file}, also {other}"
    return f"{count} in {known} too, byte for byte; the first is {file}, there {other}"
