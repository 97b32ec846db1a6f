"""The pretrain stage: outputs, exact resume, damage, divergence."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
import torchvision

from bench.core.errors import BadData, BadInput, StageFailed
from bench.nn.backbones import build_backbone, load_backbone
from bench.stages.checkpoint import History, load_checkpoint, read_history, save_checkpoint
from bench.stages.pretrain import run
from bench.stages.pretrain.setup import load_network, pick_device
from tests.stages.pretraining import Watch, context

TOTAL = 6  # 24 images, batch 8, 2 epochs


def backbone(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "backbone.pth", weights_only=True)
    return state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


class Killed(Exception):
    """Stands for a kill: nothing is saved on the way out."""


def kill() -> None:
    raise Killed


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    ctx = context(folder)
    run(ctx)
    return ctx.work


def test_outputs(whole: Path) -> None:
    resnet = torchvision.models.resnet18(weights=None)  # narrower, but under torchvision's names
    assert {*backbone(whole), "fc.weight", "fc.bias"} == resnet.state_dict().keys()
    assert load_backbone(whole / "backbone.pth", build_backbone("resnet18_quarter")) == 120
    summary = json.loads((whole / "summary.json").read_text())
    assert (summary["steps"], summary["epochs"], summary["samples"]) == (TOTAL, 2, TOTAL * 8)
    rows = read_history(whole / "history.jsonl")
    assert [r["step"] for r in rows] == list(range(TOTAL))
    assert all(0 < r["loss"] < 8 and 0 < r["std"] < 1 for r in rows)
    # batch 8: rate 0.4 * 8 / 256; 3 warm-up steps from 1e-4; the second epoch at cos(pi / 2)
    want = [0.0125 * 1e-4, 0.0125 * (1 + 2e-4) / 3, 0.0125 * (2 + 1e-4) / 3] + [0.0125 / 2] * 3
    assert [r["lr"] for r in rows] == pytest.approx(want)
    assert rows[0]["momentum"] == pytest.approx(0.99)
    assert rows[3]["momentum"] == pytest.approx(0.995)
    assert summary["loss"] == rows[-1]["loss"]


@pytest.mark.parametrize("step", [1, 3, 6])
def test_killed_and_resumed_is_bit_equal(whole: Path, tmp_path: Path, step: int) -> None:
    first = Watch({step: kill})
    with pytest.raises(Killed):
        run(context(tmp_path, watch=first))
    second = Watch()
    run(context(tmp_path, watch=second))
    assert second.started_at == step - 1, "the last finished step before the kill was saved"
    assert same(backbone(tmp_path / "run"), backbone(whole))
    rows, want = (
        read_history(tmp_path / "run" / "history.jsonl"),
        read_history(whole / "history.jsonl"),
    )
    assert [(r["step"], r["loss"]) for r in rows] == [(r["step"], r["loss"]) for r in want]


def test_terminated_saves_where_it_is(whole: Path, tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run(context(tmp_path, watch=Watch({4: terminate}), runtime={"checkpoint_seconds": 1e9}))
    assert signal.getsignal(signal.SIGTERM) == handler
    second = Watch()
    run(context(tmp_path, watch=second))
    assert second.started_at == 4
    assert same(backbone(tmp_path / "run"), backbone(whole))


def test_finished_but_not_committed_takes_no_step(whole: Path, tmp_path: Path) -> None:
    run(context(tmp_path))
    again = Watch()
    run(context(tmp_path, watch=again))
    assert again.started_at == -1
    assert same(backbone(tmp_path / "run"), backbone(whole))


@pytest.mark.parametrize("damage", ["latest", "both", "foreign"])
def test_damaged_checkpoints_are_passed_over(whole: Path, tmp_path: Path, damage: str) -> None:
    with pytest.raises(Killed):
        run(context(tmp_path, watch=Watch({4: kill})))
    scratch = tmp_path / "run" / "_scratch"
    latest, previous = scratch / "checkpoint.pt", scratch / "previous.pt"
    if damage == "foreign":
        save_checkpoint(scratch, {"step": 2, "network": {"a": torch.ones(1)}, "optimizer": {}})
    else:
        latest.write_bytes(latest.read_bytes()[:5000])
    if damage == "both":
        previous.write_bytes(b"")
    second = Watch()
    run(context(tmp_path, watch=second))
    assert second.started_at == {"latest": 2, "both": 0, "foreign": 0}[damage]
    assert second.notes
    assert same(backbone(tmp_path / "run"), backbone(whole))


def test_independent_of_the_number_of_workers(whole: Path, tmp_path: Path) -> None:
    run(context(tmp_path, runtime={"workers": 2}))
    assert same(backbone(tmp_path / "run"), backbone(whole))


def test_seeds_differ(whole: Path, tmp_path: Path) -> None:
    run(context(tmp_path, seed=1))
    assert not same(backbone(tmp_path / "run"), backbone(whole))


def test_callers_random_state_and_threads_are_left_alone(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    run(context(tmp_path, method="random_init"))
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    run(context(tmp_path, "again", method="random_init"))
    assert torch.equal(torch.rand(3), want)
    assert torch.get_num_threads() == threads


def test_fewer_images_than_a_batch(tmp_path: Path) -> None:
    run(context(tmp_path, n=5))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["steps"] == 2, "one step an epoch"


def test_loss_falls(tmp_path: Path) -> None:
    settings = {"epochs": 25, "lr": 2.0, "min_scale": 0.5, "ema0": 0.9}
    run(context(tmp_path, settings=settings, runtime={"checkpoint_seconds": 1e9}))
    rows = read_history(tmp_path / "run" / "history.jsonl")
    first, last = (sum(r["loss"] for r in part) / 10 for part in (rows[:10], rows[-10:]))
    assert last < 0.8 * first
    assert rows[-1]["std"] > 0.02, "not by collapsing"


def test_divergence_is_one_line_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"the loss is nan at step \d+ of 6.*--set byol.lr="):
        run(context(tmp_path, settings={"lr": 1e30, "warmup_epochs": 0.0}))
    state = load_checkpoint(tmp_path / "run" / "_scratch", TOTAL, lambda _: None)
    assert state is None or all(bool(v.isfinite().all()) for v in state["network"].values())


def test_random_init_is_its_seed_and_takes_no_step(tmp_path: Path) -> None:
    for name, seed in [("a", 0), ("b", 0), ("c", 1)]:
        run(context(tmp_path, name, method="random_init", seed=seed))
    a, b, c = (backbone(tmp_path / n) for n in "abc")
    assert same(a, b)
    assert not same(a, c)
    assert json.loads((tmp_path / "a" / "summary.json").read_text())["steps"] == 0


def test_load_network_is_strict(whole: Path, tmp_path: Path) -> None:
    params = context(tmp_path).params
    identity = params["method"]
    network = load_network(whole, params, 24)
    assert not network.training
    assert same(network.backbone.state_dict(), backbone(whole))
    assert network.embed(torch.randn(2, 3, 32, 32)).shape == (2, 16)
    wider = {**params, "method": {**identity, "params": {**identity["params"], "out": 8}}}
    with pytest.raises(BadInput, match="of another shape"):
        load_network(whole, wider, 24)
    with pytest.raises(BadData, match="cannot be read"):
        load_network(tmp_path, params, 24)


def test_history_drops_what_a_resumed_training_repeats(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"step": 0, "loss": 4}\n{"step": 1, "loss": 3}\n{"step": 2, "lo')
    history = History(path, start_step=1)
    history.add({"step": 1, "loss": 3})
    assert read_history(path) == [{"step": 0, "loss": 4}, {"step": 1, "loss": 3}]


def test_devices() -> None:
    assert pick_device("cpu").kind == "cpu"
    with pytest.raises(BadInput, match="auto, cpu or a number"):
        pick_device("gpu0")
    with pytest.raises(BadInput, match="try: --devices auto"):
        pick_device(0)
