"""The registry: names from the file tree, entry points, errors with the nearest name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from bench.cli import cli
from bench.contracts import registry
from bench.core.errors import BadInput, Unavailable

ONE_FILE = '''"""Guess nothing: a method in one file."""
import torch
from torch import Tensor, nn

from bench.contracts.method import Method, PretrainParams
from bench.contracts.network import Batch, Network
from bench.core.params import param
from bench.nn.backbones import build_backbone
from methods.ssl.byol.views import TwoViews


class ConstantParams(PretrainParams):
    """Settings."""

    goal: float = param(0.5, help="what every feature should be")


class ConstantNetwork(Network):
    """Pulls features to a constant."""

    def __init__(self, params: ConstantParams) -> None:
        super().__init__()
        self.backbone = build_backbone(params.backbone)
        self.register_buffer("goal", torch.tensor(params.goal))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        features = self.backbone(batch.views["view1"].images)
        return {"loss": nn.functional.mse_loss(features, self.goal.expand_as(features))}


class Constant(Method):
    """Settings, network and class in one file, PyTorch at its top."""

    Params = ConstantParams
    scales = {"tiny": {"backbone": "resnet18", "image_size": 64, "epochs": 1}}

    def viewer(self, images, inputs):
        return TwoViews(self.params.image_size, (0.5, 1.0))

    def network(self, n_images, heads=1):
        return ConstantNetwork(self.params)
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another distribution with one crop, found through the entry-point group."""
    crops = tmp_path / "plug" / "crops"
    crops.mkdir(parents=True)
    (tmp_path / "plug" / "__init__.py").write_text("")
    (crops / "__init__.py").write_text("")
    (crops / "corner.py").write_text(
        '"""Views from the top left corner."""\n'
        "from bench.contracts.crop import Crop\nclass Corner(Crop):\n"
        "    def sampler(self, images, inputs):\n        return None\n"
    )
    (crops / "_private.py").write_text("raise RuntimeError('never imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ours = list(registry.entry_points(group="bench.components"))
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [*ours, SimpleNamespace(value="plug", name="plug")]
    )
    registry.entries.cache_clear()
    yield crops
    registry.entries.cache_clear()
    registry.load.cache_clear()
    for name in [n for n in sys.modules if n.startswith("plug")]:
        del sys.modules[name]


def test_file_names_are_component_names(plugin: Path) -> None:
    assert "corner" in registry.names("crop")
    assert "_private" not in registry.names("crop")
    assert registry.entry("crop", "corner").summary == "Views from the top left corner."
    assert "plug.crops.corner" not in sys.modules  # listed without being imported
    assert registry.load("crop", "corner").name == "corner"


def test_ours_are_there() -> None:
    assert {"orl", "byol", "random_init"} <= set(registry.names("method"))
    assert "image" in registry.names("crop")
    assert "coco_det" in registry.names("task")
    assert {"coco", "scenes"} <= set(registry.names("data"))
    assert "selective_search" in registry.names("proposals")


def test_unknown_name_says_nearest_list_and_command() -> None:
    with pytest.raises(
        BadInput, match=r"unknown method 'olr' \(did you mean 'orl'\?\).*bench list methods"
    ):
        registry.entry("method", "olr")


def test_two_packages_with_one_name_are_an_error(plugin: Path) -> None:
    (plugin / "image.py").write_text('"""Twin."""\n')
    registry.entries.cache_clear()
    with pytest.raises(BadInput, match="two components are named crop 'image'"):
        registry.entries()


def test_a_file_without_its_class_is_an_error(plugin: Path) -> None:
    (plugin / "empty.py").write_text('"""Nothing."""\n')
    registry.entries.cache_clear()
    with pytest.raises(Unavailable, match="must define exactly one crop class"):
        registry.load("crop", "empty")


def planned_key(method: str, setting: str) -> str:
    """The key of the pretraining that `bench plan` shows."""
    words = ["plan", "--method", method, "--crop", "image", "--task", "knn", "--json"]
    done = CliRunner().invoke(cli, [*words, "--set", setting], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    (stage,) = [s for s in json.loads(done.stdout)["stages"] if s["kind"] == "pretrain"]
    assert stage["name"] == method
    return str(stage["key"])


def test_a_method_in_one_file_that_imports_torch_is_loaded_planned_and_built(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts that our methods are divided into are no duty: such a file only plans slower."""
    folder = plugin.parent / "ssl"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "constant.py").write_text(ONE_FILE)
    registry.entries.cache_clear()
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    keys = {planned_key("constant", f"constant.goal={goal}") for goal in (0.25, 0.75)}
    assert len(keys) == 2, "its settings are part of the key"
    network = registry.load("method", "constant").resolve("tiny").network(8)  # type: ignore[attr-defined]
    assert float(network.goal) == 0.5
