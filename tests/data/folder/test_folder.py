"""Folders, good and bad; each problem has one test of its words."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from imseg.data.checks.fitness import errors_of
from imseg.data.folder.scan import hidden_masks, read_folder, scan
from imseg.errors import ImsegError, ImsegErrors
from imseg.types import Reading

Complaint = Callable[[], str]


def test_a_good_folder_is_read(good) -> None:
    dataset = read_folder(good.root)
    assert dataset.spec.kind == "binary"
    assert dataset.spec.values == (0, 255)
    assert dataset.reading == Reading(channels=1)
    assert [pair.name for pair in dataset.labeled] == [
        f"labeled/images/cell_0{index}.png" for index in range(4)
    ]
    assert dataset.labeled[1].mask == good.root / "labeled/masks/cell_01.png"
    assert [image.name for image in dataset.unlabeled] == [
        f"unlabeled/cell_u{index}.png" for index in range(3)
    ]
    assert (len(dataset.val), len(dataset.test)) == (2, 2)


def test_british_spelling_and_an_images_folder_are_read(maker) -> None:
    maker.pairs("labelled")
    maker.save("unlabelled/images/a.png", maker.picture())
    maker.write("unlabelled/masks/notes.txt", "never looked at")
    dataset = read_folder(maker.root)
    assert (len(dataset.labeled), len(dataset.unlabeled)) == (4, 1)


def test_every_file_kind_and_upper_case_suffixes_are_read(maker) -> None:
    for suffix in ("png", "JPG", "jpeg", "BMP", "tif", "TIFF"):
        maker.save(f"labeled/images/{suffix}.{suffix}", maker.picture((32, 32), 3))
        maker.save(f"labeled/masks/{suffix}.PNG", maker.mask(size=(32, 32)))
    assert len(read_folder(maker.root).labeled) == 6


def test_a_folder_of_gray_and_color_is_read_as_color(maker) -> None:
    maker.pairs(count=2)
    maker.save("unlabeled/a.png", maker.picture(channels=3))
    assert read_folder(maker.root).reading.channels == 3


def test_hidden_files_and_junk_are_passed_over(good) -> None:
    for name in (".DS_Store", "Thumbs.db", "._cell_00.png", "desktop.ini"):
        good.write(f"labeled/images/{name}", "junk")
    assert len(read_folder(good.root).labeled) == 4


def test_gray_codes_make_classes(maker) -> None:
    maker.pairs(values=(0, 128, 255))
    spec = read_folder(maker.root).spec
    assert (spec.kind, spec.values) == ("multiclass", (0, 128, 255))
    maker.write("imseg.toml", 'void = 128\n[classes]\n255 = "cell"')
    spec = read_folder(maker.root).spec
    assert (spec.kind, spec.names, spec.void) == ("binary", ("background", "cell"), 128)


def test_the_task_can_be_set(good) -> None:
    assert read_folder(good.root, task="multiclass").spec.kind == "multiclass"


def test_nothing_depends_on_the_order_of_the_file_system(good, monkeypatch) -> None:
    expected = read_folder(good.root)
    real = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(sorted(real(path), reverse=True)))
    assert read_folder(good.root) == expected


def test_progress_counts_every_picture(good) -> None:
    seen: list[tuple[int, int]] = []
    read_folder(good.root, progress=lambda *step: seen.append(step))
    assert seen == [(done, 11) for done in range(1, 12)]


def test_unlabeled_copies_of_labeled_images_are_left_out(good, caplog) -> None:
    shutil.copy(good.root / "labeled/images/cell_00.png", good.root / "unlabeled/copy.png")
    shutil.copy(good.root / "val/images/cell_00.png", good.root / "unlabeled/other.png")
    with caplog.at_level(logging.WARNING):
        dataset = read_folder(good.root)
    assert len(dataset.unlabeled) == 3
    assert "left out 2 unlabeled images" in caplog.text
    assert "unlabeled/copy.png" in caplog.text


# Problems of the layout.


def test_no_such_folder(good, tmp_path) -> None:
    with pytest.raises(ImsegError, match=r"There is no folder .*my-dtaa(.*\n)*.*my-data\?"):
        read_folder(tmp_path / "my-dtaa")


def test_a_file_is_not_a_folder(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImsegError, match="is not a folder"):
        read_folder(tmp_path / "file")


def test_no_labeled_images(maker, complaint: Complaint) -> None:
    assert "no folder labeled/images" in complaint()
    maker.save("label/images/a.png", maker.picture())
    assert "rename label/ to labeled/" in complaint()


def test_pictures_directly_in_labeled(maker, complaint: Complaint) -> None:
    maker.save("labeled/a.png", maker.picture())
    assert "from labeled/ to labeled/images" in complaint()


def test_no_images(maker, complaint: Complaint) -> None:
    maker.save("labeled/masks/a.png", maker.mask())
    (maker.root / "labeled/images").mkdir()
    assert "labeled/images holds no images" in complaint()


def test_no_masks(maker, complaint: Complaint) -> None:
    maker.save("labeled/images/a.png", maker.picture())
    text = complaint()
    assert "labeled/masks holds no masks" in text
    assert "no such folder" in text


def test_both_spellings(good, complaint: Complaint) -> None:
    good.pairs("labelled")
    assert "both labeled/ and labelled/" in complaint()


def test_an_image_without_mask_and_a_mask_without_image_are_named(good, complaint) -> None:
    mask = good.root / "labeled/masks/cell_02.png"
    mask.rename(mask.with_name("cell_02_mask.png"))
    text = complaint()
    assert "1 image in labeled/images has no mask." in text
    assert "labeled/images/cell_02.png (is it labeled/masks/cell_02_mask.png?)" in text
    assert "1 mask in labeled/masks has no image." in text
    assert "labeled/masks/cell_02_mask.png (is it labeled/images/cell_02.png?)" in text


def test_many_images_without_masks_are_counted(good, complaint: Complaint) -> None:
    for index in range(9):
        good.save(f"labeled/images/more_{index}.png", good.picture())
    text = complaint()
    assert "9 images in labeled/images have no mask." in text
    assert "(and 6 more)" in text


def test_two_images_of_one_stem(good, complaint: Complaint) -> None:
    good.save("labeled/images/cell_01.bmp", good.picture())
    text = complaint()
    assert "1 stem in labeled/images stands for more than one file" in text
    assert "labeled/images/cell_01.bmp and labeled/images/cell_01.png" in text


def test_two_masks_of_one_stem(good, complaint: Complaint) -> None:
    good.save("labeled/masks/cell_01.bmp", good.mask())
    assert "1 stem in labeled/masks" in complaint()


def test_a_split_without_images_folder(good, complaint: Complaint) -> None:
    shutil.rmtree(good.root / "val/images")
    assert "val/ has no folder images" in complaint()


def test_pictures_beside_the_images_folder(good, complaint: Complaint) -> None:
    good.save("unlabeled/images/a.png", good.picture())
    text = complaint()
    assert "unlabeled/ holds pictures beside its folder images" in text
    assert "unlabeled/cell_u0.png" in text


def test_a_file_that_is_no_picture(good, complaint: Complaint) -> None:
    good.write("unlabeled/notes.txt", "a note")
    text = complaint()
    assert "1 file in unlabeled is not a picture" in text
    assert "unlabeled/notes.txt" in text


# Problems of the files.


@pytest.mark.parametrize(
    "name",
    [
        "labeled/images/cell_01.png",
        "labeled/masks/cell_01.png",
        "unlabeled/cell_u1.png",
        "val/images/cell_01.png",
        "test/masks/cell_01.png",
    ],
)
def test_a_truncated_file_is_named_wherever_it_is(good, complaint, name: str) -> None:
    path = good.save(name, good.picture((200, 200)))
    path.write_bytes(path.read_bytes()[:9000])
    text = complaint()
    assert text.startswith(f"{name} is cut short or damaged")
    assert str(good.root) not in text


def test_several_unreadable_files_come_together(good, complaint: Complaint) -> None:
    good.write("unlabeled/cell_u0.png", "")
    good.write("unlabeled/cell_u1.png", "no picture")
    text = complaint()
    assert "2 files cannot be read." in text
    assert "unlabeled/cell_u0.png is empty, unlabeled/cell_u1.png is not a PNG" in text


def test_a_file_that_may_not_be_read(good, complaint: Complaint) -> None:
    if os.geteuid() == 0:
        pytest.skip("missing: a user without the right to read every file")
    (good.root / "unlabeled/cell_u0.png").chmod(0)
    assert "unlabeled/cell_u0.png may not be read" in complaint()


def test_masks_that_do_not_fit_their_images(good, complaint: Complaint) -> None:
    for index in range(3):
        good.save(f"labeled/masks/cell_0{index}.png", good.mask(size=(30, 20)))
    text = complaint()
    assert "3 masks do not fit their images." in text
    assert "labeled/masks/cell_00.png is 30x20, labeled/images/cell_00.png is 24x20" in text
    assert "(and 2 more)" in text


def test_a_turned_mask_is_recognized(good, complaint: Complaint) -> None:
    good.save("test/masks/cell_00.png", good.mask(size=(20, 24)))
    text = complaint()
    assert "1 mask does not fit its image." in text
    assert "turn the masks by 90 degrees, or remove the pair" in text


def test_one_labeled_image_only(maker, complaint: Complaint) -> None:
    maker.pairs(count=1)
    assert "one labeled image only" in complaint()


def test_one_labeled_image_is_too_few_even_with_val(maker, complaint: Complaint) -> None:
    maker.pairs(count=1)
    maker.pairs("val")
    assert "one labeled image only" in complaint()


def test_an_image_under_16_pixels(good, complaint: Complaint) -> None:
    good.save("unlabeled/tiny.png", good.picture((15, 40)))
    text = complaint()
    assert "1 image is too small." in text
    assert "at least 16 pixels" in text
    assert "unlabeled/tiny.png is 15x40" in text


@pytest.mark.parametrize("split", ["val", "test"])
def test_unknown_values_in_val_or_test(good, complaint, split: str) -> None:
    good.save(f"{split}/masks/cell_01.png", good.mask((0, 90, 255)))
    text = complaint()
    assert f"1 mask in {split} holds values that no labeled mask has." in text
    assert "0 (background), 255 (foreground)" in text
    assert f"{split}/masks/cell_01.png has 90" in text


def test_hundreds_of_values_that_are_no_objects(maker, complaint: Complaint) -> None:
    for index in range(3):
        maker.save(f"labeled/images/{index}.png", maker.picture((64, 64)))
        numbers = np.zeros((64, 64), np.uint16)
        numbers[:, :8] = np.arange(512).reshape(64, 8)
        maker.save(f"labeled/masks/{index}.png", numbers)
    text = complaint()
    assert "512 different values" in text
    assert 'task = "regression" in imseg.toml if they are measurements, "instances" if' in text


def test_masks_smeared_by_jpeg(maker, complaint: Complaint) -> None:
    for index in range(3):
        maker.save(f"labeled/images/{index}.png", maker.picture((256, 256)))
        yy, xx = np.indices((256, 256)) - 128
        disc = ((yy**2 + xx**2 < (60 + 9 * index) ** 2) * 255).astype(np.uint8)
        maker.save(f"labeled/masks/{index}.jpg", disc, quality=60)
    text = complaint()
    assert "different values" in text
    assert "JPEG" in text


def test_masks_of_one_value(maker, complaint: Complaint) -> None:
    maker.pairs(values=(0,))
    assert "one class only" in complaint()


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("labeled/images/cell_00", "test/images/cell_01", "in labeled and in test"),
        ("val/images/cell_00", "test/images/cell_01", "in val and in test"),
        ("labeled/images/cell_00", "val/images/cell_01", "in labeled and in val"),
        ("unlabeled/cell_u0", "test/images/cell_01", "in unlabeled and in test"),
    ],
)
def test_the_same_image_in_two_splits(good, complaint, one: str, other: str, words: str) -> None:
    with Pillow.open(good.root / f"{one}.png") as picture:
        picture.save(good.root / f"{other}.bmp")
    (good.root / f"{other}.png").unlink()
    text = complaint()
    assert f"1 image is {words}." in text
    assert f"{one}.png = {other}.bmp" in text


def test_all_problems_come_at_once(good) -> None:
    good.save("unlabeled/tiny.png", good.picture((9, 9)))
    good.write("unlabeled/cell_u0.png", "")
    good.write("imseg.toml", "taks = 1\nviod = 2")
    good.save("labeled/masks/cell_00.png", good.mask(size=(30, 30)))
    with pytest.raises(ImsegErrors) as caught:
        read_folder(good.root)
    assert len(caught.value.errors) == 5


def test_an_unreadable_mask_is_not_blamed_twice(good) -> None:
    for index in range(4):
        good.write(f"labeled/masks/cell_0{index}.png", "")
    assert [finding.what for finding in errors_of(scan(good.root))] == ["4 files cannot be read."]


# Hidden masks.


def test_hidden_masks_are_joined_by_stem(good) -> None:
    for index in range(5):
        good.save(f"hidden/masks/cell_u{index}.bmp", good.mask())
    dataset = read_folder(good.root)
    pairs = hidden_masks(dataset, good.root / "hidden/masks")
    assert [pair.image for pair in pairs] == list(dataset.unlabeled)
    assert pairs[2].mask == good.root / "hidden/masks/cell_u2.bmp"


def hidden_complaint(maker) -> str:
    with pytest.raises(ImsegError) as caught:
        hidden_masks(read_folder(maker.root), maker.root / "hidden/masks")
    return str(caught.value)


def test_missing_hidden_masks_are_named(good) -> None:
    assert "There is no folder" in hidden_complaint(good)
    good.save("hidden/masks/cell_u0.png", good.mask())
    good.save("hidden/masks/cell_u1_mask.png", good.mask())
    text = hidden_complaint(good)
    assert "lacks masks of 2 unlabeled images" in text
    assert "unlabeled/cell_u1.png (is it cell_u1_mask?)" in text


def test_two_hidden_masks_of_one_stem_are_named(good) -> None:
    for name in ("cell_u0.png", "cell_u0.bmp", "cell_u1.png", "cell_u2.png"):
        good.save(f"hidden/masks/{name}", good.mask())
    assert "cell_u0.bmp and cell_u0.png" in hidden_complaint(good)


def test_bad_hidden_masks_are_named(good) -> None:
    good.save("hidden/masks/cell_u0.png", good.mask((0, 7)))
    good.save("hidden/masks/cell_u1.png", good.mask(size=(30, 30)))
    good.write("hidden/masks/cell_u2.png", "")
    text = hidden_complaint(good)
    assert "cell_u0.png holds values that no labeled mask has" in text
    assert "cell_u1.png does not fit its image" in text
    assert "cell_u2.png is empty" in text


# Real pictures.


def test_a_few_real_pairs_are_read(tmp_path) -> None:
    place = os.environ.get("IMSEG_DATA")
    if not place:
        pytest.skip("missing: the environment variable IMSEG_DATA (a folder with isic2017)")
    source = Path(place) / "isic2017"
    images = sorted((source / "ISIC-2017_Training_Data").glob("*.jpg"))[:9]
    assert len(images) == 9, f"{source} lacks pictures"
    for index, image in enumerate(images):
        split = "labeled" if index < 6 else "test"
        mask = f"{image.stem}_segmentation.png"
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, tmp_path / split / "images")
        shutil.copy(
            source / "ISIC-2017_Training_Part1_GroundTruth" / mask,
            tmp_path / split / "masks" / f"{image.stem}.png",
        )
    dataset = read_folder(tmp_path)
    assert dataset.spec.kind == "binary"
    assert dataset.reading.channels == 3
    assert (len(dataset.labeled), len(dataset.test)) == (6, 3)
