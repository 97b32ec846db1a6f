"""Semantic segmentation: metrics, attention, dilation, crops, windows, training, whole runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from sklearn.metrics import confusion_matrix
from torch.nn import functional as F
from torchvision.models import resnet50

from bench.cell import Cell, make_plan
from bench.data._scenes_draw import draw_scene
from bench.data._scenes_pixels import write_camvid, write_cityscapes
from bench.data.semantic import pixel_targets
from bench.engine.local import LocalEngine
from bench.errors import BadData, BadInput, StageFailed
from bench.nn.backbones import ResNetBackbone, build_backbone, load_backbone, save_backbone
from bench.params import Runtime
from bench.registry import load
from bench.store import Store
from tasks import _finetune
from tasks._finetune import StepBatches
from tasks._segmentation import pipeline
from tasks._segmentation.data import (
    TestImages,
    TrainCrops,
    augment,
    base_factor,
    crop_at,
    normalised,
    photometric,
    resize_pair,
)
from tasks._segmentation.infer import infer, slide, starts, windows
from tasks._segmentation.metrics import Confusion, per_class, segmentation_metrics
from tasks._segmentation.model import Segmenter, dilate, optimizer_for, pixel_loss
from tasks._segmentation.protocol import poly
from tasks._segmentation.psa import PsaHead, attend, reindex
from tests.data.folders import Deaf
from tests.tasks.segmentation import MICRO, TASKS, Pixels, context, micro

CPU = torch.device("cpu")
OVERFIT = {
    "batch_size": 2, "lr": 0.1, "min_lr": 1e-3, "weight_decay": 0.0, "aux_weight": 0.0, "dropout": 0.0,
    "short": 96, "longest": 400, "crop": (128, 128), "scale": (1.0, 1.0), "max_share": 1.0,
    "photometric": False,
}  # fmt: skip


# Metrics


def random_pixels(seed: int, classes: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images of several sizes, (truth, prediction); class 3 is in neither, class 4 only predicted."""
    rng = np.random.default_rng(seed)
    made = []
    for height, width in ((7, 9), (5, 4), (12, 3)):
        truth = rng.choice([0, 1, 2, 255], (height, width)).astype(np.uint8)
        wrong = rng.choice([0, 1, 2, 4], (height, width))
        found = np.where((rng.random(truth.shape) < 0.6) & (truth < 255), truth, wrong)
        made.append((truth, found.astype(np.int64)))
    return made


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_scikit_learn_and_a_plain_loop(seed: int) -> None:
    images, confusion = random_pixels(seed), Confusion(5)
    for truth, found in images:
        confusion.add(torch.from_numpy(truth), torch.from_numpy(found))
    there = np.concatenate([t.ravel() for t, _ in images])
    predicted = np.concatenate([f.ravel() for _, f in images])
    scored = there != 255
    expected = confusion_matrix(there[scored], predicted[scored], labels=range(5))
    assert np.array_equal(confusion.matrix, expected)
    ious, accuracies, right, total = [], [], 0, 0
    for c in range(5):
        hits = misses = alarms = 0
        for t, f in zip(there, predicted, strict=True):
            if t == 255:
                continue
            hits += int(t == c and f == c)
            misses += int(t == c and f != c)
            alarms += int(t != c and f == c)
        right, total = right + hits, total + hits + misses
        if hits + misses + alarms:
            ious.append(hits / (hits + misses + alarms))
        if hits + misses:
            accuracies.append(hits / (hits + misses))
    found_metrics = segmentation_metrics(confusion.matrix)
    assert found_metrics["mIoU"] == pytest.approx(100 * sum(ious) / 4, abs=1e-10)
    assert found_metrics["mAcc"] == pytest.approx(100 * sum(accuracies) / 3, abs=1e-10)
    assert found_metrics["aAcc"] == pytest.approx(100 * right / total, abs=1e-10)


def test_metrics_by_hand() -> None:
    matrix = np.array([[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    found = segmentation_metrics(matrix)
    assert found["mIoU"] == pytest.approx(100 * (6 / 9 + 3 / 6) / 2)
    assert found["mAcc"] == pytest.approx(100 * (6 / 8 + 3 / 4) / 2)
    assert found["aAcc"] == pytest.approx(75.0)
    matrix[0, 2] = 4  # class 2 is predicted, and never there: IoU 0, no accuracy
    named = per_class(matrix, ["a", "b", "c", "d"])
    assert named["c"] == {"IoU": 0.0}
    assert named["d"] == {}
    assert segmentation_metrics(matrix)["mIoU"] == pytest.approx(100 * (6 / 13 + 3 / 6 + 0) / 3)


def test_no_scored_pixel_is_an_error() -> None:
    confusion = Confusion(3)
    confusion.add(torch.full((4, 4), 255, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.long))
    with pytest.raises(BadData, match="void everywhere"):
        segmentation_metrics(confusion.matrix)


# Point-wise spatial attention


def loop_attention(
    features: np.ndarray, maps: np.ndarray, mask: tuple[int, int], way: str, normalise: str
) -> np.ndarray:
    """One image, written from the paper: every position i has a map over offsets; the H x W window of it that
    is centred on i is its attention over all positions j. float64."""
    _, height, width = features.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    attention = np.zeros((len(places), len(places)))  # [i, j]
    for i, (iy, ix) in enumerate(places):
        own = maps[:, iy, ix].reshape(mask)
        for j, (jy, jx) in enumerate(places):
            row, column = jy - iy + mask[0] // 2, jx - ix + mask[1] // 2
            if 0 <= row < mask[0] and 0 <= column < mask[1]:
                attention[i, j] = own[row, column]
    made = np.zeros_like(features)
    for target in range(len(places)):
        # collect: the target's own attention to all; distribute: all others' attention to the target
        weights = attention[target] if way == "collect" else attention[:, target]
        if normalise == "softmax":
            weights = np.exp(weights - weights.max())
            weights = weights / weights.sum()
        else:
            weights = weights / len(places)
        ty, tx = places[target]
        for source, (sy, sx) in enumerate(places):
            made[:, ty, tx] += weights[source] * features[:, sy, sx]
    return made


@pytest.mark.parametrize("mask", [(5, 7), (3, 5), (9, 11)], ids=["whole", "short", "long"])
@pytest.mark.parametrize("way", ["collect", "distribute"])
@pytest.mark.parametrize("normalise", ["softmax", "count"])
def test_attention_equals_a_plain_loop(mask: tuple[int, int], way: Any, normalise: Any) -> None:
    """3 x 4 positions: a map of 5 x 7 is the paper's (2H - 1)(2W - 1)."""
    rng = np.random.default_rng(mask[0])
    features, maps = rng.normal(size=(2, 6, 3, 4)), 2 * rng.normal(size=(2, mask[0] * mask[1], 3, 4))
    found = attend(torch.from_numpy(features), torch.from_numpy(maps), mask, way, normalise).numpy()
    for one, own, expected in zip(found, maps, features, strict=True):
        np.testing.assert_allclose(one, loop_attention(expected, own, mask, way, normalise), atol=1e-12)


def test_an_over_completed_map_reaches_every_position_and_no_smaller_one_does() -> None:
    maps = torch.ones(1, 5 * 7, 3, 4)
    assert bool((reindex(maps, (5, 7)) == 1).all())
    assert bool((reindex(maps[:, :15], (3, 5)) == 0).any())


def test_collect_looks_where_the_map_points_and_distribute_sends_there() -> None:
    """Every map points one to the right: collecting takes the right neighbour's features, distributing gives
    one's own to the right neighbour."""
    features = torch.arange(12.0).view(1, 1, 3, 4)
    maps = torch.zeros(1, 5, 7, 3, 4)
    maps[0, 2, 4] = 100.0
    maps = maps.flatten(1, 2)
    collected = attend(features, maps, (5, 7), "collect", "softmax")
    assert torch.allclose(collected[0, 0, :, :3], features[0, 0, :, 1:])
    sent = attend(features, maps, (5, 7), "distribute", "softmax")
    assert torch.allclose(sent[0, 0, :, 1:], features[0, 0, :, :3])
    assert float(sent[0, 0, 1, 0]) == pytest.approx(5.5), "nobody sends here: the mean of all"


@pytest.mark.parametrize(("size", "shrink"), [((9, 5), 2), ((8, 6), 2), ((7, 6), 1), ((1, 1), 2)])
def test_the_head_at_any_size(size: tuple[int, int], shrink: int) -> None:
    torch.manual_seed(0)
    head = PsaHead(12, 8, 4, 0.0, (5, 7), shrink).eval()
    x = torch.randn(2, 12, *size, requires_grad=True)
    found = head(x)
    assert found.shape == (2, 4, *size)
    assert torch.allclose(head(x[1:]), found[1:], atol=1e-5), "an image does not see the others"
    found.sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in head.parameters())


def test_a_map_without_a_centre() -> None:
    with pytest.raises(BadInput, match=r"its sides are odd, got \(4, 5\); try: 97,97"):
        PsaHead(12, 8, 4, 0.0, (4, 5))


# Backbones


@pytest.mark.parametrize(("output_stride", "flags"), [(8, [False, True, True]), (16, [False, False, True])])
def test_dilated_backbone_equals_torchvision(output_stride: int, flags: list[bool]) -> None:
    torch.manual_seed(0)
    reference = resnet50(replace_stride_with_dilation=flags).eval()
    mine = build_backbone("resnet50")
    assert isinstance(mine, ResNetBackbone)
    mine = dilate(mine, output_stride).eval()
    state = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    assert mine.load_state_dict(state).missing_keys == []
    images = torch.randn(1, 3, 72, 56)
    b = reference
    expected = b.layer4(b.layer3(b.layer2(b.layer1(b.maxpool(b.relu(b.bn1(b.conv1(images))))))))
    found = mine.maps(images)
    assert found.shape[2:] == (math.ceil(72 / output_stride), math.ceil(56 / output_stride))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet18_half", "resnet50_half"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_keeps_the_outputs_that_were_there(name: str, output_stride: int) -> None:
    """At every old position the dilated network gives what the strided one gave."""
    torch.manual_seed(1)
    strided = build_backbone(name).eval()
    dilated = build_backbone(name).eval()
    dilated.load_state_dict(strided.state_dict())
    assert isinstance(dilated, ResNetBackbone)
    dilate(dilated, output_stride)
    images = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        dense, sparse = dilated.maps(images), strided.maps(images)  # type: ignore[operator]
    step = 32 // output_stride
    assert dense.shape[2:] == (96 // output_stride, 64 // output_stride)
    assert torch.allclose(dense[:, :, ::step, ::step], sparse, atol=1e-4 * float(sparse.abs().max()))


def test_the_backbone_is_in_the_network_or_it_fails_loudly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = build_backbone("resnet18")
    save_backbone(tmp_path / "b.pth", source)
    model = Segmenter("resnet18", 5, micro())
    assert load_backbone(tmp_path / "b.pth", model.backbone) == len(source.state_dict()) == 120
    assert all(torch.equal(v, model.backbone.state_dict()[k]) for k, v in source.state_dict().items())
    for damage, message in (("missing", "is missing"), ("extra", "is unexpected")):
        state = source.state_dict()
        if damage == "missing":
            del state["layer3.0.conv1.weight"]
        else:
            state["layer3.0.conv3.weight"] = torch.zeros(1)
        torch.save(state, tmp_path / "x.pth")
        with pytest.raises(BadInput, match=rf"layer3\.0\.conv[13]\.weight' {message}"):
            load_backbone(tmp_path / "x.pth", model.backbone)


@pytest.mark.parametrize("task", TASKS)
def test_backbones_that_cannot_be_dilated_are_told_why(task: str) -> None:
    asked: Any = load("task", task).resolve("tiny")
    for name in ("vit_tiny", "lab_resnet18", "resnet18_cifar"):
        assert 10 <= len(asked.supports(name)) <= 200
    assert asked.supports("resnet50") is asked.supports("resnet18_half_zeroinit") is None


# Losses and the schedule


def test_pixel_loss_is_the_mean_over_scored_pixels() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 4, 6, 5), torch.randint(0, 4, (2, 6, 5)).to(torch.uint8)
    targets[0, :3] = 255
    expected = F.cross_entropy(logits.double(), targets.long(), ignore_index=255)
    assert float(pixel_loss(logits, targets)) == pytest.approx(float(expected), rel=1e-6)
    larger = F.interpolate(logits, size=(12, 10), mode="bilinear")
    full = targets.repeat_interleave(2, 1).repeat_interleave(2, 2)
    expected = F.cross_entropy(larger, full.long(), ignore_index=255)
    assert float(pixel_loss(logits, full)) == pytest.approx(float(expected), rel=1e-6)
    assert float(pixel_loss(logits, torch.full_like(targets, 255))) == 0.0


def test_losses_of_both_heads() -> None:
    torch.manual_seed(0)
    model = Segmenter("resnet18", 5, micro(dropout=0.0, aux_weight=0.4)).eval().requires_grad_(False)
    images, targets = torch.randn(2, 3, 48, 64), torch.randint(0, 5, (2, 48, 64)).to(torch.uint8)
    found = model.losses(images, targets)
    assert float(found["loss_seg"]) == pytest.approx(float(pixel_loss(model(images), targets)), rel=1e-5)
    assert model.aux is not None
    c4, c5 = model.features(images)
    assert c4.shape[1:] == (256, 6, 8)
    assert c5.shape[1:] == (512, 6, 8)
    assert float(found["loss_aux"]) == pytest.approx(
        0.4 * float(pixel_loss(model.aux(c4), targets)), rel=1e-5
    )
    assert set(Segmenter("resnet18", 5, micro(aux_weight=0)).losses(images, targets)) == {"loss_seg"}


def test_polynomial_schedule() -> None:
    p: Any = load("task", "cityscapes_seg").resolve("paper").params
    assert poly(0, p) == p.lr == 0.02
    assert poly(20_000, p) == pytest.approx((0.02 - 1e-4) * 0.5**0.9 + 1e-4)
    assert poly(39_999, p) == pytest.approx(1e-4, abs=2e-6)
    expected = torch.optim.lr_scheduler.PolynomialLR(
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.0199), 40_000, 0.9
    )
    for step in range(5):
        assert poly(step, p) == pytest.approx(expected.get_last_lr()[0] + 1e-4, rel=1e-9)
        expected.optimizer.step()
        expected.step()


def test_every_weight_is_in_one_group(tmp_path: Path) -> None:
    p = micro("cityscapes_seg", head_lr=10.0)
    model = Segmenter("resnet18", 5, p)
    body, heads = optimizer_for(model, p).param_groups
    assert len(body["params"]) == len(list(model.backbone.parameters()))
    assert len(body["params"]) + len(heads["params"]) == len(list(model.parameters()))
    assert (body["weight_decay"], heads["weight_decay"], heads["momentum"]) == (5e-4, 5e-4, 0.9)
    seen: list[list[float]] = []
    optimizer = optimizer_for(model, p)
    optimizer.register_step_pre_hook(lambda o, *_: seen.append([g["lr"] for g in o.param_groups]))
    batch = torch.randn(2, 3, 48, 64), torch.zeros(2, 48, 64, dtype=torch.uint8)
    loop = _finetune.Loop(
        3, 0.1, lambda start: [batch] * 3, lambda b: model.losses(*b), lambda s: 0.1 / (s + 1), 0
    )
    _finetune.fit(context(tmp_path), model, optimizer, loop, Fabric(accelerator="cpu", devices=1))
    assert [v for pair in seen for v in pair] == pytest.approx([0.1, 1.0, 0.05, 0.5, 0.1 / 3, 1 / 3])


# Crops


def test_a_crop_follows_its_pixels(tmp_path: Path) -> None:
    """The mask painted into the image survives scale, crop and flip together with the mask itself."""
    images = Pixels(tmp_path, 4)
    p = micro(crop=(112, 130), photometric=False, short=0, scale=(0.5, 2.0))
    flips = padded = 0
    for i in range(24):
        target = pixel_targets(images, i % 4)
        painted = np.repeat(target[..., None] * 12, 3, 2)
        painted[..., 2] = np.linspace(0, 255, target.shape[1])  # brighter to the right
        rng = np.random.default_rng(i)
        crop, classes = augment(painted, target, p, rng)
        again, same = augment(painted, target, p, np.random.default_rng(i))
        assert torch.equal(crop, again)
        assert torch.equal(classes, same)
        assert crop.shape == (3, 112, 130)
        assert classes.shape == (112, 130)
        inside = classes != 255
        padded += not bool(inside.all())
        assert not crop[:, ~inside].any()
        values = (crop[0] * 0.229 + 0.485) * 255 / 12
        agree = (values - classes.float()).abs()[inside] < 0.1
        assert float(agree.float().mean()) > 0.8  # edges are blends of two classes
        rows, columns = inside.any(1), inside.any(0)
        ramp = crop[2][rows][:, columns].mean(0)
        flips += bool(ramp[0] > ramp[-1])
    assert 4 <= flips <= 20
    assert 1 <= padded <= 23


def test_a_crop_at_scale_one_is_the_image() -> None:
    rng = np.random.default_rng(0)
    image, target = rng.integers(0, 256, (20, 30, 3), np.uint8), rng.integers(0, 5, (20, 30), np.uint8)
    p = micro(crop=(20, 30), short=0, scale=(1.0, 1.0), photometric=False)
    for i in range(4):
        crop, classes = augment(image, target, p, np.random.default_rng(i))
        way = 1 if classes[0].tolist() == target[0].tolist() else -1
        assert np.array_equal(classes.numpy(), target[:, ::way])
        assert torch.equal(crop, normalised(image[:, ::way]))
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(
        normalised(image).numpy().transpose(1, 2, 0), (image / 255 - mean) / deviation, atol=1e-5
    )


def test_a_crop_of_mostly_one_class_is_drawn_again() -> None:
    target = np.zeros((100, 1000), np.uint8)
    target[:, 300:500] = 1
    target[:, 500:] = 255

    def mixed(share: float) -> float:
        """The share of crops in which no class has more than 75 % of the pixels that are not void."""
        found = []
        for seed in range(200):
            window = target[crop_at(target, (100, 100), share, np.random.default_rng(seed))]
            counts = np.bincount(window.ravel(), minlength=256)[:255]
            found.append(counts.max() <= 0.75 * counts.sum() and counts.sum() > 0)
        return float(np.mean(found))

    # a window has two classes at all in about 100 of 900 places, and is mixed enough in 50
    assert mixed(1.0) == pytest.approx(50 / 901, abs=0.05)
    assert mixed(0.75) == pytest.approx(1 - (1 - 50 / 901) ** 10, abs=0.1)


def test_sizes() -> None:
    voc: Any = load("task", "voc12_seg").resolve("paper").params
    assert base_factor(500, 375, voc) == pytest.approx(512 / 375)
    assert base_factor(3000, 400, voc) == pytest.approx(2048 / 3000)
    streets: Any = load("task", "cityscapes_seg").resolve("paper").params
    assert base_factor(2048, 1024, streets) == 1.0
    image, target = np.zeros((375, 500, 3), np.uint8), np.zeros((375, 500), np.uint8)
    resized = resize_pair(image, target, 512 / 375)
    assert [x.shape[:2] for x in resized] == [(512, 683)] * 2


def test_photometric_distortion() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (16, 16, 3), np.uint8)
    kept = sum(np.array_equal(photometric(image, np.random.default_rng(i)), image) for i in range(400))
    assert 4 <= kept <= 40, "one in sixteen has no distortion at all"
    grey = np.repeat(image[..., :1], 3, 2)
    for i in range(20):
        found = photometric(grey, np.random.default_rng(i))
        assert found.dtype == np.uint8
        assert np.array_equal(found[..., 0], found[..., 2]), "saturation and hue leave grey alone"
    flat = np.full((4, 4, 3), 100, np.uint8)
    levels = {int(photometric(flat, np.random.default_rng(i))[0, 0, 0]) for i in range(300)}
    assert min(levels) < 55  # below 100 * .5 + 32 steps only together
    assert max(levels) > 145
    assert max(levels) <= 198


def test_batches_from_any_step_are_the_same() -> None:
    positions = np.array([2, 5, 7, 11, 13])
    whole = list(StepBatches(positions, 3, 20, 0, 0))
    assert list(StepBatches(positions, 3, 20, 0, 13)) == whole[13:]
    order = [k.index for b in whole for k in b]
    for epoch in range(12):
        assert sorted(order[5 * epoch : 5 * epoch + 5]) == positions.tolist()
    assert [k.place for k in whole[4]] == [0, 1, 2]
    large = list(StepBatches(positions, 12, 2, 0, 0))  # a batch of more than two epochs
    assert [k.index for b in large for k in b] == order[:24]


def test_crops_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    p = micro()
    data = TrainCrops(Pixels(tmp_path, 3), p, 1)
    batches = StepBatches(np.arange(3), 2, 3, 1, 0)
    plain = list(torch.utils.data.DataLoader(data, batch_sampler=batches))
    forked = list(torch.utils.data.DataLoader(data, batch_sampler=batches, num_workers=2))
    assert all(
        torch.equal(a, b) for x, y in zip(plain, forked, strict=True) for a, b in zip(x, y, strict=True)
    )


# Inference


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (20, 90), (64, 64), (10, 10)])
def test_windows_cover_every_pixel_and_stay_inside(size: tuple[int, int]) -> None:
    count = np.zeros(size, int)
    for rows, columns in windows(size, (32, 32), (24, 20)):
        assert 0 <= rows.start < rows.stop <= size[0]
        assert 0 <= columns.start < columns.stop <= size[1]
        assert rows.stop - rows.start == min(32, size[0])
        assert columns.stop - columns.start == min(32, size[1])
        count[rows, columns] += 1
    assert count.min() >= 1


def test_where_windows_start() -> None:
    assert starts(1024, 512, 342) == [0, 342, 512]
    assert starts(2048, 1024, 683) == [0, 683, 1024]
    assert starts(100, 50, 50) == [0, 50]
    assert starts(50, 50, 50) == [0]
    with pytest.raises(BadInput, match="leave gaps"):
        windows((100, 100), (32, 32), (33, 32))


def test_sliding_equals_the_whole_image_for_a_pointwise_network() -> None:
    torch.manual_seed(0)
    net = torch.nn.Conv2d(3, 7, 1).double()
    image = torch.randn(1, 3, 45, 70, dtype=torch.float64)
    found, count = slide(lambda x: net(x), image, (32, 32), (24, 20))
    assert torch.allclose(found, net(image).float(), atol=1e-6)
    expected = np.zeros((45, 70))
    for y in (0, 13):
        for x in (0, 20, 38):
            expected[y : y + 32, x : x + 32] += 1
    assert np.array_equal(count.numpy(), expected)
    p = micro(inference="slide")
    assert torch.equal(infer(lambda x: net(x), image, p), slide(net, image, p.window, p.stride)[0])
    whole = infer(lambda x: net(x), image, micro(inference="whole"))
    assert torch.equal(whole, net(image))


def test_windows_are_averaged() -> None:
    """A network that returns the window's mean: a pixel gets the mean over its windows."""
    image = torch.arange(6.0).view(1, 1, 1, 6)
    found, _ = slide(lambda x: x.mean().expand_as(x), image, (1, 4), (1, 2))
    assert found.flatten().tolist() == pytest.approx([1.5, 1.5, 2.5, 2.5, 3.5, 3.5])


@pytest.mark.parametrize("inference", ["whole", "slide"])
def test_predictions_have_the_size_of_the_mask(inference: str, tmp_path: Path) -> None:
    images, p = Pixels(tmp_path, 3, without=(1,)), micro(inference=inference)
    model = Segmenter("resnet18", 21, p).eval()
    shapes = {}
    with torch.no_grad():
        for index, found, truth in pipeline.predictions(context(tmp_path / "c"), model, images, p, CPU):
            shapes[index] = tuple(found.shape)
            assert np.array_equal(truth.numpy(), pixel_targets(images, index))
    assert shapes == {i: tuple(images.sizes[i][::-1]) for i in (0, 2)}
    _, small, target = TestImages(images, np.array([2]), p)[0]
    assert min(small.shape[1:]) == 48
    assert tuple(target.shape) == shapes[2]


# Training


def fit(folder: Path, images: Pixels, p: Any, seconds: float = 1e9, name: str = "resnet18_half") -> Segmenter:
    torch.manual_seed(0)
    model = Segmenter(name, 21, p).to(memory_format=torch.channels_last)
    pipeline.train(context(folder, seconds), model, images, p, Fabric(accelerator="cpu", devices=1))
    return model


@pytest.mark.parametrize("task", ["cityscapes_seg", "voc12_seg"])
def test_a_stopped_training_goes_on_bit_equal(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, p = Pixels(tmp_path, 5), micro(task)
    whole = fit(tmp_path / "whole", images, p).state_dict()
    real, calls = Segmenter.losses, []

    def dies(*arguments: Any) -> Any:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*arguments)

    monkeypatch.setattr(Segmenter, "losses", dies)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", images, p, 0.0)
    monkeypatch.setattr(Segmenter, "losses", real)
    resumed = fit(tmp_path / "cut", images, p, 0.0).state_dict()
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    untrained = Segmenter("resnet18_half", 21, p).state_dict()
    assert not torch.equal(whole["head.classify.weight"], untrained["head.classify.weight"])


def smallest_object(number: int) -> float:
    """The share of the image that the smallest object of a scene covers."""
    return float(draw_scene(0, number).masks.mean((1, 2)).min())


@pytest.mark.parametrize("task", ["cityscapes_fcn", "camvid_seg"])
@pytest.mark.parametrize("scale", ["tiny", "small", "paper"])
def test_tasks_that_do_not_learn_eight_scenes_differ_in_schedule_and_sizes_alone(
    task: str, scale: str
) -> None:
    """From voc12_seg, so that what it learns of eight scenes speaks for their head too."""
    one, other = (load("task", n).resolve(scale).params for n in (task, "voc12_seg"))
    fields = type(other).model_fields
    assert fields.keys() == type(one).model_fields.keys()
    differing = {f for f in fields if getattr(one, f) != getattr(other, f)}
    schedule = {"iterations", "batch_size", "lr"}
    assert differing <= schedule | {"crop", "short", "longest", "window", "stride"}


@pytest.mark.parametrize("task", ["cityscapes_seg", pytest.param("voc12_seg", marks=pytest.mark.long)])
def test_it_learns_eight_scenes(task: str, tmp_path: Path) -> None:
    """From random weights to the masks of eight scenes, those of eighty whose smallest object is largest."""
    images = Pixels(tmp_path, 8, order=sorted(range(80), key=smallest_object)[-8:])
    cls: Any = load("task", task)
    p = cls.resolve("tiny", {**OVERFIT, "iterations": 480}).params
    model = fit(tmp_path / "m", images, p)
    matrix, _ = pipeline.score(context(tmp_path / "m"), model, images, p, CPU)
    found = segmentation_metrics(matrix)
    assert matrix.sum() == sum(np.prod(size) for size in images.sizes)
    assert found["mIoU"] > 45, found
    assert found["aAcc"] > 90, found


def test_a_loss_that_is_not_finite_stops_the_stage(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"the loss is nan at iteration .*try: --set voc12_seg\.lr="):
        fit(tmp_path / "c", Pixels(tmp_path, 3), micro(lr=1e8, iterations=21))


def test_images_without_masks(tmp_path: Path) -> None:
    ctx, notes = context(tmp_path / "c"), []
    ctx.progress.note = notes.append  # type: ignore[method-assign]
    some = Pixels(tmp_path, 4, without=(0, 2))
    assert pipeline.usable(ctx, some).tolist() == [1, 3]
    assert notes == ["small/train: 2 of 4 images have no semantic mask and are left out"]
    model = fit(tmp_path / "m", some, micro(iterations=2))
    matrix, shown = pipeline.score(ctx, model, some, micro(), CPU)
    assert matrix.sum() == sum((pixel_targets(some, i) != 255).sum() for i in (1, 3))
    assert [len(row) for row in shown] == [3, 3]
    with pytest.raises(BadData, match="small/train has no semantic masks; try: --task-data voc2012_seg=PATH"):
        pipeline.usable(ctx, Pixels(tmp_path, 2, without=(0, 1)))


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    images = Pixels(tmp_path, 2)
    images.masks[1] = images.masks[1][:, :-1]
    with pytest.raises(BadData, match=r"the mask of .*1\.png is \d+x\d+ but the image is"):
        TrainCrops(images, micro(), 0)[StepBatches(np.array([1]), 1, 1, 0, 0).__iter__().__next__()[0]]


# Whole runs


def row(home: Path, task: str, data: str, root: Path | None, **more: Any) -> tuple[dict[str, float], Path]:
    """The metrics of random weights on a task at micro settings, and the stage's folder."""
    given = Runtime(home=home, database="sqlite://", workers=0, tracker="none", devices="cpu", threads=1)
    settings = {**MICRO, **more} | ({"mask": (11, 15)} if task == "cityscapes_seg" else {})
    sets = [(f"{task}.{k}", json.dumps(v) if not isinstance(v, str) else v) for k, v in settings.items()]
    sets += [("scenes.n_train", "6"), ("scenes.n_val", "3")]
    cell = Cell("random_init", "image", task, "scenes", data, "tiny", 0, tuple(sets))
    plan = make_plan([cell], given, {data: root})
    final = plan.cells[0].final
    assert final is not None
    folder = LocalEngine(given, Store(home), Deaf()).ensure(final)
    return json.loads((folder / "metrics.json").read_text()), folder


@pytest.mark.parametrize("task", TASKS)
def test_a_whole_run_on_scenes(task: str, home: Path) -> None:
    metrics, folder = row(home, task, "scenes", None)
    cls: Any = load("task", task)
    assert set(metrics) == set(cls.metrics)
    assert all(0 <= v <= 100 for v in metrics.values())
    assert {"segmenter.pth", "confusion.npy", "per_class.json", "weights.json"} <= {
        f.name for f in folder.iterdir()
    }
    assert segmentation_metrics(np.load(folder / "confusion.npy")) == metrics
    assert json.loads((folder / "weights.json").read_text())["tensors_matched"] == 120
    assert len(json.loads((folder / "per_class.json").read_text())) == 21


@pytest.mark.parametrize(("task", "data", "classes"), [
    ("cityscapes_seg", "cityscapes", 19), ("camvid_seg", "camvid", 11),
])  # fmt: skip
def test_a_whole_run_on_the_layouts_that_scenes_write(
    task: str, data: str, classes: int, tmp_path: Path, home: Path
) -> None:
    write = {"cityscapes": write_cityscapes, "camvid": write_camvid}[data]
    root = write(tmp_path / data, 4, 3, size=(96, 72))
    metrics, folder = row(home, task, data, root, inference="slide")
    assert math.isfinite(metrics["mIoU"])
    assert np.load(folder / "confusion.npy").shape == (classes, classes)


@pytest.mark.real_data
@pytest.mark.parametrize(("task", "data", "folder", "classes", "images"), [
    ("voc12_seg", "voc2012_seg", "VOCdevkit", 21, 300), ("camvid_seg", "camvid", "CamVid", 11, 34),
])  # fmt: skip
def test_a_whole_run_on_real_images(
    task: str, data: str, folder: str, classes: int, images: int, real_data: Path, home: Path
) -> None:
    metrics, made = row(home, task, data, real_data / folder, iterations=12, lr=0.05)
    matrix = np.load(made / "confusion.npy")
    assert matrix.shape == (classes, classes)
    assert (matrix.sum(1) > 0).all(), "every class is in the split that is scored"
    assert set(metrics) == {"mIoU", "mAcc", "aAcc"}
    assert metrics["aAcc"] > 100 / classes
