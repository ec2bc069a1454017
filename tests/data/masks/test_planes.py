"""A mask for each label, in a folder of the label's name."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
import pytest

from imseg.data.checks.folder_check import check_folder
from imseg.data.folder.scan import hidden_masks, read_folder
from imseg.errors import ImsegError

Complaint = Callable[[], str]
LABELS = ("alive", "dead", "position")


def found_warnings(maker) -> str:
    report = check_folder(maker.root)
    assert report.errors == (), report.errors
    return "\n".join(f"{each.what} | {each.got} | {each.hint}" for each in report.warnings)


def test_folders_of_masks_are_labels_with_position_last(maker) -> None:
    maker.planes(labels=("zebra", "position", "ant"))
    maker.planes("val", 2, labels=("zebra", "position", "ant"))
    dataset = read_folder(maker.root)
    spec = dataset.spec
    assert (spec.kind, spec.coding) == ("multilabel", "planes")
    assert spec.names == ("ant", "zebra", "position")
    assert spec.position == 2
    assert len(set(spec.colors)) == 3
    assert dataset.labeled[1].mask == {
        label: maker.root / f"labeled/masks/{label}/cell_01.png" for label in spec.names
    }
    assert list(dataset.val[0].mask) == list(spec.names)


def test_labels_may_have_colors_void_and_a_size(maker) -> None:
    maker.planes()
    toml = 'task = "multilabel"\nvoid = 7\npixel_size = 2\n[classes]\nalive = {color = "#010203"}'
    maker.write("imseg.toml", toml)
    maker.save("labeled/masks/dead/cell_00.png", maker.mask((0, 7, 255)))
    spec = read_folder(maker.root).spec
    assert spec.colors[0] == (1, 2, 3)
    assert (spec.void, spec.pixel_size) == (7, 2.0)


def test_a_label_may_be_called_like_a_number(maker) -> None:
    maker.planes(labels=("01", "cell"))
    maker.write("imseg.toml", "[classes]\n1 = {color = [9, 9, 9]}")
    assert read_folder(maker.root).spec.colors[0] == (9, 9, 9)


def test_planes_may_be_of_any_two_values_and_of_floats_that_are_whole(maker) -> None:
    maker.planes(labels=("alive",))
    maker.save("labeled/masks/alive/cell_00.png", maker.mask((0, 1)))
    maker.save("labeled/masks/alive/cell_01.png", maker.mask((9,)))
    assert check_folder(maker.root).errors == ()


# What is missing or misplaced.


def test_all_missing_planes_come_in_one_error(maker, complaint: Complaint) -> None:
    maker.planes()
    (maker.root / "labeled/masks/alive/cell_01.png").unlink()
    (maker.root / "labeled/masks/dead/cell_01.png").unlink()
    (maker.root / "labeled/masks/position/cell_03.png").unlink()
    text = complaint()
    assert "3 masks are missing in labeled/masks." in text
    assert "labeled/masks/alive/cell_01, labeled/masks/dead/cell_01, labeled" in text
    assert "all-black mask" in text


def test_an_image_without_any_plane_has_no_mask(maker, complaint: Complaint) -> None:
    maker.planes()
    for label in LABELS:
        (maker.root / f"labeled/masks/{label}/cell_01.png").unlink()
    text = complaint()
    assert "1 image in labeled/images has no mask." in text
    assert "missing" not in text


def test_a_plane_without_image_is_named(maker, complaint: Complaint) -> None:
    maker.planes()
    plane = maker.root / "labeled/masks/dead/cell_01.png"
    plane.rename(plane.with_name("cell_1.png"))
    text = complaint()
    assert "1 mask is missing in labeled/masks." in text
    assert "1 mask in labeled/masks/dead has no image." in text


def test_folders_beside_masks_are_not_labels(good) -> None:
    good.save("labeled/masks/old/cell_00.png", good.mask())
    assert read_folder(good.root).spec.coding == "values"
    assert "1 folder inside labeled/masks will not be read" in found_warnings(good)


def test_empty_folders_are_no_labels(maker, complaint: Complaint) -> None:
    maker.save("labeled/images/a.png", maker.picture())
    (maker.root / "labeled/masks/alive").mkdir(parents=True)
    assert "labeled/masks holds no masks" in complaint()


def test_an_empty_label_folder_beside_others_lacks_everything(maker, complaint) -> None:
    maker.planes(labels=("alive", "dead"))
    shutil.rmtree(maker.root / "labeled/masks/dead")
    (maker.root / "labeled/masks/dead").mkdir()
    assert "4 masks are missing in labeled/masks" in complaint()


@pytest.mark.parametrize("split", ["val", "test"])
def test_other_labels_in_val_or_test(maker, complaint: Complaint, split: str) -> None:
    maker.planes()
    maker.planes(split, labels=("alive", "deda", "position"))
    text = complaint()
    assert f"{split}/masks has other labels than labeled/masks." in text
    assert "a folder for each label: alive, dead, position." in text
    assert "rename deda/ to dead/" in text


def test_a_label_that_val_lacks(maker, complaint: Complaint) -> None:
    maker.planes()
    maker.planes("val", labels=("alive", "position"))
    assert "add the missing folders" in complaint()


def test_planes_here_and_masks_there(maker, complaint: Complaint) -> None:
    maker.planes()
    maker.pairs("val")
    text = complaint()
    assert "val/masks has other labels" in text
    assert "one mask for each image, in no folders" in text


def test_position_alone_is_no_target(maker, complaint: Complaint) -> None:
    maker.planes(labels=("position",))
    text = complaint()
    assert 'The only label is "position"' in text
    assert "at least one label beside position" in text


def test_labels_that_are_empty_everywhere(maker, complaint: Complaint) -> None:
    maker.planes(labels=("alive",))
    for index in range(4):
        maker.save(f"labeled/masks/alive/cell_0{index}.png", maker.mask((0,)))
    assert "The labeled masks are empty" in complaint()


@pytest.mark.parametrize("task", ["binary", "multiclass", "instances", "regression"])
def test_other_tasks_do_not_fit_planes(maker, task) -> None:
    maker.planes()
    with pytest.raises(ImsegError, match=f"task is {task}, but there is a mask for each label"):
        read_folder(maker.root, task=task)


def test_multilabel_needs_planes(good) -> None:
    with pytest.raises(ImsegError, match="there is one mask for each image") as caught:
        read_folder(good.root, task="multilabel")
    assert "labeled/masks/alive/cell_07.png" in str(caught.value)
    assert "make a folder for each label" in str(caught.value)


def test_listed_labels_must_be_folders(maker, complaint: Complaint) -> None:
    maker.planes()
    maker.write("imseg.toml", '[classes]\nalvie = {color = "#ffffff"}')
    text = complaint()
    assert '"alvie"' in text
    assert 'did you mean "alive"' in text
    maker.write("imseg.toml", '[classes]\nalive = "living cells"')
    text = complaint()
    assert 'calls the label "alive" by another name' in text
    assert "rename the folder alive/" in text


# What planes may hold.


def test_smeared_planes_are_named_in_every_split(maker, complaint: Complaint) -> None:
    maker.planes()
    maker.planes("test", 2)
    maker.save("labeled/masks/alive/cell_00.png", maker.mask((0, 3, 252, 255)))
    maker.save("test/masks/dead/cell_01.png", maker.mask((1, 2)))
    text = complaint()
    assert "2 masks hold more than two values" in text
    assert "labeled/masks/alive/cell_00.png holds 0, 3, 252, 255" in text
    assert "test/masks/dead/cell_01.png holds 1, 2" in text
    assert "imseg check DATA --fix DIR" in text


def test_colored_planes_and_fractions_are_named(maker, complaint: Complaint) -> None:
    maker.planes()
    maker.save("labeled/masks/alive/cell_00.png", maker.picture(channels=3))
    fractions = np.full((24, 20), 0.5, np.float32)
    maker.save("labeled/masks/dead/cell_00.tif", fractions)
    (maker.root / "labeled/masks/dead/cell_00.png").unlink()
    text = complaint()
    assert "2 masks are not of the kind that are needed" in text
    assert "labeled/masks/alive/cell_00.png holds colors" in text
    assert "labeled/masks/dead/cell_00.tif holds fractions" in text


def test_planes_of_another_size_are_named(maker, complaint: Complaint) -> None:
    maker.planes()
    maker.save("labeled/masks/dead/cell_00.png", maker.mask(size=(30, 20)))
    text = complaint()
    assert "1 mask does not fit its image" in text
    assert "labeled/masks/dead/cell_00.png is 30x20" in text


def test_an_unreadable_plane_is_named(maker, complaint: Complaint) -> None:
    maker.planes()
    maker.write("labeled/masks/dead/cell_00.png", "")
    assert complaint().startswith("labeled/masks/dead/cell_00.png is empty")


# The report.


def test_labels_come_with_shares_images_and_positions(maker) -> None:
    maker.planes(count=3)
    two = np.zeros((24, 20), np.uint8)
    two[1:3, 1:3] = two[9:11, 9:11] = 1
    maker.save("labeled/masks/position/cell_02.png", two)
    maker.save("labeled/masks/dead/cell_02.png", maker.mask((0,)))
    alive, dead, position = check_folder(maker.root).classes
    assert (alive.key, alive.images, alive.regions) == ("alive", 3, None)
    assert alive.share == pytest.approx(21 / 480)
    assert (dead.images, dead.share) == (2, pytest.approx(2 * 21 / (3 * 480)))
    assert (position.images, position.regions) == (3, 4)


def test_warnings_of_planes(maker) -> None:
    maker.planes(labels=("alive", "Centers", "gone"))
    for index in range(4):
        maker.save(f"labeled/masks/gone/cell_0{index}.png", maker.mask((0,)))
    for label in ("alive", "Centers", "gone"):
        maker.save(f"val/masks/{label}/a.png", maker.mask((0,)))
    maker.save("val/images/a.png", maker.picture())
    maker.write("imseg.toml", 'unit = "m"')
    text = found_warnings(maker)
    assert "No labeled mask shows some of the labels; they cannot be learned. | gone" in text
    assert 'The label "Centers" is learned as an area.' in text
    assert "1 mask in val shows none of the labels" in text
    assert "3 labels do not occur in val. | Centers, alive, gone" in text
    assert "unit in imseg.toml has no use, because the task is multilabel" in text


def test_planes_of_doubled_images_are_compared(maker) -> None:
    maker.planes()
    shutil.copy(maker.root / "labeled/images/cell_00.png", maker.root / "labeled/images/copy.png")
    for label in LABELS:
        folder = maker.root / "labeled/masks" / label
        shutil.copy(folder / "cell_00.png", folder / "copy.png")
    assert "with masks that differ" not in found_warnings(maker)
    maker.save("labeled/masks/dead/copy.png", maker.mask())
    assert "1 pair with masks that differ" in found_warnings(maker)


# Hidden masks.


def test_hidden_planes_are_joined_by_stem(maker) -> None:
    maker.planes()
    maker.pictures(2)
    for label in LABELS:
        for index in range(3):
            maker.save(f"hidden/masks/{label}/cell_u{index}.png", maker.mask())
    pairs = hidden_masks(read_folder(maker.root), maker.root / "hidden/masks")
    assert pairs[1].mask == {
        label: maker.root / f"hidden/masks/{label}/cell_u1.png" for label in LABELS
    }


def test_bad_hidden_planes_are_named(maker) -> None:
    maker.planes()
    maker.pictures(2)

    def problem() -> str:
        with pytest.raises(ImsegError) as caught:
            hidden_masks(read_folder(maker.root), maker.root / "hidden/masks")
        return str(caught.value)

    for label in LABELS[:2]:
        maker.save(f"hidden/masks/{label}/cell_u0.png", maker.mask())
    assert "lacks folders of labels" in problem()
    maker.save("hidden/masks/position/cell_u0.png", maker.mask((0, 3, 9)))
    text = problem()
    assert text.count("lacks masks of 1 unlabeled image") == 3
    for label in LABELS:
        maker.save(f"hidden/masks/{label}/cell_u1.png", maker.mask())
    assert "position/cell_u0.png holds 3 different values" in problem()
