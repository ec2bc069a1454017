"""How many copies a mask is worth: steps, their edges, and what is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imseg.components.amplification import copies_for
from imseg.errors import ImsegError

numbers = st.floats(0, 1, width=32)


def test_one_copy_up_to_the_lower_threshold_and_one_more_a_step() -> None:
    # Steps of 1/8: exact in floats, so the edges are exact too.
    scores = [0.0, 0.25, 0.2500001, 0.374, 0.375, 0.5, 0.625, 0.75, 0.874, 0.875, 0.876, 1.0]
    counts = copies_for(torch.tensor(scores, dtype=torch.double), low=0.25, high=0.875)
    assert counts == [1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 5]


def test_scores_are_compared_as_exactly_as_they_are_given() -> None:
    scores = torch.tensor([0.72, 0.72 + 1e-9, 0.75, 0.75 + 1e-9], dtype=torch.double)
    assert copies_for(scores, low=0.72, high=0.75) == [1, 1, 5, 5]
    edges = torch.tensor([0.726, 0.732, 0.738, 0.744], dtype=torch.double)
    assert copies_for(edges - 1e-5, low=0.72, high=0.75) == [1, 2, 3, 4]
    assert copies_for(edges + 1e-5, low=0.72, high=0.75) == [2, 3, 4, 5]


def test_equal_thresholds_leave_one_copy_or_the_most() -> None:
    scores = torch.tensor([0.4, 0.5, 0.6], dtype=torch.double)
    assert copies_for(scores, low=0.5, high=0.5) == [1, 1, 5]
    assert copies_for(scores, low=0.5, high=0.5, most=3) == [1, 1, 3]


@given(one=numbers, other=numbers, low=numbers, width=numbers, most=st.integers(1, 7))
def test_a_better_mask_never_has_fewer_copies(one, other, low, width, most) -> None:
    scores = torch.tensor(sorted([one, other]), dtype=torch.double)
    fewer, more = copies_for(scores, low=low, high=low + width, most=most)
    assert 1 <= fewer <= more <= most


def test_a_score_that_is_no_number_is_worth_one_copy() -> None:
    assert copies_for(torch.tensor([torch.nan]), low=0.2, high=0.4) == [1]
    assert copies_for(torch.zeros(0), low=0.2, high=0.4) == []


def test_thresholds_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ImsegError) as caught:
        copies_for(torch.tensor([0.5]), low=0.7, high=0.6)
    assert str(caught.value).splitlines() == [
        "The thresholds for the number of copies are the wrong way round.",
        "  Expected: a lower threshold that is not above the upper one.",
        "  Got:      0.7 and 0.6",
    ]
