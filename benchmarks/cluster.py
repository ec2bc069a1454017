"""What training by Ray costs, beside the processes that imseg starts by itself.

    python benchmarks/cluster.py --out .bench/cluster
    python benchmarks/cluster.py --out .bench/cluster --networks 4 --steps 1500 --rounds 3

The same networks are trained by both in turn, on this machine, and their weights are compared. The
start of Ray is told apart: it is paid once a command. Needs the extra `imseg[cluster]`.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from pathlib import Path

from imseg.approaches.running.experiment import fit
from imseg.data.synthetic import CellScene, write_demo
from imseg.engine.hardware.device import usable_cores
from imseg.engine.workers.executors import Executor, Processes
from imseg.engine.workers.ray_tasks import RayTasks
from imseg.report.tables import table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(".bench/cluster"))
    parser.add_argument("--networks", type=int, default=usable_cores())
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    data = arguments.out / "cells"
    if not data.exists():
        write_demo(data, seed=0, labeled=20, unlabeled=0, val=10, test=0, scene=CellScene(side=64))
    rows, ratios = [], []
    for number in range(arguments.rounds):
        seconds, files = {}, {}
        for name, executor in (("processes", Processes(usable_cores())), ("ray", RayTasks())):
            place = arguments.out / f"{name}-{number}"
            shutil.rmtree(place, ignore_errors=True)
            start, seconds[name] = trained(executor, data, place, arguments)
            files[name] = [path.read_bytes() for path in sorted(place.glob("start/*.safetensors"))]
            rows.append([str(number), name, f"{start:.1f}", f"{seconds[name]:.1f}"])
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


if __name__ == "__main__":
    main()
