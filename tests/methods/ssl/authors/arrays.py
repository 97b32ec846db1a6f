"""The arrays of tests/fixtures/authors, and how answers are compared with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FOLDER = Path(__file__).resolve().parents[3] / "fixtures" / "authors"
SMALLEST = 1e-6  # gradients of biases before a batch norm are 0 but for rounding


class Arrays:
    """The arrays of one file as tensors: `in.*` inputs, `w.*` weights, `hp.*` settings, `out.*`
    the authors' answers."""

    def __init__(self, name: str) -> None:
        with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
            self.arrays = {key: torch.from_numpy(file[key]) for key in file.files}

    def __getitem__(self, key: str) -> Tensor:
        return self.arrays[key].clone()

    def leaf(self, key: str) -> Tensor:
        """The array as an input whose gradient is asked for."""
        return self[key].requires_grad_()

    def below(self, prefix: str) -> dict[str, Tensor]:
        """The arrays below a name, "w.projector" for example, by the rest of their names."""
        start = len(prefix) + 1
        below = {
            k[start:]: v.clone() for k, v in self.arrays.items() if k.startswith(f"{prefix}.")
        }
        assert below, prefix
        return below

    def number(self, key: str) -> float:
        return float(self.arrays[f"hp.{key}"])

    def count(self, key: str) -> int:
        return int(self.arrays[f"hp.{key}"])


def assert_near(value: object, answer: Tensor, tolerance: float = 1e-10, what: str = "") -> None:
    """Largest |difference| over the largest |answer| at most `tolerance`; 0 asks for equality."""
    ours, theirs = (torch.as_tensor(x).detach().double() for x in (value, answer))
    assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
    scale = max(theirs.abs().max().item(), SMALLEST)
    difference = (ours - theirs).abs().max().item() / scale
    assert difference <= tolerance, f"{what}: differs by {difference:.2e}, allowed {tolerance:.0e}"


def assert_weights_near(
    module: nn.Module, answers: dict[str, Tensor], tolerance: float = 1e-10, what: str = ""
) -> None:
    """Parameters and buffers of `module` by name."""
    named = dict(module.named_parameters()) | dict(module.named_buffers())
    for name, answer in answers.items():
        assert_near(named[name], answer, tolerance, f"{what} {name}")


def assert_gradients_near(
    module: nn.Module, answers: dict[str, Tensor], tolerance: float = 1e-10, what: str = ""
) -> None:
    """Gradients of `module`'s parameters by name. Those of a bias before a batch norm are 0 but
    for rounding, which depends on the order of sums: they are at most 1e-12."""
    named = dict(module.named_parameters())
    for name, answer in answers.items():
        gradient = named[name].grad
        assert gradient is not None, name
        rounding = answer.abs().max().item() < SMALLEST
        bound = max(tolerance, 1e-6) if rounding else tolerance
        assert_near(gradient, answer, bound, f"gradient of {what} {name}")


def at_step(arrays: dict[str, Tensor], step: int) -> dict[str, Tensor]:
    """One step of arrays whose first axis is the step."""
    return {name: x[step] for name, x in arrays.items()}


def load_weights(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """The authors' weights; what they do not have is a bias, then 0, or a batch norm's state."""
    keys = module.load_state_dict(weights, strict=False)
    assert not keys.unexpected_keys, keys.unexpected_keys
    for name in keys.missing_keys:
        last = name.rsplit(".", 1)[-1]
        assert last in ("bias", "running_mean", "running_var", "num_batches_tracked"), name
        if last == "bias":
            nn.init.zeros_(module.get_parameter(name))
