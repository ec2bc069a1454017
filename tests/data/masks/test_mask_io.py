"""Mask files of every kind: values, colors, palettes, objects, numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from imseg.data.folder.config import FolderConfig
from imseg.data.folder.inspection import Scope
from imseg.data.folder.mask_facts import mask_facts
from imseg.data.masks.io import as_packed_colors, mask_of, read_mask, resize_mask, unpack_colors
from imseg.errors import ImsegError

GRAY = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24)
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=2)


def saved(path: Path, array: np.ndarray, mode: str | None = None, **options: Any) -> Path:
    picture = Pillow.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_gray_masks_give_their_values_in_any_mode(tmp_path: Path, mode: str) -> None:
    for suffix in ("png", "tif"):
        found = read_mask(saved(tmp_path / f"m.{suffix}", GRAY, mode))
        assert np.array_equal(found.values, GRAY)
        assert (found.form, found.palette, found.values.dtype) == ("values", None, np.uint8)


def test_a_1_bit_mask_gives_0_and_255_like_the_same_mask_with_8_bits(tmp_path: Path) -> None:
    mask = GRAY > 100
    for suffix in ("png", "tif", "bmp"):
        found = read_mask(saved(tmp_path / f"m.{suffix}", mask))
        assert found.values.dtype == np.uint8
        assert np.array_equal(found.values, mask * 255)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
@pytest.mark.parametrize("classes", [2, 3, 12, 256])
def test_a_palette_mask_gives_its_indices_and_their_colors(
    tmp_path: Path, suffix: str, classes: int
) -> None:
    colors = [((37 * i) % 256, (101 * i) % 256, 255 - i) for i in range(classes)]
    picture = Pillow.fromarray(GRAY % classes if classes < 256 else GRAY)
    picture.putpalette([part for color in colors for part in color])
    picture.save(tmp_path / f"m.{suffix}")
    found = read_mask(tmp_path / f"m.{suffix}")
    assert np.array_equal(found.values, np.asarray(picture))
    assert found.form == "values"
    assert found.palette is not None
    assert list(found.palette[:classes]) == colors


def test_indices_beyond_the_palette_are_black(tmp_path: Path) -> None:
    picture = Pillow.fromarray(np.full((20, 24), 2, np.uint8))
    picture.putpalette([9, 9, 9, 8, 8, 8])
    found = mask_of(picture, "mask")
    assert found.palette == ((9, 9, 9), (8, 8, 8), (0, 0, 0))


def test_transparency_leaves_indices_as_they_are(tmp_path: Path) -> None:
    picture = Pillow.fromarray(GRAY % 3)
    picture.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    picture.save(tmp_path / "m.png", transparency=1)
    assert np.array_equal(read_mask(tmp_path / "m.png").values, GRAY % 3)


def test_colors_are_packed(tmp_path: Path) -> None:
    for suffix in ("png", "tif", "bmp"):
        found = read_mask(saved(tmp_path / f"m.{suffix}", COLOR))
        assert (found.form, found.values.dtype, found.palette) == ("colors", np.int32, None)
        red, green, blue = (COLOR[3, 5, i].item() for i in range(3))
        assert found.values[3, 5] == 65536 * red + 256 * green + blue
        assert np.array_equal(unpack_colors(found.values), COLOR)


def test_gray_values_become_packed_grays() -> None:
    packed = as_packed_colors(GRAY)
    assert packed.dtype == np.int32
    assert np.array_equal(unpack_colors(packed), np.repeat(GRAY[..., None], 3, axis=2))


def test_a_color_that_cannot_be_seen_is_black(tmp_path: Path) -> None:
    """Editors leave any color below what was erased."""
    alpha = np.where(GRAY < 100, 0, np.where(GRAY < 150, 90, 255)).astype(np.uint8)
    seen = np.where(alpha[..., None] > 0, COLOR, 0)
    found = read_mask(saved(tmp_path / "m.png", np.dstack([COLOR, alpha])))
    assert np.array_equal(unpack_colors(found.values), seen)
    gray = read_mask(saved(tmp_path / "g.png", np.dstack([GRAY, alpha]), "LA"))
    assert gray.form == "values"
    assert np.array_equal(gray.values, np.where(alpha > 0, GRAY, 0))


@pytest.mark.parametrize("level", [0, 7, 255])
def test_alpha_that_is_the_same_everywhere_says_nothing(tmp_path: Path, level: int) -> None:
    path = saved(tmp_path / "m.png", np.dstack([COLOR, np.full_like(GRAY, level)]))
    assert np.array_equal(unpack_colors(read_mask(path).values), COLOR)


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i2", "i4", "i8", "u8"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_object_numbers_are_as_they_stand(
    tmp_path: Path, kind: str, byteorder: str, compression: str | None
) -> None:
    ends = np.iinfo(kind)
    numbers = np.linspace(0, min(ends.max, 2**52), GRAY.size).astype(kind).reshape(GRAY.shape)
    tifffile.imwrite(
        tmp_path / "m.tif", numbers, byteorder=byteorder, compression=compression, metadata=None
    )
    found = read_mask(tmp_path / "m.tif")
    assert found.form == "values"
    assert found.values.dtype.kind in "iu"
    assert np.array_equal(found.values, numbers)


def test_16_bit_png_masks_give_their_values(tmp_path: Path) -> None:
    deep = GRAY.astype(np.uint16) * 200
    found = read_mask(saved(tmp_path / "m.png", deep))
    assert found.values.dtype == np.uint16
    assert np.array_equal(found.values, deep)


def test_numbers_below_0_are_as_stored(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "m.tif", GRAY.astype(np.int16) - 1)
    found = read_mask(tmp_path / "m.tif")
    assert found.form == "values"
    assert np.array_equal(found.values, GRAY.astype(np.int16) - 1)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_floats_are_measurements(tmp_path: Path, kind: str) -> None:
    numbers = GRAY.astype(kind) / 8 - 3
    numbers[0, 0] = np.nan
    tifffile.imwrite(tmp_path / "m.tif", numbers)
    found = read_mask(tmp_path / "m.tif")
    assert (found.form, found.values.dtype) == ("numbers", np.float32)
    assert np.array_equal(found.values, numbers.astype(np.float32), equal_nan=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_numbers_that_processors_complain_about_are_unknown(tmp_path: Path, kind: str) -> None:
    numbers = GRAY.astype(kind) / 8
    signaling = {"f4": 0x7F800001, "f8": 0x7FF0000000000001}[kind]
    numbers.view({"f4": np.uint32, "f8": np.uint64}[kind])[0, 0] = signaling
    tifffile.imwrite(tmp_path / "m.tif", numbers)
    found = read_mask(tmp_path / "m.tif")
    facts = mask_facts("m", found, scope=Scope(config=FolderConfig()))
    assert np.isnan(found.values[0, 0]) and facts.known == numbers.size - 1


def test_16_bit_colors_are_values_if_gray_and_colors_if_8_bits_say_as_much(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    gray = np.repeat(GRAY.astype(np.uint16)[..., None] * 100, 3, axis=2)
    path.write_bytes(imagecodecs.png_encode(gray))
    assert np.array_equal(read_mask(path).values, gray[..., 0])
    path.write_bytes(imagecodecs.png_encode(COLOR.astype(np.uint16) * 257))
    assert np.array_equal(unpack_colors(read_mask(path).values), COLOR)
    path.write_bytes(imagecodecs.png_encode(COLOR.astype(np.uint16) * 100))
    with pytest.raises(ImsegError, match=r"m\.png holds colors that need 16 bits"):
        read_mask(path)


def test_masks_of_many_channels_or_pages_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "m.tif", np.dstack([GRAY] * 5), photometric="minisblack", planarconfig="contig"
    )
    with pytest.raises(ImsegError, match=r"m\.tif has 5 channels(.*\n)*.*one number"):
        read_mask(tmp_path / "m.tif")
    tifffile.imwrite(tmp_path / "m.tif", np.stack([GRAY] * 3), photometric="minisblack")
    for pages in ("refuse", "channels"):
        with pytest.raises(ImsegError, match=r"m\.tif has 3 pages") as caught:
            read_mask(tmp_path / "m.tif", pages=pages)
        assert '"channels"' not in str(caught.value)


def test_open_pictures_are_read_like_files(tmp_path: Path) -> None:
    for array in (GRAY, COLOR, GRAY > 9, GRAY.astype(np.uint16), GRAY.astype(np.float32)):
        path = saved(tmp_path / "m.tif", array)
        one, other = read_mask(path), mask_of(Pillow.fromarray(array), "mask")
        assert np.array_equal(one.values, other.values)
        assert one.form == other.form


@given(size=st.tuples(st.integers(1, 60), st.integers(1, 60)))
def test_each_pixel_of_a_resized_mask_is_the_nearest_one(size: tuple[int, int]) -> None:
    rows, columns = np.indices(GRAY.shape)
    for axis, numbers in enumerate((rows, columns)):
        resized = resize_mask(numbers, size)
        assert resized.shape == size
        source = (np.arange(GRAY.shape[axis]) + 0.5) / GRAY.shape[axis]
        for place in range(size[axis]):
            away = abs(source - (place + 0.5) / size[axis])
            taken = np.unique(np.take(resized, place, axis=axis))
            assert len(taken) == 1
            assert away[taken[0]] <= away.min() + 1e-9


def test_whole_numbers_that_no_signed_number_can_hold_are_refused(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GRAY.astype(np.uint64) << np.uint64(56))
    with pytest.raises(ImsegError, match=r"a\.tif holds whole numbers that need all of 64 bits"):
        read_mask(tmp_path / "a.tif")
