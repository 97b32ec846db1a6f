"""MAE: patches, masks, targets and loss against lightly and a plain loop; views and settings."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightly.models import utils as lightly_utils

from bench.contracts import registry
from bench.contracts.network import Batch, Views
from bench.contracts.views import Augment, Source
from bench.core.errors import BadInput
from bench.stages.pretrain import run
from methods.ssl.mae.network import (
    MaeNetwork,
    mae_loss,
    patchify,
    pixel_targets,
    random_mask,
    unpatchify,
)
from tests.stages.pretraining import Watch, context

CPU = torch.device("cpu")


def mae(**settings: object):  # type: ignore[no-untyped-def]
    return registry.load("method", "mae").resolve("tiny", {"image_size": 64} | settings)


def batch(images: torch.Tensor) -> Batch:
    no = torch.zeros(len(images), dtype=torch.bool)
    return Batch(
        {"view1": Views(images, torch.zeros(len(images), 4), no, torch.arange(len(images)), no)}
    )


def test_patchify_is_lightlys_and_has_an_inverse() -> None:
    images = torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    patches = patchify(images, 8)
    assert torch.equal(patches, lightly_utils.patchify(images, 8))
    assert torch.equal(unpatchify(patches, 8, 32, 32), images)
    wide = torch.randn(2, 3, 16, 40)
    assert torch.equal(unpatchify(patchify(wide, 8), 8, 16, 40), wide)
    assert torch.equal(
        patchify(wide, 8)[:, 6], wide[:, :, 8:16, 8:16].permute(0, 2, 3, 1).flatten(1)
    )


@pytest.mark.parametrize(("count", "ratio"), [(196, 0.75), (16, 0.75), (64, 0.6), (9, 0.99)])
def test_mask_keeps_exactly_its_share(count: int, ratio: float) -> None:
    torch.manual_seed(0)
    kept, places = random_mask(50, count, ratio, CPU)
    theirs, _ = lightly_utils.random_token_mask((50, count), ratio, mask_class_token=True)
    n = kept.shape[1]
    assert n == max(1, theirs.shape[1]) == max(1, math.floor(count * (1 - ratio)))
    masked = places >= n
    assert (masked.sum(1) == count - n).all()
    for row in range(50):
        assert sorted(kept[row].tolist()) == (~masked[row]).nonzero().flatten().tolist()
        assert [int(places[row, i]) for i in kept[row].tolist()] == list(range(n))


def test_every_patch_is_kept_equally_often_and_samples_differ() -> None:
    torch.manual_seed(0)
    kept, _ = random_mask(4000, 16, 0.75, CPU)
    share = torch.bincount(kept.flatten(), minlength=16) / 4000
    assert (share - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / 4000)
    assert len({tuple(sorted(row)) for row in kept.tolist()}) > 1000


def plain_loss(
    images: np.ndarray, predicted: np.ndarray, masked: np.ndarray, patch: int, norm_pix: bool
) -> float:
    """He et al. 2022, section 3, as one reads it, in float64."""
    total, count, side = 0.0, 0, images.shape[-1] // patch
    for b in range(len(images)):
        for row in range(side):
            for column in range(side):
                if not masked[b, row * side + column]:
                    continue
                cell = images[
                    b, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch
                ]
                target = [
                    float(cell[c, y, x])
                    for y in range(patch)
                    for x in range(patch)
                    for c in range(3)
                ]
                if norm_pix:
                    mean = sum(target) / len(target)
                    variance = sum((t - mean) ** 2 for t in target) / (len(target) - 1)
                    target = [(t - mean) / math.sqrt(variance + 1e-6) for t in target]
                guess = predicted[b, row * side + column]
                total += sum((g - t) ** 2 for g, t in zip(guess, target, strict=True)) / len(
                    target
                )
                count += 1
    return total / count


@pytest.mark.parametrize("norm_pix", [True, False])
def test_loss_is_the_plain_loops(norm_pix: bool) -> None:
    torch.manual_seed(0)
    images, predicted = torch.randn(2, 3, 16, 16), torch.randn(2, 16, 48)
    masked = torch.rand(2, 16) < 0.6
    found = mae_loss(predicted, pixel_targets(images, 4, norm_pix), masked.float())
    want = plain_loss(
        images.double().numpy(), predicted.double().numpy(), masked.numpy(), 4, norm_pix
    )
    assert float(found) == pytest.approx(want, rel=1e-5)


def test_normalised_targets_are_lightlys() -> None:
    images = torch.rand(3, 3, 32, 32) * 0.1 + torch.rand(3, 3, 1, 1)
    want = lightly_utils.normalize_mean_var(lightly_utils.patchify(images, 8))
    torch.testing.assert_close(pixel_targets(images, 8, True), want, rtol=1e-4, atol=1e-5)


def test_kept_patches_do_not_count_and_the_minimum_is_zero() -> None:
    target, masked = torch.randn(2, 16, 48), (torch.arange(16) % 4 > 0).float().expand(2, 16)
    guess = torch.where(
        masked[..., None] > 0, target, torch.full_like(target, 1e3)
    ).requires_grad_()
    loss = mae_loss(guess, target, masked)
    assert float(loss.detach()) == 0
    other = (target + 1).requires_grad_()
    mae_loss(other, target, masked).backward()
    assert other.grad is not None
    assert torch.equal(other.grad.abs().sum(-1) > 0, masked > 0)


def test_only_kept_patches_are_seen() -> None:
    """Pixels of removed patches change nothing that is predicted; a kept patch's change
    everything."""
    torch.manual_seed(0)
    network: MaeNetwork = mae().network(10).eval()
    images = torch.randn(3, 3, 64, 64)
    kept, places = random_mask(3, 64, 0.75, CPU)
    masked = (places >= kept.shape[1])[..., None].expand(-1, -1, 192)
    noise = unpatchify(
        torch.where(masked, torch.randn(3, 64, 192), torch.zeros(3, 64, 192)), 8, 64, 64
    )
    with torch.no_grad():
        before = network.predict(images, kept, places)
        assert torch.equal(network.predict(images + noise, kept, places), before)
        seen = unpatchify(
            torch.where(masked, torch.zeros(3, 64, 192), torch.ones(3, 64, 192)), 8, 64, 64
        )
        after = network.predict(images + seen, kept, places)
    assert ((after - before).abs().amax(-1) > 1e-5).all()


def test_decoder_puts_patches_back_in_their_places() -> None:
    """The order in which the kept patches are listed is no information."""
    torch.manual_seed(0)
    network: MaeNetwork = mae().network(10).eval()
    images = torch.randn(2, 3, 64, 64)
    kept, places = random_mask(2, 64, 0.75, CPU)
    n = kept.shape[1]
    turned = kept.flip(1)
    replaced = torch.where(places < n, n - 1 - places, places)
    with torch.no_grad():
        torch.testing.assert_close(
            network.predict(images, turned, replaced),
            network.predict(images, kept, places),
            rtol=1e-4,
            atol=1e-5,
        )


def test_gradients_reach_everything_but_the_positions() -> None:
    torch.manual_seed(0)
    network = mae().network(10).train()
    loss = network.loss(batch(torch.randn(4, 3, 64, 64)))["loss"]
    assert 0.5 < float(loss.detach()) < 4, "about 1 plus the variance of the first guess"
    loss.backward()
    without = [
        n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()
    ]
    assert without == ["backbone.pos_embed"]
    assert "backbone.pos_embed" not in dict(network.trainable())


def test_view_is_one_bicubic_crop_and_a_flip() -> None:
    viewer = mae().viewer(None, {})
    (view,) = viewer(
        [Source(3, (1, 2, 30, 40), "object"), Source(3)], np.random.default_rng(0)
    ).views
    assert (view.role, view.image, view.box, view.size, view.scale) == (
        "view1",
        3,
        (1, 2, 30, 40),
        64,
        (0.2, 1),
    )
    assert (view.interpolation, view.augment) == ("bicubic", Augment(p_flip=0.5))


def test_paper_settings() -> None:
    p = registry.load("method", "mae").resolve("paper").params
    assert (p.backbone, p.image_size, p.epochs, p.batch_size) == ("vit_b", 224, 800, 4096)
    assert (p.optimizer, p.lr * p.batch_size / 256, p.weight_decay) == ("adamw", 2.4e-3, 0.05)
    assert (p.decay_norm_and_bias, p.warmup_epochs, p.warmup_ratio, p.lr_step) == (
        False,
        40,
        0,
        "iter",
    )
    assert (p.mask_ratio, p.norm_pix, p.min_scale) == (0.75, True, 0.2)
    network = MaeNetwork(p)
    assert (len(network.decoder_blocks), network.decoder_pred.out_features) == (8, 768)
    assert network.decoder_pos_embed.shape == (1, 197, 512)


def test_settings_that_cannot_work_are_one_line() -> None:
    with pytest.raises(
        BadInput, match=r"mae.image_size: .*multiple of the backbone's patch, 8 pixels.*got 60"
    ):
        mae(image_size=60)
    with pytest.raises(BadInput, match="vision transformer: vit_tiny"):
        mae(backbone="resnet18")
    with pytest.raises(BadInput, match="must divide decoder_dim 96"):
        mae(decoder_heads=7)


SMALL = {
    "backbone": "vit_tiny",
    "decoder_dim": 32,
    "decoder_depth": 1,
    "decoder_heads": 2,
    "warmup_epochs": 1.0,
    "lr": 0.01,
}


class Killed(Exception):
    pass


def test_a_killed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    def kill() -> None:
        raise Killed

    whole = context(tmp_path, "whole", method="mae", settings=SMALL)
    run(whole)
    with pytest.raises(Killed):
        run(context(tmp_path, method="mae", settings=SMALL, watch=Watch({3: kill})))
    second = context(tmp_path, method="mae", settings=SMALL)
    run(second)
    assert second.progress.started_at == 2  # type: ignore[attr-defined]
    one, two = (torch.load(c.work / "network.pth", weights_only=True) for c in (whole, second))
    assert all(torch.equal(v, two[k]) for k, v in one.items())
