"""The training loop of pretraining and of fine-tuning.

What a step draws at random depends on its number alone, so that a training which was killed and
goes on from its checkpoint ends with the same bits on a CPU.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bench.contracts.context import StageContext
from bench.core.errors import StageFailed
from bench.core.seeds import seed_for
from bench.stages.checkpoint import Checkpoint, save_checkpoint

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Losses = dict[str, Tensor]  # scalars; "loss" is the one that is minimised


class Recipe(ABC):
    """What one training does at its steps, which are counted from 0.

    seed: of everything that a step draws from torch's generator.
    hint: what to try where the loss is not finite.
    parts: batches of a step, whose gradients are averaged.
    grad_clip: the largest norm of the gradient of all parameters; 0 leaves it alone.
    save_last: write a checkpoint after the last step too, because more work follows.
    """

    steps: int
    seed: int
    hint: str
    parts: int = 1
    grad_clip: float = 0.0
    save_last: bool = False

    @abstractmethod
    def batches(self, start: int) -> Iterable[Any]:
        """The batches from step `start` on, `parts` of them for each step."""

    @abstractmethod
    def set_rate(self, step: int) -> None:
        """Set the optimizer's learning rate for the step."""

    @abstractmethod
    def losses(self, batch: Any, step: int, part: int) -> Losses:
        """The losses of a batch, which is moved to the device first."""

    def update(self, step: int) -> None:
        """What follows the optimizer in a step: moving averages of weights."""

    @abstractmethod
    def report(self, step: int, losses: Losses) -> None:
        """Show and record the step that was taken; called in every process."""

    @abstractmethod
    def should_stop(self) -> bool:
        """Whether to save and leave, asked after every step."""


def train(
    ctx: StageContext,
    fabric: Fabric,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    start: int,
    replica: DistributedDataParallel | None = None,
) -> None:
    """Take the steps from `start` to the last in this process, with `network` and `optimizer` on
    the device of `fabric`; the first process writes a checkpoint every
    `runtime.checkpoint_seconds`.

    replica: `network` as it exchanges gradients, where several processes train it.

    Raises StageFailed where the loss is not finite, and KeyboardInterrupt, after a checkpoint,
    where `recipe.should_stop` says so.
    """
    losses: Losses = {}
    done, in_step, saved_at = start, False, time.monotonic()

    def save() -> None:
        nonlocal saved_at
        if losses:
            check_finite(ctx, recipe, done - 1, losses)
        states = network.state_dict(), optimizer.state_dict()
        save_checkpoint(ctx.scratch, Checkpoint(step=done, network=states[0], optimizer=states[1]))
        saved_at = time.monotonic()

    network.train()
    batches = iter(recipe.batches(start))
    try:
        for step in range(start, recipe.steps):
            parts = chain([next(batches)], islice(batches, recipe.parts - 1))
            in_step = True
            recipe.set_rate(step)
            losses = set_gradients(ctx, fabric, optimizer, recipe, step, parts, replica)
            if recipe.grad_clip > 0:
                nn.utils.clip_grad_norm_(network.parameters(), recipe.grad_clip)
            optimizer.step()
            recipe.update(step)
            done, in_step = step + 1, False
            recipe.report(step, losses)
            if not fabric.is_global_zero:
                continue
            stop = recipe.should_stop()
            due = time.monotonic() - saved_at >= ctx.runtime.checkpoint_seconds
            if stop or due or (recipe.save_last and done == recipe.steps):
                save()
            if stop:
                raise KeyboardInterrupt
    except Exception:
        # A signal to every process also ends the loader's workers, which may be noticed anywhere.
        # In the middle of a step nothing is saved: the last checkpoint is the one to go on from.
        if not recipe.should_stop():
            raise
        if fabric.is_global_zero and not in_step:
            save()
        raise KeyboardInterrupt from None


def set_gradients(
    ctx: StageContext,
    fabric: Fabric,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    step: int,
    batches: Iterable[Any],
    replica: DistributedDataParallel | None,
) -> Losses:
    """Leave the gradients of a step over `batches`, its parts, in the parameters; returns the
    means of their losses. Processes exchange gradients in the last part only."""
    total: Losses = {}
    for part, batch in enumerate(batches):
        torch.manual_seed(seed_for(recipe.seed, "step", step))
        last = part + 1 == recipe.parts
        with replica.no_sync() if replica and not last else nullcontext():
            losses = recipe.losses(batch, step, part)
            if fabric.device.type == "cpu":  # on a GPU every look would make it wait
                check_finite(ctx, recipe, step, losses)
            if part == 0:
                optimizer.zero_grad(set_to_none=True)
            fabric.backward(losses["loss"] / recipe.parts)
        shares = {name: loss.detach() / recipe.parts for name, loss in losses.items()}
        total = {name: total[name] + x if part else x for name, x in shares.items()}
    return total


def check_finite(ctx: StageContext, recipe: Recipe, step: int, losses: Losses) -> float:
    """The loss; raises StageFailed, with what to try, where it is infinite or not a number."""
    loss = float(losses["loss"])
    if not math.isfinite(loss):
        raise StageFailed(
            f"{ctx.stage}: the loss is {loss} at step {step} of {recipe.steps}, not finite; "
            f"try: {recipe.hint}"
        )
    return loss
