"""One training step by operator, and how far each is from what this machine could do.

    python benchmarks/roofline.py [--side 256] [--width 0.5] [--precision auto]

One thread, as a network beside others gets it. Every operator that reaches the CPU is timed; the
bytes of the tensors that it reads and writes and its floating point operations are counted. It
cannot be faster than its bytes at the bandwidth of copying memory, nor than its operations at the
speed of a large matrix product: the larger of the two is its bound. Tensors that are still in the
cache can be read faster than that, so a bound can be beaten. Bounds assume that every operator
reads and writes memory; fusing operators would lower the bound itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import variants
from machine import bandwidth, described, matrix_peak
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from imseg.report.tables import table


class Meter(TorchDispatchMode):
    """Adds up seconds, bytes and operations of every operator."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        began = time.perf_counter()
        out = func(*args, **kwargs)
        seconds = time.perf_counter() - began
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        outputs = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        one = self.found[str(func._overloadpacket).removeprefix("aten.")]
        one["calls"] += 1
        one["seconds"] += seconds
        if not func.is_view:
            one["bytes"] += sum(x.nbytes for x in (*inputs, *outputs))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            one["flops"] += count(*args, **kwargs, out_val=out)
        return out


def measure(side: int, width: float, precision: str, repeats: int) -> dict[str, Any]:
    """Return seconds, bytes and operations a step by operator, medians replaced by means."""
    with TemporaryDirectory() as folder:
        variants.make_data(Path(folder), side)
        work, _ = variants.training(side, Path(folder), precision=precision, width=width)
        for _ in range(3):
            work()
        began = time.perf_counter()
        for _ in range(repeats):
            work()
        plain = (time.perf_counter() - began) / repeats
        meter = Meter()
        with meter:
            for _ in range(repeats):
                work()
    each = {
        name: {key: value / repeats for key, value in one.items()}
        for name, one in meter.found.items()
    }
    return {"seconds": plain, "operators": each}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--width", type=float, default=0.5)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(".bench/roofline.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(arguments.side, arguments.width, arguments.precision, arguments.repeats)
    low = variants.precision_here(arguments.precision) == "bfloat16"
    speed = {
        "bytes": bandwidth(),
        "flops": matrix_peak(torch.bfloat16 if low else torch.float32),
        "flops float32": matrix_peak(torch.float32),
    }
    print(f"{described()}\nbandwidth {speed['bytes'] / 1e9:.1f} GB/s, matrix product"
          f" {speed['flops'] / 1e9:.0f} GFLOP/s ({'bfloat16' if low else 'float32'}), one thread;"
          f" a step takes {1e3 * found['seconds']:.0f} ms\n")  # fmt: skip
    rows, bound_in_all = [], 0.0
    ranked = sorted(found["operators"].items(), key=lambda item: -item[1]["seconds"])
    for name, one in ranked:
        bound = max(one.get("bytes", 0) / speed["bytes"], one.get("flops", 0) / speed["flops"])
        bound_in_all += bound
        if one["seconds"] < 0.005 * found["seconds"]:
            continue
        by = "operations" if one.get("flops", 0) / speed["flops"] >= bound > 0 else "bytes"
        rows.append(
            [
                name, f"{1e3 * one['seconds']:.1f}", f"{one['seconds'] / found['seconds']:.0%}",
                f"{one.get('bytes', 0) / 1e6:.0f}", f"{one.get('flops', 0) / 1e9:.1f}",
                f"{1e3 * bound:.1f}, {by}", f"{one['seconds'] / bound:.1f}x" if bound else "-",
            ]
        )  # fmt: skip
    print(table(["operator", "ms", "share", "MB", "GFLOP", "bound in ms, by", "above it"], rows))
    whole = sum(one.get("flops", 0) for one in found["operators"].values())
    print(
        f"\nall bounds together {1e3 * bound_in_all:.0f} ms: the step is"
        f" {found['seconds'] / bound_in_all:.1f}x above; operations alone ({whole / 1e9:.0f} GFLOP)"
        f" would take {1e3 * whole / speed['flops']:.0f} ms"
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(
        json.dumps({"machine": described(), "speed": speed, **found}, indent=1)
    )


if __name__ == "__main__":
    main()
