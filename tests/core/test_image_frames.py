"""Files as cameras, exporters and broken disks leave them: size and pixels share a frame, and a
picture with lost pixels is not taken for a whole one."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.core.errors import BadData
from bench.core.image import check_image, is_whole_jpeg, read_rgb, read_size

TURN: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # from the EXIF standard, table of tag 274
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a[::-1, ::-1].transpose(1, 0, 2), 0),
    8: lambda a: np.rot90(a, 1),
}


def stored() -> np.ndarray:
    """60 x 120, a red block near the right and a green one below: no symmetry."""
    pixels = np.full((60, 120, 3), 110, np.uint8)
    pixels[15:30, 90:114], pixels[40:56, 70:80] = (220, 30, 30), (30, 200, 40)
    return pixels


def jpeg(quality: int = 95, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(stored()).save(buffer, "JPEG", quality=quality, subsampling=0, **options)
    return buffer.getvalue()


def segment(payload: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload


def exif(orientation: int, kind: int, order: str) -> bytes:
    """EXIF with the orientation as SHORT (3) or LONG (4), big or little endian."""
    mark = b"MM\0*" if order == ">" else b"II*\0"
    value = struct.pack(order + ("H2x" if kind == 3 else "I"), orientation)
    return (
        b"Exif\0\0"
        + mark
        + struct.pack(order + "IH", 8, 1)
        + struct.pack(order + "HHI", 0x0112, kind, 1)
        + value
        + b"\0\0\0\0"
    )


def xmp(orientation: int, element: bool = False) -> bytes:
    inside = (
        f"><tiff:Orientation>{orientation}</tiff:Orientation></rdf:Description>"
        if element
        else f' tiff:Orientation="{orientation}"/>'
    )
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{inside}'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"


def tagged(*payloads: bytes) -> bytes:
    data = jpeg()
    return data[:2] + b"".join(map(segment, payloads)) + data[2:]


def with_late_xmp(orientation: int) -> bytes:
    """A PNG whose XMP stands behind the pixels."""
    buffer = io.BytesIO()
    Image.fromarray(stored()).save(buffer, "PNG")
    data = buffer.getvalue()
    body = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(orientation)
    crc = zlib.crc32(b"iTXt" + body)
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", crc)
    at = data.rindex(b"IEND") - 4
    return data[:at] + chunk + data[at:]


def saved(kind: str, orientation: int) -> bytes:
    buffer, tag = io.BytesIO(), Image.Exif()
    tag[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    Image.fromarray(stored()).save(buffer, kind, exif=tag, **lossless)
    return buffer.getvalue()


FRAMES: dict[str, Callable[[int], bytes]] = {
    "jpeg xmp attribute": lambda o: tagged(XMP_HEAD + xmp(o)),
    "jpeg xmp element": lambda o: tagged(XMP_HEAD + xmp(o, element=True)),
    "jpeg exif short big": lambda o: tagged(exif(o, 3, ">")),
    "jpeg exif short little": lambda o: tagged(exif(o, 3, "<")),
    "jpeg exif long big": lambda o: tagged(exif(o, 4, ">")),
    "jpeg exif long little": lambda o: tagged(exif(o, 4, "<")),
    "jpeg exif before xmp": lambda o: tagged(exif(o, 3, ">"), XMP_HEAD + xmp(9 - o)),
    "png exif": lambda o: saved("PNG", o),
    "png late xmp": with_late_xmp,
    "webp exif": lambda o: saved("WEBP", o),
    "tiff": lambda o: saved("TIFF", o),
}


@pytest.mark.parametrize("orientation", sorted(TURN))
@pytest.mark.parametrize("name", FRAMES)
def test_size_and_pixels_share_a_frame(tmp_path: Path, name: str, orientation: int) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(FRAMES[name](orientation))
    expected = TURN[orientation](stored()).astype(int)
    pixels = read_rgb(path)
    assert read_size(path) == (expected.shape[1], expected.shape[0])
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= 24, "blocks are where they belong"
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize(
    "payload",
    [exif(9, 3, ">"), exif(0, 4, "<"), b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", XMP_HEAD + xmp(0)],
    ids=["9", "0", "cut exif", "xmp 0"],
)
def test_an_orientation_that_is_none_leaves_the_picture_as_it_is(
    tmp_path: Path, payload: bytes
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(tagged(payload))
    assert read_size(path) == (120, 60)
    assert np.abs(read_rgb(path).astype(int) - stored()).max() <= 24


def noisy(size: tuple[int, int] = (96, 72), **options: object) -> bytes:
    """A JPEG whose every block has detail, so that a hole is noticed."""
    pixels = np.random.default_rng(3).integers(60, 200, (*size[::-1], 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, **options)
    return buffer.getvalue()


def scan_of(data: bytes) -> int:
    return data.index(b"\xff\xda") + 14


def cut_and_closed(data: bytes) -> bytes:
    at = scan_of(data)
    return data[: at + (len(data) - at) // 4] + b"\xff\xd9"


def with_a_hole(data: bytes) -> bytes:
    at = scan_of(data)
    start = at + (len(data) - at) // 4
    return data[:start] + data[start + (len(data) - start) // 2 :]


def zeroed(data: bytes) -> bytes:
    """A block of a disk that was never written."""
    start = (scan_of(data) + len(data)) // 2
    return data[:start] + b"\0" * 512 + data[start + 512 :]


DAMAGE: dict[str, Callable[[], bytes]] = {
    "cut and closed": lambda: cut_and_closed(noisy()),
    "hole": lambda: with_a_hole(noisy()),
    "zeroed block": lambda: zeroed(noisy((192, 144))),
    "cut progressive": lambda: cut_and_closed(noisy(progressive=True)),
    "cut grey": lambda: cut_and_closed(_grey_jpeg()),
    "hole between restarts": lambda: with_a_hole(noisy(restart_marker_rows=1)),
    "no end": lambda: noisy()[:-300],
}


def _grey_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(noisy())).convert("L").save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.mark.parametrize("name", DAMAGE)
def test_lost_pixels_are_damage(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(DAMAGE[name]())
    with pytest.raises(BadData, match=r"a\.jpg (is damaged|does not decode)") as error:
        check_image(path)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == "", "the decoder's own words do not reach the terminal"


def with_thumbnail(data: bytes) -> bytes:
    return data[:2] + segment(b"Exif\0\0" + noisy((16, 16))) + data[2:]


GOOD: dict[str, Callable[[], bytes]] = {
    "plain": noisy,
    "6 kB behind its end": lambda: noisy() + b"\0" * 6000,
    "another file behind its end": lambda: noisy() + noisy()[:2000],
    "progressive": lambda: noisy(progressive=True),
    "restarts": lambda: noisy(restart_marker_rows=1),
    "thumbnail": lambda: with_thumbnail(noisy()),
    "fill bytes": lambda: noisy().replace(b"\xff\xda", b"\xff\xff\xff\xda", 1),
    "a byte before its end": lambda: noisy()[:-2] + b"\0\xff\xd9",
}


@pytest.mark.parametrize("name", GOOD)
def test_whole_jpegs_are_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(GOOD[name]())
    assert is_whole_jpeg(path.read_bytes())
    assert check_image(path).size == read_rgb(path).shape[1::-1]


@pytest.mark.parametrize("name", ["plain", "thumbnail", "progressive", "restarts"])
def test_a_truncated_jpeg_has_no_end_whatever_its_thumbnail_has(name: str) -> None:
    data = GOOD[name]()
    assert not is_whole_jpeg(data[: len(data) * 3 // 4])


def test_other_words_on_standard_error_are_passed_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.core import image

    def decode(data: bytes, name: str) -> np.ndarray:
        os.write(2, b"a word from elsewhere\n")
        return stored()

    monkeypatch.setattr(image, "decode_rgb", decode)
    (tmp_path / "a.jpg").write_bytes(noisy())
    check_image(tmp_path / "a.jpg")
    assert capfd.readouterr().err == "a word from elsewhere\n"


@pytest.mark.parametrize(
    ("values", "brightest"),
    [
        (np.linspace(0, 1, 80), 255),
        (np.linspace(0, 0.5, 80), 128),
        (np.linspace(0, 255, 80), 255),
        (np.linspace(0, 200, 80), 200),
        (np.linspace(0, 65535, 80), 255),
        (np.zeros(80), 0),
    ],
    ids=["0..1", "0..0.5", "0..255", "0..200", "0..65535", "black"],
)
def test_float_images_are_scaled(tmp_path: Path, values: np.ndarray, brightest: int) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(values.astype(np.float32).reshape(8, 10)).save(path)
    assert read_rgb(path).max() == brightest


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float_images_without_numbers_are_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((8, 10), value, np.float32)).save(path)
    with pytest.raises(BadData, match="not finite"):
        read_rgb(path)
