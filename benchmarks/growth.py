"""How the cost of a training grows with images, generations, networks and pixels: measured.

    python benchmarks/growth.py --out .bench/growth

Small trainings of ``im`` on made-up cells, one thing at a time twice and four times as large, all
else alike: 20 labeled and 200 unlabeled images of 64 px, 16 epochs, 2 networks, 1 generation. The
exponent says how cost follows size between two neighbors: 1 is in proportion, 2 is squared, 0 is
not at all. About five minutes on two idle cores; ``--quick`` only shows that it works.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from watching import Watch, size_of

from imseg.approaches.running.experiment import fit
from imseg.cli.show import Bars
from imseg.data.folder.scan import read_folder
from imseg.data.synthetic import CellScene, write_demo
from imseg.report.tables import table

BASE = {"images": 200, "generations": 1, "networks": 2, "pixels": 64}
SIZES = {
    "images": (100, 200, 400),
    "generations": (1, 2, 4),
    "networks": (2, 4, 8),
    "pixels": (48, 96, 192),
}
"""What is varied: unlabeled images, generations, networks of every stage, pixels of a side."""
EPOCHS = 16
MEASURES = ("seconds", "training seconds", "memory of a process", "memory together", "disk")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".bench/growth"))
    parser.add_argument("--only", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quick", action="store_true", help="one epoch of few images")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found: list[dict[str, Any]] = []
    for axis in arguments.only:
        for size in SIZES[axis]:
            asked = BASE | {axis: size}
            if arguments.quick:
                asked["images"] = asked["images"] // 20
                asked["pixels"] = max(32, asked["pixels"] // 2)
            epochs = 1 if arguments.quick else EPOCHS
            measured = trained(asked, epochs, arguments.device, arguments.out)
            found.append({"axis": axis, "size": asked[axis], **measured})
            (arguments.out / "growth.json").write_text(json.dumps(found, indent=1))
    print(as_table(found))


def trained(asked: dict[str, int], epochs: int, device: str, out: Path) -> dict[str, Any]:
    """Return what a training took."""
    data, run = out / f"data-{asked['images']}-{asked['pixels']}", out / "run"
    side = (asked["pixels"], asked["pixels"])
    if not data.exists():
        scene = CellScene(size=side)
        write_demo(data, seed=0, labeled=20, unlabeled=asked["images"], val=10, test=1, scene=scene)
    shutil.rmtree(run, ignore_errors=True)
    load = os.getloadavg()[0]
    with Bars() as bars, Watch(run / "cache") as watch:
        done = fit(
            read_folder(data), out=run, progress=bars, approach="im", select="all", patience=0,
            image_size=side, epochs=epochs, max_steps=10**6, networks=asked["networks"],
            generations=asked["generations"], width=0.5, device=device,
        )  # fmt: skip
    return {
        "asked": asked,
        "load_before": load,
        "steps": done.summary["steps"],
        "time": done.summary["seconds_by_activity"],
        "seconds": done.summary["seconds"],
        "training seconds": done.summary["seconds_by_activity"]["training"],
        "memory of a process": watch.memory,
        "memory together": watch.together,
        "disk": watch.disk + size_of(run),
    }


def as_table(found: list[dict[str, Any]]) -> str:
    """Return one row a training; behind each number the exponent since the row before."""
    rows = []
    before: dict[str, Any] | None = None
    for one in found:
        same = before is not None and before["axis"] == one["axis"]
        row = [one["axis"], str(one["size"]), str(one["steps"])]
        for measure in MEASURES:
            value = one[measure]
            text = f"{value:.1f} s" if "seconds" in measure else f"{value / 1e6:.0f} MB"
            if same and before is not None:
                text += f" ({exponent(before, one, measure)})"
            row.append(text)
        rows.append(row)
        before = one
    return table(["varied", "size", "steps", *MEASURES], rows)


def exponent(before: dict[str, Any], after: dict[str, Any], measure: str) -> str:
    """Return the power of the size that a measure follows between two trainings."""
    if min(before[measure], after[measure]) <= 0 or before["size"] == after["size"]:
        return "-"
    grown = math.log(after[measure] / before[measure])
    return f"{grown / math.log(after['size'] / before['size']):.2f}"


if __name__ == "__main__":
    main()
