"""What the verbs of bench perf share: turns, medians, the machine, refusals in one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from bench.cli import main
from bench.measure import timing
from bench.measure.timing import Timing, choose_repeats, repeat, summary, time_in_turns


def test_ways_take_turns_and_warm_up_does_not_count() -> None:
    calls: list[str] = []
    taken = time_in_turns({n: lambda n=n: calls.append(n) for n in "abc"}, repeats=3, warm_up=1)
    assert "".join(calls) == "abc" + "bca" + "cab" + "abc"
    assert {n: len(t) for n, t in taken.items()} == {"a": 3, "b": 3, "c": 3}


def test_summary_is_of_medians() -> None:
    mine = [Timing(2.0, 1.0), Timing(1.0, 0.5), Timing(9.0, 1.5)]
    base = [Timing(8.0, 2.0), Timing(6.0, 2.0), Timing(100.0, 2.5)]
    found = summary(mine, base)
    assert (found["median"], found["fastest"], found["slowest"], found["cpu"]) == (
        2.0,
        1.0,
        9.0,
        1.0,
    )
    assert (found["repeats"], found["ratio"], found["cpu_ratio"]) == (3, 4.0, 2.0)
    assert summary(mine, n=2)["median"] == 1.0  # a timing did the work twice


def test_short_work_is_repeated_in_one_timing() -> None:
    count = [0]

    def work() -> None:
        count[0] += 1

    assert 100 <= choose_repeats(work) <= 1000
    count[0] = 0
    repeat(work, 7)()
    assert count[0] == 7


def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    found = timing.machine()
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["cpu"]
    monkeypatch.setattr(
        timing, "_cpu_field", lambda name: "fpu avx512_bf16" if name == "flags" else ""
    )
    assert timing.has_bf16()
    without = {"flags": "fpu avx512f"}
    monkeypatch.setattr(timing, "_cpu_field", lambda name: without.get(name, ""))
    assert not timing.has_bf16()


def test_cpu_time_of_other_processes_counts() -> None:
    code = "x = sum(i * i for i in range(3_000_000))"
    [taken] = time_in_turns(
        {"a": lambda: subprocess.run([sys.executable, "-c", code], check=True)}, 1, 0
    )["a"]
    assert taken.cpu > 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("perf train -m mae", "lightly has no modules for mae"),
        ("perf train -m byol --precision fp16", "--precision is a list of fp32 and bf16"),
        ("perf train -m byol --set moco_v2.tau=1", "unknown method to time 'moco_v2'"),
        ("perf train -m byol --set byol.optimizer=lars --size 32 --batch 4", "torch has no lars"),
        ("perf eval -t knn", "there is nothing to compare the evaluation of knn with"),
        ("perf eval --workers some", "--workers is a list of numbers from 0"),
        ("perf crops --processes 0", "--processes is a list of positive numbers"),
        ("perf crops --size big", "--size is WIDTHxHEIGHT"),
        ("crops recall --boxes none", "--boxes is a list of positive numbers"),
    ],
)
def test_bad_input_is_one_line(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
