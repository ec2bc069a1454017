"""Memory and open files: 10,000 images predicted, 50,000 unlabeled ones trained with.

    python benchmarks/load.py --out .bench/load

Images are tiles of drawn cells, 40x48 px, all different. ``imseg predict`` and ``imseg train`` run
as commands and are looked at from outside once a second: memory, open files and threads of all
their processes. Training: ``im``, 32 px, 2 networks, 1 generation, few steps, with a tenth of the
unlabeled images and with all of them; what differs is divided by the number of images. Linux only.
About a quarter of an hour on two idle cores; ``--images 300 --unlabeled 500`` only shows that it
works. Repeating the command draws no image again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from machine import described
from sampling import MIB, Look, Watched, watched

from imseg.data.synthetic import CellScene, draw_cells
from imseg.report.tables import table

SIDE, TILE = 480, (40, 48)
IMSEG = (sys.executable, "-P", "-m", "imseg.cli.main")
TINY = (
    "--approach", "im", "--networks", "2", "--generations", "1", "--image-size", "32", "32",
    "--width", "0.25", "--batch-size", "32", "--workers", "2", "--select", "all", "--device", "cpu",
)  # fmt: skip
LABELED, VALIDATION = 24, 12
PHASES = ("checking", "decoding", "start", "pseudo-labels", "generation", "end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".bench/load"))
    parser.add_argument("--images", type=int, default=10_000, help="to predict")
    parser.add_argument("--unlabeled", type=int, default=50_000, help="to train with")
    parser.add_argument("--max-steps", type=int, default=40)
    parser.add_argument("--only", choices=("predict", "train"))
    parser.add_argument(
        "--result", type=Path, help="where the figures go  [default: OUT/load.json]"
    )
    arguments = parser.parse_args()
    out: Path = arguments.out
    result: Path = arguments.result or out / "load.json"
    out.mkdir(parents=True, exist_ok=True)
    found = json.loads(result.read_text()) if result.exists() else {}
    found["machine"] = described()
    if arguments.only != "train":
        found["predict"] = predicted(out, arguments.images)
        result.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.only != "predict":
        sizes = (arguments.unlabeled // 10, arguments.unlabeled)
        found["train"] = [trained(out, size, arguments.max_steps) for size in sizes]
        found["train_growth"] = growth(*found["train"])
        result.write_text(json.dumps(found, indent=1) + "\n")
    print(as_text(found))


def predicted(out: Path, images: int) -> dict[str, Any]:
    """Return what predicting so many images with two networks took."""
    run, new, masks = out / "run", out / f"new-{images}", out / "masks"
    if not (run / "summary.json").exists():
        data = data_set(out / "data-100", 100)
        run_it = [*IMSEG, "train", str(data), "--out", str(run), *TINY, "--max-steps", "20"]
        watched(run_it, out / "run.log", lambda: ("", 0))
    if not new.exists():
        write_tiles(new, images, seed=3)
    shutil.rmtree(masks, ignore_errors=True)
    command = [*IMSEG, "predict", str(run), str(new), "--out", str(masks), "--ensemble", "2"]
    seen = watched(command, out / "predict.log", lambda: ("predicting", files_in(masks)))
    looks = [look for look in seen.of(worker=False) if look.done > 0]
    marks = {f"{share:.0%}": at_share(looks, share * images) for share in (0.1, 0.5, 1.0)}
    return {
        "images": images,
        "seconds": round(seen.seconds, 1),
        "masks": files_in(masks) - 1,
        "looks": len(looks),
        "resident_mib": {mark: mib(look.resident) for mark, look in marks.items()},
        "own_mib": {mark: mib(look.own) for mark, look in marks.items()},
        "kib_per_1000_images": {
            "resident": slope(looks, lambda look: look.resident, images),
            "own": slope(looks, lambda look: look.own, images),
        },
        **handles_and_threads(looks),
    }


def trained(out: Path, unlabeled: int, max_steps: int) -> dict[str, Any]:
    """Return what a training with so many unlabeled images took, phase by phase."""
    data = data_set(out / f"data-{unlabeled}", unlabeled)
    run = out / f"run-{unlabeled}"
    shutil.rmtree(run, ignore_errors=True)
    command = [*IMSEG, "train", str(data), "--out", str(run), *TINY, "--max-steps", str(max_steps)]
    seen = watched(command, out / f"train-{unlabeled}.log", lambda: (phase_of(run), 0))
    phases = {name: in_phase(seen, name) for name in PHASES}
    summary = json.loads((run / "summary.json").read_text())
    return {
        "unlabeled": unlabeled,
        "admitted": summary["stages"][-1]["pseudo_labels"]["admitted"],
        "seconds": round(seen.seconds, 1),
        "phases": {name: found for name, found in phases.items() if found},
        "command": {**peaks(seen.of(worker=False)), **handles_and_threads(seen.of(worker=False))},
        "worker": {**peaks(seen.of(worker=True)), **handles_and_threads(seen.of(worker=True))},
        "run_folder_bytes": sum(path.stat().st_size for path in run.rglob("*") if path.is_file()),
    }


def phase_of(run: Path) -> str:
    """Return what a training is doing, by the files that are there."""
    labels = run / "cache" / "generation-1"
    marks = (
        (run / "summary.json", "end"),
        (labels / "labels.json", "generation"),
        (labels, "pseudo-labels"),
        (run / "experiment.toml", "start"),
        (run / "cache", "decoding"),
    )
    return next((name for path, name in marks if path.exists()), "checking")


def in_phase(seen: Watched, phase: str) -> dict[str, Any]:
    looks = [look for look in seen.looks if look.phase == phase]
    if not looks:
        return {}
    sides = {"command": False, "worker": True}
    found = {
        name: peaks([look for look in looks if look.worker == worker])
        for name, worker in sides.items()
    }
    seconds = round(looks[-1].at - looks[0].at)
    return {"seconds": seconds, **{name: peak for name, peak in found.items() if peak}}


def peaks(looks: Sequence[Look]) -> dict[str, float]:
    """Return the most memory that any one process had, in MiB."""
    if not looks:
        return {}
    return {
        "resident_mib": mib(max(look.resident for look in looks)),
        "own_mib": mib(max(look.own for look in looks)),
    }


def handles_and_threads(looks: Sequence[Look]) -> dict[str, int]:
    """Return the largest and the last numbers."""
    if not looks:
        return {}
    return {
        "handles_most": max(look.handles for look in looks),
        "handles_last": looks[-1].handles,
        "threads_most": max(look.threads for look in looks),
    }


def growth(few: dict[str, Any], many: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Return by how many bytes an image more raises each phase's peak, of each kind of process."""
    images = many["unlabeled"] - few["unlabeled"]
    found: dict[str, dict[str, int]] = {}
    for phase in PHASES:
        less, more = (one["phases"].get(phase, {}) for one in (few, many))
        for who in ("command", "worker"):
            if who in less and who in more:
                bytes_more = (more[who]["own_mib"] - less[who]["own_mib"]) * MIB
                found.setdefault(who, {})[phase] = round(bytes_more / images)
    return found


def at_share(looks: Sequence[Look], done: float) -> Look:
    """Return the first look at which so much was done, or the last one."""
    return next((look for look in looks if look.done >= done), looks[-1])


def slope(looks: Sequence[Look], value: Callable[[Look], int], images: int) -> float:
    """Return KiB for each 1,000 images, by least squares over all but the first tenth."""
    late = [look for look in looks if look.done >= images / 10]
    if len({look.done for look in late}) < 2:
        return float("nan")
    found = statistics.linear_regression(
        [look.done / 1000 for look in late], [value(look) / 1024 for look in late]
    )
    return round(found.slope, 1)


def data_set(folder: Path, unlabeled: int) -> Path:
    """Return a data folder with so many unlabeled images; it is drawn if it is not there."""
    if not (folder / "imseg.toml").exists():
        shutil.rmtree(folder, ignore_errors=True)
        write_tiles(folder / "labeled/images", LABELED, seed=0, masks=folder / "labeled/masks")
        write_tiles(folder / "val/images", VALIDATION, seed=1, masks=folder / "val/masks")
        write_tiles(folder / "unlabeled", unlabeled, seed=2)
        (folder / "imseg.toml").write_text('task = "binary"\n')
    return folder


def write_tiles(folder: Path, count: int, *, seed: int, masks: Path | None = None) -> None:
    """Write pieces of large drawn scenes, no two of the same place."""
    for place in (folder, *([masks] if masks else [])):
        place.mkdir(parents=True)
    scene = CellScene(size=(SIDE, SIDE), difficulty=0.0)
    each = (SIDE // TILE[0]) * (SIDE // TILE[1])
    for number in range(count):
        if number % each == 0:
            picture, mask = draw_cells(np.random.default_rng([seed, number // each]), scene)
        row, column = divmod(number % each, SIDE // TILE[1])
        place = np.s_[row * TILE[0] :, column * TILE[1] :]
        for drawn, to in ((picture, folder), (mask, masks)):
            if to is not None:
                tile = Image.fromarray(drawn[place][: TILE[0], : TILE[1]])
                tile.save(to / f"tile_{number:05d}.png", compress_level=1)


def files_in(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.exists() else 0


def mib(number: int) -> float:
    return round(number / MIB, 1)


def as_text(found: dict[str, Any]) -> str:
    """Return the figures as tables."""
    text = []
    if "predict" in found:
        one = found["predict"]
        rows = [
            [f"{one['images']} images", what, *(f"{v} MiB" for v in one[f"{what}_mib"].values()),
             f"{one['kib_per_1000_images'][what]} KiB",
             f"{one['handles_most']}, {one['handles_last']}"]
            for what in ("resident", "own")
        ]  # fmt: skip
        header = ["predict", "memory", "at 10 %", "at 50 %", "at the end", "per 1,000 images"]
        text.append(table([*header, "handles, most and last"], rows))
    for one in found.get("train", ()):
        rows = [
            [name, f"{phase['seconds']} s", *(
                f"{phase[who][what]} MiB" if who in phase else "-"
                for who in ("command", "worker") for what in ("resident_mib", "own_mib")
            )]
            for name, phase in one["phases"].items()
        ]  # fmt: skip
        header = [f"{one['unlabeled']} unlabeled", "time", "command", "its own", "worker"]
        text.append(table([*header, "its own"], rows))
        text.append(f"handles: {one['command']}\n         {one['worker']}")
    if "train_growth" in found:
        text.append(f"bytes of its own for each image more: {found['train_growth']}")
    return "\n\n".join(text)


if __name__ == "__main__":
    main()
