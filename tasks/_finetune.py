"""The loop of a fine-tuning: steps that depend on their number alone, checkpoints, progress, figures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from bench.engine._training import load_checkpoint, save_checkpoint
from bench.engine.context import StageContext
from bench.errors import StageFailed
from bench.seeds import seed_for

LOG_EVERY = 20


@dataclass(frozen=True)
class Loop:
    """batches(start): one batch per step from there. losses(batch): the step's losses, to be summed.
    rate(step): the learning rate; a group of the optimiser may have a `factor` on it. seed: of what a step
    draws."""

    steps: int
    batches: Callable[[int], Iterable[Any]]
    losses: Callable[[Any], dict[str, Tensor]]
    rate: Callable[[int], float]
    seed: int


def fit(
    ctx: StageContext, model: nn.Module, optimizer: torch.optim.Optimizer, loop: Loop, fabric: Fabric
) -> None:
    """Train `model` in place; a killed training goes on from its checkpoint, bit-equal on the CPU."""
    start = _restore(ctx, model, optimizer, loop.steps)
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
            figures = {"loss": _log(ctx, step, losses, rate)}
        advance(1, **figures)
        if time.monotonic() - saved >= ctx.runtime.checkpoint_seconds and step + 1 < loop.steps:
            _save(ctx, step + 1, model, optimizer)
            saved = time.monotonic()
    if start < loop.steps:
        _save(ctx, loop.steps, model, optimizer)


def _restore(ctx: StageContext, model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> int:
    state = load_checkpoint(ctx.scratch, steps, ctx.progress.note)
    if state is None:
        return 0
    model.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def _save(ctx: StageContext, step: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    state = {"step": step, "network": model.state_dict(), "optimizer": optimizer.state_dict()}
    save_checkpoint(ctx.scratch, state)


def _log(ctx: StageContext, step: int, losses: dict[str, Tensor], rate: float) -> float:
    figures = {name: float(loss.detach()) for name, loss in losses.items()}
    total = sum(figures.values())
    if not math.isfinite(total):
        raise StageFailed(
            f"{ctx.stage}: the loss is {total} at iteration {step}, not finite; "
            f"try: --set {ctx.stage.name}.lr={rate / 4:.3g}"
        )
    ctx.tracker.log({**figures, "loss": total, "lr": rate}, step)
    return total
