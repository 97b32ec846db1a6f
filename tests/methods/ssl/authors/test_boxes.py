"""CCOP, ReSim and SoCo: losses over boxes and windows, as the authors' code has them."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import methods.ssl.ccop.network as ccop_network
import methods.ssl.soco.branch as soco_branch
from bench.contracts.network import Batch
from bench.nn.ema import cosine_momentum
from bench.nn.fpn import level_of
from bench.nn.momentum import Encoded
from bench.nn.queue import KeyQueue
from methods.ssl.ccop.network import CcopNetwork, make_mlp
from methods.ssl.ccop.noise import candidates, curriculum
from methods.ssl.ccop.params import CcopParams
from methods.ssl.resim.network import WINDOWS, ResimNetwork
from methods.ssl.resim.params import ResimParams
from methods.ssl.resim.windows import map_windows, sliding_windows
from methods.ssl.soco.branch import RoiBranch
from methods.ssl.soco.losses import correspondence, soco_loss
from methods.ssl.soco.network import SocoNetwork
from methods.ssl.soco.params import SocoParams
from tests.methods.ssl.authors.arrays import (
    Arrays,
    assert_gradients_near,
    assert_near,
    assert_weights_near,
    load_weights,
)
from tests.methods.ssl.authors.stand_ins import (
    MapsOfRows,
    MapsOfViews,
    Pyramid,
    answer_stages,
    pair,
    views,
)

LARGE_SET = 10**6  # images, so that queues are as long as the settings say
CCOP_HEADS = ("projector", "roi_head")


def leaves(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    return {name: x.requires_grad_() for name, x in arrays.below(prefix).items()}


def assert_input_gradients_near(
    inputs: Mapping[str, Tensor], answers: Mapping[str, Tensor], tolerance: float = 1e-10
) -> None:
    for name, answer in answers.items():
        gradient = inputs[name].grad
        assert gradient is not None, name
        assert_near(gradient, answer, tolerance, f"gradient of {name}")


def test_ccop_is_its_authors_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three losses, gradients of maps and heads, both queues. One image has no boxes, and the RoI
    queue drops the keys that fall over its end."""
    arrays = Arrays("ccop")
    maps = leaves(arrays, "in.q")
    network = ccop(arrays, maps)
    monkeypatch.setattr(ccop_network, "stage_maps", answer_stages)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: arrays["in.draws"])
    size, count = arrays.count("image_size"), len(arrays["in.boxes"])
    rows = torch.arange(float(count)).view(-1, 1, 1, 1).expand(-1, 3, size, size)
    parts = network.loss(
        pair(
            rows,
            rows,
            int(arrays["in.step"]),
            int(arrays["in.total_steps"]),
            boxes=arrays["in.boxes"],
            box_count=arrays["in.box_count"],
        )
    )
    parts["loss"].backward()
    assert_near(parts["loss"], arrays["out.loss"])
    for name in ("image", "roi", "intra"):
        assert_near(parts[name], arrays[f"out.loss_{name}"], what=name)
    assert_input_gradients_near(maps, arrays.below("out.grad.q"))
    for name in CCOP_HEADS:
        answers = arrays.below(f"out.grad.{name}")
        assert_gradients_near(getattr(network, name), answers, what=name)
        assert_weights_near(getattr(network, f"key_{name}"), arrays.below(f"out.key_{name}"))
    for name, queue in (("image", network.image_queue), ("roi", network.roi_queue)):
        assert_near(queue.keys, arrays[f"out.{name}_queue"], what=name)
        assert int(queue.position) == int(arrays[f"out.{name}_position"])


def ccop(arrays: Arrays, maps: dict[str, Tensor]) -> CcopNetwork:
    out, hidden = arrays["w.projector.3.weight"].shape
    width = maps["p2"].shape[1]
    params = CcopParams(
        backbone="resnet18",
        image_size=arrays.count("image_size"),
        batch_size=len(arrays["in.boxes"]),
        hidden=hidden,
        out=out,
        fpn_width=width,
        bn_groups=1,
        jitters=arrays.count("jitters"),
        ema=arrays.number("ema"),
        tau=arrays.number("temperature"),
        alpha=arrays.number("alpha"),
    )
    network = CcopNetwork(params, LARGE_SET)
    network.backbone, network.key_backbone = MapsOfRows(maps), MapsOfRows(arrays.below("in.k"))
    network.fpn, network.key_fpn = Pyramid(), Pyramid()
    for prefix in ("", "key_"):
        for name, inputs in zip(CCOP_HEADS, (maps["c5"].shape[1], width * 49), strict=True):
            module = make_mlp(inputs, hidden, out, 0.0).requires_grad_(not prefix)
            load_weights(module, arrays.below(f"w.{prefix}{name}"))
            setattr(network, prefix + name, module)
    for name, queue in (("image", network.image_queue), ("roi", network.roi_queue)):
        stored = KeyQueue(len(arrays[f"in.{name}_queue"]), out, queue.overflow)
        stored.keys.copy_(arrays[f"in.{name}_queue"])
        stored.position.copy_(arrays[f"in.{name}_position"])
        setattr(network, f"{name}_queue", stored)
    network.train()
    return network


def test_ccop_moves_boxes_as_its_authors_code() -> None:
    arrays = Arrays("ccop")
    boxes, size = arrays["in.boxes"], arrays.count("image_size")
    real = torch.arange(boxes.shape[2]) < arrays["in.box_count"][:, None]
    progress = float(arrays["in.step"] / arrays["in.total_steps"])
    draws = arrays["in.draws"] * 2 - 1
    moved, allowed = candidates(boxes[:, 1][real], curriculum(progress, "code"), draws, size)
    assert_near(moved, arrays["out.moved_boxes"])
    assert_near(allowed, arrays["out.allowed"], 0)


def test_resim_is_its_authors_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three losses and gradients of embeddings and maps; one of the pictures is flipped."""
    arrays = Arrays("resim")
    length, dim = arrays["in.queue"].shape
    params = ResimParams(
        backbone="resnet18",
        batch_size=len(arrays["in.boxes1"]),
        dim=dim,
        queue=length,
        tau=arrays.number("temperature"),
        shuffle="sync",
        bn_groups=1,
    )
    network = ResimNetwork(params, LARGE_SET)
    network.queue.keys = arrays["in.queue"]
    query, key = leaves(arrays, "in.q"), arrays.below("in.k")
    order = iter([query, key])

    def encode(nets: Mapping[str, nn.Module], images: Tensor, objects: Tensor | None) -> Encoded:
        x = next(order)
        return F.normalize(x["embedding"], dim=1), x["c4"], x["c3"]

    monkeypatch.setattr(network, "encode", encode)
    parts = network.train().loss(resim_batch(arrays))
    parts["loss"].backward()
    assert_near(parts["loss"], arrays["out.loss"], 2e-7)
    for name in ("image", "c4", "c3"):
        assert_near(parts[name], arrays[f"out.loss_{name}"], 2e-7, name)
    assert_input_gradients_near(query, arrays.below("out.grad.q"), 1e-6)
    assert_near(network.queue.keys, arrays["out.queue"])


def resim_batch(arrays: Arrays) -> Batch:
    size, flipped = arrays.count("image_size"), arrays["in.flipped"]
    blank = torch.zeros(len(flipped), 3, size, size)
    return Batch({f"view{i}": views(blank, arrays[f"in.boxes{i}"], flipped) for i in (1, 2)})


@pytest.mark.parametrize("level", ["c4", "c3"])
def test_resim_slides_and_maps_windows_as_its_authors_code(level: str) -> None:
    arrays = Arrays("resim")
    both = resim_batch(arrays).views
    windows = sliding_windows(*WINDOWS[level], arrays.count("image_size")).double()
    assert_near(windows, arrays[f"out.{level}.windows"], 0)
    mapped, inside = map_windows(windows, both["view1"], both["view2"])
    assert_near(inside, arrays[f"out.{level}.inside"], 0)
    assert_near(mapped[inside], arrays[f"out.{level}.mapped"][inside], 1e-6)


def test_soco_is_its_authors_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses of both pairs, gradients of every map of three views and of all weights, pairs of any
    two levels."""
    assert_soco_is_its_authors(monkeypatch, levels="any")


def test_soco_by_default_is_its_authors_code(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_soco_is_its_authors(monkeypatch)


def assert_soco_is_its_authors(monkeypatch: pytest.MonkeyPatch, **settings: str) -> None:
    arrays, near = Arrays("soco"), 1e-9
    maps = {view: leaves(arrays, f"in.view{view}") for view in (1, 2, 3)}
    network = soco(arrays, maps, settings)
    monkeypatch.setattr(soco_branch, "stage_maps", answer_stages)
    size, boxes = arrays.count("image_size"), arrays["in.boxes"]
    sizes = {1: size, 2: size, 3: size // 2}
    images = {
        f"view{view}": views(torch.full((len(boxes), 3, side, side), float(view)))
        for view, side in sizes.items()
    }
    parts = network.loss(Batch(images, {"boxes": boxes, "ids": arrays["in.ids"]}))
    parts["loss"].backward()
    for name in ("loss", "loss12", "loss13"):
        assert_near(parts[name], arrays[f"out.{name}"], near, name)
    for view, inputs in maps.items():
        assert_input_gradients_near(inputs, arrays.below(f"out.grad.view{view}"), near)
    for name in ("branch", "predictor"):
        answers = arrays.below(f"out.grad.{name}")
        assert_gradients_near(getattr(network, name), answers, 1e-7, name)


def soco(
    arrays: Arrays, maps: dict[int, dict[str, Tensor]], settings: dict[str, str]
) -> SocoNetwork:
    hidden, fc = arrays["w.branch.projector.0.weight"].shape
    out = len(arrays["w.branch.projector.3.weight"])
    width = len(arrays["w.branch.head.convs.0.weight"])
    boxes = arrays["in.boxes"]
    params = SocoParams.model_validate(
        {
            "backbone": "resnet18",
            "image_size": arrays.count("image_size"),
            "batch_size": len(boxes),
            "fpn": width,
            "fc": fc,
            "hidden": hidden,
            "out": out,
            "boxes": boxes.shape[2],
            "cutout_p": 0.0,
            **settings,
        }
    )
    network = SocoNetwork(params)
    network.branch = RoiBranch(maps[1]["c5"].shape[1], width, fc, hidden, out)
    network.target_branch = copy.deepcopy(network.branch).requires_grad_(False)
    for name in ("branch", "target_branch", "predictor"):
        load_weights(getattr(network, name), arrays.below(f"w.{name}"))
    network.backbone, network.target_backbone = MapsOfViews(maps), MapsOfViews(maps)
    network.train()
    return network


def test_soco_puts_boxes_on_its_authors_levels() -> None:
    arrays = Arrays("soco")
    assert_near(level_of(arrays["in.boxes"], arrays.count("image_size")), arrays["out.levels"], 0)


@pytest.mark.parametrize(("name", "first", "second"), [("12", 0, 1), ("13", 2, 3)])
def test_soco_pairs_equal_proposals_whatever_their_levels(
    name: str, first: int, second: int
) -> None:
    """The authors' matrix has every box on every level; ours each box on its own."""
    arrays = Arrays("soco")
    ids, levels = arrays["in.ids"], arrays["out.levels"]
    images, _, boxes = ids.shape
    pairs = arrays[f"out.pairs{name}"].double().view(images, 4, boxes, 4, boxes)
    both = (ids[:, first], ids[:, second], levels[:, first], levels[:, second])
    assert_near(correspondence(*both, False), pairs.sum((1, 3)), 0)
    assert_near(correspondence(*both, True), torch.einsum("nlilj->nij", pairs), 0)


@pytest.mark.parametrize("way", ["1to2", "2to1", "1to3", "3to1"])
def test_soco_loss_of_its_authors_predictions(way: str) -> None:
    """Predictions are of unit length; our loss scales them to it once more, so its gradient is the
    part across them."""
    arrays, near = Arrays("soco"), 1e-9
    pairs = arrays["out.pairs" + "".join(sorted(way.replace("to", "")))].double()
    if way[0] > way[-1]:
        pairs = pairs.transpose(1, 2)
    predicted = arrays.leaf(f"in.{way}.prediction")
    loss = soco_loss(predicted, arrays[f"in.{way}.target"], pairs)
    loss.backward()
    assert predicted.grad is not None
    assert_near(loss, arrays[f"out.{way}.loss"], near)
    unit, gradient = arrays[f"in.{way}.prediction"], arrays[f"out.{way}.grad_prediction"]
    across = gradient - (gradient * unit).sum(-1, keepdim=True) * unit
    assert_near(predicted.grad, across, near)


def test_soco_moves_its_target_at_its_authors_momentum() -> None:
    arrays = Arrays("soco")
    total, start = arrays.count("momentum_total_steps"), arrays.number("ema0")
    steps = arrays["out.momentum_steps"].tolist()
    ours = [cosine_momentum(step, total, start) for step in steps]
    assert_near(ours, arrays["out.momentum"], 1e-9)
