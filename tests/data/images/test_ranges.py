"""From 16-bit, float and many-channel pixels to bytes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imseg.data.images import image_files
from imseg.data.images.image_files import apply_ranges, estimate_ranges, sample_pixels

SEEDS = st.integers(0, 2**32 - 1)


def random_pixels(seed: int, *shape: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 65536, shape, np.uint16)


def places(height: int, width: int, count: int) -> np.ndarray:
    """Return the rows and columns that are sampled, ``n 2``."""
    return sample_pixels(np.moveaxis(np.indices((height, width)), 0, 2), count)


def test_small_pictures_are_sampled_whole() -> None:
    pixels = random_pixels(1, 25, 40, 3)
    assert np.array_equal(sample_pixels(pixels, 1000), pixels.reshape(-1, 3))


def test_the_same_pixels_are_sampled_each_time() -> None:
    pixels = random_pixels(1, 300, 500, 2)
    assert sample_pixels(pixels).shape == (1000, 2)
    assert np.array_equal(sample_pixels(pixels), sample_pixels(pixels.copy()))


@pytest.mark.parametrize("size", [(512, 512), (1000, 1000), (100, 4000), (1999, 50), (37, 1024)])
def test_samples_are_spread_evenly_over_rows_columns_and_parts(size: tuple[int, int]) -> None:
    found = places(*size, 1000)
    assert (found < size).all()
    parts = Counter(map(tuple, (found * 5 // np.array(size)).tolist()))
    assert len(parts) == 25
    # 40 would be ideal; 1000 random places give 25 to 55.
    assert min(parts.values()) >= 33
    assert max(parts.values()) <= 47
    for axis in (0, 1):
        hit = len(np.unique(found[:, axis]))
        assert hit >= 0.6 * min(size[axis], 1000)


@pytest.mark.parametrize("period", [2, 3, 4, 8, 10, 16, 25, 100])
@pytest.mark.parametrize("axis", [0, 1])
def test_samples_do_not_fall_in_step_with_a_pattern(period: int, axis: int) -> None:
    phases = np.bincount(places(1000, 1000, 1000)[:, axis] % period, minlength=period)
    assert phases.max() <= 1.6 * 1000 / period + 3


def test_ranges_are_the_percentiles_over_all_pictures() -> None:
    generator = np.random.Generator(np.random.PCG64(2))
    samples = [generator.normal(level, 5, (1000, 2)).astype("f4") for level in (10, 200, 50)]
    low, high = estimate_ranges(samples)
    for channel in range(2):
        ordered = np.sort(np.concatenate([sample[:, channel] for sample in samples]))
        assert ordered[2] <= low[channel] <= ordered[3]
        assert ordered[-4] <= high[channel] <= ordered[-3]
    assert (image_files.LOW_PERCENTILE, image_files.HIGH_PERCENTILE) == (0.1, 99.9)


@given(seed=SEEDS)
def test_the_order_of_pictures_does_not_matter(seed: int) -> None:
    samples = list(random_pixels(seed, 5, 100, 3))
    assert estimate_ranges(samples) == estimate_ranges(samples[::-1])


def test_what_is_not_finite_is_left_out_channel_by_channel() -> None:
    clean = np.linspace(-3, 8, 500, dtype=np.float32)
    dirty = np.stack([clean, np.full_like(clean, np.nan)], axis=1)
    dirty = np.concatenate([dirty, np.full((90, 2), np.inf, np.float32)])
    dirty = np.concatenate([dirty, np.full((90, 2), -np.inf, np.float32)])
    low, high = estimate_ranges([dirty])
    assert (low[0], high[0]) == tuple(end[0] for end in estimate_ranges([clean[:, None]]))
    assert (low[1], high[1]) == (0, 1)


@pytest.mark.parametrize("level", [0.0, -4.0, 1e-6, 65535.0, 1e30, -1e30])
def test_a_constant_channel_has_a_range_and_becomes_black(level: float) -> None:
    pixels = np.full((20, 24, 1), level, np.float32)
    low, high = estimate_ranges([sample_pixels(pixels)])
    assert low < high
    assert np.float32(low[0]) < np.float32(high[0])
    assert not apply_ranges(pixels, low, high).any()


def test_a_few_bright_spots_in_the_dark_are_not_lost() -> None:
    samples = np.zeros((10_000, 1), np.uint16)
    samples[7] = 900
    assert estimate_ranges([samples]) == ((0.0,), (900.0,))


def test_very_many_samples_are_thinned_out_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [np.full((64, 1), level, np.uint16) for level in range(1000)]
    whole = estimate_ranges(samples)
    monkeypatch.setattr(image_files, "_MOST_VALUES", 5000)
    assert np.allclose(estimate_ranges(samples), whole, atol=1)
    assert np.allclose(estimate_ranges(iter(samples)), whole, atol=1)


def test_no_samples_or_other_channels_are_a_programming_error() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        estimate_ranges([])
    with pytest.raises(ValueError, match="dimension"):
        estimate_ranges([np.zeros((5, 2)), np.zeros((5, 3))])
    with pytest.raises(ValueError, match="1 ranges for 2 channels"):
        apply_ranges(np.zeros((4, 4, 2), np.uint16), (0.0,), (1.0,))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@given(seed=SEEDS, channels=st.integers(1, 6))
def test_bytes_are_the_nearest_of_a_straight_line(kind: type, seed: int, channels: int) -> None:
    pixels = random_pixels(seed, 21, 17, channels)
    pixels = (pixels >> 8).astype(kind) if kind == np.uint8 else pixels.astype(kind)
    generator = np.random.Generator(np.random.PCG64(seed))
    low = tuple(generator.uniform(0, pixels.max() / 2, channels).tolist())
    high = tuple(end + generator.uniform(0.5, pixels.max()) for end in low)
    found = apply_ranges(pixels, low, high)
    assert found.dtype == np.uint8
    for channel in range(channels):
        line = (pixels[..., channel].astype(float) - low[channel]) * 255
        line = np.clip(line / (high[channel] - low[channel]), 0, 255)
        assert abs(found[..., channel] - line).max() <= 0.5 + 2e-3


def test_the_ends_are_black_and_white_and_what_is_beyond_is_clipped() -> None:
    row = np.array([[-1e30, -5.0, -4.9, 2.0, 2.1, 1e30]], np.float32)[..., None]
    assert apply_ranges(row, (-5.0,), (2.0,)).ravel().tolist() == [0, 0, 4, 255, 255, 255]


@pytest.mark.filterwarnings("error")
def test_what_is_no_number_is_black_and_infinity_is_white() -> None:
    row = np.array([[np.nan, np.inf, -np.inf]], np.float32)[..., None]
    assert apply_ranges(row, (3.0,), (4.0,)).ravel().tolist() == [0, 255, 0]
    assert apply_ranges(row, (0.0,), (1e-44,)).ravel().tolist() == [0, 255, 0]


def test_a_large_offset_costs_no_steps() -> None:
    levels = np.arange(40_000, 40_256, dtype=np.uint16)[None, :, None]
    assert np.array_equal(apply_ranges(levels, (40_000.0,), (40_255.0,)).ravel(), np.arange(256))


def test_any_part_of_a_picture_is_scaled_like_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = random_pixels(4, 40, 30, 3)
    low, high = (9.0, 50.0, 1e4), (6e4, 5e4, 2e4)
    whole = apply_ranges(pixels, low, high)
    monkeypatch.setattr(image_files, "_AT_ONCE", 200)
    assert np.array_equal(apply_ranges(pixels, low, high), whole)
    part = apply_ranges(pixels[5:25:2, 3:9], low, high)
    assert np.array_equal(part, whole[5:25:2, 3:9])


def test_pixels_are_not_changed() -> None:
    pixels = random_pixels(4, 9, 9, 1).astype(np.float32)
    before = pixels.copy()
    apply_ranges(pixels, (5.0,), (900.0,))
    assert np.array_equal(pixels, before)
