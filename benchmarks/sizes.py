"""What larger images, wider networks and more steps are worth, labels alone: what minutes buy.

    python benchmarks/sizes.py RAW --out .bench/sizes

Data and scores are those of `recipe.py`; each job is one training with the modern recipe on one
core. Repeating the command continues, `--slice K N` shares the jobs out, and `--publish` writes
`benchmarks/results/sizes.json`.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipe import SETTINGS, Variant, data_of, score

from imseg.report.tables import table

RESULTS = Path(__file__).with_name("results") / "sizes.json"


@dataclass(frozen=True)
class Job:
    """A training."""

    setting: str
    """One of `recipe.py`."""
    size: tuple[int, int]
    """Height and width at which networks work."""
    width: float
    steps: int
    scale: float | None = None
    """The scale of images of which they see windows; None: they see whole images."""

    @property
    def name(self) -> str:
        height, width = self.size
        seen = f"{height}x{width} px"
        if self.scale is not None:
            seen = f"windows of {seen} at scale {self.scale:g}"
        return f"{seen}, width {self.width:g}, {self.steps} steps"


JOBS = (
    Job("nuclei-30", (96, 96), 0.5, 1000),
    Job("nuclei-30", (128, 128), 0.5, 600),
    Job("nuclei-30", (192, 192), 0.5, 300),
    Job("nuclei-30", (192, 192), 0.5, 700),
    Job("nuclei-30", (256, 256), 0.5, 500),
    Job("nuclei-30", (128, 128), 0.5, 1000, scale=1.0),
    Job("nuclei-30", (128, 128), 1.0, 700),
    Job("lesions-156", (128, 128), 0.5, 400),
    Job("lesions-156", (128, 128), 0.5, 1000),
    Job("lesions-156", (128, 128), 0.5, 3000),
    Job("lesions-156", (128, 128), 1.0, 1000),
    Job("lesions-156", (192, 192), 0.5, 1000),
    Job("scenes-36", (160, 208), 0.5, 1000),
    Job("scenes-36", (192, 256), 0.5, 1000),
    Job("scenes-36", (128, 128), 0.5, 1000, scale=1.0),
    Job("scenes-36", (160, 208), 1.0, 700),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--out", type=Path, default=Path(".bench/sizes"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--slice", type=int, nargs=2, default=(0, 1), metavar=("K", "N"))
    parser.add_argument("--publish", action="store_true", help="write the results beside this file")
    arguments = parser.parse_args()
    part, of = arguments.slice
    if of > 1:  # one core each
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[part % len(cores)]})
    wanted = [(seed, job) for seed in arguments.seeds for job in JOBS]
    for seed, job in wanted[part::of]:
        short = job.name.replace(",", "").replace(" ", "-")
        done = arguments.out / "scores" / f"{job.setting}-{seed}-{short}.json"
        if done.exists():
            continue
        setting = SETTINGS[job.setting]
        data = data_of(setting, arguments.raw, arguments.out / "data", seed)
        seen = {"image_size": job.size}
        if job.scale is not None:
            seen = {"image_size": None, "patch": job.size, "scale": job.scale}
        longer = {"max_steps": job.steps, "epochs": job.steps}
        variant = Variant(job.name, {**seen, **longer, "width": job.width})
        found = score(variant, setting, data, seed, arguments.out / "runs" / done.stem)
        done.parent.mkdir(parents=True, exist_ok=True)
        done.with_suffix(".part").write_text(json.dumps(found, indent=1))
        done.with_suffix(".part").replace(done)
        print(f"{done.stem}: {found['plain']:.4f}, with flips {found['flips']:.4f}", flush=True)
    folder = arguments.out / "scores"
    known = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    print(as_table(known))
    if arguments.publish:
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")


def as_table(known: list[dict[str, Any]]) -> str:
    """Return one row per training; seconds of the processor are those of all of it."""
    rows = []
    for job in JOBS:
        for one in known:
            if (one["setting"], one["variant"]) == (job.setting, job.name):
                scores = [f"{one[key]:.4f}" for key in ("plain", "flips", "validation")]
                seconds = f"{one['cpu']:.0f}" if "cpu" in one else "-"
                rows.append([job.setting, job.name, str(one["seed"]), *scores, seconds])
    return table(["data", "training", "seed", "plain", "flips", "validation", "s"], rows)


if __name__ == "__main__":
    main()
