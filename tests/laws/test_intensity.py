"""Values changed at random: one table per channel, saturation, blur and noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from imseg.ops import intensity
from imseg.ops.limits import AugmentLimits
from imseg.ops.photometric import as_words, draw_bits, draw_spread, draw_uniform

seeds = st.integers(0, 2**62)
sides = st.integers(1, 11)
STRONG = AugmentLimits(
    color_share=0.7, brightness=0.2, contrast=0.4, channel_contrast=0.2, gamma=0.4, gain=0.2,
    channel_gain=0.2, saturation=0.5, blur_share=0.5, blur=2, noise_share=0.5, noise=0.1,
)  # fmt: skip
TABLE = replace(STRONG, color_share=1.0, blur_share=0.0, noise_share=0.0, saturation=0.0)


def draw_bytes(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed % 2**31)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def changed(images: Tensor, names: list[int], limits: AugmentLimits) -> Tensor:
    return intensity.apply(images, intensity.draw(names, limits, channels=images.shape[1]))


def naive(image: np.ndarray, params: intensity.IntensityParams) -> np.ndarray:
    """One image (c h w) without noise, pixel by pixel, in doubles."""
    channels, height, width = image.shape
    found = np.zeros(image.shape)
    for channel in range(channels):
        mean = float(image[channel].mean() / 255) ** float(params.gamma[0])
        for row in range(height):
            for column in range(width):
                value = float(image[channel, row, column] / 255) ** float(params.gamma[0])
                value = mean + (value - mean) * float(params.contrast[0, channel])
                value = value * float(params.gain[0, channel]) + float(params.brightness[0])
                found[channel, row, column] = min(max(255 * value, 0), 255)
    if channels == 3:
        gray = 0.299 * found[0] + 0.587 * found[1] + 0.114 * found[2]
        found = gray + (found - gray) * (1 + float(params.saturation[0]))
    taps = params.taps[0].double().numpy()
    for axis in (1, 2):
        size, blurred = found.shape[axis], 0
        for step in range(-5, 6):
            places = np.clip(np.arange(size) + step, 0, size - 1)
            blurred = blurred + taps[abs(step)] * np.take(found, places, axis=axis)
        found = blurred
    return found.clip(0, 255)


@given(seed=seeds, height=sides, width=sides, channels=st.integers(1, 5))
def test_an_image_is_what_the_formula_says(seed, height, width, channels) -> None:
    images = draw_bytes(seed, 1, channels, height, width)
    limits = replace(STRONG, color_share=1.0, blur_share=1.0, noise_share=0.0)
    params = intensity.draw([seed], limits, channels=channels)
    expected = naive(images[0].numpy(), params)
    assert np.abs(intensity.apply(images, params)[0].numpy() - expected).max() <= 0.51


@given(seed=seeds, height=sides, channels=st.sampled_from([1, 3, 64]))
def test_without_limits_nothing_changes(seed, height, channels) -> None:
    images = draw_bytes(seed, 3, channels, height, 7)
    assert torch.equal(changed(images, [seed, seed + 1, seed + 2], AugmentLimits()), images)


@given(seed=seeds, channels=st.integers(1, 5))
def test_what_is_brighter_stays_brighter_or_equal_in_each_channel(seed, channels) -> None:
    images = draw_bytes(seed, 2, channels, 9, 9)
    params = intensity.draw([seed, seed + 1], TABLE, channels=channels)
    tables = intensity.make_tables(images, params)
    assert (tables.diff(dim=2) >= 0).all() and tables.min() >= 0 and tables.max() <= 255
    found = intensity.apply(images, params)
    for image, before in zip(found.flatten(0, 1), images.flatten(0, 1), strict=True):
        order = before.flatten().argsort()
        assert (image.flatten()[order].int().diff() >= 0).all()


@given(seed=seeds, count=st.integers(1, 7), width=sides, threads=st.sampled_from([1, 2]))
def test_an_image_does_not_depend_on_its_batch_order_or_threads(
    seed, count, width, threads
) -> None:
    images = draw_bytes(seed, count, 3, 9, width)
    names = list(range(seed, seed + count))
    together = changed(images, names, STRONG)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for row in reversed(range(count)):
            one = images[[row]].contiguous(memory_format=torch.channels_last)
            assert torch.equal(changed(one, [names[row]], STRONG)[0], together[row])
    finally:
        torch.set_num_threads(before)


@given(seed=seeds, count=st.integers(1, 5))
def test_a_device_that_is_not_asked_gives_the_same(seed, count) -> None:
    """What leaves an image as it is does so bit for bit where it is computed nevertheless."""
    images = draw_bytes(seed, count, 3, 9, 10)
    names = list(range(seed, seed + count))
    expected = changed(images, names, replace(STRONG, color_share=0.4))

    def always(values, needed, change):
        return change(values, slice(None))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intensity, "change_where", always)
        assert torch.equal(changed(images, names, replace(STRONG, color_share=0.4)), expected)


def test_noise_is_nearly_normal_of_the_size_drawn_and_its_own_in_each_image_and_channel() -> None:
    images = torch.full((2, 3, 100, 100), 128, dtype=torch.uint8)
    limits = AugmentLimits(noise_share=1.0, noise=0.1)
    params = replace(intensity.draw([1, 2], limits, channels=3), noise=torch.tensor([10.0, 20.0]))
    noise = intensity.apply(images, params).double() - 128
    for image, size in zip(noise, (10, 20), strict=True):
        assert abs(image.mean()) < size / 50 and abs(image.std() - size) < size / 50
        # Noise is rounded to gray levels: those at one deviation count half.
        within = (image.abs() < size).double() / 2 + (image.abs() <= size).double() / 2
        assert abs(float(within.mean()) - 0.675) < 0.02
        assert abs(float((image.abs() > 2 * size).double().mean()) - 0.0455) < 0.015
    flat = noise.flatten(0, 1).flatten(1)
    apart = torch.corrcoef(flat) - torch.eye(6)
    assert apart.abs().max() < 0.05
    for step in (1, 100):
        assert (
            abs(float(torch.corrcoef(torch.stack([flat[0, step:], flat[0, :-step]]))[0, 1])) < 0.05
        )


def test_gray_images_of_three_channels_have_no_saturation() -> None:
    gray = draw_bytes(5, 4, 1, 8, 8).repeat(1, 3, 1, 1)
    limits = AugmentLimits(color_share=1.0, saturation=1.0)
    assert torch.equal(changed(gray, [1, 2, 3, 4], limits), gray)
    color = draw_bytes(5, 4, 3, 8, 8)
    assert not torch.equal(changed(color, [1, 2, 3, 4], limits), color)
    two = draw_bytes(5, 4, 2, 8, 8)
    assert torch.equal(changed(two, [1, 2, 3, 4], limits), two)


def test_a_blur_keeps_what_is_flat_and_spreads_a_dot() -> None:
    images = torch.zeros(1, 1, 11, 11, dtype=torch.uint8)
    images[..., 5, 5] = 255
    limits = AugmentLimits(blur_share=1.0, blur=2.0)
    params = [intensity.draw([seed], limits, channels=1) for seed in range(50)]
    assert all(abs(float(2 * each.taps.sum() - each.taps[0, 0]) - 1) < 1e-6 for each in params)
    widest = min(params, key=lambda each: float(each.taps[0, 0]))
    found = intensity.apply(images, widest)[0, 0]
    assert found[5, 5] < 20 and torch.equal(found, found.T) and torch.equal(found, found.flip(0))
    flat = torch.full_like(images, 77)
    assert torch.equal(intensity.apply(flat, widest), flat)


def test_several_numbers_of_a_use_are_independent_and_even() -> None:
    words = as_words(list(range(4000)))
    drawn = draw_spread(words, 3, count=3)
    assert drawn.min() >= -1 and drawn.max() < 1 and np.abs(drawn.mean(axis=0)).max() < 0.04
    assert np.abs(drawn.var(axis=0) - 1 / 3).max() < 0.03
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.05
    assert not np.intersect1d(draw_bits(words, 3), draw_bits(words, 4)).size
    assert np.abs(np.corrcoef(drawn[:, 0], draw_uniform(words, 3))[0, 1]) < 0.05
