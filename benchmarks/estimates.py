"""What ``imseg train --dry-run`` says beside what the training then takes: time, memory, disk.

    python benchmarks/estimates.py RAW --out .bench/estimates

RAW is the folder with the ISIC 2017 download. Three small trainings on a tenth of its labels; each
is estimated first, then run. About six minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from watching import Watch, size_of

from imseg.approaches.planning.duration import ACTIVITIES
from imseg.approaches.planning.estimate import estimate
from imseg.approaches.running.experiment import fit
from imseg.cli.show import Bars
from imseg.data.datasets import prepare_data_set
from imseg.data.folder.scan import read_folder
from imseg.report.tables import table
from imseg.types import DataSet

SETTINGS: dict[str, dict[str, Any]] = {
    "im, 64 px": {
        "approach": "im", "image_size": (64, 64), "max_steps": 60, "generations": 1, "networks": 2,
    },
    "aim++, 64 px": {
        "approach": "aim++", "image_size": (64, 64), "max_steps": 60, "generations": 2,
        "networks": 3,
    },
    "ldt, 128 px": {
        "approach": "ldt", "image_size": (128, 128), "max_steps": 80, "networks": 2,
    },
}  # fmt: skip
LEAST_SECONDS = 1.0
"""Activities below this are shown, but not compared: what is nothing to wait for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--out", type=Path, default=Path(".bench/estimates"))
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    data = arguments.out / "data"
    if not data.exists():
        prepare_data_set("isic2018", arguments.raw, data, labeled=0.1, seed=0)
    dataset, found = read_folder(data), []
    for name, asked in SETTINGS.items():
        run = arguments.out / "runs" / name.replace(", ", "-").replace(" ", "")
        shutil.rmtree(run, ignore_errors=True)
        found.append(compared(name, asked | {"device": arguments.device}, dataset, run))
        (arguments.out / "estimates.json").write_text(json.dumps(found, indent=1))
    print(as_table(found))


def compared(name: str, asked: dict[str, Any], dataset: DataSet, run: Path) -> dict[str, Any]:
    """Return what was estimated, and what it was then."""
    load = os.getloadavg()[0]
    began = time.monotonic()
    with Bars() as bars:
        guess = estimate(dataset, out=run, progress=bars, **asked)
        formula = estimate(dataset, out=run, progress=bars, probe=False, **asked)
    probing = time.monotonic() - began
    with Bars() as bars, Watch(run / "cache") as watch:
        trained = fit(dataset, out=run, progress=bars, **asked)
    assert guess.time is not None and guess.seconds is not None
    actual = trained.summary["seconds_by_activity"]
    pairs = {f"seconds: {key}": (guess.time[key], actual[key]) for key in ACTIVITIES}
    pairs["seconds in all"] = (guess.seconds, trained.summary["seconds"])
    pairs["steps"] = (sum(s.networks * s.steps for s in guess.stages), trained.summary["steps"])
    pairs["bytes of memory, a process"] = (guess.memory.one or 0, watch.memory)
    pairs["bytes of memory, by formula"] = (formula.memory.one or 0, watch.memory)
    pairs["bytes of memory, together"] = (guess.memory.total or 0, watch.together)
    pairs["bytes of disk, cache"] = (guess.disk.cache, watch.disk)
    pairs["bytes of disk, finished"] = (guess.disk.finished, size_of(run))
    return {
        "name": name,
        "asked": {key: str(value) for key, value in asked.items()},
        "precision": guess.plan.precision,
        "load_before": load,
        "seconds_of_probe": probing,
        "pairs": {key: {"estimate": a, "actual": b} for key, (a, b) in pairs.items()},
    }


def as_table(found: list[dict[str, Any]]) -> str:
    rows = []
    worst: tuple[float, str] = (1.0, "nothing")
    for one in found:
        for what, pair in one["pairs"].items():
            guess, actual = pair["estimate"], pair["actual"]
            ratio = guess / actual if actual else 0.0
            small = what.startswith("seconds: ") and max(guess, actual) < LEAST_SECONDS
            off = max(ratio, 1 / ratio) if ratio else 1.0
            if not small and off > worst[0]:
                worst = (off, f"{one['name']}, {what}")
            shown = "-" if small or not ratio else f"{ratio:.2f}"
            rows.append([one["name"], what, _number(guess, what), _number(actual, what), shown])
    header = ["training", "what", "estimate", "actual", "estimate / actual"]
    probes = ", ".join(f"{one['seconds_of_probe']:.0f} s" for one in found)
    text = table(header, rows)
    return f"{text}\n\nProbes: {probes}. Largest ratio: {worst[0]:.2f} ({worst[1]})."


def _number(value: float, what: str) -> str:
    if what.startswith("bytes"):
        return f"{value / 1e6:.1f} MB"
    return f"{value:.1f}" if what.startswith("seconds") else f"{value:.0f}"


if __name__ == "__main__":
    main()
