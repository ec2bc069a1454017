"""What this machine is, and how fast its memory and its matrix units are."""

from __future__ import annotations

import platform
import subprocess
import time
from pathlib import Path

import torch

from imseg.engine.hardware.device import cpu_multiplies_bfloat16, usable_cores


def described() -> str:
    """Return the machine, the versions and the commit in one line."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    low = "with" if cpu_multiplies_bfloat16() else "without"
    return (
        f"{usable_cores()} cores of {_processor()} {low} bfloat16 instructions,"
        f" Python {platform.python_version()}, torch {torch.__version__}, commit {commit or '?'}"
    )


def bandwidth(megabytes: int = 256, repeats: int = 9) -> float:
    """Return bytes a second of copying memory: read plus written, best of all, this thread count.

    Source and destination stay mapped, so that no page faults are measured.
    """
    source = torch.ones(megabytes * 2**20 // 4)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best(lambda: target.copy_(source), repeats)


def matrix_peak(dtype: torch.dtype, size: int = 2048, repeats: int = 9) -> float:
    """Return floating point operations a second of a large matrix product."""
    left, right = torch.rand(2, size, size).to(dtype)
    return 2 * size**3 / _best(lambda: left @ right, repeats)


def _best(work, repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats + 1):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def _processor() -> str:
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
