"""Noise must look random: even, and unrelated between pixels, channels and seeds.

Seeds are fixed, so a test that passes always passes; the bounds are five standard deviations.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imseg.ops.memory_layout import PlaneLayout
from imseg.ops.photometric import (
    STEP,
    add_noise,
    as_words,
    draw_below,
    draw_bits,
    draw_keys,
    draw_uniform,
    make_noise,
    mix,
)

SEEDS = range(128)
"""Neighbors on purpose: a poor generator gives them related numbers."""
REACH = 25
CELLS = 2 * REACH
SHAPE = (3, 48, 40)
BOUND = 5.0


def noise_of(seeds, reach: int = REACH, shape: tuple[int, int, int] = SHAPE, **keywords):
    keys = draw_keys(as_words(seeds), 20)
    channels, height, width = shape
    layout = PlaneLayout(keywords.get("channels_last", False))
    reaches = torch.full((len(keys),), reach, dtype=torch.int32)
    noise = make_noise(keys, reaches, channels=channels, height=height, width=width, layout=layout)
    return layout.unpack(noise).numpy()


@pytest.fixture(scope="module")
def noise():
    """Noise of many seeds, ``b c h w``."""
    return noise_of(SEEDS)


def surprise(counts, expected: float | None = None) -> float:
    """Return by how many standard deviations counts are less even (or more) than chance has it."""
    counts = np.asarray(counts, dtype=np.float64).ravel()
    mean = counts.mean() if expected is None else expected
    freedom = counts.size - 1
    return float((((counts - mean) ** 2 / mean).sum() - freedom) / np.sqrt(2 * freedom))


def joint(one, other):
    """Return how often each pair of values occurs."""
    pairs = (one.ravel() + REACH) * CELLS + (other.ravel() + REACH)
    return np.bincount(pairs, minlength=CELLS * CELLS)


def test_every_value_of_the_range_is_equally_frequent(noise) -> None:
    assert (noise.min(), noise.max()) == (-REACH, REACH - 1)
    assert abs(surprise(np.bincount((noise + REACH).ravel(), minlength=CELLS))) < BOUND


def test_within_an_image_values_are_as_even_as_chance_has_it_not_more_nor_less(noise) -> None:
    each = [surprise(np.bincount((image + REACH).ravel(), minlength=CELLS)) for image in noise]
    assert abs(np.mean(each)) < BOUND / np.sqrt(len(each))
    assert 0.7 < np.std(each) < 1.4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.s_[:, :, :, :-1], np.s_[:, :, :, 1:]),
        (np.s_[:, :, :-1], np.s_[:, :, 1:]),
        (np.s_[:, :, :-1, :-1], np.s_[:, :, 1:, 1:]),
        (np.s_[:, 0], np.s_[:, 1]),
        (np.s_[:, 0], np.s_[:, 2]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:-2], np.s_[2:]),
        (np.s_[:-1, :, :, :-1], np.s_[1:, :, :, 1:]),
    ],
    ids=[
        "right",
        "below",
        "diagonal",
        "channel",
        "2 channels",
        "seed",
        "2 seeds",
        "seed and right",
    ],
)
def test_neighbors_of_any_kind_are_unrelated(noise, one, other) -> None:
    assert abs(surprise(joint(noise[one], noise[other]))) < BOUND


def test_seeds_that_differ_in_any_one_bit_give_unrelated_noise() -> None:
    plain = noise_of([0])
    for bit in range(63):
        other = noise_of([1 << bit])
        assert (other != plain).mean() > 0.95
        assert abs(np.corrcoef(other.ravel(), plain.ravel())[0, 1]) < BOUND / np.sqrt(plain.size)


def test_no_place_is_brighter_than_others_over_many_seeds() -> None:
    many = noise_of(range(2000), shape=(1, 24, 24)).astype(np.float64) + 0.5
    error = REACH / np.sqrt(3) / np.sqrt(len(many))
    scores = many.mean(axis=0) / error
    assert np.abs(scores).max() < BOUND
    assert 0.85 < scores.std() < 1.15


def test_three_places_do_not_determine_a_fourth(noise) -> None:
    """A plane made of rows plus columns would pass every test of pairs."""
    corners = noise[..., :-1, :-1] - noise[..., :-1, 1:] - noise[..., 1:, :-1] + noise[..., 1:, 1:]
    values, counts = np.unique((corners + 2 * CELLS) % CELLS, return_counts=True)
    assert len(values) == CELLS
    # Corners overlap, so their counts vary more than those of single values.
    assert surprise(counts) < 2 * BOUND


@given(reach=st.integers(0, 255), seed=st.integers(0, 2**63 - 1))
def test_noise_lies_in_its_range_and_0_is_none(reach: int, seed: int) -> None:
    noise = noise_of([seed], reach)
    if reach == 0:
        assert not noise.any()
    else:
        assert -reach <= noise.min() < 0 <= noise.max() < reach


@pytest.mark.parametrize("reach", [1, 3, 100, 255])
def test_other_ranges_are_even_too(reach) -> None:
    noise = noise_of(SEEDS, reach)
    assert abs(surprise(np.bincount((noise + reach).ravel(), minlength=2 * reach))) < BOUND


def test_a_place_has_the_same_noise_in_either_memory_format() -> None:
    np.testing.assert_array_equal(noise_of([3, 4]), noise_of([3, 4], channels_last=True))


def test_sums_are_cut_at_black_and_white() -> None:
    images = torch.tensor([[[[0, 3, 128, 250, 255]]]], dtype=torch.uint8)
    noise = torch.tensor([[[[-255, -4, 5, 6, 254]]]])
    for dtype in (torch.int16, torch.int32):
        given_noise = noise.to(dtype)
        found = add_noise(images, given_noise)
        assert found.flatten().tolist() == [0, 0, 133, 255, 255]
        assert torch.equal(given_noise, noise.to(dtype))


def test_drawn_numbers_are_even_and_unrelated_between_uses_and_seeds() -> None:
    words = as_words(range(20_000))
    one, other = draw_uniform(words, 0), draw_uniform(words, 1)
    assert one.min() >= 0 and one.max() < 1
    for first, second in ((one, other), (one[:-1], one[1:]), (one[:-1], other[1:])):
        cells = (first * 20).astype(int) * 20 + (second * 20).astype(int)
        assert abs(surprise(np.bincount(cells, minlength=400))) < BOUND


def test_no_seed_repeats_for_one_use_what_another_has_for_the_next() -> None:
    """The uses of a seed are steps from it, so seeds a step apart must not share their path."""
    words = as_words(range(100))
    for use in range(20):
        assert (draw_bits(words + STEP, use) != draw_bits(words, use + 1)).all()


def test_whole_numbers_below_a_count_are_even() -> None:
    drawn = draw_below(as_words(range(8_000)), 2, count=8)
    assert abs(surprise(np.bincount(drawn.numpy(), minlength=8))) < BOUND


def test_scrambling_is_that_of_splitmix64() -> None:
    """The first numbers of the published generator, started at 1234567."""
    step, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    states = np.array([(1234567 + step * k) & mask for k in range(1, 4)], dtype=np.uint64)
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert mix(states).tolist() == published


def test_seeds_may_be_a_tensor_or_numbers_and_must_fit_64_bits() -> None:
    seeds = [0, -5, 2**63 - 1]
    assert as_words(seeds).tolist() == as_words(torch.tensor(seeds)).tolist()
    with pytest.raises(OverflowError):
        as_words([2**64])
