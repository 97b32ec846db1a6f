"""What a frozen backbone is shown, and the features stage: order, resuming, what it refuses."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms.v2 import functional

from bench.contracts.context import StageContext
from bench.core.errors import BadData
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import Store
from bench.data.preprocess import Normaliser, Transform
from bench.data.sets.scenes import Scenes
from bench.launch.local import LocalEngine
from bench.measure.evaluation_speed import PlainShown
from bench.nn.backbones import build_backbone, load_backbone
from bench.plan.cell import Cell
from bench.plan.planner import Planner
from bench.stages import extract, features
from bench.stages.extract import BATCH, batches, rows_done
from bench.stages.features import features_stage, load_features
from bench.views.augment import MEAN, STD
from tests.data.folders import Deaf
from tests.small_set import SmallSet


@pytest.mark.parametrize("mode", ["squash", "center"])
@pytest.mark.parametrize(
    ("width", "height"), [(200, 120), (121, 333), (64, 64), (40, 30), (97, 96)]
)
def test_the_transform_is_torchvisions_on_pil_images(mode: Any, width: int, height: int) -> None:
    """At most one grey level apart: torch's uint8 resize rounds once, PIL after each direction."""
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    second = T.Resize((64, 64)) if mode == "squash" else T.CenterCrop(64)
    expected = T.Compose([T.Resize(73), second, T.PILToTensor()])(Image.fromarray(image))
    found = Transform(mode, 73, 64)(image)
    assert found.shape == (3, 64, 64)
    assert (found.int() - expected.int()).abs().max() <= 1


def test_a_small_image_is_padded_as_by_torchvision() -> None:
    image = np.random.default_rng(1).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    expected = T.Compose([T.Resize(40), T.CenterCrop(61), T.PILToTensor()])(Image.fromarray(image))
    assert (Transform("center", 40, 61)(image).int() - expected.int()).abs().max() <= 1


def test_images_that_fit_are_shown_as_they_are() -> None:
    image = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.array_equal(Transform("center", 32, 32)(image).permute(1, 2, 0).numpy(), image)


@pytest.mark.parametrize("mode", ["squash", "center"])
def test_channels_last_changes_no_pixel(mode: Any) -> None:
    """torchvision's functions on planes, to the last bit."""
    image = np.random.default_rng(3).integers(0, 256, (375, 500, 3), dtype=np.uint8)
    planes = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    short = functional.resize(planes, [256], antialias=True)
    squashed = functional.resize(short, [224, 224], antialias=True)
    found = Transform(mode, 256, 224)(image)
    assert torch.equal(
        found, squashed if mode == "squash" else functional.center_crop(short, [224, 224])
    )
    assert found.stride()[0] == 1, "the channels of a pixel lie together"


def test_the_normaliser_is_torchvisions() -> None:
    rng = np.random.default_rng(4)
    normalise = Normaliser(torch.device("cpu"))
    steps = T.Compose([T.ToTensor(), T.Normalize(MEAN, STD)])
    made = []
    for n, height, width in [(3, 8, 12), (1, 8, 12), (2, 8, 12), (4, 8, 12), (2, 12, 8)]:
        images = rng.integers(0, 256, (n, height, width, 3), dtype=np.uint8)
        expected = torch.stack([steps(image) for image in images])
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        for given in (pixels, pixels.contiguous()):
            found = normalise(given)
            assert found.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
            made.append(found)
        assert torch.equal(pixels, torch.from_numpy(images).permute(0, 3, 1, 2)), (
            "left as they were"
        )
    assert len({x.data_ptr() for x in made}) == 3, (
        "new memory only for more images or another size"
    )


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_the_images_in_their_order(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More batches than places for them, each read late, when the workers are as far ahead as they
    get."""
    monkeypatch.setattr(extract, "BATCH", 2)
    images, transform = SmallSet(tmp_path, 13), Transform("squash", 40, 32)
    parts = []
    for batch in batches(images, transform, 0, workers):
        time.sleep(0.05 if workers else 0)
        assert batch.is_contiguous(memory_format=torch.channels_last)
        parts.append(batch.clone())
    found = torch.cat(parts)
    assert [len(part) for part in parts] == [2] * 6 + [1]
    assert all(torch.equal(found[i], transform(images.image(i))) for i in range(13))
    later = next(iter(batches(images, transform, 8, workers)))
    assert torch.equal(later, found[8:10])
    plain = torch.stack([PlainShown(images, transform)[i] for i in range(13)])
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    levels = (found - (plain * std + mean) * 255).abs()
    assert levels.max() < 2.01, "squashing resizes twice, each time within a grey level"
    assert levels.mean() < 0.2


def planned(home: Path) -> tuple[Runtime, Stage]:
    runtime = Runtime(
        home=home, database="sqlite://", tracker="none", workers=0, devices="cpu", threads=1
    )
    sets = (("scenes.n_train", str(BATCH + 9)), ("scenes.n_val", "2"))
    planner = Planner(
        Cell("random_init", "image", "knn", "scenes", "scenes", "tiny", 0, sets), runtime
    )
    data = planner.data("scenes")
    backbone = planner.pretrain("random_init", "image", data, main=True)
    return runtime, features_stage(
        backbone, data, "train", Transform("center", 36, 32), ["gap", "res5"]
    )


class Stop(Exception):
    pass


def test_the_stage_goes_on_bit_equal_after_a_kill(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, stage = planned(home)
    engine = LocalEngine(runtime, Store(home), Deaf())
    whole = engine.ensure(stage)
    inputs = {role: engine.ensure(child) for role, child in stage.inputs.items()}
    folder = tmp_path / "work"
    folder.mkdir()
    eager = runtime.model_copy(update={"checkpoint_seconds": 0.0})
    ctx = StageContext(stage, folder, inputs, eager)

    calls: list[int] = []
    forward = extract.Extractor.__call__

    def dies(self: Any, shown: torch.Tensor) -> Any:
        if calls:
            raise Stop
        calls.append(len(shown))
        return forward(self, shown)

    monkeypatch.setattr(extract.Extractor, "__call__", dies)
    with pytest.raises(Stop):
        features.run(ctx)
    assert rows_done(ctx.scratch, BATCH + 9) == BATCH
    with open(folder / "gap.npy", "ab") as file:
        file.write(b"rows that were never noted")
    seen: list[int] = []
    monkeypatch.setattr(
        extract.Extractor, "__call__", lambda self, x: seen.append(len(x)) or forward(self, x)
    )
    features.run(ctx)
    assert seen == [9], "only the rest is extracted"
    for name in ("gap.npy", "res5.npy", "ids.npy"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    images = Scenes.resolve("tiny", {"n_train": BATCH + 9, "n_val": 2}).load(
        inputs["data"], inputs["data"], "train"
    )
    rows = load_features(whole, "gap", images)
    assert isinstance(rows, np.memmap)
    assert rows.shape == (BATCH + 9, 128)
    backbone = build_backbone("resnet10_quarter").eval()
    load_backbone(inputs["backbone"] / "backbone.pth", backbone)
    shown = PlainShown(images, Transform("center", 36, 32))[70]
    with torch.inference_mode():
        expected = backbone(shown[None])[0].numpy()
    assert np.abs(rows[70] - expected).max() < 0.03 * np.abs(expected).max()
    other = Scenes.resolve("tiny", {"n_train": BATCH + 9, "n_val": 2}).load(
        inputs["data"], inputs["data"], "val"
    )
    with pytest.raises(BadData, match="other images"):
        load_features(whole, "gap", other)


def test_the_same_question_is_the_same_stage(home: Path) -> None:
    _, stage = planned(home)
    data, backbone = stage.inputs["data"], stage.inputs["backbone"]
    again = features_stage(backbone, data, "train", Transform("center", 36, 32), ["res5", "gap"])
    assert again.key == stage.key
    other = features_stage(backbone, data, "train", Transform("squash", 36, 32), ["res5", "gap"])
    assert other.key != stage.key


@pytest.mark.parametrize("size", [41, 44, 48])
@pytest.mark.parametrize("turned", [False, True])
def test_an_image_that_is_smaller_on_one_side_gets_zeros_on_that_side_only(
    size: int, turned: bool
) -> None:
    """40 x 48 pixels, or 48 x 40, in a central square of `size`, as torchvision."""
    image = np.random.default_rng(1).integers(1, 256, (40, 48, 3), dtype=np.uint8)
    image = image.transpose(1, 0, 2).copy() if turned else image
    planes = torch.from_numpy(image).permute(2, 0, 1)
    expected = functional.center_crop(planes, [size, size])
    assert torch.equal(Transform("center", 40, size)(image), expected)
    assert int((expected == 0).all(0).sum()) == (size - 40) * size
