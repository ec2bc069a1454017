"""Pictures of any size are predicted from top to bottom, as if they were seen at once."""

from __future__ import annotations

import csv
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.e2e.small_sets import KINDS, scenes, small_set, train
from tests.sets import rest_but

from imseg.approaches.runs.run import Run
from imseg.data.images.image_files import write_tiff
from imseg.data.images.picture_file import read_image
from imseg.data.images.tiff_writing import TiffRows
from imseg.engine.inference import large
from imseg.errors import ImsegError
from imseg.ops.same_objects import match_objects
from imseg.report import figures
from imseg.report.predictions import mask_writing
from imseg.report.predictions.writing import write_predictions
from imseg.types import Image as Source
from imseg.types import LabeledImage


@pytest.fixture(
    scope="module", params=rest_but(KINDS, lambda kind: kind in ("binary", "instances"))
)
def run(request, tmp_path_factory) -> Run:
    # Objects and centers are small only where networks have learned a little.
    steps = 60 if request.param in ("multilabel", "instances") else 3
    return train(
        small_set(request.param), "ldt", tmp_path_factory.mktemp("runs") / "run", networks=2,
        epochs=steps, max_steps=steps, recipe="modern" if steps > 3 else "paper",
    )  # fmt: skip


@pytest.fixture(scope="module")
def binary(tmp_path_factory) -> Run:
    return train(small_set("binary"), "ldt", tmp_path_factory.mktemp("runs") / "run")


def mosaic(rows: int = 7, columns: int = 5) -> np.ndarray:
    parts = scenes(9, rows * columns)[0].reshape(rows, columns, 32, 32)
    return parts.transpose(0, 2, 1, 3).reshape(rows * 32, columns * 32)[: rows * 32 - 5]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    tifffile.imwrite(folder / "tiled.tif", mosaic(), tile=(48, 48), metadata=None)
    Image.fromarray(mosaic()[::-1]).save(folder / "whole.png")
    Image.fromarray(scenes(3, 1)[0][0]).save(folder / "small.png")
    return folder


@pytest.fixture
def low_limits(monkeypatch) -> None:
    """Let pictures be large from 20,000 values on, and bands be 40 rows high."""
    monkeypatch.setattr(large, "VALUES", 20_000)
    monkeypatch.setattr(large, "LEAST_ROWS", 40)
    monkeypatch.setattr(large, "LEAST_AROUND", 16)
    monkeypatch.setattr(large, "MOST_AROUND", 32)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def masks_in(folder: Path, name: str) -> list[np.ndarray]:
    found = sorted(path for path in folder.rglob(f"{name}.*") if path.parent.name != "overlays")
    return [read_image(path)[..., 0] for path in found]


@pytest.mark.parametrize("scale", rest_but([1.0, 0.6, 1.5, 0.0], lambda scale: scale == 0.6))
def test_bands_are_what_is_seen_at_once(run, pictures, tmp_path, request, scale) -> None:
    def predict(out: Path) -> None:
        write_predictions(run, pictures, out, inconsistency=True, scale=scale, tta=False)

    predict(tmp_path / "once")
    request.getfixturevalue("low_limits")
    predict(tmp_path / "bands")
    for name in ("tiled", "whole", "small"):
        once, bands = (masks_in(tmp_path / each, name) for each in ("once", "bands"))
        assert len(once) == len(bands) >= 2
        for one, other in zip(once, bands, strict=True):
            if run.spec.coding == "objects" and one.max() > 0 and set(np.unique(one)) != {0, 255}:
                assert match_objects(other, one).f1 > 0.9
                continue
            assert one.shape == other.shape
            differ = np.abs(one.astype(float) - other) > 1e-3 * max(1.0, float(one.max()))
            allowed = 0.01 if run.spec.coding == "planes" else 0.002  # a center moves by a pixel
            assert differ.mean() < allowed, "but for pixels that are rounded otherwise"
    assert (tmp_path / "bands").joinpath("inconsistency/tiled.tif").exists()
    for name in ("measurements.csv", "inconsistency.csv", "counts.csv"):
        if not (tmp_path / "once" / name).exists():
            continue
        once, bands = (table(tmp_path / each / name) for each in ("once", "bands"))
        if run.spec.coding == "objects" and name != "inconsistency.csv":
            assert abs(len(once) - len(bands)) <= 0.1 * len(once)
            continue
        for one, other in zip(once, bands, strict=True):
            assert one["image"] == other["image"]
            for key in one.keys() - {"image"}:
                assert float(other[key]) == pytest.approx(float(one[key]), rel=0.02, abs=3), key


def test_a_prediction_of_a_large_picture_is_put_together_from_bands(
    run, pictures, request, monkeypatch
) -> None:
    once = [*run.predict(pictures, tta=False, disagreement=True, scale=1.0)]
    request.getfixturevalue("low_limits")
    bands = [*run.predict(pictures, tta=False, disagreement=True, scale=1.0)]
    assert [each.name for each in bands] == [each.name for each in once]
    for one, other in zip(once, bands, strict=True):
        np.testing.assert_array_equal(other.pixels, one.pixels)
        for name in ("mask", "target", "inconsistent"):
            expected, found = getattr(one, name), getattr(other, name)
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
            if run.spec.coding == "objects" and name == "mask":
                assert match_objects(found, expected).f1 > 0.9
                continue
            differ = np.abs(found.astype(float) - expected) > 1e-3 * max(1.0, float(expected.max()))
            assert differ.mean() < 0.01


def test_a_test_picture_too_large_to_be_decoded_whole_is_scored_and_drawn(
    binary, low_limits, pictures, monkeypatch
) -> None:
    picture, mask = pictures / "tiled.tif", pictures / "mask.tif"
    tifffile.imwrite(mask, (mosaic() > 100).astype(np.uint8), tile=(48, 48), metadata=None)
    pair = LabeledImage(Source("tiled.tif", picture), mask)
    data = replace(small_set("binary"), test=(pair,))
    once = binary.evaluate(data, tta=False)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20_000)
    monkeypatch.setattr(figures, "MOST_DRAWN", 80)
    found = binary.evaluate(data, tta=False)
    assert found.per_image == once.per_image
    drawn = figures.gallery(binary, data.test, found)
    assert drawn.ndim == 3 and drawn.std() > 0


@pytest.mark.parametrize("run", ["instances"], indirect=True)
def test_numbers_of_objects_are_those_of_the_table(run, low_limits, pictures, tmp_path) -> None:
    write_predictions(run, pictures, tmp_path / "out", scale=1.0, tta=False)
    labels = read_image(tmp_path / "out/tiled.tif")[..., 0].astype(int)
    rows = [
        each for each in table(tmp_path / "out/measurements.csv") if each["image"] == "tiled.tif"
    ]
    assert [int(each["object"]) for each in rows] or labels.max() == 0
    assert {int(each["object"]) for each in rows} == set(np.unique(labels).tolist()) - {0}
    for each in rows:
        mask = labels == int(each["object"])
        assert int(each["area [px]"]) == mask.sum()
        middle = np.argwhere(mask).mean(0)
        np.testing.assert_allclose([float(each["row"]), float(each["column"])], middle, atol=0.051)
    count = next(
        each for each in table(tmp_path / "out/counts.csv") if each["image"] == "tiled.tif"
    )
    assert int(count["objects"]) == len(rows)


def test_overlays_of_large_pictures_are_smaller(
    binary, low_limits, pictures, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(mask_writing, "MOST_DRAWN", 80)
    out = tmp_path / "out"
    write_predictions(binary, pictures, out, overlay=True, scale=1.0)
    drawn = read_image(out / "overlays/tiled.png")
    assert max(drawn.shape[:2]) <= 80 and drawn.shape[0] in (73, 72)
    write_predictions(binary, pictures / "whole.png", tmp_path / "one", overlay=True, scale=1.0)
    mask = read_image(tmp_path / "one/whole.tif")[1::3, 1::3, 0] > 0
    tinted = np.ptp(read_image(tmp_path / "one/overlays/whole.png").astype(int), axis=2) > 0
    assert (tinted == mask[: len(tinted), : tinted.shape[1]]).mean() > 0.99


@pytest.mark.parametrize("size", [(3, 9000), (11000, 2), (1, 21000)])
def test_long_pictures_are_drawn_too(
    binary, low_limits, tmp_path, monkeypatch, size: tuple[int, int]
) -> None:
    monkeypatch.setattr(mask_writing, "MOST_DRAWN", 80)
    place = tmp_path / "long.tif"
    tifffile.imwrite(place, np.full(size, 90, np.uint8), metadata=None, rowsperstrip=64)
    write_predictions(binary, place, tmp_path / "out", overlay=True, scale=1.0, tta=False)
    assert read_image(tmp_path / "out/long.tif").shape[:2] == size
    assert max(read_image(tmp_path / "out/overlays/long.png").shape[:2]) <= 80


def test_a_tile_that_is_damaged_costs_that_picture_alone(
    binary, low_limits, pictures, tmp_path
) -> None:
    with tifffile.TiffFile(pictures / "tiled.tif") as file:
        place = file.pages.first.dataoffsets[10]
    tifffile.imwrite(pictures / "tiled.tif", mosaic(), tile=(48, 48), compression="zlib")
    with tifffile.TiffFile(pictures / "tiled.tif") as file:
        place = file.pages.first.dataoffsets[10]
    content = bytearray((pictures / "tiled.tif").read_bytes())
    content[place : place + 100] = bytes(100)
    (pictures / "tiled.tif").write_bytes(content)
    with pytest.raises(ImsegError, match=r"tiled\.tif is cut short or damaged") as told:
        write_predictions(binary, pictures, tmp_path / "out", scale=1.0)
    assert "1 of 3 masks are written" in str(told.value), "the small one"
    left: list[str] = []
    written = write_predictions(
        binary, pictures, tmp_path / "out", scale=1.0, skip=lambda image, _: left.append(image.name)
    )
    assert [each.image for each in written] == ["small.png", "whole.png"]
    assert left == ["tiled.tif"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"small.png", "whole.tif", "measurements.csv", "skipped.csv"}


def test_what_was_interrupted_goes_on_and_ends_alike(
    binary, low_limits, pictures, tmp_path, monkeypatch
) -> None:
    asked = {"overlay": True, "inconsistency": True, "scale": 1.0}
    write_predictions(binary, pictures, tmp_path / "whole", **asked)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    out, told = tmp_path / "out", []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            write_predictions(binary, pictures, out, progress=stop, **asked)
    lines = (out / "unfinished.jsonl").read_bytes()
    assert sum(b'"image"' in line for line in lines.splitlines()) == 2
    (out / "unfinished.jsonl").write_bytes(lines + b'{"image": "whole.p')  # cut short
    with pytest.raises(ImsegError, match="would be overwritten") as refused:
        write_predictions(binary, pictures, out, **{**asked, "scale": 0.5})
    assert "continued by the very same command" in str(refused.value)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if "unf" not in path.name}
    assert len(times) >= 6
    write_predictions(binary, pictures, out, continued=lambda *so: told.append(so), **asked)
    assert told == [(2, 3)] and not (out / "unfinished.jsonl").exists()
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    files = {path.relative_to(out) for path in out.rglob("*.*")}
    assert files == {
        path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.*")
    }
    for name in files:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


class Stopped(BaseException):
    """The process ends here."""


def interrupted(binary: Run, pictures: Path, out: Path, monkeypatch, at: int, **asked) -> None:
    """Predict until so many masks are about to be written, in whatever thread."""
    count, lock, write = 0, threading.Lock(), mask_writing.write_mask

    def counted(*words, **named):
        nonlocal count
        with lock:
            count += 1
            if count > at:
                raise Stopped
        return write(*words, **named)

    with monkeypatch.context() as patch:
        patch.setattr(mask_writing, "write_mask", counted)
        with pytest.raises(Stopped):
            write_predictions(binary, pictures, out, **asked)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    for number, gray in enumerate(scenes(11, 24)[0]):
        Image.fromarray(gray).save(folder / f"{number:02d}.png")
    return folder


def test_an_interruption_within_the_first_pictures_is_continued(
    binary, many, tmp_path, monkeypatch
) -> None:
    for at in (0, 1, 4):
        out = tmp_path / f"out{at}"
        interrupted(binary, many, out, monkeypatch, at)
        assert len(list(out.glob("*.png"))) == at
        write_predictions(binary, many, out)
        assert len(table(out / "measurements.csv")) == 24
        assert not (out / "unfinished.jsonl").exists()


def test_only_what_the_interrupted_prediction_wrote_is_replaced(
    binary, many, tmp_path, monkeypatch
) -> None:
    out, others = tmp_path / "out", tmp_path / "others"
    shutil.copytree(many, others)
    interrupted(binary, many, out, monkeypatch, 3)
    with pytest.raises(ImsegError, match="would be overwritten"):
        write_predictions(binary, others, out)
    drawn = scenes(1, 1)[0][0]
    Image.fromarray(drawn).save(out / "23.png")  # of a picture that was not begun
    with pytest.raises(ImsegError, match=r"23\.png"):
        write_predictions(binary, many, out)
    (out / "23.png").unlink()
    finished = [json.loads(line) for line in (out / "unfinished.jsonl").read_text().splitlines()]
    name = next((line["image"] for line in finished if "image" in line), None)
    if name is not None:
        Image.fromarray(drawn).save(out / name)  # changed by hand after it was finished
        with pytest.raises(ImsegError, match="1 file would be overwritten"):
            write_predictions(binary, many, out)
    assert len(write_predictions(binary, many, out, overwrite=True)) == 24


def test_a_prediction_by_another_run_leaves_nothing_to_continue_of_the_first(
    binary, many, tmp_path, monkeypatch
) -> None:
    other = train(small_set("binary"), "ldt", tmp_path / "other", seed=5)
    out = tmp_path / "out"
    interrupted(binary, many, out, monkeypatch, 5)
    interrupted(other, many, out, monkeypatch, 1, overwrite=True)
    with pytest.raises(ImsegError, match="would be overwritten"):
        write_predictions(binary, many, out)
    write_predictions(other, many, out, overwrite=True)
    write_predictions(other, many, tmp_path / "whole")
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()


def test_a_picture_that_changed_meanwhile_is_predicted_again(binary, pictures, tmp_path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        write_predictions(binary, pictures, out, progress=stop)
    before = (out / "small.png").stat().st_mtime_ns
    Image.fromarray(scenes(4, 1)[0][0]).save(pictures / "small.png")
    write_predictions(binary, pictures, out)
    assert (out / "small.png").stat().st_mtime_ns != before
    assert len(table(out / "measurements.csv")) == 3


def test_masks_written_by_rows_are_whole_or_absent(tmp_path) -> None:
    values = np.random.default_rng(0).integers(0, 200, (1100, 700)).astype(np.uint8)
    for palette in (None, [(n, 0, 255 - n) for n in range(256)]):
        with TiffRows(tmp_path / "a.tif", values.shape, np.uint8, palette=palette) as file:
            for start in range(0, 1100, 300):
                file.add(values[start : start + 300])
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), values)
    write_tiff(tmp_path / "b.tif", values)
    assert read_image(tmp_path / "a.tif").shape == (1100, 700, 3), "with its palette"
    colors = np.stack([values] * 3, axis=2)
    with TiffRows(tmp_path / "c.tif", values.shape, np.uint8, colors=True) as file:
        file.add(colors)
    np.testing.assert_array_equal(read_image(tmp_path / "c.tif"), colors)
    with pytest.raises(RuntimeError), TiffRows(tmp_path / "d.tif", values.shape, np.uint8) as file:
        file.add(values[:100])
        raise RuntimeError
    with (
        pytest.raises(ValueError, match="100 of 1100 rows"),
        TiffRows(tmp_path / "d.tif", values.shape, np.uint8) as file,
    ):
        file.add(values[:100])
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "b.tif", "c.tif"}
