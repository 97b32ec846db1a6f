"""Keypoints: flips, scenes', there and back, the protocol's persons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bench.contracts.images import Objects
from bench.data.layouts.coco_set import KEYPOINTS
from bench.data.scenes.draw import draw_scene
from bench.data.sets.scenes_keypoints import extremes
from tasks._detection.data import TrainImages
from tasks._detection.evaluate import make_records
from tasks._detection.pipeline import prepare_split
from tasks._detection.selection import OneClass, find_usable
from tasks._detection.targets import flip_keypoints
from tasks._shared.finetune import Key
from tests.small_set import SmallSet
from tests.tasks.detectors import PointSet, params


def test_flipping_keypoints_changes_left_and_right() -> None:
    """COCO's published pairs: 1-2, 3-4, ..., 15-16; the nose stays."""
    points = np.arange(51, dtype=np.float64).reshape(1, 17, 3)
    points[0, 5] = 0
    found = flip_keypoints(points, 200, KEYPOINTS)
    pairs = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    for i, j in enumerate(pairs):
        x, y, seen = points[0, j]
        assert found[0, i].tolist() == [200 - x if seen else 0, y, seen]
    assert np.array_equal(flip_keypoints(found, 200, KEYPOINTS), points)


def test_scene_keypoints_lie_on_the_mask() -> None:
    masks = draw_scene(0, 3).masks
    for mask in masks:
        points = np.array(extremes(mask)).reshape(5, 3)
        ys, xs = np.nonzero(mask)
        assert points[1, 0] == xs.min()
        assert points[2, 0] == xs.max()
        assert points[3, 1] == ys.min()
        assert points[4, 1] == ys.max()
        assert points[0, :2].tolist() == pytest.approx([xs.mean(), ys.mean()])
        flipped = np.array(extremes(mask[:, ::-1])).reshape(5, 3)[[0, 2, 1, 3, 4]]
        assert flipped[:, 0].tolist() == pytest.approx((mask.shape[1] - 1 - points[:, 0]).tolist())


def test_keypoints_go_into_a_sample_and_come_back(tmp_path: Path) -> None:
    """COCO's pixel indices -> the resized frame -> a detection in COCO's pixel indices, flipped or
    not."""
    images = PointSet(tmp_path, 3)
    data = TrainImages(images, (64, 100), 224, 0, ("bbox", "keypoints"))
    flips = 0
    for step in range(10):
        sample, gold = data[Key(step, 0, step % 3)], images.objects(step % 3)
        width, height = (int(v) for v in images.sizes[step % 3])
        n = len(gold.boxes)
        made = {
            "boxes": sample["boxes"],
            "scores": torch.ones(n),
            "labels": sample["labels"],
            "keypoints": sample["keypoints"],
        }
        back = make_records(made, {"original": (width, height), "image": sample["image"]}, 1)
        found = np.array([r["keypoints"] for r in back]).reshape(n, 5, 3)[:, :, :2]
        plain = gold.keypoints[:, :, :2]  # type: ignore[index]
        mirrored = np.stack([width - 1 - plain[..., 0], plain[..., 1]], -1)[:, [0, 2, 1, 3, 4]]
        flip = not np.allclose(found, plain, atol=0.01)
        assert np.allclose(found, mirrored if flip else plain, atol=0.01)
        flips += flip
    assert 1 <= flips <= 9


class Persons(SmallSet):
    """Two classes, keypoints of persons only: one without labelled ones, one crowd."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 3)
        self.classes, self.keypoint_names = ["cat", "person"], KEYPOINTS

    def objects(self, index: int) -> Objects:
        points = np.zeros((3, 17, 3), np.float32)
        points[1, :4] = (20, 20, 2) if index == 0 else 0
        points[2, :4] = (30, 30, 2) if index == 1 else 0
        boxes = np.array([[0, 0, 9, 9], [10, 10, 40, 40], [20, 20, 50, 50]], np.float32)
        crowd = np.array([False, False, index == 1])
        flat = np.zeros(3)
        return Objects(
            boxes,
            np.array([0, 1, 1]),
            crowd,
            crowd & False,
            flat,
            np.arange(3),
            [[], [], []],
            points,
        )


def test_keypoint_protocol_sees_persons_and_trains_on_images_with_keypoints(
    tmp_path: Path,
) -> None:
    p = params("coco_keypoints")
    images = prepare_split(Persons(tmp_path), p)
    assert isinstance(images, OneClass)
    assert images.classes == ["person"]
    found = images.objects(0)
    assert found.labels.tolist() == [0, 0]
    assert found.boxes[0].tolist() == [10, 10, 40, 40]
    assert found.ids.tolist() == [1, 2]
    assert len(found.segmentations or []) == 2
    assert find_usable(images, p.kinds).tolist() == [
        0
    ]  # image 1: only its crowd has labelled ones
    assert find_usable(images).tolist() == [0, 1, 2]
