"""Picture files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from imseg.data.images.image_files import write_png, write_tiff
from imseg.data.images.picture_file import read_image
from imseg.data.masks.io import read_mask
from imseg.errors import ImsegError

GRAY = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24)
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=2)
PALETTE = [(0, 0, 0), (255, 0, 9), (3, 200, 77)]


@pytest.mark.parametrize("array", [GRAY, GRAY.astype(np.uint16) * 256, COLOR])
def test_what_is_written_is_read_again(tmp_path: Path, array: np.ndarray) -> None:
    write_png(tmp_path / "a.png", array)
    path = tmp_path / "a.png"
    found = read_image(path) if array.ndim == 3 else read_mask(path).values
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_palette_makes_an_indexed_file(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", GRAY % 3, palette=PALETTE)
    with Pillow.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
    found = read_mask(tmp_path / "a.png")
    assert np.array_equal(found.values, GRAY % 3)
    assert found.palette == tuple(PALETTE)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.array(PALETTE)[GRAY % 3])


@pytest.mark.parametrize(
    "array",
    [
        GRAY,
        GRAY.astype(np.uint16) * 256,
        GRAY.astype(np.uint32) * 100_000,
        GRAY.astype(np.int64) * 100_000,
        GRAY.astype(np.float32) / 7 - 5,
        np.full((20, 24), np.nan, np.float32),
    ],
)
def test_numbers_written_as_tiff_are_read_again_here_and_by_others(
    tmp_path: Path, array: np.ndarray
) -> None:
    write_tiff(tmp_path / "a.tif", array)
    found = read_mask(tmp_path / "a.tif")
    assert found.form == ("numbers" if array.dtype == np.float32 else "values")
    for values in (found.values, tifffile.imread(tmp_path / "a.tif")):
        assert np.array_equal(values, array, equal_nan=array.dtype == np.float32)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("write", [write_png, write_tiff])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[..., None]
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ImsegError, match=r"a\.png cannot be written(.*\n)*.*No space left"):
        write(path, GRAY)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_into_a_missing_folder_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ImsegError, match=r"a\.png cannot be written"):
        write_png(tmp_path / "none" / "a.png", GRAY)


def test_arrays_that_a_file_cannot_hold_are_a_programming_error(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with pytest.raises(ValueError, match="float64"):
        write_png(path, GRAY.astype(np.float64))
    with pytest.raises(ValueError, match=r"\(20, 24, 3\) as TIFF"):
        write_tiff(path, COLOR)
    with pytest.raises(ValueError, match="float64"):
        write_tiff(path, GRAY.astype(np.float64))
    with pytest.raises(ValueError, match="do not fit"):
        write_tiff(path, GRAY.astype(np.int64) << 24)
    for array in (GRAY, COLOR, (GRAY % 3).astype(np.uint16)):
        with pytest.raises(ValueError, match="3 colors do not fit"):
            write_png(path, array, palette=PALETTE)
    assert list(tmp_path.iterdir()) == []


def test_a_name_as_long_as_names_can_be_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".png")
    write_png(path, GRAY)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
