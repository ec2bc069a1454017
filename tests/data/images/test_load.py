"""Pictures as a run reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from imseg.data.images.decoding import to_channels
from imseg.data.images.image_files import apply_ranges, load_pixels
from imseg.errors import ImsegError
from imseg.types import Image, Reading

GRAY = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24)
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=2)
DEEP = GRAY.astype(np.uint16) * 200 + 9
LOW, HIGH = (100.0,), (40_000.0,)


def both_ways(path: Path, array: np.ndarray) -> list[Image]:
    """Return a picture as a file and as an array."""
    samples = array.shape[2] if array.ndim == 3 else 1
    options = {"planarconfig": "contig"} if samples > 1 else {}
    photometric = "rgb" if samples == 3 else "minisblack"
    tifffile.imwrite(path, array, photometric=photometric, **options)
    return [Image("a", path), Image("a", array)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("array", [GRAY, COLOR], ids=["gray", "color"])
def test_bytes_stay_as_they_are_and_become_gray_or_colored(
    tmp_path: Path, array: np.ndarray, channels: int
) -> None:
    whole = array if array.ndim == 3 else array[..., None]
    for image in both_ways(tmp_path / "a.tif", array):
        found = load_pixels(image, Reading(channels=channels))
        assert found.dtype == np.uint8
        assert np.array_equal(found, to_channels(whole, channels))


def test_16_bits_are_scaled_by_the_ranges_of_the_run(tmp_path: Path) -> None:
    reading = Reading(channels=1, depth="uint16", low=LOW, high=HIGH)
    for image in both_ways(tmp_path / "a.tif", DEEP):
        assert np.array_equal(load_pixels(image, reading), apply_ranges(DEEP[..., None], LOW, HIGH))


@pytest.mark.parametrize("kind", ["f4", "f8", "i2", "u4"])
def test_all_other_numbers_count_as_floats(tmp_path: Path, kind: str) -> None:
    reading = Reading(channels=1, depth="float32", low=LOW, high=HIGH)
    scaled = apply_ranges(GRAY.astype(np.float32)[..., None] * 99, LOW, HIGH)
    for image in both_ways(tmp_path / "a.tif", (GRAY.astype(np.float32) * 99).astype(kind)):
        assert np.array_equal(load_pixels(image, reading), scaled)


def test_many_channels_of_bytes_are_scaled_too(tmp_path: Path) -> None:
    many = np.dstack([COLOR, COLOR[:, ::-1]])
    low, high = tuple(range(6)), tuple(range(90, 210, 20))
    reading = Reading(channels=6, low=low, high=high)
    for image in both_ways(tmp_path / "a.tif", many):
        assert np.array_equal(load_pixels(image, reading), apply_ranges(many, low, high))


def test_pages_are_channels_if_the_run_says_so(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([DEEP, DEEP + 5]), photometric="minisblack")
    image = Image("a", tmp_path / "a.tif")
    reading = Reading(channels=2, depth="uint16", pages="channels", low=LOW * 2, high=HIGH * 2)
    scaled = apply_ranges(np.dstack([DEEP, DEEP + 5]), LOW * 2, HIGH * 2)
    assert np.array_equal(load_pixels(image, reading), scaled)
    with pytest.raises(ImsegError, match=r"a\.tif has 2 pages"):
        load_pixels(image, Reading(channels=2, depth="uint16", low=LOW * 2, high=HIGH * 2))


@pytest.mark.parametrize(
    ("array", "reading", "expected", "got"),
    [
        (DEEP, Reading(channels=1), "1 channel, 8 bits (uint8).", "1 channel, 16 bits (uint16)."),
        (
            GRAY,
            Reading(channels=1, depth="uint16", low=LOW, high=HIGH),
            "1 channel, 16 bits (uint16).",
            "1 channel, 8 bits (uint8).",
        ),
        (
            np.dstack([DEEP] * 3),
            Reading(channels=2, depth="uint16", low=LOW * 2, high=HIGH * 2),
            "2 channels, 16 bits (uint16).",
            "3 channels, 16 bits (uint16).",
        ),
        (
            DEEP.astype(np.float32),
            Reading(channels=1, depth="uint16", low=LOW, high=HIGH),
            "1 channel, 16 bits (uint16).",
            "1 channel, 32-bit floats (float32).",
        ),
        (
            np.dstack([COLOR, COLOR]),
            Reading(channels=3),
            "3 channels, 8 bits (uint8).",
            "6 channels, 8 bits (uint8).",
        ),
        (
            COLOR,
            Reading(channels=1, low=LOW, high=HIGH),
            "1 channel, 8 bits (uint8).",
            "3 channels, 8 bits (uint8).",
        ),
    ],
)
def test_a_picture_of_another_kind_is_refused(
    tmp_path: Path, array: np.ndarray, reading: Reading, expected: str, got: str
) -> None:
    for image in both_ways(tmp_path / "pic.tif", array):
        name = str(image.pixels) if isinstance(image.pixels, Path) else "a"
        with pytest.raises(ImsegError) as caught:
            load_pixels(image, reading)
        assert str(caught.value).startswith(f"{name} is not of the kind that the pictures for")
        assert f"Expected: {expected}" in str(caught.value).replace("   ", " ").replace("  ", " ")
        assert got in str(caught.value)


def test_deep_pictures_without_ranges_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="need ranges"):
        load_pixels(Image("a", DEEP), Reading(channels=1, depth="uint16"))


def test_an_open_palette_file_is_loaded_in_color(tmp_path: Path) -> None:
    picture = Pillow.fromarray(COLOR).quantize(9)
    picture.save(tmp_path / "a.png")
    found = load_pixels(Image("a", tmp_path / "a.png"), Reading(channels=3))
    assert np.array_equal(found, np.asarray(picture.convert("RGB")))
