"""Sizes of pixels of the images of a folder: what files say, and what ``imseg.toml`` says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import imseg
from imseg.data.checks.folder_check import check_folder
from imseg.data.files.picture_list import find_pictures
from imseg.data.folder.inspection import KnownFiles
from imseg.data.folder.scan import scan
from imseg.errors import ImsegError
from imseg.types import DataSet

SIZES = {
    "labeled/images/a.tif": 0.65,
    "labeled/images/b_40x.tif": 0.16,
    "labeled/images/c.tif": None,
    "val/images/d.tif": 0.65,
    "test/images/e_40x.tif": 0.3,
    "unlabeled/f.tif": 0.65,
    "unlabeled/g.tif": None,
}


def write(path: Path, size: float | None, *, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = {} if size is None else {"PhysicalSizeX": size, "PhysicalSizeY": size}
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 40), np.uint8)
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "YX", **sizes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for seed, (name, size) in enumerate(SIZES.items()):
        write(root / name, size, seed=seed)
        if "/images/" in name:
            mask = np.zeros((32, 40), np.uint8)
            mask[4:20, 5 : 20 + seed] = 255
            place = root / name.replace("images", "masks")
            place.parent.mkdir(exist_ok=True)
            tifffile.imwrite(place, mask, resolution=(9e4, 9e4), resolutionunit="CENTIMETER")
    return root


def known(data: DataSet) -> dict[str, float | None]:
    pairs = (*data.labeled, *data.val, *data.test)
    images = (*(pair.image for pair in pairs), *data.unlabeled)
    return {image.name: image.pixel_size for image in images}


def test_every_image_has_the_size_that_its_file_says(folder: Path) -> None:
    assert known(imseg.read_folder(folder)) == SIZES
    found = find_pictures(folder, recursive=True)
    assert SIZES.items() <= {image.name: image.pixel_size for image in found.images}.items()
    assert {each.pixel_size for each in found.with_pixel_size(2.0).images} == {2.0}


@pytest.mark.parametrize("below", ["unlabeled", "labeled/images", "labeled/images/b_40x.tif"])
def test_what_the_user_says_comes_first(folder: Path, below: str) -> None:
    toml, name = folder / "imseg.toml", "labeled/images/b_40x.tif"
    toml.write_text('[pixel_size]\n"*_40x*" = 0.2\n"[ag].tif" = 0.5\n')
    wanted = SIZES | dict.fromkeys((name, "test/images/e_40x.tif"), 0.2)
    wanted |= dict.fromkeys(("labeled/images/a.tif", "unlabeled/g.tif"), 0.5)
    data = imseg.read_folder(folder)
    assert known(data) == wanted and data.spec.pixel_size is None
    for image in find_pictures(folder / below).images:
        assert image.pixel_size in (wanted.get(f"{below}/{image.name}"), wanted[name])
    toml.write_text("pixel_size = 3.0\n")
    data = imseg.read_folder(folder)
    assert set(known(data).values()) == {3.0} and data.spec.pixel_size == 3.0
    assert {image.pixel_size for image in find_pictures(folder / below).images} == {3.0}
    toml.write_text("pixel_size = -3.0\n")
    with pytest.raises(ImsegError, match='"pixel_size" is wrong'):
        find_pictures(folder / below)


def test_what_is_known_of_files_has_what_they_say_and_not_what_the_user_says(folder: Path) -> None:
    files, later = KnownFiles(), KnownFiles()
    (folder / "imseg.toml").write_text("pixel_size = 3.0\n")
    scan(folder, files=files)
    (folder / "imseg.toml").unlink()
    later.learn(files.pack())
    found = scan(folder, files=later)
    assert {facts.name: facts.pixel_size for facts in found.survey.every()} == SIZES
    write(folder / "unlabeled/f.tif", 0.1, seed=5)
    again = scan(folder, files=later)
    assert {facts.name: facts.pixel_size for facts in again.survey.every()} == {
        **SIZES,
        "unlabeled/f.tif": 0.1,
    }


def test_arrays_have_the_size_that_is_given() -> None:
    arrays: Any = np.random.default_rng(0).integers(0, 255, (3, 24, 20), np.uint8)
    masks = (arrays > 99).astype(np.uint8)
    data = imseg.dataset_from_arrays((arrays, masks), arrays[:2] // 2, pixel_size=0.5)
    assert set(known(data).values()) == {0.5}
    assert set(known(imseg.dataset_from_arrays((arrays, masks))).values()) == {None}


@pytest.mark.parametrize(
    ("text", "area"),
    [
        # Two objects of 12 x 15, of 12 x 16 and of 12 x 17 px.
        ('[pixel_size]\n"a.tif" = 2\n"b*" = 1\n"c.tif" = 3\n', 12 * 15 * 4),
        ("pixel_size = 2\n", 12 * 16 * 4),
        ("", None),
    ],
)
def test_areas_of_labeled_objects_are_by_the_pixels_of_each_image(
    folder: Path, text: str, area: float | None
) -> None:
    (folder / "imseg.toml").write_text('task = "instances"\n' + text)
    for path in folder.rglob("masks/*.tif"):
        inside = tifffile.imread(path)[10] > 0
        numbers = np.repeat(np.array([0, 1, 0, 2, 0], np.uint8), (2, 12, 2, 12, 4))
        tifffile.imwrite(path, numbers[:, None] * inside)
    found = check_folder(folder).objects
    assert found is not None and found.area_um2 == area


def warnings(folder: Path, words: str) -> list[Any]:
    return [each for each in check_folder(folder).warnings if words in each.what]


def test_sizes_that_are_probably_wrong_are_told_with_the_files(folder: Path) -> None:
    assert not warnings(folder, "times as large")
    write(folder / "labeled/images/c.tif", 650.0, seed=2)
    (told,) = warnings(folder, "times as large")
    assert told.files == ("labeled/images/b_40x.tif", "labeled/images/c.tif")
    assert "0.16 um in labeled/images/b_40x.tif, 650 um in labeled/images/c.tif" in told.got
    (folder / "imseg.toml").write_text('[pixel_size]\n"c.tif" = 0.65\n')
    assert not warnings(folder, "times as large")


def test_patterns_that_decide_about_no_image_are_told(folder: Path) -> None:
    toml = folder / "imseg.toml"
    toml.write_text('[pixel_size]\n"*_40x*" = 0.16\n"*" = 0.65\n')
    assert not warnings(folder, "decide about no image")
    toml.write_text('[pixel_size]\n"*" = 0.65\n"*_40x*" = 0.16\n"_40x" = 0.16\n')
    (told,) = warnings(folder, "decide about no image")
    assert told.got == "*_40x*, _40x."
