"""SwAV, CMC and MAE: codes, a bank of embeddings and pixels, as the authors' code has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.contracts.network import Batch
from bench.nn.architectures import VITS, VitShape
from bench.nn.sinkhorn import sinkhorn, swapped_loss
from methods.ssl.cmc.network import CmcNetwork, nce_loss
from methods.ssl.cmc.params import CmcParams
from methods.ssl.mae.network import (
    MaeNetwork,
    mae_loss,
    patchify,
    pixel_targets,
    random_mask,
)
from methods.ssl.mae.params import MaeParams
from methods.ssl.swav.network import SwavNetwork
from methods.ssl.swav.params import SwavParams
from tests.methods.ssl.authors.arrays import (
    Arrays,
    assert_gradients_near,
    assert_near,
    assert_weights_near,
    at_step,
    load_weights,
)
from tests.methods.ssl.authors.stand_ins import Identity, descend, views


def test_swav_trains_as_its_authors_code() -> None:
    """Two large and three small views over five steps of SGD; the queue fills in two and serves
    from the third."""
    arrays, near = Arrays("swav"), 1e-9
    network = swav(arrays)
    learning = ("projector", "prototypes")
    for step in range(len(arrays["in.large"])):
        large = arrays["in.large"][step].requires_grad_()
        small = arrays["in.small"][step].requires_grad_()
        roles = {f"view{i + 1}": views(x) for i, x in enumerate(large)}
        roles |= {f"small{i + 1}": views(x) for i, x in enumerate(small)}
        loss = network.loss(Batch(roles, {}, step, 1000))["loss"]
        loss.backward()
        assert large.grad is not None
        assert small.grad is not None
        assert_near(loss, arrays["out.loss"][step], near)
        assert_near(large.grad, arrays["out.grad_large"][step], near)
        assert_near(small.grad, arrays["out.grad_small"][step], near)
        assert_near(network.queue, arrays["out.queue"][step], near)
        for name in learning:
            answers = at_step(arrays.below(f"out.grad.{name}"), step)
            assert_gradients_near(getattr(network, name), answers, near, name)
        descend(arrays.number("sgd_lr"), [getattr(network, name) for name in learning])
        for name in learning:
            answers = at_step(arrays.below(f"out.{name}"), step)
            assert_weights_near(getattr(network, name), answers, near, name)


def swav(arrays: Arrays) -> SwavNetwork:
    _, _, batch, width = arrays["in.large"].shape[:4]
    hidden, out = len(arrays["w.projector.0.weight"]), len(arrays["w.projector.3.weight"])
    params = SwavParams(
        backbone="resnet18",
        batch_size=batch,
        hidden=hidden,
        out=out,
        prototypes=len(arrays["w.prototypes.weight"]),
        temperature=arrays.number("temperature"),
        eps=arrays.number("eps"),
        iterations=arrays.count("iterations"),
        queue=arrays.count("queue"),
        queue_from_epoch=0,
        freeze_epochs=0,
        epochs=10,
    )
    network = SwavNetwork(params)
    network.backbone = Identity()
    network.projector = nn.Sequential(
        nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out)
    )
    load_weights(network.projector, arrays.below("w.projector"))
    load_weights(network.prototypes, arrays.below("w.prototypes"))
    return network


def test_sinkhorn_gives_swavs_codes() -> None:
    arrays = Arrays("swav")
    eps, iterations = arrays.number("eps"), arrays.count("iterations")
    for scores, codes in zip(
        arrays["out.sinkhorn_in"].flatten(0, 1),
        arrays["out.sinkhorn_out"].flatten(0, 1),
        strict=True,
    ):
        rows = ~scores[:, 0].isnan()  # fewer while the queue is not used
        assert_near(sinkhorn(scores[rows], eps, iterations), codes[rows], 1e-9)


def test_swapped_loss_of_swavs_scores() -> None:
    arrays = Arrays("swav")
    for step, loss in enumerate(arrays["out.loss"]):
        scores, codes = arrays["out.scores"][step], arrays["out.codes"][step]
        ours = swapped_loss(list(scores), list(codes), arrays.number("temperature"))
        assert_near(ours, loss)


@pytest.mark.parametrize(
    ("name", "partition", "near"), [("nce", "first_batch", 2e-6), ("softmax", "softmax", 1e-10)]
)
def test_cmc_trains_as_its_authors_code(
    name: str, partition: str, near: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses, gradients and both banks over three steps; Z is the first batch's. The authors add
    1e-7 to the denominators of the NCE."""
    arrays = Arrays("cmc")
    network = cmc(arrays, partition)
    for step, index in enumerate(arrays["in.index"]):
        light = arrays["in.l"][step].requires_grad_()
        colour = arrays["in.ab"][step].requires_grad_()
        monkeypatch.setattr(network, "project", answer((light, colour)))
        monkeypatch.setattr(torch, "randint", answer(arrays["in.negatives"][step]))
        parts = network.loss(
            Batch({"view1": views(torch.zeros(len(light), 3, 1, 1), index=index)})
        )
        parts["loss"].backward()
        assert light.grad is not None
        assert colour.grad is not None
        assert_near(parts["loss"], arrays[f"out.{name}.loss"][step], near)
        assert_near(parts["l"], arrays[f"out.{name}.loss_l"][step], near)
        assert_near(parts["ab"], arrays[f"out.{name}.loss_ab"][step], near)
        assert_near(light.grad, arrays[f"out.{name}.grad_l"][step], near)
        assert_near(colour.grad, arrays[f"out.{name}.grad_ab"][step], near)
        if name == "nce":
            assert_near(network.z, arrays["out.nce.z"][step])
        network.after_step(step, 10)
        assert_near(network.bank_l, arrays[f"out.{name}.bank_l"][step])
        assert_near(network.bank_ab, arrays[f"out.{name}.bank_ab"][step])


def cmc(arrays: Arrays, partition: str) -> CmcNetwork:
    params = CmcParams.model_validate(
        {
            "backbone": "lab_resnet18",
            "batch_size": arrays["in.index"].shape[1],
            "negatives": arrays["in.negatives"].shape[2],
            "dim": arrays["in.bank_l"].shape[1],
            "tau": arrays.number("temperature"),
            "bank_momentum": arrays.number("bank_momentum"),
            "partition": partition,
        }
    )
    network = CmcNetwork(params, arrays.count("n_images"))
    network.bank_l.copy_(arrays["in.bank_l"])
    network.bank_ab.copy_(arrays["in.bank_ab"])
    return network


def answer(value: object) -> Callable[..., object]:
    """A function that answers `value` whatever it is asked."""
    return lambda *_, **__: value


def test_nce_loss_of_cmcs_scores() -> None:
    """The authors' eps moves each of the 1 + K logs by at most eps n / K."""
    arrays = Arrays("cmc")
    n, k = arrays.count("n_images"), arrays["in.negatives"].shape[2]
    allowed = (1 + k) * arrays.number("eps_official") * n / k
    for step, scores in enumerate(arrays["out.nce.scores_l"]):
        ours = nce_loss(scores, arrays["out.nce.z"][step, 0], n)
        assert abs(float(ours - arrays["out.nce.loss_l"][step])) <= allowed


@pytest.fixture
def mae(monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """MAE's arrays; its ViT is "fixture", and every random mask follows the stored noise."""
    arrays = Arrays("mae")
    shape = (arrays.count(key) for key in ("patch", "side", "dim", "depth", "heads"))
    monkeypatch.setitem(VITS, "fixture", VitShape(*shape))
    monkeypatch.setattr(torch, "rand", lambda *_, **__: arrays["in.noise"])
    return arrays


def mae_network(arrays: Arrays, norm_pix: bool) -> MaeNetwork:
    params = MaeParams(
        backbone="fixture",
        image_size=arrays.count("side"),
        decoder_dim=arrays.count("decoder_dim"),
        decoder_depth=arrays.count("decoder_depth"),
        decoder_heads=arrays.count("decoder_heads"),
        mask_ratio=arrays.number("mask_ratio"),
        norm_pix=norm_pix,
    )
    return MaeNetwork(params)


@torch.no_grad()
def load_mae(network: MaeNetwork, arrays: Arrays) -> None:
    for name, weight in arrays.below("w").items():
        if name == "decoder_pos_embed":
            network.decoder_pos_embed.copy_(weight)
        else:
            mae_parameter(network, name).copy_(weight)


def mae_parameter(network: MaeNetwork, name: str) -> Tensor:
    """The encoder's weights have no prefix in the authors' code."""
    own = dict(network.named_parameters())
    return own[name if name in own else f"backbone.{name}"]


def test_mae_masks_and_cuts_patches_as_its_authors_code(mae: Arrays) -> None:
    x, count = mae["in.view1"], mae["in.noise"].shape[1]
    kept, places = random_mask(len(x), count, mae.number("mask_ratio"), x.device)
    assert_near(kept, mae["out.kept"], 0)
    assert_near(places, mae["out.places"], 0)
    assert_near((places >= kept.shape[1]).double(), mae["out.mask"], 0)
    assert_near(patchify(x, mae.count("patch")), mae["out.patches"], 0)


def test_mae_starts_from_its_authors_position_embeddings(mae: Arrays) -> None:
    """Stored through float32 on both sides."""
    network = mae_network(mae, True)
    assert_near(network.backbone.pos_embed, mae["w.pos_embed"], 1e-6)
    assert_near(network.decoder_pos_embed, mae["w.decoder_pos_embed"], 1e-6)


@pytest.mark.parametrize(("name", "norm_pix"), [("norm", True), ("plain", False)])
def test_mae_is_its_authors_code(name: str, norm_pix: bool, mae: Arrays) -> None:
    """Prediction, loss and its gradient by the image, targets normalised per patch or not."""
    network = mae_network(mae, norm_pix)
    load_mae(network, mae)
    x = mae.leaf("in.view1")
    loss = network.loss(Batch({"view1": views(x)}))["loss"]
    loss.backward()
    assert x.grad is not None
    assert_near(loss, mae[f"out.{name}.loss"])
    assert_near(x.grad, mae[f"out.{name}.grad_view1"], 1e-9)
    predicted = network.predict(mae["in.view1"], mae["out.kept"], mae["out.places"])
    assert_near(predicted, mae["out.pred"])


def test_mae_learns_as_its_authors_code(mae: Arrays) -> None:
    """The gradient of every weight of encoder and decoder."""
    network = mae_network(mae, True)
    load_mae(network, mae)
    network.loss(Batch({"view1": views(mae["in.view1"])}))["loss"].backward()
    for name, answers in mae.below("out.norm.grad").items():
        gradient = mae_parameter(network, name).grad
        assert gradient is not None, name
        assert_near(gradient, answers, 1e-9, name)


@pytest.mark.parametrize(("name", "norm_pix"), [("norm", True), ("plain", False)])
def test_mae_loss_of_its_authors_prediction(name: str, norm_pix: bool, mae: Arrays) -> None:
    predicted = mae.leaf("out.pred")
    target = pixel_targets(mae["in.view1"], mae.count("patch"), norm_pix)
    loss = mae_loss(predicted, target, mae["out.mask"])
    loss.backward()
    assert predicted.grad is not None
    assert_near(loss, mae[f"out.{name}.loss"])
    assert_near(predicted.grad, mae[f"out.{name}.grad_pred"])
