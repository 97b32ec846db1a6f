"""Boxes moved ever farther in the course of a training: the curriculum of a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.figures import _look
from bench.figures.pairs import draw_pretraining

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.core.stage import Stage
    from bench.figures._content import Content
    from bench.launch.stored import Selection

VERSION = 1
SOURCE = "paper 003, Fig. 3"
OPTIONS = ("backbone", "image", "data", "count")


def stage(ask: Selection) -> Stage:
    """The pretraining that `ask` names, by default the newest of a method that moves boxes."""
    return draw_pretraining(ask, "jitters", VERSION)


def draw(content: Content) -> Figure:
    return _look.grid(content)
