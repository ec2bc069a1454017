"""Preparing ISIC: the published layouts, the splits, and trees that are not what they should be."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.data.datasets import prepared
from tests.data.datasets.prepared import contents, fingerprint, pack, real_data, stems

from imseg.data.datasets import prepare_data_set
from imseg.errors import ImsegError

prepare_isic2018 = partial(prepare_data_set, "isic2018")

NAMES_2017 = {
    "training": ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
    "validation": ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
    "test": ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
}
NAMES_2018 = {
    "training": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
    "validation": ("ISIC2018_Task1-2_Validation_Input", "ISIC2018_Task1_Validation_GroundTruth"),
    "test": ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
}


def make_tree(root: Path, names: dict[str, tuple[str, str]], **counts: int) -> Path:
    """Write a tree as published, with what else lies in it; every file has content of its own."""
    number = 0
    for part, count in counts.items():
        images, masks = (root / name for name in names[part])
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for folder in (images, masks):
            (folder / "LICENSE.txt").write_text("CC-0")
            (folder / "ATTRIBUTION.txt").write_text("by ISIC")
        for _ in range(count):
            number += 1
            name = f"ISIC_{number:07d}"
            Image.new("RGB", (20, 16), (number, 0, 9)).save(images / f"{name}.jpg")
            (images / f"{name}_superpixels.png").write_bytes(b"not for us")
            truth = np.zeros((16, 20), dtype=np.uint8)
            truth.flat[:number] = 255
            Image.fromarray(truth).save(masks / f"{name}_segmentation.png")
    return root


def check_layout(out: Path, raw: Path) -> None:
    """Check that each pair is whole, in one split only, and a copy of the official files."""
    splits = prepared.check_folder(out)
    prepared.check_disjoint(splits)
    for split in splits:
        masks = out / ("hidden" if split == "unlabeled" else split) / "masks"
        for path in sorted((out / split / "images").iterdir())[:5]:
            (image,) = raw.glob(f"*/{path.stem}.jpg")
            (mask,) = raw.glob(f"*/{path.stem}_segmentation.png")
            assert path.read_bytes() == image.read_bytes()
            assert (masks / f"{path.stem}.png").read_bytes() == mask.read_bytes()
    config = prepared.config(out)
    assert config["task"] == "binary" and "void" not in config
    names = {value: entry["name"] for value, entry in config["classes"].items()}
    assert names == {"0": "skin", "255": "lesion"}


@pytest.fixture(scope="module")
def tree_2017(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("raw2017"), NAMES_2017, training=28, validation=9)


def test_2017_without_a_test_folder_splits_the_validation_images_one_to_two(tree_2017, tmp_path):
    counts = prepare_isic2018(tree_2017, tmp_path / "out", labeled=0.1)
    assert (counts.labeled, counts.unlabeled, counts.val, counts.test) == (2, 26, 3, 6)
    assert counts.source == "ISIC 2017" and "a third is for validation" in counts.notes[0]
    check_layout(tmp_path / "out", tree_2017)
    official = {path.stem for path in (tree_2017 / NAMES_2017["validation"][0]).glob("*.jpg")}
    assert stems(tmp_path / "out/val/images") | stems(tmp_path / "out/test/images") == official


@pytest.mark.parametrize(
    ("names", "source"), [(NAMES_2017, "ISIC 2017"), (NAMES_2018, "ISIC 2018")]
)
def test_official_validation_and_test_folders_are_used_where_present(tmp_path, names, source):
    raw = make_tree(tmp_path / "raw", names, training=20, validation=4, test=7)
    counts = prepare_isic2018(raw, tmp_path / "out", labeled=0.25, seed=3)
    assert (counts.labeled, counts.unlabeled, counts.val, counts.test) == (5, 15, 4, 7)
    assert counts.source == source and not counts.notes
    check_layout(tmp_path / "out", raw)
    assert stems(tmp_path / "out/test/images") == {
        path.stem for path in (raw / names["test"][0]).glob("*.jpg")
    }


def test_2018_without_a_test_folder_splits_as_2017_does(tmp_path):
    raw = make_tree(tmp_path / "raw", NAMES_2018, training=10, validation=6)
    counts = prepare_isic2018(raw, tmp_path / "out")
    assert (counts.labeled, counts.unlabeled, counts.val, counts.test) == (1, 9, 2, 4)


def test_the_seed_alone_decides_and_not_the_order_of_the_files(tree_2017, tmp_path):
    mirrored = tmp_path / "written in another order"
    for path in sorted(tree_2017.rglob("*"), reverse=True):
        if path.is_file():
            target = mirrored / path.relative_to(tree_2017)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    prepare_isic2018(tree_2017, tmp_path / "one", labeled=0.3, seed=7)
    prepare_isic2018(mirrored, tmp_path / "two", labeled=0.3, seed=7)
    prepare_isic2018(tree_2017, tmp_path / "three", labeled=0.3, seed=8)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    for split in ("labeled", "val"):
        one, three = (stems(tmp_path / run / split / "images") for run in ("one", "three"))
        assert one != three


def test_the_chosen_images_are_frozen(tree_2017, tmp_path):
    """Another version of Python, NumPy or this package must not choose other images."""
    prepare_isic2018(tree_2017, tmp_path / "out", labeled=0.2, seed=0)
    splits = json.loads((tmp_path / "out/splits.json").read_text())["splits"]
    assert [name[-2:] for name in splits["labeled"]] == ["02", "05", "16", "25", "26"]
    assert [name[-2:] for name in splits["val"]] == ["32", "34", "35"]
    assert fingerprint(tmp_path / "out") == "2ed11dd95ae69cb5"


def test_a_larger_share_contains_the_smaller_one_and_val_and_test_stay(tree_2017, tmp_path):
    for name, share in (("small", 0.1), ("large", 0.5)):
        prepare_isic2018(tree_2017, tmp_path / name, labeled=share)
    assert stems(tmp_path / "small/labeled/images") < stems(tmp_path / "large/labeled/images")
    for split in ("val", "test"):
        assert stems(tmp_path / f"small/{split}/images") == stems(
            tmp_path / f"large/{split}/images"
        )


def test_the_share_is_taken_as_it_is_written(tmp_path):
    raw = make_tree(tmp_path / "raw", NAMES_2017, training=100, validation=2)
    assert prepare_isic2018(raw, tmp_path / "out", labeled=0.29).labeled == 29


def test_progress_is_reported_for_each_pair(tree_2017, tmp_path):
    seen: list[tuple[str, int, int]] = []
    prepare_isic2018(tree_2017, tmp_path / "out", progress=lambda *told: seen.append(told))
    assert seen == [("writing images", done, 37) for done in range(1, 38)]


def refusal(raw: Path, out: Path, **options: Any) -> str:
    return prepared.refusal(prepare_isic2018, raw, out, **options)


def test_a_wrong_tree_is_shown_beside_the_expected_ones(tmp_path):
    (tmp_path / "raw/images").mkdir(parents=True)
    (tmp_path / "raw/masks").mkdir()
    text = refusal(tmp_path / "raw", tmp_path / "out")
    assert text.startswith(f"{tmp_path / 'raw'} is no ISIC download.")
    for names in (NAMES_2017, NAMES_2018):
        for folder in names["training"]:
            assert folder in text
    assert "Got:      images/, masks/." in text


def test_a_missing_or_empty_folder_is_named(tmp_path):
    assert f"There is no folder or archive {tmp_path / 'raw'}." in refusal(
        tmp_path / "raw", tmp_path / "out"
    )
    (tmp_path / "raw").mkdir()
    assert "Got:      an empty folder." in refusal(tmp_path / "raw", tmp_path / "out")


def test_the_folder_above_the_download_will_do(tmp_path):
    make_tree(tmp_path / "raw/here", NAMES_2018, training=10, validation=3)
    prepare_isic2018(tmp_path / "raw", tmp_path / "out")
    check_layout(tmp_path / "out", tmp_path / "raw/here")


def test_a_folder_among_others_leads_to_the_right_command(tmp_path):
    make_tree(tmp_path / "raw/here", NAMES_2018, training=3, validation=3)
    (tmp_path / "raw/other").mkdir()
    text = refusal(tmp_path / "raw", tmp_path / "out")
    assert f"Try:      imseg prepare isic2018 {tmp_path / 'raw/here'}" in text


@pytest.mark.parametrize("top", [True, False])
@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_the_archives_as_published_give_what_the_unpacked_folders_give(
    tree_2017, tmp_path, ending, top
):
    raw = tmp_path / "zips"
    for folder in sorted(tree_2017.iterdir()):
        pack(folder, raw / f"{folder.name}{ending}", top=folder.name if top else "")
    prepare_isic2018(raw, tmp_path / "zipped")
    prepare_isic2018(tree_2017, tmp_path / "plain")
    assert contents(tmp_path / "zipped") == contents(tmp_path / "plain")
    assert {path.name for path in tmp_path.iterdir()} == {"zips", "zipped", "plain"}


def test_one_archive_of_everything_will_do(tree_2017, tmp_path):
    archive = pack(tree_2017, tmp_path / "isic.zip", top="some/folder")
    prepare_isic2018(archive, tmp_path / "zipped")
    prepare_isic2018(tree_2017, tmp_path / "plain")
    assert contents(tmp_path / "zipped") == contents(tmp_path / "plain")


def test_what_lies_unpacked_beside_its_archive_is_not_unpacked_again(tmp_path):
    raw = make_tree(tmp_path / "raw", NAMES_2018, training=10, validation=3)
    for folder in sorted(raw.iterdir()):
        (raw / f"{folder.name}.zip").write_bytes(pack(folder, tmp_path / "x.zip").read_bytes())
    told: list[str] = []
    counts = prepare_isic2018(raw, tmp_path / "out", progress=lambda what, *_: told.append(what))
    assert counts.labeled == 1 and set(told) == {"writing images"}


def test_a_missing_part_among_archives_is_named(tree_2017, tmp_path):
    raw = tmp_path / "zips"
    folder = tree_2017 / NAMES_2017["training"][0]
    pack(folder, raw / f"{folder.name}.zip", top=folder.name)
    text = refusal(raw, tmp_path / "out")
    assert "The ISIC download in" in text and "is not complete" in text
    assert "no ISIC-2017_Training_Part1_GroundTruth" in text
    assert f"{folder.name}.zip" in text


def test_a_damaged_picture_in_an_archive_is_named_by_the_archive(tmp_path):
    raw = make_tree(tmp_path / "raw", NAMES_2018, training=10, validation=3)
    folder = raw / NAMES_2018["training"][0]
    (folder / "ISIC_0000004.jpg").write_bytes(b"no picture")
    archive = pack(raw, tmp_path / "isic.zip")
    text = refusal(archive, tmp_path / "out")
    assert f"{archive}/{folder.name}/ISIC_0000004.jpg" in text and ".part" not in text


def test_a_missing_part_is_named(tmp_path):
    raw = make_tree(tmp_path / "raw", NAMES_2017, training=10)
    text = refusal(raw, tmp_path / "out")
    assert "The ISIC download" in text and "is not complete" in text
    assert "no ISIC-2017_Validation_Data, no ISIC-2017_Validation_Part1_GroundTruth." in text


def test_test_images_without_their_masks_are_not_taken_for_no_test_images(tmp_path):
    raw = make_tree(tmp_path / "raw", NAMES_2018, training=10, validation=3)
    (raw / NAMES_2018["test"][0]).mkdir()
    assert "Got:      no ISIC2018_Task1_Test_GroundTruth. There are:" in refusal(
        raw, tmp_path / "out"
    )


def test_two_releases_in_one_folder_are_refused(tmp_path):
    raw = make_tree(tmp_path / "raw", NAMES_2017, training=3, validation=3)
    make_tree(raw, NAMES_2018, training=3, validation=3)
    assert "more than one release: ISIC 2018 and ISIC 2017" in refusal(raw, tmp_path / "out")


def test_images_without_a_mask_are_named(tmp_path):
    raw = make_tree(tmp_path / "raw", NAMES_2017, training=10, validation=3)
    masks = raw / NAMES_2017["training"][1]
    for number in "25":
        (masks / f"ISIC_000000{number}_segmentation.png").unlink()
    text = refusal(raw, tmp_path / "out")
    assert text.startswith(f"2 images have no mask in {masks}.")
    assert "such as ISIC_0000000.jpg and ISIC_0000000_segmentation.png" in text
    assert "Got:      no mask for ISIC_0000002.jpg, ISIC_0000005.jpg." in text


def test_a_folder_unpacked_into_itself_is_looked_through(tmp_path):
    raw = make_tree(tmp_path / "raw", NAMES_2017, training=10, validation=3)
    images = raw / NAMES_2017["training"][0]
    images.rename(raw / "aside")
    images.mkdir()
    (raw / "aside").rename(images / images.name)
    assert prepare_isic2018(raw, tmp_path / "out").labeled == 1


def test_a_folder_without_images_is_refused(tmp_path):
    raw = make_tree(tmp_path / "raw", NAMES_2017, training=10, validation=3)
    images = raw / NAMES_2017["training"][0]
    for path in images.glob("*.jpg"):
        path.rename(path.with_name(f"lesion_{path.name}"))
    text = refusal(raw, tmp_path / "out")
    assert f"{images} holds no images." in text and "named like ISIC_0000000.jpg" in text
    assert "ISIC_0000001_superpixels.png" in text


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_share_out_of_range_is_refused(tree_2017, tmp_path, share):
    text = refusal(tree_2017, tmp_path / "out", labeled=share)
    assert "between 0 and 1, both excluded" in text and f"Got:      {share}." in text


def test_a_share_that_leaves_no_labeled_image_is_refused(tree_2017, tmp_path):
    text = refusal(tree_2017, tmp_path / "out", labeled=0.01)
    assert "Expected: at least 1 of the 28 training images." in text


def test_one_validation_image_cannot_be_split(tmp_path):
    raw = make_tree(tmp_path / "raw", NAMES_2017, training=10, validation=1)
    assert "cannot be split" in refusal(raw, tmp_path / "out")


def test_a_folder_that_holds_something_is_left_alone(tree_2017, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ImsegError, match="is not empty"):
        prepare_isic2018(tree_2017, tmp_path)
    assert contents(tmp_path) == {"mine.txt": b"mine"}


def test_an_interrupted_preparation_leaves_nothing_behind(tree_2017, tmp_path):
    def interrupt(what: str, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_isic2018(tree_2017, tmp_path / "out", progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_the_real_download_of_2017_is_prepared(tmp_path):
    raw = real_data("isic2017")
    counts = prepare_isic2018(raw, tmp_path / "out", labeled=0.1, seed=0)
    official = {
        part: len(list((raw / NAMES_2017[part][0]).glob("*.jpg")))
        for part in ("training", "validation")
    }
    assert counts.labeled == official["training"] // 10
    assert counts.labeled + counts.unlabeled == official["training"]
    assert counts.val == official["validation"] // 3
    assert counts.val + counts.test == official["validation"]
    check_layout(tmp_path / "out", raw)
