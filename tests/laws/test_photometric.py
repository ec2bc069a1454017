"""What must hold for gain and offset, blur and noise, whatever the images and the seeds are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from imseg.errors import ImsegError
from imseg.ops import photometric
from imseg.ops.photometric import STRENGTH_SCHEDULES, Strength, ValueDraws, blur, scale_values

seeds = st.integers(-(2**63), 2**63 - 1)
image_seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 12)
channel_counts = st.integers(1, 5)
radii = st.integers(0, 3)
ORDERS = ("copy", "view")
STRONG = STRENGTH_SCHEDULES["default"][-1]
WEIGHTS = ([1], [1, 2, 1], [1, 4, 6, 4, 1], [2, 7, 14, 18, 14, 7, 2])
"""The published kernels, by radius."""


def draw_images(
    seed: int, images: int = 3, *, channels: int = 3, height: int = 9, width: int = 7
) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (images, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def channels_last(images: Tensor) -> Tensor:
    """Return the same images as they come from a store of ``n h w c``."""
    return images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def naive_scale(image, gain: float, offset: float, *, absolute: bool):
    values = np.float32(gain) * image.astype(np.float32) + np.float32(offset)
    values = np.abs(values) if absolute else np.maximum(values, 0)
    return np.minimum(np.rint(values), 255).astype(np.uint8)


def naive_blur(image, radius: int):
    """Return the weighted mean of each pixel's square, in exact arithmetic, one pixel by one."""
    padded = np.pad(image.astype(int), ((0, 0), (radius, radius), (radius, radius)), mode="reflect")
    weights = np.outer(WEIGHTS[radius], WEIGHTS[radius])
    blurred = np.empty_like(image)
    for c, y, x in np.ndindex(image.shape):
        square = padded[c, y : y + 2 * radius + 1, x : x + 2 * radius + 1]
        blurred[c, y, x] = math.floor(int((weights * square).sum()) / int(weights.sum()) + 0.5)
    return blurred


@given(seed=seeds, image_seed=image_seeds, order=st.sampled_from(ORDERS), paper=st.booleans())
def test_strength_0_changes_nothing(seed, image_seed, order, paper) -> None:
    images = draw_images(image_seed)
    draws = photometric.draw([seed, 1, 2], Strength())
    assert torch.equal(photometric.apply(images, draws, order=order, paper=paper), images)


@given(
    image_seed=image_seeds, gain=st.floats(0, 2), offset=st.floats(-255, 255), paper=st.booleans()
)
def test_gain_and_offset_are_the_formula(image_seed, gain, offset, paper) -> None:
    images = draw_images(image_seed, 2)
    gains, offsets = torch.tensor([gain, 1.0]), torch.tensor([offset, -20.5])
    found = scale_values(images, gain=gains, offset=offsets, absolute=paper)
    for row in range(2):
        expected = naive_scale(
            images[row].numpy(), float(gains[row]), float(offsets[row]), absolute=paper
        )
        np.testing.assert_array_equal(found[row], expected)


def test_halves_go_to_the_even_number() -> None:
    images = torch.tensor([[1, 3, 5, 7]], dtype=torch.uint8)
    found = scale_values(images, gain=torch.tensor([0.5]), offset=torch.zeros(1))
    assert found.tolist() == [[0, 2, 2, 4]]


def test_black_turns_gray_in_the_paper_only() -> None:
    black = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    ends = {"gain": torch.ones(1), "offset": torch.tensor([-20.0])}
    assert scale_values(black, **ends, absolute=True).unique().tolist() == [20]
    assert scale_values(black, **ends).unique().tolist() == [0]


@pytest.mark.parametrize("paper", [False, True])
def test_the_paper_switch_reaches_the_values(paper) -> None:
    black = torch.zeros(64, 1, 2, 2, dtype=torch.uint8)
    draws = photometric.draw(range(64), Strength(offset=20))
    found = photometric.apply(black, draws, paper=paper)
    gray = found.flatten(1).amax(dim=1) > 0
    expected = draws.scaled & (draws.offset.abs() > 0.5)
    assert torch.equal(gray, expected if paper else expected & (draws.offset > 0))


@given(image_seed=image_seeds, radius=radii, height=sides, width=sides, channels=channel_counts)
def test_blur_is_the_formula_at_any_size(image_seed, radius, height, width, channels) -> None:
    images = draw_images(image_seed, 1, channels=channels, height=height, width=width)
    for given_images in (images, channels_last(images)):
        found = blur(given_images, radius)
        np.testing.assert_array_equal(found[0], naive_blur(images[0].numpy(), radius))


@given(value=st.integers(0, 255), radius=radii, height=sides, width=sides)
def test_a_blurred_constant_is_the_constant(value, radius, height, width) -> None:
    images = torch.full((1, 2, height, width), value, dtype=torch.uint8)
    assert torch.equal(blur(images, radius), images)


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_blur_keeps_the_mean_and_smooths_more_the_farther_it_reaches(radius) -> None:
    images = draw_images(0, 4, height=64, width=64)
    less, more = blur(images, radius - 1).float(), blur(images, radius).float()
    assert abs(float(more.mean() - images.float().mean())) < 1
    assert more.std() < 0.8 * less.std()


@given(image_seed=image_seeds, radius=radii)
def test_blur_treats_mirrored_and_turned_images_alike(image_seed, radius) -> None:
    images = draw_images(image_seed)
    assert torch.equal(blur(images.flip(-1), radius), blur(images, radius).flip(-1))
    assert torch.equal(blur(images.mT, radius), blur(images, radius).mT)


def test_there_is_no_kernel_beyond_the_largest() -> None:
    with pytest.raises(ValueError, match="a radius of 0 to 3 pixels, not 4"):
        blur(draw_images(0), 4)


@given(first=seeds, size=st.integers(1, 6), order=st.sampled_from(ORDERS), level=st.integers(0, 4))
def test_a_seed_gives_the_same_copy_in_any_batch_and_memory_format(
    first, size, order, level
) -> None:
    strength = STRENGTH_SCHEDULES["default"][level]
    names = [(first + 7 * row) % 2**63 for row in range(size)]
    images = draw_images(abs(first) % 2**32, size)
    together = photometric.apply(images, photometric.draw(names, strength), order=order)
    for row, name in enumerate(names):
        draws = photometric.draw([name], strength)
        alone = photometric.apply(images[row : row + 1], draws, order=order)
        assert torch.equal(alone[0], together[row])
    backwards = photometric.draw(torch.tensor(names[::-1]), strength)
    flipped = photometric.apply(channels_last(images.flip(0)), backwards, order=order)
    assert torch.equal(flipped.flip(0), together)


def test_batches_beyond_what_is_worked_on_at_once_are_the_same(monkeypatch) -> None:
    images, draws = draw_images(1, 40), photometric.draw(range(40), STRONG)
    together = photometric.apply(images, draws)
    monkeypatch.setattr(photometric, "VALUES_AT_ONCE", 2 * images[0].numel())
    assert torch.equal(photometric.apply(images, draws), together)


def test_the_number_of_threads_changes_no_bit() -> None:
    images, draws = draw_images(1, 4, height=128, width=96), photometric.draw(range(4), STRONG)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(photometric.apply(images, draws))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_different_seeds_give_different_copies() -> None:
    image = draw_images(2, 1, height=32, width=32)
    names = range(64)
    copies = photometric.apply(image.expand(64, -1, -1, -1), photometric.draw(names, STRONG))
    assert len({copy.numpy().tobytes() for copy in copies}) == 64


@given(image_seed=image_seeds, order=st.sampled_from(ORDERS), paper=st.booleans())
def test_steps_come_in_the_order_that_is_named(image_seed, order, paper) -> None:
    images = draw_images(image_seed, 8)
    draws = photometric.draw(range(image_seed, image_seed + 8), STRONG)
    noise = noise_alone(draws, images.shape)
    found = photometric.apply(images, draws, order=order, paper=paper)
    for row in range(8):
        expected = images[row].numpy()
        for step in ("gain", "blur", "noise") if order == "copy" else ("blur", "noise", "gain"):
            if step == "gain" and draws.scaled[row]:
                ends = float(draws.gain[row]), float(draws.offset[row])
                expected = naive_scale(expected, *ends, absolute=paper)
            elif step == "blur":
                expected = naive_blur(expected, int(draws.radius[row]))
            elif step == "noise":
                moved = expected.astype(int) + noise[row].numpy()
                expected = np.clip(moved, 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(found[row], expected)


def noise_alone(draws: ValueDraws, shape) -> Tensor:
    """Return the noise of draws as it shows on a gray that no noise can push over the edge."""
    gray = torch.full(shape, 128, dtype=torch.uint8)
    still = replace(draws, scaled=draws.scaled & False, radius=draws.radius * 0)
    return photometric.apply(gray, still).to(torch.int16) - 128


def test_given_noise_is_not_written_to_and_may_be_larger_than_any_gray_level() -> None:
    images = draw_images(6, 2, channels=1, height=1, width=2)
    draws = photometric.draw(range(2), Strength())
    noise = torch.tensor([[[[32767, -32768]]], [[[300, -300]]]], dtype=torch.int16)
    before = noise.clone()
    found = photometric.apply(images, replace(draws, noise=noise))
    assert found.flatten().tolist() == [255, 0, 255, 0]
    assert torch.equal(noise, before)


def test_the_two_orders_differ() -> None:
    images, draws = draw_images(3), photometric.draw(range(3), STRONG)
    one, other = (photometric.apply(images, draws, order=order) for order in ORDERS)
    assert not torch.equal(one, other)


@given(image_seed=image_seeds)
def test_noise_may_be_given_and_is_then_used_instead(image_seed) -> None:
    images, draws = draw_images(image_seed), photometric.draw(range(3), STRONG)
    noise = noise_alone(draws, images.shape)
    as_drawn = photometric.apply(images, draws)
    without = replace(draws, reach=draws.reach * 0)
    assert torch.equal(photometric.apply(images, replace(without, noise=noise)), as_drawn)
    last = photometric.apply(channels_last(images), replace(without, noise=noise))
    assert torch.equal(last, as_drawn)


@given(image_seed=image_seeds, order=st.sampled_from(ORDERS), paper=st.booleans())
def test_blocked_pixels_are_black_and_no_others_change(image_seed, order, paper) -> None:
    images, draws = draw_images(image_seed), photometric.draw(range(3), STRONG)
    blocked = draw_images(image_seed + 1, channels=1) < 80
    free = photometric.apply(images, draws, order=order, paper=paper)
    for given_images in (images, channels_last(images)):
        found = photometric.apply(given_images, draws, order=order, paper=paper, blocked=blocked)
        assert torch.equal(found, free.masked_fill(blocked, 0))
        for fill in (draw_images(image_seed + 2), draw_images(image_seed + 3)[..., :1, :1]):
            how = {"order": order, "paper": paper, "blocked": blocked, "fill": fill}
            found = photometric.apply(given_images, draws, **how)
            assert torch.equal(found, torch.where(blocked, fill, free))
            assert found.stride() == given_images.stride()


@pytest.mark.parametrize("strength", [Strength(), STRONG, Strength(blur=3), Strength(noise=9)])
@pytest.mark.parametrize("size", [0, 1, 5])
def test_what_comes_in_is_never_written_to_and_keeps_its_memory_format(strength, size) -> None:
    for images in (draw_images(4, size), channels_last(draw_images(4, size))):
        before = images.clone()
        found = photometric.apply(images, photometric.draw(range(size), strength))
        assert found.shape == images.shape and found.stride() == images.stride()
        found.fill_(7)
        assert torch.equal(images, before)


def test_any_other_memory_layout_gives_the_same_values() -> None:
    images = draw_images(5, 4, height=8, width=10)
    draws = photometric.draw(range(2), STRONG)
    holes = images[::2, :, ::2, 1:]
    expected = photometric.apply(holes.contiguous(), draws)
    assert torch.equal(photometric.apply(holes, draws), expected)


def test_draws_are_spread_over_their_whole_range() -> None:
    draws = photometric.draw(range(4000), STRONG)
    assert 0.47 < draws.scaled.float().mean() < 0.53
    counts = draws.radius.bincount()
    assert counts.tolist() == pytest.approx([1000] * 4, abs=5 * math.sqrt(750))
    for drawn, low, high in ((draws.gain, 0.5, 1.5), (draws.offset, -25, 25)):
        assert low <= drawn.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < drawn.max() <= high
        assert abs(float(drawn.mean()) - (low + high) / 2) < 0.02 * (high - low)
    assert abs(float(torch.corrcoef(torch.stack([draws.gain, draws.offset]))[0, 1])) < 0.08


def test_a_seed_keeps_its_coin_and_noise_when_the_strength_grows() -> None:
    """So that the levels of a schedule differ in strength alone."""
    weak, strong = (
        photometric.draw(range(50), STRENGTH_SCHEDULES["default"][level]) for level in (0, 4)
    )
    assert torch.equal(weak.scaled, strong.scaled)
    assert torch.equal(weak.noise_keys, strong.noise_keys)
    torch.testing.assert_close((strong.gain - 1) / 5, weak.gain - 1, atol=1e-6, rtol=0)


def test_the_ladders_are_those_of_the_paper() -> None:
    table = {
        "default": [
            (0, 5, 0.1, 5), (1, 10, 0.2, 10), (1, 15, 0.3, 15), (2, 20, 0.4, 20), (3, 25, 0.5, 25),
        ],
        "hela": [
            (0, 5, 0.1, 3), (1, 10, 0.1, 6), (1, 15, 0.2, 9), (2, 20, 0.2, 12), (3, 25, 0.3, 15),
        ],
        "cityscapes": [
            (0, 3, 0.05, 3), (0, 6, 0.1, 6), (0, 9, 0.2, 9), (0, 12, 0.3, 12), (1, 15, 0.4, 15),
        ],
    }  # fmt: skip
    assert {
        name: [(level.blur, level.noise, level.gain, level.offset) for level in levels]
        for name, levels in STRENGTH_SCHEDULES.items()
    } == table


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"blur": 4}, "a whole number from 0 to 3."),
        ({"blur": -1}, "a whole number from 0 to 3."),
        ({"blur": 1.5}, "a whole number from 0 to 3."),
        ({"noise": 256}, "a whole number from 0 to 255."),
        ({"noise": 2.5}, "a whole number from 0 to 255."),
        ({"gain": 1.1}, "a number from 0 to 1."),
        ({"gain": math.nan}, "a number from 0 to 1."),
        ({"offset": -1}, "a whole number from 0 to 255."),
        ({"offset": math.inf}, "a whole number from 0 to 255."),
    ],
)
def test_an_impossible_strength_is_refused(wrong, expected) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ImsegError) as error:
        Strength(**wrong)
    assert str(error.value) == (
        f"The {name} of an augmentation is out of range.\n"
        f"  Expected: {expected}\n"
        f"  Got:      {name} = {value!r}"
    )


def test_draws_that_do_not_fit_the_images_are_refused() -> None:
    images, draws = draw_images(0), photometric.draw(range(2), STRONG)
    with pytest.raises(ValueError, match="2 rows of draws do not fit 3 images"):
        photometric.apply(images, draws)
    noise = torch.zeros(2, 1, 9, 7, dtype=torch.int16)
    with pytest.raises(ValueError, match=r"one of \('copy', 'view'\), not 'views'"):
        photometric.apply(images[:2], draws, order="views")
    with pytest.raises(ValueError, match=r"noise of \(2, 1, 9, 7\) does not fit"):
        photometric.apply(images[:2], replace(draws, noise=noise))
