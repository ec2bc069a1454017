"""Does the fast way score as the naive way does? Labels alone on ISIC 2017, several seeds.

    python benchmarks/equal_scores.py RAW --out .bench/equal-scores

RAW is the folder with the ISIC 2017 download. The same networks (equal data, initial weights and
order of images) are trained the fast way, as `imseg train` resolves it here, and the naive way: in
float32, ``n c h w``, with the allocator as it is, one after the other. Protocol: 64x64 px, `ldt`, 8
networks of 300 steps for each of seeds 0, 1, 2. Scored is every network on the official validation
images of the seed's test split and on the unlabeled training images, whose masks `ldt` never sees:
1,512 images. Repeating the command continues. About 20 minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np

from imseg.approaches.running.experiment import fit
from imseg.cli.show import Bars
from imseg.data.datasets import prepare_data_set
from imseg.data.folder.scan import hidden_masks, read_folder
from imseg.engine.training.job import TrainJob, read_trained
from imseg.engine.training.monitor import Listener
from imseg.engine.training.trainer import train_and_save
from imseg.engine.workers.executors import Executor
from imseg.report.tables import table


class Naively:
    """An executor that trains each job the naive way, whatever it is to be computed with.

    Each in a process of its own: the allocator's settings of this one are not as they were.
    """

    def run(self, jobs: Sequence[TrainJob], *, stepped, noted, done) -> None:
        for job in jobs:
            text = replace(job, compute=naive.compute()).as_json()
            command = [sys.executable, __file__, "--train-naively"]
            found = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
            trained = read_trained(job.output) if found.returncode == 0 else None
            done(job, trained, found.stderr)

    def __enter__(self) -> Naively:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def main() -> None:
    if sys.argv[1:] == ["--train-naively"]:
        train_and_save(TrainJob.from_json(sys.stdin.read()), Listener())
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--out", type=Path, default=Path(".bench/equal-scores"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    found = []
    for seed in arguments.seeds:
        data = arguments.out / f"data-{seed}"
        if not data.exists():
            prepare_data_set("isic2018", arguments.raw, data, labeled=0.1, seed=seed)
        dataset = read_folder(data)
        scored = replace(dataset, test=dataset.test + hidden_masks(dataset, data / "hidden/masks"))
        ways: dict[str, tuple[str, Executor | None]] = {
            "fast": ("auto", None), "naive": ("float32", Naively()),
        }  # fmt: skip
        for way, (precision, executor) in ways.items():
            place = arguments.out / f"{way}-{seed}"
            began = time.monotonic()
            with Bars() as bars:
                run = fit(
                    dataset, approach="ldt", out=place, seed=seed, image_size=(64, 64),
                    networks=arguments.networks, max_steps=arguments.steps, epochs=100,
                    precision=precision, device="cpu", executor=executor, progress=bars,
                )  # fmt: skip
            found.append(
                {
                    "seed": seed, "way": way, "precision": run.plan.compute.precision,
                    "iou": _scores(run, scored, place), "seconds": time.monotonic() - began,
                    "seconds_a_network": run.summary["training_seconds"] / arguments.networks,
                }
            )  # fmt: skip
            (arguments.out / "scores.json").write_text(json.dumps(found, indent=1))
    print(as_table(found))


def _scores(run, dataset, place: Path) -> list[float]:
    """Return the IoU of each network, in the order in which they were made."""
    known = place / "scores-of-networks.json"
    if not known.exists():
        names = sorted(run.summary["ranking"])
        each = [run.evaluate(dataset, networks=[name]).per_image["iou"] for name in names]
        known.write_text(json.dumps(each))
    return json.loads(known.read_text())


def as_table(found: list[dict]) -> str:
    rows = []
    for one in found:
        numbers = " ".join(f"{value:.3f}"[1:] for value in one["iou"])
        rows.append(
            [
                str(one["seed"]), f"{one['way']}, {one['precision']}", numbers,
                f"{statistics.fmean(one['iou']):.4f}", f"{one['seconds_a_network']:.1f}",
            ]
        )  # fmt: skip
    by = {way: [x["iou"] for x in found if x["way"] == way] for way in ("fast", "naive")}
    pairs = np.array(by["fast"]) - np.array(by["naive"])
    means = pairs.mean(axis=1)
    error = pairs.std(ddof=1) / pairs.size**0.5
    text = table(["seed", "way", "IoU of each network", "mean", "s a network"], rows)
    return (
        f"{text}\n\nfast minus naive, means of the seeds: {' '.join(f'{m:+.4f}' for m in means)};"
        f" mean {pairs.mean():+.4f}, standard error {error:.4f} ({pairs.size} pairs)"
    )


if __name__ == "__main__":
    main()
