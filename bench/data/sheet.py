"""A sheet of random images with their boxes and class names, for people to look at."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.core.picture import PALETTE, contact_sheet

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

CELL = (320, 240)  # (width, height) that an image is enlarged or reduced to fit
COLUMNS = 4
COUNT = 12  # images of a split
TITLE = 18  # pixels above an image


def draw_sheet(splits: Iterable[ImageSet], seed: int = 0, count: int = COUNT) -> np.ndarray:
    """(H, W, 3) uint8: `count` random images of each split, with their boxes and the names of
    their classes. A colour is that of a class; crowds have a thin outline. Above an image are its
    split and its file."""
    rows: list[list[np.ndarray]] = []
    for images in splits:
        chosen = np.random.default_rng(seed).permutation(len(images))[:count]
        cells = [draw_image(images, int(i)) for i in sorted(chosen)]
        rows += [cells[i : i + COLUMNS] for i in range(0, len(cells), COLUMNS)]
    return contact_sheet(rows, gap=6)


def draw_image(images: ImageSet, index: int) -> np.ndarray:
    """One image of the sheet, (CELL height + TITLE, CELL width, 3) uint8."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(images.image(index))
    scale = min(CELL[0] / picture.width, CELL[1] / picture.height)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    how = Image.Resampling.NEAREST if scale > 2 else Image.Resampling.LANCZOS
    sheet = Image.new("RGB", (CELL[0], CELL[1] + TITLE), "white")
    sheet.paste(picture.resize((size[0], size[1]), how), (0, TITLE))
    draw, font = ImageDraw.Draw(sheet), _font()
    _draw_boxes(draw, font, images, index, (size[0] / picture.width, size[1] / picture.height))
    draw.rectangle((0, 0, CELL[0], TITLE - 1), "white")
    draw.text((2, 2), f"{images.split}: {images.file(index).name}", "black", font)
    return np.asarray(sheet)


def _draw_boxes(
    draw: ImageDraw, font: FreeTypeFont, images: ImageSet, index: int, scale: tuple[float, float]
) -> None:
    try:
        objects = images.objects(index)
    except BadData:  # a set without boxes
        return
    order = np.argsort(-(objects.boxes[:, 2:] - objects.boxes[:, :2]).prod(1), kind="stable")
    for at in order:  # small ones on top
        x1, y1, x2, y2 = (objects.boxes[at] * (*scale, *scale)).tolist()
        colour = PALETTE[int(objects.labels[at]) % len(PALETTE)]
        corners = (x1, y1 + TITLE, max(x1, x2 - 1), max(y1, y2 - 1) + TITLE)
        draw.rectangle(corners, outline=colour, width=1 if objects.crowd[at] else 2)
        name = images.classes[int(objects.labels[at])]
        place = (x1 + 2, y1 + TITLE + 1)
        draw.rectangle(draw.textbbox(place, name, font), colour)
        draw.text(place, name, "black", font)


def _font() -> FreeTypeFont:
    """A font with most alphabets, which comes with matplotlib."""
    import matplotlib
    from PIL import ImageFont

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), 11)
