"""Classification by fine-tuning: networks, optimisers, schedules, training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from bench.contracts.context import StageContext
from bench.contracts.registry import load
from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.data.semantic import image_labels
from bench.nn.backbones import build_backbone, save_backbone
from tasks._classification import pipeline
from tasks._classification.data import Labelled
from tasks._classification.metrics import multi_metrics, single_metrics
from tasks._classification.model import Classifier, build_optimizer, multi_loss, single_loss
from tasks._classification.protocol import SemiParams, TransferParams
from tests.small_set import SmallSet
from tests.tasks.classification import MICRO, MULTI, SEMI, TRANSFER, small


def test_the_classifier_has_its_own_rate_and_every_weight_is_in_one_group() -> None:
    model = Classifier("resnet18", 5)
    optimizer = build_optimizer(model, SemiParams())
    assert [g["factor"] for g in optimizer.param_groups] == [1.0, 100.0]
    assert optimizer.param_groups[1]["params"] == list(model.head.parameters())
    grouped = [id(p) for g in optimizer.param_groups for p in g["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    assert float(model.head.weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert not model.head.bias.any()


def test_rates_equal_torchs_schedulers() -> None:
    """12,811 images in batches of 256 are 51 steps an epoch."""
    p = SemiParams()
    n, per_epoch = 12_811, 51
    assert p.total_steps(n) == 20 * per_epoch
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.01)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [12, 16], 0.2)
    for epoch in range(20):
        wanted = schedule.get_last_lr()[0]
        for step in (epoch * per_epoch, (epoch + 1) * per_epoch - 1):
            assert p.rate(step, n) == pytest.approx(wanted)
        optimizer.step()
        schedule.step()
    q = TransferParams(steps=30)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], q.lr)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30)
    for step in range(30):
        assert q.rate(step, 7) == pytest.approx(cosine.get_last_lr()[0])
        optimizer.step()
        cosine.step()


def test_semi_supervised_defaults_are_the_papers() -> None:
    """Paper 002, appendix: backbone .01, classifier 1, decay 0 at 1 % and 1e-4 at 10 %, 20 epochs
    of 256."""
    for name, fraction, decay in (("imagenet_1pct", 0.01, 0.0), ("imagenet_10pct", 0.1, 1e-4)):
        p: Any = load("task", name).resolve("paper").params
        assert (p.fraction, p.weight_decay, p.epochs, p.batch_size) == (fraction, decay, 20, 256)
        assert (p.lr, p.lr * p.head_lr, p.drops, p.gamma, p.momentum) == (
            0.01,
            1.0,
            (12, 16),
            0.2,
            0.9,
        )


@pytest.mark.parametrize("name", ["resnet18", "resnet18_cifar", "lab_resnet18", "vit_tiny"])
def test_every_kind_of_backbone_is_classified(name: str) -> None:
    torch.manual_seed(0)
    model = Classifier(name, 7).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found = model(images)
        assert torch.allclose(found, model.head(model.backbone(images)))
    assert found.shape == (2, 7)
    assert found.dtype == torch.float32
    for task in (*TRANSFER, *SEMI, MULTI):
        assert load("task", task).resolve("tiny").supports(name) is None  # type: ignore[attr-defined]


def context(folder: Path, seconds: float = 1e9) -> StageContext:
    folder.mkdir(exist_ok=True)
    runtime = Runtime(home=folder, database="sqlite://", workers=0, checkpoint_seconds=seconds)
    method = {"method": {"params": {"backbone": "resnet18"}}}
    inputs = {"backbone": Stage("pretrain", "x", 1, method, "")}
    stage = Stage("evaluate", "cub", 1, {"seed": 0}, "", inputs)
    return StageContext(stage, folder, {"backbone": folder}, runtime)


def test_the_backbone_is_in_the_network_or_it_fails_loudly(tmp_path: Path) -> None:
    torch.manual_seed(3)
    backbone, ctx = build_backbone("resnet18"), context(tmp_path)
    save_backbone(tmp_path / "backbone.pth", backbone)
    model = pipeline.build(ctx, 4)
    state = model.backbone.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in backbone.state_dict().items())
    report = json.loads((tmp_path / "weights.json").read_text())
    assert report == {"backbone": "resnet18", "tensors_matched": len(state)}
    broken = dict(backbone.state_dict())
    del broken["layer3.0.conv1.weight"]
    torch.save(broken, tmp_path / "backbone.pth")
    with pytest.raises(BadInput, match=r"layer3\.0\.conv1\.weight"):
        pipeline.build(ctx, 4)
    torch.save(
        {**backbone.state_dict(), "layer9.weight": torch.zeros(1)}, tmp_path / "backbone.pth"
    )
    with pytest.raises(BadInput, match=r"layer9\.weight"):
        pipeline.build(ctx, 4)


def trained(
    ctx: StageContext, labelled: Labelled, loss: Any, classes: int, **settings: Any
) -> Classifier:
    torch.manual_seed(0)
    model = Classifier("resnet18", classes)
    p = TransferParams(**{**MICRO, **settings})
    pipeline.fit_classifier(ctx, model, labelled, p, loss, Fabric(accelerator="cpu", devices=1))
    return model


def test_a_stopped_training_goes_on_bit_equal(tmp_path: Path) -> None:
    labelled = small(tmp_path, 6)
    whole = trained(context(tmp_path / "whole"), labelled, single_loss, 20, steps=5).state_dict()
    calls: list[int] = []

    def dies(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(1)
        return single_loss(logits, targets)

    with pytest.raises(KeyboardInterrupt):
        trained(context(tmp_path / "cut", 0.0), labelled, dies, 20, steps=5)
    again: list[int] = []

    def counts(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        again.append(1)
        return single_loss(logits, targets)

    resumed = trained(context(tmp_path / "cut", 0.0), labelled, counts, 20, steps=5).state_dict()
    assert len(again) == 2
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_bf16_scores_are_near_those_of_fp32(tmp_path: Path) -> None:
    labelled = small(tmp_path, 3)
    torch.manual_seed(0)
    model, ctx = Classifier("resnet18", 5), context(tmp_path / "c")
    settings = {**MICRO, "precision": "bf16"}
    whole, half = (
        pipeline.predict(ctx, model, labelled, TransferParams(**s), torch.device("cpu"))
        for s in (MICRO, settings)
    )
    assert not np.array_equal(whole, half)
    assert np.abs(whole - half).max() < 0.05 * np.abs(whole).max()


LEARN = {
    "steps": 45,
    "batch_size": 8,
    "lr": 0.03,
    "min_scale": 0.7,
    "weight_decay": 0.0,
    "resize": 32,
}


def test_it_learns_the_classes_of_a_handful_of_images(tmp_path: Path) -> None:
    labelled = small(tmp_path, 6)
    assert len(set(labelled.targets.tolist())) > 2
    ctx, p = context(tmp_path / "c"), TransferParams(**{**MICRO, **LEARN})
    model = trained(ctx, labelled, single_loss, 20, **LEARN)
    scores = pipeline.predict(ctx, model, labelled, p, torch.device("cpu"))
    assert single_metrics(labelled.targets, scores)["top1"] == 100.0


def test_it_learns_what_a_handful_of_images_show(tmp_path: Path) -> None:
    images = SmallSet(tmp_path, 6)
    labelled = Labelled(images, np.arange(6), image_labels(images))
    ctx, p = context(tmp_path / "c"), TransferParams(**{**MICRO, **LEARN})
    model = trained(ctx, labelled, multi_loss, 20, **LEARN)
    scores = pipeline.predict(ctx, model, labelled, p, torch.device("cpu"))
    assert multi_metrics(labelled.targets, scores)[0]["mAP"] > 95
