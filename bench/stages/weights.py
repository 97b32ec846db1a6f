"""The weights stage: a checkpoint made elsewhere becomes a backbone like a pretraining's.

Leaves `backbone.pth` (our keys) and `weights.json`: what matched, where it was, what was left out.
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.contracts.context import StageContext
from bench.core.errors import BadInput
from bench.core.files import expand_path, write_json
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.data.files import content_hash

VERSION = 1  # of how checkpoints are read


def label(path: str) -> str:
    """What a leaderboard calls the file: `weights:` and its name without ending."""
    stem = re.sub(r"(\.(pth|pt|ckpt|bin|tar|safetensors))+$", "", Path(path).name, flags=re.I)
    return "weights:" + (re.sub(r"[^\w.+-]", "_", stem)[:60] or "file")


def weights_stage(given: str, runtime: Runtime) -> Stage:
    """The stage of the file `given`, keyed by its content; the backbone's name comes from its
    tensors.

    `params["method"]["params"]["backbone"]` is where tasks look for a pretraining's backbone.
    Raises BadInput or BadData for a file that holds no whole backbone, before anything runs.
    """
    from bench.nn.weights import find_backbone, read_checkpoint

    path = expand_path(given)
    weights = find_backbone(read_checkpoint(path), path.name)
    mark = content_hash(path, runtime.home / "cache")
    file = Stage("file", "weights", 1, {"fingerprint": mark}, "bench.stages.files:run")
    runtime.roots[file.key] = path
    method = {"name": "weights", "version": VERSION, "params": {"backbone": weights.backbone}}
    return Stage(
        "weights",
        "weights",
        VERSION,
        {"method": method},
        "bench.stages.weights:run",
        {"file": file},
    )


def run(ctx: StageContext) -> None:
    """Write the backbone and say what of the file was used."""
    import torch

    from bench.nn.backbones import build_backbone, load_strictly, save_backbone
    from bench.nn.weights import find_backbone, read_checkpoint

    records = {"stage.json", "provenance.json", "done"}
    (path,) = (f for f in ctx.inputs["file"].iterdir() if f.name not in records)
    weights = find_backbone(read_checkpoint(path), path.name)
    if weights.backbone != ctx.params["method"]["params"]["backbone"]:
        raise BadInput(f"{path.name} changed while it was planned; run the same command again")
    with torch.random.fork_rng(devices=[]):
        network = build_backbone(weights.backbone)
    load_strictly(network, weights.state, path.name)
    save_backbone(ctx.work / "backbone.pth", network)
    report = {
        "backbone": weights.backbone,
        "tensors_matched": len(weights.state) - weights.filled,
        "tensors": len(weights.state),
        "counters_set_to_0": weights.filled,
        "prefix": weights.prefix,
        "left_out": weights.left,
    }
    write_json(ctx.work / "weights.json", report)
    ctx.progress.note(f"{path.name}: {weights.report()}")
