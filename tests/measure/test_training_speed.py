"""bench perf train: our step and the peer's compute the same, and its fields."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contracts import registry
from bench.contracts.method import Method
from bench.core.errors import BadInput, StageFailed
from bench.measure import training_speed
from bench.measure.training_speed import (
    Settings,
    batch_of,
    build_fresh,
    loss_gap,
    make,
    make_peer,
    shapes,
)
from tests.e2e.micro import bench, wide_lines
from tests.patience import HANG

WITH_PEER = ["byol", "moco_v2", "simclr", "swav"]
TINY = Settings(batch=6, size=32)


def small(name: str, **overrides: Any) -> Method:
    return make(registry.load("method", name), TINY, overrides)


def images(method: Method) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {r: torch.randn(TINY.batch, 3, s, s, generator=draw) for r, s in shapes(method).items()}


def test_which_methods_have_a_peer() -> None:
    pytest.importorskip("lightly")
    found = [n for n in registry.names("method") if registry.load("method", n).peer() is not None]
    assert found == WITH_PEER


def test_a_method_without_a_peer_says_which_have_one() -> None:
    method = small("densecl")
    with pytest.raises(BadInput, match=r"no other library has densecl; .*--method all"):
        make_peer(method, build_fresh(method))


@pytest.mark.parametrize("name", WITH_PEER)
def test_both_steps_compute_the_same_loss_and_gradient(name: str) -> None:
    pytest.importorskip("lightly")
    narrow = small(name)  # a network that torchvision lacks: the peer has a copy
    assert loss_gap(narrow, images(narrow)) < 1e-6
    method = small(name, backbone="resnet18")
    assert loss_gap(method, images(method)) < 1e-6
    ours, theirs = (
        build_fresh(method).eval(),
        make_peer(method, build_fresh(method)).eval(),
    )
    ours.loss(batch_of(images(method), 0))["loss"].backward()
    loss = theirs.loss(list(images(method).values()))
    loss.backward()
    factor = theirs.as_ours(1.0) - theirs.as_ours(0.0)
    mine, other = ours.backbone.conv1.weight.grad, theirs.backbone[0].weight.grad
    assert float(mine.abs().max()) > 0
    assert float((mine - factor * other).norm() / mine.norm()) < 1e-4


def test_training_mode_is_equal_too_where_views_pass_one_by_one() -> None:
    pytest.importorskip("lightly")
    method = small("byol")
    ours, theirs = (
        build_fresh(method).train(),
        make_peer(method, build_fresh(method)).train(),
    )
    with torch.no_grad():
        mine = float(ours.loss(batch_of(images(method), 0))["loss"])
        other = float(theirs.loss(list(images(method).values())))
    assert theirs.as_ours(other) == pytest.approx(mine, rel=1e-5)


def test_unequal_losses_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightly")
    import methods.ssl._lightly as lightly

    monkeypatch.setattr(lightly._Simclr, "as_ours", lambda self, loss: loss + 0.01)
    with pytest.raises(StageFailed, match=r"simclr: the losses that are timed differ by 0\.00"):
        training_speed.measure(small("simclr"), TINY)


def test_our_step_trains_and_the_peer_s_too() -> None:
    pytest.importorskip("lightly")
    method = small("byol", lr="0.05")
    before = loss_gap(method, images(method))
    seen: list[Any] = []
    for make_step in (training_speed.our_step, training_speed.peer_step):
        with pytest.MonkeyPatch.context() as patch:
            held = build_fresh(method)
            patch.setattr(training_speed, "build_fresh", lambda m, held=held: held)
            step = make_step(method, images(method))
            weights = [p.detach().clone() for p in held.parameters()]
            step()
            seen.append(
                any(not torch.equal(a, b) for a, b in zip(weights, held.parameters(), strict=True))
            )
    assert seen == [True, False]  # the peer holds copies: our network is not touched by its step
    assert loss_gap(method, images(method)) == before


def test_perf_train_prints_its_fields(tmp_path: Path) -> None:
    pytest.importorskip("lightly")
    small = (
        "--size",
        "32",
        "--batch",
        "4",
        "--repeats",
        "1",
        "--threads",
        "1",
        "--precision",
        "fp32,bf16",
    )
    file = tmp_path / "perf.json"
    done = bench(
        "perf", "train", "-m", "simclr", *small, "--set", "hidden=16", "--json", str(file)
    )
    assert done.returncode == 0, done.stderr
    assert not wide_lines(done.stdout)
    assert done.stdout.count("simclr") >= 3
    rows = json.loads(file.read_text())["rows"]
    assert [(r["who"], r["precision"]) for r in rows] == [
        ("peer", "fp32"),
        ("ours", "fp32"),
        ("ours", "bf16"),
    ]
    for row in rows:
        assert row["images_per_second"] == pytest.approx(4 / row["median"])
        assert row["ratio"] == pytest.approx(rows[0]["median"] / row["median"])
        assert row["cpu_ratio"] == pytest.approx(rows[0]["cpu"] / row["cpu"])
        assert row["loss_difference"] < 1e-6
        assert (row["batch"], row["size"], row["threads"], row["repeats"]) == (4, 32, 1, 1)


def test_without_lightly_one_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['lightly'] = None; from bench.cli import main; main()"
    arguments = [sys.executable, "-c", code, "perf", "train", "-m", "byol"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "ssl-crop-bench[test]"' in done.stderr
