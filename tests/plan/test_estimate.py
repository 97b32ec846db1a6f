"""What a stage may take: the median of like stages, whatever their seed; nothing is guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.core.stage import Stage
from bench.core.store import Store
from bench.plan.estimate import estimate, summarise_like_stages


def training(rate: float = 0.1, seed: int = 0, name: str = "byol", data: str = "a") -> Stage:
    source = Stage("data", "scenes", 1, {"fingerprint": data}, "")
    return Stage("pretrain", name, 1, {"rate": rate, "seed": seed}, "", {"data": source})


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


def finish(store: Store, stage: Stage, seconds: float) -> None:
    store.commit(stage, {"seconds": seconds, "peak": 2 * seconds})


def test_a_seed_does_not_count(store: Store) -> None:
    finish(store, training(seed=3), 10.0)
    finish(store, training(rate=0.5), 90.0)
    finish(store, training(rate=0.6), 80.0)
    again = training(seed=7)
    assert estimate(store, [again]) == {again.key: 10.0}


def test_inputs_do_not_count_settings_do(store: Store) -> None:
    finish(store, training(data="a"), 10.0)
    finish(store, training(rate=0.5), 90.0)
    elsewhere = training(data="b", seed=1)
    assert estimate(store, [elsewhere]) == {elsewhere.key: 10.0}


def test_of_several_like_stages_it_is_the_median(store: Store) -> None:
    for seed, seconds in enumerate((30.0, 10.0, 11.0)):
        finish(store, training(seed=seed), seconds)
    new = training(seed=9)
    assert estimate(store, [new]) == {new.key: 11.0}


def test_without_a_like_stage_it_is_the_median_of_its_name_or_nothing(store: Store) -> None:
    for rate, seconds in ((0.2, 40.0), (0.3, 60.0), (0.4, 50.0)):
        finish(store, training(rate), seconds)
    new, other = training(0.9), training(name="moco_v2")
    assert estimate(store, [new, other]) == {new.key: 50.0, other.key: None}


def test_another_figure_over_like_stages(store: Store) -> None:
    for seed, seconds in enumerate((1.0, 7.0, 2.0)):
        finish(store, training(seed=seed), seconds)
    new = training(seed=9)
    assert summarise_like_stages(store, [new], "peak", max) == {new.key: 14.0}
    assert summarise_like_stages(store, [new], "watts", max) == {new.key: None}
