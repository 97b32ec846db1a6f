"""One reader for every image, so that boxes and pixels always share a frame: upright RGB.

PIL alone decides how an image is turned (EXIF, then XMP), for its size and for its pixels.

OpenCV and PIL are imported when the first image is read: datasets are declared, and cells planned,
without them.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.errors import BadData

if TYPE_CHECKING:
    from PIL import Image as PilImage

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


ORIENTATION = 0x0112  # the EXIF tag
# What libjpeg says where pixels are lost. Its other warnings (the parameters some cameras write,
# fewer than 16 bytes of padding before the end marker) leave every pixel as it was. A zeroed or
# exchanged block of a file is decoded too soon: of 40 such files 46 bytes were left at least.
LOST = re.compile(
    r"premature end|bad Huffman code|bad arithmetic code|found marker|"
    r"extraneous bytes before marker (?!0xd9)|"
    r"(1[6-9]|[2-9]\d|\d{3,}) extraneous bytes|Inconsistent progression"
)
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in entropy-coded data, what ends it


def read_rgb(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright (EXIF or XMP orientation applied); grey, CMYK, palette, 16-bit
    and float files too.

    OpenCV decodes ordinary 8-bit JPEGs; anything else goes through PIL, whose CMYK and palette
    conversions are the reference. 16-bit levels are divided by 257; floats whose maximum is at
    most 1 are shares of white. A file that is missing, truncated or no image raises BadData naming
    it; so does one whose header promises more than `MAX_PIXELS`, before anything is decoded.
    """
    return decode_rgb(_read(path), str(path))


@dataclass(frozen=True)
class CheckedImage:
    """An image that decodes without losing a pixel. mark: a hash of the file's bytes, equal only
    for equal files."""

    width: int
    height: int
    mark: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), upright."""
        return self.width, self.height


def check_image(path: Path) -> CheckedImage:
    """The size of an image for a data set that is being indexed. It is decoded as by `read_rgb`;
    BadData also where the decoder warns that it made up pixels, as for a JPEG with a hole."""
    data = _read(path)
    picture, warnings = _listen(lambda: decode_rgb(data, str(path)))
    lost = [line for line in warnings if LOST.search(line)]
    if lost:
        raise BadData(
            f"image {path} is damaged: {lost[0].removeprefix('Corrupt JPEG data: ')[:100]}; "
            "restore the original file"
        )
    mark = (_reads.get() or {}).get(path) or hashlib.sha256(data).hexdigest()
    return CheckedImage(picture.shape[1], picture.shape[0], mark)


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadData(
            f"image {path} cannot be read ({error.strerror}); restore the file"
        ) from None
    if (reads := _reads.get()) is not None:
        reads[path] = hashlib.sha256(data).hexdigest()
    return data


def _listen(decode: Callable[[], np.ndarray]) -> tuple[np.ndarray, list[str]]:
    """The picture, and the lines about JPEG data that were printed meanwhile. libjpeg inside
    OpenCV reports by the process's standard error only; anything else is passed on to it."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        before = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            picture = decode()
        finally:
            os.dup2(before, 2)
            os.close(before)
            size = log.seek(0, os.SEEK_END)
            log.seek(0)
            lines = log.read().decode(errors="replace").splitlines() if size else []
            others = [line for line in lines if "JPEG" not in line and not LOST.search(line)]
            with suppress(OSError):
                os.write(2, "".join(line + "\n" for line in others).encode())
    return picture, lines


def decode_rgb(data: bytes, name: str) -> np.ndarray:
    """`read_rgb` of an image file's bytes; `name` is what an error calls it."""
    frame = _find_frame(data)
    if frame is None:
        return _with_pil(data, name)
    _refuse_large(frame.width, frame.height, name)
    if frame.components in (1, 3) and _is_whole(data, frame.scan):
        import cv2

        orientation = _jpeg_orientation(data) if frame.tagged else 1
        picture = cv2.imdecode(
            np.frombuffer(data, np.uint8),
            cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION,
        )
        if picture is not None:
            return _turn(picture, orientation)
    return _with_pil(data, name)


@dataclass(frozen=True)
class _Frame:
    """What the segments of a JPEG say before its pixels. tagged: some application segment may
    hold EXIF or XMP. scan: where the first scan's segment begins; the file's length without."""

    components: int
    height: int
    width: int
    tagged: bool
    scan: int


def _find_frame(data: bytes) -> _Frame | None:
    """The frame of a JPEG; None of another file. A whole one of 1 or 3 components is what OpenCV
    decodes as PIL does."""
    if data[:2] != b"\xff\xd8":
        return None
    at, tagged, sides = 2, False, None
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:
            break
        tagged |= marker == 0xE1
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and at + 9 < len(data):
            sides = [int.from_bytes(data[i : i + 2], "big") for i in (at + 5, at + 7)]
            components = data[at + 9]
        at += 2 + length
    if sides is None:
        return None
    return _Frame(components, sides[0], sides[1], tagged, min(at, len(data)))


def _is_whole(data: bytes, scan: int) -> bool:
    """Whether the scans of a JPEG end with an end marker, whatever follows it. The marker is
    looked for between segments: a thumbnail has one of its own."""
    at = scan
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xD9:
        if data[at + 1] != 0xFF:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        marker = _MARKER.search(data, at)
        if marker is None:
            return False
        at = marker.start()
    return data[at : at + 2] == b"\xff\xd9"


def is_whole_jpeg(data: bytes) -> bool:
    """Whether the bytes are a JPEG whose scans have an end."""
    frame = _find_frame(data)
    return frame is not None and _is_whole(data, frame.scan)


def _orientation(image: PilImage.Image) -> int:
    """1 to 8, as EXIF counts; 1 where the tag is missing, damaged or none of them. This alone
    decides."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # EXIF is damaged in many ways; the picture is then shown as it is stored
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _jpeg_orientation(data: bytes) -> int:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return _orientation(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 1


def _turn(picture: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W) or (H, W, 3), as it is stored, upright."""
    if orientation >= 5:
        picture = picture.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def _refuse_large(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise BadData(
            f"image {name} claims {width:,} x {height:,} pixels, and images of more than "
            f"{MAX_PIXELS:,} pixels are not read; make it smaller"
        )


def _with_pil(data: bytes, name: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            _refuse_large(image.width, image.height, name)
            image.load()  # a TIFF turns itself, and says so by losing its tag
            orientation = _orientation(image)
            if image.mode.startswith(("I", "F")):
                grey = _grey(image, name)
                return _turn(np.repeat(grey[..., None], 3, axis=2), orientation)
            return _turn(np.asarray(image.convert("RGB")), orientation)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = _say_why(data) or re.sub(r" <_io[^>]*>", "", " ".join(str(error).split()))[:120]
        raise BadData(
            f"image {name} does not decode ({reason}); restore the original file, or download it "
            "again"
        ) from None


def _say_why(data: bytes) -> str:
    """What a file is that holds no image: nothing, or text such as the page of a server's error;
    "" where that is not known."""
    if not data:
        return "it is empty"
    start = data[:60].lstrip(b"\xef\xbb\xbf \t\r\n")
    text = start.decode("ascii", errors="replace")
    return f"it begins with {text[:20]!r}" if text.isascii() and text.isprintable() else ""


def _grey(image: PilImage.Image, name: str) -> np.ndarray:
    """(H, W) uint8 of an image with more than 8 bits a pixel."""
    levels = np.asarray(image, dtype=np.float64)
    if not np.isfinite(levels).all():
        raise BadData(f"image {name} holds values that are not finite; save it as 8 or 16 bits")
    if image.mode.startswith("F") and levels.max(initial=0) <= 1:
        scale = 1 / 255
    else:
        # a dark 16-bit image must stay dark, so its own maximum says nothing about its range
        deep = (
            image.format == "PNG" or image.mode.startswith("I;16") or levels.max(initial=0) > 255
        )
        scale = 257.0 if deep else 1.0
    return np.clip(levels / scale, 0, 255).round().astype(np.uint8)


def read_size(path: Path) -> tuple[int, int]:
    """(width, height) upright, from the header alone."""
    from PIL import Image

    if (reads := _reads.get()) is not None:
        reads.setdefault(path)
    try:
        with Image.open(path) as image:
            _refuse_large(image.width, image.height, str(path))
            turned = _orientation(image) >= 5
            if turned and image.format == "TIFF":  # its header's size is turned in some versions
                image.load()
                turned = False
            return (image.height, image.width) if turned else (image.width, image.height)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadData(f"image {path} cannot be read ({error}); download it again") from None
