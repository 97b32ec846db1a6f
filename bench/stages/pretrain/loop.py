"""The training loop: one Lightning epoch over the steps that are left."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import Tensor
from torch.utils.data import DataLoader

from bench.contracts.context import StageContext
from bench.contracts.network import Batch, Network
from bench.core.errors import StageFailed
from bench.core.picture import contact_sheet
from bench.core.seeds import seed_for
from bench.core.signals import StopRequest, listen_for_stop
from bench.nn.distributed import gather_rows
from bench.nn.optim import base_lr, build_optimizer
from bench.nn.schedules import lr_factor
from bench.nn.sync_norm import synchronise
from bench.stages.checkpoint import History, read_history, save_checkpoint
from bench.stages.pretrain.setup import Setup, resume
from bench.views.augment import MEAN, STD
from bench.views.loader import BatchOrder, make_loader, to_device

LOGGED_STEPS = 200  # rows of a history, points of a learning curve
COLLAPSED = 1e-3  # outputs of any usual width spread less than this only if they are all but equal


class _Stopped(Exception):
    """Ctrl-C or SIGTERM, after the step it arrived in was finished and saved."""


class TrainingModule(pl.LightningModule):
    """Steps, learning rate, checkpoints and figures of one pretraining.

    `stop`: asked by the first process after every step; None: this process listens to signals
    itself.
    """

    def __init__(
        self,
        ctx: StageContext,
        setup: Setup,
        network: Network,
        state: dict[str, Any] | None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.ctx, self.setup_, self.state = ctx, setup, state
        self.settings = setup.method.params
        self.total = setup.total_steps
        self.step = self.start_step = int(state["step"]) if state else 0
        self.every = math.ceil(self.total / LOGGED_STEPS)
        self.parts, self.part = setup.parts, 0
        self.loss_parts: dict[str, Tensor] = {}
        self.stop, self.request = stop, StopRequest()
        self.between_steps = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self.settings, self.network.trainable(), self.network.fixed_lr())

    def train_dataloader(self) -> DataLoader:
        order = BatchOrder(
            len(self.setup_.sampler),
            self.settings.batch_size,
            self.settings.epochs,
            self.ctx.seed("order"),
            self.start_step,
            self.global_rank,
            self.trainer.world_size,
            self.parts,
        )
        return make_loader(
            self.setup_.images,
            self.setup_.sampler,
            self.setup_.viewer,
            self.ctx.seed("views"),
            order,
            self.ctx.runtime.workers,
            pin=self.setup_.device.kind == "cuda",
        )

    def on_train_start(self) -> None:
        self.network.train()
        if self.state is not None:
            optimizer = self.optimizers(use_pl_optimizer=False)
            optimizer.load_state_dict(self.state["optimizer"])  # type: ignore[union-attr]
            self.state = None
        if self.trainer.is_global_zero:
            self.history = History(self.ctx.work / "history.jsonl", self.start_step)
            self.advance = self.ctx.progress.task(
                f"pretrain {self.ctx.stage.name}", self.total, self.start_step
            )
        self.saved_at = self.logged_at = time.monotonic()
        self.logged_step = self.start_step
        if self.stop is None:
            self.request.install()  # again: Lightning has set handlers of its own

    @property
    def asked_to_stop(self) -> bool:
        return self.request.asked or (self.stop is not None and self.stop())

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Batch:
        # What a step draws depends on its number alone, so that a resumed training draws the same.
        torch.manual_seed(seed_for(self.ctx.seed("step"), "step", self.step))
        moved = to_device(batch, device, self.step, self.total)
        moved.part, moved.parts = self.part, self.parts
        if self.step == self.start_step and self.part == 0 and self.trainer.is_global_zero:
            self.ctx.tracker.image("views", views_picture(moved), self.step)
        return moved

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.between_steps = False
        self.lr = base_lr(self.settings) * lr_factor(
            self.step,
            self.setup_.steps_per_epoch,
            self.settings.epochs,
            self.settings.warmup_epochs,
            self.settings.warmup_ratio,
            self.settings.lr_step,
        )
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            if not group.get("fixed_lr"):
                group["lr"] = self.lr

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        parts = self.network.loss(batch)
        found = {name: value.detach() / self.parts for name, value in parts.items()}
        if self.part:
            found = {name: value + self.loss_parts[name] for name, value in found.items()}
        self.loss_parts = found
        if self.device.type == "cpu":
            self._check_finite()
        return parts["loss"]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.settings.grad_clip > 0:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.grad_clip)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        self.part = (self.part + 1) % self.parts
        if self.part:
            return
        self.network.after_step(self.step, self.total)
        self.step += 1
        self.between_steps = True
        log = self.step % self.every == 0 or self.step == self.total
        if log:
            self._average_parts()
        if self.trainer.is_global_zero:
            self._first_process_only(log)

    def _average_parts(self) -> None:
        """What is logged becomes the mean over processes, each of which has a share of the batch."""
        rows = gather_rows(torch.stack([v.float() for v in self.loss_parts.values()])[None])
        self.loss_parts = dict(zip(self.loss_parts, rows.mean(0), strict=True))

    def _first_process_only(self, log: bool) -> None:
        if log:
            self._log()
        else:
            self.advance(1)
        if self.step % self.setup_.steps_per_epoch == 0:
            self._watched()
        if self.asked_to_stop:
            self.save()
            raise _Stopped
        if time.monotonic() - self.saved_at >= self.ctx.runtime.checkpoint_seconds:
            self.save()

    def _watched(self) -> None:
        """Show the backbone to whoever watches; one who has seen enough stops the training as
        Ctrl-C does."""
        if self.ctx.watch is None or self.setup_.devices > 1 or self.step == self.total:
            return
        epoch = self.step // self.setup_.steps_per_epoch
        seen = self.ctx.watch(self.ctx, epoch, self.settings.epochs, self.network.backbone)
        self.request.asked = self.request.asked or seen

    def _check_finite(self) -> None:
        loss = float(self.loss_parts["loss"])
        if not math.isfinite(loss):
            name = self.ctx.stage.name
            raise StageFailed(
                f"{self.ctx.stage}: the loss is {loss} at step {self.step} of {self.total}, not "
                "finite; "
                f"try: --set {name}.lr={self.settings.lr / 4:g}, --set {name}.precision=fp32 or a "
                "longer "
                f"{name}.warmup_epochs"
            )

    def _log(self) -> None:
        self._check_finite()
        now = time.monotonic()
        images = (self.step - self.logged_step) * self.setup_.batch
        row: dict[str, float] = {"step": self.step - 1}
        row |= {name: float(value) for name, value in self.loss_parts.items()}
        row |= {
            "lr": self.lr,
            "images_per_second": round(images / max(now - self.logged_at, 1e-9), 2),
        }
        momentum = getattr(self.network, "momentum", None)
        if isinstance(momentum, float):
            row["momentum"] = momentum
        self.logged_at, self.logged_step = now, self.step
        self.history.add(row)
        self.ctx.tracker.log({k: v for k, v in row.items() if k != "step"}, self.step - 1)
        self.advance(1, loss=row["loss"], images_s=row["images_per_second"])

    def save(self) -> None:
        """Checkpoint this moment, between two steps."""
        if self.loss_parts:
            self._check_finite()
        optimizer = self.optimizers(use_pl_optimizer=False)
        save_checkpoint(
            self.ctx.scratch,
            {
                "step": self.step,
                "network": self.network.state_dict(),
                "optimizer": optimizer.state_dict(),  # type: ignore[union-attr]
            },
        )
        self.saved_at = time.monotonic()


def views_picture(batch: Batch, samples: int = 8) -> np.ndarray:
    """(H, W, 3) uint8: a row per role, a column per sample, as the network sees them but not
    normalised."""
    rows = []
    for view in batch.views.values():
        images = view.images[:samples].float().cpu() * torch.tensor(STD).view(3, 1, 1)
        images = (images + torch.tensor(MEAN).view(3, 1, 1)).clamp(0, 1).mul(255).round().byte()
        rows.append(list(images.permute(0, 2, 3, 1).numpy()))
    return contact_sheet(rows)


def train(
    ctx: StageContext, setup: Setup, stop: Callable[[], bool] | None = None
) -> tuple[Network, dict[str, Any]]:
    """Train from the last checkpoint to the end in this process, which is one of `setup.devices`;
    returns the network on the CPU and the summary.

    Raises StageFailed if the loss is not finite, and KeyboardInterrupt, after a checkpoint, when
    asked to stop.
    """
    network, state = resume(ctx, setup)
    if setup.devices > 1:
        network = synchronise(network, setup.device.kind)  # type: ignore[assignment]
    module = TrainingModule(ctx, setup, network.to(memory_format=torch.channels_last), state, stop)
    if ctx.runtime.compile:
        compile_parts(network)
    started = time.monotonic()
    if module.start_step < module.total:
        _run(module)
    seconds = time.monotonic() - started
    steps = module.total - module.start_step
    last = (read_history(ctx.work / "history.jsonl") or [{}])[-1]
    if last.get("std", 1.0) < COLLAPSED:
        ctx.progress.note(
            f"{ctx.stage}: its outputs have collapsed (std {last['std']:.1g}): all images look "
            "alike to it"
        )
    return module.network.to("cpu"), {
        "steps": module.total,
        "steps_per_epoch": setup.steps_per_epoch,
        "epochs": setup.method.params.epochs,
        "samples": module.total * setup.batch,
        "samples_per_epoch": len(setup.sampler),
        "batch": setup.batch,
        "resumed_at": module.start_step,
        "seconds": round(seconds, 3),
        "images_per_second": round(steps * setup.batch / seconds, 2),
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


def _run(module: TrainingModule) -> None:
    if module.stop is None:
        with listen_for_stop() as module.request:
            _fit(module)
    else:
        _fit(module)


def _fit(module: TrainingModule) -> None:
    try:
        with _quiet():
            _trainer(module).fit(module)
    except _Stopped:
        raise KeyboardInterrupt from None
    except SystemExit:  # what Lightning makes of a KeyboardInterrupt
        raise KeyboardInterrupt from None
    except Exception:
        # A signal to the process group also ends the loader's workers, which may be noticed before
        # the step's end. In the middle of a step nothing is saved: the last checkpoint is the one
        # to go on from.
        if not module.asked_to_stop:
            raise
        if module.between_steps:
            module.save()
        raise KeyboardInterrupt from None


def _trainer(module: TrainingModule) -> pl.Trainer:
    device = module.setup_.device
    return pl.Trainer(
        accelerator=device.kind,
        devices=device.count,
        num_nodes=module.ctx.runtime.nodes,
        strategy=_strategy(module.setup_),
        precision="bf16-mixed" if module.settings.precision == "bf16" else "32-true",
        max_epochs=1,
        accumulate_grad_batches=module.parts,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        plugins=[LightningEnvironment()],
        default_root_dir=module.ctx.scratch,
    )


def _strategy(setup: Setup) -> Strategy | str:
    """DDP in processes that bench started (`_ranks`). Buffers are alike everywhere by
    construction: sending a queue around every step would cost more than the gradients of a small
    network."""
    if setup.devices == 1:
        return "auto"
    return DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's notices and warnings, off: they speak to people who configure Lightning."""
    loggers = [
        logging.getLogger(n) for n in ("lightning", "lightning.pytorch", "lightning.fabric")
    ]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning(\.|$)")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
