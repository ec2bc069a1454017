"""What must hold for every plane of cell centers, and for how cells are counted."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imseg.errors import ImsegError
from imseg.ops.objects import (
    count_cells,
    count_centers,
    disc_radii,
    draw_discs,
    find_centers,
    redraw,
)
from imseg.types import VOID

HEIGHT, WIDTH = 80, 96
seeds = st.integers(0, 2**32 - 1)
papers = st.booleans()


def draw_centers(seed: int, count: int, *, apart: int, margin: int = 10) -> np.ndarray:
    """Return up to ``count`` centers at least ``apart`` pixels from each other."""
    random = np.random.default_rng(seed)
    kept: list[tuple[int, int]] = []
    for _ in range(20 * count):
        center = (
            int(random.integers(margin, HEIGHT - margin)),
            int(random.integers(margin, WIDTH - margin)),
        )
        if len(kept) < count and all(math.dist(center, other) >= apart for other in kept):
            kept.append(center)
    return np.array(kept, dtype=np.int64).reshape(-1, 2)


def as_set(centers: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(center) for center in centers.tolist()}


@given(seed=seeds, count=st.integers(0, 8))
def test_centers_of_discs_are_found_again(seed: int, count: int) -> None:
    centers = draw_centers(seed, count, apart=10)
    plane = draw_discs(centers, disc_radii(centers), (HEIGHT, WIDTH))
    assert as_set(find_centers(plane)) == as_set(centers)
    assert as_set(find_centers(plane, paper=True)) == as_set(centers + 1)


@given(seed=seeds, count=st.integers(0, 8))
def test_redrawing_spaced_discs_changes_nothing(seed: int, count: int) -> None:
    centers = draw_centers(seed, count, apart=10)
    plane = draw_discs(centers, disc_radii(centers), (HEIGHT, WIDTH))
    planes = torch.from_numpy(np.stack([plane, np.zeros_like(plane)]))
    assert torch.equal(redraw(planes), planes)


@given(seed=seeds, paper=papers, scoring=st.booleans(), order=st.permutations(range(3)))
def test_every_plane_of_a_batch_is_redrawn_by_itself(seed, paper, scoring, order) -> None:
    generator = torch.Generator().manual_seed(seed)
    coarse = (torch.rand(3, 1, 8, 6, generator=generator) < 0.3).float()
    planes = torch.nn.functional.interpolate(coarse, scale_factor=7)[:, 0].to(torch.uint8)
    drawn = redraw(planes, paper=paper, scoring=scoring)
    assert torch.equal(redraw(planes[order], paper=paper, scoring=scoring), drawn[order])
    assert set(drawn.unique().tolist()) <= {0, 1}


def test_an_empty_batch_is_redrawn() -> None:
    assert redraw(torch.zeros(0, 5, 6, dtype=torch.uint8)).shape == (0, 5, 6)


@given(seed=seeds, count=st.integers(0, 8), smallest=st.integers(1, 3), more=st.integers(0, 6))
def test_radii_follow_the_naive_formula(seed: int, count: int, smallest: int, more: int) -> None:
    centers = draw_centers(seed, count, apart=1)
    centers = np.concatenate([centers, centers[:1]])  # two at one place
    largest = smallest + more
    radii = disc_radii(centers, smallest=smallest, largest=largest)
    for center, radius in zip(centers.tolist(), radii.tolist(), strict=True):
        others = [math.dist(center, other) for other in centers.tolist() if other != center]
        spaced = math.floor(min(others) / 4) if others else largest
        assert radius == min(max(spaced, smallest), largest)


@given(row=st.integers(0, 40), column=st.integers(0, 40), radius=st.integers(1, 8))
def test_a_disc_is_what_lies_within_its_radius(row: int, column: int, radius: int) -> None:
    plane = draw_discs(np.array([[row, column]]), np.array([radius]), (41, 41))
    rows, columns = np.mgrid[:41, :41]
    inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    np.testing.assert_array_equal(plane, inside)


@given(
    row=st.integers(0, 9),
    column=st.integers(0, 9),
    other=st.integers(0, 9),
    radius=st.integers(1, 6),
)
def test_trimmed_discs_follow_the_naive_formula(row: int, column: int, other: int, radius) -> None:
    centers, radii = np.array([[row, column], [0, other]]), np.array([radius, 3])
    full = draw_discs(centers, radii, (9, 10))
    trimmed = draw_discs(centers, radii, (9, 10), trimmed=True)
    for y, x in np.ndindex(full.shape):
        above, left = abs(y - 1), abs(x - 1)  # mirrored at the border
        assert trimmed[y, x] == min(full[y, x], full[above, x], full[y, left], full[above, left])


@given(seed=seeds, window=st.sampled_from([2, 6, 10]), planes=st.integers(1, 3))
def test_cells_are_counted_by_the_naive_formula(seed: int, window: int, planes: int) -> None:
    random = np.random.default_rng(seed)
    coarse = random.random((planes, 10, 12)) < 0.3
    areas = coarse.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
    centers = draw_centers(seed, 12, apart=0, margin=0)
    expected = [0] * planes
    for row, column in centers.tolist():
        half = window // 2
        around = np.s_[:, max(0, row - half) : row + half, max(0, column - half) : column + half]
        pixels = areas[around].sum(axis=(1, 2)).tolist()
        if max(pixels) > 0 and pixels.count(max(pixels)) == 1:
            expected[pixels.index(max(pixels))] += 1
    assert count_centers(areas, centers, window=window).tolist() == expected


@given(row=st.integers(0, 5), column=st.integers(0, 5), side=st.sampled_from([4, 6, 10]))
def test_the_window_of_a_square_cell_is_straight_above_it(row: int, column: int, side: int) -> None:
    plane = np.zeros((30, 30), np.uint8)
    plane[row + 4 : row + 4 + side, column + 4 : column + 4 + side] = 1
    middle = [[row + 4 + side // 2, column + 4 + side // 2]]
    assert find_centers(plane).tolist() == middle
    assert count_centers(1 - plane[None], np.array(middle)).sum() == (side < 6)


@given(seed=seeds, paper=papers)
def test_no_center_is_counted_twice(seed: int, paper: bool) -> None:
    random = np.random.default_rng(seed)
    areas = (random.random((3, HEIGHT, WIDTH)) < 0.2).astype(np.uint8)
    centers = draw_centers(seed, 12, apart=0, margin=0)
    assert count_centers(areas, centers, paper=paper).sum() <= len(centers)


def test_a_cell_between_two_areas_of_equal_size_belongs_to_neither() -> None:
    areas = np.zeros((2, 12, 12), np.uint8)
    areas[0, :, :6] = areas[1, :, 6:] = 1
    center = np.array([[6, 6]])
    assert count_centers(areas, center).tolist() == [0, 0]
    assert count_centers(areas, center - [0, 1]).tolist() == [1, 0]


def test_an_image_without_cells_counts_none() -> None:
    empty = np.zeros((2, 9, 9), np.uint8)
    assert find_centers(empty[0]).shape == (0, 2)
    assert count_cells(empty, empty[0]).tolist() == [0, 0]


def test_pixels_without_truth_are_no_cells() -> None:
    position = np.zeros((20, 20), np.uint8)
    position[2:7, 2:7] = 1
    position[10:18, 10:18] = VOID
    areas = np.full((1, 20, 20), VOID, np.uint8)
    assert find_centers(position).tolist() == [[4, 4]]
    assert count_centers(areas, np.array([[4, 4]])).tolist() == [0]
    areas[0, 2:7, 2:7] = 1
    assert count_cells(areas, position).tolist() == [1]


def test_erosion_parts_cells_that_hardly_touch_and_drops_specks() -> None:
    plane = np.zeros((30, 30), bool)
    plane[4:11, 4:11] = plane[4:11, 12:19] = True
    plane[7, 11] = True  # a bridge
    plane[25, 25] = True  # a speck
    assert as_set(find_centers(plane)) == {(7, 7), (7, 15)}
    assert len(find_centers(plane, eroded=False)) == 2  # the bridged pair and the speck


def test_the_smallest_cell_that_survives_erosion_has_a_center_but_not_in_the_paper() -> None:
    plane = np.zeros((9, 9), bool)
    plane[3:6, 4:7] = True
    assert find_centers(plane).tolist() == [[4, 5]]
    assert find_centers(plane, paper=True).shape == (0, 2)


def test_a_hole_is_no_cell_but_in_the_paper_it_is() -> None:
    plane = np.zeros((24, 24), bool)
    plane[3:20, 3:20] = True
    plane[9:14, 9:14] = False
    assert find_centers(plane).tolist() == [[11, 11]]
    assert find_centers(plane, paper=True).tolist() == [[12, 12], [12, 12]]


def test_the_square_around_a_center_leaps_from_the_top_left_border_in_the_paper() -> None:
    areas = np.zeros((1, 20, 20), np.uint8)
    areas[0, 7, 7] = 1
    at = np.array([[2, 2]])
    assert count_centers(areas, at).tolist() == [0]
    assert count_centers(areas, at, paper=True).tolist() == [1]  # it reaches from 2 to 7


def test_a_lone_cell_gets_the_largest_disc() -> None:
    plane = np.zeros((40, 40), np.uint8)
    plane[18:23, 18:23] = 1
    lone = torch.from_numpy(plane[None])
    voted, scored = redraw(lone, paper=True), redraw(lone, paper=True, scoring=True)
    assert redraw(lone).any(dim=1).sum() == voted.any(dim=1).sum() == 17  # pixels from rim to rim
    assert torch.equal(redraw(lone, scoring=True), redraw(lone))
    assert scored.any(dim=1).sum() == 4  # of 7, the rims cut off


def test_without_opencv_a_user_is_told_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImsegError, match="cv2 is needed to find and draw cell centers") as caught:
        find_centers(np.zeros((4, 4), bool))
    assert "pip install 'imseg[cells]'" in str(caught.value)
