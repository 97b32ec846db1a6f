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


class Training(ABC):
    """What is trained, and what happens at each of its steps, which are counted from 0.

    network, optimizer: on the device of `fabric`; a checkpoint holds their states.
    replica: the network as it exchanges gradients, where several processes train it.
    seed: of everything that a step draws from torch's generator.
    hint: what to try where the loss is not finite.
    parts: batches of a step, whose gradients are averaged.
    grad_clip: the largest norm of the gradient of all parameters; 0 leaves it alone.
    save_last: write a checkpoint after the last step too, because more work follows.
    """

    ctx: StageContext
    fabric: Fabric
    network: nn.Module
    optimizer: torch.optim.Optimizer
    replica: DistributedDataParallel | None = None
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

    @abstractmethod
    def update(self, step: int) -> None:
        """What follows the optimizer in a step, such as moving averages of weights."""

    @abstractmethod
    def report(self, step: int, losses: Losses) -> None:
        """Show and record the step that was taken; called in every process."""

    @abstractmethod
    def should_stop(self) -> bool:
        """Whether to save and leave, asked after every step."""


def train(training: Training, start: int) -> None:
    """Take the steps from `start` to the last; the first process writes a checkpoint every
    `runtime.checkpoint_seconds`.

    Raises StageFailed where the loss is not finite, and KeyboardInterrupt, after a checkpoint,
    where `should_stop` says so.
    """
    first_process, seconds = (
        training.fabric.is_global_zero,
        training.ctx.runtime.checkpoint_seconds,
    )
    training.network.train()
    batches = iter(training.batches(start))
    losses: Losses = {}
    done, in_step, saved_at = start, False, time.monotonic()
    try:
        while done < training.steps:
            parts = chain([next(batches)], islice(batches, training.parts - 1))
            in_step = True
            losses = take_step(training, done, parts)
            done, in_step = done + 1, False
            training.report(done - 1, losses)
            stop, last = training.should_stop(), training.save_last and done == training.steps
            if first_process and (stop or last or time.monotonic() - saved_at >= seconds):
                save(training, done, losses)
                saved_at = time.monotonic()
            if first_process and stop:
                raise KeyboardInterrupt
    except Exception:
        # A signal to every process also ends the loader's workers, which may be noticed anywhere.
        # In the middle of a step nothing is saved: the last checkpoint is the one to go on from.
        if not training.should_stop():
            raise
        if first_process and not in_step:
            save(training, done, losses)
        raise KeyboardInterrupt from None


def take_step(training: Training, step: int, batches: Iterable[Any]) -> Losses:
    """One step over `batches`, its parts; returns the means of their losses. Processes exchange
    gradients in the last part only."""
    training.set_rate(step)
    total: Losses = {}
    for part, batch in enumerate(batches):
        torch.manual_seed(seed_for(training.seed, "step", step))
        last = part + 1 == training.parts
        with training.replica.no_sync() if training.replica and not last else nullcontext():
            losses = training.losses(batch, step, part)
            if training.fabric.device.type == "cpu":  # on a GPU every look would make it wait
                check_finite(training, step, losses)
            if part == 0:
                training.optimizer.zero_grad(set_to_none=True)
            training.fabric.backward(losses["loss"] / training.parts)
        shares = {name: loss.detach() / training.parts for name, loss in losses.items()}
        total = {name: total[name] + x if part else x for name, x in shares.items()}
    if training.grad_clip > 0:
        nn.utils.clip_grad_norm_(training.network.parameters(), training.grad_clip)
    training.optimizer.step()
    training.update(step)
    return total


def save(training: Training, done: int, losses: Losses) -> None:
    """Write a checkpoint after `done` steps, of which the last had `losses` (none: no step was
    taken yet)."""
    if losses:
        check_finite(training, done - 1, losses)
    network, optimizer = training.network.state_dict(), training.optimizer.state_dict()
    checkpoint = Checkpoint(step=done, network=network, optimizer=optimizer)
    save_checkpoint(training.ctx.scratch, checkpoint)


def check_finite(training: Training, step: int, losses: Losses) -> float:
    """The loss; raises StageFailed, with what to try, where it is infinite or not a number."""
    loss = float(losses["loss"].detach())
    if not math.isfinite(loss):
        raise StageFailed(
            f"{training.ctx.stage}: the loss is {loss} at step {step} of {training.steps}, not "
            f"finite; try: {training.hint}"
        )
    return loss
