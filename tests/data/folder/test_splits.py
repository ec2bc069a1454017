"""The fifth of the labeled images that is kept for choosing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imseg.data.folder.scan import split_validation

label_sets = st.lists(st.frozensets(st.integers(0, 5)), min_size=2, max_size=60)


@given(labels=label_sets, seed=st.integers(0, 2**40))
def test_every_image_is_on_exactly_one_side(labels: list[frozenset[int]], seed: int) -> None:
    train, val = split_validation(labels, seed=seed)
    assert sorted(train + val) == list(range(len(labels)))
    assert (train, val) == (sorted(train), sorted(val))


@pytest.mark.parametrize(
    ("count", "held_out"), [(2, 1), (3, 1), (4, 2), (5, 2), (10, 2), (13, 3), (100, 20)]
)
def test_a_fifth_but_at_least_two_are_held_out(count: int, held_out: int) -> None:
    assert len(split_validation([frozenset()] * count, seed=0)[1]) == held_out


@given(labels=label_sets, seed=st.integers(0, 99))
def test_the_same_seed_gives_the_same_split(labels: list[frozenset[int]], seed: int) -> None:
    assert split_validation(labels, seed=seed) == split_validation(labels, seed=seed)


def test_the_split_is_the_same_on_every_machine() -> None:
    assert split_validation([frozenset({i % 3}) for i in range(10)], seed=1)[1] == EXPECTED


EXPECTED = [2, 4]


def test_another_seed_gives_another_split() -> None:
    splits = {tuple(split_validation([frozenset()] * 50, seed=seed)[1]) for seed in range(10)}
    assert len(splits) == 10


@given(seed=st.integers(0, 999))
def test_each_label_is_spread_in_proportion(seed: int) -> None:
    labels = [frozenset({0, 1} if index < 10 else {0}) for index in range(50)]
    _, val = split_validation(labels, seed=seed)
    assert sum(1 in labels[index] for index in val) == 2


@given(seed=st.integers(0, 999), count=st.integers(4, 20))
def test_the_only_image_of_a_class_is_learned_from(seed: int, count: int) -> None:
    labels = [frozenset({0, 9} if index == 2 else {0}) for index in range(count)]
    assert 2 in split_validation(labels, seed=seed)[0]


@given(seed=st.integers(0, 999))
def test_two_images_with_a_class_each_of_their_own_are_both_learned_from(seed: int) -> None:
    labels = [frozenset({0, index}) if index > 2 else frozenset({0}) for index in range(1, 5)]
    assert split_validation(labels, seed=seed)[0] == [2, 3]


def test_a_single_image_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="1 labeled image"):
        split_validation([frozenset()], seed=0)
