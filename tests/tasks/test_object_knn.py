"""Retrieval of objects: recall against scikit-learn, features against crops and averages made
plainly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tv

from bench.core.errors import BadData, BadInput, StageFailed
from bench.core.params import Runtime
from bench.plan.planner import make_plan
from bench.plan.product import make_cells
from tasks._shared import retrieval as _retrieval
from tasks._shared.retrieval import (
    Shares,
    _build_pool,
    _embed_in_image,
    _read_objects,
    embed_cut_out,
    measure_shares,
    rescore_objects,
    save,
)
from tasks.object_knn import ObjectKnn, ObjectKnnParams
from tests.small_set import SmallSet

CPU = torch.device("cpu")


def test_recall_is_scikit_learns_neighbours_counted() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((150, 8)).astype(np.float32), rng.integers(0, 4, 150)
    features += 1.5 * np.eye(8, dtype=np.float32)[labels]
    found = measure_shares(torch.from_numpy(features), labels, (1, 5, 10, 200)).recalls()
    order = NearestNeighbors(n_neighbors=11, metric="cosine").fit(features).kneighbors(features)[1]
    for k in (1, 5, 10):
        same = [[labels[j] == labels[i] for j in order[i] if j != i][:k] for i in range(150)]
        assert found[f"recall_k{k}"] == pytest.approx(100 * np.mean(same))
    assert set(found) == {"recall_k1", "recall_k5", "recall_k10", "chance"}, (
        "200 neighbours do not exist"
    )
    assert found["recall_k1"] > found["chance"] + 20


def test_features_that_are_not_finite_are_refused() -> None:
    features = torch.full((6, 3), torch.inf)
    with pytest.raises(StageFailed, match="18 of 18 numbers of the objects' features"):
        measure_shares(features, np.zeros(6), (1,))


def test_by_hand() -> None:
    """Two of class 0 side by side, one of class 1 nearer to the second than the first is to
    anything."""
    at = torch.tensor([0.0, 40.0, 60.0, 180.0]).deg2rad()
    features = torch.stack([at.cos(), at.sin()], 1) * torch.tensor([[1.0], [5.0], [0.1], [2.0]])
    found = measure_shares(features, np.array([0, 0, 1, 1]), (1, 2, 3)).recalls()
    # the two nearest: 0 -> 1 yes, 2 no; 1 -> 2 no, 0 yes; 2 -> 1 no, 0 no; 3 -> 2 yes, 1 no
    assert found == pytest.approx(
        {"recall_k1": 50.0, "recall_k2": 37.5, "recall_k3": 100 / 3, "chance": 100 / 3}
    )


def test_chance_is_what_random_features_get() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    found = measure_shares(
        torch.from_numpy(rng.standard_normal((1000, 256), np.float32)), labels, (100,)
    ).recalls()
    assert found["recall_k100"] == pytest.approx(found["chance"], abs=1.0)
    assert found["chance"] == pytest.approx(100 * (0.6 * 599 + 0.3 * 299 + 0.1 * 99) / 999)


def test_images_count_as_often_as_they_are_drawn(tmp_path: Path) -> None:
    """Their objects as queries, against the same answers: two objects of image 7, one each of 3
    and 5; image 9 has none."""
    ctx: Any = SimpleNamespace(
        work=tmp_path, images=lambda role, split: SimpleNamespace(ids=np.array([3, 5, 7, 9]))
    )
    table = {"image_id": np.array([7, 3, 7, 5])}
    shares = Shares({1: np.array([1.0, 0.0, 0.0, 1.0])}, np.full(4, 0.25))
    save(ctx, torch.zeros(4, 2), table, shares)
    scored = rescore_objects(ctx, "val")
    assert scored.ids.tolist() == [3, 5, 7, 9]
    recall = scored.metrics["recall_k1"]
    assert recall(np.ones(4, np.int64)) == shares.recalls()["recall_k1"] == 50
    assert recall(np.array([1, 0, 3, 5])) == pytest.approx(100 * 3 / 7)
    assert recall(np.array([0, 2, 0, 0])) == 100
    assert recall(np.array([0, 0, 0, 4])) == 0  # no query at all


class Grey(nn.Module):
    """ "Features": the mean colour; its map is the image at a quarter."""

    def maps(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images, 4)

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


def test_cut_out_boxes_are_torchvisions_resized_crops() -> None:
    image = np.random.default_rng(2).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    # the second sticks out
    boxes = np.array([[3.2, 4.6, 40.4, 30.0], [60.0, 40.0, 80.0, 60.0]], np.float32)
    found = embed_cut_out(Grey(), image, boxes, 16, CPU)
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    for row, (x1, y1, x2, y2) in zip(found, [(3, 5, 40, 30), (60, 40, 70, 50)], strict=True):
        crop = (
            tv.resized_crop(pixels, y1, x1, y2 - y1, x2 - x1, [16, 16], antialias=True).float()
            / 255
        )
        expected = tv.normalize(crop, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]).mean((1, 2))
        assert torch.allclose(row, expected, atol=1e-5)


def test_pooled_features_are_the_mean_under_the_box() -> None:
    """A bright rectangle on dark ground, wherever the image's size puts it: inside it the mean is
    bright."""
    image = np.zeros((60, 90, 3), np.uint8)
    image[12:42, 18:66] = 255
    p = ObjectKnnParams(size=120, max_size=400)
    inside, outside = np.array([[24, 18, 60, 36]]), np.array([[70, 0, 90, 60]])
    found = _embed_in_image(_build_pool(Grey()), image, np.concatenate([inside, outside]), p, CPU)
    white = (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
    black = -np.array([0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert found[0].numpy() == pytest.approx(white, abs=1e-4)
    assert found[1].numpy() == pytest.approx(black, abs=1e-4)


def test_the_longest_side_is_kept_to_its_limit() -> None:
    seen: list[tuple[int, ...]] = []

    def embed(images: Tensor, boxes: Tensor) -> Tensor:
        seen.append((*images.shape[2:], *boxes[0].int().tolist()))
        return boxes

    image = np.zeros((100, 400, 3), np.uint8)
    _embed_in_image(
        embed, image, np.array([[0, 0, 400, 100]]), ObjectKnnParams(size=200, max_size=600), CPU
    )
    assert seen == [(150, 600, 0, 0, 600, 150)]


def test_crowds_difficult_and_tiny_objects_are_left_out(tmp_path: Path) -> None:
    images: Any = SmallSet(tmp_path, 2, first=9)  # six objects in the first
    everything = images.objects(0)
    n = len(everything.boxes)
    crowd, difficult, boxes = np.zeros(n, bool), np.zeros(n, bool), everything.boxes.copy()
    crowd[0] = True
    boxes[1] = [0, 0, 1, 20]
    images.objects = lambda i: replace(everything, crowd=crowd, difficult=difficult, boxes=boxes)
    found, _, columns = next(_read_objects(images, 2))
    assert len(found) == n - 2 == len(columns["label"])
    assert columns["annotation_id"].tolist() == everything.ids[2:].tolist()
    difficult[:] = True
    assert len(next(_read_objects(images, 2))[0]) == 0


def test_too_few_objects_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = SmallSet(tmp_path, 2)
    ctx: Any = SimpleNamespace(
        images=lambda *a: images,
        runtime=SimpleNamespace(devices="cpu", threads=1, workers=0),
        progress=SimpleNamespace(task=lambda *a: lambda n: None),
    )
    monkeypatch.setattr(_retrieval, "_build_embedder", lambda *a: None)
    with pytest.raises(BadData, match="usable objects"):
        _retrieval.extract_object_features(ctx, ObjectKnnParams(min_side=10_000))


def test_embeddings_need_a_method_that_has_them(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "method": "byol",
        "crop": "image",
        "task": "object_knn",
        "scale": "tiny",
        "seeds": "0",
        "data": None,
        "task_data": None,
        "sets": ("object_knn.features=embedding",),
    }
    cells, paths = make_cells(**options)
    with pytest.raises(
        BadInput, match=r"byol has no embedding of boxes.*object_knn.features=pooled"
    ):
        make_plan(cells, Runtime(home=tmp_path, database=""), paths)
    assert ObjectKnn.resolve("tiny").params.features == "crop"
