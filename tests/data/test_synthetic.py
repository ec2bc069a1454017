"""The demo data: what it looks like, where it lies, and that it is the same every time."""

from __future__ import annotations

import dataclasses
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imseg.data.files.atomic import new_folder
from imseg.data.synthetic import CellScene, draw_cells, write_demo
from imseg.errors import ImsegError

SMALL = CellScene(size=(32, 40), radius=(4.0, 6.0))


def drawn(seed: int, **changes: object) -> tuple[np.ndarray, np.ndarray]:
    return draw_cells(np.random.default_rng(seed), dataclasses.replace(CellScene(), **changes))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    difficulty=st.floats(0, 1),
    height=st.integers(16, 130),
    width=st.integers(16, 130),
)
def test_every_picture_has_cells_and_background(seed, difficulty, height, width):
    picture, mask = drawn(seed, difficulty=difficulty, size=(height, width))
    assert picture.dtype == mask.dtype == np.uint8
    assert picture.shape == mask.shape == (height, width)
    assert set(np.unique(mask)) <= {0, 255}
    assert mask.any()
    assert np.isfinite(picture).all() and picture.std() > 1


def test_a_picture_is_its_seed():
    again, other = drawn(3), drawn(4)
    np.testing.assert_array_equal(drawn(3)[0], again[0])
    np.testing.assert_array_equal(drawn(3)[1], again[1])
    assert (other[1] != again[1]).any()


def test_cells_cover_a_part_of_the_picture_that_is_neither_tiny_nor_most_of_it():
    shares = np.array([(drawn(seed)[1] > 0).mean() for seed in range(40)])
    assert 0.10 < shares.mean() < 0.35
    assert shares.max() < 0.6


def test_gray_level_alone_does_not_find_the_cells():
    """The best threshold chosen by looking at the truth, on either side, stays far from it."""
    for difficulty in (0.25, 0.5, 1.0):
        best = []
        for seed in range(12):
            picture, mask = drawn(seed, difficulty=difficulty)
            truth = mask > 0
            best.append(
                max(
                    (found & truth).sum() / (found | truth).sum()
                    for level in range(int(picture.min()), int(picture.max()), 2)
                    for found in (picture < level, picture >= level)
                )
            )
        assert np.mean(best) < 0.5


def test_a_harder_scene_is_noisier_and_its_cells_stand_out_less():
    def roughness_in_and_out(difficulty: float) -> tuple[float, float]:
        inside, outside = [], []
        for seed in range(30):
            picture, mask = drawn(seed, difficulty=difficulty)
            steps = np.abs(np.diff(picture.astype(float), axis=1))
            cell = mask[:, 1:] > 0
            inside.append(steps[cell].mean())
            outside.append(steps[~cell].mean())
        return float(np.mean(inside)), float(np.mean(outside))

    pairs = [roughness_in_and_out(difficulty) for difficulty in (0.0, 0.5, 1.0)]
    outside = [out for _, out in pairs]
    contrast = [cell / out for cell, out in pairs]
    assert outside == sorted(outside)
    assert contrast == sorted(contrast, reverse=True)
    assert contrast[1] > 1.1


def test_debris_is_drawn_and_is_not_in_the_mask():
    """One cell of hardly any size leaves the debris as what has edges sharper than the noise."""
    scene = CellScene(cells=(1, 1), radius=(2.0, 2.0), difficulty=0.3)
    sharp = []
    for seed in range(10):
        picture, mask = draw_cells(np.random.default_rng(seed), scene)
        steps = np.abs(np.diff(picture.astype(float), axis=1)) > 12
        rows, columns = np.nonzero(mask)
        top, left = max(0, rows.min() - 8), max(0, columns.min() - 8)
        steps[top : rows.max() + 8, left : columns.max() + 8] = False
        sharp.append(steps.sum())
    assert np.mean(sharp) > 30


@pytest.mark.parametrize(
    "change",
    [
        {"difficulty": 1.5},
        {"difficulty": float("nan")},
        {"size": (8, 96)},
        {"cells": (5, 2)},
        {"cells": (0, 3)},
        {"radius": (12.0, 3.0)},
    ],
)
def test_a_scene_out_of_range_is_refused_with_what_was_expected(change):
    with pytest.raises(ImsegError) as caught:
        CellScene(**change)
    name, value = next(iter(change.items()))
    assert f"The {name} of a scene" in str(caught.value)
    assert "Expected:" in str(caught.value)
    assert f"Got:      {value}." in str(caught.value)


def test_the_demo_folder_has_exactly_the_layout_that_users_bring(tmp_path):
    folder = write_demo(
        tmp_path / "demo", seed=0, labeled=2, unlabeled=3, val=1, test=2, scene=SMALL
    )
    assert list(contents(folder)) == [
        "hidden/masks/unlabeled_000.png",
        "hidden/masks/unlabeled_001.png",
        "hidden/masks/unlabeled_002.png",
        "imseg.toml",
        "labeled/images/labeled_000.png",
        "labeled/images/labeled_001.png",
        "labeled/masks/labeled_000.png",
        "labeled/masks/labeled_001.png",
        "test/images/test_000.png",
        "test/images/test_001.png",
        "test/masks/test_000.png",
        "test/masks/test_001.png",
        "unlabeled/unlabeled_000.png",
        "unlabeled/unlabeled_001.png",
        "unlabeled/unlabeled_002.png",
        "val/images/val_000.png",
        "val/masks/val_000.png",
    ]
    config = tomllib.loads((folder / "imseg.toml").read_text())
    assert config == {"task": "binary", "classes": {"0": "background", "255": "cell"}}
    with Image.open(folder / "labeled/images/labeled_000.png") as picture:
        assert (picture.mode, picture.size) == ("L", (40, 32))
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_other_counts_change_no_picture_and_no_picture_comes_twice(tmp_path):
    few = write_demo(tmp_path / "few", seed=5, labeled=1, unlabeled=2, val=1, test=1, scene=SMALL)
    many = write_demo(tmp_path / "many", seed=5, labeled=3, unlabeled=4, val=2, test=2, scene=SMALL)
    other = write_demo(
        tmp_path / "other", seed=6, labeled=1, unlabeled=2, val=1, test=1, scene=SMALL
    )
    shared = contents(few)
    assert shared.items() <= contents(many).items()
    pictures = [data for name, data in contents(many).items() if "masks" not in name]
    assert len(set(pictures)) == len(pictures)
    changed = contents(other)
    assert all(changed[name] != shared[name] for name in shared if name.endswith(".png"))


def test_a_split_may_be_empty(tmp_path):
    folder = write_demo(
        tmp_path / "demo", seed=0, labeled=1, unlabeled=0, val=0, test=0, scene=SMALL
    )
    assert not list((folder / "unlabeled").iterdir())


@pytest.mark.parametrize("numbers", [{"seed": -1}, {"seed": 0, "val": -2}])
def test_negative_numbers_are_refused(tmp_path, numbers):
    with pytest.raises(ImsegError, match="negative"):
        write_demo(tmp_path / "demo", **numbers)
    assert not list(tmp_path.iterdir())


@pytest.mark.rest
def test_the_default_demo_is_made_in_a_few_seconds(tmp_path):
    start = time.process_time()
    folder = write_demo(tmp_path / "demo", seed=0)
    # About 2.5 seconds; the rest is room for a slower machine.
    assert time.process_time() - start < 10
    assert len(list((folder / "unlabeled").iterdir())) == 180


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ImsegError) as caught:
        write_demo(tmp_path, seed=0)
    assert str(caught.value) == (
        f"{tmp_path} is not empty, and nothing is ever written over.\n"
        "  Expected: a folder that does not exist yet, or an empty one.\n"
        "  Got:      mine.txt\n"
        "  Try:      name another folder, or remove this one."
    )
    assert contents(tmp_path) == {"mine.txt": b"mine"}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "demo").write_text("a file")
    with pytest.raises(ImsegError, match="is a file"), new_folder(tmp_path / "demo"):
        pass
    with pytest.raises(ImsegError, match="cannot be written"), new_folder(tmp_path / "demo/deeper"):
        pass


def test_an_empty_folder_is_filled_and_parents_are_made(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "a" / "b"):
        with new_folder(folder) as part:
            (part / "one").write_text("1")
        assert contents(folder) == {"one": b"1"}


def test_a_failure_on_the_way_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "new") as part:
        (part / "half").write_text("half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
