"""How figures look: colours told apart with any usual colour blindness, sizes, files; grids of
pictures."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.errors import BadInput
from bench.figures._content import Content

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008), strongest first
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
LIGHT = PALETTE[4:7]  # colours on which black text reads better
MARKERS = "osD^vP*X"
TYPES = ("png", "svg", "pdf")
DPI = 200
SMALL, NORMAL = 7.0, 8.0  # points: of a column in a paper
PANEL = 1.75  # inches, width of a picture in a grid
# height of a row of a grid over the width of a picture; taller ones are shown smaller
TALLEST = 1.2
LABEL = 5.0  # points: of a box's label
STYLE: Any = {
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "text.parse_math": False,  # a name may hold a $
    "svg.hashsalt": "bench",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in inches, without pyplot and its global state. A notebook shows it."""
    return _figure_class()(figsize=(width, height), layout="constrained")


@cache
def _figure_class() -> type[Figure]:
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        """Shown by a notebook in which nobody has imported pyplot."""

        def _repr_png_(self) -> bytes:
            return render(self)

    return ShownFigure


def file_type(path: Path) -> str:
    """png, svg or pdf by the file's ending; BadInput else."""
    extension = path.suffix.lower().lstrip(".")
    if extension not in TYPES:
        raise BadInput(
            f"figures are written as {', '.join(TYPES)}, not "
            f"{path.suffix or 'without an ending'!r}; "
            f"try: --out {path.stem or 'figure'}.png"
        )
    return extension


def render(figure: Figure, kind: str = "png") -> bytes:
    """The figure as a file of this type; the same figure gives the same bytes."""
    import matplotlib

    metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[
        kind
    ]
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def write(figure: Figure, path: Path) -> None:
    """Write the figure, its type by the ending."""
    data = render(figure, file_type(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}); try another file") from None


def grid(content: Content) -> Figure:
    """Pictures in rows, from {"rows": [[panel, ...], ...], "columns": [title, ...], "title",
    "below"}."""
    import matplotlib

    rows = content["rows"]
    width = max(map(len, rows))
    shapes = [max(p["image"].shape[0] / p["image"].shape[1] for p in row) for row in rows]
    lines = [
        2 if any(len(p["title"]) > 26 for p in row) else int(any(p["title"] for p in row))
        for row in rows
    ]
    heights = [
        PANEL * min(shape, TALLEST) + 0.14 * n for shape, n in zip(shapes, lines, strict=True)
    ]
    text = (
        _wrapped(content.get("title", ""), 30 * width),
        _wrapped(content.get("below", ""), 35 * width),
    )
    around = 0.16 * sum(t.count("\n") + 1 for t in text if t) + (
        0.3 if content.get("columns") else 0.05
    )
    with matplotlib.rc_context(STYLE):
        figure = new_figure(
            max(PANEL * width, 2.6) + 0.1, sum(heights) + 0.05 * len(rows) + around
        )
        engine: Any = figure.get_layout_engine()
        engine.set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
        # half places, so that a shorter row of a balanced grid stands in the middle
        places = figure.add_gridspec(len(rows), 2 * width, height_ratios=heights)
        centred = bool(content.get("centred"))
        for r, row in enumerate(rows):
            left = width - len(row) if centred else 0
            for c, picture in enumerate(row):
                start = left + 2 * c
                axes = figure.add_subplot(places[r, start : start + 2])
                axes.set_axis_off()
                head = content["columns"][c] if r == 0 and content.get("columns") else ""
                _picture(axes, picture, head)
        if text[0]:
            figure.suptitle(text[0], fontsize=NORMAL)
        if text[1]:
            figure.supxlabel(text[1], fontsize=SMALL, color="#444444")
    return figure


def balance(panels: Sequence[Any], least: int, most: int) -> list[list[Any]]:
    """The panels in rows of at most `most`, as equally long as can be: of the widths from `least`
    on, the first that leaves no empty place, else the one whose last row lacks fewest."""
    if len(panels) <= least:
        return [list(panels)]
    width = min(range(least, most + 1), key=lambda w: (-len(panels) % w, w))
    count = -(-len(panels) // width)
    short, longer = divmod(len(panels), count)
    rows, start = [], 0
    for at in range(count):
        size = short + (at < longer)
        rows.append(list(panels[start : start + size]))
        start += size
    return rows


def _wrapped(text: str, letters: int) -> str:
    return textwrap.fill(text, max(48, letters))


def _picture(axes: Axes, panel: Content, head: str) -> None:
    image = panel["image"]
    axes.imshow(image, interpolation="antialiased")
    title = "\n".join(textwrap.fill(t, 30) for t in (head, panel["title"]) if t)
    if title:
        axes.set_title(
            title,
            fontsize=SMALL,
            pad=2.5,
            fontweight="bold" if head and not panel["title"] else "normal",
        )
    if "heat" in panel:
        low = panel["heat"]
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        axes.imshow(
            low,
            cmap="viridis",
            vmin=0,
            vmax=1,
            alpha=0.65,
            interpolation="bilinear",
            extent=extent,
        )
    taken: list[tuple[float, ...]] = []
    for i in range(len(panel["boxes"])):
        _box(axes, panel, i)
    for i in range(min(len(panel["boxes"]), len(panel["labels"]))):
        _label(axes, panel, i, taken)
    axes.set_xlim(-0.5, image.shape[1] - 0.5)
    axes.set_ylim(image.shape[0] - 0.5, -0.5)


def _colour(panel: Content, i: int) -> str:
    return PALETTE[(panel["colours"][i] if i < len(panel["colours"]) else i) % len(PALETTE)]


def _box(axes: Axes, panel: Content, i: int) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    dashed = i < len(panel["dashed"]) and panel["dashed"][i]
    x1, y1, x2, y2 = (float(v) for v in panel["boxes"][i])
    axes.add_patch(
        Rectangle(
            (x1 - 0.5, y1 - 0.5),
            x2 - x1,
            y2 - y1,
            fill=False,
            edgecolor=_colour(panel, i),
            linewidth=1.1,
            linestyle=(0, (3, 2)) if dashed else "-",
            path_effects=[withStroke(linewidth=1.7, foreground="white")],
        )
    )


def _label(axes: Axes, panel: Content, i: int, taken: list[tuple[float, ...]]) -> None:
    """The box's label at the corner of the box where it covers the labels before it least."""
    x1, y1, x2, y2 = (float(v) for v in panel["boxes"][i])
    height, width = panel["image"].shape[:2]
    unit = max(width, height / TALLEST) / (72 * PANEL)  # pixels of a point
    w, h = 0.62 * LABEL * unit * len(panel["labels"][i]), 1.5 * LABEL * unit
    places = [
        (x1, y1 - h),
        (x1, y1),
        (x1, y2),
        (x1, y2 - h),
        (x2 - w, y1 - h),
        (x2 - w, y2),
        (x2 - w, y2 - h),
    ]
    frame = (0.0, 0.0, float(width), float(height))
    best = (math.inf, (x1, y1))
    for x, y in places:
        x = min(max(x, 0.0), max(0.0, width - w))
        cost = sum(_shared((x, y, x + w, y + h), t) for t in taken) + 3 * _outside(
            (x, y, x + w, y + h), frame
        )
        best = min(best, (cost, (x, y)), key=lambda candidate: candidate[0])
    x, y = best[1]
    taken.append((x, y, x + w, y + h))
    colour = _colour(panel, i)
    axes.text(
        x,
        y + h / 2,
        panel["labels"][i],
        fontsize=LABEL,
        va="center",
        ha="left",
        color="black" if colour in LIGHT else "white",
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8, "alpha": 0.9},
    )


def write_names_above(axes: Axes, places: Sequence[float], texts: Sequence[str]) -> None:
    """Texts above the plot, upright, each with a line to its x; moved aside only as far as they
    need room."""
    figure = axes.figure
    figure.draw_without_rendering()  # type: ignore[union-attr]
    width = axes.get_window_extent().width * 72 / figure.dpi
    low, high = axes.get_xlim()
    order = sorted(range(len(places)), key=lambda i: places[i])
    wanted = [(places[i] - low) / (high - low) for i in order]
    for i, at in zip(order, spread_apart(wanted, 1.25 * SMALL / width), strict=True):
        axes.axvline(places[i], color="#DDDDDD", linewidth=0.5, zorder=0)
        axes.annotate(
            texts[i],
            ((places[i] - low) / (high - low), 1.0),
            xytext=(at, 1.06),
            xycoords="axes fraction",
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=SMALL,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "linewidth": 0.4,
                "color": "#888888",
                "shrinkA": 0,
                "shrinkB": 0,
                "relpos": (0.5, 0.0),
            },
        )


def spread_apart(places: Sequence[float], gap: float) -> list[float]:
    """The nearest places (least squares) in the same order that are `gap` apart at least; `places`
    rise."""
    # sum and count: pool adjacent violators, on the places less i x gap
    blocks: list[list[float]] = []
    for i, place in enumerate(places):
        blocks.append([place - i * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    means = [total / count for total, count in blocks for _ in range(int(count))]
    return [mean + i * gap for i, mean in enumerate(means)]


def _shared(a: Sequence[float], b: Sequence[float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(
        0.0, min(a[3], b[3]) - max(a[1], b[1])
    )


def _outside(box: Sequence[float], frame: Sequence[float]) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return area - _shared(box, frame)
