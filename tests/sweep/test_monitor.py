"""Online kNN: it looks and changes nothing; what it has seen can stop a training, which can be
continued."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from torch import nn

from bench.nn.backbones import build_backbone
from bench.stages.pretrain import run
from bench.sweep.monitor import OnlineKnn
from tests.stages.pretraining import context


def watcher(stop_after: int = 99) -> tuple[OnlineKnn, list[tuple[int, float]]]:
    """On random pixels; its trial asks to stop after an epoch."""
    pixels = torch.randint(
        0, 256, (30, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    labels = torch.arange(30) % 3
    seen: list[tuple[int, float]] = []

    class Trial:
        number = 0

        def report(self, value: float, step: int) -> None:
            seen.append((step, value))

        def should_prune(self) -> bool:
            return seen[-1][0] >= stop_after

    shown = {"train": pixels[:20], "val": pixels[20:]}
    classes = {"train": labels[:20], "val": labels[20:]}
    return OnlineKnn(Trial(), "", "resnet18_quarter", shown, classes), seen  # type: ignore[arg-type]


def trained(folder: Path, name: str, watch: Any) -> bytes:
    folder.mkdir(exist_ok=True)
    ctx = context(folder, name, settings={"epochs": 3})
    if watch is not None:
        watch.key = ctx.stage.key
    ctx.watch = watch
    run(ctx)
    return (ctx.work / "network.pth").read_bytes()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The network of a training that nobody watched."""
    return trained(tmp_path_factory.mktemp("alone"), "alone", None)


def test_watched_or_not_the_network_has_the_same_bits(tmp_path: Path, alone: bytes) -> None:
    watch, seen = watcher()
    assert trained(tmp_path, "watched", watch) == alone
    assert [epoch for epoch, _ in seen] == [1, 2]  # the last epoch has nothing left to prune


def test_looking_leaves_backbone_and_generator_alone() -> None:
    watch, _ = watcher()
    backbone = build_backbone("resnet18_quarter").train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    state = torch.get_rng_state()
    assert 0 <= watch.score(backbone) <= 100
    assert torch.equal(torch.get_rng_state(), state)
    assert backbone.training
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_a_pruned_training_goes_on_to_the_same_bits(tmp_path: Path, alone: bytes) -> None:
    watch, seen = watcher(stop_after=2)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, "pruned", watch)
    assert watch.pruned
    assert [epoch for epoch, _ in seen] == [1, 2]
    assert trained(tmp_path, "pruned", None) == alone


def test_other_trainings_are_not_reported(tmp_path: Path) -> None:
    """ORL's first stage is shared by trials."""
    watch, seen = watcher()
    assert not watch(context(tmp_path), 1, 3, nn.Identity())
    assert seen == []


def test_median_pruner_stops_the_worse_trial() -> None:
    """What `should_prune` says of values like ours."""
    from bench.sweep.study import make_pruner

    study = optuna.create_study(direction="maximize", pruner=make_pruner("median"))
    ask: Callable[[], Any] = study.ask
    for value in (50.0, 52.0, 54.0, 56.0):
        trial = ask()
        for epoch in range(1, 5):
            trial.report(value + epoch, epoch)
        study.tell(trial, value)
    good, bad = ask(), ask()
    for epoch in range(1, 4):
        good.report(60.0, epoch)
        bad.report(10.0, epoch)
    assert not good.should_prune()
    assert bad.should_prune()
