"""One table: how fast this is, beside the naive way, on this machine.

    make bench                      (or: python benchmarks/bench.py [--rounds 5] [--side 256])

Every variant lives in processes of its own and works when it is told to: one after the other, round
after round, so that whatever else the machine does falls on all of them alike. Networks that are
trained side by side step at the same time, each in a process with the settings that a run resolves.
A figure is the median over the rounds; ratios are medians of the ratios within a round. The naive
way is in ``naive.py``. Targets and the measured figures of the authors' code are printed beside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import variants
from machine import described

from imseg.engine.hardware.device import usable_cores
from imseg.report.tables import table

AUTHORS = {"training": 1 / 4.3, "pseudo-labels": 1 / 0.27}
"""The authors' code, as a multiple of the naive time; measured once, see RESULTS.md."""
AUTHORS_SCORER = 1.35 / 0.925
"""Their EvalNet's step as a multiple of their network's step."""


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    work: str
    unit: str
    ours: str
    naive: str
    side_by_side: int = 1
    target: str = ""
    rounds: list[tuple[float, float]] = field(default_factory=list)
    """Seconds of ours and of the naive way, each for one unit of work."""


def rows() -> list[Row]:
    cores = usable_cores()
    training = "training, alpha .5, batch 32, per network"
    return [
        Row(training, "step", "training", "naive training", cores, ">= 7x"),
        Row(
            f"{training}, float32", "step", "training float32", "naive training", cores, ">= 4x, 5x"
        ),
        Row(
            "pseudo-labels, 4 teachers", "image", "pseudo-labels", "naive pseudo-labels",
            target=">= 3x",
        ),
        Row("augmented copies, one core", "copy", "copies", "naive copies", target=">= 900 a s"),
        Row("mask scorer, alpha 1, batch 32", "step", "mask scorer", "naive mask scorer", cores),
    ]  # fmt: skip


class Worker:
    """A process that does a variant's work when it is told to."""

    def __init__(self, variant: str, side: int, data: Path) -> None:
        command = [sys.executable, __file__, "--child", variant, "--side", str(side)]
        self._process = subprocess.Popen(
            [*command, "--data", str(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variants.environment(variant),
        )
        self.ready = self.hear()

    def hear(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a benchmark process has ended")
        return json.loads(line)

    def tell(self) -> None:
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def close(self) -> int:
        """End the process and return the most memory it had, in MB."""
        self._process.stdin.write("memory\n")
        self._process.stdin.flush()
        most = self.hear()["mb"]
        self._process.stdin.close()
        self._process.wait()
        return most


def child(variant: str, side: int, data: Path) -> None:
    """Serve one variant."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work, units = variants.VARIANTS[variant](side, data)
    work()
    work()
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        if line.strip() == "memory":
            print(json.dumps({"mb": variants.most_memory()}), file=out, flush=True)
            continue
        began = time.perf_counter()
        work()
        seconds = (time.perf_counter() - began) / units
        print(json.dumps({"seconds": seconds}), file=out, flush=True)


def measure(row: Row, rounds: int, side: int, data: Path) -> dict[str, Any]:
    """Return what was found for a row."""
    ours = [Worker(row.ours, side, data) for _ in range(row.side_by_side)]
    naive = Worker(row.naive, side, data)
    for _ in range(rounds):
        for worker in ours:
            worker.tell()
        mine = max(worker.hear()["seconds"] for worker in ours) / row.side_by_side
        naive.tell()
        row.rounds.append((mine, naive.hear()["seconds"]))
    memory = max(worker.close() for worker in ours)
    slow_memory = naive.close()
    mine, slow = (statistics.median(each) for each in zip(*row.rounds, strict=True))
    return {
        "work": row.work,
        "unit": row.unit,
        "ours": mine,
        "naive": slow,
        "ratio": statistics.median(slow / mine for mine, slow in row.rounds),
        "lowest": min(slow / mine for mine, slow in row.rounds),
        "highest": max(slow / mine for mine, slow in row.rounds),
        "target": row.target,
        "side_by_side": row.side_by_side,
        "mb": memory,
        "naive_mb": slow_memory,
        "rounds": row.rounds,
    }


def against_authors(found: list[dict[str, Any]]) -> list[str]:
    """Return the comparisons with the authors' code, by way of the naive one."""
    by = {one["work"].split(",")[0]: one for one in reversed(found)}  # bfloat16 where possible
    naive_step = by["training"]["naive"]
    scorer = AUTHORS_SCORER * naive_step * AUTHORS["training"] / by["mask scorer"]["ours"]
    labels = AUTHORS["pseudo-labels"] * by["pseudo-labels"]["ratio"]
    training = AUTHORS["training"] * by["training"]["ratio"]
    return [
        f"training: {training:.1f}x the authors' speed",
        f"pseudo-labels: {labels:.0f}x the authors' speed (goal: 11x)",
        f"mask scorer: {scorer:.1f}x the authors' speed (goal: 1.8x), calibrated by the first row",
        f"copies: {1 / by['augmented copies']['ours']:.0f} a second a core, the authors' 180",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--out", type=Path, default=Path(".bench/bench.json"))
    parser.add_argument("--child")
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.side, arguments.data)
        return
    print(described(), file=sys.stderr)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        variants.make_data(Path(folder), arguments.side)
        for row in rows():
            print(f"measuring: {row.work}", file=sys.stderr, flush=True)
            found.append(measure(row, arguments.rounds, arguments.side, Path(folder)))
    header = ["work", "ours", "naive", "ratio (lowest to highest)", "goal", "memory, naive's"]
    lines = [
        [
            one["work"], f"{1e3 * one['ours']:.4g} ms", f"{1e3 * one['naive']:.4g} ms",
            f"{one['ratio']:.1f}x ({one['lowest']:.1f} to {one['highest']:.1f})", one["target"],
            f"{one['mb']:,} MB, {one['naive_mb']:,}",
        ]
        for one in found
    ]  # fmt: skip
    print(f"\n{arguments.side}x{arguments.side}x3, medians of {arguments.rounds} rounds\n")
    print(table(header, lines))
    for line in against_authors(found):
        print(f"* {line}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"machine": described(), "rows": found}, indent=1))


if __name__ == "__main__":
    main()
