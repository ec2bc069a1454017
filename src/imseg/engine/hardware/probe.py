"""What training costs on this machine: asked of as many processes at once as will train."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any, Protocol

import torch
from pydantic import TypeAdapter

from imseg.engine.hardware.benchmark import BenchmarkRequest, BenchmarkResult, measure_here
from imseg.engine.hardware.device import keep_freed_memory
from imseg.engine.workers.worker_process import THREADS
from imseg.errors import ImsegError
from imseg.networks.registry import CustomConfig, Network


class Prober(Protocol):
    """Answers requests about costs."""

    @property
    def start_up(self) -> float:
        """Seconds until a training process is ready; 0 where none is started."""

    def ask(self, request: BenchmarkRequest, *, together: bool) -> BenchmarkResult:
        """Return what was measured, by all processes at once or by one alone."""


class Inside:
    """Measures in this process, where networks on a GPU and some of users' own are trained too."""

    start_up = 0.0

    def __init__(self) -> None:
        keep_freed_memory()

    def ask(self, request: BenchmarkRequest, *, together: bool) -> BenchmarkResult:
        """Return what was measured, alone."""
        return measure_here(request)


class SideBySide:
    """Measures in processes that are started as those that train are.

    Args:
        processes: How many are busy at once.
        threads: Threads of each.
    """

    def __init__(self, processes: int, *, threads: int) -> None:
        limits = {name: str(threads) for name in THREADS}
        paths = os.pathsep.join(path for path in sys.path if path)
        began = time.monotonic()
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-P", "-m", "imseg.engine.hardware.benchmark"],
                start_new_session=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, **limits, "PYTHONPATH": paths},
                text=True,
                encoding="utf-8",
            )
            for _ in range(processes)
        ]
        try:
            for process in self._processes:
                json.loads(_line_of(process))
        except BaseException:
            self.close()
            raise
        self.start_up = time.monotonic() - began

    def ask(self, request: BenchmarkRequest, *, together: bool) -> BenchmarkResult:
        """Return what was measured: the mean of all processes, and the peak of any.

        Raises:
            ImsegError: If a process ends, as for a lack of memory.
        """
        asked = self._processes if together else self._processes[:1]
        text = TypeAdapter(BenchmarkRequest).dump_json(request).decode() + "\n"
        for process in asked:
            if process.stdin is not None:
                with contextlib.suppress(OSError):  # it is gone, which is noticed below
                    process.stdin.write(text)
                    process.stdin.flush()
        with ThreadPoolExecutor(len(asked)) as pool:
            list(pool.map(_line_of, asked))  # all are warm
            for process in asked:
                if process.stdin is not None:
                    with contextlib.suppress(OSError):
                        process.stdin.write("go\n")
                        process.stdin.flush()
            lines = list(pool.map(_line_of, asked))
        return mean_answer([TypeAdapter(BenchmarkResult).validate_json(line) for line in lines])

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()


@contextlib.contextmanager
def prober(*, device: str, processes: int, threads: int, network: Network) -> Iterator[Prober]:
    """Yield who measures: processes side by side where networks are trained so, else this one.

    Args:
        device: Where networks are trained.
        processes: How many are trained at once.
        threads: CPU threads of each.
        network: What is trained; one that other processes cannot import is measured here.
    """
    kind = torch.device(device).type
    alone = kind == "cuda" and processes == 1
    own = isinstance(network, CustomConfig) and not network.is_importable
    if own or alone or kind not in ("cpu", "cuda"):
        yield Inside()
        if kind == "cuda":
            torch.cuda.empty_cache()
        return
    found = SideBySide(processes, threads=threads)
    try:
        yield found
    finally:
        found.close()


def mean_answer(answers: Sequence[BenchmarkResult]) -> BenchmarkResult:
    """Return the mean seconds of several answers, and the most bytes."""
    values: dict[str, Any] = {}
    for entry in fields(BenchmarkResult):
        each = [getattr(one, entry.name) for one in answers]
        if entry.name == "compiled":
            values[entry.name] = all(each)
        elif entry.name == "at_once":
            values[entry.name] = min((few for few in each if few), default=None)
        else:
            values[entry.name] = max(each) if "memory" in entry.name else sum(each) / len(each)
    return BenchmarkResult(**values)


def _line_of(process: subprocess.Popen[str]) -> str:
    line = process.stdout.readline() if process.stdout is not None else ""
    if line:
        return line
    status = process.wait()
    raise ImsegError(
        "A short measurement before the training was ended by the system.",
        expected="enough memory for the networks that are trained side by side.",
        got=f"exit status {status}" + (" (killed)" if status < 0 else "") + ".",
        hint="--workers 1, a smaller --batch-size or a smaller --image-size.",
    )
