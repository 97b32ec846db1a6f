"""Classification by fine-tuning: metrics, losses, schedules, crops, subsets, training, whole runs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from PIL import Image
from sklearn.metrics import average_precision_score, balanced_accuracy_score, top_k_accuracy_score
from torch.nn import functional as F
from torchvision.transforms import v2

from bench.cell import Cell, make_plan
from bench.data.semantic import image_labels, single_labels
from bench.engine.context import StageContext
from bench.engine.local import LocalEngine
from bench.errors import BadData, BadInput
from bench.nn.backbones import build_backbone, load_backbone, save_backbone
from bench.params import Runtime
from bench.registry import load
from bench.stage import Stage
from bench.store import Store
from tasks._classification import pipeline
from tasks._classification.data import Labelled, TestCrops, TrainCrops
from tasks._classification.metrics import class_recalls, multi_metrics, single_metrics
from tasks._classification.model import Classifier, multi_loss, optimizer_for, single_loss
from tasks._classification.protocol import SemiParams, TransferParams
from tasks._classification.subset import balanced, listed
from tasks._finetune import StepBatches
from tests.data.folders import Deaf
from tests.data.listed_folders import write_cub
from tests.small_set import SmallSet

TRANSFER = ("cub", "cars", "aircraft", "flowers", "pets", "indoor67", "dtd")
SEMI = ("imagenet_1pct", "imagenet_10pct")
MICRO = {"batch_size": 4, "image_size": 32, "resize": 36}
MULTI = "voc07_finetune"


# Metrics


def random_scores(seed: int, n: int = 60, classes: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    return labels, rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]


@pytest.mark.parametrize("seed", range(3))
def test_accuracies_equal_scikit_learn(seed: int) -> None:
    labels, scores = random_scores(seed)
    found = single_metrics(labels, scores)
    assert found["top1"] == pytest.approx(100 * top_k_accuracy_score(labels, scores, k=1))
    assert found["top5"] == pytest.approx(100 * top_k_accuracy_score(labels, scores, k=5))
    assert found["mean_per_class"] == pytest.approx(100 * balanced_accuracy_score(labels, scores.argmax(1)))
    assert found["mean_per_class"] != pytest.approx(found["top1"])


def test_accuracies_by_hand() -> None:
    """Classes 0 0 0 1; class 2 has no image and counts in no mean."""
    labels, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 2, 2])
    recalls = class_recalls(labels, predicted, 3)
    assert recalls[:2].tolist() == [2 / 3, 0.0]
    assert np.isnan(recalls[2])
    found = single_metrics(labels, np.eye(3)[predicted])
    assert found == pytest.approx({"top1": 50.0, "top5": 100.0, "mean_per_class": 100 / 3})


def loop_11_point(relevant: np.ndarray, scores: np.ndarray) -> float:
    """VOC 2007, section 4.1 of Everingham et al. 2010, as a plain loop."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    hits, curve = 0, []
    for rank, i in enumerate(order, 1):
        hits += bool(relevant[i])
        curve.append((hits / relevant.sum(), hits / rank))
    return sum(max((p for r, p in curve if r >= t / 10 - 1e-12), default=0.0) for t in range(11)) / 11


@pytest.mark.parametrize("seed", range(3))
def test_average_precisions_equal_scikit_learn_and_a_plain_loop(seed: int) -> None:
    """Images with a class only as difficult objects are left out of that class, in both."""
    rng = np.random.default_rng(seed)
    targets = rng.choice([-1, -1, -1, 0, 1], (50, 6)).astype(np.int8)
    targets[:, 5] = np.minimum(targets[:, 5], 0)  # never present: in no mean
    scores = rng.normal(size=(50, 6)) + 0.5 * targets
    found, by_class = multi_metrics(targets, scores)
    kept = [targets[:, k] != 0 for k in range(5)]
    area = [average_precision_score(targets[s, k] > 0, scores[s, k]) for k, s in enumerate(kept)]
    eleven = [loop_11_point(targets[s, k] > 0, scores[s, k]) for k, s in enumerate(kept)]
    assert found["mAP_area"] == pytest.approx(100 * np.mean(area), abs=1e-9)
    assert found["mAP"] == pytest.approx(100 * np.mean(eleven), abs=1e-9)
    assert by_class[:5] == pytest.approx(eleven)
    assert np.isnan(by_class[5])
    assert found["mAP_interpolated"] > found["mAP_area"]
    with pytest.raises(BadData, match="no class has a positive image"):
        multi_metrics(-np.ones((3, 2), np.int8), np.zeros((3, 2)))


# Losses, optimiser, schedules


def test_multi_loss_equals_a_plain_loop_and_leaves_difficult_out() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1, -1, 0], [-1, -1, 1], [0, 0, 0], [1, 1, -1]], dtype=torch.int8)
    expected = 0.0
    for row, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        for x, y in zip(row, wanted, strict=True):
            expected += 0.0 if y == 0 else np.log1p(np.exp(-x * y))
    loss = multi_loss(logits, targets)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(expected / 4)
    assert logits.grad is not None
    assert (logits.grad[targets == 0] == 0).all()
    assert (logits.grad[targets != 0] != 0).all()


def test_the_classifier_has_its_own_rate_and_every_weight_is_in_one_group() -> None:
    model = Classifier("resnet18", 5)
    optimizer = optimizer_for(model, SemiParams())
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
    """Paper 002, appendix: backbone .01, classifier 1, decay 0 at 1 % and 1e-4 at 10 %, 20 epochs of 256."""
    for name, fraction, decay in (("imagenet_1pct", 0.01, 0.0), ("imagenet_10pct", 0.1, 1e-4)):
        p: Any = load("task", name).resolve("paper").params
        assert (p.fraction, p.weight_decay, p.epochs, p.batch_size) == (fraction, decay, 20, 256)
        assert (p.lr, p.lr * p.head_lr, p.drops, p.gamma, p.momentum) == (0.01, 1.0, (12, 16), 0.2, 0.9)


# Crops


def small(folder: Path, n: int, **more: Any) -> Labelled:
    images = SmallSet(folder, n, **more)
    return Labelled(images, np.arange(n), single_labels(images))


def test_batches_from_any_step_are_the_same_and_cover_every_image() -> None:
    whole = list(StepBatches(np.arange(10), 4, 9, 3, 0))
    assert list(StepBatches(np.arange(10), 4, 9, 3, 5)) == whole[5:]
    seen = [k.index for keys in whole for k in keys]
    assert sorted(seen[:10]) == sorted(seen[10:20]) == list(range(10))
    assert seen[:10] != seen[10:20]
    assert len({(k.step, k.place) for keys in whole for k in keys}) == 36
    many = next(iter(StepBatches(np.arange(3), 8, 1, 0, 0)))
    assert Counter(k.index for k in many).most_common()[-1][1] >= 2, "a set smaller than a batch repeats"


def test_a_training_crop_shows_its_image_flipped_half_of_the_time(tmp_path: Path) -> None:
    labelled = small(tmp_path, 3)
    width, height = labelled.images.sizes[1]
    whole = F.interpolate(
        torch.from_numpy(labelled.images.image(1).transpose(2, 0, 1).copy())[None], (32, 32), mode="bilinear",
        antialias=True,
    )[0]  # fmt: skip
    crops = TrainCrops(labelled, 32, 1.0, 0)
    flips = 0
    for keys in StepBatches(np.arange(3), 3, 40, 0, 0):
        key = next(k for k in keys if k.index == 1)
        crop, target = crops[key]
        assert crop.dtype == torch.uint8
        assert int(target) == labelled.targets[1]
        assert torch.equal(crop, whole) or torch.equal(crop, whole.flip(-1))
        flips += torch.equal(crop, whole.flip(-1))
    assert 8 < flips < 32
    assert width > height


def test_crops_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    labelled = small(tmp_path, 5)
    found = []
    for workers in (0, 2):
        data = TrainCrops(labelled, 24, 0.08, 1)
        order = StepBatches(np.arange(5), 4, 3, 1, 0)
        found.append(list(torch.utils.data.DataLoader(data, batch_sampler=order, num_workers=workers)))
    for (crops, targets), (others, wanted) in zip(*found, strict=True):
        assert torch.equal(crops, others)
        assert torch.equal(targets, wanted)


def test_a_test_crop_is_torchvisions(tmp_path: Path) -> None:
    labelled = small(tmp_path, 2)
    found = TestCrops(labelled, 36, 32)[1]
    shown = v2.Compose([v2.Resize(36), v2.CenterCrop(32)])(Image.fromarray(labelled.images.image(1)))
    expected = np.asarray(shown).transpose(2, 0, 1).astype(int)
    assert np.abs(found.numpy().astype(int) - expected).max() <= 1


# Subsets


def test_a_balanced_draw_takes_equal_numbers_while_classes_last() -> None:
    labels = np.repeat([0, 1, 2], [50, 50, 4])
    for total, wanted in ((3, [1, 1, 1]), (12, [4, 4, 4]), (14, [5, 5, 4]), (104, [50, 50, 4])):
        places = balanced(labels, total, 0)
        assert len(set(places.tolist())) == total
        assert np.bincount(labels[places], minlength=3).tolist() == wanted
    four = [tuple(np.bincount(labels[balanced(labels, 4, seed)])) for seed in range(40)]
    assert set(four) == {(2, 1, 1), (1, 2, 1), (1, 1, 2)}, "which class gives one more is drawn"
    assert np.array_equal(balanced(labels, 12, 0), balanced(labels, 12, 0))
    assert not np.array_equal(balanced(labels, 12, 0), balanced(labels, 12, 1))
    firsts = Counter(int(balanced(labels, 3, seed)[0]) for seed in range(200))
    assert len(firsts) > 40, "any image of a class can be the first"


def test_imagenets_shares_have_the_published_sizes() -> None:
    """SimCLR's lists hold 12,811 and 128,116 of the 1,281,167 images."""
    for name, size in (("imagenet_1pct", 12_811), ("imagenet_10pct", 128_116)):
        p: Any = load("task", name).resolve("paper").params
        assert int(p.fraction * 1_281_167) == size
    labels = np.repeat(np.arange(1000), 1300)
    counts = np.bincount(labels[balanced(labels, 12_811, 0)])
    assert sorted(set(counts.tolist())) == [12, 13]
    assert int((counts == 13).sum()) == 811


def place(tmp_path: Path, text: str | bytes, name: str = "list.txt") -> Path:
    folder = tmp_path / "stage"
    folder.mkdir(exist_ok=True)
    (folder / "stage.json").write_text("{}")
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def test_a_list_names_images_by_name_or_path(tmp_path: Path) -> None:
    """Lines as in SimCLR's file (a name), and in lists with folder and label."""
    images = SmallSet(tmp_path, 6)
    positions = np.array([1, 2, 4, 5])
    folder = place(tmp_path, "5.png\n\nsome/folder/2.png 17\n")
    assert listed(images, positions, folder, "t.subset").tolist() == [1, 3]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5.png\n0.png\n", r"t\.subset: 1 of 2 names are no training image of small, the first is '0.png'"),
        ("5.png\n5.png\n", "list.txt names 5.png twice"),
        ("\n", "names no image"),
        (b"\xff\xfe\x00", "is no text file"),
    ],
)
def test_lists_that_are_none(text: str | bytes, message: str, tmp_path: Path) -> None:
    images = SmallSet(tmp_path, 6)
    with pytest.raises(BadInput, match=message):
        listed(images, np.array([1, 2, 4, 5]), place(tmp_path, text), "t.subset")
    place(tmp_path, "5.png\n", "other.txt")
    with pytest.raises(BadInput, match="must be one file, not a folder of 2"):
        listed(images, np.array([1, 2, 4, 5]), tmp_path / "stage", "t.subset")


# Networks and training


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
    torch.save({**backbone.state_dict(), "layer9.weight": torch.zeros(1)}, tmp_path / "backbone.pth")
    with pytest.raises(BadInput, match=r"layer9\.weight"):
        pipeline.build(ctx, 4)


def trained(ctx: StageContext, labelled: Labelled, loss: Any, classes: int, **settings: Any) -> Classifier:
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


LEARN = {"steps": 45, "batch_size": 8, "lr": 0.03, "min_scale": 0.7, "weight_decay": 0.0, "resize": 32}


def test_it_learns_the_classes_of_a_handful_of_images(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    labelled = small(tmp_path, 6)
    assert len(set(labelled.targets.tolist())) > 2
    ctx, p = context(tmp_path / "c"), TransferParams(**{**MICRO, **LEARN})
    model = trained(ctx, labelled, single_loss, 20, **LEARN)
    scores = pipeline.predict(ctx, model, labelled, p, torch.device("cpu"))
    assert single_metrics(labelled.targets, scores)["top1"] == 100.0


def test_it_learns_what_a_handful_of_images_show(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    images = SmallSet(tmp_path, 6)
    labelled = Labelled(images, np.arange(6), image_labels(images))
    ctx, p = context(tmp_path / "c"), TransferParams(**{**MICRO, **LEARN})
    model = trained(ctx, labelled, multi_loss, 20, **LEARN)
    scores = pipeline.predict(ctx, model, labelled, p, torch.device("cpu"))
    assert multi_metrics(labelled.targets, scores)[0]["mAP"] > 95


# Whole runs


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classification") / "home"


def row(home: Path, task: str, data: str = "scenes", root: Path | None = None, **more: Any) -> Any:
    """The metrics of random weights on a task in a few steps, and the stage's folder."""
    given = Runtime(home=home, database="sqlite://", workers=0, tracker="none", devices="cpu", threads=1)
    length = {"epochs": 1, "fraction": 0.5} if task in SEMI else {"steps": 2}
    settings = {**MICRO, **length, **more}
    sets = [(f"{task}.{k}", json.dumps(v) if not isinstance(v, str) else v) for k, v in settings.items()]
    for drawn in sorted({"scenes", data} & {"scenes", "scenes_objects"}):
        sets += [(f"{drawn}.n_train", "12"), (f"{drawn}.n_val", "6")]
    cell = Cell("random_init", "image", task, "scenes", data, "tiny", 0, tuple(sets))
    final = make_plan([cell], given, {data: root}).cells[0].final
    assert final is not None
    folder = LocalEngine(given, Store(home), Deaf()).ensure(final)
    return json.loads((folder / "metrics.json").read_text()), folder, final


@pytest.mark.parametrize("task", [*TRANSFER, *SEMI, MULTI])
def test_a_whole_run_on_generated_pictures(task: str, shared: Path) -> None:
    cls: Any = load("task", task)
    metrics, folder, _ = row(shared, task, cls.data["tiny"])
    assert set(metrics) == set(cls.metrics)
    assert all(0 <= v <= 100 for v in metrics.values())
    names = {f.name for f in folder.iterdir()}
    assert {"classifier.pth", "per_class.json", "weights.json"} <= names
    assert len(json.loads((folder / "per_class.json").read_text())) == 20
    state = torch.load(folder / "classifier.pth", weights_only=True)
    assert state["head.weight"].shape == (20, 512)
    assert load_backbone(folder.parents[1] / _backbone(folder), build_backbone("resnet18")) == 120
    if task == MULTI:
        assert np.load(folder / "scores.npy").shape == (6, 20)
    else:
        assert np.load(folder / "predictions.npy").shape == (6,)


def _backbone(folder: Path) -> str:
    pretrained = sorted((folder.parents[1] / "pretrain").glob("random_init-*/backbone.pth"))
    return str(pretrained[0].relative_to(folder.parents[1]))


def test_a_given_list_decides_the_subset_and_the_result_says_so(shared: Path, tmp_path: Path) -> None:
    drawn, folder, before = row(shared, "imagenet_1pct")
    assert (drawn["labels"], drawn["listed"]) == (6.0, 0.0)
    assert "not the published list" in json.loads((folder / "subset.json").read_text())["which"]
    (tmp_path / "1percent.txt").write_text("000000000003.jpg\n000000000007.jpg\n")
    given, folder, after = row(shared, "imagenet_1pct", subset=str(tmp_path / "1percent.txt"))
    assert (given["labels"], given["listed"]) == (2.0, 1.0)
    assert np.load(folder / "subset.npy").tolist() == [3, 7]
    assert before.key != after.key
    (tmp_path / "elsewhere").mkdir()
    other = (tmp_path / "1percent.txt").rename(tmp_path / "elsewhere/1percent.txt")
    moved = row(shared, "imagenet_1pct", subset=str(other))[2]
    assert moved.key == after.key, "the list's place is not identity, its content is"
    with pytest.raises(BadInput, match=r"imagenet_1pct\.subset: nothing lies at"):
        row(shared, "imagenet_1pct", subset=str(tmp_path / "1percent.txt"))


def test_a_whole_run_on_the_official_layout(shared: Path, tmp_path: Path) -> None:
    known = write_cub(tmp_path / "CUB_200_2011")
    metrics, folder, _ = row(shared, "cub", "cub", known.root)
    per_class = json.loads((folder / "per_class.json").read_text())
    assert list(per_class) == known.classes
    assert metrics["mean_per_class"] == pytest.approx(np.mean([v["accuracy"] for v in per_class.values()]))
    assert metrics["top5"] == 100.0  # of three classes


@pytest.mark.real_data
def test_a_whole_run_on_real_photographs(real_data: Path, home: Path) -> None:
    metrics, folder, _ = row(
        home, MULTI, "voc2012", real_data / "VOCdevkit", steps=30, batch_size=16, image_size=64, resize=72,
    )  # fmt: skip
    per_class = json.loads((folder / "per_class.json").read_text())
    assert len(per_class) == 20
    assert all("AP" in v for v in per_class.values())
    assert metrics["mAP"] > 4
