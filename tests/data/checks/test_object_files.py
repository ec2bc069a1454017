"""Masks as one file for each object: the layout is told once, and the files are merged."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from imseg.data.checks.folder_check import check_folder
from imseg.data.checks.repair import repair_folder
from imseg.data.folder.config import read_config
from imseg.data.folder.scan import read_folder
from imseg.data.masks.io import read_mask
from imseg.data.masks.merging import merge_objects
from imseg.errors import ImsegError

SIZE = (40, 44)


def squares(*corners: tuple[int, int], side: int = 6, value: int = 255):
    """Return a mask for each square."""
    masks = []
    for row, column in corners:
        mask = np.zeros(SIZE, np.uint8)
        mask[row : row + side, column : column + side] = value
        masks.append(mask)
    return masks


def objects(maker, stem: str, masks, split: str = "labeled", *, name: str = "obj{}") -> None:
    maker.save(f"{split}/images/{stem}.png", maker.picture(SIZE))
    (maker.root / split / "masks" / stem).mkdir(parents=True, exist_ok=True)
    for number, mask in enumerate(masks, 1):
        maker.save(f"{split}/masks/{stem}/{name.format(number)}.png", mask)


@pytest.fixture
def folder(maker):
    for number in range(5):
        objects(maker, f"n{number}", squares((2, 2), (20, 20), (30, 4 + number)))
    maker.pictures()
    return maker


def told(maker) -> list[str]:
    return [each.what for each in check_folder(maker.root).errors]


def test_the_layout_is_one_error_however_many_images_and_splits_there_are(folder) -> None:
    objects(folder, "v0", squares((2, 2)), "val")
    folder.write("labeled/masks/n0/metadata.csv", "id\n")
    found = check_folder(folder.root).errors
    assert [each.what for each in found] == [
        "labeled/masks and val/masks have a folder for each image, with a file for each object."
    ]
    assert "--fix" in found[0].hint and "6 folders with 16 files" in found[0].got


@pytest.mark.parametrize("name", ["{}", "n{}", "n0_{}", "mask_00{}"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_files_may_be_called_as_they_like(maker, name: str, count: int) -> None:
    for number in range(count):
        masks = squares((2, 2), (20, 20 + number), *[(30, 4)] * (number % 2))
        objects(maker, f"n{number}", masks, name=name)
    assert len(told(maker)) == 1 and "a file for each object" in told(maker)[0]


def test_folders_of_labels_are_not_taken_for_it(maker) -> None:
    maker.planes(labels=("cell_00", "alive", "dead"))
    assert read_folder(maker.root).spec.names == ("alive", "cell_00", "dead")


def test_a_single_label_called_as_the_only_images_is_a_label(maker) -> None:
    maker.planes(labels=("cell_00", "cell_01"), count=2)
    assert read_folder(maker.root).spec.names == ("cell_00", "cell_01")


def test_the_copy_has_one_numbered_mask_for_each_image(folder, tmp_path) -> None:
    folder.write("imseg.toml", b"\xef\xbb\xbfpixel_size = 0.5\r\n")
    objects(folder, "empty", [])
    objects(folder, "v0", squares((2, 2), (20, 20)), "val")
    objects(folder, "v1", squares((9, 2)), "val")
    fixed = repair_folder(folder.root, tmp_path / "fixed")
    assert fixed.report.errors == () and fixed.report.task == "instances"
    assert fixed.report.counts == {"labeled": 6, "unlabeled": 3, "val": 2, "test": 0}
    for number in range(5):
        values = read_mask(tmp_path / f"fixed/labeled/masks/n{number}.png").values
        wanted = squares((2, 2), (20, 20), (30, 4 + number))
        assert all((values[mask > 0] == k).all() for k, mask in enumerate(wanted, 1))
        assert (values > 0).sum() == sum((mask > 0).sum() for mask in wanted)
    assert not read_mask(tmp_path / "fixed/labeled/masks/empty.png").values.any()
    assert not [path for path in (tmp_path / "fixed/labeled/masks").iterdir() if path.is_dir()]
    config = read_config(tmp_path / "fixed")
    assert (config.task, config.pixel_size) == ("instances", 0.5)
    about = {each.file: each.about for each in fixed.repairs}
    assert about["labeled/masks/n0"] == "3 objects" and "imseg.toml" in about


def test_a_task_that_is_named_stays(folder, tmp_path) -> None:
    folder.write("imseg.toml", 'task = "multiclass"\n')
    repair_folder(folder.root, tmp_path / "fixed")
    assert read_config(tmp_path / "fixed").task == "multiclass"


def test_overlaps_are_counted_and_what_vanishes_is_named(folder, tmp_path) -> None:
    large, small = squares((2, 2), side=12)[0], squares((4, 4), side=4)[0]
    objects(folder, "n0", [small, large, np.zeros(SIZE, np.uint8)])
    objects(folder, "n1", [*squares((2, 2)), *squares((2, 2))])
    fixed = repair_folder(folder.root, tmp_path / "fixed")
    about = {each.file: each.about for each in fixed.repairs}
    assert about["labeled/masks/n1"].startswith("2 objects; 36 pixels of several")
    assert "1 object wholly covered by others and lost" in about["labeled/masks/n1"]
    values = read_mask(tmp_path / "fixed/labeled/masks/n0.png").values
    assert (values == 1).sum() == 16 and (values == 2).sum() == 144 - 16


def test_parts_within_large_objects_are_merged(folder, tmp_path) -> None:
    whole = [*squares((0, 0), side=40), *squares((2, 2), side=36)]
    objects(folder, "n0", [*whole, *squares((4, 4), (12, 12), (20, 20), (28, 28))])
    fixed = repair_folder(folder.root, tmp_path / "fixed")
    about = {each.file: each.about for each in fixed.repairs}
    assert about["labeled/masks/n0"].startswith("6 objects")


def test_values_of_files_are_read_as_what_they_are(folder, tmp_path) -> None:
    one, other = squares((2, 2), (20, 20), value=1)
    smeared = squares((30, 30))[0]
    smeared[29, 30:36] = 40
    objects(folder, "n0", [one + 2 * other, smeared])
    repair_folder(folder.root, tmp_path / "fixed")
    values = read_mask(tmp_path / "fixed/labeled/masks/n0.png").values
    assert [(values == each).sum() for each in (1, 2, 3, 4)] == [36, 36, 36, 36]


@pytest.mark.parametrize("fault", ["size", "broken", "inverted", "no image", "no folder", "link"])
def test_what_cannot_be_merged_stays_behind_by_name(folder, tmp_path, fault: str) -> None:
    place = folder.root / "labeled/masks/n0"
    if fault == "size":
        folder.save("labeled/masks/n0/obj2.png", np.full((9, 9), 255, np.uint8))
    elif fault == "broken":
        folder.write("labeled/masks/n0/obj2.png", "no picture")
    elif fault == "inverted":
        shutil.rmtree(place)
        objects(folder, "n0", [255 - mask for mask in squares((2, 2), (20, 20))])
    elif fault == "no image":
        (folder.root / "labeled/images/n0.png").unlink()
    elif fault == "no folder":
        shutil.rmtree(place)
    else:
        (place / "obj2.png").rename(tmp_path / "away.png")
        (place / "obj2.png").symlink_to(tmp_path / "away.png")
    fixed = repair_folder(folder.root, tmp_path / "fixed")
    left = {each.file: f"{each.why} {each.about}" for each in fixed.repairs if not each.became}
    wanted = {
        "size": "different sizes, obj2.png: 44x40 and 9x9",
        "broken": "obj2.png",
        "inverted": "as if backgrounds were marked",
        "no image": "a mask without an image",
        "no folder": "an image without a mask",
        "link": "obj2.png",
    }[fault]
    name = "labeled/masks/n0/obj1.png" if fault == "no image" else "labeled/images/n0.png"
    assert wanted in left[name]
    assert fixed.report.counts["labeled"] == 4 and fixed.report.errors == ()


def test_more_objects_than_16_bits_can_number_are_numbered() -> None:
    masks = [np.zeros((1, 1), bool)] * 65536 + [np.ones((1, 1), bool)]
    assert merge_objects(masks).labels.tolist() == [[65537]]


@pytest.mark.parametrize("above", ["", "stage1_train/", "labeled/"])
def test_the_layout_of_the_data_science_bowl_names_its_command(maker, above: str) -> None:
    for number in range(3):
        maker.save(f"{above}n{number}/images/n{number}.png", maker.picture())
        maker.save(f"{above}n{number}/masks/a.png", maker.mask())
    error = check_folder(maker.root).errors[0]
    assert "imseg prepare nuclei" in error.hint


def test_pairs_under_another_name_are_told_how_to_be_called(maker) -> None:
    maker.pairs("train", 3)
    assert "rename train/ to labeled/" in check_folder(maker.root).errors[0].hint


@pytest.mark.parametrize(
    ("ends", "hint"),
    [
        (("_1", "_2", "_3"), "--fix NEW merges the masks of each image into one"),
        (("-mask-1", "-mask-2"), "move the masks of an image into a folder of its name"),
        (("-obj1", "-obj2"), "move the masks of an image into a folder of its name"),
        (("_alive", "_dead"), "if alive, dead are labels"),
    ],
)
def test_several_masks_beside_each_other_are_one_error(maker, ends, hint: str) -> None:
    for stem in ("img_1", "img_10", "img_2"):
        maker.save(f"labeled/images/{stem}.png", maker.picture())
        for end in ends:
            maker.save(f"labeled/masks/{stem}{end}.png", maker.mask())
    errors = check_folder(maker.root).errors
    assert [each.what for each in errors] == ["3 images have several masks in labeled/masks."]
    assert hint in errors[0].hint
    assert len(errors[0].files) == 3 * len(ends)


def test_single_masks_with_an_end_are_not_several(maker) -> None:
    for number in range(3):
        maker.save(f"labeled/images/a{number}.png", maker.picture())
        maker.save(f"labeled/masks/a{number}_mask.png", maker.mask())
    assert not any("several masks" in text for text in told(maker))


@pytest.mark.parametrize("name", ["imseg.toml.txt", "Imseg.TOML", "imseg.txt"])
def test_settings_in_a_file_of_another_name_are_told(good, name: str) -> None:
    good.write(name, "void = 7\n")
    found = [each for each in check_folder(good.root).warnings if "not read" in each.what]
    assert [each.files for each in found] == [(name,)]
    good.write("imseg.toml", "")
    assert not [each for each in check_folder(good.root).warnings if "not read" in each.what]


def test_folders_in_other_case_than_their_images_are_merged(folder, tmp_path) -> None:
    for path in (folder.root / "labeled/images").iterdir():
        path.rename(path.with_stem(path.stem.upper()))
    fixed = repair_folder(folder.root, tmp_path / "fixed")
    assert not fixed.report.errors and fixed.report.counts["labeled"] == 5


def test_words_in_the_names_of_merged_files_are_told(folder, tmp_path) -> None:
    for number in range(5):
        for place, word in ((1, "alive_1"), (2, "dead_2"), (3, "alive_3")):
            file = folder.root / f"labeled/masks/n{number}/obj{place}.png"
            file.rename(file.with_stem(f"n{number}_{word}"))
    (error,) = check_folder(folder.root).errors
    assert "alive (10 files) and dead (5 files)" in error.hint
    warnings = repair_folder(folder.root, tmp_path / "fixed").report.warnings
    (found,) = [each for each in warnings if "names" in each.what]
    assert "say alive (10 files) and dead (5 files); the merged masks do not" in found.what
    assert "a folder for each of them in labeled/masks" in found.hint


@pytest.mark.parametrize("name", ["{}", "object_{}", "3f{}a9", "Cell-{}a"])
def test_names_without_groups_of_words_are_not_told(maker, tmp_path, name: str) -> None:
    for number in range(5):
        objects(maker, f"n{number}", squares((2, 2), (20, 20), (30, 4)), name=name)
    warnings = repair_folder(maker.root, tmp_path / "fixed").report.warnings
    assert not [each for each in warnings if "merged" in each.what]


def test_objects_that_are_lost_or_may_be_background_are_warnings(folder, tmp_path) -> None:
    objects(folder, "n1", [*squares((2, 2)), *squares((2, 2)), *squares((20, 20))])
    folder.save("labeled/masks/n2/background.png", 255 - squares((2, 2), side=20)[0])
    folder.save("labeled/masks/n3/obj9.png", np.full(SIZE, 255, np.uint8))
    warnings = repair_folder(folder.root, tmp_path / "fixed").report.warnings
    lost, background = [each for each in warnings if "merged" in each.what]
    assert lost.what == "1 object is lost in the merged masks."
    assert "1 object wholly covered by others and lost, 1 equal copy among them" in lost.got
    assert background.what == "2 merged files may show the background, not an object."
    assert background.files == ("labeled/masks/n2/background.png", "labeled/masks/n3/obj9.png")


def beside(maker, numbers: dict[str, int], *, end: str = "_{}") -> None:
    """Save images, and as many masks of single objects for each beside each other."""
    for index, (stem, number) in enumerate(numbers.items()):
        maker.save(f"labeled/images/{stem}.png", maker.picture(SIZE))
        corners = [(3 * place, (3 * place + 7 * index) % 40) for place in range(number)]
        for place, mask in enumerate(squares(*corners, side=3), 1):
            maker.save(f"labeled/masks/{stem}{end.format(place)}.png", mask)


@pytest.mark.parametrize("end", ["_{}", "-{}", "_{:03}", "_0_{}"])
def test_numbered_masks_beside_each_other_are_merged(maker, tmp_path, end: str) -> None:
    beside(maker, {"cell_1": 11, "cell_2": 1, "cell_10": 1, "cell_11": 1}, end=end)
    maker.write("labeled/masks/notes.txt", "no picture")
    assert any("--fix NEW merges the masks" in e.hint for e in check_folder(maker.root).errors)
    fixed = repair_folder(maker.root, tmp_path / "fixed")
    assert fixed.report.counts["labeled"] == 4 and fixed.report.errors == ()
    values = read_mask(tmp_path / "fixed/labeled/masks/cell_1.png").values
    assert [int(values[3 * place, 3 * place]) for place in range(11)] == [*range(1, 12)]
    assert not any(each.why == "a mask without an image" for each in fixed.repairs)


@pytest.mark.parametrize("name", ["cell", "other"])
def test_numbered_masks_that_may_be_of_two_images_are_not_merged(maker, tmp_path, name) -> None:
    beside(maker, {"cell_1": 3, "cell_2": 2})
    maker.save(f"labeled/images/{name}.png", maker.picture(SIZE))
    if name == "other":
        maker.save("labeled/masks/extra.png", maker.mask(SIZE))
    with pytest.raises(ImsegError, match="no labeled pair"):
        repair_folder(maker.root, tmp_path / "fixed")
    assert not (tmp_path / "fixed").exists()


def test_masks_that_several_people_drew_are_not_merged(folder, maker, tmp_path) -> None:
    shutil.rmtree(folder.root / "labeled/masks")
    beside(maker, {f"n{number}": 2 for number in range(5)})
    for end, corner in (("1", (2, 2)), ("2", (3, 2))):
        maker.save(f"labeled/masks/n0_{end}.png", squares(corner, side=20)[0])
    fixed = repair_folder(maker.root, tmp_path / "fixed")
    left = {each.file: each.why for each in fixed.repairs if not each.became}
    assert left["labeled/masks/n0_2.png"] == "most of its masks show the same place"
    assert fixed.report.counts["labeled"] == 4


def test_a_numbered_mask_that_an_image_is_called_as_is_its_mask(maker, tmp_path) -> None:
    beside(maker, {"cell_1": 3, "cell_2": 2})
    maker.save("labeled/images/cell_1_1.png", maker.picture(SIZE))
    fixed = repair_folder(maker.root, tmp_path / "fixed")
    assert {each.change for each in fixed.repairs} == {"left out"}
    assert {each.why for each in fixed.repairs if "masks" in each.file} == {
        "an image has several masks beside each other"
    }
    assert fixed.report.counts["labeled"] == 1


@pytest.mark.parametrize("numbers", [(3, 3), (3, 2)])
def test_masks_numbered_alike_for_every_image_may_be_classes(maker, tmp_path, numbers) -> None:
    beside(maker, dict(zip(("cell_1", "cell_2"), numbers, strict=True)))
    warnings = repair_folder(maker.root, tmp_path / "fixed").report.warnings
    told = [each.got for each in warnings if "merged as objects" in each.what]
    assert told == ["STEM_1, STEM_2, STEM_3."] * (numbers == (3, 3))
