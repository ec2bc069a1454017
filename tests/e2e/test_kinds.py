"""Every kind of target from a folder of files to masks in the same form, as a user does it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imseg.cli import main

pytestmark = pytest.mark.rest

SIDE = 48
SETTINGS = ["--approach", "im", "--generations", "1", "--networks", "2", "--epochs", "60"]
SETTINGS += ["--max-steps", "60", "--image-size", SIDE, SIDE, "--width", "0.5", "--workers", "1"]
SETTINGS += ["--batch-size", "8", "--device", "cpu"]
INSTANCES = 'task = "instances"\n'
COUNTS = {"labeled": 10, "unlabeled": 8, "val": 5, "test": 5}


def scenes(split: str, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield gray pictures (floats 0..1) of bright disks and their label images."""
    generator = np.random.Generator(np.random.PCG64(sum(split.encode())))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for _ in range(count):
        picture = generator.normal(0.15, 0.03, (SIDE, SIDE))
        labels = np.zeros((SIDE, SIDE), np.uint16)
        for number in range(1, 4):
            row, column = generator.integers(8, SIDE - 8, 2)
            inside = (rows - row) ** 2 + (columns - column) ** 2 <= generator.integers(20, 50)
            inside &= labels == 0
            labels[inside] = number
            picture[inside] += 0.5 + 0.1 * number
        numbers = np.unique(labels[labels > 0])
        yield np.clip(picture, 0, 1), np.searchsorted(np.append(0, numbers), labels)


def write_set(
    folder: Path,
    save_mask: Callable[[Path, str, np.ndarray], None],
    *,
    save_image: Callable[[Path, np.ndarray], None] | None = None,
    toml: str = "",
) -> Path:
    """Write a data folder; ``save_mask(masks folder, stem, labels)`` decides the kind."""
    for split, count in COUNTS.items():
        images = folder / split / "images"
        images.mkdir(parents=True)
        for number, (picture, labels) in enumerate(scenes(split, count)):
            stem = f"{split}{number}"
            if save_image is None:
                Image.fromarray((picture * 255).astype(np.uint8)).save(images / f"{stem}.png")
            else:
                save_image(images / stem, picture)
            if split != "unlabeled":
                save_mask(folder / split / "masks", stem, labels)
    if toml:
        (folder / "imseg.toml").write_text(toml)
    return folder


def in_folder(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def instances(masks: Path, stem: str, labels: np.ndarray) -> None:
    Image.fromarray(labels.astype(np.uint16)).save(in_folder(masks, f"{stem}.png"))


def planes(masks: Path, stem: str, labels: np.ndarray) -> None:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    position = np.zeros(labels.shape, bool)
    for number in range(1, labels.max() + 1):
        inside = np.argwhere(labels == number)
        row, column = inside.mean(axis=0)
        position |= (rows - row) ** 2 + (columns - column) ** 2 <= 9
    for name, plane in (
        ("bright", labels > 1), ("dim", labels == 1), ("position", position)
    ):  # fmt: skip
        file = in_folder(masks / name, f"{stem}.png")
        Image.fromarray(plane.astype(np.uint8) * 255).save(file)


def depths(masks: Path, stem: str, labels: np.ndarray) -> None:
    numbers = np.where(labels > 0, 2.0 + labels, 1.0).astype(np.float32)
    numbers[:2] = np.nan
    Image.fromarray(numbers).save(in_folder(masks, f"{stem}.tif"))


COLORS = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 255, 0)], np.uint8)


def colors(masks: Path, stem: str, labels: np.ndarray) -> None:
    painted = COLORS[labels]
    painted[:3] = (255, 255, 255)  # void
    Image.fromarray(painted).save(in_folder(masks, f"{stem}.png"))


def indexed(masks: Path, stem: str, labels: np.ndarray) -> None:
    picture = Image.fromarray((labels > 0).astype(np.uint8) * 2 + 1, mode="P")
    picture.putpalette([0, 0, 0, 10, 20, 30, 0, 0, 0, 200, 100, 50] + [0] * 756)
    picture.save(in_folder(masks, f"{stem}.png"))


def deep_image(path: Path, picture: np.ndarray) -> None:
    """16 bits of which only a corner is used, as microscopes give them."""
    Image.fromarray((500 + picture * 3000).astype(np.uint16)).save(path.with_suffix(".tif"))


@pytest.fixture
def trained(cli, cli_json, tmp_path):
    """Train on a folder and evaluate; gives the run's folder and its scores."""

    def train(data: Path) -> tuple[Path, dict]:
        status, _, err = cli("train", data, "--out", tmp_path / "run", *SETTINGS)
        assert status == 0, err
        return tmp_path / "run", cli_json("evaluate", tmp_path / "run", data)

    return train


@pytest.fixture(scope="module")
def of_objects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Deep pictures with label images, and a finished run on them; not to be changed."""
    folder = tmp_path_factory.mktemp("objects")
    toml = INSTANCES + "pixel_size = 0.5\n"
    data = write_set(folder / "data", instances, save_image=deep_image, toml=toml)
    words = ["train", data, "--out", folder / "run", *SETTINGS]
    assert main.run([str(word) for word in words]) == 0
    return data, folder / "run"


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "measurements.csv").open() as file:
        return list(csv.DictReader(file))


def test_label_images_go_in_and_come_out(cli, cli_json, of_objects, tmp_path):
    data, run = of_objects
    found = cli_json("evaluate", run, data)
    assert json.loads((run / "target.json").read_text())["coding"] == "objects"
    assert found["per_image"]["iou"] > 0.6, "bright disks are easy"
    assert found["per_image"]["object_f1"] > 0.5
    assert {"object_f1", "object_ap", "iou"} <= set(found["ci95"]["dataset"])
    out = tmp_path / "out"
    status, _, err = cli("predict", run, data / "test" / "images", "--out", out, "--overlay")
    assert status == 0, err
    mask = np.asarray(Image.open(out / "test0.png"))
    assert mask.dtype == np.uint16 and mask.shape == (SIDE, SIDE)
    assert np.array_equal(np.unique(mask), np.arange(mask.max() + 1)) and mask.max() >= 1
    rows = [row for row in rows_of(out) if row["image"] == "test0.tif"]
    assert [int(row["area [px]"]) for row in rows] == np.bincount(mask.ravel())[1:].tolist()
    assert float(rows[0]["area [um2]"]) == int(rows[0]["area [px]"]) / 4
    Image.fromarray(np.full((SIDE, SIDE), 500, np.uint16)).save(tmp_path / "empty.tif")
    none = tmp_path / "none"
    words = ("--out", none, "--pixel-size", "2")
    assert cli("predict", run, tmp_path / "empty.tif", *words)[0] == 0
    with (none / "counts.csv").open() as file:
        counted = list(csv.DictReader(file))
    assert counted[0]["image"] == "empty.tif", "a picture without cells is a result too"
    assert float(counted[0]["area [um2]"]) == 4 * int(counted[0]["area [px]"])


def test_planes_of_labels_go_in_and_come_out(cli, trained, tmp_path):
    data = write_set(tmp_path / "d", planes)
    run, found = trained(data)
    assert set(found["dataset"]["iou_per_class"]) == {"bright", "dim", "position"}
    assert found["per_image"]["iou"] > 0.2
    assert "cell_count_error" in found["per_image"]
    out = tmp_path / "out"
    assert cli("predict", run, data / "test" / "images", "--out", out)[0] == 0
    for name in ("bright", "dim", "position"):
        mask = np.asarray(Image.open(out / name / "test0.png"))
        assert mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255}
    bright = np.asarray(Image.open(out / "bright" / "test0.png"))
    row = rows_of(out)[0]
    assert int(row["bright area [px]"]) == np.count_nonzero(bright)
    assert {"bright cells", "dim cells"} < set(row) and "position area [px]" not in row


def test_maps_of_numbers_go_in_and_come_out_in_their_unit(cli, trained, tmp_path):
    data = write_set(tmp_path / "d", depths, toml='unit = "mm"\n')
    run, found = trained(data)
    assert found["metric"] == "rmse"
    truths = [np.asarray(Image.open(path)) for path in (data / "test" / "masks").iterdir()]
    guess = np.nanmean(truths)
    saying_the_mean = np.mean([np.sqrt(np.nanmean((truth - guess) ** 2)) for truth in truths])
    assert found["per_image"]["rmse"] < 0.8 * saying_the_mean
    stages = json.loads((run / "summary.json").read_text())["stages"]
    assert stages[1]["networks"][0]["scores"]["rmse"] <= stages[1]["networks"][1]["scores"]["rmse"]
    out = tmp_path / "out"
    status, _, _ = cli("predict", run, data / "test" / "images", "--out", out, "--overlay")
    assert status == 0
    mask = np.asarray(Image.open(out / "test0.tif"))
    assert mask.dtype == np.float32 and 1 <= mask.min() <= mask.max() <= 5
    assert float(rows_of(out)[0]["mean [mm]"]) == pytest.approx(mask.mean(), rel=1e-4)


def test_colored_masks_go_in_and_come_out_and_void_is_not_scored(cli, trained, tmp_path):
    toml = 'void = "#ffffff"\n[classes]\n"#ff0000" = "dim"\n'
    data = write_set(tmp_path / "d", colors, toml=toml)
    run, found = trained(data)
    names = set(found["dataset"]["iou_per_class"])
    assert "dim" in names and len(names) == 3
    out = tmp_path / "out"
    assert cli("predict", run, data / "test" / "images", "--out", out, "--overlay")[0] == 0
    mask = np.asarray(Image.open(out / "test0.png"))
    assert mask.shape == (SIDE, SIDE, 3)
    found_colors = {tuple(color) for color in mask.reshape(-1, 3).tolist()}
    assert found_colors <= {(0, 0, 0), (255, 0, 0), (0, 255, 0)}


def test_palette_files_go_in_and_come_out_with_their_palette(cli, trained, tmp_path):
    data = write_set(tmp_path / "d", indexed)
    run, _ = trained(data)
    out = tmp_path / "out"
    assert cli("predict", run, data / "test" / "images", "--out", out)[0] == 0
    mask = Image.open(out / "test0.png")
    assert mask.mode == "P" and set(np.unique(mask)) <= {1, 3}
    assert mask.getpalette()[3:6] == [10, 20, 30] and mask.getpalette()[9:12] == [200, 100, 50]


def test_deep_pictures_are_scaled_as_in_training_when_predicting(cli, of_objects, tmp_path):
    _, run = of_objects
    reading = json.loads((run / "target.json").read_text())["reading"]
    assert reading["depth"] == "uint16" and 500 < reading["low"][0] < reading["high"][0] <= 3500
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(tmp_path / "flat.png")
    status, _, err = cli("predict", run, tmp_path / "flat.png", "--out", tmp_path / "out")
    assert status == 2 and "16" in err and "flat.png" in err
