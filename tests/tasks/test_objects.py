"""Objects: teachers dispute their area alone, and what follows from objects is drawn anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imseg.components.consensus import Consensus
from imseg.ops.objects import object_planes
from imseg.ops.same_objects import match_objects
from imseg.tasks import task_for
from imseg.tasks.multilabel import Objects, find_objects, object_scores
from imseg.types import OBJECT_PLANES, TargetSpec

SPEC = TargetSpec(
    kind="multilabel",
    coding="objects",
    names=OBJECT_PLANES,
    colors=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
)


def squares(shift: int = 0) -> np.ndarray:
    """Return a label image of two squares that touch and one that does not."""
    labels = np.zeros((40, 40), np.int32)
    labels[4:16, 4 + shift : 16 + shift] = 1
    labels[4:16, 16 + shift : 28 + shift] = 2
    labels[24:34, 10:20] = 3
    return labels


def planes_of(*label_images: np.ndarray) -> torch.Tensor:
    """Return the planes of label images as votes, ``v 1 3 h w``."""
    return torch.from_numpy(np.stack([object_planes(labels) for labels in label_images]))[:, None]


@pytest.fixture
def task() -> Objects:
    found = task_for(SPEC)
    assert isinstance(found, Objects)
    return found


def test_teachers_that_differ_by_a_pixel_dispute_only_the_edges_of_areas(task) -> None:
    agreement = Consensus(teachers=2)(task, planes_of(squares(), squares(shift=1)))
    disputed = agreement.inconsistent[0, 0].numpy()
    area = (squares() > 0) != (squares(shift=1) > 0)
    assert np.array_equal(disputed, area)
    assert disputed.sum() == 24, "a column at either end, nothing along the inner borders"


def test_pseudo_labels_keep_their_borders_and_centers(task) -> None:
    agreement = Consensus(teachers=2)(task, planes_of(squares(), squares(shift=1)))
    _, border, position = agreement.labels[0].numpy()
    assert border.sum() > 60
    found = find_objects(task, agreement.labels.float())
    assert found.max() == 3
    assert all(position[found == number].any() for number in (1, 2, 3))


def test_teachers_that_agree_give_the_planes_of_their_objects(task) -> None:
    votes = planes_of(squares(), squares())
    agreement = Consensus(teachers=2)(task, votes)
    assert not agreement.inconsistent.any()
    assert torch.equal(agreement.labels, votes[0])


def test_centers_that_lie_side_by_side_do_not_cut_an_object_in_two(task) -> None:
    votes = planes_of(squares(), squares())
    votes[:, :, 2] = 0
    votes[0, 0, 2, 28, 12] = votes[1, 0, 2, 28, 17] = 1
    votes[:, 0, 2, 9, 9] = votes[:, 0, 2, 9, 21] = 1
    labels = Consensus(teachers=2)(task, votes).labels
    assert find_objects(task, labels.float()).max() == 3


def test_a_perfect_prediction_has_perfect_planes(task) -> None:
    planes = planes_of(squares())[0]
    scores = task.image_scores(task.discretize(planes.float()), planes)
    assert scores["iou_position"].item() == pytest.approx(1)
    assert scores["miou"].item() == pytest.approx(1)


def test_an_empty_image_has_no_objects(task) -> None:
    votes = torch.zeros(2, 1, 3, 16, 16, dtype=torch.uint8)
    assert not Consensus(teachers=2)(task, votes).labels.any()
    assert find_objects(task, torch.zeros(1, 3, 16, 16)).max() == 0
    assert object_scores((0, 0, 0)) == {"object_f1": 1.0, "object_ap": 1.0}


def test_perfect_planes_give_the_objects_back(task) -> None:
    found = find_objects(task, planes_of(squares())[0].float())
    matches = match_objects(found, squares())
    assert (matches.tp, matches.fp, matches.fn) == (3, 0, 0)


def test_objects_where_nothing_is_known_are_neither_found_nor_missed(task) -> None:
    truth = squares()
    unknown = np.zeros(truth.shape, bool)
    unknown[24:34, 10:20] = True
    truth[unknown] = 99
    matches = match_objects(squares(), truth, void_mask=unknown)
    assert (matches.tp, matches.fp, matches.fn) == (2, 0, 0)


def test_scores_of_objects_are_the_usual_ratios() -> None:
    scores = object_scores((6, 2, 4))
    assert scores["object_f1"] == pytest.approx(12 / 18)
    assert scores["object_ap"] == pytest.approx(6 / 12)
