"""Labels of images by which labeled images are split evenly."""

from __future__ import annotations

import torch

from imseg.tasks.base import quarters
from imseg.types import VOID


def test_multiclass_images_are_labeled_by_their_classes(multiclass) -> None:
    targets = torch.tensor([[[[1, 2]]], [[[0, 255]]], [[[3, 3]]]], dtype=torch.uint8)
    labels = multiclass(3, void=True).strata(targets)
    assert labels == [frozenset({1, 2}), frozenset(), frozenset({3})]


def test_binary_images_are_labeled_by_the_quarter_of_their_foreground(binary) -> None:
    targets = torch.zeros(9, 1, 4, 4, dtype=torch.uint8)
    for index in range(1, 9):
        targets[index].view(-1)[:index] = 1
    targets[0] = VOID
    labels = binary(void=True).strata(targets)
    assert labels[0] == frozenset()
    assert [min(each) for each in labels[1:]] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_each_area_is_spread_by_itself_and_centers_are_not(multilabel) -> None:
    targets = torch.zeros(4, 3, 4, 4, dtype=torch.uint8)
    for index in range(4):
        targets[index, 0].view(-1)[: index + 1] = 1
        targets[index, 1].view(-1)[: 8 - index] = 1
        targets[index, 2] = 1
    labels = multilabel().strata(targets)
    assert [len(each) for each in labels] == [2, 2, 2, 2]
    assert len(labels[0] & labels[3]) == 0, "most of one area, least of the other"


def test_maps_are_labeled_by_the_quarter_of_their_mean(regression) -> None:
    targets = torch.arange(1.0, 9.0).reshape(8, 1, 1, 1).expand(8, 1, 4, 4).clone()
    targets[0, 0, 0] = float("nan")
    labels = regression().strata(targets)
    assert [min(each) for each in labels] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_maps_without_a_known_pixel_belong_to_no_quarter(regression) -> None:
    targets = torch.rand(5, 1, 4, 4)
    targets[2] = float("nan")
    labels = regression().strata(targets)
    assert labels[2] == frozenset()
    assert sorted(min(each) for i, each in enumerate(labels) if i != 2) == [0, 1, 2, 3]


def test_what_shows_nothing_belongs_to_no_quarter() -> None:
    assert quarters([0, 0]) == [frozenset(), frozenset()]
    assert quarters([]) == []
