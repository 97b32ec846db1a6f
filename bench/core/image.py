"""One reader for every image, so that boxes and pixels always share a frame: upright RGB.

OpenCV and PIL are imported when the first image is read: datasets are declared, and cells planned,
without them.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from bench.core.errors import BadData

MAX_PIXELS = 178_956_970  # of an image in any format: PIL's own limit, 512 MiB of RGB
Reads = dict[Path, str | None]
_reads: ContextVar[Reads | None] = ContextVar("reads", default=None)


@contextmanager
def note_reads() -> Iterator[Reads]:
    """In the block: the sha256 of every image file that `read_rgb` reads, and None for those of
    which `read_size` reads the header."""
    reads: Reads = {}
    token = _reads.set(reads)
    try:
        yield reads
    finally:
        _reads.reset(token)


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright (EXIF orientation applied); grey, CMYK, palette and 16-bit
    files too.

    OpenCV decodes ordinary 8-bit JPEGs (it rotates by EXIF itself); anything else goes through
    PIL, whose CMYK and palette conversions are the reference. A file that is missing, truncated or
    no image raises BadData naming it; so does one whose header promises more than `MAX_PIXELS`,
    before anything is decoded.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadData(
            f"image {path} cannot be read ({error.strerror}); download it again"
        ) from None
    if (reads := _reads.get()) is not None:
        reads[path] = hashlib.sha256(data).hexdigest()
    return decode_rgb(data, str(path))


def decode_rgb(data: bytes, name: str) -> np.ndarray:
    """`read_rgb` of an image file's bytes; `name` is what an error calls it."""
    frame = _find_frame(data)
    if frame is not None:
        _, height, width = frame
        _refuse_large(width, height, name)
    if frame is not None and frame[0] in (1, 3) and b"\xff\xd9" in data[-1024:]:
        import cv2

        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        if picture is not None:
            return picture
    return _with_pil(data, name)


def _find_frame(data: bytes) -> tuple[int, int, int] | None:
    """(components, height, width) of a JPEG from its frame header; None of another file. A whole
    one of 1 or 3 components is what OpenCV decodes as PIL does."""
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = (int.from_bytes(data[i : i + 2], "big") for i in (at + 5, at + 7))
            return data[at + 9], height, width
        at += 2 + length
    return None


def _refuse_large(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise BadData(
            f"image {name} claims {width:,} x {height:,} pixels, and images of more than "
            f"{MAX_PIXELS:,} pixels are not read; make it smaller, or download it again"
        )


def _with_pil(data: bytes, name: str) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data)) as image:
            _refuse_large(image.width, image.height, name)
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith(("I", "F")):
                levels = np.asarray(upright, dtype=np.float64)
                # a dark 16-bit image must stay dark, so its own maximum says nothing about its
                # range
                deep = (
                    image.format == "PNG"
                    or image.mode.startswith("I;16")
                    or levels.max(initial=0) > 255
                )
                scale = 257.0 if deep else 1.0
                grey = np.clip(levels / scale, 0, 255).round().astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.asarray(upright.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = re.sub(r" <_io[^>]*>", "", " ".join(str(error).split()))[:120]
        raise BadData(f"image {name} does not decode ({reason}); download it again") from None


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) upright, from the header alone."""
    from PIL import Image

    if (reads := _reads.get()) is not None:
        reads.setdefault(path)
    try:
        with Image.open(path) as image:
            _refuse_large(image.width, image.height, str(path))
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (image.height, image.width) if turned else (image.width, image.height)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadData(f"image {path} cannot be read ({error}); download it again") from None
