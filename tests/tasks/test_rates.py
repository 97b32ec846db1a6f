"""The learning rate that the optimiser has at every step of each kind of evaluation, in its own
training loop, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch.optim.optimizer import register_optimizer_step_post_hook

from tasks._classification import pipeline as classification
from tasks._classification.model import Classifier, single_loss
from tasks._classification.protocol import SemiParams, TransferParams
from tasks._detection import train as detection
from tasks._detection.backend import TorchvisionBackend
from tasks._frozen.linear import LinearParams, fit_cached
from tasks._segmentation import pipeline as segmentation
from tasks._segmentation.model import Segmenter
from tests.small_set import SmallSet
from tests.tasks import detectors
from tests.tasks import segmentation as pixels
from tests.tasks.classification import MICRO, small
from tests.tasks.test_classification_training import context as classification_context
from tests.tasks.test_linear import run

CPU: dict[str, Any] = {"accelerator": "cpu", "devices": 1}


@pytest.fixture
def rates() -> Iterator[list[tuple[float, ...]]]:
    """The rates of an optimiser's groups, at every step that any optimiser takes."""
    seen: list[tuple[float, ...]] = []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        seen.append(tuple(group["lr"] for group in optimizer.param_groups))

    handle = register_optimizer_step_post_hook(look)
    yield seen
    handle.remove()


def test_a_linear_probe_falls_between_epochs(home: Path, rates: list[tuple[float, ...]]) -> None:
    """40 images in batches of 16 are 2 steps an epoch, as everywhere else in the project; the
    rate falls by 10 after epochs 1 and 3, not after steps 1 and 3."""
    settings = {"epochs": "4", "steps": "[1,3]", "batch_size": "16", "lr": "0.5"}
    run("imagenet_linear", home, tuple((f"task.{k}", v) for k, v in settings.items()))
    assert np.ravel(rates) == pytest.approx([0.5] * 2 + [0.05] * 4 + [0.005] * 2)


def test_a_probe_of_cached_features_falls_between_epochs(rates: list[tuple[float, ...]]) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    p = LinearParams(epochs=3, steps=(1, 2), batch_size=5, lr=0.2, layers=("gap",))
    fit_cached(x, np.where(x[:, :2] > 0, 1, -1).astype(np.int8), x, p, 0)
    assert np.ravel(rates) == pytest.approx([0.2] * 4 + [0.02] * 4 + [0.002] * 4)


def test_a_detector_warms_up_and_falls_by_the_iteration(
    tmp_path: Path, rates: list[tuple[float, ...]]
) -> None:
    """From a thousandth over 4 iterations, a tenth after 5, a hundredth after 6."""
    p = detectors.fpn_params(iterations=7, steps=(5, 6), warmup=4, lr=0.01, precise_bn=0)
    torch.manual_seed(0)
    model = detectors.detector(p)
    ctx, images = detectors.context(tmp_path / "c"), SmallSet(tmp_path, 2)
    detection.train(ctx, TorchvisionBackend(), model, images, p, Fabric(**CPU))
    want = [0.00001, 0.0025075, 0.005005, 0.0075025, 0.01, 0.001, 0.0001]
    assert np.array(rates) == pytest.approx(np.array([want, want]).T)


def test_a_segmenter_falls_by_a_power_of_what_is_left(
    tmp_path: Path, rates: list[tuple[float, ...]]
) -> None:
    """(1 - k / 5) ^ 2 between 0.01 and 0.001; the heads at ten times that."""
    p = pixels.micro(iterations=5, lr=0.01, min_lr=0.001, power=2.0, head_lr=10.0)
    torch.manual_seed(0)
    model, images = Segmenter("resnet18", 21, p), pixels.Pixels(tmp_path, 2)
    segmentation.train(pixels.context(tmp_path / "c"), model, images, p, Fabric(**CPU))
    want = [0.01, 0.00676, 0.00424, 0.00244, 0.00136]
    assert [sorted(set(groups)) for groups in rates] == [
        pytest.approx([rate, 10 * rate]) for rate in want
    ]


def test_a_transfer_falls_by_a_cosine_of_the_step(
    tmp_path: Path, rates: list[tuple[float, ...]]
) -> None:
    fit(TransferParams(**MICRO, steps=4, lr=0.08), tmp_path)
    want = [0.08, 0.0682843, 0.04, 0.0117157]
    assert [groups[0] for groups in rates] == pytest.approx(want, rel=1e-5)


def test_few_labels_fall_between_epochs_and_the_classifier_is_ahead(
    tmp_path: Path, rates: list[tuple[float, ...]]
) -> None:
    """6 images in batches of 4: 2 steps an epoch."""
    settings = {"epochs": 3, "drops": (1, 2), "gamma": 0.5, "lr": 0.04, "head_lr": 100.0}
    fit(SemiParams(**MICRO, **settings), tmp_path)
    want = [(0.04, 4.0)] * 2 + [(0.02, 2.0)] * 2 + [(0.01, 1.0)] * 2
    assert np.array(rates) == pytest.approx(np.array(want))


def fit(p: Any, folder: Path) -> None:
    """Train a classifier of the 6 images of a small set."""
    torch.manual_seed(0)
    model, ctx = Classifier("resnet18", 20), classification_context(folder / "c")
    classification.fit_classifier(ctx, model, small(folder, 6), p, single_loss, Fabric(**CPU))
