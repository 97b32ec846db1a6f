"""What boards call data and rows, so that two contents never share a label.

A data set is called `coco`, or `coco:warehouse` where the user named it. Where two contents, or
two pretrainings, would still be called the same, each gets the start of its key:
`coco [1a2b3c]`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from bench.results.db.records import LeaderboardRow

DIGITS = 6  # of a digest that tells two contents apart
K = TypeVar("K", bound=Hashable)
BoardKey = tuple[str, ...]


class Content(NamedTuple):
    """A data set as it was read: its name, its key ("" where that is unknown), what the user calls
    it ("" for nothing)."""

    data: str
    key: str
    name: str


def tell_apart(labels: Mapping[K, str], keys: Mapping[K, str]) -> dict[K, str]:
    """The label of everything, with the start of its key where another key has the same label."""
    by_label: dict[str, set[str]] = {}
    for what, label in labels.items():
        by_label.setdefault(label, set()).add(keys[what])
    return {
        what: f"{label} [{keys[what][:DIGITS] or 'unknown'}]"
        if len(by_label[label]) > 1
        else label
        for what, label in labels.items()
    }


def label_contents(contents: Iterable[Content]) -> dict[tuple[str, str], str]:
    """(data set, key) -> what boards call it. A name that one of its cells has is that of all."""
    names: dict[tuple[str, str], str] = {}
    for content in contents:
        at = content.data, content.key
        names[at] = max(names.get(at, ""), content.name)
    labels = {at: f"{at[0]}:{name}" if name else at[0] for at, name in names.items()}
    return tell_apart(labels, {at: at[1] for at in labels})


def board_of(row: LeaderboardRow) -> BoardKey:
    """Rows that are equal in this may be compared."""
    return (
        row["task"],
        row["scale"],
        row["pretrain_data"],
        row["pretrain_data_key"],
        row["task_data"],
        row["task_data_key"],
        row["engine"],
    )


def label_data(rows: Sequence[LeaderboardRow]) -> dict[tuple[str, str], str]:
    """What boards of these rows call the data that they learned from and were scored on."""
    learned = [
        Content(r["pretrain_data"], r["pretrain_data_key"], r["pretrain_name"]) for r in rows
    ]
    scored = [Content(r["task_data"], r["task_data_key"], r["task_name"]) for r in rows]
    return label_contents([*learned, *scored])


def label_rows(rows: Sequence[LeaderboardRow]) -> list[str]:
    """What the rows of one board are called: their method, with the start of a digest where
    another pretraining of the same method, crop and settings is on the board."""
    names = {
        at: f"{r['method']}\n{r['crop']}\n{sorted(r['overrides'].items())}\n{r['source']}"
        for at, r in enumerate(rows)
    }
    by_pretraining = tell_apart(names, {at: r["pretraining"] for at, r in enumerate(rows)})
    by_group = tell_apart(by_pretraining, {at: r["group"] for at, r in enumerate(rows)})
    return [row["method"] + by_group[at][len(names[at]) :] for at, row in enumerate(rows)]
