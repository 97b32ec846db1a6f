"""The settings of protocols on a frozen backbone; a task takes one of these classes with its own
defaults and scales."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import numpy as np

from bench.contracts.task import TaskParams
from bench.core.errors import BadInput
from bench.core.params import param
from tasks._shared.ranking import ApKind

Solver = Literal["batched", "liblinear"]


class FrozenParams(TaskParams):
    """What the backbone is shown, and in which precision it runs."""

    image_size: int = param(
        224, ge=16, help="Side of the square image that the backbone sees, pixels"
    )
    precision: Literal["fp32", "bf16"] = param(
        "fp32", help="Precision of the backbone's forward passes"
    )


class KnnParams(FrozenParams):
    """Wu et al. 2018, as lightly and most repositories run it."""

    resize: int = param(
        256, ge=16, help="Short side that images have before the central crop, pixels"
    )
    k: int = param(200, ge=1, help="Number of neighbours that vote", search=["int", 1, 200])
    temperature: float = param(
        0.1,
        gt=0,
        help="Temperature T of the weight exp(similarity / T)",
        search=["log", 0.01, 1.0],
    )


class LinearParams(FrozenParams):
    """Every number of a linear probe; the defaults are OpenSelfSup's and paper 002's."""

    resize: int = param(
        256, ge=16, help="Short side that test images have before the central crop, pixels"
    )
    layers: tuple[str, ...] = param(
        ("conv1", "res2", "res3", "res4", "res5"),
        help="Depths that have a classifier each, or gap for the pooled features",
    )
    epochs: int = param(28, ge=1, help="How often every training image is seen")
    steps: tuple[int, ...] = param(
        (8, 16, 24),
        help="Epochs after which the learning rate is divided by 10, for example 60,80",
    )
    batch_size: int = param(256, ge=2, help="Images of a step")
    lr: float = param(0.01, gt=0, help="Learning rate", search=["log", 1e-3, 100.0])
    momentum: float = param(0.9, ge=0, lt=1, help="Momentum of SGD")
    nesterov: bool = param(
        True, help="Use Nesterov's form of momentum, as the published code does"
    )
    weight_decay: float = param(
        1e-4, ge=0, help="Weight decay of weights and biases of the classifiers"
    )
    batch_norm: bool = param(
        True, help="Put a batch norm without affine parameters before each classifier"
    )
    min_scale: float = param(
        0.08, gt=0, le=1, help="Smallest area of a training crop, as a share of the image"
    )
    jitter: float = param(
        0.0,
        ge=0,
        le=1,
        help="Strength of the jitter of brightness, contrast and saturation; 0 has none",
    )
    lighting: float = param(0.0, ge=0, help="Standard deviation of PCA lighting noise; 0 has none")


class SvmParams(FrozenParams):
    """What both SVM protocols share (METHODS 3.1: the FAIR benchmark's files, OpenSelfSup, paper
    002)."""

    resize: int = param(
        256, ge=16, help="Short side that images have before they are squashed to a square, pixels"
    )
    layer: Literal["conv1", "res2", "res3", "res4", "res5", "gap"] = param(
        "res5", help="Depth that the features are taken at; res5 is the last map pooled to 2 x 2"
    )
    costs: tuple[float, ...] = param(
        (1.0, 10.0, 100.0), help="Costs that are tried besides the powers of one half"
    )
    powers: tuple[int, int] = param((4, 19), help="First and last power n of the costs 0.5^n")
    ap: ApKind = param(
        "interpolated",
        help="Kind of average precision on the test set: interpolated, 11point or area",
    )
    solver: Solver = param(
        "batched",
        help="batched solves all problems at once, liblinear one by one (needs scikit-learn)",
    )

    def all_costs(self) -> np.ndarray:
        """The costs tried, ascending."""
        halves = [0.5**n for n in range(self.powers[0], self.powers[1] + 1)]
        return np.array(sorted({*map(float, self.costs), *halves}))


def check_solver(solver: str) -> None:
    """BadInput where LIBLINEAR is asked for and not there."""
    if solver == "liblinear" and find_spec("sklearn") is None:
        raise BadInput(
            "solver 'liblinear' needs scikit-learn, which is not installed; "
            "try: --set solver=batched, or pip install scikit-learn"
        )
