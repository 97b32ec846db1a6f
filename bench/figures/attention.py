"""Where backbones look: the same images under each one's attention map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.stage import Stage
from bench.figures import _look
from bench.figures._content import panel, save, scale_to_unit

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from bench.contracts.context import StageContext
    from bench.figures._content import Content
    from bench.launch.stored import Selection

VERSION = 1
SOURCE = "paper 002, Fig. 4"
OPTIONS = ("backbone", "image", "data", "split", "count", "side")
SIDE = 224  # short side of what the networks see, pixels


def stage(ask: Selection) -> Stage:
    """By default the newest two backbones, of different methods, and images of the first one's
    data."""
    backbones = ask.backbone_stages(2)
    data = ask.data_stage(backbones[0].inputs.get("data"))
    split, ids = ask.choose_images(data)
    inputs = {f"backbone{i}": b for i, b in enumerate(backbones)}
    params = {"images": ids, "split": split, "side": ask.side or SIDE}
    return Stage(
        "figure",
        "attention",
        VERSION,
        params,
        "bench.figures.attention:run",
        {"data": data, **inputs},
    )


def run(ctx: StageContext) -> None:
    """A row for each image: itself, then each backbone's map over it."""
    from bench.contracts.images import positions
    from bench.contracts.titles import title_of
    from bench.figures._network import load_backbone_of

    images, side = ctx.images("data", str(ctx.params["split"])), int(ctx.params["side"])
    roles = sorted(role for role in ctx.inputs if role.startswith("backbone"))
    networks = [load_backbone_of(ctx, role) for role in roles]
    rows = []
    for i in positions(images, ctx.params["images"]):
        photo = images.image(i)
        rows.append(
            [panel(photo), *(panel(photo, heat=attention(n, photo, side)) for n in networks)]
        )
    columns = ["image", *(title_of(ctx.stage.inputs[role]) for role in roles)]
    save(ctx.work, {"rows": rows, "columns": columns, "title": "Attention", "below": BELOW})


BELOW = (
    "ResNet: the last feature map, summed over channels. ViT: the class token's attention in the "
    "last "
    "block, mean over heads. Each map from its smallest (dark) to its largest value."
)


def attention(backbone: torch.nn.Module, image: np.ndarray, side: int) -> np.ndarray:
    """(h, w) in [0, 1] of (H, W, 3) uint8, its short side resized to `side`.

    A network with `blocks` (ViT): the class token's attention to every patch in the last block,
    mean over heads. Others: `maps` (D, h, w) summed over D. Then (a - min) / (max - min).
    """
    import torch

    from bench.figures._network import to_input

    net: Any = backbone
    with torch.inference_mode():
        pixels = to_input(image, side, getattr(net, "patch", 1))
        heat = _class_token(net, pixels) if hasattr(net, "blocks") else net.maps(pixels)[0].sum(0)
    return scale_to_unit(heat.float().numpy())


def _class_token(net: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(h, w): softmax(q k^T / sqrt(d)) of the last block, the row of the class token, mean over
    heads."""
    seen: dict[str, torch.Tensor] = {}
    block = net.blocks[-1]
    handle = block.attn.qkv.register_forward_hook(
        lambda module, given, output: seen.update(qkv=output)
    )
    try:
        maps = net.maps(pixels)
    finally:
        handle.remove()
    tokens, heads = seen["qkv"].shape[1], block.attn.num_heads
    query, key, _ = seen["qkv"].reshape(1, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
    query, key = block.attn.q_norm(query), block.attn.k_norm(key)
    weights = (query[0, :, :1] @ key[0].transpose(1, 2) * query.shape[-1] ** -0.5).softmax(-1)
    return weights[:, 0, 1:].mean(0).reshape(maps.shape[2:])


def draw(content: Content) -> Figure:
    return _look.grid(content)
