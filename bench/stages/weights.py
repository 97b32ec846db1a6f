"""The weights stage: a checkpoint made elsewhere becomes a backbone like a pretraining's.

Leaves `backbone.pth` (our keys) and `weights.json`: what matched, where it was, what was left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench.contracts.context import StageContext
from bench.core.errors import BadInput
from bench.core.files import write_json
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.data.files import content_hash, fingerprint
from bench.nn.given import NETWORK
from bench.nn.timm_names import TIMM

VERSION = 1  # of how checkpoints are read


def label(given: str) -> str:
    """What a leaderboard calls the weights: `timm:` and timm's name, or `weights:` and the name of
    the file or folder without ending."""
    match = NETWORK.fullmatch(given)
    if match and given.startswith(TIMM) and match[2] is None:
        return TIMM + re.sub(r"[^\w.+-]", "_", given.removeprefix(TIMM))[:60]
    stem = re.sub(r"(\.(pth|pt|ckpt|bin|tar|safetensors))+$", "", Path(given).name, flags=re.I)
    return "weights:" + (re.sub(r"[^\w.+-]", "_", stem)[:60] or "file")


def weights_stage(given: str, runtime: Runtime) -> Stage:
    """The stage of the checkpoint `given` (`bench.nn.given`), keyed by its content; the backbone's
    name comes from its tensors, from its config.json, or from the user.

    `params["method"]["params"]["backbone"]` is where tasks look for a pretraining's backbone.
    Raises BadInput or BadData for a file that holds no whole backbone, before anything runs.
    """
    from bench.nn.given import find_files, parse_given, read_given

    source = parse_given(given)
    files = find_files(source)
    weights = read_given(source.network, files)
    cache = runtime.home / "cache"
    single = source.path is None or source.path.is_file()
    mark = content_hash(files[0], cache) if single else fingerprint(files, [], cache)
    file = Stage("file", "weights", 1, {"fingerprint": mark}, "bench.stages.files:run")
    runtime.roots[file.key] = files[0] if single else files[0].parent
    method = {"name": "weights", "version": VERSION, "params": {"backbone": weights.backbone}}
    params: dict[str, Any] = {"method": method}
    if source.network:  # what the user says, which the file alone may not tell
        params["network"] = source.network
    stage = Stage(
        "weights",
        "weights",
        VERSION,
        params,
        "bench.stages.weights:run",
        {"file": file},
    )
    runtime.remarks[stage.key] = f"{files[0].name if single else given}: {weights.report()}"
    return stage


def run(ctx: StageContext) -> None:
    """Write the backbone and say what of the checkpoint was used."""
    import torch

    from bench.nn.backbones import build_backbone, load_strictly, save_backbone
    from bench.nn.given import read_given

    records = {"stage.json", "provenance.json", "done"}
    files = sorted(f for f in ctx.inputs["file"].iterdir() if f.name not in records)
    weights = read_given(str(ctx.params.get("network", "")), files)
    source = files[0].name if len(files) == 1 else "the folder of weights"
    if weights.backbone != ctx.params["method"]["params"]["backbone"]:
        raise BadInput(f"{source} changed while it was planned; run the same command again")
    with torch.random.fork_rng(devices=[]):
        network = build_backbone(weights.backbone)
    load_strictly(network, weights.state, source)
    save_backbone(ctx.work / "backbone.pth", network)
    report = {
        "backbone": weights.backbone,
        "tensors_matched": weights.matched,
        "tensors": weights.tensors,
        "counters_set_to_0": weights.filled,
        "prefix": weights.prefix,
        "left_out": weights.left,
    }
    write_json(ctx.work / "weights.json", report)
    ctx.progress.note(f"{source}: {weights.report()}")
