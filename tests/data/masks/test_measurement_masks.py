"""Masks of measurements: floats, and whole numbers where the user says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from imseg.data.checks.folder_check import check_folder
from imseg.data.folder.scan import hidden_masks, read_folder
from imseg.errors import ImsegError

Complaint = Callable[[], str]


def depths(low: float, high: float, dtype: Any = np.float32) -> npt.NDArray[Any]:
    return np.linspace(low, high, 480).reshape(24, 20).astype(dtype)


def found_warnings(maker: Any) -> str:
    report = check_folder(maker.root)
    assert report.errors == (), report.errors
    return "\n".join(f"{each.what} | {each.got} | {each.hint}" for each in report.warnings)


def test_floats_are_learned_from_the_least_to_the_greatest_labeled_number(maker) -> None:
    first = depths(1.5, 7)
    first[:3] = np.nan
    first[3] = np.inf
    maker.pairs_with([first, depths(2, 8.25)], suffix=".tif")
    maker.pairs_with([depths(0, 99)], "test", suffix=".tif")
    maker.write("imseg.toml", 'unit = "m"\npixel_size = 3')
    spec = read_folder(maker.root).spec
    assert (spec.kind, spec.coding, spec.stored) == ("regression", "numbers", "float32")
    assert (spec.low, spec.high) == (2, 8.25)
    assert (spec.unit, spec.pixel_size, spec.names, spec.void) == ("m", 3.0, ("value",), None)


@pytest.mark.parametrize("void", [0, -9999])
def test_void_is_no_number(maker, void: int) -> None:
    maps = [depths(3, 5), depths(4, 6)]
    for each in maps:
        each[:2] = void
    maker.pairs_with(maps, suffix=".tif")
    maker.write("imseg.toml", f"void = {void}")
    spec = read_folder(maker.root).spec
    assert spec.low > 3
    assert (spec.high, spec.void) == (6, void)
    numbers = check_folder(maker.root).numbers
    assert numbers is not None
    assert numbers.missing == pytest.approx(2 / 24)
    known = np.concatenate([each[2:].ravel() for each in maps])
    assert numbers.mean == pytest.approx(known.mean())


@pytest.mark.parametrize(
    ("types", "stored"),
    [
        ((np.uint8, np.uint8), "uint8"),
        ((np.uint16, np.uint8), "uint16"),
        ((np.uint16, np.float32), "float32"),
        ((np.int32, np.int32), "uint16"),
    ],
)
def test_whole_numbers_are_measurements_if_the_user_says_so(
    maker, complaint: Complaint, types: Any, stored: str
) -> None:
    maker.pairs_with([depths(5, 250, dtype) for dtype in types], suffix=".tif")
    if np.float32 not in types:
        assert 'task = "regression" in imseg.toml if they are measurements' in complaint()
    else:
        assert "Some labeled masks hold fractions, others whole numbers" in complaint()
    maker.write("imseg.toml", 'task = "regression"')
    spec = read_folder(maker.root).spec
    assert (spec.low, spec.high, spec.stored) == (5, 250, stored)


def test_a_void_of_0_in_whole_numbers_is_left_out(maker) -> None:
    maps = [depths(1000, 9000, np.uint16), depths(2000, 8000, np.uint16)]
    maps[0][:5] = 0
    maker.pairs_with(maps)
    maker.write("imseg.toml", 'task = "regression"\nvoid = 0')
    assert read_folder(maker.root).spec.low > 1000


def test_more_values_than_are_counted_do_not_spoil_the_range(maker) -> None:
    noise = np.random.Generator(np.random.PCG64(1)).permutation(9999)[: 60 * 60].reshape(60, 60)
    noise[0, 0], noise[0, 1] = 0, 9999
    maker.pairs_with([noise.astype(np.uint16)] * 2)
    spec = read_folder(maker.root, task="regression").spec
    assert (spec.low, spec.high) == (0, 9999)


@pytest.mark.parametrize("number", [4.5, np.nan])
def test_constant_maps_are_nothing_to_learn(maker, complaint: Complaint, number: float) -> None:
    maker.pairs_with([np.full((24, 20), number, np.float32)] * 2, suffix=".tif")
    text = complaint()
    assert "hold one number only" in text
    assert ("4.5 everywhere" if number == 4.5 else "only void, in all of them") in text


def test_colors_are_no_measurements(maker) -> None:
    maker.pairs_with([maker.picture(channels=3), maker.picture(channels=3)])
    with pytest.raises(ImsegError, match="A regression learns numbers, but 2 labeled masks hold"):
        read_folder(maker.root, task="regression")


def test_listed_classes_do_not_fit_measurements(maker, complaint: Complaint) -> None:
    maker.pairs_with([depths(1, 2), depths(1, 2)], suffix=".tif")
    maker.write("imseg.toml", '[classes]\n0 = "sky"')
    assert "lists classes, but the masks hold measurements" in complaint()


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_fractions_are_no_classes(maker, task: Any) -> None:
    maker.pairs_with([depths(0, 1), depths(0, 1)], suffix=".tif")
    with pytest.raises(ImsegError, match=f"task is {task}, but 2 labeled masks hold fractions"):
        read_folder(maker.root, task=task)


def test_floats_that_are_few_whole_numbers_may_be_classes(maker) -> None:
    maker.pairs_with([maker.mask((0, 1, 2)).astype(np.float32)] * 2, suffix=".tif")
    assert read_folder(maker.root).spec.kind == "regression"
    text = found_warnings(maker)
    assert "taken for measurements, because they are floats" in text
    assert "only 3 different values, all whole numbers" in text
    assert read_folder(maker.root, task="multiclass").spec.values == (0, 1, 2)


def test_numbers_beyond_the_labeled_ones_and_masks_without_numbers_are_mentioned(maker) -> None:
    empty = np.full((24, 20), np.nan, np.float32)
    maker.pairs_with([depths(1, 2), depths(1, 3), empty], suffix=".tif")
    maker.pairs_with([depths(1, 2), depths(0, 2)], "val", suffix=".tif")
    text = found_warnings(maker)
    assert "1 mask in val goes beyond the numbers of the labeled ones" in text
    assert "val/images/cell_01.png; labeled: 1 to 3." in text
    assert "1 mask in labeled shows no number. | labeled/images/cell_02.png" in text


def test_hidden_maps_are_joined(maker) -> None:
    maker.pairs_with([depths(1, 2), depths(1, 3)], suffix=".tif")
    maker.pictures(1)
    maker.save("hidden/masks/cell_u0.tif", depths(0, 99))
    assert len(hidden_masks(read_folder(maker.root), maker.root / "hidden/masks")) == 1
    (maker.root / "hidden/masks/cell_u0.tif").unlink()
    maker.save("hidden/masks/cell_u0.png", maker.picture(channels=3))
    with pytest.raises(ImsegError, match=r"cell_u0\.png holds colors"):
        hidden_masks(read_folder(maker.root), maker.root / "hidden/masks")


@pytest.mark.parametrize(
    ("values", "void", "warned"),
    [((0, 255), "", True), ((0, 1, 9), "void = 9\n", True), ((0, 100, 255), "", False)],
)
def test_measurements_of_two_values_are_doubted(maker, values, void: str, warned: bool) -> None:
    maker.pairs_with([maker.mask(values), maker.mask(values)])
    maker.write("imseg.toml", void + 'task = "regression"')
    text = found_warnings(maker)
    told = f"all masks hold only two values: {values[0]} and {values[1]}" in text
    assert told == warned
    assert ('task = "binary"' in text) == warned
