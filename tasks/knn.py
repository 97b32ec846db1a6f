"""k-nearest-neighbour classification of images by frozen features, on any labelled set (k = 200, T
= 0.1)."""

from __future__ import annotations

from tasks._frozen.task import KnnTask


class Knn(KnnTask):
    """Weighted kNN (Wu et al. 2018, section 3.4): no training, the quickest check of a backbone.

    Short side 256, central 224 x 224, pooled features, cosine similarity; the 200 nearest training
    images vote with weight exp(similarity / 0.1). In sets of scenes an image's label is the class
    of its largest object."""

    data = {"tiny": "scenes_objects", "": "imagenet"}
    scales = {
        "tiny": {"image_size": 96, "resize": 110, "k": 20},
        "small": {"image_size": 128, "resize": 146},
    }
