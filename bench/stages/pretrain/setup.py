"""What a pretraining is set up with: method, crop, views, devices, and the network it begins
with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import torch

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.method import Method
from bench.contracts.network import Network
from bench.core.errors import BadData, BadInput
from bench.stages.checkpoint import Checkpoint, load_checkpoint

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.images import ImageSet
    from bench.contracts.views import Sampler, Viewer


@dataclass(frozen=True)
class Device:
    """Where a training runs: "cpu" or "cuda", and on how many devices."""

    kind: str
    count: int


@dataclass
class Setup:
    """Everything a training needs, rebuilt from the stage's params and inputs."""

    method: Method
    images: ImageSet
    sampler: Sampler
    viewer: Viewer
    device: Device
    steps_per_epoch: int
    batch: int  # samples a step, over all devices; fewer than `batch_size` where the set has fewer
    devices: int = 1  # of all machines
    parts: int = 1  # into which a device divides its share of a step

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.method.params.epochs


class Summary(TypedDict, total=False):
    """`summary.json` of a pretraining; of a method that does not train, the first four.

    samples: over all steps. batch: samples of a step, over all devices. resumed_at: the step this
    process began with; seconds and images_per_second are from there on. loss, std: as last logged.
    """

    steps: int
    epochs: int
    samples: int
    seconds: float
    steps_per_epoch: int
    samples_per_epoch: int
    batch: int
    resumed_at: int
    images_per_second: float
    loss: float | None
    std: float | None
    device: str
    devices: int
    nodes: int
    accumulate: int
    threads: int


def build_crop(identity: Mapping[str, Any]) -> Crop:
    """The crop again from `Crop.identity()`."""
    return cast(
        "Crop", registry.load("crop", identity["name"]).from_identity(dict(identity["params"]))
    )


def build_method(identity: Mapping[str, Any]) -> Method:
    """The method again from `Method.identity()`."""
    return cast(
        Method, registry.load("method", identity["name"]).from_identity(dict(identity["params"]))
    )


def build_network(ctx: StageContext, method: Method, n_images: int) -> Network:
    """The method's network as the stage's seed initialises it; torch's generator is left as it
    was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(ctx.seed("init"))
        return method.network(n_images, build_crop(ctx.params["crop"]).heads())


def prepare(ctx: StageContext, method: Method, images: ImageSet) -> Setup:
    """The crop's sampler, the method's viewer and the length of an epoch."""
    from bench.views.loader import BatchOrder

    crop = build_crop(ctx.params["crop"])
    inputs = dict(ctx.inputs)
    sampler = crop.sampler(images, inputs)
    if len(sampler) == 0:
        raise BadData(
            f"crop {crop.name} finds nothing to crop in {images.name}/{images.split}; try: --crop "
            "image"
        )
    device, parts = pick_device(ctx.runtime.devices), ctx.runtime.accumulate
    if parts > 1 and not method.separable:
        raise BadInput(
            f"--accumulate {parts}: {method.name} normalises or compares the images of a batch "
            "with each other, so that dividing it would change the result; try: more --devices, "
            f"or a smaller --set {method.name}.batch_size"
        )
    devices = device.count * ctx.runtime.nodes
    order = BatchOrder(
        len(sampler),
        method.params.batch_size,
        method.params.epochs,
        0,
        world_size=devices,
        parts=parts,
    )
    return Setup(
        method,
        images,
        sampler,
        build_viewer(method, images, inputs),
        device,
        order.steps_per_epoch,
        order.batch,
        devices,
        parts,
    )


def build_viewer(method: Method, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
    """The method's views, blurred in pixels of its image size, their colours as strong as
    `colour_jitter` says."""
    from bench.views.frame import FramedBlur
    from bench.views.strength import ScaledJitter

    p = method.params
    viewer, factor = FramedBlur(method.viewer(images, inputs), p.image_size), p.colour_jitter
    return viewer if factor == 1 else ScaledJitter(viewer, factor)


def pick_device(devices: int | str) -> Device:
    """`auto` (one GPU if there is one, else the CPU), `cpu`, or a number of devices."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if str(devices) == "auto":
        return Device("cuda" if gpus else "cpu", 1)
    if str(devices) == "cpu":
        return Device("cpu", 1)
    try:
        count = int(devices)
    except ValueError:
        raise BadInput(
            f"--devices is auto, cpu or a number, got {devices!r}; try: --devices auto"
        ) from None
    if count < 1 or (gpus and count > gpus):
        raise BadInput(
            f"--devices {count}: this machine has {gpus or 'no'} GPUs; try: --devices auto"
        )
    return Device("cuda" if gpus else "cpu", count)


def step_threads(ctx: StageContext, device: Device) -> int:
    """torch threads of a step: as set by the runtime or by OMP_NUM_THREADS, else the cores this
    process may use, divided over the devices, less the loader's workers on a GPU. On a CPU a step
    takes far longer than loading its images, so the workers are idle most of the time: two cores
    with two workers trained 61 images/s with two threads and 36 with one.
    """
    cores = max(1, len(os.sched_getaffinity(0)) // device.count)
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if not ctx.runtime.threads and limit.isdecimal() and int(limit):
        return int(limit)
    return ctx.runtime.threads or (
        cores if device.kind == "cpu" else max(1, cores - ctx.runtime.workers)
    )


def resume(ctx: StageContext, setup: Setup) -> tuple[Network, Checkpoint | None]:
    """The network to go on with and the checkpoint it came from (None: training starts)."""
    state = load_checkpoint(ctx.scratch, setup.total_steps, ctx.progress.note)
    network = build_network(ctx, setup.method, len(setup.images))
    if state is not None:
        try:
            from bench.nn.backbones import load_strictly

            load_strictly(network, state["network"], "the checkpoint")
        except BadInput as error:
            ctx.progress.note(f"{error}; training starts again")
            return network, None
    return network, state


def load_network(folder: Path, params: Mapping[str, Any], n_images: int) -> Network:
    """The network of the committed pretrain stage in `folder`, in eval mode on the CPU.

    `params`: the stage's. Every key must match; raises BadData or BadInput else.
    """
    with torch.random.fork_rng(devices=[]):
        heads = build_crop(params["crop"]).heads()
        network = build_method(params["method"]).network(n_images, heads)
    from bench.nn.backbones import load_strictly

    path = folder / "network.pth"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BadData(
            f"{path} cannot be read ({type(error).__name__}); run the same command again"
        ) from None
    load_strictly(network, state, str(path))
    return network.eval()
