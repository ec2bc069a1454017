"""A folder without labeled/images: the error says where what is there has to go."""

from __future__ import annotations

import pytest

from imseg.data.checks.folder_check import check_folder


@pytest.mark.parametrize(
    ("images", "masks", "checked", "hint"),
    [
        ("JPEGImages/{}.jpg", "SegmentationClass/{}.png", "",
         "move JPEGImages to labeled/images and SegmentationClass to labeled/masks."),
        ("images/{}.png", "masks/{}.png", "", "move images/ and masks/ into a folder labeled/."),
        ("labeled/images/{}.png", "labeled/masks/{}.png", "labeled", "check the folder above"),
        ("{}.jpg", "{}_mask.png", "", "move the pictures that end in _mask to labeled/masks"),
        ("train/{}.jpg", "train/{}-seg.png", "", "move the pictures of train/ that end in -seg"),
        ("labeled/{}.jpg", "labeled/{}_mask.png", "", "of labeled/ that end in _mask"),
        ("{}.jpg", "notes/{}.png", "", "move pictures that have masks to labeled/images"),
    ],
)  # fmt: skip
def test_what_is_there_is_told_where_to_go(maker, images, masks, checked, hint: str) -> None:
    for stem in ("a1", "a2"):
        maker.save(images.format(stem), maker.picture())
        maker.save(masks.format(stem), maker.mask())
    (error,) = check_folder(maker.root / checked).errors
    assert hint in error.hint and "imseg prepare" not in error.hint


def test_pictures_beside_no_folder_are_counted(maker) -> None:
    for number in range(3):
        maker.save(f"{number}.png", maker.picture())
    (error,) = check_folder(maker.root).errors
    assert error.got == "3 pictures."


@pytest.mark.parametrize("name", ["Labeled", "label"])
def test_a_folder_of_another_name_is_told_once(maker, name: str) -> None:
    maker.pairs(name, 3)
    report = check_folder(maker.root)
    found = [*report.errors, *report.warnings]
    told = [each.hint for each in found if f"{name}/" in each.what + each.hint]
    assert told == [f"rename {name}/ to labeled/, if that is what it holds."]
