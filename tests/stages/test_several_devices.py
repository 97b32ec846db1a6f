"""Pretraining on two processes of this machine: equal to one, exact after a kill, none left
running."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.errors import BadInput, StageFailed
from bench.stages.checkpoint import read_history
from bench.stages.pretrain import run
from bench.stages.pretrain.setup import prepare
from tests.e2e.micro import backbones, command
from tests.patience import HANG
from tests.processes import children
from tests.stages.pretraining import TINY, Watch, context
from tests.stages.test_probes import Labelled

# A rate at which two trainings stay close; at usual ones batches of 8 drift apart after three
# steps.
CALM = {"image_size": 64, "lr": 5e-4, "warmup_epochs": 0.0, "ema0": 0.9}


def backbone(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "run" / "backbone.pth", weights_only=True)  # type: ignore[no-any-return]


def workers() -> list[int]:
    """Children that run a function of ours (not multiprocessing's tracker of resources)."""
    return [
        p
        for p in children(os.getpid())
        if b"spawn_main" in Path(f"/proc/{p}/cmdline").read_bytes()
    ]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    run(context(folder, settings=CALM))
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    run(context(folder, settings=CALM, runtime={"devices": 2}))
    return folder


def test_two_processes_give_the_backbone_of_one(one: Path, two: Path) -> None:
    """Every logged figure, and the backbone relative to how far training moved it. In float32 a
    rounding error turns a ReLU now and then, which moves a gradient by half a per cent;
    tests/methods/ssl/test_ranks.py compares in float64."""
    rows = [read_history(f / "run" / "history.jsonl") for f in (one, two)]
    for a, b in zip(*rows, strict=True):
        for name in ("step", "loss", "std", "lr", "momentum"):
            assert b[name] == pytest.approx(a[name], rel=0.02 if a["step"] else 1e-5), (
                a["step"],
                name,
            )
    before = {k: v.float() for k, v in fresh(one).items()}
    moved = torch.cat([(v - before[k]).flatten() for k, v in backbone(one).items()])
    apart = torch.cat([(v - backbone(two)[k]).flatten().float() for k, v in backbone(one).items()])
    assert float(apart.norm() / moved.norm()) < 0.1
    summary = json.loads((two / "run" / "summary.json").read_text())
    assert (summary["devices"], summary["batch"], summary["steps"]) == (2, 8, 6)
    assert not workers()


def test_the_first_process_alone_probes_and_changes_nothing(two: Path, tmp_path: Path) -> None:
    ctx = context(tmp_path, settings=CALM, runtime={"devices": 2, "probe": ("knn",)})
    ctx.blobs = Labelled(tmp_path / "blobs", 24)
    run(ctx)
    for name, value in backbone(two).items():
        assert torch.equal(value, backbone(tmp_path)[name]), name
    rows = read_history(tmp_path / "run" / "probe.jsonl")
    assert [row["step"] for row in rows] == [2, 5]


def fresh(folder: Path) -> dict[str, torch.Tensor]:
    from bench.stages.pretrain.setup import build_method, build_network

    ctx = context(folder, settings=CALM)
    return build_network(ctx, build_method(ctx.params["method"]), 24).backbone.state_dict()


def test_a_killed_process_fails_the_stage_and_the_same_command_goes_on(
    two: Path, tmp_path: Path
) -> None:
    def kill_one() -> None:
        os.kill(max(workers()), signal.SIGKILL)

    with pytest.raises(StageFailed, match=r"was killed by signal 9; the same command goes on"):
        run(context(tmp_path, settings=CALM, runtime={"devices": 2}, watch=Watch({3: kill_one})))
    assert not workers()
    watch = Watch()
    run(context(tmp_path, settings=CALM, runtime={"devices": 2}, watch=watch))
    assert 0 < watch.started_at < 6
    for name, value in backbone(two).items():
        assert torch.equal(value, backbone(tmp_path)[name]), name


def test_ctrl_c_saves_and_ends_every_process(tmp_path: Path) -> None:
    def interrupt() -> None:
        threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()

    runtime = {"devices": 2, "checkpoint_seconds": 1e9}
    with pytest.raises(KeyboardInterrupt):
        run(
            context(
                tmp_path,
                settings={**CALM, "epochs": 20},
                runtime=runtime,
                watch=Watch({2: interrupt}),
            )
        )
    assert not workers()
    saved = torch.load(tmp_path / "run" / "_scratch" / "checkpoint.pt", weights_only=True)
    assert 2 <= saved["step"] < 60


def test_bad_news_of_a_process_is_one_line(tmp_path: Path) -> None:
    settings = {**TINY, "lr": 1e30, "warmup_epochs": 0.0}
    with pytest.raises(StageFailed, match=r"the loss is nan at step \d+ of 6.*--set byol.lr="):
        run(context(tmp_path, settings=settings, runtime={"devices": 2}))
    assert not workers()


def test_a_batch_that_does_not_divide_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"batch_size 8 must divide over 3 devices.*--set"):
        run(context(tmp_path, runtime={"devices": 3}))


MAE = {
    "backbone": "vit_tiny",
    "image_size": 32,
    "epochs": 2,
    "batch_size": 8,
    "warmup_epochs": 0.0,
    "lr": 1e-3,
    "decoder_dim": 32,
    "decoder_depth": 1,
    "decoder_heads": 2,
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_accumulated_steps_are_the_steps_of_the_whole_batch(
    tmp_path: Path, precision: str
) -> None:
    """MAE looks at every image alone; the same masks, gradients averaged, as many steps."""
    settings: dict[str, Any] = {**MAE, "precision": precision}
    for name, parts in (("whole", 1), ("parts", 4)):
        run(
            context(tmp_path, name, method="mae", settings=settings, runtime={"accumulate": parts})
        )
    rows = [read_history(tmp_path / name / "history.jsonl") for name in ("whole", "parts")]
    assert len(rows[0]) == len(rows[1]) == 6
    for a, b in zip(*rows, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4 if precision == "fp32" else 1e-2)
    assert rows[0][-1]["loss"] != pytest.approx(rows[0][0]["loss"], rel=1e-3)
    summary = json.loads((tmp_path / "parts" / "summary.json").read_text())
    assert (summary["steps"], summary["samples"], summary["accumulate"]) == (6, 48, 4)


def test_accumulation_resumes_at_a_whole_step(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill() -> None:
        raise Killed

    runtime = {"accumulate": 2}
    run(context(tmp_path, "whole", method="mae", settings=MAE, runtime=runtime))
    with pytest.raises(Killed):
        run(context(tmp_path, method="mae", settings=MAE, runtime=runtime, watch=Watch({4: kill})))
    watch = Watch()
    run(context(tmp_path, method="mae", settings=MAE, runtime=runtime, watch=watch))
    assert watch.started_at == 3
    whole = torch.load(tmp_path / "whole" / "backbone.pth", weights_only=True)
    assert all(torch.equal(v, backbone(tmp_path)[k]) for k, v in whole.items())


@pytest.mark.parametrize("method", ["byol", "moco_v2", "simclr", "supervised"])
def test_accumulation_is_refused_where_it_changes_the_result(tmp_path: Path, method: str) -> None:
    from bench.stages.pretrain.setup import build_method

    ctx = context(tmp_path, method=method, runtime={"accumulate": 2})
    with pytest.raises(
        BadInput, match=rf"--accumulate 2: {method} normalises or compares.*--set {method}"
    ):
        prepare(ctx, build_method(ctx.params["method"]), ctx.blobs)


SETS = (
    "scenes.n_train=24",
    "scenes.n_val=8",
    "byol.epochs=2",
    "byol.batch_size=8",
    "coco_det.iterations=2",
    "coco_det.steps=1,2",
    "coco_det.precise_bn=2",
    "coco_det.warmup=1",
)


@pytest.mark.slow
def test_two_machines_of_one_process_each(home: Path) -> None:
    """`bench run --nodes 2` twice on this host, which plays both machines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    more = ("--method", "byol", "--workers", "0", "--threads", "1")
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
    runs = [
        subprocess.Popen(
            command(*more, "--nodes", "2", "--devices", "1", sets=SETS),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **address, "NODE_RANK": str(node)},
        )
        for node in (1, 0)
    ]
    try:
        said = [p.communicate(timeout=HANG)[0] for p in runs]
    finally:
        for p in runs:
            p.kill()
    assert [p.returncode for p in runs] == [0, 0], said
    assert "0 stage(s) made" in said[0], "the second machine writes nothing"
    assert "0 stage(s) made" not in said[1]
    (found,) = backbones(home)
    summary = json.loads((home / "store" / "pretrain" / found / "summary.json").read_text())
    assert (summary["devices"], summary["nodes"], summary["steps"]) == (2, 2, 6)


def test_nodes_need_to_know_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.launch.session import node_number

    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "SLURM_NODEID"):
        monkeypatch.delenv(name, raising=False)
    assert node_number(1) == 0
    with pytest.raises(BadInput, match=r"--nodes 2 needs MASTER_ADDR.*try: MASTER_ADDR=HOST"):
        node_number(2)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setenv("SLURM_NODEID", "1")
    assert node_number(2) == 1
    monkeypatch.setenv("NODE_RANK", "2")
    with pytest.raises(BadInput, match="NODE_RANK \\(0 to 1\\)"):
        node_number(2)
