"""Generated scenes: textured objects of 20 classes with exact boxes and masks, in COCO layout."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.data import Data, HowToGet
from bench.contracts.images import ImageSet
from bench.core.errors import BadInput
from bench.core.files import write_json
from bench.core.params import Params, Runtime, param
from bench.core.processes import parallel
from bench.core.stage import Stage
from bench.data.findings import Findings
from bench.data.index import IndexedImages
from bench.data.layouts.coco_file import parse_coco
from bench.data.layouts.coco_index import index_coco
from bench.data.scenes.classes import CLASSES
from bench.data.sets.coco import FOLDERS

if TYPE_CHECKING:
    from bench.data.scenes.draw import Scene

REPORTED = ("images", "objects", "clipped", "dropped")
FIRST_ID = {"train": 1, "val": 500_001}


class ScenesParams(Params):
    """How many scenes, how large."""

    n_train: int = param(640, ge=2, le=400_000, help="training images")
    n_val: int = param(400, ge=1, le=400_000, help="validation images")
    width: int = param(192, ge=48, le=1024, help="mean image width, pixels")
    height: int = param(144, ge=48, le=1024, help="mean image height, pixels")
    seed: int = param(0, ge=0, help="seed of the scenes; cells of any seed share them")


class Scenes(Data):
    """Scene images where it matters where you crop: about 6 objects an image, boxes over about 36
    % of the pixels, occlusion, truncation and context on plain grounds. Class = silhouette x
    texture, never colour. `docs/design/data.md` has the measured statistics. The folder is a COCO
    folder.
    """

    version = 3  # nearly as many objects as COCO has, seldom one behind another, finer textures

    needs_path = False
    how_to_get = HowToGet(
        layout="it is generated",
    )

    categories: list[str] = CLASSES

    Params = ScenesParams
    params: ScenesParams

    def draw(self, number: int) -> Scene:
        """The picture with this image id."""
        from bench.data.scenes.draw import draw_scene

        return draw_scene(self.params.seed, number, (self.params.width, self.params.height))

    def describe(self, scene: Scene, position: int) -> dict[str, Any]:
        """What an annotation says of the object beside its place: the category and so on."""
        return {"category_id": int(scene.labels[position]) + 1}

    @classmethod
    def annotations(cls) -> frozenset[str]:
        return frozenset({"objects", "masks", "semantic"})

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        if root is not None:
            raise BadInput(
                f"data '{self.name}' is generated and takes no path, got {root}; try: --data "
                f"{self.name}"
            )
        return self.make_stage(Path(), runtime)  # the committed stage is the root

    def run(self, ctx: StageContext) -> None:
        advance = ctx.progress.task("draw scenes", self.params.n_train + self.params.n_val)
        report: dict[str, Any] = {}
        for split, count in (("train", self.params.n_train), ("val", self.params.n_val)):
            (ctx.work / FOLDERS[split]).mkdir(exist_ok=True)
            draw = partial(_write_scene, self, split, ctx.work)
            content: dict[str, Any] = {
                "images": [],
                "annotations": [],
                "categories": [{"id": i + 1, "name": n} for i, n in enumerate(self.categories)],
            }
            for image, objects in parallel(draw, range(count), ctx.runtime.workers, 16):
                content["images"].append(image)
                for annotation in objects:
                    content["annotations"].append(
                        {**annotation, "id": len(content["annotations"]) + 1}
                    )
                advance(1)
            (ctx.work / "annotations").mkdir(exist_ok=True)
            write_json(ctx.work / "annotations" / f"instances_{FOLDERS[split]}.json", content)
            findings = Findings()
            file = parse_coco(content, f"{self.name} {split}", findings)
            counts = index_coco(ctx.work / "index" / split, file, self.categories, findings)
            findings.refuse()
            report[split] = {n: count for n, count in counts.items() if n in REPORTED}
        write_json(ctx.work / "report.json", report)

    def load(self, folder: Path, root: Path, split: str) -> ImageSet:
        return super().load(folder / "index", folder, split)

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return _SceneImages(self.name, split, index, root / FOLDERS[split])


class _SceneImages(IndexedImages):
    """The masks of objects are disjoint, so that each pixel has one class, or background."""

    def has_semantic(self) -> np.ndarray:
        return np.ones(len(self), bool)

    def semantic(self, index: int) -> np.ndarray | None:
        from pycocotools import mask as coco

        objects = self.objects(index)
        width, height = self.sizes[index]
        mask = np.zeros((height, width), np.uint8)
        for label, rle in zip(objects.labels, objects.segmentations or [], strict=True):
            mask[coco.decode({**rle, "counts": rle["counts"].encode()}) > 0] = label + 1
        return mask


def _write_scene(
    data: Scenes, split: str, folder: Path, index: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Draw one scene, write its JPEG; its COCO image and annotation records (without annotation
    ids)."""
    import cv2

    number = FIRST_ID[split] + index
    scene = data.draw(number)
    name = f"{number:012d}.jpg"
    _, encoded = cv2.imencode(".jpg", scene.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    (folder / FOLDERS[split] / name).write_bytes(encoded.tobytes())
    height, width = scene.image.shape[:2]
    record = {"id": number, "file_name": name, "width": width, "height": height}
    return record, [
        {**_record(number, mask), **data.describe(scene, i)} for i, mask in enumerate(scene.masks)
    ]


def _record(image: int, mask: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "image_id": image,
        "iscrowd": 0,
        "area": float(coco.area(rle)),
        "bbox": [float(x) for x in coco.toBbox(rle)],
        "segmentation": {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode()},
    }
