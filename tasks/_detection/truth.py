"""What detections are scored against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from bench.contracts.images import ImageSet
from bench.data.annotations import FILE
from tasks._detection.records import Annotation, Category, Image, Truth
from tasks._detection.selection import OneClass


def read_truth(images: ImageSet, written: Path | None) -> Truth:
    """What is annotated in the split `images`: as it is written, where `written` is the folder of
    an annotations stage, else as the set's index has it."""
    if written is None:
        return ground_truth(images)
    truth = cast(Truth, json.loads((written / FILE).read_text()))
    return keep_class(truth, images) if isinstance(images, OneClass) else truth


def keep_class(truth: Truth, images: OneClass) -> Truth:
    """The one class of `images` as category 1; an object without keypoints has none labelled, and
    is therefore neither found nor missed."""
    unknown = [0.0] * (3 * len(images.keypoint_names))
    annotations: list[Annotation] = []
    for given in truth["annotations"]:
        if given["category_id"] == images.label + 1:
            points = given.get("keypoints", unknown)
            labelled = given.get("num_keypoints", 0)
            one: Annotation = {**given, "category_id": 1, "keypoints": points}
            annotations.append({**one, "num_keypoints": labelled})
    categories: list[Category] = [{"id": 1, "name": images.classes[0]}]
    return {**truth, "annotations": annotations, "categories": categories}


def ground_truth(images: ImageSet) -> Truth:
    """The split as a COCO instances dict, categories 1..K, with areas, crowds, masks and
    keypoints."""
    annotations: list[Annotation] = []
    for i in range(len(images)):
        o = images.objects(i)
        for j in range(len(o.boxes)):
            x1, y1, x2, y2 = (float(v) for v in o.boxes[j])
            annotation: Annotation = {
                "id": len(annotations) + 1,
                "image_id": int(images.ids[i]),
                "category_id": int(o.labels[j]) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(o.area[j]),
                "iscrowd": int(o.crowd[j]),
                "segmentation": o.segmentations[j] if o.segmentations else [],
            }
            if o.keypoints is not None:
                annotation["keypoints"] = o.keypoints[j].flatten().tolist()
                annotation["num_keypoints"] = int((o.keypoints[j][:, 2] > 0).sum())
            annotations.append(annotation)
    records: list[Image] = [
        {"id": int(image), "width": int(w), "height": int(h), "file_name": f"{int(image)}"}
        for image, (w, h) in zip(images.ids, images.sizes, strict=True)
    ]
    categories: list[Category] = [
        {"id": i + 1, "name": name} for i, name in enumerate(images.classes)
    ]
    return {"images": records, "annotations": annotations, "categories": categories, "info": {}}
