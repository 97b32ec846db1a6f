"""Drawing functions: what is drawn is what was given, and files of every type are whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from sklearn.decomposition import PCA

from bench import figures
from bench.core.errors import BadData, BadInput
from bench.figures import _look, embedding, objectness, shares
from bench.figures._content import LONGEST, load, panel, save, scale_to_unit
from bench.results.views.objectness import Point


def points(method: str = "byol") -> list[Point]:
    """Objectness of paper 000, Table 2, and a metric with an exact maximum at 52."""
    xs = {
        "Poor-Crop": 20.1,
        "Image-Crop": 36.4,
        "Grid-Crop": 39.8,
        "Our-Crop": 52.6,
        "GT-Crop": 100.0,
    }
    return [
        Point(method, c, c, x, 1.0 + x / 100, 70 - 0.01 * (x - 52) ** 2, 0.5, 3, 1000.0 * (i + 1))
        for i, (c, x) in enumerate(xs.items())
    ]


def content(*methods: str) -> dict[str, Any]:
    every = [p for m in methods for p in points(m)]
    return {"series": [objectness.series("measured", "AP, %", every)], "size": "gradient steps"}


def grid_content(n: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (30, 40, 3), np.uint8)
    row = [
        panel(
            image,
            "one",
            np.array([[2, 3, 20, 25]]),
            ["cat"],
            heat=scale_to_unit(rng.random((3, 4))),
        )
    ] * 3
    return {"rows": [row] * n, "columns": ["a", "b", "c"], "title": "title", "below": "below"}


def test_every_figure_says_what_it_is() -> None:
    assert len(figures.names()) == 10
    for name in figures.names():
        module = figures.figure(name)
        assert 10 <= len(figures.summary(name)) <= 120
        assert module.SOURCE
        assert module.OPTIONS
        assert callable(module.draw)
        assert hasattr(module, "collect") != hasattr(module, "stage")
    with pytest.raises(BadInput, match="did you mean 'attention'"):
        figures.figure("atention")


def test_points_of_the_scatter_are_the_means_given() -> None:
    axes = objectness.draw(content("byol", "orl")).axes[0]
    clouds = [
        c for c in axes.collections if isinstance(c, PathCollection) and len(c.get_offsets())
    ]
    wanted = [(p.x, p.y) for p in points()]
    found = [np.asarray(c.get_offsets()) for c in clouds]
    assert [f.tolist() for f in found if len(f) > 1] == [pytest.approx(np.array(wanted))] * 2
    sizes = clouds[0].get_sizes()
    assert list(sizes) == sorted(sizes), "more gradient steps, a larger point"
    assert sizes[-1] / sizes[0] > 3


def test_interval_bars_reach_as_far_as_the_intervals() -> None:
    axes = objectness.draw(content("byol")).axes[0]
    (bars,) = axes.containers
    across, up = (np.array(b.get_segments()) for b in bars.lines[2])
    assert np.ptp(across[:, :, 0], 1) == pytest.approx([2 * (1 + p.x / 100) for p in points()])
    assert np.ptp(up[:, :, 1], 1) == pytest.approx([1.0] * 5)


def test_the_legend_has_rank_correlation_count_and_sweet_spot() -> None:
    axes = objectness.draw(content("byol")).axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert labels[0] == (
        "byol: ρ +0.00 (n = 5, 95 % interval -0.88 to +0.88, p = 1)\n"
        "quadratic term -10.0 ± 0.0 per 1000, best at 52 ± 0 %"
    )
    assert labels[1:] == ["1,000 gradient steps", "5,000 gradient steps"]
    curve = next(line for line in axes.lines if len(line.get_xdata()) == 100)
    at = np.asarray(curve.get_xdata())
    assert np.asarray(curve.get_ydata()) == pytest.approx(70 - 0.01 * (at - 52) ** 2)


def test_two_points_have_neither_correlation_nor_curve() -> None:
    one = objectness.series("measured", "AP, %", points()[:2])
    (group,) = one["groups"]
    assert (group["correlation"], group["curve"], group["peak"]) == (None, None, None)
    objectness.draw({"series": [one], "size": ""})


def test_labels_above_the_plot_do_not_overlap() -> None:
    crowd = [
        Point("byol", f"crop_{i}", f"crop_{i}", 40 + 0.1 * i, None, 50.0, None) for i in range(12)
    ]
    figure = objectness.draw({"series": [objectness.series("m", "AP, %", crowd)], "size": ""})
    figure.canvas.draw()
    boxes = sorted(
        (t.get_window_extent().x0, t.get_window_extent().x1)
        for t in figure.axes[0].texts
        if t.get_text().startswith("crop_")
    )
    assert len(boxes) == 12
    frame = figure.bbox
    assert boxes[0][0] >= frame.x0
    assert boxes[-1][1] <= frame.x1


def test_bars_of_shares_are_the_shares_and_make_a_hundred() -> None:
    rows = [
        {"label": "poor", "poor": 0.5, "coarse": 0.4, "precise": 0.1, "objectness": 0.2},
        {"label": "gt", "poor": 0.0, "coarse": 0.25, "precise": 0.75, "objectness": 0.9},
    ]
    axes = shares.draw({"title": "scenes", "rows": rows}).axes[0]
    widths = np.array([[bar.get_width() for bar in c] for c in axes.containers])
    assert widths == pytest.approx(np.array([[50, 0], [40, 25], [10, 75]]))
    starts = np.array([[bar.get_x() for bar in c] for c in axes.containers])
    assert starts == pytest.approx(np.array([[0, 0], [50, 0], [90, 25]]))
    assert [t.get_text() for t in axes.get_yticklabels()] == ["poor", "gt"]


def test_a_grid_shows_every_picture_with_its_boxes() -> None:
    figure = _look.grid(grid_content())
    shown = [a for a in figure.axes if a.images]
    assert len(shown) == 6
    box = shown[0].patches[0]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (1.5, 2.5, 18, 22)
    assert shown[0].texts[0].get_text() == "cat"
    assert [i.get_array().shape[:2] for i in shown[0].images] == [(30, 40), (3, 4)]


def test_labels_of_boxes_keep_off_each_other() -> None:
    taken: list[tuple[float, ...]] = []
    many = panel(
        np.zeros((200, 300, 3), np.uint8),
        "",
        np.array([[50, 80, 200, 180]] * 3),
        ["dotted ring"] * 3,
    )
    figure = _look.new_figure(2, 2)
    for i in range(3):
        _look._label(figure.subplots(), many, i, taken)
    assert len({t[:2] for t in taken}) == 3


def test_an_embedding_map_has_a_point_for_each_object_and_tells_classes_apart() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(24), 5)
    made = embedding.content(
        rng.normal(size=(120, 8)), labels, [f"c{i}" for i in range(24)], "PCA", 0, "t"
    )
    figure = embedding.draw(made)
    clouds = figure.axes[0].collections
    assert len(clouds) == embedding.CLASSES
    assert sum(len(c.get_offsets()) for c in clouds) == 5 * embedding.CLASSES
    looks = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in clouds}
    assert len(looks) == embedding.CLASSES


def test_principal_components_are_scikit_learns() -> None:
    rows = np.random.default_rng(1).normal(size=(40, 6)) * np.array([5, 3, 1, 1, 1, 1])
    found, wanted = embedding.principal(rows), PCA(2).fit_transform(rows)
    assert np.abs(found) == pytest.approx(np.abs(wanted), abs=1e-9)
    assert (found[np.abs(found).argmax(0), [0, 1]] > 0).all()


def test_tsne_keeps_clusters_together() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    rows = np.eye(3)[labels] + 0.05 * rng.normal(size=(60, 3))
    places = embedding.tsne(rows, 0)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert (labels[gaps.argmin(1)] == labels).all()
    assert np.array_equal(places, embedding.tsne(rows, 0))
    with pytest.raises(BadData, match="too few"):
        embedding.content(rows[:2], labels[:2], ["a"], "PCA", 0, "")


@pytest.mark.parametrize("kind", _look.TYPES)
def test_files_of_every_type_are_whole_and_not_blank(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "deep" / f"figure.{kind}"
    _look.write(_look.grid(grid_content()), file)
    data = file.read_bytes()
    assert data == _look.render(_look.grid(grid_content()), kind), (
        "the same content, the same bytes"
    )
    if kind == "png":
        pixels = cv2.imread(str(file))
        assert min(pixels.shape[:2]) > 300
        assert pixels.std() > 20
    elif kind == "svg":
        root = ElementTree.fromstring(data.decode())
        assert root.tag.endswith("svg")
        text = " ".join(root.itertext())
        assert "title" in text
        assert "cat" in text
        assert data.count(b"<image") == 6  # a map and its image are one
    else:
        assert data.startswith(b"%PDF-")
        assert data.rstrip().endswith(b"%%EOF")
        assert len(re.findall(rb"/Subtype /Image", data)) == 6
        assert b"/Type /Page" in data


@pytest.mark.parametrize("name", [r"$\frac{1}$", "$a_{b$", "5$ to 9$", r"\$x$"])
def test_names_with_dollar_signs_are_no_formulas(name: str) -> None:
    """A formula that matplotlib cannot read ended the figure; one that it can changed the name."""
    grid = {**grid_content(1), "title": name, "below": name, "columns": [name] * 3}
    grid["rows"][0][0] = {**grid["rows"][0][0], "title": name, "labels": [name]}
    row = {"label": name, "poor": 0.5, "coarse": 0.4, "precise": 0.1, "objectness": 0.2}
    rng = np.random.default_rng(0)
    cloud = embedding.content(rng.normal(size=(9, 4)), np.zeros(9, int), [name], "PCA", 0, name)
    few = [Point(name, name, name, float(x), 1.0, x, 0.5, 3, 10.0) for x in (1.0, 2.0, 4.0)]
    scatter = {"series": [objectness.series(name, name, few)], "size": name}
    drawn = (
        _look.grid(grid),
        shares.draw({"title": name, "rows": [row]}),
        embedding.draw(cloud),
        objectness.draw(scatter),
    )
    for figure in drawn:
        root = ElementTree.fromstring(_look.render(figure, "svg").decode())
        assert name in " ".join(" ".join(root.itertext()).split())


def test_an_unknown_type_is_one_line() -> None:
    with pytest.raises(BadInput, match=r"png, svg, pdf, not '\.gif'; try: --out a\.png"):
        _look.file_type(Path("a.gif"))
    with pytest.raises(BadInput, match="without an ending"):
        _look.file_type(Path("a"))


def test_content_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    given = {
        **grid_content(1),
        "number": 1.5,
        "nothing": None,
        "nested": [[{"a": np.arange(3)}], "text"],
    }
    save(tmp_path, given)
    found = load(tmp_path)
    assert found["nested"][0][0]["a"].tolist() == [0, 1, 2]
    assert (found["number"], found["nothing"], found["columns"]) == (1.5, None, ["a", "b", "c"])
    assert np.array_equal(found["rows"][0][0]["image"], given["rows"][0][0]["image"])
    (tmp_path / "figure.npz").write_bytes(b"torn")
    with pytest.raises(BadData, match="no whole figure"):
        load(tmp_path)


def test_large_images_are_kept_small_with_their_boxes() -> None:
    made = panel(np.zeros((600, 960, 3), np.uint8), boxes=np.array([[96, 60, 480, 300]]))
    assert made["image"].shape == (300, LONGEST, 3)
    assert made["boxes"].tolist() == [[48, 30, 240, 150]]
    assert scale_to_unit(np.full((2, 2), 3.0)).tolist() == [[0, 0], [0, 0]]
    assert scale_to_unit(np.array([1.0, 2.0, 5.0])).tolist() == [0, 0.25, 1]


def test_a_notebook_shows_a_figure() -> None:
    """IPython asks an object for `_repr_png_`; matplotlib answers only once pyplot is imported."""
    from bench.figures._look import new_figure

    shown = new_figure(1, 1)._repr_png_()  # type: ignore[attr-defined]
    assert cv2.imdecode(np.frombuffer(shown, np.uint8), 1).shape[2] == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(1, [1]), (4, [4]), (5, [5]), (7, [4, 3]), (12, [4] * 3), (13, [5, 4, 4]), (17, [6, 6, 5])],
)
def test_panels_stand_in_rows_that_are_nearly_full(count: int, sizes: list[int]) -> None:
    rows = _look.balance(list(range(count)), 4, 6)
    assert [len(row) for row in rows] == sizes
    assert [panel for row in rows for panel in row] == list(range(count))


def test_a_shorter_row_of_a_balanced_grid_stands_in_the_middle() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    panels = [panel(image, str(at)) for at in range(7)]
    rows = _look.balance(panels, 4, 6)
    made = _look.grid({"rows": rows, "centred": True})
    made.canvas.draw()
    places = [axes.get_position() for axes in made.axes]
    assert len(places) == 7  # no axes without a picture
    for row in (places[:4], places[4:]):
        middle = (row[0].x0 + row[-1].x1) / 2
        assert middle == pytest.approx((places[0].x0 + places[3].x1) / 2, abs=1e-3)
