"""bench crops recall: first hits, recall by hand, what the verb prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bench.measure.recall import first_hits, recalls
from bench.stages.proposals import ProposalTable
from tests.e2e.micro import bench
from tests.small_set import SmallSet

BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60]], np.float32)


def test_first_hit_of_every_object() -> None:
    objects = np.array(
        [[0, 0, 10, 4], [50, 50, 60, 60], [0, 0, 10, 10], [90, 90, 99, 99]], np.float32
    )
    # the first: IoU .4 with box 0, .8 with box 1
    assert first_hits(BOXES, objects).tolist() == [1, 2, 0, 3]
    assert first_hits(BOXES[:2], objects[:1], 0.4).tolist() == [0]  # a threshold is included
    assert first_hits(np.zeros((0, 4)), objects).tolist() == [0, 0, 0, 0]
    assert first_hits(BOXES, objects[:0]).tolist() == []


def test_recall_of_true_boxes_is_one_and_of_none_is_zero(tmp_path: Path) -> None:
    data = SmallSet(tmp_path, 3)
    boxes = [data.objects(i).boxes[::-1] for i in range(3)]
    counts = [len(b) for b in boxes]
    first = np.cumsum([0, *counts])
    full = ProposalTable(data.ids, first, np.concatenate(boxes), np.ones(sum(counts)))
    none = ProposalTable(data.ids, np.zeros(4, np.int64), np.zeros((0, 4)), np.zeros(0))
    found = recalls(data, [full], [1, 1000])
    assert found["objects"] == sum(counts)
    assert found["boxes_per_image"] == pytest.approx(sum(counts) / 3)
    assert found["recall"]["1000"]["mean"] == 1.0
    hit = sum(int((first_hits(b[:1], b) == 0).sum()) for b in boxes)
    assert found["recall"]["1"]["mean"] == pytest.approx(hit / sum(counts))
    assert recalls(data, [none], [10])["recall"]["10"]["mean"] == 0.0
    both = recalls(data, [full, none], [1000])  # two seeds
    assert both["recall"]["1000"]["mean"] == pytest.approx(0.5)
    assert both["objects"] == sum(counts)


SCENES = ("--set", "scenes.n_train=4", "--set", "scenes.n_val=2")


def test_recall_verb_prints_every_proposer_and_asks_for_enough_boxes() -> None:
    done = bench(
        "crops",
        "recall",
        "-p",
        "random_boxes,ground_truth",
        "--boxes",
        "5,200",
        "--seeds",
        "2",
        *SCENES,
        "--workers",
        "0",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    rows = {r["proposals"]: r for r in json.loads(done.stdout)}
    assert rows["ground_truth"]["recall"]["200"]["mean"] == 1.0
    assert rows["random_boxes"]["boxes_per_image"] == 200
    assert (
        rows["random_boxes"]["recall"]["5"]["mean"]
        <= rows["random_boxes"]["recall"]["200"]["mean"]
    )
    assert rows["random_boxes"]["recall"]["5"]["n"] == 2 * rows["random_boxes"]["objects"]
