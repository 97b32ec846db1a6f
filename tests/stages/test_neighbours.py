"""The neighbours stage against embeddings of torchvision's crops; its rules and its error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as V

from bench.contracts import registry
from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell
from bench.plan.planner import Planner
from bench.stages.embed import centre_crop
from bench.stages.neighbours import neighbours_stage
from bench.stages.pretrain.setup import load_network
from bench.views.augment import MEAN, STD
from tests.core.test_store import Heard

COUNT, SIZE = 9, 32
SETS = (
    ("scenes.n_train", str(COUNT)),
    ("scenes.n_val", "2"),
    ("random_init.image_size", str(SIZE)),
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> LocalEngine:
    home = tmp_path_factory.mktemp("home")
    runtime = Runtime(home=home, database="sqlite://", workers=0, tracker="none", devices="cpu")
    return LocalEngine(runtime, Store(home), Heard())


@pytest.fixture(scope="module")
def inputs(engine: LocalEngine) -> tuple[Stage, Stage]:
    """The data, and an untrained network on it."""
    cell = Cell("random_init", "image", "knn", "scenes", "scenes", "tiny", 0, SETS)
    planner = Planner(cell, engine.runtime)
    data = planner.data("scenes")
    return data, planner.pretrain("random_init", "image", data)


def open_images(engine: LocalEngine, data: Stage) -> Any:
    scenes: Any = registry.load("data", "scenes").from_identity(dict(data.params["params"]))
    return scenes.load(engine.ensure(data), Path(), "train")


def crop_with_torchvision(image: np.ndarray) -> torch.Tensor:
    """(3, SIZE, SIZE) uint8: the central 224/256 of the short side, its edges rounded, resized."""
    height, width = image.shape[:2]
    side = min(height, width) * 224 / 256
    top, left = round((height - side) / 2), round((width - side) / 2)
    bottom, right = round((height + side) / 2), round((width + side) / 2)
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)
    return V.resized_crop(
        pixels, top, left, bottom - top, right - left, [SIZE, SIZE], antialias=True
    )


def embed(engine: LocalEngine, data: Stage, network: Stage) -> torch.Tensor:
    """(COUNT, D) float64 unit rows."""
    net = load_network(engine.ensure(network), network.params, COUNT)
    images = open_images(engine, data)
    crops = [crop_with_torchvision(images.image(i)) for i in range(COUNT)]
    pixels = V.normalize(torch.stack(crops).float() / 255, list(MEAN), list(STD))
    with torch.no_grad():
        vectors = net.embed(pixels).double()
    return vectors / vectors.norm(dim=1, keepdim=True)


def test_the_nearest_by_cosine_come_first(
    engine: LocalEngine, inputs: tuple[Stage, Stage]
) -> None:
    folder = engine.ensure(neighbours_stage(*inputs, count=COUNT - 1))
    with np.load(folder / "neighbours.npz") as file:
        ids, others, similarities = (
            file[name] for name in ("ids", "neighbour_ids", "similarities")
        )
    assert ids.tolist() == open_images(engine, inputs[0]).ids.tolist()
    cosines = (vectors := embed(engine, *inputs)) @ vectors.T
    place = {int(image): i for i, image in enumerate(ids)}
    for i, row in enumerate(others):
        assert sorted(row) == sorted(set(ids) - {ids[i]})  # every other image, not the image
        expected = [float(cosines[i, place[int(other)]]) for other in row]
        assert similarities[i] == pytest.approx(expected, abs=1e-4)
        assert (np.diff(similarities[i]) <= 0).all()
    assert np.ptp(similarities) > 0.01  # apart by more than the tolerance


def test_fewer_neighbours_are_the_first_of_more(
    engine: LocalEngine, inputs: tuple[Stage, Stage]
) -> None:
    tables = []
    for count in (2, COUNT - 1):
        folder = engine.ensure(neighbours_stage(*inputs, count=count))
        with np.load(folder / "neighbours.npz") as file:
            tables.append(file["neighbour_ids"])
    assert tables[0].tolist() == tables[1][:, :2].tolist()


def test_as_many_neighbours_as_images_are_refused(
    engine: LocalEngine, inputs: tuple[Stage, Stage]
) -> None:
    with pytest.raises(BadInput, match=f"got {COUNT} for {COUNT} images; try: --set neighbours=8"):
        engine.ensure(neighbours_stage(*inputs, count=COUNT))


@pytest.mark.parametrize(("height", "width"), [(64, 96), (96, 64), (50, 50)])
def test_the_central_crop_is_224_256ths_of_the_short_side(height: int, width: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    side = min(height, width) * 224 / 256
    inside = np.hypot(
        np.maximum(abs(np.arange(height)[:, None] + 0.5 - height / 2) - side / 2, 0),
        np.maximum(abs(np.arange(width)[None] + 0.5 - width / 2) - side / 2, 0),
    )
    image[inside > 1] = 255  # nothing but the crop is black
    assert int(centre_crop(image, 16).max()) == 0
    image[inside <= 1] = 128
    assert (centre_crop(image, 16) == 128).all()
