"""Keys: what enters them, what does not, and values that must never change."""

from __future__ import annotations

import random

import pytest

from bench.core.params import Params, canonical, param
from bench.core.seeds import rng_for, seed_for
from bench.core.stage import Stage, walk

LEAF = Stage("data", "scenes", 1, {"seed": 0, "n": 320}, "a:b")
TOP = Stage("pretrain", "byol", 2, {"lr": 0.2, "betas": [0.9, 0.95]}, "c:d", {"data": LEAF})


def test_golden_keys() -> None:
    # Do not edit these values. If this fails, every result on every disk has lost its identity:
    # undo the change, or raise KEY_VERSION and say so in the changelog.
    assert LEAF.key == "91c2b10779121857024a7914d27c3bea286b3375370a5b38ffd7713ce04dd0c0"
    assert TOP.key == "49be9eb66a90427286d96feadd9036427dff69be3a4682f50f9b34a0ecadef7e"


def test_every_part_of_the_identity_changes_the_key() -> None:
    other_leaf = Stage("data", "scenes", 1, {"seed": 1, "n": 320}, "a:b")
    variants = [
        Stage("features", "byol", 2, TOP.params, "c:d", {"data": LEAF}),
        Stage("pretrain", "orl", 2, TOP.params, "c:d", {"data": LEAF}),
        Stage("pretrain", "byol", 3, TOP.params, "c:d", {"data": LEAF}),
        Stage("pretrain", "byol", 2, {**TOP.params, "lr": 0.3}, "c:d", {"data": LEAF}),
        Stage("pretrain", "byol", 2, TOP.params, "c:d", {"data": other_leaf}),
        Stage("pretrain", "byol", 2, TOP.params, "c:d", {"images": LEAF}),
        Stage("pretrain", "byol", 2, TOP.params, "c:d", {}),
    ]
    assert len({TOP.key, *(v.key for v in variants)}) == 8


def test_the_code_that_runs_and_the_order_of_settings_do_not() -> None:
    same = Stage(
        "pretrain", "byol", 2, {"betas": [0.9, 0.95], "lr": 0.2}, "elsewhere:f", {"data": LEAF}
    )
    assert same.key == TOP.key


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": object()}])
def test_canonical_json_refuses_what_has_no_fixed_text(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        canonical(value)


def test_a_later_field_keeps_old_keys_while_it_is_at_its_default() -> None:
    class Before(Params):
        lr: float = param(0.2)

    class After(Params):
        lr: float = param(0.2)
        clip: float = param(0.0, later=True)

    assert After().identity() == Before().identity()
    assert After(clip=1.0).identity() == {"lr": 0.2, "clip": 1.0}


def test_derived_seeds() -> None:
    assert seed_for(0, "order", 3) == seed_for(0, "order", 3)
    different = {
        seed_for(0, "order", 3),
        seed_for(1, "order", 3),
        seed_for(0, "views", 3),
        seed_for(0, "order", 4),
    }
    assert len(different) == 4
    assert all(0 <= s < 2**63 for s in different)
    assert seed_for(0, "a", 1, 2) != seed_for(0, "a", 12)
    assert rng_for(5, "x").integers(1 << 30) == rng_for(5, "x").integers(1 << 30)


@pytest.mark.parametrize("seed", range(10))
def test_walk_gives_inputs_first_and_each_key_once(seed: int) -> None:
    """In the order of a plain recursion, also where two objects have one key."""
    draw = random.Random(seed)
    stages: list[Stage] = []
    for i in range(30):
        some = draw.sample(stages, min(len(stages), draw.randint(0, 3)))
        stages.append(
            Stage("toy", f"s{i // 2}", 1, {}, "x:y", {f"in{k}": s for k, s in enumerate(some)})
        )
    roots = draw.sample(stages, 5)
    seen: list[str] = []

    def visit(stage: Stage) -> None:
        for child in stage.inputs.values():
            visit(child)
        if stage.key not in seen:
            seen.append(stage.key)

    for root in roots:
        visit(root)
    assert [s.key for s in walk(*roots)] == seen


class Settings(Params):
    rate: float = param(0.2)
    clip: float = param(0.0, later=True)
    model: str | None = param(None, place=True)


def test_a_place_never_enters_a_key() -> None:
    """What is at the path does, as an input stage."""
    assert Settings().identity() == {"rate": 0.2}
    assert Settings(model="/here/a.yml").identity() == {"rate": 0.2}
    assert Settings(model="/there/b.yml", clip=1.0).identity() == {"rate": 0.2, "clip": 1.0}


@pytest.mark.parametrize("rate", [0.2, 0.3])
def test_an_ordinary_field_enters_at_its_default_too(rate: float) -> None:
    """Were it left out at its default, a new default would give old results a new meaning."""
    assert Settings(rate=rate).identity()["rate"] == rate
