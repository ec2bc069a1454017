"""What large pictures cost: time and memory of training and prediction, and of one huge slide.

    python benchmarks/large.py growth --out .bench/large
    python benchmarks/large.py throughput --out .bench/large --count 1000
    python benchmarks/large.py slide --out .bench/large --side 30000
    python benchmarks/large.py evaluate --out .bench/large --side 12000
    python benchmarks/large.py evaluate --out .bench/large --side 6000 --objects

`growth` trains 300 steps of `ldt` on windows of images of 512 to 4,096 px and predicts one of
them, and says what `--dry-run` had said before. `throughput` predicts images of 1,024 px and
compares with the network's forward passes alone. `slide` writes an RGB TIFF and predicts it.
`evaluate` writes such a TIFF with a mask, or a label image, and scores a run on it. All images are
made up (cells as in the demo, at native size). Memory is the peak of all processes of a command,
anonymous and of files apart; each part adds lines to `large.jsonl` beside its data.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent))

from watching import number

from imseg.approaches.runs.run import load_run
from imseg.data.images.picture_file import read_image
from imseg.data.images.tiff_writing import TiffRows
from imseg.data.synthetic import CellScene, write_demo
from imseg.engine.inference.predictor import BATCH, predict_mean
from imseg.ops.tiling import TileScheme
from imseg.report.predictions.writing import write_predictions
from imseg.report.tables import table

SIDES = (512, 1024, 2048, 4096)
STEPS = 300
EVERY = 0.2
AT_ONCE = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["growth", "throughput", "slide", "evaluate"])
    parser.add_argument("--out", type=Path, default=Path(".bench/large"))
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES)
    parser.add_argument("--count", type=int, default=1000, help="images of `throughput`")
    parser.add_argument("--side", type=int, default=30_000, help="of the slide, in pixels")
    parser.add_argument("--objects", action="store_true", help="of `evaluate`: a label image")
    parser.add_argument("--options", nargs="*", default=["no-tta"], help="more of imseg predict")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    more = [f"--{each}" for each in arguments.options]
    if arguments.part == "growth":
        rows = [growth(side, arguments.out, more) for side in arguments.sides]
    elif arguments.part == "throughput":
        rows = [throughput(arguments.count, arguments.out, more)]
    elif arguments.part == "slide":
        rows = [slide(arguments.side, arguments.out, more)]
    else:
        rows = [evaluation(arguments.side, arguments.out, more, objects=arguments.objects)]
    with (arguments.out / "large.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    print(table(list(rows[0]), [[_shown(value) for value in row.values()] for row in rows]))


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def imseg(*words: object) -> dict[str, Any]:
    """Run a command; return its seconds, its peaks of memory in MB, and what it printed."""
    began, used_before = time.monotonic(), processor_seconds()
    command = [sys.executable, "-m", "imseg", *map(str, words)]
    peaks = {"anonymous": 0, "files": 0}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        while running.poll() is None:
            time.sleep(EVERY)
            alive = [str(running.pid), *_below(running.pid)]
            for key, name in (("anonymous", "RssAnon"), ("files", "RssFile")):
                used = sum(number("status", pid, name) for pid in alive)
                peaks[key] = max(peaks[key], used)
        said = running.stdout.read() if running.stdout else ""
        if running.returncode:
            raise SystemExit(f"{command} ended with {running.returncode}: {said}")
    peaks = {key: round(value / 1e6) for key, value in peaks.items()}
    spent = {"seconds": time.monotonic() - began, "processor": processor_seconds() - used_before}
    return {**spent, "said": said, **peaks}


def processor_seconds() -> float:
    """Return what commands that have ended took of processors, which other work hardly changes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _below(process: int) -> list[str]:
    try:
        listed = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [pid for child in listed for pid in (child, *_below(int(child)))]


def cells(folder: Path, side: int, *, labeled: int = 6, test: int = 1) -> Path:
    """Return a data folder with images of so many pixels a side."""
    if not folder.exists():
        scene = CellScene(size=(side, side))
        write_demo(folder, seed=0, labeled=labeled, unlabeled=1, val=2, test=test, scene=scene)
    return folder


def growth(side: int, out: Path, more: list[str]) -> dict[str, Any]:
    """Return what images of a size cost."""
    data, run, masks = cells(out / f"cells-{side}", side), out / f"run-{side}", out / "masks"
    words = ["train", data, "--approach", "ldt", "--networks", 1, "--scale", 1, "--max-steps"]
    words += [STEPS, "--epochs", STEPS, "--workers", 1, "--device", "cpu", "--out", run]
    for old in (run, masks):
        shutil.rmtree(old, ignore_errors=True)
    load = os.getloadavg()[0]
    told = json.loads(imseg(*words, "--dry-run", "--json")["said"])
    trained = imseg(*words)
    predicted = imseg("predict", run, data / "test/images", "--out", masks, *more)
    return {
        "side": side,
        "load before": load,
        "train s": trained["seconds"],
        "dry-run said s": float(told["seconds"]),
        "train MB": trained["anonymous"],
        "dry-run said MB": round(told["memory"]["total"] / 1e6),
        "predict s": predicted["seconds"],
        "predict MB": predicted["anonymous"],
    }


def _run(out: Path) -> Path:
    """Return a small run that sees windows of images."""
    run = out / "run-512"
    if not (run / "summary.json").exists():
        growth(512, out, [])
    return run


def throughput(count: int, out: Path, more: list[str]) -> dict[str, Any]:
    """Return what share of the time for many images is that of the network's forward passes.

    Both are timed in turn, some images at a time, because other work on a machine comes and goes;
    the share is the median over the turns.
    """
    opened, few = load_run(_run(out)), cells(out / "cells-1024", 1024, test=1) / "test/images"
    tta, (picture,) = "--no-tta" not in more, few.iterdir()
    scheme = opened.plan.predicted_size((1024, 1024))
    assert isinstance(scheme, TileScheme)
    networks, compute = opened.load(opened.members()), opened.compute()
    moves = opened.plan.moves(tta)
    tiles = np.zeros((BATCH, *scheme.tiling.tile, opened.reading.channels), np.uint8)
    batches = AT_ONCE * -(-scheme.count((1024, 1024)) // BATCH)
    pictures, masks, shares, spent = out / "pictures", out / "masks", [], 0.0
    pictures.mkdir(exist_ok=True)
    for place in range(AT_ONCE):
        shutil.copy(picture, pictures / f"{place:05d}.png")
    for _ in range(-(-count // AT_ONCE)):
        shutil.rmtree(masks, ignore_errors=True)
        began = time.monotonic()
        write_predictions(opened, pictures, masks, tta=tta)
        whole = time.monotonic() - began
        began = time.monotonic()
        for _ in range(batches):
            predict_mean(networks, tiles, task=opened.task, compute=compute, moves=moves)[0].cpu()
        shares.append((time.monotonic() - began) / whole)
        spent += whole
    return {
        "images": count,
        "images a second": count / spent,
        "forward passes, share of the time": statistics.median(shares),
        "least": min(shares),
        "most": max(shares),
    }


def mosaic(path: Path, tile: np.ndarray, side: int, *, colors: bool = False) -> None:
    """Write a TIFF of a tile, again and again, each time turned over a little; labels go on."""
    across, most = -(-side // tile.shape[1]), int(tile.max()) if tile.dtype == np.int32 else 0
    with TiffRows(path, (side, side), tile.dtype, colors=colors) as file:
        for top in range(0, side, tile.shape[0]):
            parts = [np.roll(tile, 37 * k + top, 0) for k in range(across)]
            if most:
                first = top // tile.shape[0] * across * most
                parts = [
                    np.where(part > 0, part + first + k * most, 0) for k, part in enumerate(parts)
                ]
            row = np.concatenate(parts, axis=1)[: side - top, :side]
            file.add(np.stack([row] * 3, axis=2) if colors else row)


def evaluation(side: int, out: Path, more: list[str], *, objects: bool) -> dict[str, Any]:
    """Return what it costs to score a run on one large picture."""
    kind = "objects" if objects else "classes"
    data, run = out / f"{kind}-{side}", _run_of_objects(out) if objects else _run(out)
    if not data.exists():
        shutil.copytree(out / ("objects-512" if objects else "cells-512"), data)
        test = cells(out / "cells-1024", 1024, test=1) / "test"
        shutil.rmtree(data / "test")
        for part in ("images", "masks"):
            (source,) = (test / part).iterdir()
            tile, labels = read_image(source)[..., 0], objects and part == "masks"
            (data / "test" / part).mkdir(parents=True)
            path = data / "test" / part / "large.tif"
            mosaic(path, label(tile) if labels else tile, side, colors=part == "images")
    found = imseg("evaluate", run, data, "--json", *more)
    scores = json.loads(found["said"])["per_image"]
    return {
        "side": side,
        "masks": kind,
        "seconds": found["seconds"],
        "processor s": found["processor"],
        "anonymous MB": found["anonymous"],
        "files MB": found["files"],
        "IoU": scores["iou"],
        "F1 of objects": scores.get("object_f1", "-"),
    }


def label(mask: np.ndarray) -> np.ndarray:
    """Return the connected parts of a mask by their numbers."""
    found: np.ndarray = ndimage.label(mask > 0)[0].astype(np.int32)
    return found


def _run_of_objects(out: Path) -> Path:
    """Return a small run that tells objects apart."""
    data, run = out / "objects-512", out / "run-objects"
    if not data.exists():
        shutil.copytree(cells(out / "cells-512", 512), data)
        for path in data.glob("*/masks/*.png"):
            tifffile.imwrite(path.with_suffix(".tif"), label(read_image(path)[..., 0]))
            path.unlink()
        (data / "imseg.toml").write_text('task = "instances"\n')
    if not (run / "summary.json").exists():
        words = ["--approach", "ldt", "--networks", 1, "--scale", 1, "--max-steps", STEPS]
        words += ["--epochs", STEPS, "--workers", 1, "--device", "cpu", "--out", run]
        imseg("train", data, *words)
    return run


def slide(side: int, out: Path, more: list[str]) -> dict[str, Any]:
    """Return what one very large picture costs."""
    run, path, masks = _run(out), out / f"slide-{side}.tif", out / "masks"
    shutil.rmtree(masks, ignore_errors=True)
    if not path.exists():
        (source,) = (cells(out / "cells-1024", 1024, test=1) / "test/images").iterdir()
        mosaic(path, read_image(source)[..., 0], side, colors=True)
    found = imseg("predict", run, path, "--out", masks, *more)
    return {
        "side": side,
        "file MB": round(path.stat().st_size / 1e6),
        "minutes": found["seconds"] / 60,
        "megapixels a second": side * side / 1e6 / found["seconds"],
        "anonymous MB": found["anonymous"],
        "files MB": found["files"],
    }


if __name__ == "__main__":
    main()
