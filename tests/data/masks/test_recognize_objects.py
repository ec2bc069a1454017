"""Numbers of objects are told from classes and from measurements."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pillow

from imseg.data.checks.fitness import errors_of
from imseg.data.checks.folder_check import check_folder
from imseg.data.folder.scan import hidden_masks, read_folder, scan
from imseg.errors import ImsegError
from imseg.types import OBJECT_PLANES


def found_warnings(maker: Any) -> str:
    report = check_folder(maker.root)
    assert report.errors == (), report.errors
    return "\n".join(f"{each.what} | {each.got} | {each.hint}" for each in report.warnings)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_objects_are_recognized_and_the_report_says_so(maker, dtype: Any) -> None:
    masks = [maker.squares(number, dtype) for number in (30, 12, 25, 30)]
    maker.pairs_with(masks, suffix=".tif")
    spec = read_folder(maker.root).spec
    assert (spec.kind, spec.coding, spec.names) == ("multilabel", "objects", OBJECT_PLANES)
    assert spec.in_words == "instance masks"
    text = found_warnings(maker)
    assert "taken for label images" in text
    assert "up to 30 numbers in a mask" in text
    assert 'set task = "multiclass"' in text


def test_the_task_settles_it(maker) -> None:
    maker.objects([6, 8, 9])
    assert read_folder(maker.root).spec.coding == "objects"
    assert read_folder(maker.root, task="multiclass").spec.values == tuple(range(10))
    maker.write("imseg.toml", 'task = "instances"\npixel_size = 0.5\nvoid = 9')
    spec = read_folder(maker.root).spec
    assert (spec.coding, spec.pixel_size, spec.void) == ("objects", 0.5, 9)
    assert "taken for" not in found_warnings(maker)


def test_objects_of_crops_have_gaps_in_their_numbers(maker) -> None:
    masks = [maker.squares(90, np.uint16), maker.squares(80, np.uint16)]
    for mask in masks:
        mask[(mask > 0) & (mask % 7 == 0)] = 0
    maker.pairs_with(masks)
    assert read_folder(maker.root).spec.coding == "objects"


def test_few_objects_are_taken_for_classes_with_a_warning(maker) -> None:
    maker.objects([3, 2, 4])
    assert read_folder(maker.root).spec.kind == "multiclass"
    text = found_warnings(maker)
    assert "taken for class masks, but their values may number objects" in text
    assert 'set task = "instances"' in text


def test_as_many_numbers_in_nearly_every_mask_may_be_classes(maker) -> None:
    maker.objects([8, 8, 7])
    assert read_folder(maker.root).spec.kind == "multiclass"
    assert "may number objects" in found_warnings(maker)


def layers(count: int, side: int = 44) -> npt.NDArray[Any]:
    """Return as many stripes, one below the other: 0, 1, 2, ..."""
    return np.repeat((np.arange(side) * count // side)[:, None], side, axis=1).astype(np.uint16)


def test_layers_are_classes(maker) -> None:
    maker.pairs_with([layers(9), layers(8), layers(7)])
    spec = read_folder(maker.root).spec
    assert (spec.kind, len(spec.values)) == ("multiclass", 9)
    assert "objects" not in found_warnings(maker)


def test_classes_in_several_pieces_are_classes(maker) -> None:
    masks = [maker.squares(number, np.uint16) % 7 for number in (30, 5, 6)]
    maker.pairs_with(masks)
    assert read_folder(maker.root).spec.kind == "multiclass"
    assert "objects" not in found_warnings(maker)


@pytest.mark.parametrize(
    "measure",
    [
        lambda rows, columns: rows * 50 + columns,
        lambda rows, columns: rows + 5,
        lambda rows, columns: np.hypot(rows - 20, columns - 25).round(),
        lambda rows, columns: (rows * 7919 + columns * 104_729) % 60_000,
    ],
)
def test_measurements_are_no_objects(maker, complaint, measure: Any) -> None:
    rows, columns = np.indices((90, 80))
    numbers = np.asarray(measure(rows, columns))
    maker.pairs_with([numbers.astype(np.uint16), (numbers + 3).astype(np.uint16)])
    assert "different values" in complaint()
    assert 'task = "regression"' in complaint()
    assert read_folder(maker.root, task="regression").spec.kind == "regression"


def test_without_scikit_image_the_user_is_asked(maker, complaint, monkeypatch) -> None:
    from imseg import errors
    from imseg.data.masks import regions

    def missing(module: str, **words: str) -> None:
        raise errors.ImsegError(f"{module} is needed.")

    monkeypatch.setattr(regions, "import_extra", missing)
    maker.objects([30, 20, 25])
    text = complaint()
    assert "scikit-image, which could tell, is not installed" in text
    assert "pip install 'imseg[cells]'" in text
    assert 'task = "instances" or task = "multiclass"' in text
    assert read_folder(maker.root, task="instances").spec.coding == "objects"
    assert read_folder(maker.root, task="multiclass").spec.kind == "multiclass"
    masks = [np.minimum(maker.squares(number, np.uint8), 2) for number in (4, 5)]
    maker.pairs_with(masks, "other/labeled")
    assert read_folder(maker.root / "other").spec.kind == "multiclass"


# What cannot be objects.


@pytest.mark.parametrize("values", [(0, 255), (0, 1)])
def test_one_value_for_all_objects_is_refused(maker, values: tuple[int, int]) -> None:
    maker.pairs(values=values)
    with pytest.raises(ImsegError, match="no mask tells one object from another") as caught:
        read_folder(maker.root, task="instances")
    text = str(caught.value)
    assert "objects numbered 1, 2, 3" in text
    assert f"0 and {values[1]}, in all labeled masks" in text
    assert 'task = "binary"' in text


def test_empty_masks_are_no_instances(maker) -> None:
    maker.pairs(values=(0,))
    with pytest.raises(ImsegError, match="0 everywhere"):
        read_folder(maker.root, task="instances")


def test_one_object_an_image_is_fine_if_the_numbers_differ(maker) -> None:
    masks = [maker.squares(1, np.uint8) * number for number in (1, 2, 3)]
    maker.pairs_with(masks)
    assert read_folder(maker.root, task="instances").spec.coding == "objects"


def test_colors_and_fractions_number_nothing(maker) -> None:
    maker.pairs_with([maker.picture((24, 20), 3) for _ in range(3)])
    with pytest.raises(ImsegError, match="instances, but 3 labeled masks hold colors"):
        read_folder(maker.root, task="instances")
    shutil.rmtree(maker.root / "labeled")
    maker.pairs_with([np.full((24, 20), 0.5, np.float32) for _ in range(2)], suffix=".tif")
    with pytest.raises(ImsegError, match="instances, but 2 labeled masks hold fractions"):
        read_folder(maker.root, task="instances")


def test_listed_classes_do_not_fit_objects(maker) -> None:
    maker.objects([6, 8])
    maker.write("imseg.toml", 'task = "instances"\n[classes]\n1 = "cell"')
    with pytest.raises(ImsegError, match="the masks number objects, not classes"):
        read_folder(maker.root)
    maker.write("imseg.toml", 'task = "instances"\n[classes]\nborder = {color = "#010203"}')
    assert read_folder(maker.root).spec.colors[1] == (1, 2, 3)


def test_a_void_of_0_does_not_fit_objects(maker) -> None:
    maker.objects([6, 8])
    maker.write("imseg.toml", 'task = "instances"\nvoid = 0')
    with pytest.raises(ImsegError, match="from 1 to 65535; 0 is background"):
        read_folder(maker.root)


def test_numbers_in_pieces_and_masks_without_objects_are_mentioned(maker) -> None:
    maker.write("imseg.toml", 'task = "instances"')
    masks = [maker.squares(number, np.uint8) for number in (30, 28, 0)]
    maker.pairs_with([np.where(mask > 0, (mask - 1) % 6 + 1, 0).astype(np.uint8) for mask in masks])
    maker.pairs_with([maker.squares(0, np.uint8)], "val")
    text = found_warnings(maker)
    assert "Many numbers in the labeled masks lie in several pieces" in text
    assert "4.8 connected regions per number" in text
    assert "1 mask in labeled shows no object. | labeled/images/cell_02.png" in text
    assert "No mask in val shows an object" in text


# What comes of them.


def test_objects_are_counted_and_measured(maker) -> None:
    maker.write("imseg.toml", 'task = "instances"\npixel_size = 0.5\nvoid = 200')
    masks = [maker.squares(number, np.uint8) for number in (5, 7, 30)]
    masks[0][masks[0] == 1] = 200
    maker.pairs_with(masks)
    objects = check_folder(maker.root).objects
    assert objects is not None
    assert (objects.total, objects.fewest, objects.median, objects.most) == (41, 4, 7, 30)
    assert (objects.area, objects.area_um2) == (9, 2.25)
    assert objects.share == pytest.approx(41 * 9 / (3 * 44 * 44 - 9))


def test_hidden_label_images_are_joined(maker) -> None:
    maker.objects([6, 8, 9])
    maker.save("unlabeled/a.png", maker.picture((44, 44)))
    maker.save("hidden/masks/a.tif", maker.squares(70, np.uint16))
    pairs = hidden_masks(read_folder(maker.root), maker.root / "hidden/masks")
    assert [pair.mask for pair in pairs] == [maker.root / "hidden/masks/a.tif"]
    maker.save("hidden/masks/a.tif", maker.squares(70, np.uint16) + np.float32(0.5))
    with pytest.raises(ImsegError, match=r"a\.tif holds fractions"):
        hidden_masks(read_folder(maker.root), maker.root / "hidden/masks")


def test_masks_of_another_form_in_val_are_refused(maker, complaint) -> None:
    maker.objects([6, 8, 9])
    maker.pairs_with([maker.picture((44, 44), 3)], "val")
    text = complaint()
    assert "1 mask is not of the kind that is needed" in text
    assert "val/masks/cell_00.png holds colors" in text


def test_real_classes_are_no_objects(tmp_path) -> None:
    place = os.environ.get("IMSEG_DATA")
    if not place:
        pytest.skip("missing: the environment variable IMSEG_DATA (a folder with camvid)")
    source = Path(place) / "camvid"
    for image in sorted((source / "train").iterdir())[:60:4]:
        for kind, file in (
            ("images", image),
            ("masks", source / "trainannot" / f"{image.stem}.png"),
        ):
            (tmp_path / "labeled" / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / "labeled" / kind)
    (tmp_path / "imseg.toml").write_text("void = 11")
    spec = read_folder(tmp_path).spec
    assert (spec.kind, spec.coding, spec.void) == ("multiclass", "values", 11)
    assert set(spec.values) <= set(range(11))


def test_real_nuclei_are_recognized(tmp_path) -> None:
    place = os.environ.get("IMSEG_DATA")
    if not place:
        pytest.skip("missing: the environment variable IMSEG_DATA (a folder with nuclei)")
    source = Path(place) / "nuclei"
    for image in sorted((source / "images").glob("*.png"))[:12]:
        for kind, folder in (("images", "images"), ("masks", "instances")):
            (tmp_path / "labeled" / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(source / folder / image.name, tmp_path / "labeled" / kind)
    found = scan(tmp_path)
    assert errors_of(found) == []
    assert found.spec is not None and found.spec.coding == "objects"
    objects = check_folder(tmp_path).objects
    expected = 0
    for path in (tmp_path / "labeled/masks").iterdir():
        with Pillow.open(path) as picture:
            expected += len(np.unique(np.asarray(picture))) - 1
    assert objects is not None and objects.total == expected
