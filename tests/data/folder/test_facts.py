"""ImageFacts about masks: counted once, kept small."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imseg.data.folder.config import FolderConfig
from imseg.data.folder.facts import Counts, Survey
from imseg.data.folder.inspection import Scope
from imseg.data.folder.mask_facts import MAX_COUNTED, mask_facts
from imseg.data.folder.scan import read_folder, scan
from imseg.data.masks.io import MaskFile

SCOPE = Scope(config=FolderConfig())


def facts_of(values: Any, form: Any = "values", **options: Any) -> Any:
    scope = options.pop("scope", SCOPE)
    return mask_facts("mask", MaskFile(np.asarray(values), form), scope=scope, **options)


@given(values=st.dictionaries(st.integers(-5, 1 << 24), st.integers(1, 1 << 31), max_size=40))
def test_counts_are_a_mapping(values: dict[int, int]) -> None:
    keys = np.array(sorted(values), np.int64)
    counts = Counts(keys, np.array([values[key] for key in keys.tolist()], np.int64))
    assert counts == values
    assert list(counts) == sorted(values)
    assert all(key in counts for key in values)
    assert 1 << 25 not in counts
    assert counts.get(-9, 0) == 0


@given(seed=st.integers(0, 99), values=st.sampled_from([(0, 1), (0, 3, 700), (5, 6, 7, 8)]))
def test_a_mask_is_counted_like_pixel_by_pixel(seed: int, values: tuple[int, ...]) -> None:
    mask = np.random.Generator(np.random.PCG64(seed)).choice(values, (9, 7)).astype(np.uint16)
    void = values[-1]
    facts = facts_of(mask, scope=Scope(config=FolderConfig(void=void)))
    expected: dict[int, int] = {}
    for value in mask.ravel().tolist():
        expected[value] = expected.get(value, 0) + 1
    assert facts.counts == expected
    rest = [value for value in mask.ravel().tolist() if value != void]
    assert facts.known == len(rest)
    assert facts.missing == pytest.approx(1 - len(rest) / 63)
    assert (facts.least, facts.greatest) == (min(rest), max(rest))
    assert facts.mean == pytest.approx(sum(rest) / len(rest))
    assert facts.distinct == len(set(rest))
    assert facts.zeros == rest.count(0)


def test_regions_are_counted_where_numbers_may_be_objects() -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[:2, :2], labels[5:, 5:], labels[0, 8] = 1, 2, 2
    assert (facts_of(labels).regions, facts_of(labels).gapless) == (3, True)
    assert facts_of(labels * 2).regions is None
    off = Scope(config=FolderConfig(), regions=False)
    assert facts_of(labels, scope=off).regions is None
    assert facts_of(labels, label="dead").regions is None
    assert facts_of(labels, label="position").regions == 3


def test_only_the_most_frequent_of_many_values_are_kept() -> None:
    mask = np.arange(10_000).reshape(100, 100)
    mask[:, :50] = 7
    facts = facts_of(mask)
    assert len(facts.counts) == MAX_COUNTED
    assert facts.counts[7] == 5000
    assert facts.distinct == 5001
    assert facts.greatest == 9999


def test_all_objects_are_kept() -> None:
    mask = np.kron(np.arange(900).reshape(30, 30) * 37 % 1009, np.ones((3, 3), int))
    assert len(facts_of(mask).counts) == 900


def test_the_same_mask_has_one_digest_in_8_and_16_bits() -> None:
    mask = np.arange(63).reshape(9, 7)
    digests = {facts_of(mask.astype(kind)).digest for kind in (np.uint8, np.uint16, np.int32)}
    assert len(digests) == 1
    assert facts_of(mask.reshape(7, 9)).digest not in digests
    assert facts_of(mask + 1).digest not in digests
    assert facts_of(mask, "colors").digest not in digests


@pytest.mark.parametrize(
    ("values", "whole"), [([[0.0, 2.0]], True), ([[0.5, 2]], False), ([[np.nan, 2]], False),
                          ([[-1.0, 2]], False), ([[1e9, 2]], False)],
)  # fmt: skip
def test_floats_may_be_whole(values: Any, whole: bool) -> None:
    facts = facts_of(np.array(values, np.float32), "numbers")
    assert facts.whole is whole
    # Whole numbers below 0 are counted too: -1 may be void.
    assert bool(facts.counts) is (whole or facts.least == -1)


def test_infinities_are_missing() -> None:
    facts = facts_of(np.array([[np.inf, -np.inf, np.nan, 1.5]], np.float32), "numbers")
    assert (facts.known, facts.least, facts.greatest, facts.missing) == (1, 1.5, 1.5, 0.75)


def test_palettes_are_kept_once() -> None:
    def palette() -> tuple[tuple[int, int, int], ...]:
        return tuple((value, 0, 0) for value in range(256))

    files = [MaskFile(np.array([[0, 3]], np.uint8), "values", palette()) for _ in range(2)]
    one, other = (mask_facts("mask", file, scope=SCOPE) for file in files)
    assert one.palette is other.palette
    assert one.palette == palette()[:4]


def test_facts_of_many_masks_stay_small() -> None:
    mask = (np.indices((64, 64)).sum(axis=0) // 9).astype(np.uint8)
    facts_of(mask)  # what is imported or made once does not count
    tracemalloc.start()
    kept = [facts_of(mask) for _ in range(200)]
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size / len(kept) < 2000


# What a data set is known by.


def test_digests_change_with_pictures_and_with_masks(good) -> None:
    first = read_folder(good.root).digests
    assert len(first) == 11
    assert len(set(first.values())) == 11
    good.save("labeled/masks/cell_01.png", good.mask((255, 0)))
    second = read_folder(good.root).digests
    changed = [name for name in first if first[name] != second[name]]
    assert changed == ["labeled/images/cell_01.png"]
    good.save("unlabeled/cell_u0.png", good.picture())
    third = read_folder(good.root).digests
    assert [name for name in first if second[name] != third[name]] == ["unlabeled/cell_u0.png"]


def test_digests_know_every_plane_and_its_label(maker) -> None:
    maker.planes(labels=("alive", "dead"))
    first = read_folder(maker.root).digests
    maker.save("labeled/masks/dead/cell_00.png", maker.mask())
    second = read_folder(maker.root).digests
    assert [name for name in first if first[name] != second[name]] == ["labeled/images/cell_00.png"]
    (maker.root / "labeled/masks/dead").rename(maker.root / "labeled/masks/ill")
    assert not set(second.values()) & set(read_folder(maker.root).digests.values())


def test_an_empty_survey_counts_nothing() -> None:
    assert Survey().label_counts() == {}
    assert Survey().digests() == {}


def test_every_picture_has_a_look(good) -> None:
    assert all(facts.look is not None for facts in scan(good.root).survey.every())
