"""What must hold when label images become planes and back, and for which objects are the same."""

from __future__ import annotations

import itertools
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imseg.errors import ImsegError
from imseg.ops.objects import object_planes, separate
from imseg.ops.same_objects import Matches, match_objects
from imseg.types import OBJECT_PLANES, VOID

seeds = st.integers(0, 2**32 - 1)
types = st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
thresholds = st.sampled_from([0.1, 0.3, 0.5, 0.51, 0.75, 1.0])


def draw_bricks(seed: int, *, least: int = 4) -> np.ndarray:
    """Return objects without gaps between them: a wall of bricks, some left out."""
    random = np.random.default_rng(seed)
    labels = np.zeros((36, 44), np.int32)
    top = 0
    while top + least <= len(labels):
        height = int(random.integers(least, 13))
        left = int(random.integers(0, 6))
        while left + least <= labels.shape[1]:
            width = int(random.integers(least, 13))
            labels[top : top + height, left : left + width] = labels.max() + 1
            left += width
        labels[top + height :] = 0
        top += height
    labels[np.isin(labels, random.permutation(labels.max())[: labels.max() // 5])] = 0
    # What the image cuts too thin has no inside.
    return without_objects_below(labels, least)


def without_objects_below(labels: np.ndarray, side: int) -> np.ndarray:
    kept = labels.copy()
    for number in np.unique(labels)[1:]:
        rows, columns = np.nonzero(labels == number)
        if min(np.ptp(rows), np.ptp(columns)) + 1 < side:
            kept[labels == number] = 0
    return kept


def draw_ellipses(seed: int) -> np.ndarray:
    """Return convex objects; a later one keeps to what the earlier ones left, or is left out."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:60, :70]
    labels = np.zeros(rows.shape, np.int32)
    for _ in range(30):
        row, column = random.uniform(0, 60), random.uniform(0, 70)
        long, short, turn = random.uniform(4, 9), random.uniform(4, 9), random.uniform(0, np.pi)
        along = (rows - row) * np.cos(turn) + (columns - column) * np.sin(turn)
        across = (columns - column) * np.cos(turn) - (rows - row) * np.sin(turn)
        inside = (along / long) ** 2 + (across / short) ** 2 < 1
        if not labels[inside].any():
            labels[inside] = labels.max() + 1
    return without_objects_below(labels, 5)


def draw_scraps(seed: int, *, shape: tuple[int, int] = (12, 14), objects: int = 6) -> np.ndarray:
    """Return objects of any shape, in pieces, down to single pixels."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, objects + 1, (shape[0] // 2, shape[1] // 2))
    labels = coarse.repeat(2, axis=0).repeat(2, axis=1)
    stray = random.random(shape) < 0.1
    return np.where(stray, random.integers(0, objects + 1, shape), labels).astype(np.int32)


def partition(labels: np.ndarray) -> set[tuple[int, ...]]:
    """Return the objects as sets of pixels, whatever their numbers."""
    flat = labels.ravel()
    return {tuple(np.flatnonzero(flat == number)) for number in np.unique(flat[flat != 0])}


@given(seed=seeds)
def test_touching_bricks_come_back_from_their_planes(seed: int) -> None:
    labels = draw_bricks(seed)
    area, border, position = object_planes(labels)
    separated = separate(area.astype(float), border.astype(float), position)
    assert partition(separated) == partition(labels)


@given(seed=seeds)
def test_convex_objects_come_back_from_their_planes(seed: int) -> None:
    labels = draw_ellipses(seed)
    area, border, position = object_planes(labels)
    separated = separate(area.astype(float), border.astype(float), position)
    matches = match_objects(separated, labels, threshold=0.9)
    assert (matches.fp, matches.fn) == (0, 0)
    assert set(np.unique(separated)) == set(range(matches.tp + 1)) | {0}
    np.testing.assert_array_equal(separated > 0, labels > 0)


@given(seed=seeds)
def test_objects_without_their_discs_still_come_back(seed: int) -> None:
    labels = draw_bricks(seed, least=5)
    area, border, position = object_planes(labels)
    gone = np.random.default_rng(seed).permutation(labels.max() + 1)[: labels.max() // 2]
    position[np.isin(labels, gone)] = 0
    separated = separate(area.astype(float), border.astype(float), position)
    assert partition(separated) == partition(labels)


@given(seed=seeds, by=st.sampled_from(types.elements))
def test_planes_follow_the_naive_formula(seed: int, by) -> None:
    labels = draw_scraps(seed).astype(by)
    area, border, position = object_planes(labels)
    np.testing.assert_array_equal(area, labels != 0)
    for y, x in np.ndindex(labels.shape):
        around = labels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        assert border[y, x] == (labels[y, x] != 0 and (around != labels[y, x]).any())
    for number in np.unique(labels[labels != 0]):
        assert position[labels == number].any()
    assert not position[labels == 0].any()


@given(seed=seeds)
def test_discs_are_round_and_inside_the_rim(seed: int) -> None:
    labels = draw_ellipses(seed)
    _, border, position = object_planes(labels)
    assert not (position & border).any()
    for number in np.unique(labels[labels != 0]):
        rows, columns = np.nonzero((labels == number) & (position == 1))
        middle = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
        distance = np.hypot(rows - middle[0], columns - middle[1])
        radius = (np.ptp(rows) + np.ptp(columns)) / 4
        assert radius <= 8
        assert distance.max() <= radius + 1
        assert len(rows) >= 3 * radius**2


@given(seed=seeds)
def test_void_is_void_in_every_plane_and_no_neighbor(seed: int) -> None:
    labels = draw_scraps(seed, objects=4)
    void = 4
    planes = object_planes(labels, void=void)
    assert ((planes == VOID) == (labels == void)).all()
    assert set(np.unique(planes)) <= {0, 1, VOID}
    for y, x in zip(*np.nonzero((labels != 0) & (labels != void)), strict=True):
        around = labels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        others = (around != labels[y, x]) & (around != void)
        assert planes[1, y, x] == others.any()


def test_the_border_of_the_image_is_no_rim() -> None:
    planes = object_planes(np.full((9, 11), 7))
    assert planes[0].all()
    assert not planes[1].any()
    assert planes[2, 4, 5]  # the center is in the middle nevertheless


def test_the_center_of_a_bent_object_is_inside() -> None:
    rows, columns = np.mgrid[:50, :50]
    distance = np.hypot(rows - 25, columns - 25)
    ring = (distance > 14) & (distance < 21) & (columns < 40)
    area, _, position = object_planes(ring.astype(int))
    assert not area[25, 25]
    assert not position[~ring].any()
    assert position.sum() > 9  # and not at its edge, where there is no room for a disc


def test_the_center_of_a_long_object_is_in_its_middle() -> None:
    labels = np.zeros((11, 41), int)
    labels[3:8, 4:35] = 1
    rows, columns = np.nonzero(object_planes(labels)[2])
    assert (rows.mean(), columns.mean()) == (5, 19)


def test_discs_in_wide_objects_are_spaced_like_those_of_cells() -> None:
    labels = np.zeros((60, 120), int)
    labels[:, :60] = 1
    lone = object_planes(labels)[2]
    assert np.ptp(np.nonzero(lone)[1]) == 2 * 8
    labels[:, :20], labels[:, 20:40], labels[:, 40:] = 1, 2, 3
    close = object_planes(labels)[2]
    assert np.ptp(np.nonzero(close[:, :20])[1]) == 2 * 5  # centers 20 apart


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (2, 2), (9, 2)])
def test_objects_without_an_inside_have_a_center(shape: tuple[int, int]) -> None:
    labels = np.zeros((14, 14), np.uint16)
    labels[3 : 3 + shape[0], 3 : 3 + shape[1]] = 300
    area, border, position = object_planes(labels)
    assert position.sum() == 1
    np.testing.assert_array_equal(area, border)
    separated = separate(area.astype(float), border.astype(float), position)
    assert partition(separated) == partition(labels)


def test_planes_lie_in_the_order_that_the_legend_gives() -> None:
    labels = np.zeros((15, 15), int)
    labels[2:13, 2:13] = 1
    pixels = dict(zip(OBJECT_PLANES, object_planes(labels).sum(axis=(1, 2)), strict=True))
    assert pixels["area"] == 121
    assert pixels["border"] == 40
    assert 0 < pixels["position"] < 81


def test_an_image_without_objects_stays_without() -> None:
    nothing = np.zeros((8, 9), int)
    planes = object_planes(nothing)
    assert not planes.any()
    assert not separate(*planes.astype(float)[:2], planes[2]).any()


def test_specks_are_no_objects_but_small_objects_with_a_disc_are() -> None:
    labels = np.zeros((40, 60), int)
    for number, left in enumerate((2, 17, 32), start=1):
        labels[5:15, left : left + 10] = number
    area, border, position = object_planes(labels)
    area[30, 3:6] = 1  # 3 pixels against 100
    area[30, 20:32] = 1  # 12 pixels
    area[30, 40:43] = position[30, 41] = 1
    area[35, 3:6] = border[35, 3:6] = 1  # the same without a core
    area[35, 20:32] = border[35, 20:32] = 1
    separated = separate(area.astype(float), border.astype(float), position)
    assert not separated[[30, 35], 4].any()
    assert separated[[30, 35], 25].all()
    assert separated[30, 41]
    assert separated.max() == 6
    alone = separate(area.astype(float), border.astype(float), np.zeros_like(position))
    assert not alone[[30, 35], 4].any()
    assert partition(alone * (labels > 0)) == partition(labels)


def test_an_object_whose_core_hangs_together_by_corners_is_one() -> None:
    rows, columns = np.mgrid[:40, :40]
    band = (abs(rows - columns) <= 2).astype(int)
    area, border, position = object_planes(band)
    separated = separate(area.astype(float), border.astype(float), position)
    assert partition(separated) == partition(band)


def test_a_disc_beside_the_area_is_no_object() -> None:
    planes = np.zeros((2, 10, 10))
    disc = np.zeros((10, 10), np.uint8)
    disc[3:6, 3:6] = 1
    assert not separate(*planes, disc).any()


def test_without_any_disc_cores_are_the_objects() -> None:
    labels = draw_bricks(3, least=5)
    area, border, position = object_planes(labels)
    separated = separate(area.astype(float), border.astype(float), np.zeros_like(position))
    assert partition(separated) == partition(labels)


def naive_matches(predicted: np.ndarray, truth: np.ndarray, threshold: float) -> tuple:
    """Return tp, fp, fn and the sum of IoUs of the best way to pair objects, by trying them all."""
    here = [predicted == number for number in np.unique(predicted[predicted != 0])]
    there = [truth == number for number in np.unique(truth[truth != 0])]
    ious = [[(a & b).sum() / (a | b).sum() for b in there] for a in here]
    best = (0, 0.0)
    places = [*range(len(there)), *[None] * len(here)]
    for order in set(itertools.permutations(places, len(here))):
        pairs = [ious[a][b] for a, b in enumerate(order) if b is not None]
        reached = [iou for iou in pairs if iou >= threshold]
        best = max(best, (len(reached), sum(reached)))
    return best[0], len(here) - best[0], len(there) - best[0], best[1]


@given(seed=seeds, threshold=thresholds)
def test_matches_follow_the_naive_formula(seed: int, threshold: float) -> None:
    random = np.random.default_rng(seed)
    predicted = draw_scraps(seed, shape=(6, 6), objects=3)
    truth = np.where(
        random.random(predicted.shape) < 0.3, random.permutation(4)[predicted], predicted
    )
    matches = match_objects(predicted, truth, threshold=threshold)
    *counts, overlap = naive_matches(predicted, truth, threshold)
    assert [matches.tp, matches.fp, matches.fn] == counts
    assert matches.overlap == pytest.approx(overlap)


@given(seed=seeds, threshold=st.floats(0.5001, 1))
def test_above_one_half_every_pair_close_enough_is_a_match(seed: int, threshold: float) -> None:
    truth = draw_ellipses(seed)
    predicted = np.roll(truth, (1, 1), axis=(0, 1))
    pairs = 0
    for a, b in itertools.product(np.unique(predicted)[1:], np.unique(truth)[1:]):
        one, other = predicted == a, truth == b
        pairs += (one & other).sum() / (one | other).sum() >= threshold
    assert match_objects(predicted, truth, threshold=threshold).tp == pairs


@given(seed=seeds, first=types, second=types, threshold=thresholds)
def test_the_numbers_of_objects_do_not_matter(seed: int, first, second, threshold: float) -> None:
    labels = draw_scraps(seed)
    greatest = min(np.iinfo(first).max, np.iinfo(second).max, 2**40)
    random = np.random.default_rng(seed)
    names = np.concatenate([[0], greatest - random.permutation(60)[:6]])
    renamed = names[labels].astype(second)
    matches = match_objects(labels.astype(first), renamed, threshold=threshold)
    assert matches == Matches(matches.tp, 0, 0, matches.tp)
    assert matches.f1 == matches.ap == 1
    assert matches.tp == len(partition(labels))


@given(seed=seeds, threshold=thresholds)
def test_matching_is_symmetric(seed: int, threshold: float) -> None:
    one, other = draw_scraps(seed), draw_scraps(seed ^ 1)
    here = match_objects(one, other, threshold=threshold)
    there = match_objects(other, one, threshold=threshold)
    assert (here.tp, here.fp, here.fn) == (there.tp, there.fn, there.fp)
    assert here.f1 == there.f1
    assert here.ap == there.ap
    assert here.overlap == pytest.approx(there.overlap)


@given(seed=seeds)
def test_a_stricter_match_is_rarer(seed: int) -> None:
    one = draw_ellipses(seed)
    other = np.roll(one, 1, axis=0)
    found = [match_objects(one, other, threshold=share / 10).tp for share in range(1, 11)]
    assert found == sorted(found, reverse=True)


def test_two_halves_of_an_object_are_not_both_a_match() -> None:
    truth = np.ones((4, 4), int)
    predicted = np.repeat([[1, 1, 2, 2]], 4, axis=0)
    assert match_objects(predicted, truth) == Matches(1, 1, 0, 0.5)
    assert match_objects(truth, predicted) == Matches(1, 0, 1, 0.5)


def test_two_fair_matches_are_better_than_one_good_one() -> None:
    predicted, truth = np.ones((1, 20), int), np.ones((1, 20), int)
    predicted[0, 17:] = truth[0, :3] = 2  # IoUs 14/20 for the large ones, 3/17 for either small one
    assert match_objects(predicted, truth) == Matches(1, 1, 1, 14 / 20)
    matches = match_objects(predicted, truth, threshold=0.1)
    assert (matches.tp, matches.fp, matches.fn) == (2, 0, 0)


def test_thousands_of_objects_are_matched() -> None:
    labels = np.arange(64 * 64).reshape(64, 64)
    renamed = np.random.default_rng(0).permutation(np.arange(1, 64 * 64))
    matches = match_objects(np.append(0, renamed)[labels], labels)
    assert matches == Matches(64 * 64 - 1, 0, 0, 64 * 64 - 1)


def test_nothing_on_both_sides_is_right_and_on_one_side_wrong() -> None:
    nothing, one = np.zeros((5, 5), int), np.eye(5, dtype=int)
    right = match_objects(nothing, nothing)
    assert right.f1 == right.ap == 1
    assert right.mean_iou is None
    assert match_objects(one, nothing) == Matches(0, 1, 0, 0)
    assert match_objects(nothing, one) == Matches(0, 0, 1, 0)
    assert match_objects(nothing, one).f1 == match_objects(nothing, one).ap == 0


def test_scores_count_what_they_say() -> None:
    matches = Matches(tp=3, fp=1, fn=2, overlap=2.4)
    assert matches.f1 == 6 / 9
    assert matches.ap == 3 / 6
    assert matches.mean_iou == pytest.approx(0.8)


def test_what_lies_in_void_is_neither_right_nor_wrong() -> None:
    truth = np.zeros((10, 20), int)
    truth[2:6, 2:6] = 1
    void = np.zeros(truth.shape, bool)
    void[:, 10:] = True
    predicted = truth.copy()
    predicted[2:6, 12:16] = 2  # inside
    predicted[7:9, 9:12] = 3  # by two thirds
    assert match_objects(predicted, truth, void_mask=void) == Matches(1, 0, 0, 1)
    predicted[7:9, 7:9] = 3  # now by less than half
    assert match_objects(predicted, truth, void_mask=void) == Matches(1, 1, 0, 1)
    truth[2:6, 12:16] = 2
    assert match_objects(predicted * 0, truth, void_mask=void) == Matches(0, 0, 1, 0)
    predicted[2:6, 2:14] = 1  # what reaches into void is compared outside
    assert match_objects(predicted, truth, void_mask=void).overlap == 0.5


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, math.nan])
def test_a_threshold_that_means_nothing_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        match_objects(np.ones((2, 2), int), np.ones((2, 2), int), threshold=threshold)


def test_label_images_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, not \(2, 2\) and \(2, 3\)"):
        match_objects(np.ones((2, 2), int), np.ones((2, 3), int))


@pytest.mark.parametrize("library", ["skimage.segmentation", "scipy.ndimage"])
def test_without_its_library_a_user_is_told_what_to_install(monkeypatch, library: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    planes = np.zeros((2, 4, 4))
    with pytest.raises(ImsegError, match="is needed to tell objects apart") as caught:
        separate(*planes, planes[0])
    assert "pip install 'imseg[cells]'" in str(caught.value)


def test_real_nuclei_come_back_from_their_planes() -> None:
    named = os.environ.get("IMSEG_DATA")
    if not named:
        pytest.skip("IMSEG_DATA is unset: the folder of real images is missing")
    files = sorted(Path(named, "nuclei", "instances").glob("*.png"))[::8]
    assert files
    counts = np.zeros(3, int)
    for file in files:
        with Image.open(file) as picture:
            labels = np.asarray(picture)
        area, border, position = object_planes(labels)
        separated = separate(area.astype(float), border.astype(float), position)
        matches = match_objects(separated, labels)
        counts += (matches.tp, matches.fp, matches.fn)
    assert Matches(*counts.tolist(), overlap=0).f1 > 0.985
