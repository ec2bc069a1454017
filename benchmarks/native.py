"""Windows at full size against whole images, on real images and on stand-ins for what is missing.

    python benchmarks/native.py objects RAW --out .bench/native
    python benchmarks/native.py rims RAW --out .bench/native
    python benchmarks/native.py scenes RAW --out .bench/native
    python benchmarks/native.py planned RAW --out .bench/native
    python benchmarks/native.py minutes RAW --out .bench/native
    python benchmarks/native.py membranes --out .bench/native
    python benchmarks/native.py mosaic --run RUN --data DATA --out .bench/native

`objects`: nuclei as objects, F1 and AP at IoU .5 and .75. `rims`: of the same nuclei in gray, the
outer two pixels are a class of their own, thin as membranes are. `scenes`: road scenes at the size
of their files, with poles and signs. `planned`: lesions and road scenes by `imseg train DATA
--approach ldt --minutes 5`, as it plans them and with images of 128 px. `minutes`: road scenes in
as many minutes by the paper's recipe, the modern one, and with a pretrained encoder. `membranes`:
cells parted by dark lines of 4 to 6 px, with vesicles and mitochondria to be taken for them, made
by code; trained by `imseg train DATA` and nothing else. Labels alone, one network, one core but for
the membranes; scores of test images with flips. Each training has a file of its own: the same
command goes on after the last one.

`mosaic` sets test images of a data folder side by side and compares masks of the whole with masks
of each image alone; and masks of each image with masks of the same image shifted by some pixels,
which is how far a network agrees with itself. RUN is a run on images of one size.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from recipe import SETTINGS, data_of
from scipy import ndimage

from imseg.approaches.running.experiment import fit
from imseg.approaches.runs.run import Run, load_run
from imseg.data.folder.scan import read_folder
from imseg.data.masks.io import load_values
from imseg.engine.workers.executors import Serial
from imseg.ops.same_objects import match_objects
from imseg.report.tables import table
from imseg.tasks.multilabel import find_objects
from imseg.types import DataSet

Options = Mapping[str, Any]
WAYS: dict[str, dict[str, Options]] = {
    "objects": {
        "whole images, 96 px": {"image_size": (96, 96), "max_steps": 1000},
        "windows, the same minutes": {"scale": 1.0, "max_steps": 620},
        "windows": {"scale": 1.0, "max_steps": 1000},
    },
    "rims": {
        "whole images, 128 px": {"whole_image": True, "max_steps": 800},
        "windows": {"scale": 1.0, "max_steps": 800},
    },
    "scenes": {
        "whole images, 96x128 px": {"image_size": (96, 128), "max_steps": 1000},
        "whole images, full size": {"image_size": (192, 256), "max_steps": 1000},
        "windows": {"scale": 1.0, "max_steps": 1000},
    },
}
"""What networks see, and for how many steps of 32."""
MINUTES = 5
PLANNED: dict[str, list[str]] = {
    "as planned": [],
    "whole images, 128 px": ["--image-size"],  # the shape follows
}
"""What is asked of `imseg train` beside the minutes."""
IN_MINUTES: dict[str, list[str]] = {
    "the paper's recipe": ["--recipe", "paper"],
    "modern": [],
    "modern, pretrained encoder": [
        "--network",
        "unet:tf_efficientnet_lite0",
        "--weights",
        "imagenet",
    ],
}
"""How road scenes are learned in so many minutes."""
SIDE = 4096
"""Height and width of a mosaic in pixels."""
MARGINS = (0, 8, 16)
SHIFTS = (4, 8, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=[*WAYS, "planned", "minutes", "membranes", "mosaic"])
    parser.add_argument("raw", type=Path, nargs="?", help="folder of the downloads")
    parser.add_argument("--out", type=Path, default=Path(".bench/native"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--run", type=Path, help="of `mosaic`")
    parser.add_argument("--data", type=Path, help="of `mosaic`")
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    if arguments.part == "mosaic":
        print(mosaic(load_run(arguments.run), arguments.data))
        return
    scores = out / "scores"
    scores.mkdir(parents=True, exist_ok=True)
    ways = WAYS.get(arguments.part, {"imseg train": {}})
    if arguments.part == "planned":
        print(planned(arguments.raw, out, arguments.seeds))
        return
    if arguments.part == "minutes":
        print(in_minutes(arguments.raw, out, arguments.seeds))
        return
    known = []
    for seed in arguments.seeds:
        for name, options in ways.items():
            short = f"{arguments.part}-{seed}-{name.replace(',', '').replace(' ', '-')}"
            done = scores / f"{short}.json"
            if not done.exists():
                if arguments.part == "membranes":
                    found = by_default(membranes(out / f"membranes-{seed}", seed), out / short)
                else:
                    data = data_for(arguments.part, arguments.raw, out, seed)
                    found = trained(data, out / short, {**options, "seed": seed})
                done.write_text(json.dumps({"seed": seed, "networks see": name, **found}, indent=1))
            known.append(json.loads(done.read_text()))
            print(known[-1], flush=True)
    rows = [[_shown(one.get(key)) for key in known[0]] for one in known]
    print(table(list(known[0]), rows))


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def data_for(part: str, raw: Path, out: Path, seed: int) -> DataSet:
    """Return the data of a part."""
    name = "scenes-36" if part == "scenes" else "nuclei-30"
    dataset = data_of(SETTINGS[name], raw, out / "data", seed)
    return (
        read_folder(rims(Path(dataset.name), out / f"rims-{seed}")) if part == "rims" else dataset
    )


def trained(data: DataSet, place: Path, options: Options) -> dict[str, Any]:
    """Return what a training of labels alone reaches, and its processor seconds."""
    began = time.process_time()
    run = fit(
        data, approach="ldt", out=place, networks=1, workers=1, width=0.5, device="cpu",
        executor=Serial(), compile="off", epochs=options["max_steps"], **options,
    )  # fmt: skip
    spent = time.process_time() - began
    return {"steps": options["max_steps"], "seconds": spent, **scores_of(run, data)}


def scores_of(run: Run, data: DataSet) -> dict[str, float]:
    """Return scores of the test images, with flips."""
    found = run.evaluate(data, tta=True)
    scores = {"IoU": found.per_image["iou"]}
    if run.spec.coding == "objects":
        return scores | objects_of(run, data)
    each = found.dataset["iou_per_class"]
    return scores | {f"{name} over pixels": value for name, value in each.items()}


def objects_of(run: Run, data: DataSet) -> dict[str, float]:
    """Return means over images of the F1 and the AP of objects."""
    found: dict[str, list[float]] = {}
    said = run.predictor(tta=True).segment([pair.image for pair in data.test])
    for pair, segmented in zip(data.test, said, strict=True):
        truth = load_values(pair, run.spec)
        labels = find_objects(run.task, segmented.at_size((truth.shape[0], truth.shape[1])))
        for least in (0.5, 0.75):
            matches = match_objects(labels, truth, threshold=least)
            found.setdefault(f"F1 at {least}", []).append(matches.f1)
            found.setdefault(f"AP at {least}", []).append(matches.ap)
    return {name: float(np.mean(values)) for name, values in found.items()}


def by_default(data: Path, place: Path) -> dict[str, Any]:
    """Return what `imseg train DATA` reaches, and its minutes by the clock."""
    began = time.monotonic()
    words = [sys.executable, "-m", "imseg", "train", data, "--out", place]
    subprocess.run([*map(str, words)], check=True)
    minutes, pairs = (time.monotonic() - began) / 60, read_folder(data).test
    said = _masks(load_run(place), [_pixels(pair.image.pixels) for pair in pairs])
    cells = [_pixels(pair.mask) > 0 for pair in pairs]
    each = [_iou(~one, ~other) for one, other in zip(said, cells, strict=True)]
    return {"minutes": minutes, "IoU of membranes": float(np.mean(each))}


def planned(raw: Path, out: Path, seeds: Sequence[int]) -> str:
    """Return what `imseg train` reaches as it plans by itself, and with images of 128 px.

    Where it plans just these, the second training would be the first.
    """
    rows = []
    for seed in seeds:
        for name, shape in (("lesions-156", (128, 128)), ("scenes-36", (96, 128))):
            for way, words in PLANNED.items():
                first = out / f"planned-{name}-{seed}"
                place = first.with_name(f"{first.name}-128") if words else first
                if words and load_run(first).plan.stored_size == shape:
                    place = first
                done = out / "scores" / f"{place.name}.json"
                data = data_of(SETTINGS[name], raw, out / "data", seed)
                if not done.exists():
                    more = [*words, *map(str, shape)] if words else []
                    found = _by_minutes(Path(data.name), place, [*more, "--seed", str(seed)])
                    scores = scores_of(load_run(place), data)
                    done.write_text(json.dumps({"plan": found, "IoU": scores["IoU"]}))
                known = json.loads(done.read_text())
                rows.append([name, way, str(seed), known["plan"], f"{known['IoU']:.4f}"])
                print(rows[-1], flush=True)
    return table(["data", "way", "seed", "plan", "IoU"], rows)


def in_minutes(raw: Path, out: Path, seeds: Sequence[int]) -> str:
    """Return what road scenes reach in so many minutes, over images and over pixels, with flips."""
    rows = []
    for seed, (way, words) in itertools.product(seeds, IN_MINUTES.items()):
        place = out / f"minutes-{seed}-{way.replace(' ', '-').replace(',', '')}"
        done = out / "scores" / f"{place.name}.json"
        data = data_of(SETTINGS["scenes-36"], raw, out / "data", seed)
        if not done.exists():
            plan = _by_minutes(Path(data.name), place, [*words, "--seed", str(seed)])
            run = load_run(place)
            scores = run.evaluate(data, tta=True)
            over = {
                "images": scores.per_image["iou"],
                "pixels": run.task.metric.pooled(scores.dataset),
            }
            done.write_text(json.dumps({"plan": plan, **over}))
        known = json.loads(done.read_text())
        shown = [f"{known[key]:.4f}" for key in ("images", "pixels")]
        rows.append([way, str(seed), known["plan"], *shown])
        print(rows[-1], flush=True)
    return table(["way", "seed", "plan", "IoU over images", "over pixels"], rows)


def _by_minutes(data: Path, place: Path, words: list[str]) -> str:
    """Train by the command for so many minutes on one core; return what was planned."""
    asked = [data, "--approach", "ldt", "--minutes", MINUTES, "--out", place, "--no-report", *words]
    subprocess.run([sys.executable, "-m", "imseg", "train", *map(str, asked)], check=True)
    run = load_run(place)
    steps = run.trained(run.summary["network"]).steps
    return f"{run.plan.seen_in_words}, {steps} steps"


def rims(nuclei: Path, folder: Path) -> Path:
    """Write nuclei in gray whose outer two pixels are a class of their own."""
    for split in ("labeled", "val", "test"):
        for mask in sorted((nuclei / split / "masks").iterdir()):
            labels = np.array(Image.open(mask)).astype(int)
            classes = np.zeros(labels.shape, np.uint8)
            for number in np.unique(labels[labels > 0]):
                one = labels == number
                classes[one] = 2
                classes[ndimage.binary_erosion(one, iterations=2, border_value=1)] = 1
            image = next((nuclei / split / "images").glob(f"{mask.stem}.*"))
            _write(folder / split, mask.stem, np.array(Image.open(image).convert("L")), classes)
    return folder


def _write(split: Path, name: str, image: npt.NDArray[Any], mask: npt.NDArray[Any] | None) -> None:
    for kind, pixels in (("images", image), ("masks", mask)):
        if pixels is not None:
            (split / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(split / kind / f"{name}.png")


def membranes(folder: Path, seed: int) -> Path:
    """Write 5 labeled, 17 unlabeled, 3 validation and 5 test images of cells parted by membranes.

    Masks are 0 where membranes are, 255 in cells.
    """
    splits = ["labeled"] * 5 + ["val"] * 3 + ["unlabeled"] * 17 + ["test"] * 5
    for number, split in enumerate(splits):
        if not (folder / split / "images" / f"{number:02d}.png").exists():
            image, mask = _tissue(np.random.default_rng([seed, number]))
            _write(folder / split, f"{number:02d}", image, None if split == "unlabeled" else mask)
    return folder


def _tissue(rng: np.random.Generator, side: int = 512) -> tuple[npt.NDArray[np.uint8], ...]:
    """Return an image and its mask."""

    def smooth(reach: float, size: float) -> npt.NDArray[np.float64]:
        """Return a random field, ``size`` its standard deviation."""
        field = ndimage.gaussian_filter(rng.normal(size=(side, side)), reach)
        scaled: npt.NDArray[np.float64] = field * (size / field.std())
        return scaled

    places = np.mgrid[:side, :side]
    rows, columns = (axis + smooth(9, 3) for axis in places)
    cells = int(rng.integers(90, 150))
    middles, spread = rng.uniform(-40, side + 40, (cells, 2)), rng.uniform(0.6, 1.6, cells)
    (down, right), reach = middles.T[..., None, None], spread[:, None, None]
    distances = np.hypot(rows - down, columns - right)
    cell = np.argmin(distances / reach, axis=0)
    edge = np.zeros((side, side), bool)
    edge[1:] |= cell[1:] != cell[:-1]
    edge[:, 1:] |= cell[:, 1:] != cell[:, :-1]
    thick = np.clip(2 + smooth(20, 0.3), 1.3, 3.4)
    membrane = ndimage.distance_transform_edt(~edge) <= thick
    depth = ndimage.distance_transform_edt(~membrane)
    image = 170 + smooth(3, 6) + rng.normal(0, 10, cells)[cell]
    contrast = np.clip(1 + smooth(15, 0.25), 0.25, 1.2)
    image -= 110 * contrast * ndimage.gaussian_filter(membrane.astype(float), 1.2)
    for _ in range(int(rng.integers(15, 30))):  # mitochondria
        inside = _oval(places, rng.integers(0, side, 2), rng.uniform(6, 16, 2), rng.uniform(0, 3.1))
        image[(inside < 1) & (depth > 3)] -= 45
        image[(inside < 1) & (inside > 0.75) & (depth > 3)] -= 45
    for _ in range(200):  # vesicles
        inside = _oval(places, rng.integers(0, side, 2), np.array([4.0, 4.0]), 0.0)
        image[(inside < 1) & (inside > 0.3) & (depth > 2)] -= 50
    image = ndimage.gaussian_filter(image, 0.8) + rng.normal(0, 14, (side, side))
    mask = np.where(membrane, 0, 255)
    return np.clip(image, 0, 255).astype(np.uint8), mask.astype(np.uint8)


def _oval(
    places: npt.NDArray[Any], middle: npt.NDArray[Any], radii: npt.NDArray[Any], turn: float
) -> npt.NDArray[np.float64]:
    """Return how far each pixel is from the middle of an oval: 1 on its outline, squared."""
    rows, columns = (axis - at for axis, at in zip(places, middle, strict=True))
    along = rows * np.cos(turn) + columns * np.sin(turn)
    across = columns * np.cos(turn) - rows * np.sin(turn)
    found: npt.NDArray[np.float64] = (along / radii[0]) ** 2 + (across / radii[1]) ** 2
    return found


Masks = list[npt.NDArray[np.bool_]]


def mosaic(run: Run, data: Path) -> str:
    """Return how masks of test images agree with those of a picture made of them, as a table."""
    pairs = read_folder(data).test
    images = [_pixels(pair.image.pixels) for pair in pairs]
    truth = [_pixels(pair.mask) > 0 for pair in pairs]
    alone = _masks(run, images)
    side = images[0].shape[0]
    count = SIDE // side
    order = np.random.default_rng(0).integers(0, len(images), (count, count))

    def joined(parts: Any) -> npt.NDArray[Any]:
        return np.block([[parts[number] for number in row] for row in order])

    (whole,) = _masks(run, [joined(images)])
    rows = []
    for margin in MARGINS:
        place = np.arange(count * side) % side
        kept = np.ix_(*[(place >= margin) & (place < side - margin)] * 2)
        both = whole[kept], joined(alone)[kept]
        true = joined(truth)[kept]
        rows.append(["mosaic", str(margin), *_ious([both, *((each, true) for each in both)])])
    for shift in SHIFTS:
        ends = ((shift, 0), (shift, 0))
        moved = [np.pad(each, ends, mode="symmetric")[:side, :side] for each in images]
        seen = _masks(run, moved)
        for margin in MARGINS:
            first, last = shift + margin, side - margin
            here = np.stack([each[first:last, first:last] for each in seen])
            first, last = margin, side - shift - margin
            there = np.stack([each[first:last, first:last] for each in alone])
            rows.append([f"itself, shifted by {shift} px", str(margin), *_ious([(here, there)])])
    header = ["compared", "px left out", "IoU", "of the whole to the truth", "of each alone"]
    return table(header, [row + ["-"] * (5 - len(row)) for row in rows])


def _pixels(file: Any) -> npt.NDArray[Any]:
    return np.array(Image.open(file))


def _masks(run: Run, images: list[npt.NDArray[Any]]) -> Masks:
    return [np.asarray(found.mask) > 0 for found in run.predict(images, tta=True)]


def _ious(pairs: list[tuple[Any, Any]]) -> list[str]:
    return [f"{_iou(one, other):.3f}" for one, other in pairs]


def _iou(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


if __name__ == "__main__":
    main()
