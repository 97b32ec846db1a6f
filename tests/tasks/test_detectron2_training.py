"""Training detectron2's networks: schedule, statistics, kills, odd samples, a whole command. Needs
it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from bench.contracts.registry import load
from tasks._detection import train as training
from tasks._detection.backend import TorchvisionBackend
from tasks._detection.evaluate import predict
from tasks._detection.pipeline import prepare_split, score
from tests.e2e.micro import metrics, run
from tests.tasks.detectors import context, images_for

pytest.importorskip("detectron2")

from detectron2.config import get_cfg
from detectron2.modeling.meta_arch import retinanet
from detectron2.solver import build_lr_scheduler, get_default_optimizer_params
from detectron2.structures import Instances
from fvcore.nn import sigmoid_focal_loss
from fvcore.nn.precise_bn import get_bn_modules

from tasks._detection.detectron2 import Detectron2Backend, build_network
from tests.tasks.detectron2_pair import CPU, Pair, settings


@pytest.mark.parametrize("name", ["coco_det", "voc0712_det", "coco_retinanet"])
def test_schedule_and_weight_decay(name: str, tmp_path: Path) -> None:
    """Every rate of the paper's schedule, and which tensors decay."""
    p = load("task", name).resolve("paper").params
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = p.lr, p.iterations, p.steps
    cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.GAMMA = p.warmup, 0.1
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], p.lr)
    schedule = build_lr_scheduler(cfg, optimizer)
    for step in range(p.iterations):
        if step < 2000 or step % 500 < 2:
            assert training.lr_at(step, p) == pytest.approx(
                optimizer.param_groups[0]["lr"], rel=1e-6
            ), step
        optimizer.step()
        schedule.step()
    model = build_network("resnet18", 3, settings(name))
    groups = get_default_optimizer_params(
        model, weight_decay=p.weight_decay, weight_decay_norm=0.0
    )
    theirs = {id(q): g["weight_decay"] for g in groups for q in g["params"]}
    ours = training.build_optimizer(
        model, p, Detectron2Backend().body_parameters(model)
    ).param_groups
    assert {id(q): g["weight_decay"] for g in ours for q in g["params"]} == theirs
    assert set(theirs.values()) == {0.0, 1e-4}


def test_precise_statistics_cover_the_same_layers(tmp_path: Path) -> None:
    pair = Pair("coco_det", tmp_path)
    layers = [m for m in pair.theirs.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    assert layers == get_bn_modules(pair.theirs.train())
    before = {k: v.clone() for k, v in pair.theirs.state_dict().items() if "running" in k}
    fabric, backend = Fabric(accelerator="cpu", devices=1), Detectron2Backend()
    training.precise_batch_norm(
        context(tmp_path / "a"), backend, pair.theirs, pair.images, pair.p, fabric
    )
    training.precise_batch_norm(
        context(tmp_path / "b"), TorchvisionBackend(), pair.ours, pair.images, pair.p, fabric
    )
    other, after = pair.renamed().state_dict(), pair.theirs.state_dict()
    for key, value in before.items():
        assert not torch.equal(value, after[key]), key
        assert torch.allclose(other[key], after[key], rtol=1e-3, atol=1e-4), key


@pytest.mark.parametrize("name", ["coco_det", "coco_retinanet"])
def test_a_training_is_a_function_of_its_seed_and_goes_on_after_a_kill(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit-equal; RetinaNet's moving mean, a plain number in detectron2, is in the checkpoint, and
    its focal loss, which is TorchScript, starts here as in a fresh process."""
    monkeypatch.setattr(retinanet, "sigmoid_focal_loss_jit", torch.jit.script(sigmoid_focal_loss))
    p, states = settings(name, sizes=(64,), test_size=64, iterations=4), []
    images = prepare_split(images_for(name, tmp_path, 4), p)
    fabric, backend = Fabric(accelerator="cpu", devices=1), Detectron2Backend()
    for at in ("a", "b", "killed"):
        ctx = context(tmp_path / at)
        torch.manual_seed(0)
        model = build_network("resnet18", len(images.classes), p)
        if at == "killed":
            ctx.runtime.checkpoint_seconds = 0
            with pytest.raises(KeyboardInterrupt):
                training.train(ctx, Killed(2), model, images, p, fabric)
            model = build_network("resnet18", len(images.classes), p)
        training.train(ctx, backend, model, images, p, fabric)
        states.append({k: v.clone() for k, v in model.state_dict().items()})
    assert ("loss_normalizer" in states[0]) == (name == "coco_retinanet")
    for other in states[1:]:
        assert all(torch.equal(v, other[k]) for k, v in states[0].items())


class Killed(Detectron2Backend):
    """Interrupted at a step."""

    def __init__(self, after: int) -> None:
        self.left = after

    def losses(
        self, model: nn.Module, samples: list[dict[str, Any]], device: torch.device
    ) -> dict[str, Tensor]:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return super().losses(model, samples, device)


def test_an_image_without_objects(tmp_path: Path) -> None:
    """Large scale jitter can leave none; both engines give finite, equal losses."""
    pair = Pair("coco_det", tmp_path)
    for key in ("boxes", "labels", "masks"):
        pair.samples[1][key] = pair.samples[1][key][:0]
    ours, theirs = pair.losses()
    for key, value in ours.items():
        assert float(theirs[key]) == pytest.approx(float(value), rel=1e-5), key


def test_nothing_found(tmp_path: Path) -> None:
    pair = Pair("coco_det", tmp_path)
    with torch.no_grad():
        pair.theirs.roi_heads.box_predictor.cls_score.bias[-1] = 1e4
    (found,) = Detectron2Backend().predict(pair.theirs.eval(), pair.samples[:1], CPU)
    assert found["boxes"].shape == (0, 4)
    assert len(found["masks"]) == len(found["scores"]) == 0
    assert isinstance(
        pair.theirs.inference([{"image": pair.samples[0]["image"]}], None, False)[0], Instances
    )


def test_a_command_with_this_engine(home: Path) -> None:
    """From `bench run` to a row: the engine and its version are recorded, both engines' rows stay
    apart."""
    sets = (
        "random_init.backbone=resnet18",  # detectron2 has no narrow ones
        "scenes.n_train=12",
        "scenes.n_val=4",
        "coco_det.iterations=4",
        "coco_det.steps=[3]",
        "coco_det.precise_bn=2",
        "coco_det.warmup=1",
        "coco_det.sizes=[64]",
        "coco_det.test_size=64",
    )
    for engine in ("auto", "torchvision"):
        done = run("--method", "random_init", "--engine", engine, "--workers", "0", sets=sets)
        assert done.returncode == 0, done.stderr
    files = [
        json.loads(f.read_text()) for f in (home / "store" / "evaluate").glob("*/weights.json")
    ]
    assert sorted(f["engine"] for f in files) == ["detectron2", "torchvision"]
    assert all(f["tensors_matched"] == 120 for f in files)
    assert len(metrics(home)) == 2
    assert all(v["AP_bbox"] >= 0 for v in metrics(home).values())


def test_scores_come_from_the_shared_metrics(tmp_path: Path) -> None:
    pair = Pair("voc0712_det", tmp_path)
    found = predict(
        context(tmp_path / "c"), Detectron2Backend(), pair.theirs, pair.images, pair.p, CPU
    )
    values, per_class = score(pair.images, found, pair.p)
    assert {"AP", "AP50", "AP75"} <= set(values)
    assert per_class
