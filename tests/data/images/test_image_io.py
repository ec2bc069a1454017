"""Picture files of every kind, whole and broken."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngImageFile

from imseg.data.images import decoding, picture_file
from imseg.data.masks import io
from imseg.errors import ImsegError

GRAY = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24)
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=2)
DEEP = GRAY.astype(np.uint16) * 211 + 5
FLOATS = GRAY.astype(np.float32) / 7 - 11
DIGEST = "e2b0f691b8355f0e3a667a9fc3d5cec1e5516369996a1fe020710f0bb4df54f9"


def random_numbers(kind: type, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(3))
    ends = np.iinfo(kind)
    return generator.integers(ends.min, ends.max, shape, kind, endpoint=True)


def saved(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    picture = Pillow.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "tif", "tiff", "TIFF"])
@pytest.mark.parametrize("pixels", [GRAY, COLOR], ids=["gray", "color"])
def test_lossless_files_are_read_exactly(tmp_path: Path, suffix: str, pixels: np.ndarray) -> None:
    path = saved(tmp_path / f"a.{suffix}", pixels)
    expected = pixels if pixels.ndim == 3 else pixels[..., None]
    assert np.array_equal(picture_file.read_image(path), expected)
    assert picture_file.probe(path) == picture_file.ImageInfo(20, 24, expected.shape[2])


def test_a_jpeg_is_read_nearly_exactly(tmp_path: Path) -> None:
    smooth = np.repeat(np.arange(32, dtype=np.uint8)[:, None] * 4, 32, axis=1)
    path = saved(tmp_path / "a.JPG", smooth, quality=95)
    difference = picture_file.read_image(path)[..., 0].astype(int) - smooth
    assert abs(difference).max() <= 3


def test_gray_becomes_color_and_color_becomes_gray_on_demand(tmp_path: Path) -> None:
    gray, color = saved(tmp_path / "g.png", GRAY), saved(tmp_path / "c.png", COLOR)
    assert np.array_equal(
        picture_file.read_image(gray, channels=3), np.repeat(GRAY[..., None], 3, axis=2)
    )
    lightness = COLOR @ np.array([0.299, 0.587, 0.114])
    assert abs(picture_file.read_image(color, channels=1)[..., 0] - lightness).max() <= 1


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("LA", 1), ("P", 3), ("1", 1)])
def test_alpha_is_dropped_and_palettes_are_expanded(
    tmp_path: Path, mode: str, channels: int
) -> None:
    path = saved(tmp_path / "a.png", COLOR, mode)
    assert picture_file.read_image(path).shape == (20, 24, channels)
    assert picture_file.probe(path).channels == channels


def test_alpha_does_not_change_the_color_below_it(tmp_path: Path) -> None:
    see_through = np.dstack([COLOR, np.zeros_like(GRAY)])
    assert np.array_equal(picture_file.read_image(saved(tmp_path / "a.png", see_through)), COLOR)


def turned_by_definition(stored: np.ndarray, orientation: int) -> np.ndarray:
    """Return what is seen, pixel by pixel: where row 0 and column 0 of the file are to be shown."""
    height, width = stored.shape[:2]
    seen = np.empty_like(stored.swapaxes(0, 1) if orientation > 4 else stored)
    for row in range(height):
        for column in range(width):
            down, right = height - 1 - row, width - 1 - column
            place = {
                1: (row, column),
                2: (row, right),
                3: (down, right),
                4: (down, column),
                5: (column, row),
                6: (column, down),
                7: (right, down),
                8: (right, row),
            }[orientation]
            seen[place] = stored[row, column]
    return seen


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("name", "stored", "options"),
    [
        ("a.png", GRAY, {}),
        ("a.png", COLOR, {}),
        ("a.png", DEEP, {}),
        ("a.tif", COLOR, {}),
        ("a.tif", COLOR, {"compression": "tiff_lzw"}),
        ("a.tif", DEEP, {}),
        ("a.tif", FLOATS, {}),
        ("a.jpg", COLOR, {"quality": 100, "subsampling": 0}),
    ],
)
def test_pictures_are_turned_upright(
    tmp_path: Path, name: str, stored: np.ndarray, options: dict[str, object], orientation: int
) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / name, stored, exif=exif, **options)
    expected = turned_by_definition(stored, orientation)
    pixels = np.squeeze(picture_file.read_image(path))
    assert pixels.dtype == stored.dtype
    assert abs(pixels.astype(float) - expected).max() <= (2 if name.endswith("jpg") else 0)
    assert picture_file.probe(path).size == expected.shape[:2]
    if stored.ndim == 2:
        assert np.array_equal(io.read_mask(path).values, expected)


def test_an_orientation_that_does_not_exist_is_ignored(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 77
    for name in ("a.png", "a.tif"):
        assert np.array_equal(
            picture_file.read_image(saved(tmp_path / name, COLOR, exif=exif)), COLOR
        )


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_pictures_keep_their_depth(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"deep.{suffix}", DEEP)
    pixels = picture_file.read_image(path)
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels[..., 0], DEEP)
    assert picture_file.probe(path) == picture_file.ImageInfo(20, 24, 1, "uint16")


@pytest.mark.parametrize(("samples", "channels"), [(2, 1), (3, 3), (4, 3)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_16_bit_color_png_keeps_its_depth_without_alpha(
    tmp_path: Path, samples: int, channels: int, orientation: int
) -> None:
    values = random_numbers(np.uint16, (20, 24, samples))
    path = tmp_path / "deep.png"
    path.write_bytes(with_orientation(imagecodecs.png_encode(values), orientation))
    expected = turned_by_definition(values[..., :channels], orientation)
    pixels = picture_file.read_image(path)
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, expected)
    assert picture_file.probe(path) == picture_file.ImageInfo(*expected.shape, "uint16")


def test_16_bit_color_png_without_the_library_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(imagecodecs.png_encode(random_numbers(np.uint16, (20, 24, 3))))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImsegError, match=r"deep\.png, a color PNG with 16 bits(.*\n)*.*microscopy"):
        picture_file.read_image(path)
    assert picture_file.probe(path).depth == "uint16"


def test_deep_pictures_do_not_become_gray_or_colored_in_passing(tmp_path: Path) -> None:
    path = saved(tmp_path / "deep.png", DEEP)
    assert picture_file.read_image(path, channels=1).shape == (20, 24, 1)
    with pytest.raises(ImsegError, match=r"deep\.png has 1 channels of uint16(.*\n)*.*8 bits"):
        picture_file.read_image(path, channels=3)


def with_orientation(png: bytes, orientation: int) -> bytes:
    """Return a PNG file with an eXIf chunk before its pixels."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    content = b"eXIf" + exif.tobytes()[6:]
    chunk = struct.pack(">L", len(content) - 4) + content + struct.pack(">L", zlib.crc32(content))
    place = png.index(b"IDAT") - 4
    return png[:place] + chunk + png[place:]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_header_of_a_png_is_told_without_its_pixels_unless_more_follows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    plain = saved(tmp_path / "plain.png", COLOR).read_bytes()
    told = with_orientation(plain, 6)
    if after:
        place = told.index(b"eXIf") - 4
        length = struct.unpack(">L", told[place : place + 4])[0] + 12
        chunk, told = told[place : place + length], told[:place] + told[place + length :]
        end = told.index(b"IEND") - 4
        told = told[:end] + chunk + told[end:]
    (tmp_path / "told.png").write_bytes(told)
    (tmp_path / "cut.png").write_bytes(plain[:-40])
    decoded, real = [], PngImageFile.load
    monkeypatch.setattr(PngImageFile, "load", lambda self: (decoded.append(1), real(self))[1])
    assert picture_file.probe(tmp_path / "plain.png").orientation == 1 and not decoded
    assert picture_file.probe(tmp_path / "told.png").size == (24, 20)
    assert bool(decoded) == after
    with pytest.raises(ImsegError, match=r"cut\.png"):
        picture_file.probe(tmp_path / "cut.png")
    monkeypatch.undo()
    expected = turned_by_definition(COLOR, 6)
    assert np.array_equal(picture_file.read_image(tmp_path / "told.png"), expected)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.tif"):
        path = saved(tmp_path / name, COLOR, "CMYK", **({"quality": 100} if "jpg" in name else {}))
        difference = picture_file.read_image(path).astype(int) - COLOR
        assert abs(difference).max() <= 8
        assert picture_file.probe(path) == picture_file.ImageInfo(20, 24, 3)


def test_colors_that_cannot_be_shown_are_refused(tmp_path: Path) -> None:
    Pillow.new("LAB", (24, 20)).save(tmp_path / "a.tif")
    for read in (picture_file.read_image, io.read_mask, picture_file.probe):
        with pytest.raises(ImsegError, match=r"a\.tif has LAB colors(.*\n)*.*RGB"):
            read(tmp_path / "a.tif")
    with pytest.raises(ImsegError, match="picture has the color mode HSV"):
        decoding.pixels_of(Pillow.new("HSV", (24, 20)), "picture")


@pytest.mark.filterwarnings("error")
def test_a_palette_with_transparency_gives_its_colors(tmp_path: Path) -> None:
    picture = Pillow.fromarray(COLOR).quantize(20)
    colors = np.asarray(picture.convert("RGB"))
    picture.save(tmp_path / "a.png", transparency=bytes([0, 100] + [255] * 18))
    assert np.array_equal(picture_file.read_image(tmp_path / "a.png"), colors)
    picture.save(tmp_path / "b.png", transparency=3)
    assert np.array_equal(picture_file.read_image(tmp_path / "b.png"), colors)


def test_content_counts_and_not_the_suffix(tmp_path: Path) -> None:
    for kind in ("PNG", "BMP", "TIFF"):
        for suffix in ("png", "jpg", "tif"):
            path = saved(tmp_path / f"a.{suffix}", COLOR, format=kind)
            assert np.array_equal(picture_file.read_image(path), COLOR)
    path = saved(tmp_path / "a.png", COLOR, format="TGA")
    with pytest.raises(ImsegError, match=r"a\.png is not a PNG, JPEG, BMP, TIFF, WebP"):
        picture_file.read_image(path)


def write_empty(path: Path) -> None:
    path.write_bytes(b"")


def write_text(path: Path) -> None:
    path.write_text("this is no picture")


def write_half(path: Path) -> None:
    saved(path, np.tile(COLOR, (8, 8, 1)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_empty, "is empty"),
        (write_text, "is not a PNG, JPEG, BMP, TIFF, WebP, JPEG 2000, GIF or PNM picture"),
        (write_half, "is cut short or damaged|is not a PNG"),
    ],
)
def test_a_broken_file_is_named(
    tmp_path: Path, suffix: str, write: Callable[[Path], None], reason: str
) -> None:
    path = tmp_path / f"bad.{suffix}"
    write(path)
    for read in (picture_file.read_image, io.read_mask):
        with pytest.raises(ImsegError, match=rf"bad\.{suffix} ({reason})"):
            read(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "BMP", "TIFF"])
@given(data=st.data())
def test_any_damage_is_an_error_that_names_the_file_or_none(
    tmp_path_factory: pytest.TempPathFactory, format_name: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damage") / "bad.png"
    Pillow.fromarray(COLOR).save(path, format=format_name)
    content = bytearray(path.read_bytes())
    end = data.draw(st.integers(0, len(content)))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[:end])
    for read in (picture_file.read_image, io.read_mask, picture_file.probe):
        try:
            read(path)
        except ImsegError as error:
            assert "bad.png" in str(error)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImsegError, match=r"gone\.png does not exist"):
        picture_file.read_image(tmp_path / "gone.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImsegError, match=r"folder\.png is a folder"):
        picture_file.probe(tmp_path / "folder.png")


def test_shrinking_averages_and_keeps_flat_colors() -> None:
    checkers = (np.indices((32, 32)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None]
    assert abs(decoding.resize_image(checkers, (8, 8)).astype(int) - 127).max() <= 32
    flat = np.full((20, 30, 3), (10, 20, 30), np.uint8)
    resized = decoding.resize_image(flat, (13, 47))
    assert resized.shape == (13, 47, 3)
    assert np.array_equal(np.unique(resized.reshape(-1, 3), axis=0), [[10, 20, 30]])


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_are_resized_each_by_itself(channels: int) -> None:
    pixels = random_numbers(np.uint8, (20, 24, channels))
    resized = decoding.resize_image(pixels, (13, 47))
    for index in range(channels):
        alone = decoding.resize_image(pixels[..., index : index + 1], (13, 47))
        assert np.array_equal(resized[..., index], alone[..., 0])


def test_three_channels_are_resized_like_each_of_them() -> None:
    resized = decoding.resize_image(COLOR, (11, 9))
    for index in range(3):
        alone = decoding.resize_image(COLOR[..., index : index + 1], (11, 9))
        assert np.array_equal(resized[..., index], alone[..., 0])


def test_the_same_picture_has_one_hash_in_every_kind_of_file(tmp_path: Path) -> None:
    files = [saved(tmp_path / f"a.{suffix}", COLOR) for suffix in ("png", "bmp", "tif")]
    sources = [*files, COLOR]
    assert len({content_hash(source) for source in sources}) == 1


def test_a_gray_picture_saved_in_color_has_the_hash_of_the_gray_one(tmp_path: Path) -> None:
    one, other = saved(tmp_path / "a.png", GRAY), saved(tmp_path / "b.png", GRAY, "RGB")
    hashes = {content_hash(path) for path in (one, other)}
    assert len(hashes) == 1


def test_one_changed_pixel_or_another_shape_changes_the_hash() -> None:
    changed = COLOR.copy()
    changed[3, 4, 1] ^= 1
    arrays = (COLOR, changed, COLOR.reshape(24, 20, 3))
    assert len({decoding.hash_pixels(array) for array in arrays}) == 3


def test_hashes_of_bytes_stay_as_they_are() -> None:
    """Stored runs know pictures by these."""
    assert decoding.hash_pixels(COLOR) == DIGEST


def test_the_type_of_pixels_changes_the_hash_and_the_byte_order_does_not() -> None:
    pixels = np.stack([DEEP, DEEP + 1], axis=2)
    kinds = [pixels.astype(kind) for kind in ("<u2", "<f4", "u1")]
    assert len({decoding.hash_pixels(one) for one in kinds}) == 3
    assert decoding.hash_pixels(pixels.astype(">u2")) == decoding.hash_pixels(kinds[0])


def test_gray_saved_in_color_has_the_hash_of_gray_also_with_holes() -> None:
    gray = FLOATS[..., None].copy()
    gray[2, 3] = np.nan
    assert decoding.hash_pixels(np.repeat(gray, 3, axis=2)) == decoding.hash_pixels(gray)


def content_hash(source: Path | np.ndarray) -> str:
    """Return the hash of a file's or an array's pixels."""
    pixels = picture_file.read_image(source) if isinstance(source, Path) else source
    return decoding.hash_pixels(pixels if pixels.ndim == 3 else pixels[..., None])
