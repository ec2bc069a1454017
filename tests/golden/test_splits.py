"""Where HeLa is cut, and how many images the splits have, as in the authors' code.

Compared: the places of the squares, each once (the authors repeat those at the edge, which we do
not), and the number of images in each split. Left out: which images those are. The authors draw
from a listing that differs from machine to machine; our draw is seeded and sorted, so it cannot and
should not be the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imseg.data.datasets.cells import overlapping_boxes
from imseg.data.datasets.sources import divide, split_parts


@pytest.fixture(scope="module")
def recorded(golden_folder: Path) -> dict[str, Any]:
    return json.loads((golden_folder / "splits.json").read_text())


def images(count: int, pattern: str = "x_%07d.png") -> dict[str, int]:
    return {pattern % index: index for index in range(count)}


def test_squares_are_where_the_authors_cut_them_each_once(recorded):
    assert len(recorded["hela_crops"]) == 12
    repeated = 0
    for case in recorded["hela_crops"]:
        boxes = overlapping_boxes(
            case["height"], case["width"], side=case["crop"], overlap=case["overlap"]
        )
        places = [(left, top) for left, top, _, _ in boxes]
        theirs = [tuple(place) for place in case["positions_xy"]]
        assert set(places) == set(theirs)
        assert len(places) == len(set(places))
        assert all(box[2:] == (case["crop"], case["crop"]) for box in boxes)
        repeated += len(theirs) - len(places)
    assert repeated > 0, "the authors' repetitions are what we leave out"


@pytest.mark.parametrize("name", ["isic", "hela"])
def test_as_many_images_are_labeled_as_in_the_authors_code(recorded, name):
    case = recorded[name]
    labeled, unlabeled = divide(images(case["n"], case["name_format"]), case["n"] // 10, key="0")
    assert (len(labeled), len(unlabeled)) == (case["n_labeled"], case["n_unlabeled"])
    theirs = set(case["labeled_sorted"])
    assert theirs <= labeled.keys() | unlabeled.keys(), "the same pool of names"


def test_suim_shares_are_rounded_up_and_cityscapes_is_halved(recorded):
    case = recorded["suim_test_size_0.1"]
    count = case["n_a"] + case["n_b"]
    splits, _ = split_parts(
        {"training": images(count), "test": images(1)}, labeled=0.1, seed=0, round_up=True
    )
    assert len(splits["val"]) == case["n_b"]
    assert len(splits["labeled"]) + len(splits["unlabeled"]) == case["n_a"]
    case = recorded["cityscapes_val_test_0.5"]
    halves = divide(images(case["n_val"] + case["n_test"]), case["n_val"], key="0/halves")
    assert [len(half) for half in halves] == [case["n_val"], case["n_test"]]


@pytest.mark.parametrize(
    ("official", "round_up", "expected"),
    [
        ((2594, 100, 1000), False, (259, 2335, 100, 1000)),
        ((1525, 0, 110), True, (138, 1234, 153, 110)),
        ((2975, 250, 250), False, (297, 2678, 250, 250)),
    ],
    ids=["ISIC 2018", "SUIM", "Cityscapes"],
)
def test_the_published_numbers_of_images_come_out(official, round_up, expected):
    parts = {
        part: images(count)
        for part, count in zip(("training", "validation", "test"), official, strict=True)
        if count
    }
    splits, _ = split_parts(parts, labeled=0.1, seed=0, round_up=round_up)
    found = tuple(len(splits[split]) for split in ("labeled", "unlabeled", "val", "test"))
    assert found == expected
