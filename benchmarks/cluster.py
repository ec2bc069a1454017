"""What a Ray cluster costs and does, on this machine. Needs the extra `imseg[cluster]`.

    python benchmarks/cluster.py networks --out .bench/cluster
    python benchmarks/cluster.py networks --out .bench/cluster --networks 4 --steps 1500 --rounds 3
    python benchmarks/cluster.py images --out .bench/cluster --counts 5000 50000

`networks`: the same networks are trained in turn by Ray and by the processes that imseg starts by
itself, and their weights are compared. The start of Ray is told apart: it is paid once a command.

`images`: so many unlabeled images of 32x32 px are labeled by three nodes with a core each. What the
command itself holds in memory meanwhile, and how much work a piece is.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from watching import number

from imseg.approaches.running.experiment import fit
from imseg.data.arrays.dataset import dataset_from_arrays
from imseg.data.synthetic import CellScene, write_demo
from imseg.engine.hardware.device import usable_cores
from imseg.engine.workers.executors import Executor, Processes
from imseg.engine.workers.ray_tasks import RayTasks
from imseg.report.tables import table

SIDE = 32
"""Pixels of a side of an unlabeled image."""
NODES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["networks", "images"])
    parser.add_argument("--counts", type=int, nargs="+", default=[5000, 50_000])
    parser.add_argument("--out", type=Path, default=Path(".bench/cluster"))
    parser.add_argument("--networks", type=int, default=usable_cores())
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.part == "images":
        rows = [labeled(count, arguments.out) for count in arguments.counts]
        print(table(list(rows[0]), [[f"{value:.4g}" for value in row.values()] for row in rows]))
        return
    data = arguments.out / "cells"
    if not data.exists():
        write_demo(data, seed=0, labeled=20, unlabeled=0, val=10, test=0, scene=CellScene(side=64))
    rows, ratios = [], []
    for turn in range(arguments.rounds):
        seconds, files = {}, {}
        for name, executor in (("processes", Processes(usable_cores())), ("ray", RayTasks())):
            place = arguments.out / f"{name}-{turn}"
            shutil.rmtree(place, ignore_errors=True)
            start, seconds[name] = trained(executor, data, place, arguments)
            files[name] = [path.read_bytes() for path in sorted(place.glob("start/*.safetensors"))]
            rows.append([str(turn), name, f"{start:.1f}", f"{seconds[name]:.1f}"])
        if files["ray"] != files["processes"]:
            raise SystemExit("the weights differ")
        ratios.append(seconds["ray"] / seconds["processes"])
        rows[-1].append(f"{ratios[-1]:.3f}")
    print(table(["round", "trained by", "start, s", "training, s", "ratio"], rows))
    print(f"median ratio: {statistics.median(ratios):.3f}")


def trained(
    executor: Executor, data: Path, place: Path, arguments: argparse.Namespace
) -> tuple[float, float]:
    """Return the seconds until an executor is ready, and those of a training."""
    began = time.monotonic()
    with executor:
        start = time.monotonic() - began
        fit(
            data, out=place, approach="ldt", networks=arguments.networks, max_steps=arguments.steps,
            epochs=arguments.steps, image_size=(64, 64), device="cpu", executor=executor,
            workers=usable_cores(), compile="off", progress=lambda event: None,
        )  # fmt: skip
        return start, time.monotonic() - began - start


class Watched:
    """Looks at the memory of this process while it labels, and at when pieces end."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.before = self.most = 0

    def __call__(self, event: Any) -> None:
        what = getattr(event, "what", "")
        if "pseudo-labels" in what:
            if not self.seconds:
                self.before = self.most = own()
            self.seconds.append(time.monotonic())
            self.most = max(self.most, own())


def own() -> int:
    """Return the bytes that are this process's own."""
    return number("status", "self", "RssAnon")


def labeled(count: int, out: Path) -> dict[str, float]:
    """Return what it takes to have nodes label so many images."""
    from ray.cluster_utils import Cluster

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count + 20, SIDE, SIDE), np.uint8)
    masks = [(image > 128).astype(np.uint8) for image in images[:20]]
    data = dataset_from_arrays(
        (images[:10], masks[:10]), unlabeled=images[20:], val=(images[10:20], masks[10:]),
        task="binary",
    )  # fmt: skip
    place = out / f"images-{count}"
    shutil.rmtree(place, ignore_errors=True)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    for _ in range(NODES - 1):
        cluster.add_node(num_cpus=1)
    watched = Watched()
    try:
        fit(
            data, out=place, approach="im", networks=2, generations=1, max_steps=20, epochs=20,
            image_size=(SIDE, SIDE), width=0.25, device="cpu", workers=1, select="all", patience=0,
            compile="off", executor="ray", address=cluster.address, progress=watched,
        )  # fmt: skip
    finally:
        cluster.shutdown()
    took = watched.seconds[-1] - watched.seconds[0]
    return {
        "images": count,
        "own memory before, MB": watched.before / 1e6,
        "most while labeling, MB": watched.most / 1e6,
        "images a second": count / took,
    }


if __name__ == "__main__":
    main()
