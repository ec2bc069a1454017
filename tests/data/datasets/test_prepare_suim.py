"""Preparing SUIM: colors, squares, and which image goes where."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
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
from imseg.data.datasets.suim import class_numbers_of, random_squares

prepare_suim = partial(prepare_data_set, "suim")


def make_pair(folder: Path, name: str, number: int, *, size: tuple[int, int] = (300, 400)) -> None:
    """Write an image whose first channel is twice that of its mask's class, and the mask."""
    mask = np.repeat(np.repeat(noise(number, 3, 4), 100, axis=0), 100, axis=1) % 8
    mask = mask[: size[0], : size[1]]
    colors = np.stack([mask >> 2 & 1, mask >> 1 & 1, mask & 1], axis=2) * np.uint8(255)
    image = np.stack([mask * 30, mask, mask], axis=2).astype(np.uint8)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    Image.fromarray(image).save(folder / f"images/{name}.jpg", quality=100, subsampling=0)
    Image.fromarray(colors).save(folder / f"masks/{name}.bmp")


def make_tree(root: Path, *, training: int = 13, test: int = 2) -> Path:
    for number in range(training):
        make_pair(root / "train_val", f"d_r_{number}_", number)
    for number in range(test):
        make_pair(root / "TEST", f"w_r_{number}_", 100 + number)
    for extra in ("BW", "FV"):
        save(root / f"TEST/masks/{extra}/w_r_0_.bmp", noise(1, 20, 20))
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("raw") / "SUIM")


@pytest.fixture(scope="module")
def out(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "suim"
    prepare_suim(tree, folder)
    return folder


def test_images_are_split_first_and_shares_are_rounded_up(out):
    """As in the paper: of 1525 images 153 are for validation, and 138 of the others labeled."""
    splits = prepared.check_folder(out)
    prepared.check_disjoint(splits)
    sources = prepared.record(out)["sources"]
    assert {split: len(images) for split, images in sources.items()} == {
        "labeled": 2, "unlabeled": 9, "val": 2, "test": 2
    }  # fmt: skip
    prepared.check_disjoint({split: set(images) for split, images in sources.items()})
    for split, names in splits.items():
        assert {name.rpartition("_crop")[0] for name in names} == set(sources[split])
    assert fingerprint(out) == "8b39e5bf836ff608"


def test_the_classes_are_the_bits_of_the_colors(out):
    config = prepared.config(out)
    names = ["water", "diver", "plants", "wreck", "robot", "reef", "fish", "sea floor"]
    assert config["task"] == "multiclass" and "void" not in config
    for bits, (value, entry) in zip(
        itertools.product("0f", repeat=3), config["classes"].items(), strict=True
    ):
        assert entry == {"name": names[int(value)], "color": "#" + "".join(bit * 2 for bit in bits)}


def test_inside_a_class_is_one_more_than_the_bits(out):
    spec = prepared.spec_of(out)
    assert spec.kind == "multiclass" and spec.values == tuple(range(8)) and spec.first_index == 1


def test_images_and_masks_are_cut_at_one_place_and_of_one_size(out):
    for split in ("labeled", "test"):
        for path in (out / split / "images").iterdir():
            image = load(path).astype(int)
            mask = load(out / split / "masks" / path.name)
            assert image.shape == (256, 256, 3) and mask.shape == (256, 256)
            assert mask.dtype == np.uint8 and mask.max() < 8
            wrong = np.abs(image[..., 0] - mask * 30.0) > 15
            assert wrong.mean() < 0.05, "only where classes meet"


def test_the_boxes_are_told_and_are_where_the_pixels_come_from(tree, out):
    boxes = prepared.record(out)["boxes_left_top_width_height"]
    assert {split: set(found) for split, found in boxes.items()} == {
        split: stems(out / split / "images") for split in prepared.SPLITS
    }
    (name, (left, top, width, height)), *_ = boxes["labeled"].items()
    source = load(tree / f"train_val/images/{name.rpartition('_crop')[0]}.jpg")
    cut = Image.fromarray(source).crop((left, top, left + width, top + height))
    expected = np.asarray(cut.resize((256, 256), Image.Resampling.BILINEAR)).astype(int)
    found = load(out / f"labeled/images/{name}.png")
    assert np.abs(expected - found).mean() < 1


def test_the_seed_decides_images_and_squares(tree, out, tmp_path):
    prepare_suim(tree, tmp_path / "again")
    prepare_suim(tree, tmp_path / "other", seed=1)
    assert contents(out) == contents(tmp_path / "again")
    one, other = (prepared.record(folder) for folder in (out, tmp_path / "other"))
    assert one["sources"] != other["sources"]
    key = "boxes_left_top_width_height"
    assert one[key]["test"] != other[key]["test"]


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
def test_the_archives_as_published_give_what_the_unpacked_tree_gives(tree, out, tmp_path, ending):
    for part in ("train_val", "TEST"):
        pack(tree / part, tmp_path / f"zips/{part}{ending}", top=part)
    prepare_suim(tmp_path / "zips", tmp_path / "zipped")
    assert contents(tmp_path / "zipped") == contents(out)


def naive_class(red: int, green: int, blue: int) -> int:
    return 4 * (red >= 128) + 2 * (green >= 128) + (blue >= 128)


levels = st.sampled_from([0, 1, 127, 128, 254, 255]) | st.integers(0, 255)


@given(st.lists(st.tuples(levels, levels, levels), min_size=1, max_size=20))
def test_each_channel_counts_as_on_from_128(colors):
    numbers, impure = class_numbers_of(np.array([colors], np.uint8))
    assert numbers.tolist() == [[naive_class(*color) for color in colors]]
    assert impure == sum(not set(color) <= {0, 255} for color in colors)


def test_impure_colors_are_counted_and_told(tmp_path):
    raw = make_tree(tmp_path / "raw", training=4, test=1)
    for number, pixels in ((1, 7), (3, 5)):
        path = raw / f"train_val/masks/d_r_{number}_.bmp"
        mask = load(path).copy()
        mask[0, :pixels] = (1, 254, 127)
        save(path, mask)
    counts = prepare_suim(raw, tmp_path / "out")
    assert counts.figures["impure_pixels"] == 12 and counts.figures["impure_files"] == 2
    assert any("12 pixels in 2 masks have impure colors" in note for note in counts.notes)
    assert prepared.record(tmp_path / "out")["figures"] == counts.figures


def test_masks_of_another_size_are_resized_and_told(tmp_path):
    """The published set has 83 of them."""
    raw = make_tree(tmp_path / "raw", training=4, test=1)
    path = raw / "TEST/masks/w_r_0_.bmp"
    Image.open(path).resize((80, 60), Image.Resampling.NEAREST).save(path)
    counts = prepare_suim(raw, tmp_path / "out")
    assert counts.figures["resized_masks"] == 1
    assert any("1 mask is not of the size of its image" in note for note in counts.notes)


def test_a_black_and_a_white_mask_are_water_and_sea_floor(tmp_path):
    raw = make_tree(tmp_path / "raw", training=4, test=2)
    for number, gray in ((0, 0), (1, 255)):
        Image.new("RGB", (400, 300), (gray,) * 3).save(raw / f"TEST/masks/w_r_{number}_.bmp")
    prepare_suim(raw, tmp_path / "out")
    for path in (tmp_path / "out/test/masks").iterdir():
        assert np.unique(load(path)).tolist() == [7 if path.name.startswith("w_r_1") else 0]


@given(height=st.integers(1, 900), width=st.integers(1, 900), seed=st.integers(0, 99))
def test_random_squares_lie_in_the_image_and_have_the_sides_of_the_paper(height, width, seed):
    boxes = random_squares(height, width, count=2, sides=(256, 511), key=str(seed))
    assert 1 <= len(boxes) == len(set(boxes)) <= 2
    for left, top, across, down in boxes:
        if (left, top, across, down) == (0, 0, width, height) and across != down:
            assert min(height, width) < 511, "a square of 511 would have fitted"
            continue
        assert (across == down and 256 <= across <= 511) or (across, down) == (width, height)
        assert 0 <= left <= width - across and 0 <= top <= height - down


def test_random_squares_reach_every_place_and_side():
    boxes = [
        box for seed in range(4000) for box in random_squares(
            520, 640, count=2, sides=(256, 511), key=f"{seed}"
        )
    ]  # fmt: skip
    assert {side for _, _, side, _ in boxes} == set(range(256, 512))
    assert {left + side for left, _, side, _ in boxes} >= {640}
    assert {left for left, _, _, _ in boxes} >= {0, 1, 2}
    middle = np.mean([left / (640 - side) for left, _, side, _ in boxes])
    assert abs(middle - 0.5) < 0.02, "no place is preferred"


def test_small_images_are_taken_whole_and_once():
    assert random_squares(200, 256, count=2, sides=(256, 511), key="") == [(0, 0, 256, 200)]
    assert random_squares(256, 256, count=2, sides=(256, 511), key="") == [(0, 0, 256, 256)]


def test_a_tree_without_train_val_and_test_is_shown_what_is_expected(tmp_path):
    (tmp_path / "raw/pictures").mkdir(parents=True)
    text = prepared.refusal(prepare_suim, tmp_path / "raw", tmp_path / "out")
    assert "is no SUIM download" in text and "train_val/images/" in text
    assert "Got:      pictures/." in text


def test_train_val_alone_is_not_complete(tmp_path):
    raw = make_tree(tmp_path / "raw", training=5, test=1)
    (raw / "TEST").rename(raw / "TESTS")
    text = prepared.refusal(prepare_suim, raw, tmp_path / "out")
    assert "no TEST/images, no TEST/masks" in text
    assert "is TESTS meant to be TEST? Rename it then." in text


def test_an_image_without_a_mask_is_named(tmp_path):
    raw = make_tree(tmp_path / "raw", training=5, test=1)
    (raw / "train_val/masks/d_r_2_.bmp").unlink()
    text = prepared.refusal(prepare_suim, raw, tmp_path / "out")
    assert "1 image has no mask in" in text and "no mask for d_r_2_.jpg" in text


def test_images_and_masks_alone_are_split_by_an_explicit_rule(tmp_path):
    for number in range(10):
        make_pair(tmp_path / "raw", f"{number}", number)
    counts = prepare_suim(tmp_path / "raw", tmp_path / "out")
    sources = prepared.record(tmp_path / "out")["sources"]
    assert {split: len(images) for split, images in sources.items()} == {
        "labeled": 1, "unlabeled": 6, "val": 1, "test": 2
    }  # fmt: skip
    assert any("a fifth of all images is for test" in note for note in counts.notes)


def test_three_pairs_are_too_few(tmp_path):
    for number in range(3):
        make_pair(tmp_path / "raw", f"{number}", number)
    text = prepared.refusal(prepare_suim, tmp_path / "raw", tmp_path / "out")
    assert "3 images cannot be split into labeled, unlabeled, validation and test." in text


def test_the_real_samples_are_prepared(tmp_path):
    raw = real_data("suim_samples")
    counts = prepare_suim(raw, tmp_path / "out")
    splits = prepared.check_folder(tmp_path / "out")
    assert sum(map(len, splits.values())) == 8 and counts.figures["source_images"] == 4
    assert counts.figures["impure_pixels"] == 0
    for path in (raw / "masks").iterdir():
        numbers, impure = class_numbers_of(load(path))
        colors = load(path) // 255
        assert impure == 0
        assert np.array_equal(numbers, colors[..., 0] * 4 + colors[..., 1] * 2 + colors[..., 2])
