"""One reader for every image: upright RGB, equal to PIL's, or one clear line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from bench.core.errors import BadData
from bench.core.image import read_rgb, read_size


def smooth(mode: str = "RGB", size: tuple[int, int] = (64, 40)) -> Image.Image:
    """A picture without symmetry, smooth so that JPEG decoders agree."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    rgb = np.stack(
        [x * 255 / width, y * 255 / height, (x + 2 * y) * 255 / (width + 2 * height)], 2
    )
    rgb[:10, :20] = (230, 40, 40)
    return Image.fromarray(rgb.astype(np.uint8)).convert(mode)


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth().save(path, exif=exif, quality=98, subsampling=0)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    ours = read_rgb(path)
    assert ours.shape == upright.shape == ((64, 40, 3) if orientation > 4 else (40, 64, 3))
    assert np.abs(ours.astype(int) - upright).max() <= 3
    assert read_size(path) == (ours.shape[1], ours.shape[0])


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "jpg"),
        ("L", "jpg"),
        ("CMYK", "jpg"),
        ("RGB", "png"),
        ("L", "png"),
        ("P", "png"),
        ("1", "png"),
        ("RGBA", "png"),
        ("LA", "png"),
    ],
)
def test_modes_are_read_as_pil_converts_them(tmp_path: Path, mode: str, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    picture = smooth("RGB").quantize(16) if mode == "P" else smooth(mode)
    picture.save(
        path, **({"quality": 98, "subsampling": 0} if mode == "RGB" and kind == "jpg" else {})
    )
    with Image.open(path) as image:
        assert image.mode == mode
        reference = np.asarray(image.convert("RGB")).astype(int)
    ours = read_rgb(path)
    assert ours.dtype == np.uint8
    assert ours.shape == (40, 64, 3)
    assert np.abs(ours - reference).max() <= (2 if kind == "jpg" else 0)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_ordinary_jpegs_equal_pils(tmp_path: Path, subsampling: int, progressive: bool) -> None:
    path = tmp_path / "a.jpg"
    smooth(size=(131, 77)).save(path, quality=90, subsampling=subsampling, progressive=progressive)
    with Image.open(path) as image:
        difference = np.abs(read_rgb(path).astype(int) - np.asarray(image))
    assert difference.max() <= 3
    assert difference.mean() < 0.5


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    levels = np.linspace(0, 65535, 40 * 64).reshape(40, 64).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.png")
    ours = read_rgb(tmp_path / "a.png")
    assert np.array_equal(
        ours, np.repeat((levels / 257).round().astype(np.uint8)[..., None], 3, 2)
    )


def test_a_dark_sixteen_bit_image_stays_dark(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 200, np.uint16)).save(tmp_path / "a.png")
    assert read_rgb(tmp_path / "a.png").max() == 1


def test_sixteen_bit_colour_becomes_eight(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), rgb[..., ::-1])
    difference = read_rgb(tmp_path / "a.png") - rgb / 257
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.05])
def test_truncated_files_are_one_line(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / f"half.{kind}"
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadData, match=r"half\.\w+ does not decode .*download it again") as caught:
        read_rgb(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"<html>not found</html>", "it begins with '<html>not found</htm'"),
        (b"version https://git-lfs.example/spec", "it begins with 'version https://git-'"),
        (b"\xff\xd8\xff\xd9", "cannot identify image file"),
    ],
)
def test_what_is_no_image(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "page.jpg"
    path.write_bytes(data)
    with pytest.raises(BadData, match=rf"page\.jpg does not decode \({why}"):
        read_rgb(path)
    with pytest.raises(BadData, match=r"page\.jpg cannot be read"):
        read_size(path)


def test_a_missing_file(tmp_path: Path) -> None:
    for read in (read_rgb, read_size):
        with pytest.raises(BadData, match=r"no\.jpg cannot be read .*No such file"):
            read(tmp_path / "no.jpg")


@pytest.mark.real_data
def test_real_photographs_equal_pils(real_data: Path) -> None:
    files = sorted((real_data / "tiny_coco" / "train2017").glob("*.jpg"))[:20]
    assert len(files) == 20
    for file in files:
        with Image.open(file) as image:
            reference = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
        difference = np.abs(read_rgb(file) - reference)
        assert difference.mean() < 0.5
        assert read_size(file) == (reference.shape[1], reference.shape[0])


def claim(path: Path, width: int, height: int, kind: str) -> None:
    """A small file of its kind whose header claims another size."""
    import struct
    import zlib

    smooth().save(path)
    data = bytearray(path.read_bytes())
    if kind == "jpg":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    elif kind == "png":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:
        data[18:26] = struct.pack("<ii", width, height)
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp"])
def test_an_image_of_absurd_size_is_refused_from_its_header(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"bomb.{kind}"
    claim(path, 60_000, 50_000, kind)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr(Image.Image, "convert", lambda *_: pytest.fail("decoded"))
    for read in (read_rgb, read_size):
        with pytest.raises(BadData, match=r"bomb") as error:
            read(path)
        assert "\n" not in str(error.value)
        assert "pixels" in str(error.value)


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp"])
def test_the_limit_is_one_for_every_format(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{kind}"
    smooth().save(path)
    monkeypatch.setattr("bench.core.image.MAX_PIXELS", 64 * 40)
    assert read_rgb(path).shape == (40, 64, 3)
    monkeypatch.setattr("bench.core.image.MAX_PIXELS", 64 * 40 - 1)
    with pytest.raises(BadData, match=r"claims 64 x 40 pixels"):
        read_rgb(path)
