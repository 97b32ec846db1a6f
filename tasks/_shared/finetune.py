"""A fine-tuning: batches and steps that depend on their number alone, checkpoints, progress,
figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from bench.contracts.context import StageContext
from bench.core.seeds import rng_for
from bench.core.signals import StopRequest, listen_for_stop
from bench.stages.checkpoint import load_checkpoint
from bench.stages.training import Losses, Training, check_finite, train

if TYPE_CHECKING:
    from lightning.fabric import Fabric

LOG_EVERY = 20


@dataclass(frozen=True)
class Key:
    """One training sample: optimiser step, place in the batch, position in the set."""

    step: int
    place: int
    index: int


class StepBatches(Sampler[list[Key]]):
    """The batches of a training from step `start`: an endless stream of permutations of
    `positions` (n,), from the seed alone."""

    def __init__(
        self, positions: np.ndarray, batch: int, steps: int, seed: int, start: int
    ) -> None:
        self.positions, self.batch = positions, batch
        self.steps, self.seed, self.start = steps, seed, start

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        count = len(self.positions)
        orders: dict[int, np.ndarray] = {}
        for step in range(self.start, self.steps):
            places = range(step * self.batch, (step + 1) * self.batch)
            epochs = {n // count for n in places}
            orders = {e: orders[e] if e in orders else self._order(e) for e in epochs}
            yield [Key(step, i, int(orders[n // count][n % count])) for i, n in enumerate(places)]

    def _order(self, epoch: int) -> np.ndarray:
        return rng_for(self.seed, "order", epoch).permutation(self.positions)


def open_fabric(accelerator: str) -> Fabric:
    """Lightning Fabric on one device, which is not part of a training on several machines: the
    variables of a Slurm job, in which this process may run, are not looked at."""
    from lightning.fabric import Fabric
    from lightning.fabric.plugins.environments import LightningEnvironment

    return Fabric(accelerator=accelerator, devices=1, plugins=[LightningEnvironment()])


@dataclass(frozen=True)
class Loop:
    """batches(start): one batch per step from there. losses(batch): the step's losses, to be
    summed; what it draws from torch's generator depends on `seed` and the step alone. rate(step):
    the learning rate; a group of the optimiser may have a `factor` on it. lr: the setting to lower
    where the loss is not finite."""

    steps: int
    lr: float
    batches: Callable[[int], Iterable[Any]]
    losses: Callable[[Any], dict[str, Tensor]]
    rate: Callable[[int], float]
    seed: int


class _FineTuning(Training):
    """What a `Loop` says, for the training loop; "loss" is the sum of the losses."""

    save_last = True  # what was trained is evaluated next

    def __init__(
        self,
        ctx: StageContext,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loop: Loop,
        fabric: Fabric,
        stop: StopRequest,
    ) -> None:
        self.ctx, self.network, self.optimizer, self.fabric = ctx, model, optimizer, fabric
        self.loop, self.stop = loop, stop
        self.steps, self.seed = loop.steps, loop.seed
        self.hint = f"--set {ctx.stage.name}.lr={loop.lr / 4:g}"

    def batches(self, start: int) -> Iterable[Any]:
        label = f"train {self.ctx.stage.name}"
        self.advance = self.ctx.progress.task(label, self.steps, start)
        return self.loop.batches(start)

    def set_rate(self, step: int) -> None:
        self.rate = self.loop.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * group.get("factor", 1.0)

    def losses(self, batch: Any, step: int, part: int) -> Losses:
        losses = self.loop.losses(batch)
        return {**losses, "loss": cast(Tensor, sum(losses.values()))}

    def update(self, step: int) -> None:
        """Nothing: no weights are averaged."""

    def report(self, step: int, losses: Losses) -> None:
        if step % LOG_EVERY and step + 1 < self.steps:
            self.advance(1)
            return
        loss = check_finite(self, step, losses)
        figures = {name: float(value) for name, value in losses.items()}
        self.ctx.tracker.log({**figures, "lr": self.rate}, step)
        self.advance(1, loss=loss)

    def should_stop(self) -> bool:
        return self.stop.asked


def fit(
    ctx: StageContext,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loop: Loop,
    fabric: Fabric,
) -> None:
    """Train `model` in place. A killed training goes on from its checkpoint, on a CPU to the same
    bits."""
    start, state = 0, load_checkpoint(ctx.scratch, loop.steps, ctx.progress.note)
    if state is not None:
        model.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        start = int(state["step"])
    with listen_for_stop() as stop:
        train(_FineTuning(ctx, model, optimizer, loop, fabric, stop), start)
