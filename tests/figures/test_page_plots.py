"""The smaller charts of pages as files: the numbers that are drawn."""

from __future__ import annotations

from typing import Any

import pytest

from bench.figures.page_plots import (
    draw_bars,
    draw_curve,
    draw_differences,
    draw_parallels,
    draw_setting,
)
from bench.figures.recorded import draw_plot
from bench.results.views.differences import DrawnDifference
from bench.results.views.trials import AxisPoint, SettingPoint


def setting_point(trial: int, x: Any, value: float, **other: Any) -> SettingPoint:
    given: Any = {"low": None, "high": None, "seeds": 1, "winner": False, "cell": ""}
    point: SettingPoint = {
        "trial": trial,
        "x": x,
        "text": str(x),
        "value": value,
        **given,
        **other,
    }
    return point


def difference(row: str, mean: float) -> DrawnDifference:
    return {
        **{"task": "knn", "row": row, "mean": mean, "low": mean - 0.5, "high": mean + 0.5},
        **{"n": 3, "seeds": "0-2", "cell": ""},
    }


def axis_point(trial: int, place: int, at: float) -> AxisPoint:
    rest: Any = {"axis": f"axis {place}", "text": "", "value": 0.0, "winner": trial == 1}
    point: AxisPoint = {"trial": trial, "place": place, "at": at, **rest}
    return point


def reach(axes: Any, side: int) -> list[list[float]]:
    """The ends of every interval bar, on one axis."""
    return [bars.get_segments()[0][:, side].tolist() for bars in axes.collections]


def test_a_curve_and_bars_have_the_numbers_given() -> None:
    axes: Any
    (axes,) = draw_curve((0, 5, 9), (3.0, 2.0, 1.0), "loss", "pretrain/byol").axes
    assert axes.lines[0].get_xydata().tolist() == [[0, 3], [5, 2], [9, 1]]
    (axes,) = draw_bars({"cat": 40.0, "dog": 30.0}, "AP").axes
    assert [bar.get_width() for bar in axes.patches] == [40, 30]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]


def test_intervals_reach_as_far_as_they_are_and_one_seed_has_none() -> None:
    points = [
        setting_point(0, 0.001, 50.0),
        setting_point(1, 1.0, 55.0, low=54.0, high=56.0, winner=True),
    ]
    (axes,) = draw_setting(points, "byol.lr", "top1", "log").axes
    assert axes.get_xscale() == "log"
    assert reach(axes, 1) == [[50, 50], [54, 56]]
    (axes,) = draw_differences([difference("a", 1.0), difference("b", -2.0)]).axes
    assert reach(axes, 0) == [[0.5, 1.5], [-2.5, -1.5]]


def test_a_trial_is_a_line_over_its_axes() -> None:
    points = [axis_point(t, place, at) for t in (0, 1) for place, at in ((0, 0.2), (1, t / 2))]
    axes: Any
    (axes,) = draw_parallels(points).axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.2, 0.0], [0.2, 0.5]]


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_names_may_be_anything_and_are_no_formulas(kind: str) -> None:
    name = "$x^2 \\frac <b> \u202e\u05e9" + "long " * 60
    assert draw_plot(lambda: draw_differences([difference(name, 1.0)]), kind)
    assert draw_plot(lambda: draw_setting([setting_point(0, name, 1.0)], name, name, ""), kind)
    assert draw_plot(lambda: draw_curve((0, 1), (1.0, 2.0), name, name), kind)
