"""Supervised pretraining: which labels a crop has, the loss, what it does without labels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import seed_everything
from torch.nn import functional as F

from bench.contracts import registry
from bench.contracts.images import ImageSet, Objects
from bench.contracts.network import Batch, Views
from bench.contracts.views import Source
from bench.core.errors import BadData, BadInput
from bench.nn.optim import build_optimizer
from bench.views.loader import BatchOrder, make_loader, to_device
from methods.ssl.supervised.network import classification_loss
from methods.ssl.supervised.views import objects_present
from tests.small_set import SmallSet
from tests.stages.pretraining import Blobs


def supervised(**settings: object):  # type: ignore[no-untyped-def]
    return registry.load("method", "supervised").resolve("tiny", settings)


def objects(boxes: list[list[float]], labels: list[int]) -> Objects:
    n, no = len(labels), np.zeros(len(labels), bool)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Objects(array, np.array(labels, np.int64), no, no, np.ones(n), np.arange(n))


def test_an_object_counts_from_half_of_its_box() -> None:
    """A 10 x 10 object under crops that hold 50, 49, 100 and 25 % of it; a class with two objects
    is there if one of them is."""
    found = objects([[0, 0, 10, 10]], [2])
    held = [(5, 0, 30, 30), (5.1, 0, 30, 30), (-4, -4, 40, 40), (5, 5, 30, 30), (20, 20, 30, 30)]
    assert [objects_present(found, box, 4, 0.5).tolist()[2] for box in held] == [1, 0, 1, 0, 0]
    assert objects_present(found, (5, 5, 30, 30), 4, 0.25).tolist() == [0, 0, 1, 0]
    twice = objects([[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 4, 4]], [2, 2, 0])
    assert objects_present(twice, (45, 45, 70, 70), 4, 0.5).tolist() == [0, 0, 1, 0]
    assert objects_present(twice, None, 4, 0.5).tolist() == [1, 0, 1, 0]
    assert (
        objects_present(objects([], []), None, 4, 0.5).tolist()
        == objects_present(objects([], []), (0, 0, 9, 9), 4, 0.5).tolist()
    )


def test_labels_of_scenes_are_the_classes_of_their_objects(tmp_path: Path) -> None:
    images = SmallSet(tmp_path, 4)
    viewer = supervised(min_scale=0.08).viewer(images, {})
    for index in range(4):
        sample = viewer([Source(index), Source(index)], np.random.default_rng(0))
        assert set(np.flatnonzero(sample.extra["present"])) == set(images.labels[index].tolist())
        (view,) = sample.views
        assert (view.role, view.size, view.scale, view.augment.p_flip, view.augment.p_jitter) == (
            "view1",
            48,
            (0.08, 1.0),
            0.5,
            0.0,
        )
        box = tuple(images.objects(index).boxes[0].tolist())
        own = viewer([Source(index, box)] * 2, np.random.default_rng(0)).extra["present"]
        assert own[images.labels[index][0]] == 1


def test_loss_is_binary_cross_entropy_summed_over_classes() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5), (torch.rand(3, 5) < 0.4).float()
    total = 0.0
    for n in range(3):
        for c in range(5):
            p = 1 / (1 + math.exp(-float(logits[n, c])))
            total -= math.log(p if labels[n, c] else 1 - p)
    assert float(classification_loss(logits, labels)) == pytest.approx(total / 3, rel=1e-5)
    want = F.multilabel_soft_margin_loss(logits, labels) * 5
    torch.testing.assert_close(classification_loss(logits, labels), want)
    assert float(classification_loss((2 * labels - 1) * 50, labels)) < 1e-12, "the minimum"


def test_it_starts_at_one_percent_a_class_and_learns_everywhere() -> None:
    torch.manual_seed(0)
    network = supervised().network(10).train()
    no = torch.zeros(4, dtype=torch.bool)
    views = {"view1": Views(torch.randn(4, 3, 64, 64), torch.zeros(4, 4), no, torch.arange(4), no)}
    labels = torch.zeros(4, 20)
    labels[0, 3] = 1
    parts = network.loss(Batch(views, {"present": labels}))
    want = (-math.log(0.01) - 79 * math.log(0.99)) / 4
    assert float(parts["loss"].detach()) == pytest.approx(want, rel=0.25)
    assert 0 <= float(parts["precision"]) <= 1
    parts["loss"].backward()
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for _, p in network.named_parameters()
    )
    assert network.embed(torch.randn(2, 3, 64, 64)).shape == (2, 128)


def test_it_learns_the_labels_of_a_few_scenes(tmp_path: Path) -> None:
    images, method = (
        SmallSet(tmp_path, 8),
        supervised(image_size=32, batch_size=8, optimizer="sgd", lr=1.0, min_scale=0.9),
    )
    sampler = registry.load("crop", "image").resolve("tiny").sampler(images, {})  # type: ignore[attr-defined]
    order = BatchOrder(8, 8, 15, seed=0)
    seed_everything(0, verbose=False)
    network = method.network(8).train()
    optimizer = build_optimizer(method.params, network.trainable())
    losses = []
    for step, raw in enumerate(
        make_loader(images, sampler, method.viewer(images, {}), 0, order, 0)
    ):
        for group in optimizer.param_groups:
            group["lr"] = 0.03
        loss = network.loss(to_device(raw, "cpu", step, 15))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


class Unlabelled(Blobs):
    def objects(self, index: int) -> Objects:
        raise BadData("blobs has no annotations")


def test_without_labels_or_with_other_classes_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="blobs/train has no labels to learn from"):
        supervised().viewer(Blobs(tmp_path / "a", 2), {})
    unlabelled: ImageSet = Unlabelled(tmp_path / "b", 2)
    unlabelled.classes = ["a", "b"]
    with pytest.raises(
        BadInput, match=r"has 2 classes, supervised.classes is 20; try: --set .*classes=2"
    ):
        supervised().viewer(unlabelled, {})
    with pytest.raises(BadData, match="no annotations"):
        supervised(classes=2).viewer(unlabelled, {})


def test_paper_settings() -> None:
    p = registry.load("method", "supervised").resolve("paper").params
    assert (p.backbone, p.optimizer, p.lr, p.batch_size, p.momentum) == (
        "resnet50",
        "sgd",
        0.1,
        256,
        0.9,
    )
    assert (p.weight_decay, p.epochs, p.classes, p.min_scale) == (1e-4, 90, 80, 0.08)
