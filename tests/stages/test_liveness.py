"""Networks that tell nothing apart or give numbers that are none: before a task, in its result, on
the board."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.contracts.needs import Needs
from bench.contracts.task import DEAD
from bench.core.errors import BadData, BadInput, StageFailed
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.nn.backbones import build_backbone, save_backbone
from bench.stages.embed import embed_crops
from bench.stages.liveness import LEAST_SPREAD, is_dead, measure_spread, tells_apart
from bench.stages.weights import weights_stage
from tests.e2e.micro import bench
from tests.small_set import SmallSet


def test_spread_by_hand() -> None:
    """Unit rows (1, 0) and (0, 1) lie sqrt(.5) from their mean."""
    for unit in (1.0, 1e-20, 1e30):
        rows = torch.tensor([[3.0, 0], [0, 5]]) * unit
        assert measure_spread(rows) == pytest.approx(0.5**0.5), "whatever the unit"
    assert measure_spread(torch.tensor([[3.0, 0], [5, 0]])) == 0, "lengths tell nothing apart"
    assert measure_spread(torch.zeros(4, 2)) == 0
    assert measure_spread(torch.full((4, 2), 1e30)) == 0


NOISE = torch.randn(16, 32, generator=torch.Generator().manual_seed(0)).relu()
LENGTHS = torch.linspace(1, 5, 16)[:, None]
SIGNS = torch.tensor([1.0, -1.0]).repeat(8)[:, None]


@pytest.mark.parametrize(
    ("features", "alive"),
    [
        (NOISE, True),
        (NOISE * 1e-30, True),
        (NOISE * 1e30, True),
        (NOISE + 20, True),
        (torch.cat([NOISE[:9], torch.zeros(7, 32)]), True),
        (torch.zeros(16, 32), False),
        (torch.ones(16, 32) * 7, False),
        (LENGTHS * NOISE[0], False),
        (SIGNS * LENGTHS * NOISE[0], False),
        (torch.cat([NOISE[:7], torch.zeros(9, 32)]), False),
        (torch.cat([torch.full((16, 1), 1e7), NOISE], 1), False),
        (torch.cat([LENGTHS * 1e7, NOISE], 1), False),
        (NOISE.sign()[:2].repeat(8, 1), False),
    ],
    ids=[
        *("alive", "tiny", "huge", "shifted", "some are zero"),
        *("zeros", "constant", "one direction", "one line", "most are zero"),
        *("a large channel", "a large channel that varies", "two values"),
    ],
)
def test_c_features_that_tell_images_apart(features: Tensor, alive: bool) -> None:
    assert tells_apart(features) is alive


def test_the_least_spread_is_where_float32_rounds_cosines_away() -> None:
    """Two unit rows at an angle of 2 s have a spread of s and a cosine of 1 - 2 s^2."""
    for factor, alive in ((0.3, False), (4.0, True)):
        s = factor * LEAST_SPREAD
        rows = torch.tensor([[1.0, s], [1.0, -s]]).double()
        assert (measure_spread(rows) > LEAST_SPREAD) is alive
        cosine = 1 - 2 * s**2 / (1 + s**2)
        assert (torch.tensor(cosine, dtype=torch.float32) < 1 - 1e-7) == alive


class OneSplit(StageContext):
    """A stage on a set in memory that has one split."""

    def images(self, role: str, split: str) -> ImageSet:
        if split != "val":
            raise BadData(f"no split {split}")
        return self.pictures

    pictures: ImageSet


def context(folder: Path, images: ImageSet, change: Any = None) -> OneSplit:
    """A stage on a ResNet-18 whose tensors `change` has changed."""
    torch.manual_seed(0)
    network: nn.Module = build_backbone("resnet18")
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if change:
                change(name, tensor)
    torch.save(network.state_dict(), folder / "backbone.pth")
    backbone = Stage("pretrain", "x", 1, {"method": {"params": {"backbone": "resnet18"}}}, "x:y")
    stage = Stage("evaluate", "knn", 1, {}, "x:y", {"backbone": backbone})
    runtime = Runtime(home=folder, database="sqlite://", devices="cpu", tracker="none")
    ctx = OneSplit(stage, folder, {"backbone": folder}, runtime)
    ctx.pictures = images
    return ctx


def task(*splits: str) -> Any:
    return SimpleNamespace(params=None, data_needs=lambda params: Needs(splits=splits))


def kill_all(name: str, tensor: Tensor) -> None:
    tensor.zero_()


def collapse(name: str, tensor: Tensor) -> None:
    """The last batch norm gives its bias and nothing else: features that are constant, not 0."""
    if name == "layer4.1.bn2.weight":
        tensor.zero_()
    if name == "layer4.1.bn2.bias":
        tensor.fill_(2.0)
    if name == "layer4.0.bn2.weight" or name == "layer4.0.downsample.1.weight":
        tensor.zero_()


def narrow(name: str, tensor: Tensor) -> None:
    """The last block but one has one channel, the last one adds nothing: features of rank 1, whose
    length is all that changes."""
    if name in ("layer4.0.bn2.weight", "layer4.0.downsample.1.weight"):
        tensor[1:] = 0
    if name in ("layer4.0.bn2.bias", "layer4.1.bn2.weight", "layer4.1.bn2.bias"):
        tensor.zero_()


def drown(name: str, tensor: Tensor) -> None:
    """One channel of the last map is a million times as large as the others."""
    if name == "layer4.1.bn2.weight":
        tensor[0] = 1e7


def overflow(name: str, tensor: Tensor) -> None:
    if name in ("layer3.0.bn2.weight", "layer4.0.bn2.weight"):
        tensor.fill_(3e38)


def test_a_network_that_tells_nothing_apart_is_dead(tmp_path: Path) -> None:
    images = SmallSet(tmp_path, 6)
    assert not is_dead(context(tmp_path, images), task("train", "val"))
    assert is_dead(context(tmp_path, images, kill_all), task("train", "val"))
    for change in (collapse, narrow, drown):
        assert is_dead(context(tmp_path, images, change), task("train", "val"))


def test_a_task_that_names_no_split_is_looked_at_where_there_are_images(tmp_path: Path) -> None:
    assert is_dead(context(tmp_path, SmallSet(tmp_path, 3), kill_all), task())


def test_images_that_do_not_differ_say_nothing_of_the_network(tmp_path: Path) -> None:
    images = SmallSet(tmp_path, 2)
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes())
    images.sizes[1] = images.sizes[0]
    assert not is_dead(context(tmp_path, images), task("val"))
    assert not is_dead(context(tmp_path, SmallSet(tmp_path, 1), kill_all), task("val"))


def test_features_that_are_not_finite_are_refused_for_every_task(tmp_path: Path) -> None:
    """Every weight is finite; what they make of an image is not."""
    with pytest.raises(StageFailed, match="infinite or not a number"):
        is_dead(context(tmp_path, SmallSet(tmp_path, 3), overflow), task("val"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_neighbours_are_of_finite_features(value: float) -> None:
    """ORL's neighbours and correspondences are found by them before it trains."""
    crops = [torch.zeros(3, 8, 8, dtype=torch.uint8)] * 3
    device = torch.device("cpu")
    assert embed_crops(lambda x: x.flatten(1)[:, :2] + 1, crops, device).shape == (3, 2)
    with pytest.raises(StageFailed, match="infinite or not a number"):
        embed_crops(lambda x: x.flatten(1)[:, :2] * value, crops, device)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_while_planning(
    value: float, tmp_path: Path
) -> None:
    state = torchvision.models.resnet18().state_dict()
    state["layer4.1.bn2.running_var"][7] = value
    torch.save(state, tmp_path / "bad.pth")
    runtime = Runtime(home=tmp_path, database="sqlite://", tracker="none")
    with pytest.raises(BadInput, match=r"bad\.pth .* in layer4\.1\.bn2\.running_var"):
        weights_stage(str(tmp_path / "bad.pth"), runtime)


def test_a_training_that_ends_in_such_weights_leaves_no_backbone(tmp_path: Path) -> None:
    network = build_backbone("resnet18")
    network.state_dict()["conv1.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(StageFailed, match=r"conv1\.weight"):
        save_backbone(tmp_path / "backbone.pth", network)
    assert not (tmp_path / "backbone.pth").exists()


def test_dead_is_a_mark_in_the_result_and_on_the_board(home: Path, tmp_path: Path) -> None:
    """A ResNet of zeros: its mAP comes from the order of the images alone."""
    zero = {k: torch.zeros_like(v) for k, v in torchvision.models.resnet18().state_dict().items()}
    torch.save(zero, tmp_path / "zero.pth")
    sets = ("--set", "scenes.n_train=24", "--set", "scenes.n_val=8")
    ended = bench(
        *("run", "--backbone", f"weights={tmp_path / 'zero.pth'}", "--task", "voc07_svm"),
        *("--devices", "cpu", "--workers", "0", *sets),
    )
    assert ended.returncode == 0, ended.stderr
    assert "dead: the network's features are the same for all or most images" in ended.stderr
    (result,) = (json.loads(f.read_text()) for f in home.glob("store/evaluate/*/result.json"))
    assert result["metrics"][DEAD] == 1.0
    (row,) = json.loads(bench("leaderboard", "--json").stdout)
    assert row["dead"] is True
    assert DEAD not in row["metrics"]
    assert "weights:zero *1 (dead)" in bench("leaderboard").stdout
    exported = csv.DictReader(io.StringIO(bench("results", "export", "--format", "csv").stdout))
    assert [r["metric"] for r in exported] == [*result["order"][:-1], DEAD]
