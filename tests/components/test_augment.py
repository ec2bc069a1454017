"""How many augmented copies of a pseudo-labeled image a student sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from imseg.components.amplification import (
    CopiesByQuality,
    CopiesByTruth,
    MaskScorer,
    NoisyCopies,
    thresholds_from,
)

KINDS = [NoisyCopies, CopiesByQuality, CopiesByTruth]


@dataclass(frozen=True)
class MadeUp:
    """How good labels are, whoever says so."""

    said: list[float]
    thresholds: tuple[float, float] = (0.25, 0.875)

    def scores(self) -> Tensor:
        return torch.tensor(self.said, dtype=torch.double)


# Five steps of 1/8 from 0.25 to 0.875: exact in floats.
LADDER = [0.1, 0.25, 0.3, 0.375, 0.5, 0.625, 0.75, 0.875, 0.9]
COPIES = (1, 1, 1, 2, 3, 4, 5, 5, 5)
STEPS = MadeUp(LADDER)


@pytest.mark.parametrize("kind", [CopiesByQuality, CopiesByTruth])
def test_quality_decides_how_many_copies_there_are(kind) -> None:
    """Whose word counts is decided where the appraisal is made: tests/e2e/test_audit.py."""
    assert kind().copies(len(LADDER), STEPS) == COPIES
    assert kind().copies(len(LADDER), MadeUp(LADDER[::-1])) == COPIES[::-1]


def test_noisy_copies_are_as_many_of_every_image_whatever_it_is_worth() -> None:
    assert NoisyCopies(count=1).copies(4, None) == (1, 1, 1, 1)
    assert NoisyCopies(count=3).copies(len(LADDER), STEPS) == (3,) * len(LADDER)


@pytest.mark.parametrize("kind", KINDS)
def test_where_nobody_can_say_there_is_one_copy_each(kind) -> None:
    assert kind().copies(5, None) == (1, 1, 1, 1, 1)
    assert kind().copies(0, None) == ()


@given(
    said=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20),
    low=st.floats(0, 0.75),
    width=st.floats(0.125, 1),
)
def test_counts_lie_between_one_and_five_and_follow_the_scores(said, low, width) -> None:
    appraisal = MadeUp(said, thresholds=(low, low + width))
    counts = CopiesByQuality().copies(len(said), appraisal)
    assert counts == CopiesByTruth().copies(len(said), appraisal)
    assert set(counts) <= {1, 2, 3, 4, 5}
    ordered = [count for _, count in sorted(zip(said, counts, strict=True))]
    assert ordered == sorted(ordered)
    for score, count in zip(said, counts, strict=True):
        if score <= low:
            assert count == 1
        elif score > low + width:
            assert count == 5


@pytest.mark.parametrize("kind", KINDS)
def test_plain_images_are_kept_only_where_it_is_said(kind) -> None:
    assert not kind().keep_plain
    assert kind(keep_plain=True).keep_plain
    assert "the images as they are kept too" in str(kind(keep_plain=True))
    assert "in place of the images as they are" in str(kind())


def test_the_oracle_alone_needs_the_truth() -> None:
    assert [kind().needs_truth for kind in KINDS] == [False, False, True]
    assert not hasattr(CopiesByTruth(), "scorer"), "it asks no mask scorers"
    assert CopiesByQuality().scorer == MaskScorer(learns_from="consensus")


def test_what_is_typical_lies_in_the_middle() -> None:
    assert NoisyCopies(count=2).typical == 2
    assert CopiesByQuality().typical == CopiesByTruth().typical == 3


def test_copies_are_told_in_words() -> None:
    assert str(NoisyCopies()).startswith("1 noisy copy of each")
    assert str(NoisyCopies(count=2)).startswith("2 noisy copies of each")


def test_copies_say_how_they_are_made_where_it_is_not_the_default() -> None:
    assert str(NoisyCopies(fresh=True, reblock=False, level=3)) == (
        "1 noisy copy of each, in place of the images as they are, drawn anew at every look,"
        " blocked pixels are augmented like all others, augmented at level 3 in every generation"
    )
    for kind in KINDS:
        plain, fresh = str(kind()), str(kind(fresh=True))
        assert fresh.replace(", drawn anew at every look", "") == plain != fresh
    assert "1 to 5 noisy copies" in str(CopiesByQuality())
    assert "EvalNet" in str(CopiesByQuality()) and "truth" in str(CopiesByTruth())


@given(said=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40))
def test_a_users_own_thresholds_are_the_middle_and_the_upper_tenth_of_the_scores(said) -> None:
    """METHOD: the .5 and .9 quantiles of the scores of validation predictions."""
    low, high = thresholds_from(torch.tensor(said, dtype=torch.float32))
    expected = np.quantile(np.array(said, dtype=np.float64), [0.5, 0.9])
    assert (low, high) == pytest.approx(tuple(expected), abs=1e-12)
    assert min(said) <= low <= high <= max(said) + 1e-12


def test_thresholds_are_what_they_are_by_hand() -> None:
    assert thresholds_from(torch.linspace(0, 1, 11)) == pytest.approx((0.5, 0.9))
    assert thresholds_from(torch.tensor([0.4])) == pytest.approx((0.4, 0.4))


def test_scores_that_are_all_alike_still_give_copies() -> None:
    """One score for all is no rising pair; it is not refused, and nothing exceeds it."""
    low, high = thresholds_from(torch.full((6,), 0.5))
    appraisal = MadeUp([0.4, 0.5, 0.6], thresholds=(low, high))
    assert CopiesByQuality().copies(3, appraisal) == (1, 1, 5)
