"""The detector: anchors, losses, targets, sampling, evaluation, resume."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch.nn import functional as F
from torchvision.models import resnet18

from bench.engine.context import StageContext
from bench.errors import BadInput
from bench.nn.backbones import build_backbone, load_backbone, save_backbone
from bench.params import Runtime
from bench.registry import load
from bench.stage import Stage
from tasks import _finetune
from tasks._detection import train as training
from tasks._detection.anchors import Anchors, assign_levels, cell_anchors, pool
from tasks._detection.backend import TorchvisionBackend
from tasks._detection.data import Key, StepBatches, TrainImages, batch_images, decode_mask, resized
from tasks._detection.evaluate import coco_metrics, ground_truth, predict, to_original
from tasks._detection.model import FpnRcnn, Rpn, box_losses, mask_targets, paste
from tests.small_set import SmallSet

BACKEND = TorchvisionBackend()
TASK: Any = load("task", "coco_det")
MICRO = {
    "iterations": 6, "steps": (4,), "warmup": 2, "batch_size": 2, "precise_bn": 2, "sizes": (64,),
    "test_size": 64,    "rois": 32, "proposals": 40, "rpn_train": 60, "rpn_test": 60,
}  # fmt: skip


def micro(**changes: object) -> Any:
    return TASK.resolve("tiny", {**MICRO, **changes}).params


def test_cell_anchors_have_the_area_and_ratio_asked_for() -> None:
    boxes = cell_anchors(32.0)
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (w * h).tolist() == pytest.approx([1024.0] * 3)
    assert (h / w).tolist() == pytest.approx([0.5, 1.0, 2.0])
    assert boxes[0].tolist() == pytest.approx([-22.627417, -11.3137085, 22.627417, 11.3137085])  # not rounded


def test_anchor_grid_stands_at_multiples_of_the_stride() -> None:
    """At 800 x 1333 padded to 1344, level P6 has stride 64 whatever the padding."""
    grid = Anchors((32, 64, 128, 256, 512), (4, 8, 16, 32, 64)).grid(4, 13, 21, torch.device("cpu"))
    centres = (grid[:, :2] + grid[:, 2:]) / 2
    assert centres.view(13, 21, 3, 2)[2, 5].tolist() == [[320.0, 128.0]] * 3
    assert len(grid) == 13 * 21 * 3


def test_levels_follow_the_fpn_paper() -> None:
    sides = torch.tensor([10.0, 111.9, 112.1, 223.9, 224.1, 447.0, 449.0, 5000.0])
    boxes = torch.stack([sides * 0, sides * 0, sides, sides], 1)
    expected = [min(max(math.floor(4 + math.log2(float(s) / 224)), 2), 5) - 2 for s in sides]
    assert assign_levels(boxes, 224, 4).tolist() == expected == [0, 0, 1, 1, 2, 2, 3, 3]


def test_pool_reads_the_pixels_under_the_box() -> None:
    """A ramp map pooled over a box gives the ramp's value at each bin's centre, half-pixel aligned."""
    ramp = torch.arange(32.0).expand(1, 1, 32, 32).contiguous()
    box = torch.tensor([[16.0, 16.0, 72.0, 72.0]])  # stride 4: x from 4 to 18
    found = pool([ramp, ramp, ramp, ramp], [box], 7, 56, (4, 8, 16, 32, 64))
    level = int(assign_levels(box, 56, 4))
    stride = (4, 8, 16, 32)[level]
    left, width = 16 / stride, 56 / stride / 7
    expected = [left + (i + 0.5) * width - 0.5 for i in range(7)]
    assert found[0, 0, 3].tolist() == pytest.approx(expected, abs=1e-4)


def test_box_losses_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5], [0.3, 0.2, 0.1]])
    deltas = torch.arange(36.0).view(3, 12) / 10
    labels, targets = torch.tensor([0, 2, 1]), torch.zeros(3, 4)
    found = box_losses(logits, deltas, labels, targets)
    own = [2.0, 2.1, 2.2, 2.3], [2.8, 2.9, 3.0, 3.1]  # row 1 class 2, row 2 class 1
    assert float(found["loss_box"]) == pytest.approx(sum(map(sum, own)) / 3, rel=1e-5)
    expected = -np.mean(
        [
            math.log(math.exp(r[c]) / sum(map(math.exp, r)))
            for r, c in zip(logits.tolist(), [0, 2, 1], strict=True)
        ]
    )
    assert float(found["loss_cls"]) == pytest.approx(expected, rel=1e-5)


def test_rpn_losses_are_sums_over_the_fixed_budget() -> None:
    class One:
        batch_size_per_image = 8

        def __call__(self, labels: Any) -> Any:
            return [(labels[0] == 1).to(torch.uint8)], [(labels[0] == 0).to(torch.uint8)]

    rpn = Rpn.__new__(Rpn)
    torch.nn.Module.__init__(rpn)
    rpn.fg_bg_sampler = One()
    labels = [torch.tensor([1.0, 0.0, -1.0, 0.0])]
    scores = torch.tensor([[0.5], [-1.0], [9.0], [2.0]])
    deltas, targets = torch.full((4, 4), 0.25), [torch.zeros(4, 4)]
    cls, box = rpn.compute_loss(scores, deltas, labels, targets)
    s = [math.log(1 + math.exp(-0.5)), math.log(1 + math.exp(-1.0)), math.log(1 + math.exp(2.0))]
    assert float(cls) == pytest.approx(sum(s) / 8, rel=1e-5)
    assert float(box) == pytest.approx(1.0 / 8)


def test_mask_targets_and_paste_are_inverse_on_a_rectangle() -> None:
    mask = torch.zeros(1, 60, 80, dtype=torch.uint8)
    mask[0, 20:40, 10:50] = 1
    box = torch.tensor([[0.0, 10.0, 60.0, 50.0]])
    target = mask_targets(mask, box, torch.tensor([0]))
    assert target.shape == (1, 28, 28)
    rows, cols = target[0].nonzero(as_tuple=True)
    assert int(rows.min()) == 7  # 20 is a quarter of the way from 10 to 50
    assert int(rows.max()) == 20
    assert cols.min() / 28 == pytest.approx(10 / 60, abs=1 / 28)
    back = paste(target, box, 60, 80)[0]
    difference = (back != mask[0].bool()).sum()
    assert int(difference) <= 130  # at most about a pixel along the rectangle's 120-pixel edge


def test_resize_rule() -> None:
    assert resized(640, 480, 800, 1333) == (1067, 800)
    assert resized(1000, 300, 800, 1333) == (1333, 400)
    assert resized(192, 144, 128, 224) == (171, 128)


def test_boxes_map_back_to_the_original_and_are_clipped() -> None:
    boxes = torch.tensor([[10.0, 20.0, 100.0, 128.0], [-5.0, 0.0, 200.0, 130.0]])
    found = to_original(boxes, (128, 171), (192, 144))
    expected = [10 * 192 / 171, 22.5, 100 * 192 / 171, 144.0]
    assert found[0].tolist() == pytest.approx(expected, abs=1e-4)
    assert found[1].tolist() == [0.0, 0.0, 192.0, 144.0]


def test_decode_mask_reads_every_coco_form() -> None:
    polygon = [[2.0, 1.0, 8.0, 1.0, 8.0, 5.0, 2.0, 5.0]]
    from_polygon = decode_mask(polygon, 8, 12)
    compressed = coco_mask.encode(np.asfortranarray(from_polygon))
    text = {"size": compressed["size"], "counts": compressed["counts"].decode()}
    runs, last, count = [], 0, 0
    for value in from_polygon.ravel(order="F"):
        if value == last:
            count += 1
        else:
            runs.append(count)
            last, count = value, 1
    runs.append(count)
    assert from_polygon.sum() == 24
    assert np.array_equal(decode_mask(text, 8, 12), from_polygon)
    assert np.array_equal(decode_mask({"size": [8, 12], "counts": runs}, 8, 12), from_polygon)


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
            assert box.tolist() == pytest.approx([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], abs=0.01)
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


def random_results(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth with crowds and empty images, detections with ties and misses."""
    rng = np.random.default_rng(seed)
    images = [{"id": i + 1, "width": 100, "height": 80} for i in range(12)]
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in images[:10]:
        for _ in range(int(rng.integers(0, 6))):
            x, y = rng.uniform(0, 70), rng.uniform(0, 50)
            w, h = rng.uniform(5, 30, 2)
            box = [float(v) for v in (x, y, w, h)]
            mask = np.zeros((80, 100), np.uint8)
            mask[int(y) : int(y + h), int(x) : int(x + w)] = 1
            rle = coco_mask.encode(np.asfortranarray(mask))
            text = {"size": [80, 100], "counts": rle["counts"].decode()}
            category = int(rng.integers(1, 4))
            common = {"image_id": image["id"], "category_id": category}
            truth.append(
                {**common, "id": len(truth) + 1, "bbox": box, "area": float(w * h), "segmentation": text,
                 "iscrowd": int(rng.random() < 0.2)}
            )  # fmt: skip
            for _ in range(int(rng.integers(0, 3))):
                moved = [box[0] + rng.normal(0, 3), box[1] + rng.normal(0, 3), w, h]
                found.append(
                    {**common, "bbox": [float(v) for v in moved], "segmentation": text,
                     "score": float(np.round(rng.random(), 1))}
                )  # fmt: skip
    categories = [{"id": i, "name": f"c{i}"} for i in (1, 2, 3)]
    return {"images": images, "annotations": truth, "categories": categories, "info": {}}, found


@pytest.mark.parametrize("seed", range(4))
def test_metrics_equal_pycocotools_run_directly(seed: int, tmp_path: Path) -> None:
    truth, found = random_results(seed)
    metrics, per_class = coco_metrics(truth, found)
    file = tmp_path / "gt.json"
    file.write_text(json.dumps(truth))
    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO(str(file))
        for kind in ("bbox", "segm"):
            results = [{k: v for k, v in d.items() if kind == "segm" or k != "segmentation"} for d in found]
            evaluation = COCOeval(gold, gold.loadRes(results), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            for name, value in zip(
                ("AP", "AP50", "AP75", "APs", "APm", "APl"), evaluation.stats, strict=False
            ):
                if value == -1:
                    assert f"{name}_{kind}" not in metrics
                else:
                    assert metrics[f"{name}_{kind}"] == pytest.approx(100 * value, abs=1e-6)
            mean = np.mean(list(per_class[kind].values()))
            assert mean == pytest.approx(metrics[f"AP_{kind}"], abs=1e-6)


def test_no_detections_is_zero() -> None:
    truth, _ = random_results(0)
    metrics, _ = coco_metrics(truth, [])
    assert metrics["AP_bbox"] == metrics["AP_segm"] == 0


def test_perfect_detections_are_100(tmp_path: Path) -> None:
    images = SmallSet(tmp_path, 6)
    truth = ground_truth(images)
    found = [
        {k: a[k] for k in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 0.9}
        for a in truth["annotations"]
    ]
    metrics, _ = coco_metrics(truth, found)
    assert metrics["AP_bbox"] == pytest.approx(100)
    assert metrics["AP_segm"] == pytest.approx(100)


def test_the_backbone_is_in_the_detector_or_it_fails_loudly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = build_backbone("resnet18")
    save_backbone(tmp_path / "b.pth", source)
    model = FpnRcnn("resnet18", 3, micro())
    assert load_backbone(tmp_path / "b.pth", model.body) == len(source.state_dict()) == 120
    images = torch.randn(1, 3, 64, 64)
    source.eval()
    model.eval()
    assert torch.allclose(model.body(images)["3"], source.maps(images), atol=1e-6)
    state = resnet18().state_dict()
    for damage in ("missing", "renamed"):
        broken = {k: v for k, v in state.items() if k != "layer3.0.conv1.weight"}
        if damage == "renamed":
            broken["encoder.layer3.0.conv1.weight"] = state["layer3.0.conv1.weight"]
        torch.save(broken, tmp_path / "x.pth")
        with pytest.raises(BadInput, match=r"layer3\.0\.conv1\.weight"):
            load_backbone(tmp_path / "x.pth", model.body)


def test_learning_rate_schedule() -> None:
    p = TASK.resolve("paper").params
    assert training.lr_at(0, p) == pytest.approx(0.02 / 1000)
    assert training.lr_at(500, p) == pytest.approx(0.02 * (0.5 / 1000 + 0.5))
    assert training.lr_at(1000, p) == training.lr_at(59_999, p) == 0.02
    assert training.lr_at(60_000, p) == pytest.approx(0.002)
    assert training.lr_at(89_999, p) == pytest.approx(0.0002)


def test_no_weight_decay_on_normalisation() -> None:
    model = FpnRcnn("resnet18", 3, micro())
    groups = training.optimizer_for(model, micro()).param_groups
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert groups[0]["weight_decay"] == 0
    assert len(groups[0]["params"]) == 2 * len(norms)
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def context(folder: Path, seconds: float = 1e9) -> StageContext:
    folder.mkdir(exist_ok=True)
    runtime = Runtime(home=folder, database="sqlite://", workers=0, checkpoint_seconds=seconds)
    return StageContext(Stage("evaluate", "coco_det", 1, {"seed": 0}, ""), folder, {}, runtime)


def fit(ctx: StageContext, images: SmallSet, p: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = FpnRcnn("resnet18", 20, p)
    fabric = Fabric(accelerator="cpu", devices=1)
    training.train(ctx, BACKEND, model, images, p, fabric)
    training.precise_batch_norm(ctx, BACKEND, model, images, p, fabric)
    return model.state_dict()


def test_a_stopped_training_goes_on_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    images, p = SmallSet(tmp_path, 6), micro()
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
    images, p = SmallSet(tmp_path, 4), micro(precise_bn=3)
    torch.manual_seed(0)
    model = FpnRcnn("resnet18", 20, p)
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
    torch.set_num_threads(2)
    images = SmallSet(tmp_path, 2, first=1)
    p = micro(iterations=70, steps=(60,), warmup=5, lr=0.02, sizes=(96,), test_size=96, precise_bn=0, rois=48)
    torch.manual_seed(0)
    model = FpnRcnn("resnet18", 20, p)
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


def test_padding_and_normalisation() -> None:
    samples = [
        {"image": torch.full((3, 40, 50), 255, dtype=torch.uint8)},
        {"image": torch.zeros(3, 33, 70, dtype=torch.uint8)},
    ]
    found = batch_images(samples, torch.device("cpu"))
    assert found.tensors.shape == (2, 3, 64, 96)
    assert found.image_sizes == [(40, 50), (33, 70)]
    assert float(found.tensors[0, 0, 0, 0]) == pytest.approx((1 - 0.485) / 0.229, rel=1e-5)
    assert float(found.tensors[0, :, 40:].abs().sum()) == 0
    assert F.relu(found.tensors[1]).sum() == 0
