"""The reported numbers: whole, typed, cited, with their doubts."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.core.errors import BadData
from bench.results.papers.reported import (
    CITATIONS,
    FIELDS,
    list_table_names,
    load_values,
    parse_values,
    values_of_table,
)

HEAD = ",".join(FIELDS)
GOOD = "000,T1,row,BYOL,Image-Crop,none,COCO,800,task,protocol,AP,63.3,"


def test_every_number_of_the_four_papers_is_there_once() -> None:
    found = load_values()
    assert len(found) == 1279
    assert len({(v.paper, v.table, v.row_label, *v.column) for v in found}) == 1279
    assert len(list_table_names()) == 49
    assert Counter(name[:3] for name in list_table_names()) == {
        "000": 16,
        "001": 14,
        "002": 10,
        "003": 9,
    }
    assert {v.paper for v in found} == set(CITATIONS)


def test_numbers_are_as_printed() -> None:
    """Paper 000, Table 1: BYOL with Our-Crop; paper 002, Table 4: ORL on COCO; 003, Table 9."""
    byol = [v.value for v in values_of_table("000", "T1") if v.row_label == "BYOL / Our-Crop"]
    assert byol == [69.5, 70.7, 42.5]
    orl = [v.value for v in values_of_table("002", "T4") if v.row_label == "ORL (ours) COCO"]
    assert orl == [40.3, 60.2, 44.4, 36.3, 57.3, 38.9]
    assert [v.value for v in values_of_table("003", "T9") if v.metric == "recall_k1"] == [
        50.1,
        48.1,
    ]
    assert [v.epochs for v in values_of_table("002", "T5e")][:5] == [100, 200, 400, 800, 1600]


def test_doubtful_and_repeated_numbers_are_marked() -> None:
    """As many as the design sheet counts in each table."""
    doubtful = Counter(f"{v.paper}/{v.table}" for v in load_values() if v.doubtful)
    assert doubtful == {
        "001/T5": 12,
        "001/T6": 6,
        "001/T9": 2,
        "001/T13": 6,
        "001/text": 2,
        "003/T1": 1,
        "003/T6": 1,
    }
    repeats = Counter(f"{v.paper}/{v.table}" for v in load_values() if v.repeats)
    assert repeats["000/T2"] == 12
    assert repeats["000/T9"] == repeats["000/T12"] == 24
    assert {v.repeats for v in values_of_table("000", "T2") if v.repeats} == {"T1"}


def test_a_repeated_number_equals_the_one_it_repeats() -> None:
    """Same paper, same metric, and the same value somewhere in the table that the notes name."""
    for v in load_values():
        if v.repeats:
            there = {w.value for w in values_of_table(v.paper, v.repeats) if w.metric == v.metric}
            assert v.value in there, v


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEAD.replace("epochs", "ages"), GOOD], "have the columns paper, table"),
        ([HEAD, GOOD, GOOD], "line 3: 000 / T1 / row / task / protocol / AP comes twice"),
        ([HEAD, GOOD.replace("63.3", "high")], "line 2: could not convert"),
        ([HEAD, GOOD.replace("63.3", "nan")], "line 2: nan is no number"),
        ([HEAD, GOOD.replace("800", "some")], "line 2: invalid literal"),
        ([HEAD, "004" + GOOD[3:]], "no citation of paper '004'"),
        ([HEAD, GOOD.replace(",63.3,", "")], "line 2"),
    ],
)
def test_bad_files_are_refused(lines: list[str], message: str) -> None:
    with pytest.raises(BadData, match=message):
        parse_values(lines)


def test_a_citation_reads_as_one() -> None:
    assert str(CITATIONS["002"]).endswith("from Scene Images. NeurIPS, 2021")
