"""Spearman's correlation, against ranks counted one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imseg.engine.inference.evaluator import rank_correlation

few_values = st.lists(st.integers(0, 5), min_size=2, max_size=20)
pairs = few_values.flatmap(
    lambda one: st.tuples(
        st.just(one), st.lists(st.integers(0, 5), min_size=len(one), max_size=len(one))
    )
)


def counted_rank(values: list[int], value: int) -> float:
    below = sum(other < value for other in values)
    return below + (values.count(value) + 1) / 2


def by_hand(one: list[int], other: list[int]) -> float:
    first = [counted_rank(one, value) for value in one]
    second = [counted_rank(other, value) for value in other]
    if len(set(first)) == 1 or len(set(second)) == 1:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


@given(pair=pairs)
def test_it_is_the_correlation_of_ranks_that_ties_share(pair) -> None:
    one, other = pair
    assert rank_correlation(one, other) == pytest.approx(by_hand(one, other), abs=1e-12)


@given(pair=pairs)
def test_only_the_order_counts(pair) -> None:
    one, other = pair
    stretched = [math.exp(value) for value in one]
    assert rank_correlation(stretched, other) == pytest.approx(rank_correlation(one, other))
    turned = [-value for value in one]
    assert rank_correlation(turned, other) == pytest.approx(-rank_correlation(one, other))


def test_the_same_order_is_1_and_the_opposite_is_minus_1() -> None:
    assert rank_correlation([1, 5, 2, 9], [0.1, 0.3, 0.2, 0.9]) == pytest.approx(1)
    assert rank_correlation([1, 5, 2, 9], [9, 2, 5, 1]) == pytest.approx(-1)


@pytest.mark.parametrize("one", [[0.4], [0.4, 0.4], [0.4, 0.4, 0.4]])
def test_where_all_are_equal_nothing_is_ranked(one: list[float]) -> None:
    assert rank_correlation(one, [*range(len(one))]) == 0.0
    assert rank_correlation([*range(len(one))], one) == 0.0
