"""Preparing HeLa: three planes, squares cut after the split."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.datasets import prepared
from tests.data.datasets.prepared import contents, fingerprint, load, noise, pack, save, stems

from imseg.data.datasets import prepare_data_set
from imseg.data.datasets.cells import overlapping_boxes

prepare_hela = partial(prepare_data_set, "hela")

PLANES = ("alive", "dead", "position")
FOLDERS = {"alive": "alive", "dead": "dead", "position": "mod_position"}


def make_picture(folder: Path, name: str, number: int, *, size: tuple[int, int], end: str) -> None:
    """Write a picture and its planes, which are where the picture's bits 5, 6 and 7 are set."""
    picture = np.repeat(np.repeat(noise(number, 40, 40), 10, axis=0), 10, axis=1)
    picture = picture[: size[0], : size[1]]
    save(folder / f"brightfield/{name}.{end}", picture)
    for bit, (_, place) in enumerate(FOLDERS.items(), start=5):
        # Above 10 is marked, however faint; 10 is not.
        plane = np.where(picture >> bit & 1, 11, 10).astype(np.uint8)
        save(folder / f"{place}/{name}.{end}", plane)


def make_tree(
    root: Path, *, end: str = "png", size: tuple[int, int] = (300, 256), **counts: int
) -> Path:
    number = 0
    for part, count in counts.items():
        for _ in range(count):
            number += 1
            folder = root / part if part != "flat" else root
            make_picture(folder, f"well_{number:02}", number, size=size, end=end)
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("raw") / "HeLa", train=6, val=1, test=2)


@pytest.fixture(scope="module")
def out(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "hela"
    prepare_hela(tree, folder)
    return folder


def source_of(name: str) -> str:
    return name.rpartition("_x")[0]


def test_pictures_are_split_before_they_are_cut(tree, out):
    splits = prepared.check_folder(out, planes=PLANES)
    sources = {split: {source_of(name) for name in names} for split, names in splits.items()}
    prepared.check_disjoint(sources)
    assert {split: len(names) for split, names in sources.items()} == {
        "labeled": 1, "unlabeled": 5, "val": 1, "test": 2
    }  # fmt: skip
    assert sources["test"] == stems(tree / "test/brightfield")
    told = prepared.record(out)["sources"]
    assert {split: set(names) for split, names in told.items()} == sources
    assert fingerprint(out) == "158b7eea65665d7b"


def test_each_square_shows_the_same_place_of_the_picture_and_its_planes(tree, out):
    for split, names in prepared.check_folder(out, planes=PLANES).items():
        truth = out / ("hidden" if split == "unlabeled" else split) / "masks"
        for name in names:
            left, top = (int(part[1:]) for part in name.split("_")[-2:])
            (source,) = tree.glob(f"*/brightfield/{source_of(name)}.png")
            picture = load(out / split / "images" / f"{name}.png")
            assert np.array_equal(picture, load(source)[top : top + 256, left : left + 256])
            for bit, plane in enumerate(PLANES, start=5):
                found = load(truth / plane / f"{name}.png")
                assert np.array_equal(found, (picture >> bit & 1) * np.uint8(255))


def test_the_configuration_names_the_planes(out):
    config = prepared.config(out)
    assert config["task"] == "multilabel"
    assert {label: entry["name"] for label, entry in config["classes"].items()} == {
        label: label for label in PLANES
    }
    spec = prepared.spec_of(out)
    assert (spec.kind, spec.coding, set(spec.names)) == ("multilabel", "planes", set(PLANES))


def test_each_square_is_written_once(out):
    names = sorted(stems(out / "test/images"))
    assert names == [f"well_{n:02}_x0000_y{top:04}" for n in (8, 9) for top in (0, 44)], (
        "the recipe of the paper gives y = 44 twice for 300 pixels, and x = 0 twice for 256"
    )


@given(height=st.integers(256, 2000), width=st.integers(256, 2000))
def test_squares_cover_the_image_and_overlap_by_about_the_share(height, width):
    boxes = overlapping_boxes(height, width, side=256, overlap=0.6)
    assert len(set(boxes)) == len(boxes)
    assert all(box[2:] == (256, 256) for box in boxes)
    for starts, length in (
        (sorted({left for left, _, _, _ in boxes}), width),
        (sorted({top for _, top, _, _ in boxes}), height),
    ):
        assert starts[0] == 0 and starts[-1] == length - 256
        steps = np.diff(starts)
        assert (steps > 0).all() and (steps <= 256 * 0.5 + 1).all()


def test_the_seed_alone_decides(tree, out, tmp_path):
    prepare_hela(tree, tmp_path / "again")
    assert contents(out) == contents(tmp_path / "again")
    others = set()
    for seed in range(1, 4):
        prepare_hela(tree, tmp_path / f"seed{seed}", seed=seed)
        others |= set(prepared.record(tmp_path / f"seed{seed}")["sources"]["labeled"])
    assert others - set(prepared.record(out)["sources"]["labeled"])


def test_the_archive_gives_what_the_unpacked_tree_gives(tree, out, tmp_path):
    prepare_hela(pack(tree, tmp_path / "hela.zip", top="HeLa"), tmp_path / "zipped")
    assert contents(tmp_path / "zipped") == contents(out)


def test_other_names_for_the_same_folders_will_do(tree, out, tmp_path):
    raw = shutil.copytree(tree, tmp_path / "raw")
    for part, name in (("train", "Training"), ("val", "Validation"), ("test", "TEST")):
        (raw / part / "mod_position").rename(raw / part / "Position")
        (raw / part / "brightfield").rename(raw / part / "BrightField")
        (raw / part).rename(raw / name)
    prepare_hela(raw, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(out)


def test_mod_position_is_preferred(tree, tmp_path):
    raw = shutil.copytree(tree, tmp_path / "raw")
    for part in ("train", "val", "test"):
        shutil.copytree(raw / part / "dead", raw / part / "position")
    prepare_hela(raw, tmp_path / "out")
    for path in sorted((tmp_path / "out/test/masks/position").iterdir()):
        picture = load(tmp_path / "out/test/images" / path.name)
        assert np.array_equal(load(path) > 0, picture >> 7 & 1)


def test_tiff_files_of_16_bits_keep_their_depth(tmp_path):
    raw = make_tree(tmp_path / "raw", end="tif", train=3, val=1, test=1, size=(256, 256))
    for path in sorted(raw.glob("*/brightfield/*.tif")):
        save(path, load(path).astype(np.uint16) * 257)
    prepare_hela(raw, tmp_path / "out")
    for path in sorted((tmp_path / "out/test/images").iterdir()):
        assert load(path).dtype == np.uint16 and load(path).max() > 60000


def test_without_parts_pictures_are_split(tmp_path):
    raw = make_tree(tmp_path / "raw", flat=10, size=(256, 256))
    counts = prepare_hela(raw, tmp_path / "out")
    assert (counts.labeled, counts.unlabeled, counts.val, counts.test) == (1, 6, 1, 2)
    assert len(counts.notes) == 2


def test_a_missing_test_part_comes_from_validation(tmp_path):
    raw = make_tree(tmp_path / "raw", train=3, val=4, size=(256, 256))
    counts = prepare_hela(raw, tmp_path / "out")
    assert (counts.labeled, counts.unlabeled, counts.val, counts.test) == (1, 2, 1, 3)
    assert "of the official validation images a third" in counts.notes[0]


def test_a_wrong_tree_is_shown_beside_the_expected_one(tmp_path):
    (tmp_path / "raw/pictures").mkdir(parents=True)
    text = prepared.refusal(prepare_hela, tmp_path / "raw", tmp_path / "out")
    assert "is no HeLa download" in text and "train/mod_position/" in text
    assert "Got:      pictures/." in text


def test_a_misspelt_plane_is_guessed(tree, tmp_path):
    raw = shutil.copytree(tree, tmp_path / "raw")
    (raw / "train/alive").rename(raw / "train/alife")
    text = prepared.refusal(prepare_hela, raw, tmp_path / "out")
    assert "is not complete" in text and "no train/alive" in text
    assert "is alife meant to be alive? Rename it then." in text


def test_a_missing_training_part_is_named(tree, tmp_path):
    raw = shutil.copytree(tree, tmp_path / "raw")
    shutil.rmtree(raw / "train")
    text = prepared.refusal(prepare_hela, raw, tmp_path / "out")
    assert "no train/brightfield, no train/alive" in text


def test_a_picture_without_a_plane_is_named(tree, tmp_path):
    raw = shutil.copytree(tree, tmp_path / "raw")
    (raw / "train/dead/well_03.png").unlink()
    text = prepared.refusal(prepare_hela, raw, tmp_path / "out")
    assert "1 image has no mask in" in text and "train/dead." in text
    assert "no mask for well_03.png." in text


def test_planes_of_another_size_are_refused(tree, tmp_path):
    raw = shutil.copytree(tree, tmp_path / "raw")
    save(raw / "train/dead/well_03.png", np.zeros((256, 256), np.uint8))
    text = prepared.refusal(prepare_hela, raw, tmp_path / "out")
    assert "well_03.png is 256x300" in text and "dead/well_03.png is 256x256" in text


def test_a_picture_smaller_than_a_square_is_refused(tmp_path):
    raw = make_tree(tmp_path / "raw", train=3, val=1, test=1, size=(300, 255))
    text = prepared.refusal(prepare_hela, raw, tmp_path / "out")
    assert "smaller than the squares" in text and "255x300" in text
