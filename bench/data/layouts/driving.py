"""What the pixel values of driving sets' masks mean: for their readers, and for the generator that
writes scenes in their layouts."""

from __future__ import annotations

CAMVID_CLASSES = (  # 0 to 10 in a mask; 11 is not labelled
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
CITYSCAPES_LABELS = {  # id in labelIds.png -> name, in the order of the train ids 0..18
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
