"""Targets at another size: what is thin or small must not vanish."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from imseg.data.masks.io import load_target
from imseg.errors import ImsegError
from imseg.ops.objects import find_centers
from imseg.types import VOID, Image, LabeledImage, TargetSpec


def pair_with(*planes: np.ndarray) -> LabeledImage:
    return LabeledImage(Image("a", np.zeros((*planes[0].shape, 1), np.uint8)), np.stack(planes))


def spec_of(void: int | None = None) -> TargetSpec:
    colors = ((1, 0, 0), (0, 1, 0))
    return TargetSpec(
        kind="multilabel", coding="planes", names=("alive", "position"), colors=colors, void=void
    )


def marked(side: int, radius: int) -> np.ndarray:
    """Return a plane with discs on a grid of 8 x 8."""
    rows, columns = np.mgrid[:side, :side]
    step = side // 8
    away = np.hypot(rows % step - step // 2, columns % step - step // 2)
    return (away <= radius).astype(np.uint8)


@pytest.mark.parametrize("radius", [1, 3, 8])
def test_no_center_is_lost_when_a_picture_is_made_smaller(radius: int) -> None:
    pair = pair_with(np.zeros((1024, 1024), np.uint8), marked(1024, radius))
    target = load_target(pair, spec_of(), (128, 128))
    centers = find_centers(target[1])
    assert len(centers) == 64
    wanted = {(16 * row + 8, 16 * column + 8) for row in range(8) for column in range(8)}
    assert all(min(abs(r - y) + abs(c - x) for r, c in wanted) <= 2 for y, x in centers.tolist())


def test_void_stays_void_when_discs_are_drawn_anew() -> None:
    position = marked(256, 3) * 255
    position[:128] = 9
    target = load_target(pair_with(np.zeros((256, 256), np.uint8), position), spec_of(9), (64, 64))
    assert (target[1, :32] == VOID).all()
    assert set(np.unique(target[1, 32:])) == {0, 1}


def test_at_its_own_size_a_plane_stays_as_it_was_drawn() -> None:
    position = marked(64, 2)
    pair = pair_with(np.zeros((64, 64), np.uint8), position)
    assert np.array_equal(load_target(pair, spec_of(), (64, 64))[1], position)
    assert np.array_equal(load_target(pair, spec_of())[1], position)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("far", [-1.0, 2.0**25, 2.0**40, 1e38, np.inf, np.nan])
def test_floats_that_are_no_class_numbers_are_refused(tmp_path: Path, far: float) -> None:
    drawn = np.zeros((8, 8), np.float32)
    tifffile.imwrite(tmp_path / "whole.tif", drawn)
    drawn[0, 0] = far
    tifffile.imwrite(tmp_path / "far.tif", drawn)
    spec, image = spec_of(), Image("a", np.zeros((8, 8, 1), np.uint8))
    names = dict.fromkeys(spec.names, tmp_path / "whole.tif")
    assert (load_target(LabeledImage(image, names), spec) == 0).all()
    with pytest.raises(ImsegError, match=r"far\.tif is not a mask of the kind"):
        load_target(LabeledImage(image, names | {"alive": tmp_path / "far.tif"}), spec)
