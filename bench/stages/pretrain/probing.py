"""The probes of a pretraining: when they look, and where their figures go."""

from __future__ import annotations

import math

from torch import nn

from bench.contracts.context import StageContext
from bench.stages.checkpoint import PROBED, History
from bench.stages.probes import LOOKS, Probe


class Curve:
    """Figures of `runtime.probe` after up to `LOOKS` epochs evenly over a training, and after the
    last one, in `probe.jsonl` and in the tracker. Without probes it does nothing; one that fails
    is noted, and the training goes on without it."""

    def __init__(self, ctx: StageContext, start: int) -> None:
        self.ctx = ctx
        self.probe: Probe | None = None
        self.epochs = int(ctx.params["method"]["params"]["epochs"])
        self.every = math.ceil(self.epochs / LOOKS)
        if ctx.runtime.probe:
            self.history = History(ctx.work / PROBED, start)
            try:
                self.probe = Probe.of(ctx)
            except Exception as error:  # what only looks stops no training
                self._give_up(error)

    def look(self, step: int, epoch: int, backbone: nn.Module) -> None:
        """Measure the backbone after `epoch` epochs, if it is time."""
        if self.probe is None or (epoch % self.every and epoch != self.epochs):
            return
        try:
            figures = self.probe.measure(backbone)
        except Exception as error:
            return self._give_up(error)
        self.history.add({"step": step, **figures})
        self.ctx.tracker.log(figures, step)

    def _give_up(self, error: Exception) -> None:
        self.probe = None
        reason = " ".join(str(error).split())[:160]
        self.ctx.progress.note(f"{self.ctx.stage}: no probes ({type(error).__name__}: {reason})")
