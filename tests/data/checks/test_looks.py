"""What a picture looks like in a few numbers."""

from __future__ import annotations

import dataclasses
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.data.checks.looking import blobs

from imseg.data.checks.appearance import THUMBNAIL, Look, look_at


def thumbnail(look: Look) -> np.ndarray:
    levels = np.frombuffer(look.thumbnail, np.uint8)
    return levels.reshape(THUMBNAIL, THUMBNAIL).astype(float)


def naive_thumbnail(gray: np.ndarray) -> np.ndarray:
    """Return means over blocks, stretched to 0..255, by loops; sides must divide."""
    height, width = gray.shape[0] // THUMBNAIL, gray.shape[1] // THUMBNAIL
    means = np.zeros((THUMBNAIL, THUMBNAIL))
    for row in range(THUMBNAIL):
        for column in range(THUMBNAIL):
            part = gray[row * height : (row + 1) * height, column * width : (column + 1) * width]
            means[row, column] = part.mean()
    return (means - means.min()) / (means.max() - means.min()) * 255


@pytest.mark.parametrize("size", [(64, 64), (128, 192), (640, 512)])
def test_the_thumbnail_is_the_mean_of_blocks_stretched(size) -> None:
    pixels = blobs(1, size)
    wanted = naive_thumbnail(pixels[..., 0].astype(float))
    assert np.abs(thumbnail(look_at(pixels)) - wanted).max() <= 2


def test_the_numbers_mean_what_they_say() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32] = (200, 100, 50)
    pixels[:, 32:] = (100, 100, 100)
    look = look_at(pixels)
    assert look.brightness == pytest.approx((350 / 3 + 100) / 2, abs=0.5)
    assert look.contrast == pytest.approx((350 / 3 - 100) / 2, abs=0.5)
    assert look.saturation == pytest.approx(75, abs=0.5)
    assert look.red == pytest.approx(50, abs=0.5)
    assert look.blue == pytest.approx(75 - 125, abs=0.5)
    assert look_at(pixels[..., ::-1]).red == pytest.approx(-25, abs=0.5)


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_pictures_without_color_have_none(channels) -> None:
    look = look_at(blobs(2, channels=channels))
    assert look.saturation == look.red == look.blue == 0
    assert look.thumbnail == look_at(blobs(2)).thumbnail


def test_gray_as_color_looks_gray() -> None:
    gray, color = look_at(blobs(3)), look_at(blobs(3, channels=3))
    assert color.saturation == 0
    assert color.thumbnail == gray.thumbnail
    assert color.sharpness == pytest.approx(gray.sharpness)


@given(gain=st.floats(0.01, 200), offset=st.floats(0, 1000), kind=st.sampled_from(["uint16", "f4"]))
def test_deep_pictures_are_scaled_by_their_own_range(gain, offset, kind) -> None:
    plain = blobs(4).astype(np.float64)
    if kind == "uint16":
        gain = max(gain, 4.0)
    deep = (plain * gain + offset).astype(kind)
    one, other = look_at(plain.astype(np.float32)), look_at(deep)
    assert np.abs(thumbnail(one) - thumbnail(other)).max() <= 4
    assert other.brightness == pytest.approx(one.brightness * gain + offset, rel=0.01, abs=0.6)
    assert other.contrast == pytest.approx(one.contrast * gain, rel=0.02, abs=0.6)
    assert other.sharpness == pytest.approx(one.sharpness, rel=0.1)


def test_each_deep_channel_counts_the_same() -> None:
    first, second = blobs(5).astype(np.float32), blobs(6).astype(np.float32)
    small = look_at(np.concatenate([first, second], axis=2))
    large = look_at(np.concatenate([first, second * 100], axis=2))
    assert np.abs(thumbnail(small) - thumbnail(large)).max() <= 2


def test_pixels_that_are_no_numbers_count_as_the_darkest() -> None:
    pixels = blobs(7).astype(np.float32)
    dark = pixels.copy()
    dark[:8], pixels[:8] = pixels[8:].min(), np.nan
    pixels[0, 0] = np.inf
    assert look_at(pixels) == look_at(dark)
    nothing = look_at(np.full((20, 20, 1), np.nan, np.float32))
    assert (nothing.brightness, nothing.contrast, nothing.relief) == (0, 0, 0)


def test_a_blank_picture_has_no_contrast() -> None:
    look = look_at(np.full((40, 50, 3), 77, np.uint8))
    assert look.brightness == 77
    assert look.contrast == look.relief == look.sharpness == 0
    assert set(look.thumbnail) == {0}


def test_a_blurred_picture_is_less_sharp() -> None:
    picture = Image.fromarray(blobs(8, (200, 200))[..., 0])
    blurred = picture.resize((25, 25)).resize((200, 200), Image.Resampling.BICUBIC)
    sharp, soft = (look_at(np.asarray(each)[..., None]) for each in (picture, blurred))
    assert soft.sharpness < sharp.sharpness / 2


def test_sharpness_is_that_of_green() -> None:
    pixels = blobs(10, channels=3)
    pixels[..., 0] = np.random.default_rng(0).integers(0, 256, pixels.shape[:2])
    assert look_at(pixels).sharpness == look_at(blobs(10)).sharpness


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 200, 3), (200, 2, 1), (17, 16, 5)])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_pictures_of_every_shape_have_a_look(shape, kind) -> None:
    pixels = np.random.default_rng(0).integers(0, 200, shape).astype(kind)
    look = look_at(pixels)
    assert len(look.thumbnail) == THUMBNAIL * THUMBNAIL
    numbers = dataclasses.astuple(look)[1:]
    assert np.isfinite(numbers).all()
    assert all(type(number) is float for number in numbers)


def test_a_look_is_small_and_cannot_be_changed() -> None:
    look = look_at(blobs(9))
    size = sys.getsizeof(look) + sum(
        sys.getsizeof(getattr(look, entry.name)) for entry in dataclasses.fields(look)
    )
    assert size < 640
    with pytest.raises(dataclasses.FrozenInstanceError):
        look.brightness = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("value", [3.4e38, -3.4e38, np.inf])
def test_numbers_beyond_all_measure_do_not_burst_the_look(value) -> None:
    pixels = blobs(1).astype(np.float32)
    pixels[::2] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look = look_at(pixels)
    assert np.isfinite([look.relief, look.brightness, look.contrast, look.sharpness]).all()
