"""What blocked pixels become: a function of the image alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from imseg.ops.inconsistency import COLORS, block_input, draw_color_keys, make_fill

seeds = st.integers(0, 2**32)
sides = st.integers(1, 9)


def draw_bytes(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def channels_last(planes: Tensor) -> Tensor:
    return planes.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def fill_of(images: Tensor, color: str, rows: list[int]) -> Tensor:
    numbers = torch.full((len(images),), COLORS.index(color))
    fill = make_fill(images, numbers, draw_color_keys(rows), among={color})
    return fill.expand(images.shape)


@given(seed=seeds, size=st.tuples(st.integers(1, 4), sides, sides), images=st.integers(0, 3))
def test_the_mean_is_that_of_each_channel_rounded_and_blocking_by_it_keeps_it(
    seed, size, images
) -> None:
    pixels = draw_bytes(seed, images, *size)
    fill = fill_of(pixels, "mean", list(range(images)))
    expected = np.floor(pixels.numpy().astype(np.float64).mean(axis=(2, 3)) + 0.5)
    for found in (fill, fill_of(channels_last(pixels), "mean", list(range(images)))):
        np.testing.assert_array_equal(found[:, :, 0, 0], expected)
        assert (found == found[:, :, :1, :1]).all()
    whole = block_input(pixels, torch.ones(images, 1, *size[1:], dtype=torch.bool), fill)
    assert torch.equal(fill_of(whole, "mean", list(range(images))), fill)


@given(seed=seeds, rows=st.lists(st.integers(0, 2**40), min_size=1, max_size=4, unique=True))
def test_noise_depends_on_the_row_of_the_image_alone(seed, rows) -> None:
    images = draw_bytes(seed, len(rows), 3, 6, 5)
    together = fill_of(images, "noise", rows)
    assert torch.equal(fill_of(channels_last(255 - images), "noise", rows), together)
    for place, row in enumerate(rows):
        alone = fill_of(images[:1], "noise", [row])
        assert torch.equal(alone[0], together[place])
    assert len({each.numpy().tobytes() for each in together}) == len(rows)


def test_noise_is_even_over_all_bytes_and_channels_differ() -> None:
    fill = fill_of(torch.zeros(64, 3, 64, 64, dtype=torch.uint8), "noise", list(range(64)))
    counts = np.bincount(fill.numpy().reshape(-1), minlength=256)
    assert counts.min() > 0.9 * fill.numel() / 256 and counts.max() < 1.1 * fill.numel() / 256
    same = (fill[:, 0] == fill[:, 1]).float().mean()
    assert 0 < same < 0.01
    neighbors = (fill[..., 1:] == fill[..., :-1]).float().mean()
    assert neighbors < 0.01


def test_every_image_of_a_batch_gets_its_own_color() -> None:
    images, numbers = draw_bytes(3, 6, 2, 4, 4), torch.tensor([0, 1, 2, 2, 1, 0])
    rows = [9, 8, 7, 6, 5, 4]
    fill = make_fill(images, numbers, draw_color_keys(rows), among=set(COLORS))
    for place, number in enumerate(numbers.tolist()):
        one = slice(place, place + 1)
        alone = fill_of(images[one], COLORS[number], rows[one])
        assert torch.equal(fill[one].expand(alone.shape), alone)
    assert not fill[0].any() and not fill[5].any()


@pytest.mark.parametrize("color", COLORS)
@given(seed=seeds, last=st.booleans())
def test_blocking_gives_the_mask_the_color_and_touches_nothing_else(color, seed, last) -> None:
    images, mask = draw_bytes(seed, 3, 3, 5, 7), draw_bytes(seed + 1, 3, 1, 5, 7) > 128
    images = channels_last(images) if last else images
    before, fill = images.clone(), fill_of(images, color, [3, 1, 2])
    blocked = block_input(images, mask, fill)
    assert torch.equal(blocked, torch.where(mask, fill, images))
    assert blocked.stride() == images.stride() and torch.equal(images, before)
    if color == "black":
        assert torch.equal(blocked, block_input(images, mask))
