"""Score maps of a network, and the crops with the best scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.core.stage import Stage
from bench.figures import _look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.figures._content import Content
    from bench.launch.stored import Selection

VERSION = 1
SOURCE = "paper 000, Fig. 4"
OPTIONS = ("backbone", "image", "data", "split", "count", "scale", "set")


def stage(ask: Selection) -> Stage:
    """The newest proposals that a network scored; with --backbone, or without such, any backbone's
    scores at the settings of --scale and --set."""
    from bench.contracts import registry
    from bench.launch.stored import figures_of

    able = [n for n in registry.names("proposals") if "scda" in figures_of("proposals", n)]
    trained = None
    if not ask.backbones and not ask.sets:
        trained = ask.latest(lambda r: r["kind"] == "proposals" and r["name"] in able)
    if trained is not None and "network" in trained.inputs:
        network, identity = trained.inputs["network"], dict(trained.params["proposals"])
    else:
        (network,) = ask.backbone_stages(1)[:1]
        settings = {k.rpartition(".")[2]: v for k, v in ask.sets}
        identity = registry.load("proposals", able[0]).resolve(ask.scale, settings).identity()
    data = ask.data_stage(trained.inputs.get("data") if trained else network.inputs.get("data"))
    split, ids = ask.choose_images(data)
    params: dict[str, Any] = {"images": ids, "split": split, "proposals": identity}
    runner = figures_of("proposals", identity["name"])["scda"]
    return Stage("figure", "scda", VERSION, params, runner, {"data": data, "network": network})


def draw(content: Content) -> Figure:
    return _look.grid(content)
