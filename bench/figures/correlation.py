"""Where an object of one view is found in another: correlation with every position of its feature
maps."""

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
SOURCE = "paper 003, Fig. 6"
OPTIONS = ("backbone", "image", "data", "split", "count", "side")
SIDE = 224  # short side of the query image and side of the key view, pixels
AREA = 0.5  # least area of the key view, of the image


def stage(ask: Selection) -> Stage:
    """The backbone that `ask` names, by default the newest, on annotated images of its data."""
    (backbone,) = ask.backbone_stages(1)[:1]
    data = ask.data_stage(backbone.inputs.get("data"))
    split, ids = ask.choose_images(data, least=1)
    params = {"images": ids, "split": split, "side": ask.side or SIDE, "seed": 0}
    inputs = {"data": data, "backbone": backbone}
    return Stage("figure", "correlation", VERSION, params, "bench.figures.correlation:run", inputs)


def run(ctx: StageContext) -> None:
    """A row for each image: its largest object, another view of it, and the correlation at each
    stage."""
    from bench.contracts.images import positions
    from bench.contracts.titles import title_of
    from bench.core.errors import BadData
    from bench.figures._network import load_backbone_of

    images, side = ctx.images("data", str(ctx.params["split"])), int(ctx.params["side"])
    network, rows, levels = load_backbone_of(ctx, "backbone"), [], 0
    for i in positions(images, ctx.params["images"]):
        photo, objects = images.image(i), images.objects(i)
        if len(objects.boxes) == 0:
            raise BadData(
                f"image {images.ids[i]} has no annotated object to look for; try another --image"
            )
        box = objects.boxes[int(np.argmax(objects.area))].astype(np.float64)
        key = key_view(
            photo, box, np.random.default_rng([int(ctx.params["seed"]), int(images.ids[i])])
        )
        heats = correlations(network, photo, box, key, side)
        levels = len(heats)
        name = images.classes[int(objects.labels[int(np.argmax(objects.area))])]
        rows.append(
            [
                panel(photo, boxes=box, labels=[name]),
                panel(key),
                *(panel(key, heat=m) for m in heats),
            ]
        )
    names = [f"C{n}" for n in range(2, levels + 2)] if levels > 1 else ["last map"]
    title = f"Object queries: {title_of(ctx.stage.inputs['backbone'])}"
    save(
        ctx.work,
        {"rows": rows, "columns": ["query", "key view", *names], "title": title, "below": BELOW},
    )


BELOW = (
    "Cosine of the query box's mean features with every position of a mirrored crop of the image, "
    "at each "
    "stage of the backbone. Each map from its smallest (dark) to its largest value."
)


def key_view(image: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mirrored random crop of at least half of the image that holds the centre of `box`."""
    height, width = image.shape[:2]
    scale = float(rng.uniform(AREA, 0.9)) ** 0.5
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    x, y = (
        _around((box[0] + box[2]) / 2, w, width, rng),
        _around((box[1] + box[3]) / 2, h, height, rng),
    )
    return np.ascontiguousarray(image[y : y + h, x : x + w][:, ::-1])


def _around(centre: float, length: int, limit: int, rng: np.random.Generator) -> int:
    low = max(0, int(np.ceil(centre - length)))
    return int(rng.integers(low, max(low, min(limit - length, int(centre))) + 1))


def correlations(
    backbone: torch.nn.Module, query: np.ndarray, box: np.ndarray, key: np.ndarray, side: int
) -> list[np.ndarray]:
    """Per feature map, coarsest last, (h, w) in [0, 1]: cos(q, x_ij), q the mean over RoIAlign's 7
    x 7 bins of `box` in the query's map, x_ij the key's map; then (c - min) / (max - min)."""
    import torch
    from torch.nn import functional as F
    from torchvision.ops import roi_align

    from bench.figures._network import to_input

    patch, heats = int(getattr(backbone, "patch", 1)), []
    with torch.inference_mode():
        one, other = to_input(query, side, patch), to_input(key, side, patch)
        scale = torch.tensor([one.shape[3] / query.shape[1], one.shape[2] / query.shape[0]] * 2)
        seen = torch.from_numpy(np.asarray(box, np.float32)) * scale
        for mine, theirs in zip(_maps(backbone, one), _maps(backbone, other), strict=True):
            down = torch.tensor([mine.shape[3] / one.shape[3], mine.shape[2] / one.shape[2]] * 2)
            kernel = roi_align(mine, [(seen * down)[None]], 7, 1.0, aligned=True).mean((2, 3))
            heats.append(
                scale_to_unit(F.cosine_similarity(theirs, kernel[..., None, None])[0].numpy())
            )
    return heats


def _maps(backbone: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """The four stages of a ResNet, else the last map."""
    from bench.nn.fpn import stage_maps
    from bench.nn.resnet import ResNetBackbone

    net: Any = backbone
    return (
        list(stage_maps(net, images).values())
        if isinstance(net, ResNetBackbone)
        else [net.maps(images)]
    )


def draw(content: Content) -> Figure:
    return _look.grid(content)
