"""Images with pixels of several sizes: for networks objects are equally large."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from tests.e2e.small_sets import SETTINGS, SIDE, Killed, Mortal, Told, Watched, scenes, weights_of

import imseg
from imseg.approaches.planning.plan import Plan
from imseg.approaches.runs.run import Run
from imseg.data.cache.store import open_array
from imseg.data.images.decoding import resize_image
from imseg.data.images.picture_file import read_image
from imseg.engine.inference import large
from imseg.engine.training.job import TrainJob
from imseg.engine.workers.executors import Serial
from imseg.errors import ImsegError
from imseg.report.predictions.writing import write_predictions

Cli = Callable[..., tuple[int, str, str]]
COARSE, FINE = 0.8, 0.4
"""Micrometers on a side of a pixel; what is fine has the same scenes in twice the pixels."""
OPTIONS: dict[str, Any] = {
    **{name: value for name, value in SETTINGS.items() if name != "image_size"},
    "approach": "ldt",
    "scale": 1.0,
    "patch": (SIDE, SIDE),
    "tta": False,
    "progress": lambda _: None,
}
Sized = tuple[np.ndarray, np.ndarray]


def scene(seed: int, *, times: int = 1) -> Sized:
    """Return an image of 64 x 96 px, or so many times as high and wide, and its mask."""
    images, labels = (
        each.reshape(2, 3, SIDE, SIDE).transpose(0, 2, 1, 3).reshape(2 * SIDE, 3 * SIDE)
        for each in scenes(seed, 6)
    )
    larger = (each.repeat(times, 0).repeat(times, 1) for each in (images, labels))
    return next(larger), (next(larger) > 0).astype(np.uint8) * 255


def write(path: Path, pixels: np.ndarray, size: float | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = {} if size is None else {"PhysicalSizeX": size, "PhysicalSizeY": size}
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "YX", **sizes})


class Looking(Watched):
    """Trains, and keeps the rows that jobs learn from."""

    def run(self, jobs: Sequence[TrainJob], **reports: Any) -> None:
        files = {Path(part.images) for job in jobs for part in job.samples}
        self.rows = {path.name: np.array(open_array(path)) for path in files}
        super().run(jobs, **reports)


def write_split(folder: Path, seeds: range, *, coarse: float | None, fine: float | None) -> None:
    for seed in seeds:
        times = 1 + seed % 2
        image, mask = scene(seed, times=times)
        name = f"{seed}{'_fine' * (times == 2)}.tif"
        write(folder / "images" / name, image, (coarse, fine)[times - 1])
        write(folder / "masks" / name, mask)


def write_data(root: Path, *, coarse: float | None = COARSE, fine: float | None = FINE) -> Path:
    for split, seeds in (("labeled", range(5)), ("val", range(6, 8)), ("test", range(10, 12))):
        write_split(root / split, seeds, coarse=coarse, fine=fine)
    for seed in (20, 21):
        write(root / "unlabeled" / f"{seed}.tif", scene(seed, times=1 + seed % 2)[0], coarse)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("pixels") / "data")


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "run"
    return imseg.fit(data, out=out, executor=Serial(), **OPTIONS | {"max_steps": 60, "epochs": 60})


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for times, name, size in ((1, "coarse", COARSE), (2, "fine", FINE), (2, "silent", None)):
        write(folder / f"{name}.tif", scene(30, times=times)[0], size)
    return folder


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


def test_objects_are_equally_large_for_networks(data: Path, tmp_path: Path) -> None:
    told, executor = Told(), Looking()
    # After three steps, labels may have collapsed on one processor and not on another.
    more = {"approach": "im", "generations": 1, "select": "all", "patience": 0}
    options = {**OPTIONS, **more}
    run = imseg.fit(data, out=tmp_path / "run", executor=executor, **options | {"progress": told})
    assert run.plan.tiles is not None and run.plan.tiles.pixel_size == COARSE
    assert Plan.from_dict(run.plan.as_dict()) == run.plan
    assert told.said("Images have pixels of 0.4 to 0.8 um: each is scaled so that networks see"
                     " pixels of 0.8 um (scale 1 for 0.8 um).")  # fmt: skip
    (job, *_), tiling = executor.jobs["start"], run.plan.tiles.tiling
    assert job.validation.mosaic.sizes == ((64, 96), (64, 96))
    each = tiling.count((64, 96))
    stored = executor.rows["labeled-images.npy"].reshape(5, each, 48, 48).astype(int)
    for seed in range(5):
        coarse, own = (scene(seed, times=times)[0] for times in (1, 1 + seed % 2))
        resized = resize_image(own[..., None], (64, 96))[..., 0]
        assert np.array_equal(stored[seed], np.stack(list(tiling.tiles(resized))))
        assert np.abs(resized - coarse.astype(int)).mean() < 8, "twice the pixels at half the scale"
    # The second of the unlabeled images has 128 x 192 px that are said to be coarse.
    unlabeled = executor.rows["unlabeled-images.npy"]
    assert len(unlabeled) == each + tiling.count((128, 192))


def test_masks_of_both_sizes_show_the_same(run: Run, pictures: Path) -> None:
    found = {each.name: each for each in run.predict(pictures)}
    coarse, fine, silent = (found[f"{name}.tif"].mask > 0 for name in ("coarse", "fine", "silent"))
    assert fine.shape == (128, 192) and 0.05 < coarse.mean() < 0.9
    assert (coarse.repeat(2, 0).repeat(2, 1) == fine).mean() > 0.97
    assert not np.array_equal(silent, fine), "seen at twice the scale, as if it was coarse"
    pixels = scene(30, times=2)[0]
    given = [next(run.predict([pixels], pixel_size=size)).mask for size in (FINE, None)]
    assert np.array_equal(given[0] > 0, fine) and np.array_equal(given[1] > 0, silent)
    # What is asked for by hand is what is done, whatever files say.
    by_hand = {each.name: each.mask for each in run.predict(pictures, scale=0.5)}
    assert np.array_equal(by_hand["silent.tif"], by_hand["fine.tif"])
    assert np.array_equal(by_hand["silent.tif"] > 0, fine)
    assert not np.array_equal(by_hand["coarse.tif"] > 0, coarse)


def test_scores_are_those_of_images_at_their_scales(run: Run, data: Path) -> None:
    key = run.metric.key
    scores = run.evaluate(data, tta=False).each[key]
    in_training = run.trained(run.summary["network"]).scores[key]
    on_validation = run.evaluate(data, "val", tta=False).each[key]
    # In training what is fine is scored in half its pixels.
    assert np.mean(on_validation) == pytest.approx(in_training, abs=0.03)
    silent = replace(run, plan=replace(run.plan, tiles=replace(run.plan.tiles, pixel_size=None)))
    without = silent.evaluate(data, tta=False).each[key]
    assert scores[0] == without[0] and scores[1] != without[1], "the second one is fine"


def test_bands_of_a_large_picture_are_what_is_seen_at_once(
    run: Run, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_predictions(run, pictures, tmp_path / "once")
    for name, value in (("VALUES", 20_000), ("LEAST_ROWS", 40), ("LEAST_AROUND", 16)):
        monkeypatch.setattr(large, name, value)
    monkeypatch.setattr(large, "MOST_AROUND", 32)
    write_predictions(run, pictures, tmp_path / "bands")
    once, bands = read_image(tmp_path / "once/fine.png"), read_image(tmp_path / "bands/fine.tif")
    assert (once != bands).mean() < 0.002


def test_areas_are_by_the_pixels_of_each_picture(run: Run, pictures: Path, tmp_path: Path) -> None:
    write_predictions(run, pictures, tmp_path / "some")
    rows = table(tmp_path / "some/measurements.csv")
    (pixels,) = (name for name in rows["fine.tif"] if name == "foreground area [px]")
    area = pixels.replace("[px]", "[um2]")
    for name, size in (("coarse.tif", COARSE), ("fine.tif", FINE)):
        assert float(rows[name][area]) == pytest.approx(int(rows[name][pixels]) * size**2, rel=1e-5)
    assert rows["silent.tif"][area] == "", "empty where it is not known"
    assert float(rows["fine.tif"][area]) == pytest.approx(float(rows["coarse.tif"][area]), rel=0.1)
    known = replace(run, spec=replace(run.spec, pixel_size=2.0))
    write_predictions(known, pictures, tmp_path / "all")
    after = table(tmp_path / "all/measurements.csv")
    for row in after.values():
        assert float(row[area]) == 4 * int(row[pixels]), "one number was said for all images"
    write_predictions(run, pictures, tmp_path / "said", pixel_size=FINE)
    said = table(tmp_path / "said/measurements.csv")
    assert said["silent.tif"][area] == said["fine.tif"][area] == rows["fine.tif"][area]
    write_predictions(run, pictures / "silent.tif", tmp_path / "none")
    assert not any(
        "um2" in name for name in table(tmp_path / "none/measurements.csv")["silent.tif"]
    )


def test_predict_says_what_is_seen_at_another_scale(
    run: Run, pictures: Path, tmp_path: Path, cli: Cli
) -> None:
    def said(*words: object) -> str:
        status, _, text = cli("predict", run.path, pictures, "--out", tmp_path / "out",
                              "--overwrite", *words)  # fmt: skip
        assert status == 0
        return text

    text = said()
    assert (
        "note: 1 picture has pixels of 0.4 um, those for training had 0.4 to 0.8: seen at 0.5 times"
        " the scale 1, which is for 0.8 um. --pixel-size says it where files are wrong." in text
    )
    assert (
        "note: 1 picture does not say how large pixels are, those for training had 0.4 to" in text
    )
    assert "seen as if of 0.8 um. --pixel-size says it." in text
    assert "3 pictures have pixels of 0.4 um" in (text := said("--pixel-size", FINE))
    assert "not say how large" not in text
    assert "pixels of" not in said("--pixel-size", COARSE) and "pixels of" not in said("--scale", 1)


def test_pictures_out_of_scale_are_told_before_anything_is_computed(
    run: Run, pictures: Path, tmp_path: Path, cli: Cli
) -> None:
    write(pictures / "huge.tif", scene(31)[0], 500.0)
    status, _, text = cli("predict", run.path, pictures, "--out", tmp_path / "out")
    assert status == 2 and not (tmp_path / "out").exists()
    assert "huge.tif (pixels of 500 um: scale 6.2e+02)" in text
    assert "pixels of 0.0125 to 3.2 um here" in text and "--pixel-size" in text
    status, _, text = cli("predict", run.path, pictures, "--out", tmp_path / "out", "--skip-bad")
    assert status == 0 and set(table(tmp_path / "out/skipped.csv")) == {"huge.tif"}
    with pytest.raises(ImsegError, match="out of scale"):
        next(run.predict(pictures))
    assert len(list(run.predict(pictures, scale=1.0))) == 4


def test_training_images_out_of_scale_are_told_before_anything_is_stored(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    write(data / "unlabeled/20.tif", scene(20)[0], 80.0)
    with pytest.raises(ImsegError, match="1 image is out of scale") as caught:
        imseg.fit(data, out=tmp_path / "run", executor=Serial(), **OPTIONS)
    assert "unlabeled/20.tif (pixels of 80 um: scale 1e+02)" in (caught.value.got or "")
    assert not (tmp_path / "run").exists()


def test_a_run_that_goes_on_sees_images_as_their_pixels_are_now(tmp_path: Path) -> None:
    data, toml = write_data(tmp_path / "data"), tmp_path / "data/imseg.toml"
    toml.write_text(f'[pixel_size]\n"1_fine.tif" = {COARSE}\n')
    other = imseg.fit(data, out=tmp_path / "other", executor=Serial(), **OPTIONS)
    toml.unlink()
    whole = imseg.fit(data, out=tmp_path / "whole", executor=Serial(), **OPTIONS)
    assert other.plan == whole.plan and weights_of(other.path) != weights_of(whole.path)
    with pytest.raises(Killed):
        imseg.fit(data, out=tmp_path / "part", executor=Mortal(1), **OPTIONS)
    toml.write_text(f'[pixel_size]\n"1_fine.tif" = {COARSE}\n')
    with pytest.raises(ImsegError, match="The data has changed since"):
        imseg.fit(data, out=tmp_path / "part", executor=Serial(), **OPTIONS)
    told, options = Told(), {**OPTIONS, "reuse": tmp_path / "part"}
    run = imseg.fit(data, out=tmp_path / "more", executor=Serial(), **options | {"progress": told})
    assert not told.reused, "what was learned from other tiles is not kept"
    assert weights_of(run.path) == weights_of(other.path)
    toml.unlink()
    run = imseg.fit(data, out=tmp_path / "part", executor=Serial(), **OPTIONS | {"progress": told})
    assert len(told.reused) == 1 and weights_of(run.path) == weights_of(whole.path)


def test_equal_sizes_change_nothing(tmp_path: Path) -> None:
    runs = []
    for name, size in (("equal", 0.65), ("silent", None)):
        data = write_data(tmp_path / name, coarse=size, fine=size)
        runs.append(imseg.fit(data, out=tmp_path / f"run-{name}", executor=Serial(), **OPTIONS))
    equal, silent = runs
    assert weights_of(equal.path) == weights_of(silent.path)
    assert silent.plan.tiles.pixel_size is None and "pixel_size" not in str(silent.plan.as_dict())
    assert equal.plan == replace(
        silent.plan,
        tiles=replace(silent.plan.tiles, pixel_size=0.65),
        pixel_sizes=equal.plan.pixel_sizes,
    )


def test_whole_images_are_seen_as_before(data: Path, tmp_path: Path) -> None:
    options = {name: value for name, value in OPTIONS.items() if name not in ("scale", "patch")}
    run = imseg.fit(data, out=tmp_path / "run", executor=Serial(), image_size=(SIDE, 48), **options)
    assert run.plan.tiles is None is run.plan.pixel_sizes
    assert run.plan.predicted_size((128, 192), pixel_size=FINE) == (SIDE, 48)
