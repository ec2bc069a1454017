"""Preparing Cityscapes: 34 ids or 19 classes, cities for val and test, a fifth of the size."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.data.datasets import prepared
from tests.data.datasets.prepared import contents, fingerprint, load, noise, pack, save, stems

from imseg.data.datasets import prepare_data_set
from imseg.data.datasets.streets import LABELS, TRAIN_IDS, small_side

prepare_cityscapes = partial(prepare_data_set, "cityscapes")

CITIES = {
    "train": {"aachen": 6, "ulm": 4},
    "val": {"frankfurt": 3, "lindau": 2, "munster": 3},
    "test": {"berlin": 2},
}


def make_tree(root: Path) -> Path:
    number = 0
    for part, cities in CITIES.items():
        for city, count in cities.items():
            for _ in range(count):
                number += 1
                stem = f"{city}_{number:06}_000019"
                ids = np.repeat(np.repeat(noise(number, 8, 16) % 34, 10, axis=0), 10, axis=1)
                ids[:10, :10] = 255
                save(
                    root / f"leftImg8bit/{part}/{city}/{stem}_leftImg8bit.png",
                    np.stack([ids, ids * 2, ids * 4], axis=2),
                )
                truth = root / f"gtFine/{part}/{city}"
                save(truth / f"{stem}_gtFine_labelIds.png", ids)
                save(truth / f"{stem}_gtFine_color.png", noise(1, 8, 16, 4))
                save(truth / f"{stem}_gtFine_instanceIds.png", ids.astype(np.uint16) * 1000)
                (truth / f"{stem}_gtFine_polygons.json").write_text("{}")
    (root / "README").write_text("terms")
    (root / "license.txt").write_text("terms")
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tree(tmp_path_factory.mktemp("raw") / "cityscapes")


@pytest.fixture(scope="module")
def out(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "cityscapes"
    prepare_cityscapes(tree, folder)
    return folder


def city_of(name: str) -> str:
    return name.partition("_")[0]


def test_val_is_frankfurt_and_test_is_lindau_and_munster(out):
    splits = prepared.check_folder(out)
    prepared.check_disjoint(splits)
    cities = {split: {city_of(name) for name in names} for split, names in splits.items()}
    assert cities["val"] == {"frankfurt"} and cities["test"] == {"lindau", "munster"}
    assert cities["labeled"] | cities["unlabeled"] == {"aachen", "ulm"}
    assert {split: len(names) for split, names in splits.items()} == {
        "labeled": 1, "unlabeled": 9, "val": 3, "test": 5
    }  # fmt: skip
    assert fingerprint(out) == "02952651b898a400"


def test_the_paper_split_halves_the_official_validation_images(tree, tmp_path):
    val = set()
    for seed in range(3):
        counts = prepare_cityscapes(tree, tmp_path / f"{seed}", paper_split=True, seed=seed)
        assert (counts.val, counts.test) == (4, 4)
        splits = prepared.check_folder(tmp_path / f"{seed}")
        prepared.check_disjoint(splits)
        assert {city_of(name) for name in splits["val"] | splits["test"]} == set(CITIES["val"])
        val |= {frozenset(splits["val"])}
    assert len(val) == 3
    assert prepared.record(tmp_path / "0")["paper_split"] is True
    assert fingerprint(tmp_path / "0") == "4c85b83c7f8f9204"


def test_the_full_size_becomes_that_of_the_paper():
    assert (small_side(2048), small_side(1024)) == (416, 208)
    assert [small_side(length) for length in (1, 80, 81, 160)] == [16, 16, 32, 32]


def test_sizes_are_a_fifth_and_masks_hold_only_values_of_the_source(tree, out):
    for split in prepared.SPLITS:
        truth = out / ("hidden" if split == "unlabeled" else split) / "masks"
        for path in (out / split / "images").iterdir():
            mask = load(truth / path.name)
            (source,) = tree.glob(f"gtFine/*/*/{path.stem}_gtFine_labelIds.png")
            assert load(path).shape == (16, 32, 3) and mask.shape == (16, 32)
            rows, columns = np.arange(16) * 5 + 2, np.arange(32) * 5 + 2
            assert np.array_equal(mask, load(source)[rows][:, columns]), "nearest neighbor"
            assert (mask == 255).any(), "license plates are void"


def test_34_ids_are_named_and_colored_as_published(tree, tmp_path):
    out = tmp_path / "out"
    prepare_cityscapes(tree, out, labeled=0.3)
    config = prepared.config(out)
    assert config["task"] == "multiclass" and config["void"] == 255
    assert list(config["classes"]) == [str(number) for number in range(34)]
    assert config["classes"]["7"] == {"name": "road", "color": "#804080"}
    assert config["classes"]["33"] == {"name": "bicycle", "color": "#770b20"}
    assert len({name for name, _ in LABELS.values()}) == 34
    spec = prepared.spec_of(out)
    assert spec.kind == "multiclass" and spec.void == 255
    assert spec.values == tuple(range(34)), "class = id + 1 inside"
    assert dict(zip(spec.names, spec.colors, strict=True)) == dict(LABELS.values())


def test_19_classes_are_the_training_ids_and_the_rest_is_void(tree, out, tmp_path):
    prepare_cityscapes(tree, tmp_path / "out", classes=19)
    config = prepared.config(tmp_path / "out")
    names = [config["classes"][str(number)]["name"] for number in range(19)]
    assert names == [
        *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light"),
        *("traffic sign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck"),
        *("bus", "train", "motorcycle", "bicycle"),
    ]
    assert config["void"] == 255 and len(config["classes"]) == 19
    for path in (out / "val/masks").iterdir():
        ids, found = load(path), load(tmp_path / "out/val/masks" / path.name)
        for value in np.unique(ids):
            wanted = TRAIN_IDS.index(value) if value in TRAIN_IDS else 255
            assert (found[ids == value] == wanted).all()
    assert prepared.record(out)["splits"] == prepared.record(tmp_path / "out")["splits"]


def test_the_archives_as_published_give_what_the_unpacked_tree_gives(tree, out, tmp_path):
    for kind in ("leftImg8bit", "gtFine"):
        pack(tree / kind, tmp_path / f"zips/{kind}_trainvaltest.zip", top=kind)
    told: dict[str, int] = {}
    prepare_cityscapes(
        tmp_path / "zips",
        tmp_path / "zipped",
        progress=lambda what, _, total: told.update({what: total}),
    )
    assert contents(tmp_path / "zipped") == contents(out)
    assert told == {
        "unpacking gtFine_trainvaltest.zip": 18,
        "unpacking leftImg8bit_trainvaltest.zip": 18,
        "writing images": 18,
    }, "neither test images nor polygons, colors and instances are unpacked"


@pytest.mark.parametrize("classes", [0, 20, 35])
def test_other_numbers_of_classes_are_refused(tree, tmp_path, classes):
    text = prepared.refusal(prepare_cityscapes, tree, tmp_path / "out", classes=classes)
    assert f"no such set of classes: --classes {classes}." in text
    assert "--classes 34" in text and "--classes 19" in text


def test_one_archive_alone_is_not_complete(tree, tmp_path):
    archive = pack(tree / "gtFine", tmp_path / "gtFine_trainvaltest.zip", top="gtFine")
    text = prepared.refusal(prepare_cityscapes, archive, tmp_path / "out")
    assert "no leftImg8bit/train, no leftImg8bit/val" in text
    assert "gtFine_trainvaltest.zip" in text


def test_other_cities_are_refused(tree, tmp_path):
    raw = shutil.copytree(tree, tmp_path / "raw")
    for kind in ("leftImg8bit", "gtFine"):
        shutil.rmtree(raw / kind / "val/lindau")
    text = prepared.refusal(prepare_cityscapes, raw, tmp_path / "out")
    assert "Got:      frankfurt, munster." in text and "--paper-split" in text
    assert prepare_cityscapes(raw, tmp_path / "half", paper_split=True).val == 3


def test_a_city_without_masks_is_named(tree, tmp_path):
    raw = shutil.copytree(tree, tmp_path / "raw")
    shutil.rmtree(raw / "gtFine/train/ulm")
    text = prepared.refusal(prepare_cityscapes, raw, tmp_path / "out")
    assert "in one of the two only: ulm" in text


def test_an_image_without_a_mask_is_named(tree, tmp_path):
    raw = shutil.copytree(tree, tmp_path / "raw")
    mask = sorted((raw / "gtFine/train/ulm").glob("*labelIds.png"))[0]
    mask.unlink()
    text = prepared.refusal(prepare_cityscapes, raw, tmp_path / "out")
    assert "1 image has no mask" in text
    assert mask.name.replace("gtFine_labelIds", "leftImg8bit") in text


def test_ids_that_do_not_exist_are_refused(tree, tmp_path):
    raw = shutil.copytree(tree, tmp_path / "raw")
    mask = sorted((raw / "gtFine/train/ulm").glob("*labelIds.png"))[0]
    ids = load(mask).copy()
    ids[0, 0] = 34
    save(mask, ids)
    text = prepared.refusal(prepare_cityscapes, raw, tmp_path / "out")
    assert f"{mask} holds values that are no class" in text and "Got:      34." in text


def test_a_wrong_tree_is_shown_beside_the_expected_one(tmp_path):
    (tmp_path / "raw/leftimg").mkdir(parents=True)
    text = prepared.refusal(prepare_cityscapes, tmp_path / "raw", tmp_path / "out")
    assert "is no Cityscapes download" in text
    assert "gtFine/train/aachen/       aachen_000000_000019_gtFine_labelIds.png" in text
    assert stems(tmp_path) == set()
