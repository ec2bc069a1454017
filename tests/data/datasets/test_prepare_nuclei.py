"""Preparing nuclei: label images, or one mask a nucleus; every split shows every look."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.datasets import prepared
from tests.data.datasets.prepared import (
    contents,
    fingerprint,
    load,
    noise,
    pack,
    real_data,
    save,
    stems,
)

from imseg.data.datasets import prepare_data_set
from imseg.data.datasets.cells import look_of, merge_nuclei

prepare_nuclei = partial(prepare_data_set, "nuclei")

LOOKS = {"dark": 15, "colored": 10, "bright": 5}


def picture_of(look: str, number: int) -> np.ndarray:
    pixels = noise(number, 24, 20, 1) // 4 + np.uint8(170 if look == "bright" else 0)
    colors = np.repeat(pixels, 3, axis=2)
    if look == "colored":
        colors = colors + np.array([180, 100, 160], np.uint8)
    return colors


def nuclei_of(number: int) -> list[np.ndarray]:
    """Return masks of a large nucleus, of a small one on top of it, and of one apart."""
    masks = [np.zeros((24, 20), bool) for _ in range(3)]
    masks[0][2:12, 2:12] = True
    masks[1][4:6, 4 : 7 + number % 3] = True
    masks[2][14:22, 14:18] = True
    return masks


def make_download(root: Path) -> Path:
    """Write the original layout: RGBA images, and masks named by hashes."""
    number = 0
    for look, count in LOOKS.items():
        for _ in range(count):
            number += 1
            folder = root / "stage1_train" / f"{number:02}{look}"
            opaque = np.full((24, 20, 1), 255, np.uint8)
            image = np.concatenate([picture_of(look, number), opaque], axis=2)
            save(folder / f"images/{folder.name}.png", image)
            for index, mask in enumerate(nuclei_of(number)):
                save(folder / f"masks/{'cab'[index]}{number}.png", mask * np.uint8(255))
    return root


def make_label_images(root: Path) -> Path:
    number = 0
    for look, count in LOOKS.items():
        for _ in range(count):
            number += 1
            picture = picture_of(look, number)
            name = f"{number:02}{look}.png"
            save(root / "images" / name, picture if look == "colored" else picture[..., 0])
            labels, _ = merge_nuclei(nuclei_of(number))
            save(root / "instances" / name, labels)
    return root


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_download(tmp_path_factory.mktemp("raw") / "dsb")


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_label_images(tmp_path_factory.mktemp("raw") / "labels")


@pytest.mark.parametrize("layout", ["download", "labels"])
def test_every_split_shows_every_look(layout, request, tmp_path):
    counts = prepare_nuclei(request.getfixturevalue(layout), tmp_path / "out", labeled=0.2)
    splits = prepared.check_folder(tmp_path / "out")
    prepared.check_disjoint(splits)
    for look, count in LOOKS.items():
        assert counts.figures[f"{look}_images"] == count
        assert all(any(look in name for name in names) for names in splits.values())
    assert {split: len(names) for split, names in splits.items()} == {
        "labeled": 2 + 2 + 1, "unlabeled": 8 + 5 + 2, "val": 2 + 1 + 1, "test": 3 + 2 + 1
    }  # fmt: skip
    assert prepared.config(tmp_path / "out") == {"task": "instances"}
    assert prepared.spec_of(tmp_path / "out").coding == "objects"
    assert fingerprint(tmp_path / "out") == {
        "download": "4a8bf1a660800afc", "labels": "bb6fd7685143a765"
    }[layout]  # fmt: skip


def test_both_layouts_are_split_alike_and_images_are_copied(download, labels, tmp_path):
    for layout, raw in (("download", download), ("labels", labels)):
        prepare_nuclei(raw, tmp_path / layout)
    one, other = (prepared.record(tmp_path / layout) for layout in ("download", "labels"))
    assert one["splits"] == other["splits"]
    for name in one["splits"]["test"]:
        source = download / f"stage1_train/{name}/images/{name}.png"
        assert (tmp_path / f"download/test/images/{name}.png").read_bytes() == source.read_bytes()


def test_label_images_have_16_bits_and_small_nuclei_lie_on_large_ones(download, tmp_path):
    counts = prepare_nuclei(download, tmp_path / "out")
    assert counts.figures["nuclei"] == 90
    assert counts.figures["overlapping_pixels"] == sum(
        int(nuclei_of(number)[1].sum()) for number in range(1, 31)
    )
    assert any("belong to several nuclei" in note for note in counts.notes)
    for path in (tmp_path / "out/test/masks").iterdir():
        found = load(path)
        assert found.dtype == np.uint16
        large, small, apart = nuclei_of(int(path.name[:2]))
        # In the order of their file names the large one is the last of the three.
        assert (found[large & ~small] == 3).all()
        assert (found[small] == 1).all() and (found[apart] == 2).all()
        assert (found[~(large | small | apart)] == 0).all()


def test_label_images_are_kept_value_by_value(labels, tmp_path):
    prepare_nuclei(labels, tmp_path / "out")
    for path in (tmp_path / "out/hidden/masks").iterdir():
        assert np.array_equal(load(path), load(labels / "instances" / path.name))


def test_the_archives_as_published_give_what_the_unpacked_tree_gives(download, tmp_path):
    prepare_nuclei(download, tmp_path / "plain")
    stage = download / "stage1_train"
    pack(stage, tmp_path / "zips/stage1_train.zip")
    other = save(tmp_path / "other/xx/images/xx.png", noise(1, 9, 9)).parents[2]
    pack(other, tmp_path / "zips/stage1_test.zip")
    (tmp_path / "zips/stage1_train_labels.csv").write_text("ImageId,EncodedPixels")
    prepare_nuclei(tmp_path / "zips/stage1_train.zip", tmp_path / "zipped")
    prepare_nuclei(tmp_path / "zips", tmp_path / "folder of zips")
    pack(tmp_path / "zips", tmp_path / "data-science-bowl-2018.zip")
    prepare_nuclei(tmp_path / "data-science-bowl-2018.zip", tmp_path / "zip of zips")
    prepare_nuclei(stage, tmp_path / "inner folder")
    for name in ("zipped", "folder of zips", "zip of zips", "inner folder"):
        assert contents(tmp_path / name) == contents(tmp_path / "plain")


def test_the_seed_decides(labels, tmp_path):
    chosen = []
    for seed in (0, 1):
        prepare_nuclei(labels, tmp_path / f"{seed}", seed=seed)
        chosen.append(stems(tmp_path / f"{seed}/test/images"))
    assert chosen[0] != chosen[1]


def test_a_look_too_rare_for_every_split_joins_the_most_frequent_one(labels, tmp_path):
    raw = shutil.copytree(labels, tmp_path / "raw")
    for path in sorted(raw.glob("*/*bright.png")):
        if not path.name.startswith(("29", "30")):
            path.unlink()
    counts = prepare_nuclei(raw, tmp_path / "out")
    assert counts.figures["bright_images"] == 2
    assert counts.labeled + counts.unlabeled + counts.val + counts.test == 27


def test_looks_are_told_apart():
    gray = np.full((4, 4, 1), 40, np.uint8)
    assert look_of(gray) == "dark" and look_of(gray + np.uint8(90)) == "bright"
    assert look_of(np.repeat(gray, 3, axis=2)) == "dark"
    purple = np.broadcast_to(np.array([120, 60, 140], np.uint8), (4, 4, 3))
    assert look_of(purple) == "colored"


@given(st.lists(st.integers(0, 2**12 - 1), min_size=1, max_size=6))
def test_merged_nuclei_are_what_painting_by_size_gives(bits):
    masks = [
        np.array([number >> bit & 1 for bit in range(12)], bool).reshape(3, 4) for number in bits
    ]
    merged, figures = merge_nuclei(masks)
    expected = np.zeros((3, 4), int)
    for y in range(3):
        for x in range(4):
            on = [(mask.sum(), -index) for index, mask in enumerate(masks) if mask[y, x]]
            expected[y, x] = 1 - min(on)[1] if on else 0
    assert np.array_equal(merged, expected)
    assert figures["overlapping_pixels"] == (sum(mask.astype(int) for mask in masks) > 1).sum()
    assert figures["empty_masks"] == sum(not mask.any() for mask in masks)
    visible = len(set(merged.ravel().tolist()) - {0})
    assert visible + figures["covered_nuclei"] + figures["empty_masks"] == len(masks)


def test_an_image_without_instances_is_named(labels, tmp_path):
    raw = shutil.copytree(labels, tmp_path / "raw")
    (raw / "instances/03dark.png").unlink()
    text = prepared.refusal(prepare_nuclei, raw, tmp_path / "out")
    assert "no mask for 03dark.png" in text


def test_masks_of_another_size_are_refused(download, tmp_path):
    raw = shutil.copytree(download, tmp_path / "raw")
    path = next(iter((raw / "stage1_train/03dark/masks").iterdir()))
    save(path, np.zeros((9, 9), np.uint8))
    text = prepared.refusal(prepare_nuclei, raw, tmp_path / "out")
    assert "The pictures of 03dark have different sizes." in text and "9x9" in text


def test_a_folder_without_masks_of_single_nuclei_is_named(download, tmp_path):
    raw = shutil.copytree(download, tmp_path / "raw")
    for path in (raw / "stage1_train/03dark/masks").iterdir():
        path.unlink()
    text = prepared.refusal(prepare_nuclei, raw, tmp_path / "out")
    assert "03dark/masks holds no masks." in text


def test_wrong_trees_are_shown_beside_the_expected_ones(labels, tmp_path):
    raw = shutil.copytree(labels, tmp_path / "raw")
    (raw / "instances").rename(raw / "instancs")
    text = prepared.refusal(prepare_nuclei, raw, tmp_path / "out")
    assert "no instances. There are: images/, instancs/." in text
    assert "is instancs meant to be instances?" in text
    (tmp_path / "empty").mkdir()
    text = prepared.refusal(prepare_nuclei, tmp_path / "empty", tmp_path / "out")
    assert "is no nuclei download" in text and "Got:      an empty folder." in text


def test_the_real_images_are_prepared(tmp_path):
    raw = real_data("nuclei")
    few = tmp_path / "few"
    for kind in ("images", "instances"):
        (few / kind).mkdir(parents=True)
        for path in sorted((raw / kind).iterdir())[::4]:
            shutil.copy(path, few / kind)
    counts = prepare_nuclei(few, tmp_path / "out")
    assert counts.figures["dark_images"] + counts.figures["colored_images"] == 102
    splits = prepared.check_folder(tmp_path / "out")
    prepared.check_disjoint(splits)
    for split in splits:
        looks = {
            look_of(load_colors(path)) for path in (tmp_path / "out" / split / "images").iterdir()
        }
        assert looks == {"dark", "colored"}


def load_colors(path: Path) -> np.ndarray:
    pixels = load(path)
    return pixels[..., None] if pixels.ndim == 2 else pixels
