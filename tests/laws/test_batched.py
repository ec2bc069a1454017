"""A batch augmented at once has the bits of the batch augmented in groups."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from imseg.ops import augment, batched, photometric
from imseg.ops.batched import AugmentRange, no_params, params_of, range_of
from imseg.ops.photometric import STRENGTH_SCHEDULES, Strength

seeds = st.integers(0, 2**62)
sides = st.integers(1, 9)
strengths = st.builds(
    Strength,
    blur=st.integers(0, 3),
    noise=st.sampled_from([0, 1, 25, 255]),
    gain=st.sampled_from([0.0, 0.3, 1.0]),
    offset=st.sampled_from([0, 25, 255]),
)
STRONG = STRENGTH_SCHEDULES["default"][-1]


def draw_bytes(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def channels_last(planes: Tensor) -> Tensor:
    return planes.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def same(one: Tensor, other: Tensor) -> bool:
    """Whether type, values (what is not a number included) and memory format agree."""
    formats = (torch.contiguous_format, torch.channels_last)
    lie_alike = not one.numel() or all(
        one.is_contiguous(memory_format=each) == other.is_contiguous(memory_format=each)
        for each in formats
    )
    values = (one.nan_to_num(7e7), other.nan_to_num(7e7))
    return lie_alike and one.dtype == other.dtype and torch.equal(*values)


@settings(max_examples=120)
@given(
    seed=seeds,
    strength=strengths,
    height=sides,
    width=st.one_of(st.none(), sides),
    shape=st.tuples(st.integers(0, 5), st.integers(1, 4)),
    order=st.sampled_from(["copy", "view"]),
    flags=st.tuples(*[st.booleans()] * 5),
    filled=st.sampled_from([None, "one color", "every place"]),
)
def test_batched_is_in_groups(seed, strength, height, width, shape, order, flags, filled) -> None:
    (images_count, channels), (rotate, paper, black, floats, last) = shape, flags
    width = width or height
    images = draw_bytes(seed % 2**32, images_count, channels, height, width)
    images = channels_last(images) if last else images
    targets = draw_bytes(seed % 2**31, images_count, 2, height, width)
    if floats:
        targets = targets.float().masked_fill(targets > 250, torch.nan)
    mask = draw_bytes(seed % 2**30, images_count, 1, height, width) > 128
    square = height == width
    names = [seed + 3 * row for row in range(images_count)]
    draws = augment.draw(names, strength, rotate=rotate, square=square)
    how = {"targets": targets, "mask": mask, "order": order, "paper": paper}
    if filled:
        places = (height, width) if filled == "every place" else (1, 1)
        how["fill"] = draw_bytes(seed % 2**29, images_count, channels, *places)
    grouped = augment.apply(images, draws, black=black, **how)
    found = batched.apply(
        images,
        params_of(draws),
        augment_range=range_of(strength, rotate=rotate, square=square),
        black=torch.full((images_count,), black) if black else None,
        **how,
    )
    for one, other in zip(found, grouped, strict=True):
        assert same(one, other)


@given(seed=seeds, weak=strengths, strong=strengths, order=st.sampled_from(["copy", "view"]))
def test_images_of_several_strengths_and_plain_ones_share_a_batch(
    seed, weak, strong, order
) -> None:
    images, mask = draw_bytes(seed % 2**32, 9, 3, 6, 6), draw_bytes(seed % 2**31, 9, 1, 6, 6) > 99
    augment_params, expected = no_params(9), images.clone()
    augment_range, black = AugmentRange(), torch.zeros(9, dtype=torch.bool)
    for number, strength in enumerate((weak, strong)):
        rows = torch.tensor([1, 4, 7]) + number
        rotate, names = bool(number), [seed + int(row) for row in rows]
        draws = augment.draw(names, strength, rotate=rotate, square=True)
        augment_params.put(rows, params_of(draws))
        augment_range |= range_of(strength, rotate=rotate, square=True)
        how = {"order": order, "black": not number}
        expected[rows] = augment.apply(images[rows], draws, mask=mask[rows], **how).images
        black[rows] = not number
    found = batched.apply(
        images, augment_params, augment_range=augment_range, mask=mask, black=black, order=order
    )
    assert torch.equal(found.images, expected)
    assert torch.equal(found.images[::3], images[::3]), "plain ones are left as they are"


def test_batches_beyond_what_is_worked_on_at_once_are_the_same(monkeypatch) -> None:
    images, draws = draw_bytes(1, 7, 3, 8, 8), photometric.draw(range(7), STRONG)
    still = augment.draw(range(7), STRONG, rotate=False, square=True)
    augment_params = params_of(replace(still, values=draws))
    augment_range = range_of(STRONG, rotate=False, square=True, moves=False)
    monkeypatch.setattr(batched, "VALUES_AT_ONCE_ELSEWHERE", 2 * images[0].numel())
    found = batched.change_values(images, augment_params, augment_range=augment_range)
    assert torch.equal(found, photometric.apply(images, draws))


def test_what_comes_in_is_never_written_to() -> None:
    images = draw_bytes(2, 6, 3, 8, 8)
    before, draws = images.clone(), augment.draw(range(6), STRONG, rotate=True, square=True)
    augment_range = range_of(STRONG, rotate=True, square=True)
    batched.apply(images, params_of(draws), augment_range=augment_range).images.fill_(7)
    assert torch.equal(images, before)


def test_what_does_not_fit_is_refused() -> None:
    images, augment_params = draw_bytes(0, 3, 1, 4, 4), no_params(2)
    with pytest.raises(ValueError, match="2 rows do not fit 3 images"):
        batched.apply(images, augment_params, augment_range=AugmentRange())
    with pytest.raises(ValueError, match="there is no mask"):
        black = torch.ones(2, dtype=torch.bool)
        batched.apply(images[:2], augment_params, augment_range=AugmentRange(), black=black)
    with pytest.raises(ValueError, match=r"one of \('copy', 'view'\), not 'views'"):
        batched.change_values(
            images[:2], augment_params, augment_range=AugmentRange(), order="views"
        )
    draws = augment.draw([1, 2, 3], STRONG, rotate=True, square=True)
    noise = torch.zeros(3, 1, 4, 4, dtype=torch.int16)
    with pytest.raises(ValueError, match="added in groups"):
        params_of(replace(draws, values=replace(draws.values, noise=noise)))
