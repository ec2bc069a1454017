"""Cell centers, discs and counts, against ``hela_geometry`` and whatever is made with them.

That is: redrawn positions in ``pseudo_hela`` (every row of settings), ``benchmarks`` and
``ensembles``. The arrays come from OpenCV 4.9; 5.0 gives the same centers and the same discs. The
order of centers means nothing, so they are compared as sets.

Everything is compared. Radii from 2 to 5 (``mod_pos_size_5_2``) and a window of 10 pixels
(``cell_count_rand_mr5``), which the reference can but never does, are keyword arguments here. Two
quirks that the arrays contain have tests of their own, in ``laws/test_markers.py`` too: the center
one pixel down and right, and the window that leaps from the top and left border.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imseg.ops.inconsistency import agree_on_foreground, block_output
from imseg.ops.objects import (
    SMALLEST,
    count_cells,
    count_centers,
    disc_radii,
    draw_discs,
    find_centers,
    redraw,
)

IMAGES = range(12)
CONFIGS = range(18)
SHOWN = 10
"""HeLa masks are foreground above this grey level, METHOD: "HeLa masks"."""


def centers_of(arrays, name: str, image: int) -> np.ndarray:
    """Return golden centers, stored as (x, y), as rows and columns."""
    return arrays[name][image][: arrays[f"{name}_n"][image], ::-1]


def as_set(centers: np.ndarray) -> list[tuple[int, ...]]:
    return sorted(tuple(center) for center in centers.tolist())


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize(("name", "eroded"), [("pos", True), ("pos_noerode", False)])
def test_centers_are_those_of_the_reference(golden, image: int, name: str, eroded: bool) -> None:
    arrays = golden("hela_geometry")
    plane = arrays["images"][image] > SHOWN
    found = find_centers(plane, eroded=eroded, paper=True)
    assert as_set(found) == as_set(centers_of(arrays, name, image))


@pytest.mark.parametrize("image", IMAGES)
def test_radii_follow_the_distances_of_the_reference(golden, image: int) -> None:
    arrays = golden("hela_geometry")
    centers = centers_of(arrays, "pos", image)
    expected = np.clip(arrays["min_dist"][image][: len(centers)] // 4, 3, 8)
    np.testing.assert_array_equal(disc_radii(centers, single=SMALLEST), expected)


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize(
    ("name", "smallest", "largest"), [("mod_pos_size", 3, 8), ("mod_pos_size_5_2", 2, 5)]
)
def test_discs_are_those_of_the_reference(
    golden, image: int, name: str, smallest: int, largest: int
) -> None:
    arrays = golden("hela_geometry")
    plane = arrays["images"][image] > SHOWN
    centers = find_centers(plane, paper=True)
    radii = disc_radii(centers, smallest=smallest, largest=largest, single=smallest)
    drawn = draw_discs(centers, radii, plane.shape, trimmed=True)
    np.testing.assert_array_equal(drawn * 255, arrays[name][image])


def test_redrawing_for_scores_is_finding_spacing_and_drawing(golden) -> None:
    arrays = golden("hela_geometry")
    planes = torch.from_numpy((arrays["images"] > SHOWN).astype(np.uint8))
    drawn = redraw(planes, paper=True, scoring=True)
    np.testing.assert_array_equal(drawn * 255, arrays["mod_pos_size"])


@pytest.mark.parametrize("image", IMAGES)
def test_counts_are_those_of_the_reference(golden, image: int) -> None:
    arrays = golden("hela_geometry")
    areas = np.stack([arrays[name][image] > SHOWN for name in ("alive", "dead")])
    position = arrays["images"][image] > SHOWN
    anywhere = arrays["rand_pos"][image][:, ::-1]
    by_contours = arrays["cell_count_contours"][image]
    assert count_cells(areas, position, paper=True).tolist() == by_contours[:2].tolist()
    for name, window in (("cell_count_rand", 6), ("cell_count_rand_mr5", 10)):
        counts = count_centers(areas, anywhere, window=window, paper=True)
        none = len(anywhere) - counts.sum()
        assert [*counts.tolist(), none] == arrays[name][image].tolist()


@pytest.mark.parametrize("config", CONFIGS)
def test_consensus_positions_are_redrawn_as_in_the_reference(golden, config: int) -> None:
    arrays = golden("pseudo_hela")
    teachers, *_, block_label = (int(value) for value in arrays["configs"][config])
    votes = (arrays["probs_u6"][:teachers] >= 32).astype(np.uint8)
    consensus, _ = agree_on_foreground(torch.from_numpy(votes).permute(0, 1, 4, 2, 3))
    drawn = redraw(consensus[:, 2], paper=True).unsqueeze(1)
    if block_label:
        mask = torch.from_numpy(arrays[f"c{config}_im"] == 255).unsqueeze(1)
        drawn = block_output(drawn, mask)
    np.testing.assert_array_equal(drawn[:, 0] * 255, arrays[f"c{config}_mod_position"])


def test_every_row_of_settings_is_compared(golden) -> None:
    arrays = golden("pseudo_hela")
    assert len(arrays["configs"]) == len(CONFIGS)
    assert arrays["config_cols"][-1] == "block_output"
    assert len(golden("hela_geometry")["images"]) == len(IMAGES)


def test_predicted_positions_are_redrawn_as_in_the_reference(golden) -> None:
    arrays = golden("benchmarks")
    planes = torch.from_numpy((arrays["hela_probs"] > 0.5).astype(np.uint8))
    expected = arrays["hela_pred_png"]
    np.testing.assert_array_equal(planes[..., :2] * 255, expected[..., :2])
    drawn = redraw(planes[..., 2], paper=True, scoring=True)
    np.testing.assert_array_equal(drawn * 255, expected[..., 2])


def test_cells_are_miscounted_as_in_the_reference(golden) -> None:
    arrays = golden("benchmarks")
    predicted, truth = arrays["hela_pred_png"] == 255, arrays["hela_gt"] == 255
    errors = []
    for here, there in zip(predicted, truth, strict=True):
        counts = [
            count_cells(planes[..., :2].transpose(2, 0, 1), planes[..., 2], paper=True)
            for planes in (here, there)
        ]
        errors.append(abs(counts[0] - counts[1]).sum())
    assert errors == arrays["hela_single_image"][:, 2].tolist()
    assert round(np.mean(errors), 3) == arrays["hela_mean_mIoU_ad_mcce_bs64"][2]


@pytest.mark.parametrize("teachers", [2, 3, 4])
def test_averaged_positions_are_redrawn_as_in_the_reference(golden, teachers: int) -> None:
    arrays = golden("ensembles")
    mean = arrays["hela_probs"][:teachers].mean(axis=0)
    planes = torch.from_numpy((mean > 0.5).astype(np.uint8))
    drawn = redraw(planes[..., 2], paper=True)[0]
    expected = arrays[f"hela_soft_n{teachers}_pos"]
    for channel in range(3):  # written as a grey picture
        np.testing.assert_array_equal(drawn * 255, expected[..., channel])
    for plane, name in enumerate(("alive", "dead")):
        np.testing.assert_array_equal(
            planes[0, ..., plane] * 255, arrays[f"hela_soft_n{teachers}_{name}"]
        )


def test_the_arrays_contain_the_quirks_we_leave_out_by_default(golden) -> None:
    arrays = golden("hela_geometry")
    planes = arrays["images"] > SHOWN
    ours = [as_set(find_centers(plane)) for plane in planes]
    theirs = [as_set(find_centers(plane, paper=True)) for plane in planes]
    assert ours[2] == [(row - 1, column - 1) for row, column in theirs[2]]
    assert len(ours[3]) == 2 and len(theirs[3]) == 3  # a ring: its hole is no cell
    assert len(ours[5]) > len(theirs[5])  # what the erosion left of small cells
    lone = torch.from_numpy(planes[1:2].astype(np.uint8))
    assert redraw(lone).sum() > 2 * redraw(lone, paper=True, scoring=True).sum()
