"""The pretrain stage: a method, a crop and a dataset become a backbone.

Leaves `backbone.pth` (torchvision's keys), `network.pth` (the method's whole network),
`history.jsonl` and `summary.json`. Training goes on from `_scratch` after a kill, bit-equal on the
CPU.
"""

from __future__ import annotations

import torch

from bench.contracts.context import StageContext
from bench.contracts.network import Network
from bench.contracts.tracker import NullTracker
from bench.core.files import write_json
from bench.stages.pretrain.setup import (
    Setup,
    Summary,
    build_method,
    build_network,
    prepare,
    step_threads,
)


def run(ctx: StageContext) -> None:
    """Train (or, for a method that does not train, initialise) and write the stage's files."""
    method = build_method(ctx.params["method"])
    images = ctx.images("data", str(ctx.params["split"]))
    if not method.trains:
        network = build_network(ctx, method, len(images))
        write_outputs(ctx, network, {"steps": 0, "epochs": 0, "samples": 0, "seconds": 0.0})
        return
    setup = prepare(ctx, method, images)
    _track_pictures(ctx, setup)
    threads = torch.get_num_threads()
    torch.set_num_threads(step_threads(ctx, setup.device))
    try:
        network, summary = fit(ctx, setup)
    finally:
        torch.set_num_threads(threads)
    write_outputs(ctx, network, summary)


def fit(ctx: StageContext, setup: Setup) -> tuple[Network, Summary]:
    """Train from the last checkpoint to the end, in this process or in one for each device;
    returns the network on the CPU and the summary."""
    if setup.devices == 1:
        from bench.stages.pretrain.loop import train  # Lightning takes seconds to import

        return train(ctx, setup)
    from bench.stages.pretrain.ranks import load_final, train_on_ranks

    summary = train_on_ranks(ctx, setup)
    network = build_network(ctx, setup.method, len(setup.images))
    network.load_state_dict(load_final(ctx.scratch))
    return network, summary


def join(ctx: StageContext) -> None:
    """Take part, on another machine than the first, in the training that the first one runs and
    writes."""
    method = build_method(ctx.params["method"])
    if method.trains:
        from bench.stages.pretrain.ranks import train_on_ranks

        train_on_ranks(ctx, prepare(ctx, method, ctx.images("data", str(ctx.params["split"]))))


def write_outputs(ctx: StageContext, network: Network, summary: Summary) -> None:
    """backbone.pth, network.pth and summary.json."""
    from bench.nn.backbones import save_backbone

    save_backbone(ctx.work / "backbone.pth", network.backbone)
    save_backbone(ctx.work / "network.pth", network)
    write_json(ctx.work / "summary.json", summary)


def _track_pictures(ctx: StageContext, setup: Setup) -> None:
    """Show where views come from, and what the method wants seen (ORL: correspondences)."""
    if isinstance(ctx.tracker, NullTracker):
        return
    from bench.stages.pretrain.pictures import draw_sources

    ctx.tracker.image("crops", draw_sources(setup.images, setup.sampler))
    for name, picture in setup.method.inspect(setup.images, dict(ctx.inputs)).items():
        ctx.tracker.image(name, picture)  # type: ignore[arg-type]
