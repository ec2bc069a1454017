"""Samples moved at random: the same move for all that belongs together, and nothing invented."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from imseg.ops import augment, warp
from imseg.ops.limits import AugmentLimits

seeds = st.integers(0, 2**62)
sides = st.integers(1, 11)
STRONG = AugmentLimits(
    mirror=True, upside_down=True, swap=True, share=0.8,
    turn=180, scale=0.5, shift=0.2, shear=0.2, elastic=0.05,
)  # fmt: skip
MOVES = replace(STRONG, share=0.0)


def draw_bytes(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed % 2**31)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def draw_of(names: list[int], limits: AugmentLimits, images: Tensor) -> warp.WarpParams:
    return warp.draw(names, limits, square=images.shape[2] == images.shape[3])


def naive(image: np.ndarray, labels: np.ndarray, params: warp.WarpParams):
    """One sample, pixel by pixel, in doubles: image (h w c), labels (h w), inside, near a tie."""
    height, width = image.shape[:2]
    linear, shift = params.linear[0].double().numpy(), params.shift[0].double().numpy()
    bend, share = params.bend[0].double().numpy(), float(params.softened[0])
    soft = image.astype(float)
    for axis in (1, 0):
        size = image.shape[axis]
        ends = [np.clip(np.arange(size) + step, 0, size - 1) for step in (-1, 1)]
        before, after = (np.take(soft, each, axis=axis) for each in ends)
        soft = (1 - 2 * share) * soft + share * (before + after)

    def bump(x: float) -> float:
        x = abs(x)
        if x < 1:
            return 2 / 3 - x * x + x**3 / 2
        return (2 - x) ** 3 / 6 if x < 2 else 0.0

    def reflect(place: float, size: int) -> float:
        while not -0.5 <= place <= size - 0.5:
            place = -1 - place if place < -0.5 else 2 * size - 1 - place
        return place

    found, moved = np.zeros(image.shape), np.zeros(labels.shape, labels.dtype)
    inside, tie = np.zeros((height, width), bool), np.zeros((height, width), bool)
    for row in range(height):
        for column in range(width):
            offset = np.array([column - (width - 1) / 2, row - (height - 1) / 2])
            x, y = linear @ offset + shift * (width / 2, height / 2)
            # Control points lie from one interval before the edge to one beyond the other.
            at = [(column + 0.5) / width * 4 + 1, (row + 0.5) / height * 4 + 1]
            weights = np.outer(*[[bump(k - each) for k in range(7)] for each in reversed(at)])
            x, y = ((bend * weights).sum(axis=(1, 2)) * min(height, width) + (x, y)).tolist()
            x, y = x + (width - 1) / 2, y + (height - 1) / 2
            inside[row, column] = -0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5
            x, y = reflect(x, width), reflect(y, height)
            tie[row, column] = any(abs(each % 1 - 0.5) < 1e-3 for each in (x, y))
            moved[row, column] = labels[
                min(math.floor(y + 0.5), height - 1), min(math.floor(x + 0.5), width - 1)
            ]
            x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
            left, top = math.floor(x), math.floor(y)
            right, low = min(left + 1, width - 1), min(top + 1, height - 1)
            u, v = x - left, y - top
            upper = (1 - u) * soft[top, left] + u * soft[top, right]
            lower = (1 - u) * soft[low, left] + u * soft[low, right]
            found[row, column] = (1 - v) * upper + v * lower
    return found, moved, inside, tie


@given(seed=seeds, height=sides, width=sides, channels=st.integers(1, 4), square=st.booleans())
def test_a_sample_is_what_the_formula_says(seed, height, width, channels, square) -> None:
    width = height if square else width
    images = draw_bytes(seed, 1, channels, height, width)
    labels = draw_bytes(seed + 1, 1, 1, height, width)
    params = draw_of([seed], replace(STRONG, share=1.0), images)
    found = warp.apply(images, params, planes=[labels])
    image, moved, inside, tie = naive(images[0].permute(1, 2, 0).numpy(), labels[0, 0].numpy(),
                                      params)  # fmt: skip
    difference = np.abs(found.images[0].permute(1, 2, 0).numpy() - image)
    assert difference.max() <= 1
    assert (found.planes[0][0, 0].numpy() == moved)[~tie].all()
    assert (found.inside[0, 0].numpy() == inside)[~tie].all()


@given(seed=seeds, height=sides, width=sides, floats=st.booleans())
def test_without_limits_nothing_changes(seed, height, width, floats) -> None:
    images = draw_bytes(seed, 3, 3, height, width)
    targets = draw_bytes(seed + 1, 3, 2, height, width)
    targets = targets.float().masked_fill(targets > 200, torch.nan) if floats else targets
    params = draw_of([seed, seed + 1, seed + 2], AugmentLimits(), images)
    found = warp.apply(images, params, planes=[targets])
    assert torch.equal(found.images, images) and found.inside.all()
    assert found.planes[0].dtype == targets.dtype
    assert torch.equal(found.planes[0].nan_to_num(7e7), targets.nan_to_num(7e7))


@given(seed=seeds, height=sides, square=st.booleans())
def test_moves_of_the_square_are_exact_and_everything_stays_inside(seed, height, square) -> None:
    width = height if square else height + 3
    images = draw_bytes(seed, 8, 2, height, width)
    params = draw_of(list(range(seed, seed + 8)), MOVES, images)
    found = warp.apply(images, params, planes=[images])
    assert torch.equal(found.images, found.planes[0]) and found.inside.all()
    for one, image in zip(found.images, images, strict=True):
        every = [augment.move(image, by) for by in augment.MOVES]
        assert any(one.shape == each.shape and torch.equal(one, each) for each in every)


def test_all_eight_moves_are_equally_likely() -> None:
    image = torch.arange(9, dtype=torch.uint8).reshape(1, 1, 3, 3)
    images = image.expand(1600, 1, 3, 3)
    found = warp.apply(images, draw_of(list(range(1600)), MOVES, images)).images
    counts = [
        int((found == augment.move(image, by)).flatten(1).all(dim=1).sum()) for by in augment.MOVES
    ]
    assert sum(counts) == 1600 and min(counts) > 150 and max(counts) < 250


@given(seed=seeds, height=sides, width=sides)
def test_image_and_labels_move_together(seed, height, width) -> None:
    """Of a sample of nothing but large flat squares, both show the same ones."""
    small = draw_bytes(seed, 4, 1, height, width).bitwise_and(1).mul(255)
    images = small.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    params = draw_of(list(range(seed, seed + 4)), replace(STRONG, scale=0.1), images)
    found = warp.apply(images, params, planes=[images])
    clear = (found.images < 20) | (found.images > 235)
    assert torch.equal((found.images > 127)[clear], (found.planes[0] > 127)[clear])


@given(seed=seeds, height=sides, width=sides)
def test_no_class_is_invented_and_what_is_no_number_stays_none(seed, height, width) -> None:
    classes = draw_bytes(seed, 4, 3, height, width) // 64 * 7 + 3
    floats = classes.float().masked_fill(classes == 10, torch.nan)
    images = draw_bytes(seed, 4, 3, height, width)
    params = draw_of(list(range(seed, seed + 4)), STRONG, images)
    moved, moved_floats = warp.apply(images, params, planes=[classes, floats]).planes
    for one, before in zip(moved, classes, strict=True):
        assert set(one.flatten().tolist()) <= set(before.flatten().tolist())
    assert torch.equal(moved_floats.isnan(), moved == 10)
    assert torch.equal(moved_floats.nan_to_num(10).to(torch.uint8), moved)


@given(seed=seeds, count=st.integers(1, 7), width=sides, threads=st.sampled_from([1, 2]))
def test_a_sample_does_not_depend_on_its_batch_order_or_threads(
    seed, count, width, threads
) -> None:
    images = draw_bytes(seed, count, 3, 9, width)
    names = list(range(seed, seed + count))
    together = warp.apply(images, draw_of(names, STRONG, images))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for row in reversed(range(count)):
            one = images[[row]].contiguous(memory_format=torch.channels_last)
            alone = warp.apply(one, draw_of([names[row]], STRONG, one))
            assert torch.equal(alone.images[0], together.images[row])
            assert torch.equal(alone.inside[0], together.inside[row])
    finally:
        torch.set_num_threads(before)


@given(seed=seeds, count=st.integers(1, 5))
def test_a_device_that_is_not_asked_gives_the_same(seed, count) -> None:
    """What leaves a sample as it is does so bit for bit where it is computed nevertheless."""
    images = draw_bytes(seed, count, 3, 9, 10)
    params = draw_of(list(range(seed, seed + count)), replace(STRONG, share=0.4), images)
    expected = warp.apply(images, params, planes=[images])

    def always(values, needed, change):
        return change(values, slice(None))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warp, "change_where", always)
        found = warp.apply(images, params, planes=[images])
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.planes[0], expected.planes[0])


def test_scaled_down_fine_stripes_become_gray_and_not_wide_stripes() -> None:
    images = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    images[..., ::2] = 255
    limits = AugmentLimits(share=1.0, scale=0.5)
    params = [draw_of([seed], limits, images) for seed in range(200)]
    smallest = max(params, key=lambda each: float(each.linear[0, 0, 0]))
    assert smallest.linear[0, 0, 0] > 1.6
    soft = warp.apply(images, smallest).images.float().std()
    hard = replace(smallest, softened=torch.zeros(1))
    assert soft < 20 < 60 < warp.apply(images, hard).images.float().std()


def test_many_channels_are_moved_alike() -> None:
    one = draw_bytes(3, 2, 1, 16, 20)
    found = warp.apply(one.repeat(1, 64, 1, 1), draw_of([1, 2], STRONG, one)).images
    assert torch.equal(found, found[:, :1].expand(-1, 64, -1, -1))


def test_rows_that_do_not_fit_and_empty_batches() -> None:
    images = draw_bytes(0, 2, 1, 4, 4)
    with pytest.raises(ValueError, match="1 rows do not fit 2 images"):
        warp.apply(images, draw_of([1], STRONG, images))
    none = warp.apply(images[:0], draw_of([], STRONG, images), planes=[images[:0]])
    assert none.images.shape == none.planes[0].shape == (0, 1, 4, 4)
