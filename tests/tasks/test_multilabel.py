"""Several labels a pixel: planes by themselves, centers redrawn, cells counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imseg.components.consensus import Consensus
from imseg.types import VOID


def disc(center: tuple[int, int], radius: int, side: int = 48) -> torch.Tensor:
    rows, columns = np.mgrid[:side, :side]
    inside = (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2
    return torch.from_numpy(inside.astype(np.uint8))


def cells(*centers: tuple[int, int], alive: int | None = None, side: int = 48) -> torch.Tensor:
    """Return ``1 3 h w``: the first ``alive`` cells are alive, the others dead."""
    planes = torch.zeros(1, 3, side, side, dtype=torch.uint8)
    for number, center in enumerate(centers):
        kind = 0 if alive is None or number < alive else 1
        planes[0, kind] |= disc(center, 7, side)
        planes[0, 2] |= disc(center, 3, side)
    return planes


def test_votes_are_counted_plane_by_plane_and_the_masks_united(multilabel) -> None:
    task = multilabel("one", "two")
    votes = torch.zeros(2, 1, 2, 4, 4, dtype=torch.uint8)
    votes[:, 0, 0, 0, 0] = 1  # both say one
    votes[0, 0, 1, 0, 1] = 1  # a single teacher says two
    agreement = Consensus(teachers=2)(task, votes)
    assert agreement.labels.sum() == 1
    assert agreement.labels[0, 0, 0, 0] == 1
    assert agreement.inconsistent.shape == (1, 1, 4, 4)
    assert agreement.inconsistent.nonzero().tolist() == [[0, 0, 0, 1]]


def test_a_probability_of_one_half_is_a_vote_but_no_prediction(multilabel) -> None:
    task = multilabel("one")
    half = torch.full((1, 1, 2, 2), 0.5)
    assert task.hard_prediction(half).all()
    assert not task.discretize(half).any()


def test_the_plane_of_centers_weighs_three_times_as_much(multilabel) -> None:
    task = multilabel()
    target = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    losses = []
    for plane in range(3):
        probabilities = torch.zeros(1, 3, 4, 4)
        probabilities[:, plane] = 1
        losses.append(task.error(probabilities, target, None).item())
    assert losses == pytest.approx([1 / 5, 1 / 5, 3 / 5])


def test_void_in_one_plane_leaves_the_others_alone(multilabel) -> None:
    task = multilabel("one", "two", void=True)
    target = torch.zeros(1, 2, 4, 4, dtype=torch.uint8)
    target[0, 0, 0] = VOID
    probabilities = torch.zeros(1, 2, 4, 4)
    probabilities[0, :, 0] = 1  # wrong in "two", void in "one"
    assert task.error(probabilities, target, None).item() == pytest.approx(4 / 28)
    scores = task.image_scores((probabilities > 0.5).byte(), target)
    assert scores["iou_one"].item() == 1
    assert scores["iou_two"].item() == 0


def test_weights_hold_for_all_planes_of_a_pixel(multilabel) -> None:
    task = multilabel("one", "two")
    target = torch.zeros(1, 2, 4, 4, dtype=torch.uint8)
    probabilities = torch.zeros(1, 2, 4, 4)
    probabilities[0, :, 0] = 1
    weight = torch.ones(1, 1, 4, 4)
    weight[0, 0, 0] = 0
    assert task.error(probabilities, target, weight).item() == 0


def test_a_perfect_prediction_scores_one_and_counts_every_cell(multilabel) -> None:
    task = multilabel()
    planes = cells((12, 12), (34, 30), (14, 36), alive=2)
    scores = {
        name: value.item() for name, value in task.image_scores(planes, planes.clone()).items()
    }
    assert scores["iou"] == pytest.approx(1)
    assert scores["miou"] == pytest.approx(1)
    assert scores["cell_count_error"] == 0


def test_cells_where_nothing_is_known_are_not_counted(multilabel) -> None:
    task = multilabel(void=True)
    truth = cells((12, 12))
    guess = cells((12, 12), (34, 30))
    truth[:, :, 22:, 18:] = VOID
    assert task.image_scores(guess, truth)["cell_count_error"].item() == 0


def test_a_cell_of_the_wrong_kind_counts_twice(multilabel) -> None:
    task = multilabel()
    centers = [(12, 12), (34, 30), (14, 36)]
    truth, guess = cells(*centers, alive=2), cells(*centers, alive=1)
    assert task.image_scores(guess, truth)["cell_count_error"].item() == 2


def test_iou_is_the_mean_over_areas_and_centers_are_no_area(multilabel) -> None:
    task = multilabel()
    truth = cells((12, 12), (34, 30), alive=1)
    guess = truth.clone()
    guess[:, 1] = 0
    guess[:, 2] = 0
    scores = task.image_scores(guess, truth)
    assert scores["iou"].item() == pytest.approx(0.5)
    assert scores["miou"].item() == pytest.approx(1 / 3)


def test_borders_of_objects_are_no_area_but_a_label_of_that_name_is(multilabel) -> None:
    assert multilabel("area", "border", "position", coding="objects").spec.areas == (0,)
    assert multilabel("area", "border", "position").spec.areas == (0, 1)


def test_data_set_scores_come_from_the_pixels_of_all_images_together(multilabel) -> None:
    task = multilabel("one", "two")
    generator = torch.Generator().manual_seed(0)
    guess = torch.randint(0, 2, (3, 2, 6, 6), generator=generator, dtype=torch.uint8)
    truth = torch.randint(0, 2, (3, 2, 6, 6), generator=generator, dtype=torch.uint8)
    tally = sum(task.tally(guess[i : i + 1], truth[i : i + 1]) for i in range(3))
    found = task.dataset_scores(tally)
    ious = []
    for t in range(2):
        shared = (guess[:, t] & truth[:, t]).sum().item()
        union = (guess[:, t] | truth[:, t]).sum().item()
        ious.append(shared / union)
    assert list(found["iou_per_class"].values()) == pytest.approx(ious)
    assert found["iou"] == pytest.approx(np.mean(ious))


def test_the_best_epoch_is_the_one_with_the_least_loss(multilabel) -> None:
    task = multilabel("one")
    truth = torch.ones(2, 1, 4, 4, dtype=torch.uint8)
    good, bad = task.meter(), task.meter()
    good.update(torch.full((2, 1, 4, 4), 0.9), truth)
    bad.update(torch.full((2, 1, 4, 4), 0.6), truth)
    assert good.value() > bad.value()


def test_labels_grow_in_areas_and_not_in_centers(multilabel) -> None:
    task = multilabel()
    labels = torch.zeros(1, 3, 9, 9, dtype=torch.uint8)
    labels[0, :, 4, 4] = 1
    grown = task.grow_labels(labels)
    assert grown.sum(dim=(0, 2, 3)).tolist() == [9, 9, 1]
