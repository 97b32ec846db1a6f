"""The picture of SCDA's score maps and best boxes (paper 000, Fig. 4)."""

from __future__ import annotations

from bench.contracts.context import StageContext
from bench.contracts.images import positions
from bench.contracts.titles import title_of
from bench.figures._content import panel, save
from bench.figures._network import load_backbone_of
from methods.proposals.anchors_scda.params import AnchorsScdaParams
from methods.proposals.anchors_scda.scoring import best_anchors, score_map

BEST = 5  # boxes shown, as paper 000 crops


def run(ctx: StageContext) -> None:
    """A row for each image: itself, its score map, its five best anchors."""
    params = AnchorsScdaParams(**ctx.params["proposals"]["params"])
    images = ctx.images("data", str(ctx.params["split"]))
    network, rows = load_backbone_of(ctx, "network"), []
    for i in positions(images, ctx.params["images"]):
        photo = images.image(i)
        low, frame = score_map(network, photo, params)
        boxes, _ = best_anchors(low, photo.shape[:2], frame, params)
        rows.append([panel(photo), panel(photo, heat=low), panel(photo, boxes=boxes[:BEST])])
    columns = ["image", "score map", f"best {BEST} boxes"]
    title = f"Scores by {title_of(ctx.stage.inputs['network'])}"
    save(ctx.work, {"rows": rows, "columns": columns, "title": title, "below": ""})
