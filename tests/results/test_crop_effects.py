"""The effect of each crop against whole images."""

from __future__ import annotations

import pytest
from scipy import stats

from bench.results.views.board import Board
from bench.results.views.crop_effects import ALL, list_crop_effects
from bench.results.views.differences import verdict
from tests.dashboard.test_board import board, entry

METHODS = {"byol": 50.0, "orl": 60.0, "mae": 40.0}
GAINS = {"byol": 2.0, "orl": 2.2, "mae": 1.7}


def filled(**choice: object) -> Board:
    """gt is better than image by GAINS in knn and by 1 point more in svm, in every seed; grid is
    only there for one method, in one seed."""
    rows = []
    for method, at in METHODS.items():
        for task, more in (("knn", 0.0), ("svm", 1.0)):
            image = tuple(at + seed for seed in range(3))
            rows.append(entry(method, task, image))
            gt = tuple(v + GAINS[method] + more for v in image)
            rows.append(entry(method, task, gt, crop="gt"))
    rows.append(entry("byol", "knn", (45.0,), crop="grid"))
    return board(*rows, **choice)


def test_the_effect_is_the_mean_over_methods_with_students_interval() -> None:
    effects = list_crop_effects(filled())
    assert list(effects) == ["gt", "grid"]
    (knn, svm) = sorted(key for key in effects["gt"] if key != ALL)
    gains = list(GAINS.values())
    intervals = 3  # knn, svm and both, of gt
    half = stats.sem(gains) * stats.t.ppf(1 - 0.025 / intervals, 2)
    for key, more in ((knn, 0.0), (svm, 1.0), (ALL, 0.5)):
        gap = effects["gt"][key].gap
        assert gap["mean"] == pytest.approx(sum(gains) / 3 + more)
        assert gap["ci95"] == pytest.approx(half, rel=1e-6)
        assert (gap["n"], gap["seeds"]) == (3, [0, 1, 2])
        assert verdict(gap) == "better"
    assert effects["gt"][ALL].methods == ("byol", "mae", "orl")


def test_one_method_says_nothing_of_others() -> None:
    gap = list_crop_effects(filled())["grid"][ALL].gap
    assert (gap["mean"], gap["ci95"], gap["seeds"]) == (-5.0, None, [0])
    assert verdict(gap) == "unknown"


def test_pairs_are_of_equal_settings_and_living_networks() -> None:
    found = board(
        entry("byol", "knn", (50.0, 51.0)),
        entry("byol", "knn", (60.0, 61.0), crop="gt", lr="0.5"),
        entry("orl", "knn", (50.0, 51.0), dead=True),
        entry("orl", "knn", (60.0, 61.0), crop="gt"),
        entry("mae", "knn", (60.0, 61.0), crop="gt"),
    )
    assert list_crop_effects(found) == {}


def test_without_whole_images_nothing_is_said() -> None:
    assert list_crop_effects(filled(crops=("gt",))) == {}
