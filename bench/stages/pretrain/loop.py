"""Pretraining in one process: what it adds to the training loop (`bench.stages.training`)."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.fabric.strategies import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from bench.contracts.context import StageContext
from bench.contracts.network import Batch, Network
from bench.core.picture import contact_sheet
from bench.core.signals import listen_for_stop
from bench.nn.distributed import gather_rows, rank_and_size
from bench.nn.optim import base_lr, build_optimizer
from bench.nn.schedules import lr_factor
from bench.nn.sync_norm import synchronise
from bench.stages import training
from bench.stages.checkpoint import Checkpoint, History, read_history
from bench.stages.pretrain.probing import Curve
from bench.stages.pretrain.setup import Setup, Summary, resume
from bench.stages.training import Losses, Training, check_finite
from bench.views.augment import MEAN, STD
from bench.views.loader import BatchOrder, make_loader, to_device

LOGGED_STEPS = 200  # rows of a history, points of a learning curve
COLLAPSED = 1e-3  # outputs of any usual width spread less than this only if they are all but equal


class Pretraining(Training):
    """Steps of one method: its losses, the schedule of its rate, and its history.

    `stop`: whether somebody has asked this training to stop.
    """

    network: Network

    def __init__(
        self,
        ctx: StageContext,
        setup: Setup,
        network: Network,
        state: Checkpoint | None,
        stop: Callable[[], bool],
    ) -> None:
        self.ctx, self.setup, self.network, self.stop = ctx, setup, network, stop
        self.params, name = setup.method.params, ctx.stage.name
        self.steps, self.parts, self.seed = setup.total_steps, setup.parts, ctx.seed("step")
        self.grad_clip = self.params.grad_clip
        self.hint = (
            f"--set {name}.lr={self.params.lr / 4:g}, --set {name}.precision=fp32 or a longer "
            f"{name}.warmup_epochs"
        )
        self.rank, self.world_size = rank_and_size()
        self.start = int(state["step"]) if state else 0
        self.fabric = open_fabric(setup, ctx.runtime.nodes)
        network.to(self.fabric.device)
        self.optimizer = build_optimizer(self.params, network.trainable(), network.fixed_lr())
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
        if setup.devices > 1:
            replica = self.fabric.strategy.setup_module(_Loss(network))
            self.replica = cast(DistributedDataParallel, replica)
        self.seen_enough = False  # whoever watches wants this training to stop

    def run(self) -> None:
        """Take the steps that are left."""
        if self.rank == 0:
            self.history = History(self.ctx.work / "history.jsonl", self.start)
            label = f"pretrain {self.ctx.stage.name}"
            self.advance = self.ctx.progress.task(label, self.steps, self.start)
            self.curve = Curve(self.ctx, self.start)
        self.logged_at, self.logged_steps = time.monotonic(), self.start
        training.train(self, self.start)

    def batches(self, start: int) -> DataLoader[Any]:
        order = BatchOrder(
            len(self.setup.sampler),
            self.params.batch_size,
            self.params.epochs,
            self.ctx.seed("order"),
            start,
            self.rank,
            self.world_size,
            self.parts,
        )
        return make_loader(
            self.setup.images,
            self.setup.sampler,
            self.setup.viewer,
            self.ctx.seed("views"),
            order,
            self.ctx.runtime.workers,
            pin=self.setup.device.kind == "cuda",
        )

    def set_rate(self, step: int) -> None:
        self.lr = base_lr(self.params) * lr_factor(
            step,
            self.setup.steps_per_epoch,
            self.params.epochs,
            self.params.warmup_epochs,
            self.params.warmup_ratio,
            self.params.lr_step,
        )
        for group in self.optimizer.param_groups:
            if not group.get("fixed_lr"):
                group["lr"] = self.lr

    def losses(self, batch: Any, step: int, part: int) -> Losses:
        views = to_device(batch, self.fabric.device, step, self.steps)
        views.part, views.parts = part, self.parts
        if step == self.start and part == 0 and self.rank == 0:
            self.ctx.tracker.image("views", views_picture(views), step)
        loss: Callable[[Batch], Losses] = (
            self.network.loss if self.replica is None else self.replica
        )
        with self.fabric.autocast():  # not around the augmentations: they are in float32
            return loss(views)

    def update(self, step: int) -> None:
        self.network.after_step(step, self.steps)

    def report(self, step: int, losses: Losses) -> None:
        done = step + 1
        logged = done % math.ceil(self.steps / LOGGED_STEPS) == 0 or done == self.steps
        if logged:
            # the mean over processes, each of which has a share of the batch
            rows = gather_rows(torch.stack([v.float() for v in losses.values()])[None])
            losses = dict(zip(losses, rows.mean(0), strict=True))
        if self.rank > 0:
            return
        if logged:
            self._log(step, losses)
        else:
            self.advance(1)
        if done % self.setup.steps_per_epoch == 0:
            self.curve.look(step, done // self.setup.steps_per_epoch, self.network.backbone)
            self._show_backbone(done)

    def _log(self, step: int, losses: Losses) -> None:
        check_finite(self, step, losses)
        now = time.monotonic()
        images = (step + 1 - self.logged_steps) * self.setup.batch
        figures = {name: float(value) for name, value in losses.items()}
        figures["lr"] = self.lr
        figures["images_per_second"] = round(images / max(now - self.logged_at, 1e-9), 2)
        momentum = getattr(self.network, "momentum", None)
        if isinstance(momentum, float):
            figures["momentum"] = momentum
        self.logged_at, self.logged_steps = now, step + 1
        self.history.add({"step": step, **figures})
        self.ctx.tracker.log(figures, step)
        self.advance(1, loss=figures["loss"], images_s=figures["images_per_second"])

    def _show_backbone(self, done: int) -> None:
        """Show the backbone to whoever watches, who may want the training to stop."""
        if self.ctx.watch is None or self.setup.devices > 1 or done == self.steps:
            return
        epoch = done // self.setup.steps_per_epoch
        self.seen_enough = self.ctx.watch(
            self.ctx, epoch, self.params.epochs, self.network.backbone
        )

    def should_stop(self) -> bool:
        return self.seen_enough or self.stop()


class _Loss(nn.Module):
    """A network whose forward pass is its loss, which is what DistributedDataParallel wraps."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Batch) -> Losses:
        return self.network.loss(batch)


def train(
    ctx: StageContext, setup: Setup, stop: Callable[[], bool] | None = None
) -> tuple[Network, Summary]:
    """Train from the last checkpoint to the end in this process, which is one of `setup.devices`;
    returns the network on the CPU and the summary.

    stop: whether to save and leave. None: this process listens for stop signals itself.

    Raises StageFailed if the loss is not finite, and KeyboardInterrupt, after a checkpoint, when
    asked to stop.
    """
    network, state = resume(ctx, setup)
    if setup.devices > 1:
        network = synchronise(network, setup.device.kind)  # type: ignore[assignment]
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if ctx.runtime.compile:
        compile_parts(network)
    start, started = int(state["step"]) if state else 0, time.monotonic()
    if start < setup.total_steps and stop is not None:
        Pretraining(ctx, setup, network, state, stop).run()
    elif start < setup.total_steps:
        with listen_for_stop() as request:
            Pretraining(ctx, setup, network, state, lambda: request.asked).run()
    seconds = time.monotonic() - started
    return network.to("cpu"), _summarise(ctx, setup, start, seconds)


def _summarise(ctx: StageContext, setup: Setup, start: int, seconds: float) -> Summary:
    """The summary of a training that took `seconds` from step `start`; a collapse is noted."""
    last = (read_history(ctx.work / "history.jsonl") or [{}])[-1]
    if last.get("std", 1.0) < COLLAPSED:
        ctx.progress.note(
            f"{ctx.stage}: its outputs have collapsed (std {last['std']:.1g}): all images look "
            "alike to it"
        )
    steps = setup.total_steps
    return {
        "steps": steps,
        "steps_per_epoch": setup.steps_per_epoch,
        "epochs": setup.method.params.epochs,
        "samples": steps * setup.batch,
        "samples_per_epoch": len(setup.sampler),
        "batch": setup.batch,
        "resumed_at": start,
        "seconds": round(seconds, 3),
        "images_per_second": round((steps - start) * setup.batch / seconds, 2),
        "loss": last.get("loss"),
        "std": last.get("std"),
        "device": setup.device.kind,
        "devices": setup.devices,
        "nodes": ctx.runtime.nodes,
        "accumulate": setup.parts,
        "threads": torch.get_num_threads(),
    }


def compile_parts(network: Network) -> None:
    """torch.compile each part of the network where it is called, `forward` and `maps` alike; what
    the parts are called, hold and save does not change."""
    for part in network.children():
        part.compile()
        if hasattr(part, "maps"):
            part.maps = torch.compile(part.maps)  # type: ignore[arg-type,assignment]


def views_picture(batch: Batch, samples: int = 8) -> np.ndarray:
    """(H, W, 3) uint8: a row per role, a column per sample, as the network sees them but not
    normalised."""
    rows = []
    for view in batch.views.values():
        images = view.images[:samples].float().cpu() * torch.tensor(STD).view(3, 1, 1)
        images = (images + torch.tensor(MEAN).view(3, 1, 1)).clamp(0, 1).mul(255).round().byte()
        rows.append(list(images.permute(0, 2, 3, 1).numpy()))
    return contact_sheet(rows)


def open_fabric(setup: Setup, nodes: int) -> Fabric:
    """Lightning Fabric on this process's device, in the precision of the method.

    With several devices it joins the processes that bench has started (`bench.stages.pretrain.
    ranks`). DistributedDataParallel does not send buffers around, which are alike everywhere by
    construction: sending a queue at every step would cost more than the gradients of a small
    network.
    """
    several = DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)
    with _quiet_lightning():
        fabric = Fabric(
            accelerator=setup.device.kind,
            devices=setup.device.count,
            num_nodes=nodes,
            strategy=several if setup.devices > 1 else "auto",
            precision="bf16-mixed" if setup.method.params.precision == "bf16" else "32-true",
            plugins=[LightningEnvironment()],
        )
        fabric.launch()
    return fabric


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's notices, which are for people who configure Lightning."""
    logger = logging.getLogger("lightning.fabric")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning(\.|$)")
            yield
    finally:
        logger.setLevel(level)
