"""A fine-tuning: batches and steps that depend on their number alone, checkpoints, progress,
figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Sampler

from bench.contracts.context import StageContext
from bench.core.errors import StageFailed
from bench.core.seeds import rng_for, seed_for
from bench.core.signals import StopRequest, listen_for_stop
from bench.stages.checkpoint import load_checkpoint, save_checkpoint

if TYPE_CHECKING:
    from lightning.fabric import Fabric

LOG_EVERY = 20


@dataclass(frozen=True)
class Key:
    """One training sample: optimiser step, place in the batch, position among what is trained on."""

    step: int
    place: int
    index: int


class StepBatches(Sampler[list[Key]]):
    """The batches of a training from step `start`: an endless stream of permutations of
    `positions` (n,), from the seed alone."""

    def __init__(
        self, positions: np.ndarray, batch: int, steps: int, seed: int, start: int
    ) -> None:
        self.positions, self.batch, self.steps, self.seed, self.start = (
            positions,
            batch,
            steps,
            seed,
            start,
        )

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


def fit(
    ctx: StageContext,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loop: Loop,
    fabric: Fabric,
) -> None:
    """Train `model` in place; a killed training goes on from its checkpoint, bit-equal on the CPU."""
    start = _restore(ctx, model, optimizer, loop.steps)
    with listen_for_stop() as stop:
        try:
            _steps(ctx, model, optimizer, loop, fabric, start, stop)
        except RuntimeError:  # a signal to every process also ends the loader's workers
            if stop.asked:
                raise KeyboardInterrupt from None
            raise


def _steps(
    ctx: StageContext,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loop: Loop,
    fabric: Fabric,
    start: int,
    stop: StopRequest,
) -> None:
    """Every step from `start`, a checkpoint now and then, at the end and when asked to stop."""
    advance = ctx.progress.task(f"train {ctx.stage.name}", loop.steps, start)
    saved = time.monotonic()
    model.train()
    for step, batch in enumerate(loop.batches(start), start):
        rate = loop.rate(step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)
        torch.manual_seed(seed_for(loop.seed, "step", step))
        losses = loop.losses(batch)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(sum(losses.values()))
        optimizer.step()
        figures = {}
        if step % LOG_EVERY == 0 or step == loop.steps - 1:
            figures = {"loss": _log(ctx, step, losses, loop)}
        advance(1, **figures)
        if (
            stop.asked
            or time.monotonic() - saved >= ctx.runtime.checkpoint_seconds
            or step + 1 == loop.steps
        ):
            _save(ctx, step + 1, model, optimizer)
            saved = time.monotonic()
        if stop.asked:
            raise KeyboardInterrupt


def _restore(
    ctx: StageContext, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int
) -> int:
    state = load_checkpoint(ctx.scratch, steps, ctx.progress.note)
    if state is None:
        return 0
    model.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _save(
    ctx: StageContext, step: int, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    state = {"step": step, "network": model.state_dict(), "optimizer": optimizer.state_dict()}
    save_checkpoint(ctx.scratch, state)


def _log(ctx: StageContext, step: int, losses: dict[str, Tensor], loop: Loop) -> float:
    figures = {name: float(loss.detach()) for name, loss in losses.items()}
    total = sum(figures.values())
    if not math.isfinite(total):
        raise StageFailed(
            f"{ctx.stage}: the loss is {total} at iteration {step}, not finite; "
            f"try: --set {ctx.stage.name}.lr={loop.lr / 4:g}"
        )
    ctx.tracker.log({**figures, "loss": total, "lr": loop.rate(step)}, step)
    return total
