"""What moves during a pretraining, at its start, quarter, half and end, and through the real loop:
the target's momentum, the rate, the clipped gradient, the step that a network is told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from bench.contracts import registry
from bench.contracts.network import Batch, Network
from bench.stages.checkpoint import read_history
from bench.stages.pretrain import run
from tests.stages.pretraining import context

SLIM = {"backbone": "resnet18", "hidden": 16, "out": 8, "fpn_width": 8, "align_heads": 2}
SELDOM = {"checkpoint_seconds": 1e9}


def network(name: str) -> tuple[Any, Network]:
    """The method's settings and its network, of small heads."""
    cls: Any = registry.load("method", name)
    method = cls.resolve("tiny", {k: v for k, v in SLIM.items() if k in cls.Params.model_fields})
    torch.manual_seed(0)
    return method.params, method.network(20)


TARGETS = [
    name
    for name in registry.names("method")
    if "ema0" in registry.load("method", name).Params.model_fields
]
KEYS = [
    name
    for name in registry.names("method")
    if "ema" in registry.load("method", name).Params.model_fields
]


def followers(net: nn.Module, prefix: str) -> list[tuple[Tensor, Tensor]]:
    """(follower, what it follows), for every parameter whose name starts with `prefix`."""
    named = dict(net.named_parameters())
    return [(p, named[n.removeprefix(prefix)]) for n, p in named.items() if n.startswith(prefix)]


def momenta(pairs: list[tuple[Tensor, Tensor]], move: Any) -> set[float]:
    """The share that each follower keeps of itself when it is 1, what it follows is 0, and
    `move()` is called."""
    with torch.no_grad():
        for follower, followed in pairs:
            follower.fill_(1.0)
            followed.fill_(0.0)
    move()
    assert all(not followed.detach().any() for _, followed in pairs), "it leads and does not move"
    return {round(float(v), 6) for p, _ in pairs for v in p.detach().aminmax()}


def test_these_methods_have_a_target_or_a_key_network() -> None:
    assert {"byol", "lewel", "orl", "self_emd", "soco"} <= set(TARGETS)
    assert {"moco_v2", "densecl", "resim", "cast", "ccop"} <= set(KEYS)


@pytest.mark.parametrize("name", TARGETS)
def test_the_targets_momentum_goes_from_ema0_to_one_by_a_cosine(name: str) -> None:
    """1 - m falls by the factors (1 + cos(pi k / K)) / 2 (Grill et al. 2020, section 3.3), for
    every parameter of the target."""
    p, net = network(name)
    pairs = followers(net, "target_")
    assert len(pairs) > 60, "backbone and projector"
    half = math.sqrt(0.5)
    factors = {0: 1, 50: (1 + half) / 2, 100: 0.5, 150: (1 - half) / 2, 200: 0}
    for step, factor in factors.items():
        (found,) = momenta(pairs, lambda at=step: net.after_step(at, 200))
        assert found == pytest.approx(1 - (1 - p.ema0) * factor, abs=2e-6), step


@pytest.mark.parametrize("name", KEYS)
def test_a_key_networks_momentum_stays_what_it_is(name: str) -> None:
    """It moves once a step, before its keys are made, and not in `after_step`."""
    p, net = network(name)
    pairs = followers(net, "key_")
    assert len(pairs) > 60, "backbone and projector"
    assert momenta(pairs, lambda: net.after_step(0, 200)) == {1.0}
    move: Any = net.update_keys
    assert momenta(pairs, move) == {round(p.ema, 6)}
    assert momenta(pairs, move) == {round(p.ema, 6)}


class Told:
    """What the loop tells a network: (step, steps in all) of every loss and `after_step`, and the
    momentum that the target's first parameter had."""

    def __init__(self, cls: type[Network], monkeypatch: pytest.MonkeyPatch) -> None:
        self.losses: list[tuple[int, int]] = []
        self.steps: list[tuple[int, int]] = []
        self.momenta: list[float] = []
        loss, after_step = cls.loss, cls.after_step

        def spy_loss(net: Network, batch: Batch) -> dict[str, Tensor]:
            self.losses.append((batch.step, batch.total_steps))
            return loss(net, batch)

        def spy_step(net: Network, step: int, total: int) -> None:
            self.steps.append((step, total))
            target, online = followers(net, "target_")[0]
            before = (target - online).detach().double()
            after_step(net, step, total)
            after = (target - online).detach().double()
            self.momenta.append(float((after * before).sum() / (before * before).sum()))

        monkeypatch.setattr(cls, "loss", spy_loss)
        monkeypatch.setattr(cls, "after_step", spy_step)


def test_the_loop_moves_the_target_by_the_step_that_was_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told(type(network("lewel")[1]), monkeypatch)
    settings = {"epochs": 2, "batch_size": 4, "ema0": 0.2, "optimizer": "sgd", "align_heads": 2}
    run(context(tmp_path, method="lewel", n=16, settings=settings, runtime=SELDOM))
    assert told.losses == told.steps == [(k, 8) for k in range(8)]
    want = [1 - 0.8 * (1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]
    # the target is what the online network was before its first step, which warm-up makes small
    assert told.momenta[1:] == pytest.approx(want[1:], abs=2e-2)


@pytest.fixture
def steps() -> Iterator[list[dict[str, float]]]:
    """The rate of the first group and the norm of all gradients, at every step of any
    optimiser."""
    seen: list[dict[str, float]] = []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        groups = optimizer.param_groups
        grads = [p.grad for g in groups for p in g["params"] if p.grad is not None]
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in grads))
        seen.append({"lr": groups[0]["lr"], "norm": norm})

    handle = register_optimizer_step_post_hook(look)
    yield seen
    handle.remove()


MAE = {
    "backbone": "vit_tiny",
    "decoder_dim": 16,
    "decoder_depth": 1,
    "decoder_heads": 2,
    "optimizer": "sgd",
    "warmup_epochs": 0.0,
    "lr": 0.01,
}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_gradient_of_a_step_is_clipped_to_the_norm_that_is_set(
    tmp_path: Path, steps: list[dict[str, float]], accumulate: int
) -> None:
    """That of the whole step, also where it is the sum of parts."""
    norms = {}
    for clip in (0.0, 1e-3, 1e6):
        steps.clear()
        more = {**SELDOM, "accumulate": accumulate}
        settings = {**MAE, "grad_clip": clip}
        run(context(tmp_path, f"{clip}", method="mae", runtime=more, settings=settings))
        norms[clip] = [s["norm"] for s in steps]
    assert min(norms[0.0]) > 0.1, "much longer than what is set"
    assert norms[1e-3] == pytest.approx([1e-3] * 6, rel=1e-3)
    assert norms[1e6] == pytest.approx(norms[0.0], rel=1e-4), "never longer than what it is"


def test_the_optimiser_gets_the_rate_that_is_logged(
    tmp_path: Path, steps: list[dict[str, float]]
) -> None:
    """8 epochs of 3 steps, 2 of them warm-up, by iteration: a line up, then a cosine to 0; rate
    0.01 x 8 / 256."""
    settings = {**MAE, "epochs": 8, "warmup_epochs": 2.0, "warmup_ratio": 0.0, "lr_step": "iter"}
    run(context(tmp_path, method="mae", settings=settings, runtime=SELDOM))
    warm = [k / 6 for k in range(6)]
    fall = [(1 + math.cos(math.pi * k / 18)) / 2 for k in range(18)]
    rates = [s["lr"] for s in steps]
    assert rates == pytest.approx([0.01 / 32 * f for f in warm + fall])
    logged = read_history(tmp_path / "run" / "history.jsonl")
    assert [row["lr"] for row in logged] == rates
