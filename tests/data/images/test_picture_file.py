"""Pictures that are too large, and headers that say what the pixels turn out to be."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from tests.data.images.by_hand import big_png, big_tiff

from imseg.data.images import decoding
from imseg.data.images.picture_file import probe, read_image
from imseg.data.masks.io import read_mask
from imseg.errors import ImsegError

SIDE = 20_000
READERS = (read_image, read_mask, probe)


def big_jpeg(path: Path, side: int) -> Path:
    """Write a small JPEG file whose header claims very many pixels."""
    Pillow.new("L", (24, 20)).save(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack(">HH", 20, 24), struct.pack(">HH", side, side)))
    return path


def big_bmp(path: Path, side: int) -> Path:
    """Write a small BMP file whose header claims very many pixels."""
    Pillow.new("L", (24, 20)).save(path)
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<LL", 24, 20), struct.pack("<LL", side, side)))
    return path


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("bits", [1, 16])
def test_a_huge_tiff_is_refused_by_its_header(tmp_path: Path, bits: int) -> None:
    path = big_tiff(tmp_path / "huge.tif", SIDE if bits == 1 else 9_500, bits=bits)
    for cut in (False, True):
        if cut:
            path.write_bytes(path.read_bytes()[:400])
        for read in READERS:
            with pytest.raises(ImsegError, match=r"huge\.tif claims .*million(.*\n)*.*tiles"):
                read(path)


@pytest.mark.filterwarnings("error")
def test_a_huge_png_is_refused_by_its_header(tmp_path: Path) -> None:
    path = big_png(tmp_path / "huge.png", SIDE)
    for cut in (False, True):
        if cut:
            path.write_bytes(path.read_bytes()[:40])
        for read in READERS:
            with pytest.raises(ImsegError) as caught:
                read(path)
            assert "claims 20000 x 20000 pixels, which is more than 89 million" in str(caught.value)
            assert "cut it into tiles" in str(caught.value)


@pytest.mark.parametrize("side", [SIDE, 10_000])
@pytest.mark.parametrize("write", [big_jpeg, big_bmp])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_huge_jpeg_or_bmp_is_refused_by_its_header(tmp_path: Path, write: Any, side: int) -> None:
    path = write(tmp_path / f"huge.{write.__name__[4:]}", side)
    for read in READERS:
        with pytest.raises(ImsegError, match=r"claims (.*\n)*.*tiles"):
            read(path)


def test_what_pillow_was_told_to_allow_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = big_png(tmp_path / "a.png", 64)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", 64 * 64 - 1)
    with pytest.raises(ImsegError, match="more than 0 million"):
        read_image(path)
    monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", None)
    assert read_image(path).shape == (64, 64, 1)


def test_all_pages_count_against_the_memory(tmp_path: Path) -> None:
    path = big_tiff(tmp_path / "deep.tif", 4_096, bits=16, pages=17)
    for read in (read_image, probe):
        with pytest.raises(ImsegError, match=r"deep\.tif claims 544 MiB of pixels(.*\n)*.*fewer"):
            read(path, pages="channels")


def test_just_within_the_memory_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = big_tiff(tmp_path / "a.tif", 64, bits=16, pages=4)
    monkeypatch.setattr(decoding, "MAX_BYTES", 64 * 64 * 2 * 4)
    assert read_image(path, pages="channels").shape == (64, 64, 4)
    monkeypatch.setattr(decoding, "MAX_BYTES", 64 * 64 * 2 * 4 - 1)
    with pytest.raises(ImsegError, match="claims"):
        read_image(path, pages="channels")


MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("1", "L", "RGB", "CMYK", "YCbCr"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr"),
}


@pytest.mark.parametrize(
    ("kind", "mode"), [(kind, mode) for kind, modes in MODES.items() for mode in modes]
)
def test_the_header_says_what_the_pixels_are(tmp_path: Path, kind: str, mode: str) -> None:
    values = np.arange(20 * 24 * 3, dtype=np.uint8).reshape(20, 24, 3)
    picture = Pillow.fromarray(values)
    if mode == "I;16":
        picture = Pillow.fromarray(values[..., 0].astype(np.uint16) * 99)
    path = tmp_path / "a.png"
    (picture if mode == "I;16" else picture.convert(mode)).save(path, format=kind)
    pixels = read_image(path)
    info = probe(path)
    assert (*info.size, info.channels, info.depth) == (*pixels.shape, str(pixels.dtype))
