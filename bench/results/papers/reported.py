"""The numbers the four papers print, from `data/reported.csv`, with citation and doubts. They are
never mixed with what is measured here."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from bench.core.errors import BadData

FIELDS = (
    "paper",
    "table",
    "row_label",
    "method",
    "crop",
    "proposals",
    "pretrain_data",
    "epochs",
    "task",
    "protocol",
    "metric",
    "value",
    "notes",
)
DOUBTS = ("DOUBTFUL", "OCR/typo", "CONFLICT")  # marks in the notes


@dataclass(frozen=True)
class Citation:
    """A paper."""

    paper: str
    title: str
    authors: str
    venue: str
    year: int

    def __str__(self) -> str:
        return f"{self.authors}: {self.title}. {self.venue}, {self.year}"


CITATIONS = {
    c.paper: c
    for c in (
        Citation(
            "000",
            "Coarse Is Better? A New Pipeline Towards Self-Supervised Learning with Uncurated "
            "Images",
            "Ke Zhu, Yin-Yin He, Jianxin Wu",
            "arXiv:2306.04244",
            2023,
        ),
        Citation(
            "001",
            "Object-Aware Cropping for Self-Supervised Learning",
            "Shlok Mishra, Anshul Shah, Ankan Bansal, Abhyuday Jagannatha, Janit Anjaria, "
            "Abhishek Sharma, "
            "David Jacobs, Dilip Krishnan",
            "arXiv:2112.00319; Transactions on Machine Learning Research",
            2022,
        ),
        Citation(
            "002",
            "Unsupervised Object-Level Representation Learning from Scene Images",
            "Jiahao Xie, Xiaohang Zhan, Ziwei Liu, Yew Soon Ong, Chen Change Loy",
            "NeurIPS",
            2021,
        ),
        Citation(
            "003",
            "Contrastive Object-level Pre-training with Spatial Noise Curriculum Learning",
            "Chenhongyi Yang, Lichao Huang, Elliot J. Crowley",
            "arXiv:2111.13651",
            2021,
        ),
    )
}


@dataclass(frozen=True)
class Value:
    """One printed number. The texts are the paper's words, but for the names of columns."""

    paper: str
    table: str
    row_label: str
    method: str
    crop: str
    proposals: str
    pretrain_data: str
    epochs: int | None
    task: str
    protocol: str
    metric: str
    value: float
    notes: str

    @property
    def doubtful(self) -> bool:
        """The notes say that the number cannot be right, or that the paper contradicts itself."""
        return any(mark in self.notes for mark in DOUBTS)

    @property
    def repeats(self) -> str | None:
        """The table of the same paper that prints this number already, such as "T1"."""
        match = re.search(r"\brepeats (T\d+)", self.notes)
        return match.group(1) if match else None

    @property
    def column(self) -> tuple[str, str, str]:
        """(task, protocol, metric): its column in its table."""
        return self.task, self.protocol, self.metric


@cache
def load_values() -> tuple[Value, ...]:
    """Every number, in the order of the papers and their tables."""
    text = files("bench.results").joinpath("data/reported.csv").read_text(encoding="utf-8")
    return tuple(parse_values(text.splitlines()))


def parse_values(lines: Iterable[str]) -> list[Value]:
    """The numbers of CSV lines with a header; BadData unless every field is there, every value is
    a number and no (paper, table, row, task, protocol, metric) comes twice."""
    reader = csv.DictReader(lines)
    if tuple(reader.fieldnames or ()) != FIELDS:
        raise BadData(
            f"reported numbers have the columns {', '.join(FIELDS)}, got {reader.fieldnames}"
        )
    values: dict[tuple[str, ...], Value] = {}
    for row in reader:
        where = f"reported.csv, line {reader.line_num}"
        try:
            epochs = int(row["epochs"]) if row["epochs"] else None
            value = float(row["value"])
            if not math.isfinite(value):
                raise ValueError(f"{value} is no number")
            number = Value(**{**row, "epochs": epochs, "value": value})  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise BadData(f"{where}: {error}") from None
        if number.paper not in CITATIONS:
            raise BadData(f"{where}: there is no citation of paper {number.paper!r}")
        key = (number.paper, number.table, number.row_label, *number.column)
        if key in values:
            raise BadData(f"{where}: {' / '.join(key)} comes twice")
        values[key] = number
    return list(values.values())


def values_of_table(paper: str, table: str) -> list[Value]:
    """The numbers of one table, in its order; none where there is no such table."""
    return [v for v in load_values() if (v.paper, v.table) == (paper, table)]


def list_table_names() -> list[str]:
    """`000/T1` and so on, in order."""
    return list(dict.fromkeys(f"{v.paper}/{v.table}" for v in load_values()))
