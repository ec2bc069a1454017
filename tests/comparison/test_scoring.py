"""Means, paired differences and shares of the gap, against formulas written down independently."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imseg.comparison.scoring import difference, gap_closed, level_of


def scores(seed: int, *, seeds: int = 3, images: int = 40, mean: float = 0.6) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 0.1, (seeds, images))


def naive_interval(values: list[float]) -> tuple[float, float]:
    """The bootstrap of a mean as textbooks have it, with other random numbers."""
    draws = np.random.default_rng(5).integers(0, len(values), (4000, len(values)))
    means = sorted(sum(values[i] for i in row) / len(row) for row in draws.tolist())
    return means[100], means[-101]


def test_a_level_is_the_mean_over_seeds_of_means_over_images():
    found = scores(1)
    level = level_of(found)
    means = [sum(row) / len(row) for row in found.tolist()]
    middle = sum(means) / 3
    assert level.mean == pytest.approx(middle)
    assert level.spread == pytest.approx((sum((m - middle) ** 2 for m in means) / 2) ** 0.5)
    assert level_of(found[:1]).spread == 0


def test_intervals_are_those_of_a_naive_bootstrap_over_images():
    found = scores(2)
    each = [sum(found[:, i].tolist()) / 3 for i in range(40)]
    low, high = naive_interval(each)
    ours = level_of(found).interval
    width = high - low
    assert ours[0] == pytest.approx(low, abs=0.1 * width)
    assert ours[1] == pytest.approx(high, abs=0.1 * width)


def test_pairing_takes_out_what_images_have_in_common():
    one = scores(3)
    other = one - 0.01 + np.random.default_rng(4).normal(0, 0.002, one.shape)
    found = difference(one, other)
    assert found.mean == pytest.approx(float((one - other).mean()))
    low, high = found.interval
    assert 0.008 < low < found.mean < high < 0.012
    levels = level_of(one).interval
    assert high - low < 0.2 * (levels[1] - levels[0]), "alone, the two could not be told apart"
    assert found.of_seeds == pytest.approx((one - other).mean(axis=1).tolist())


@given(seed=st.integers(0, 50), higher=st.booleans())
def test_turned_around_a_difference_changes_its_sign(seed, higher):
    one, other = scores(seed), scores(seed + 100)
    there = difference(one, other, higher_is_better=higher)
    back = difference(other, one, higher_is_better=higher)
    assert back.mean == pytest.approx(-there.mean)
    assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))
    assert back.images_better == pytest.approx(1 - there.images_better)
    assert difference(one, one).images_better == 0.5


@given(share=st.floats(-0.5, 1.5))
def test_the_share_of_the_gap_is_where_it_was_put(share):
    low = scores(6)
    high = low + 0.1 + np.random.default_rng(7).normal(0, 0.01, low.shape)
    found = gap_closed(low + share * (high - low), labels=low, bound=high)
    assert found is not None
    assert found.mean == pytest.approx(share)
    assert found.interval == pytest.approx((share, share))


def test_where_all_labels_do_not_help_there_is_no_gap_to_close():
    low = scores(8)
    high = low + np.random.default_rng(9).normal(0, 0.05, low.shape)
    high -= (high - low).mean()
    assert gap_closed(low + 0.01, labels=low, bound=high) is None


def test_the_gap_of_errors_is_closed_from_above():
    many = scores(10, mean=5.0)
    few = many - 2.0
    found = gap_closed(many - 1.0, labels=many, bound=few, higher_is_better=False)
    assert found is not None and found.mean == pytest.approx(0.5)


def test_an_image_without_a_score_does_not_count():
    one, other = scores(11), scores(12)
    one[1, 5] = other[1, 5] = np.nan
    kept = np.delete(one, 5, axis=1), np.delete(other, 5, axis=1)
    assert difference(one, other).images_better == difference(*kept).images_better
    assert np.isfinite(difference(one, other).interval).all()


@pytest.mark.rest
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_of_equal_approaches_hardly_one_in_twenty_is_called_better_or_worse(seeds):
    """Chance in training, chance in images, and no difference: what a careless rule falls for."""
    generator = np.random.default_rng(seeds)
    called, repeats, images = 0, 300, 60
    for _ in range(repeats):
        training = generator.normal(0, 0.02, (2, seeds, 1))
        noise = generator.normal(0, 0.05, (2, seeds, images))
        one, other = 0.6 + training + noise
        called += difference(one, other).verdict != "open"
    assert called / repeats <= 0.07


def test_a_clear_difference_is_called_by_its_name():
    one = scores(20, seeds=3)
    other = one - 0.05 + np.random.default_rng(21).normal(0, 0.01, one.shape)
    assert difference(one, other).verdict == "better"
    assert difference(other, one).verdict == "worse"
    assert difference(one, other, higher_is_better=False).verdict == "worse"


def test_one_seed_or_a_handful_of_images_decide_nothing():
    one = scores(22, seeds=3)
    for few in (one[:1], one[:, :9]):
        found = difference(few + 0.3, few)
        assert found.verdict == "open" and found.margin is None
    assert difference(one[:, :10] + 0.3, one[:, :10]).verdict == "better"


def test_a_bound_that_is_worse_than_the_labels_leaves_no_gap():
    low = scores(23)
    worse = low - 0.1 + np.random.default_rng(24).normal(0, 0.01, low.shape)
    assert gap_closed(low - 0.08, labels=low, bound=worse) is None
    assert gap_closed(low - 0.08, labels=low, bound=worse, higher_is_better=False) is not None


def test_other_images_cannot_be_paired():
    with pytest.raises(ValueError, match="cannot be paired"):
        difference(scores(1), scores(1, images=39))
