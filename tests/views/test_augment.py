"""Batched augmentation equals torchvision's functional transforms applied sample by sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from bench.contracts.views import Augment, ViewSpec
from bench.views import sample
from bench.views.augment import (
    AT,
    MEAN,
    STD,
    augment,
    blend,
    blur,
    grey,
    hue,
    jitter,
    normalise,
    solarize,
)
from bench.views.sample import FIELDS, ORDERS, photometric

N = 8
CLOSE = 2e-6  # single precision, values in [0, 1]


def pictures(n: int = N, side: int = 40) -> Tensor:
    """(n, 3, side, side) uint8: noise, a constant, a grey,
    a saturated and a smooth picture among them."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, 3, side, side), generator=rng, dtype=torch.uint8)
    x[1] = 77
    x[2] = x[2, :1]
    x[3] = (x[3] > 127) * 255
    x[4] = (torch.arange(side) * 255 // side).to(torch.uint8)
    return x


def floats() -> Tensor:
    return pictures().float() / 255


def each(x: Tensor, values: Tensor, operation) -> Tensor:  # type: ignore[no-untyped-def]
    return torch.stack([operation(one, float(v)) for one, v in zip(x, values, strict=True)])


FACTORS = torch.tensor([0.0, 0.2, 0.6, 1.0, 1.3, 1.8, 0.9, 2.5])


def test_brightness() -> None:
    x = floats()
    torch.testing.assert_close(
        blend(x, torch.zeros_like(x), FACTORS),
        each(x, FACTORS, tv.adjust_brightness),
        atol=CLOSE,
        rtol=0,
    )


def test_contrast() -> None:
    x = floats()
    ours = blend(x, grey(x).mean((1, 2, 3), keepdim=True), FACTORS)
    torch.testing.assert_close(ours, each(x, FACTORS, tv.adjust_contrast), atol=CLOSE, rtol=0)


def test_saturation() -> None:
    x = floats()
    torch.testing.assert_close(
        blend(x, grey(x), FACTORS), each(x, FACTORS, tv.adjust_saturation), atol=CLOSE, rtol=0
    )


def test_hue() -> None:
    x = floats()
    shifts = torch.tensor([-0.5, -0.37, -0.1, 0.0, 0.05, 0.1, 0.25, 0.5])
    torch.testing.assert_close(hue(x, shifts), each(x, shifts, tv.adjust_hue), atol=2e-5, rtol=0)


def test_grey() -> None:
    torch.testing.assert_close(grey(floats()), tv.rgb_to_grayscale(floats()), atol=CLOSE, rtol=0)


def test_solarize_at_and_around_the_threshold() -> None:
    x = floats()
    thresholds = torch.tensor([0.0, 64, 128, 128, 200, 255, 77, 127])
    assert torch.equal(solarize(x, thresholds), each(x, thresholds / 255, tv.solarize))
    ramp = torch.arange(256, dtype=torch.float32).view(1, 1, 1, 256) / 255
    inverted = solarize(ramp, torch.tensor([128.0])).flatten() != ramp.flatten()
    assert inverted.nonzero().flatten().tolist() == list(range(128, 256))


def test_normalise() -> None:
    torch.testing.assert_close(normalise(floats()), tv.normalize(floats(), list(MEAN), list(STD)))


def test_blur_of_each_sample_with_its_own_kernel() -> None:
    x = floats()
    sigmas = torch.tensor([0.05, 0.3, 0.57, 1.0, 1.34, 2.0, 0.0, 5.0])

    def reference(one: Tensor, sigma: float) -> Tensor:
        size = 2 * math.ceil(3 * sigma) + 1
        return tv.gaussian_blur(one, [size, size], [sigma, sigma]) if sigma else one

    torch.testing.assert_close(blur(x, sigmas), each(x, sigmas, reference), atol=CLOSE, rtol=0)


def test_blur_holds_a_constant_and_a_radius_beyond_the_view() -> None:
    flat = torch.full((2, 3, 8, 8), 0.25)
    torch.testing.assert_close(blur(flat, torch.tensor([1.0, 30.0])), flat)


def vectors(n: int, **fixed: float) -> Tensor:
    """(n, fields) parameters: every sample its own, every order of operations over 24 samples, and
    blur before jitter in every third."""
    spec = ViewSpec(
        "view", 0, None, 40, Augment(0.5, 0.8, (0.4, 0.4, 0.2, 0.1), 0.3, 0.6, (0.5, 9), 0.4)
    )
    rng = np.random.default_rng(5)
    rows = torch.from_numpy(np.stack([photometric(spec, rng) for _ in range(n)]))
    rows[:, AT["order"]] = torch.arange(n) % len(ORDERS)
    rows[::3, AT["blur_first"]] = 1
    for name, value in fixed.items():
        rows[:, AT[name]] = value
    return rows


def jittered(one: Tensor, row: Tensor) -> Tensor:
    if row[AT["jitter"]] == 0:
        return one
    operations = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    names = ("brightness", "contrast", "saturation", "hue")
    for kind in ORDERS[int(row[AT["order"]])]:
        one = operations[kind](one, float(row[AT[names[kind]]]))
    return one


def test_jitter_in_every_order() -> None:
    x, rows = pictures(24).float() / 255, vectors(24, jitter=1)
    ours = jitter(x, rows)
    theirs = torch.stack([jittered(one, row) for one, row in zip(x, rows, strict=True)])
    torch.testing.assert_close(ours, theirs, atol=3e-5, rtol=0)
    same_factors = rows[:1].repeat(24, 1)
    same_factors[:, AT["order"]] = torch.arange(24)
    same_factors[:, AT["brightness"]], same_factors[:, AT["contrast"]] = 1.7, 1.6
    alike = jitter(x[:1].repeat(24, 1, 1, 1), same_factors)
    assert len({one.numpy().tobytes() for one in alike}) > 12, "the order must matter"


def blurred(one: Tensor, row: Tensor) -> Tensor:
    sigma = float(row[AT["sigma"]])
    size = 2 * math.ceil(3 * sigma) + 1
    return tv.gaussian_blur(one, [size, size], [sigma, sigma]) if sigma else one


def chain(one: Tensor, row: Tensor) -> Tensor:
    """One sample through torchvision in the order flip, jitter, grey, blur, solarize, normalise,
    or, where "blur_first" is set, flip, blur, jitter, grey, solarize, normalise."""
    one = one.float() / 255
    if row[AT["flip"]]:
        one = tv.horizontal_flip(one)
    if row[AT["blur_first"]]:
        one = blurred(one, row)
    one = jittered(one, row)
    if row[AT["grey"]]:
        one = tv.rgb_to_grayscale(one, 3)
    if not row[AT["blur_first"]]:
        one = blurred(one, row)
    if row[AT["solarize"]] <= 255:
        one = tv.solarize(one, float(row[AT["solarize"]]) / 255)
    return tv.normalize(one, list(MEAN), list(STD))


def test_the_chain_with_parameters_per_sample() -> None:
    n = 48
    x, rows = pictures(n), vectors(n)
    for name in ("flip", "jitter", "grey"):
        assert 0 < rows[:, AT[name]].mean() < 1
    ours = augment(x, rows)
    theirs = torch.stack([chain(one, row) for one, row in zip(x, rows, strict=True)])
    wide = 1e-4 / min(STD)
    off = (ours - theirs).abs() > wide
    # a value within rounding of the threshold may be solarized by one and not by the other
    assert not off[rows[:, AT["solarize"]] > 255].any()
    assert off.float().mean() < 1e-4


@pytest.mark.parametrize("field", FIELDS)
def test_no_operation_leaks_into_other_samples(field: str) -> None:
    quiet = dict.fromkeys(("flip", "jitter", "grey", "sigma"), 0.0) | {"solarize": 256.0}
    rows, loud = vectors(N, **quiet), vectors(N, **quiet)
    on = {"flip": 1.0, "jitter": 1.0, "grey": 1.0, "sigma": 1.5, "solarize": 100.0}
    loud[5, AT["jitter"]] = float(field not in on)  # the factors need the jitter on
    loud[5, AT[field]] = on.get(field, 0.3)
    changed = (augment(pictures(), loud) != augment(pictures(), rows)).flatten(1).any(1)
    assert changed.tolist() == [i == 5 for i in range(N)]


def test_blur_may_come_before_jitter_and_grey() -> None:
    """The orders differ where the jitter's clamp has cut values off."""
    x = pictures()[:2]
    rows = vectors(2, flip=0, jitter=1, grey=0, sigma=2, solarize=256, order=0, hue=0)
    rows[:, AT["brightness"]], rows[:, AT["contrast"]], rows[:, AT["saturation"]] = 1.8, 1.7, 1
    rows[:, AT["blur_first"]] = torch.tensor([1.0, 0.0])
    x[1] = x[0]
    first, last = augment(x, rows)
    assert (first - last).abs().max() > 0.1
    torch.testing.assert_close(first, chain(x[0], rows[0]), atol=3e-4, rtol=0)
    torch.testing.assert_close(last, chain(x[1], rows[1]), atol=3e-4, rtol=0)


def test_an_empty_recipe_is_normalisation_alone() -> None:
    rows = vectors(N, flip=0, jitter=0, grey=0, sigma=0, solarize=256)
    torch.testing.assert_close(augment(pictures(), rows), normalise(floats()))


def test_recipes_draw_their_probabilities_and_ranges() -> None:
    a = Augment(0.5, 0.8, (0.4, 0.4, 0.2, 0.1), 0.2, 0.1, (0.1, 2.0), 0.3, 128)
    rng = np.random.default_rng(0)
    spec = ViewSpec("view", 0, None, 112, a)
    rows = np.stack([photometric(spec, rng) for _ in range(6000)])
    drawn = {name: rows[:, AT[name]] for name in FIELDS}
    shares = [
        drawn["flip"],
        drawn["jitter"],
        drawn["grey"],
        drawn["sigma"] > 0,
        drawn["solarize"] == 128,
    ]
    np.testing.assert_allclose([s.mean() for s in shares], [0.5, 0.8, 0.2, 0.1, 0.3], atol=0.02)
    for name, middle, strength in [
        ("brightness", 1, 0.4),
        ("contrast", 1, 0.4),
        ("saturation", 1, 0.2),
    ]:
        np.testing.assert_allclose(
            np.quantile(drawn[name], [0, 1]), [middle - strength, middle + strength], atol=0.01
        )
    np.testing.assert_allclose(np.quantile(drawn["hue"], [0, 0.5, 1]), [-0.1, 0, 0.1], atol=0.01)
    # in pixels of this view: half of those of a 224 one
    sigmas = drawn["sigma"][drawn["sigma"] > 0]
    np.testing.assert_allclose([sigmas.min(), sigmas.max()], [0.05, 1.0], atol=0.02)
    assert np.bincount(drawn["order"].astype(int), minlength=24).min() > 150


def test_the_recipes_are_the_papers() -> None:
    """(probability of jitter, its strengths, grey, blur, solarize): BYOL (Grill et al. 2020, Table
    6), MoCo v2 (Chen et al. 2020b), SimCLR (Chen et al. 2020a, appendix A, strength 1)."""
    recipes = {
        "BYOL_1": (0.8, (0.4, 0.4, 0.2, 0.1), 0.2, 1.0, 0.0),
        "BYOL_2": (0.8, (0.4, 0.4, 0.2, 0.1), 0.2, 0.1, 0.2),
        "MOCO_V2": (0.8, (0.4, 0.4, 0.4, 0.1), 0.2, 0.5, 0.0),
        "SIMCLR": (0.8, (0.8, 0.8, 0.8, 0.2), 0.2, 0.5, 0.0),
        "SWAV": (0.8, (0.8, 0.8, 0.8, 0.2), 0.2, 0.5, 0.0),
        "NONE": (0.0, (0.0, 0.0, 0.0, 0.0), 0.0, 0.0, 0.0),
    }
    for name, want in recipes.items():
        a: Augment = getattr(sample, name)
        assert (a.p_jitter, a.jitter, a.p_grey, a.p_blur, a.p_solarize) == want, name
        assert a.p_flip == (0.0 if name == "NONE" else 0.5)
        assert a.blur_sigma == (0.1, 2.0)
        assert a.solarize_threshold == 128


@pytest.mark.parametrize("size", [64, 112, 224])
def test_what_a_seed_draws_for_a_view(size: int) -> None:
    """In this order, whatever the outcome, so that views of one seed stay those views: five
    chances, four strengths, the order, sigma (in pixels of a view of 224)."""
    spec = ViewSpec("view1", 0, None, size, sample.BYOL_1)
    row = sample.photometric(spec, np.random.default_rng(7))
    twin = np.random.default_rng(7)
    flip, jittered, greyed, _, _ = twin.random(5)
    strengths = twin.uniform(-1, 1, 4) * (0.4, 0.4, 0.2, 0.1)
    order, sigma = twin.integers(24), twin.uniform(0.1, 2.0) * size / 224
    chances = [float(u < p) for u, p in ((flip, 0.5), (jittered, 0.8), (greyed, 0.2))]
    drawn = [order, *(1 + strengths[:3]), strengths[3]]
    want = [*chances[:2], *drawn, chances[2], sigma, 256.0, 0.0]
    assert row.tolist() == pytest.approx(want, rel=1e-6)
