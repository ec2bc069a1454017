"""Tiles that show what is rare are looked at more often."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imseg.engine.loading.order import epochs
from imseg.engine.loading.samples import SampleIndex, SampleSet
from imseg.engine.training.recipe import RECIPES

RECIPE = replace(RECIPES["modern"], batch_size=4, epochs=6, max_steps=10**6)


def looks(images: int, rare: list[int] | None, share: float, seed: int = 0) -> list[torch.Tensor]:
    recipe = replace(RECIPE, rare_share=share, validate_every=1)
    chosen = None if rare is None else torch.tensor(rare)
    generator = torch.Generator().manual_seed(seed)
    return [torch.cat(each) for each in epochs(images, recipe, generator, rare=chosen)]


@given(
    images=st.integers(2, 60),
    rare=st.sets(st.integers(0, 59), min_size=1),
    share=st.floats(0.05, 0.9),
)
def test_a_share_of_each_epoch_is_of_rare_ones_in_turn(images, rare, share) -> None:
    chosen = sorted(each for each in rare if each < images)
    if not chosen:
        return
    found = looks(images, chosen, share)
    count = max(round(share * images), len(chosen))
    assert [len(each) for each in found] == [images] * 6, "an epoch stays as long"
    others = [each for each in range(images) if each not in chosen]
    for epoch in found:
        times = torch.bincount(epoch, minlength=images)
        assert times[chosen].sum() == count, "that many, and no more"
        assert (times[others] <= 1).all(), "no other tile is seen twice in an epoch"
        assert times[chosen].min() >= 1, "what is rare is seen in every epoch"
    own = torch.bincount(torch.cat(found), minlength=images)[chosen]
    assert own.max() - own.min() <= 1, "each of them as often as another, but for one"


def test_without_rare_ones_nothing_changes() -> None:
    plain = looks(21, None, 0.0)
    for rare, share in ((None, 1 / 3), ([], 1 / 3)):
        assert all(map(torch.equal, plain, looks(21, rare, share)))
    assert all(map(torch.equal, looks(21, [3], 0.3), looks(21, [3], 0.3)))
    assert not all(map(torch.equal, looks(21, [3], 0.3), looks(21, [3], 0.3, seed=1)))


def test_a_sample_that_is_twice_in_a_batch_is_seen_in_two_ways(tmp_path) -> None:
    sets = (
        SampleSet(images=tmp_path, targets=tmp_path, digest="", indices=(0, 2, 5)),
        SampleSet(images=tmp_path, targets=tmp_path, digest="", indices=(1, 3)),
    )
    index = SampleIndex(sets, seed=0)
    first = index.refs(torch.tensor([4, 1, 1, 0, 1]))
    assert first.sample_set.tolist() == [0, 0, 0, 0, 1]
    assert first.row.tolist() == [2, 2, 0, 2, 3] and first.look.tolist() == [0, 1, 0, 2, 0]
    assert index.refs(torch.tensor([1, 4, 2])).look.tolist() == [3, 0, 1]
    rows = [torch.tensor([0, 0, 1, 0, 0, 1]).bool(), torch.tensor([0, 1, 0, 0]).bool()]
    assert index.numbers_of(rows).tolist() == [1, 2, 3]


@pytest.mark.parametrize("share", [0.0, 1 / 3])
def test_recipes_of_earlier_versions_are_what_they_were(share) -> None:
    told = replace(RECIPES["paper"], rare_share=share).decisive()
    assert ("rare_share" in told) == (share > 0)
