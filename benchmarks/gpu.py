"""What a GPU does in a few minutes: images a second, and how long a whole aim++ would take.

    python benchmarks/gpu.py [--device cuda] [--side 256] [--out .bench/gpu.json]

Steps at batch 32 with real code on made-up images, for widths .5, 1 and 2, with one network and
with five side by side (each in a process of its own, as they are trained), plain and compiled. Then
the time of a complete `aim++` of five generations under the published settings of ISIC 2018, for as
many images as ISIC 2017 has (156 labeled, 1,412 unlabeled, 50 for validation), from what `imseg
train --dry-run` measures. No data is needed. Results are written after every line, so that nothing
is lost when time runs out. On a CPU: `--device cpu --side 64 --widths 0.5 --members 1`.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
import variants
from machine import described

from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.duration import durations, measure, request_for
from imseg.approaches.planning.plan import Facts
from imseg.approaches.planning.settings import Settings
from imseg.approaches.planning.stage_plan import planned_stages, planned_steps
from imseg.engine.hardware.benchmark import BenchmarkResult, prober
from imseg.report.tables import table

BATCH = 32
ISIC_2017 = Facts(
    task="binary", labeled=156, validation=50, unlabeled=1412, channels=3, outputs=1,
    typical_size=(256, 256),
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--widths", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--members", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seconds", type=float, default=4.0, help="of steps for each line")
    parser.add_argument("--out", type=Path, default=Path(".bench/gpu.json"))
    arguments = parser.parse_args()
    found: dict = {"machine": machine_of(arguments.device), "steps": []}
    print(found["machine"], flush=True)
    for width in arguments.widths:
        for members in arguments.members:
            for compiled in (False, True):
                began = time.monotonic()
                one = ask(arguments, width, members, compiled=compiled)
                found["steps"].append(
                    {
                        "width": width, "members": members, "compiled": compiled, **asdict(one),
                        "images_per_second": members * BATCH / one.step,
                    }
                )  # fmt: skip
                write(arguments.out, found)
                print(
                    f"width {width:g}, {members} side by side,"
                    f" {'compiled' if one.compiled else 'plain'}: {members * BATCH / one.step:,.0f}"
                    f" images/s ({time.monotonic() - began:.0f} s to find out)", flush=True,
                )  # fmt: skip
    print(as_table(found["steps"]))
    found["aim++"] = whole(arguments)
    write(arguments.out, found)
    seconds = found["aim++"]["seconds"]
    print(f"aim++, 5 generations, 256x256 px: {sum(seconds.values()) / 60:.1f} minutes: {seconds}")


def ask(
    arguments: argparse.Namespace, width: float, members: int, *, compiled: bool
) -> BenchmarkResult:
    """Return what was measured."""
    settings = Settings(
        approach="ldt", width=width, batch_size=BATCH, networks=members, max_steps=1000,
        device=arguments.device, compile="on" if compiled else "off",
        image_size=(arguments.side, arguments.side),
    )  # fmt: skip
    plan = make_plan(settings, ISIC_2017)
    stage = planned_stages(plan, ISIC_2017)[0]
    asked = request_for(stage, plan, ISIC_2017, variants.SPEC)
    request = replace(asked, seconds=arguments.seconds)
    with prober(
        device=arguments.device, processes=members, threads=1, network=plan.network
    ) as machine:
        return machine.ask(request, side_by_side=True)


def whole(arguments: argparse.Namespace) -> dict:
    """Return the plan and the time of an aim++ under the published settings."""
    settings = Settings(approach="aim++", paper="isic2018", device=arguments.device)
    plan = make_plan(settings, ISIC_2017)
    plan = replace(plan, image_size=(arguments.side, arguments.side))
    measured = measure(plan, ISIC_2017, variants.SPEC)
    seconds = durations(plan, ISIC_2017, measured)
    return {
        "plan": plan.as_dict(), "steps": planned_steps(planned_stages(plan, ISIC_2017)),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "measured": asdict(measured),
    }  # fmt: skip


def as_table(steps: list[dict]) -> str:
    rows = [
        [
            f"{one['width']:g}", str(one["members"]), "yes" if one["compiled"] else "no",
            f"{one['images_per_second']:,.0f}", f"{1e3 * one['step']:.1f}",
            f"{one['first']:.0f}", f"{one['device_memory'] / 2**20:,.0f}",
        ]
        for one in steps
    ]  # fmt: skip
    header = [
        "width", "side by side", "compiled", "images/s in all", "ms a step", "s of the first step",
        "MB on the GPU, each",
    ]  # fmt: skip
    return table(header, rows)


def machine_of(device: str) -> str:
    if torch.device(device).type != "cuda":
        return described()
    return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, {described()}"


def write(path: Path, found: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
