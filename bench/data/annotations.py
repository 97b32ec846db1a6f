"""The annotations stage: a split's objects exactly as they are written, for official scores.

The index of a set is what networks train on: float32 corners, clipped to the image, without empty
boxes. A score that is to equal the official tool's needs what the file says: float64 x, y, width,
height, unclipped, and with what the index left out. Sets whose annotation files are scored so have
`Data.read_annotations`; their stage leaves `annotations.json`, one COCO instances dict.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.core.errors import BadData
from bench.core.files import write_json
from bench.core.stage import Stage

if TYPE_CHECKING:
    from bench.contracts.data import Data

VERSION = 1  # of what is left
FILE = "annotations.json"


def annotations_stage(data: Stage, split: str) -> Stage | None:
    """The stage that keeps the annotations of a split of `data` (or of its validation part); None
    where the set's index is all that is known of them."""
    if ("data", data.name) not in registry.entries():  # a set that nobody registered
        return None
    known = cast("type[Data]", registry.load("data", data.name))
    if not known.scored_as_written:
        return None
    runner = "bench.data.annotations:run"
    return Stage("annotations", data.name, VERSION, {"split": split}, runner, {"data": data})


def run(ctx: StageContext) -> None:
    """Leave the annotations of the split's images, these by id; BadData where the files are no
    longer those of the data."""
    stage, split = ctx.stage.inputs["data"], str(ctx.params["split"])
    data = cast(
        "Data", registry.load("data", stage.name).from_identity(dict(stage.params["params"]))
    )
    images = ctx.images("data", split)
    root = ctx.runtime.roots[stage.key]
    _check_unchanged(data, stage, root, ctx)
    source = "train" if "holdout" in stage.params else split
    written = data.read_annotations(root, source, images.classes)
    ids = {int(i) for i in images.ids}
    own = {
        **written,
        "images": sorted((i for i in written["images"] if i["id"] in ids), key=lambda i: i["id"]),
        "annotations": [a for a in written["annotations"] if a["image_id"] in ids],
    }
    if len(own["images"]) != len(ids):
        raise BadData(
            f"the annotations of {stage.name}/{split} name {len(own['images'])} of its {len(ids)} "
            "images; run the same command again"
        )
    write_json(ctx.work / FILE, own)


def _check_unchanged(data: Data, stage: Stage, root: Path, ctx: StageContext) -> None:
    whole: Any = stage.inputs.get("data", stage)  # of a validation part
    if data.stage(root, ctx.runtime.model_copy(update={"roots": {}})).key != whole.key:
        raise BadData(
            f"the files of data {data.name!r} at {root} changed since this run began; run the "
            "same command again"
        )
