"""A map of object features in which neighbours are alike: a point per object, its colour the
class."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.core.errors import BadData
from bench.core.stage import Stage
from bench.figures import _look
from bench.figures._content import Content

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.launch.stored import Selection

VERSION = 1
SOURCE = "paper 003, Fig. 5"
OPTIONS = ("cell", "data")
CLASSES = 20  # the most common ones, as in the paper
MOST = 2000  # objects on the map
PERPLEXITY = 30.0


def stage(ask: Selection) -> Stage:
    """The cell that `ask` names, by default the newest that kept features of objects.

    Points are placed by t-SNE where scikit-learn is installed, otherwise by the two principal
    components; these are two figures with keys of their own.
    """
    from bench.launch.stored import figures_of

    cell = ask.stage_of_component("embedding", "task", "evaluate", ask.cell)
    data = ask.data_stage(cell.inputs.get("data"))
    way = "t-SNE" if importlib.util.find_spec("sklearn") else "PCA"
    params = {"task": cell.params["task"], "projection": way, "seed": 0}
    runner = figures_of("task", cell.name)["embedding"]
    return Stage("figure", "embedding", VERSION, params, runner, {"data": data, "cell": cell})


def content(
    features: np.ndarray, labels: np.ndarray, classes: list[str], way: str, seed: int, title: str
) -> Content:
    """The map of (n, D) features, which are scaled to length 1; `labels` are positions in
    `classes`.

    Kept are the `CLASSES` most common classes and of their objects `MOST` drawn at random.
    """
    names, counts = np.unique(labels, return_counts=True)
    common = names[np.argsort(-counts, kind="stable")][:CLASSES]
    use = np.flatnonzero(np.isin(labels, common))
    if len(use) > MOST:
        use = np.sort(np.random.default_rng(seed).choice(use, MOST, replace=False))
    if len(use) < 3:
        raise BadData(f"{len(use)} objects are too few for a map; three are needed")
    rows = np.asarray(features, np.float64)[use]
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    places = tsne(rows, seed) if way == "t-SNE" else principal(rows)
    return {
        "places": places.astype(np.float32),
        "labels": np.asarray(labels)[use].astype(np.int64),
        "classes": classes,
        "way": way,
        "title": title,
    }


def principal(rows: np.ndarray) -> np.ndarray:
    """(n, D) -> (n, 2): the first two principal components; signs so that each one's largest entry
    is positive."""
    centred = rows - rows.mean(0)
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    points = left[:, :2] * strength[:2]
    return np.asarray(points * np.sign(points[np.abs(points).argmax(0), [0, 1]] + 1e-300))


def tsne(rows: np.ndarray, seed: int) -> np.ndarray:
    """(n, D) -> (n, 2) by scikit-learn's t-SNE (van der Maaten and Hinton 2008), started from
    principal components."""
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    embedding: Any = TSNE(
        perplexity=perplexity, init="pca", random_state=seed, metric="cosine", n_jobs=1
    )
    return np.asarray(embedding.fit_transform(rows))


def draw(content: Content) -> Figure:
    """A scatter; every class has a colour and a marker of its own."""
    import matplotlib

    places, labels = content["places"], content["labels"]
    common, counts = np.unique(labels, return_counts=True)
    with matplotlib.rc_context(_look.STYLE):
        figure = _look.new_figure(4.6, 3.4)
        axes = figure.subplots()
        size = float(np.clip(6000 / len(labels), 5, 20))
        for at, k in enumerate(common[np.argsort(-counts, kind="stable")]):
            # seven colours and eight markers: no two classes share both
            mine = places[labels == k]
            axes.scatter(
                mine[:, 0],
                mine[:, 1],
                size,
                color=_look.PALETTE[at % 7],
                alpha=0.85,
                edgecolors="#333333",
                linewidths=0.2,
                marker=_look.MARKERS[at % 8],
                label=content["classes"][int(k)],
            )
        axes.set_xticks([])
        axes.set_yticks([])
        for side in ("left", "bottom"):
            axes.spines[side].set_color("#BBBBBB")
        axes.set_title(f"{content['title']}: {content['way']} of {len(labels)} objects")
        figure.legend(
            loc="outside right center", frameon=False, markerscale=1.3, handletextpad=0.2
        )
    return figure
