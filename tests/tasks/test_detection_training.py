"""Training a detector: samples, batches, schedule, resume, statistics; it learns two images."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from bench.contracts.context import StageContext
from bench.contracts.registry import load
from tasks._detection import train as training
from tasks._detection.backend import TorchvisionBackend
from tasks._detection.data import TrainImages
from tasks._detection.evaluate import coco_metrics, predict
from tasks._detection.fpn import FpnRcnn
from tasks._detection.selection import StepBatches
from tasks._detection.truth import ground_truth
from tasks._shared import finetune as _finetune
from tasks._shared.finetune import Key
from tests.small_set import SmallSet
from tests.tasks.detectors import context, fpn_params

BACKEND = TorchvisionBackend()


def test_a_training_sample_follows_its_pixels(tmp_path: Path) -> None:
    """The resized, maybe flipped masks' boxes are the sample's boxes."""
    data = TrainImages(SmallSet(tmp_path, 4), (64, 96), 224, 0)
    flips = 0
    for step in range(12):
        sample = data[Key(step, 0, step % 4)]
        again = data[Key(step, 0, step % 4)]
        assert torch.equal(sample["image"], again["image"])
        original = data.images.objects(step % 4).boxes
        scaled = sample["boxes"].numpy() * sample["scale"].repeat(2).numpy()
        flips += not np.allclose(scaled, original, atol=0.01)
        for box, mask in zip(scaled, sample["masks"].numpy(), strict=True):
            ys, xs = np.nonzero(mask)
            assert box.tolist() == pytest.approx(
                [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], abs=0.01
            )
    assert 1 <= flips <= 11


def test_batches_from_any_step_are_the_same_and_of_one_orientation() -> None:
    sizes = np.array([[4, 3]] * 7 + [[3, 4]] * 5)
    whole = list(StepBatches(sizes, np.arange(12), 3, 20, 0, 0))
    assert [k for b in list(StepBatches(sizes, np.arange(12), 3, 20, 0, 13)) for k in b] == [
        k for b in whole[13:] for k in b
    ]
    assert len(whole) == 20
    for batch in whole:
        assert len({int(k.index) < 7 for k in batch}) == 1
    assert {k.index for b in whole for k in b} == set(range(12))


def test_learning_rate_schedule() -> None:
    p: Any = load("task", "coco_det").resolve("paper").params
    assert training.lr_at(0, p) == pytest.approx(0.02 / 1000)
    assert training.lr_at(500, p) == pytest.approx(0.02 * (0.5 / 1000 + 0.5))
    assert training.lr_at(1000, p) == training.lr_at(59_999, p) == 0.02
    assert training.lr_at(60_000, p) == pytest.approx(0.002)
    assert training.lr_at(89_999, p) == pytest.approx(0.0002)


def test_no_weight_decay_on_normalisation() -> None:
    model = FpnRcnn("resnet18_quarter", 3, fpn_params())
    body = BACKEND.body_parameters(model)
    groups = training.build_optimizer(model, fpn_params(), body).param_groups
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert groups[0]["weight_decay"] == 0
    assert len(groups[0]["params"]) == 2 * len(norms)
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_the_backbone_has_a_rate_of_its_own() -> None:
    """body_lr = .1: the 60 weights of ResNet-18 have a tenth of the rate; batch norm of either has
    no decay."""
    p = fpn_params(body_lr=0.1)
    model = FpnRcnn("resnet18_quarter", 3, p)
    groups = training.build_optimizer(model, p, BACKEND.body_parameters(model)).param_groups
    scale = {id(q): (g["factor"], g["weight_decay"]) for g in groups for q in g["params"]}
    named = dict(model.named_parameters())
    assert len(scale) == len(named)
    wanted = {
        "body.conv1.weight": (0.1, 1e-4),
        "body.layer4.1.bn2.weight": (0.1, 0.0),
        "fpn.inner_blocks.0.0.weight": (1.0, 1e-4),
        "fpn.inner_blocks.0.1.bias": (1.0, 0.0),
        "rpn.head.cls_logits.bias": (1.0, 1e-4),
        "roi.box_predictor.cls_score.weight": (1.0, 1e-4),
        "mask.predict.weight": (1.0, 1e-4),
    }
    assert {name: scale[id(named[name])] for name in wanted} == wanted
    assert sum(factor == 0.1 for factor, _ in scale.values()) == 60


def test_a_backbone_at_rate_0_keeps_its_weights(tmp_path: Path) -> None:
    """Every weight of the body is what it was, to the bit; its batch-norm statistics and all other
    layers have moved."""
    images, p = SmallSet(tmp_path, 4), fpn_params(body_lr=0.0)
    torch.manual_seed(0)
    model = FpnRcnn("resnet18_quarter", 20, p)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    training.train(
        context(tmp_path / "a"), BACKEND, model, images, p, Fabric(accelerator="cpu", devices=1)
    )
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    fixed = {k for k, _ in model.body.named_parameters(prefix="body")}
    assert len(fixed) == 60
    assert not moved & fixed
    assert {"body.bn1.running_mean", "fpn.inner_blocks.0.0.weight", "mask.predict.bias"} <= moved


def test_the_optimiser_is_the_protocols() -> None:
    for name, kind in (("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)):
        p = fpn_params(optimizer=name, momentum=0.8)
        model = FpnRcnn("resnet18_quarter", 3, p)
        optimizer = training.build_optimizer(model, p, BACKEND.body_parameters(model))
        assert type(optimizer) is kind
        first = optimizer.param_groups[0]
        assert first.get("momentum", first.get("betas", (0,))[0]) == 0.8
    assert load("task", "coco_vitdet").resolve("tiny").params.optimizer == "adamw"  # type: ignore[attr-defined]


def fit(ctx: StageContext, images: SmallSet, p: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = FpnRcnn("resnet18_quarter", 20, p)
    fabric = Fabric(accelerator="cpu", devices=1)
    training.train(ctx, BACKEND, model, images, p, fabric)
    training.precise_batch_norm(ctx, BACKEND, model, images, p, fabric)
    return model.state_dict()


def test_a_stopped_training_goes_on_bit_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, p = SmallSet(tmp_path, 6), fpn_params()
    whole = fit(context(tmp_path / "whole"), images, p)
    real, calls = TorchvisionBackend.losses, []

    def dies(*arguments: Any) -> Any:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(TorchvisionBackend, "losses", dies)
    with pytest.raises(KeyboardInterrupt):
        fit(context(tmp_path / "cut", 0.0), images, p)
    monkeypatch.setattr(TorchvisionBackend, "losses", real)
    resumed = fit(context(tmp_path / "cut", 0.0), images, p)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


def test_precise_batch_norm_is_the_mean_over_batches(tmp_path: Path) -> None:
    images, p = SmallSet(tmp_path, 4), fpn_params(precise_bn=3)
    torch.manual_seed(0)
    model = FpnRcnn("resnet18_quarter", 20, p)
    fabric = Fabric(accelerator="cpu", devices=1)
    ctx = context(tmp_path / "c")
    seen: list[torch.Tensor] = []
    layer = model.body["bn1"]
    layer.register_forward_hook(lambda m, args, out: seen.append(args[0].mean((0, 2, 3))))
    training.precise_batch_norm(ctx, BACKEND, model, images, p, fabric)
    assert len(seen) == 3
    assert torch.allclose(layer.running_mean, torch.stack(seen).mean(0), atol=1e-5)
    assert layer.momentum == 0.1


def test_it_learns_two_images(tmp_path: Path) -> None:
    """Overfitting two images: losses fall by half, and their boxes are found."""
    images = SmallSet(tmp_path, 2, first=1)
    p = fpn_params(
        iterations=70,
        steps=(60,),
        warmup=5,
        lr=0.02,
        sizes=(96,),
        test_size=96,
        precise_bn=0,
        rois=48,
    )
    torch.manual_seed(0)
    model = FpnRcnn("resnet18_quarter", 20, p)
    ctx = context(tmp_path / "c")
    losses: list[float] = []
    ctx.tracker = SimpleNamespace(log=lambda figures, step: losses.append(figures["loss"]))  # type: ignore[assignment]
    _finetune.LOG_EVERY, every = 1, _finetune.LOG_EVERY
    try:
        training.train(ctx, BACKEND, model, images, p, Fabric(accelerator="cpu", devices=1))
    finally:
        _finetune.LOG_EVERY = every
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    metrics, _ = coco_metrics(
        ground_truth(images), predict(ctx, BACKEND, model, images, p, torch.device("cpu"))
    )
    assert metrics["AP50_bbox"] > 5
    assert math.isfinite(metrics["AP_segm"])


def test_precise_batch_norm_is_the_mean_of_the_batches_statistics(tmp_path: Path) -> None:
    """Of means and of variances with n - 1, in every layer, whatever the statistics were; weights
    stay as they are."""
    images, p = SmallSet(tmp_path, 4), fpn_params(precise_bn=3)
    torch.manual_seed(0)
    model = FpnRcnn("resnet18_quarter", 20, p)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    seen: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {n: [] for n in layers}
    for name, layer in layers.items():
        layer.running_mean.fill_(7.0)
        layer.running_var.fill_(9.0)
        keep = seen[name]
        layer.register_forward_hook(
            lambda m, args, out, keep=keep: keep.append(
                (args[0].mean((0, 2, 3)), args[0].var((0, 2, 3), unbiased=True))
            )
        )
    weights = {n: q.detach().clone() for n, q in model.named_parameters()}
    fabric = Fabric(accelerator="cpu", devices=1)
    training.precise_batch_norm(context(tmp_path / "c"), BACKEND, model, images, p, fabric)
    assert len(layers) >= 20
    for name, layer in layers.items():
        assert len(seen[name]) == 3
        mean, variance = (torch.stack(v).mean(0) for v in zip(*seen[name], strict=True))
        torch.testing.assert_close(layer.running_mean, mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(layer.running_var, variance, rtol=1e-3, atol=1e-5)
    assert all(torch.equal(q, weights[n]) for n, q in model.named_parameters())
