"""Crops that segmentation learns from: scale, crop, flip, distortion, their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.contracts.registry import load
from bench.core.errors import BadData
from bench.data.semantic import pixel_targets
from tasks._segmentation.data import (
    TrainCrops,
    augment,
    base_factor,
    crop_at,
    normalise,
    photometric,
    resize_pair,
)
from tasks._shared.finetune import StepBatches
from tests.tasks.segmentation import Pixels, micro


def test_a_crop_follows_its_pixels(tmp_path: Path) -> None:
    """The mask painted into the image survives scale, crop and flip together with the mask."""
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
    image, target = (
        rng.integers(0, 256, (20, 30, 3), np.uint8),
        rng.integers(0, 5, (20, 30), np.uint8),
    )
    p = micro(crop=(20, 30), short=0, scale=(1.0, 1.0), photometric=False)
    for i in range(4):
        crop, classes = augment(image, target, p, np.random.default_rng(i))
        way = 1 if classes[0].tolist() == target[0].tolist() else -1
        assert np.array_equal(classes.numpy(), target[:, ::way])
        assert torch.equal(crop, normalise(image[:, ::way]))
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(
        normalise(image).numpy().transpose(1, 2, 0), (image / 255 - mean) / deviation, atol=1e-5
    )


def test_a_crop_of_mostly_one_class_is_drawn_again() -> None:
    target = np.zeros((100, 1000), np.uint8)
    target[:, 300:500] = 1
    target[:, 500:] = 255

    def mixed(share: float) -> float:
        """The share of crops in which no class has over 75 % of the pixels that are not void."""
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
    kept = sum(
        np.array_equal(photometric(image, np.random.default_rng(i)), image) for i in range(400)
    )
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
        torch.equal(a, b)
        for x, y in zip(plain, forked, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    images = Pixels(tmp_path, 2)
    images.masks[1] = images.masks[1][:, :-1]
    with pytest.raises(BadData, match=r"the mask of .*1\.png is \d+x\d+ but the image is"):
        TrainCrops(images, micro(), 0)[
            StepBatches(np.array([1]), 1, 1, 0, 0).__iter__().__next__()[0]
        ]
