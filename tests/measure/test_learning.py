"""bench perf learning: loss and features of small trainings, from the store's own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli.perf.learning import learning, markdown
from bench.measure.learning import ends


def test_the_ends_of_a_history_are_its_first_and_last_twentieth() -> None:
    history = [{"step": i, "loss": float(i)} for i in range(40)]
    assert ends(history, "loss") == [0.5, 38.5]
    assert ends(history[:3], "loss") == [0.0, 2.0]
    assert ends(history, "std") is None
    assert ends([], "loss") is None


def test_the_table_takes_means_over_seeds_and_puts_the_reference_first() -> None:
    common = {"crop": "image", "task": "t", "steps": 90, "seconds": 1.0}
    rows = [
        {
            **common,
            "method": "b",
            "seed": 0,
            "trained": True,
            "loss": [4.0, 2.0],
            "std": None,
            "metrics": {"AP": 10.0},
        },
        {
            **common,
            "method": "b",
            "seed": 1,
            "trained": True,
            "loss": [5.0, 3.0],
            "std": None,
            "metrics": {"AP": 20.0},
        },
        {
            **common,
            "method": "z",
            "seed": 0,
            "trained": False,
            "steps": 0,
            "loss": None,
            "std": None,
            "metrics": {"AP": 5.0},
        },
    ]
    lines = markdown(rows).splitlines()
    assert lines[2] == "| z | image | 1 | 0 | - | - | 5.0 |"
    assert lines[3] == "| b | image | 2 | 90 | 4.50 to 2.50 | - | 15.0 (10.0-20.0) |"


def test_each_task_has_a_table_with_its_own_metrics() -> None:
    common = {
        "method": "z",
        "crop": "image",
        "seed": 0,
        "trained": False,
        "steps": 0,
        "loss": None,
        "std": None,
    }
    rows = [
        {**common, "task": "a", "metrics": {"AP": 5.0}},
        {**common, "task": "b", "metrics": {"mIoU": 7.0}},
    ]
    text = markdown(rows)
    head, _, line = text.splitlines()[2:5]
    assert text.splitlines()[0] == "a"
    assert (head.split(" | ")[-1], line) == ("AP |", "| z | image | 1 | 0 | - | - | 5.0 |")
    assert text.splitlines()[6] == "b"
    assert "mIoU |" in text.splitlines()[8]
    assert text.splitlines()[-1] == "| z | image | 1 | 0 | - | - | 7.0 |"


@pytest.mark.parametrize("form", ["table", "json"])
def test_the_verb_trains_and_reports(form: str, home: Path) -> None:
    sets = ("scenes.n_train=16", "scenes.n_val=8", "simsiam.epochs=2", "simsiam.batch_size=8")
    options = ["--task", "object_knn", "--method", "random_init,simsiam", "--workers", "0"]
    options += [x for s in sets for x in ("--set", s)] + (["--json"] if form == "json" else [])
    done = CliRunner().invoke(learning, options)
    assert done.exit_code == 0, done.output
    if form == "table":
        assert "| random_init | image | 1 | 0 | - | - |" in done.output
        assert "| simsiam | image | 1 | 4 | " in done.output
        return
    rows = {row["method"]: row for row in json.loads(done.stdout)}
    assert rows["random_init"]["loss"] is None
    history = (
        next((home / "store/pretrain").glob("simsiam-*/history.jsonl")).read_text().splitlines()
    )
    losses = [json.loads(line)["loss"] for line in history]
    assert rows["simsiam"]["loss"] == [losses[0], losses[-1]]
    assert rows["simsiam"]["metrics"]["chance"] == rows["random_init"]["metrics"]["chance"]
