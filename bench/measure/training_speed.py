"""Training steps, ours and another library's, from equal weights on equal images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from bench.contracts.method import Method
from bench.contracts.network import Batch, Network, Views
from bench.contracts.views import Source
from bench.core.errors import BadInput, StageFailed
from bench.measure.timing import Summary, summary, time_in_turns
from bench.nn.optim import base_lr, build_optimizer

N_IMAGES = 5000  # of the set that a queue is sized for
TOTAL = 1000  # steps of the training of which the timed ones are the middle
TOLERANCE = 1e-5


class Peer(Protocol):
    """A method in another library's modules, made from our network by the function that
    `Method.peer` returns."""

    def prepare(self) -> None:
        """What its loop does before the forward pass (moving averages, normalised prototypes)."""

    def loss(self, views: list[Tensor]) -> Tensor:
        """The loss it minimises, of the views (B, 3, S, S) in the order of the roles."""

    def as_ours(self, loss: float) -> float:
        """That loss on our scale (a method may be halved, or shifted by a constant)."""

    def trainable(self) -> Iterable[torch.nn.Parameter]:
        """What its optimizer sees."""


@dataclass(frozen=True)
class Settings:
    """What is timed: `batch` images of `size` pixels a side, at each number of threads and each
    precision."""

    batch: int = 64
    size: int = 64
    threads: tuple[int, ...] = (1,)
    precisions: tuple[str, ...] = ("fp32",)
    repeats: int = 5
    warm_up: int = 1


class StepRow(Summary):
    """A step of the peer's or ours (`who`), at a number of threads and a precision."""

    method: str
    threads: int
    who: str
    precision: str
    batch: int
    size: int
    loss_difference: float
    images_per_second: float


def make(method: type[Any], settings: Settings, overrides: Mapping[str, Any]) -> Method:
    """The method at scale `tiny` with the batch, the image size and `overrides`."""
    changes = {"batch_size": settings.batch, "image_size": settings.size, **overrides}
    return method.resolve("tiny", changes)  # type: ignore[no-any-return]


def measure(method: Method, settings: Settings) -> list[StepRow]:
    """A row for the peer and one for each precision of ours, at every number of threads.

    A step is: gradients to none, forward and loss, backward, optimizer, moving averages. The
    images are in memory and normalised; loading and augmenting them is in neither step. The peer
    runs as its examples do: float32, PyTorch's default memory layout and optimizer implementation,
    with our optimizer's settings. Raises StageFailed if the two losses of equal weights and images
    differ.
    """
    roles = shapes(method)
    images = {role: torch.randn(settings.batch, 3, size, size) for role, size in roles.items()}
    gap = loss_gap(method, images)
    if not gap <= TOLERANCE:
        raise StageFailed(
            f"{method.name}: the losses that are timed differ by {gap:.2g}; report this"
        )
    rows = []
    before = torch.get_num_threads()
    try:
        for threads in settings.threads:
            torch.set_num_threads(threads)
            rows += _rows(method, settings, images, threads, gap)
    finally:
        torch.set_num_threads(before)
    return rows


def _rows(
    method: Method, settings: Settings, images: dict[str, Tensor], threads: int, gap: float
) -> list[StepRow]:
    ways: dict[str, Callable[[], Any]] = {"peer": peer_step(method, images)}
    ways |= {f"ours {p}": our_step(_with(method, p), images) for p in settings.precisions}
    timings = time_in_turns(ways, settings.repeats, settings.warm_up)
    rows: list[StepRow] = []
    for name, taken in timings.items():
        who, _, precision = name.partition(" ")
        times = summary(taken, timings["peer"])
        rows.append(
            {
                "method": method.name,
                "threads": threads,
                "who": who,
                "precision": precision or "fp32",
                "batch": settings.batch,
                "size": settings.size,
                "loss_difference": gap,
                **times,
                "images_per_second": settings.batch / times["median"],
            }
        )
    return rows


def _with(method: Method, precision: str) -> Method:
    return type(method)(method.params.model_copy(update={"precision": precision}))


def shapes(method: Method) -> dict[str, int]:
    """Role -> side of its view, as the method's own viewer plans one sample of a whole image."""
    sample = method.viewer(None, {})([Source(0), Source(0)], np.random.default_rng(0))  # type: ignore[arg-type]
    if sample.extra:
        raise BadInput(f"{method.name} needs more than images; try: bench perf train --method all")
    return {view.role: view.size for view in sample.views}


def batch_of(images: Mapping[str, Tensor], step: int, channels_last: bool = True) -> Batch:
    """The images as the loader hands them to a network on a device."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    n = len(next(iter(images.values())))
    no = torch.zeros(n, dtype=torch.bool)
    views = {
        role: Views(x.contiguous(memory_format=layout), torch.zeros(n, 4), no, torch.arange(n), no)
        for role, x in images.items()
    }
    return Batch(views, {}, step, TOTAL)


def build_fresh(method: Method) -> Network:
    """The method's network, the same weights every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return method.network(N_IMAGES)


def our_step(method: Method, images: Mapping[str, Tensor]) -> Callable[[], None]:
    """A step as the training loop takes it (`bench.stages.training`), without the log."""
    network = build_fresh(method).to(memory_format=torch.channels_last).train()
    optimizer = build_optimizer(method.params, network.trainable(), network.fixed_lr())
    batch = batch_of(images, TOTAL // 2)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(method.params.precision):
            loss = network.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        network.after_step(batch.step, TOTAL)
        float(loss.detach())  # is it finite? the loop asks at every step on a CPU

    return step


def _autocast(precision: str) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()


def make_peer(method: Method, network: Network) -> Any:
    """The method in another library's modules (`Peer`, and a torch module), with the network's
    weights; BadInput where no other library has it."""
    build = method.peer()
    if build is None:
        raise BadInput(f"no other library has {method.name}; try: bench perf train --method all")
    return build(method, network)


def peer_step(method: Method, images: Mapping[str, Tensor]) -> Callable[[], None]:
    """A step of the peer's plain loop."""
    other = make_peer(method, build_fresh(method))
    optimizer = peer_optimizer(method, other)
    views = [x.contiguous() for x in images.values()]

    def step() -> None:
        other.prepare()
        loss = other.loss(views)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())

    return step


def peer_optimizer(method: Method, other: Peer) -> torch.optim.Optimizer:
    """torch's implementation by default, with our settings; LARS is no torch optimizer."""
    p, lr = method.params, base_lr(method.params)
    if p.optimizer == "sgd":
        return torch.optim.SGD(
            other.trainable(), lr=lr, momentum=p.momentum, weight_decay=p.weight_decay
        )
    if p.optimizer == "adamw":
        return torch.optim.AdamW(
            other.trainable(), lr=lr, betas=(p.momentum, 0.95), weight_decay=p.weight_decay
        )
    raise BadInput(
        f"torch has no {p.optimizer} to compare with; try: --set {method.name}.optimizer=sgd"
    )


def loss_gap(method: Method, images: Mapping[str, Tensor]) -> float:
    """|ours - the peer's| / max(1, |ours|) for equal weights and images, float32, in eval mode:
    there batch norm does not depend on which views share a forward pass, on which implementations
    differ."""
    network = build_fresh(method)
    other = make_peer(method, network)
    network.eval()
    other.eval()
    with torch.no_grad():
        mine = float(network.loss(batch_of(images, 0))["loss"])
        theirs = other.as_ours(float(other.loss([x.contiguous() for x in images.values()])))
    return abs(mine - theirs) / max(1.0, abs(mine))
