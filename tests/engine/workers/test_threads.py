"""Networks side by side share the cores; they do not fight over them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engine.workers.outcomes import train_all

from imseg.engine.hardware.device import ComputeConfig, cpu_quota, usable_cores
from imseg.engine.training.job import TrainJob
from imseg.engine.workers import worker_process
from imseg.engine.workers.executors import Processes
from imseg.engine.workers.worker_process import THREADS

LINUX = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads /proc, which only Linux has"
)
MANY = set(range(64))
"""Processors of a large machine."""


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Callable[[dict[str, str]], Path]:
    """A function that makes a large machine with these files, and returns its root."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: MANY, raising=False)

    def make(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return tmp_path

    return make


V1, V2 = "4:cpu,cpuacct:/", "0::/"


def old(quota: str, period: str = "1", folder: str = "cpu") -> dict[str, str]:
    """Return the files of version 1."""
    return {f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": period}


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        # Version 2.
        (V2, {"cpu.max": "250000 100000"}, 2),
        (V2, {"cpu.max": "50000 100000"}, 1),
        (V2, {"cpu.max": "max 100000"}, 64),
        (V2, {"cpu.max": "9900000 100000"}, 64),
        (V2, {"unified/cpu.max": "300000 100000"}, 3),
        # The group itself and those around it: the smallest counts.
        (f"{V2}batch/job7", {"batch/job7/cpu.max": "max 100000", "batch/cpu.max": "4 1"}, 4),
        (f"{V2}batch/job7", {"batch/job7/cpu.max": "3 1", "batch/cpu.max": "4 1"}, 3),
        (f"{V2}batch/job7", {"batch/job8/cpu.max": "2 1"}, 64),
        # In a container: the path is that outside, or leads out of it.
        (f"{V2}docker/4f2a", {"cpu.max": "2 1"}, 2),
        (f"{V2}../..", {"cpu.max": "2 1"}, 2),
        # Version 1.
        (V1, old("250000", "100000"), 2),
        (V1, old("-1", "100000"), 64),
        (f"{V1}a", old("5", folder="cpu,cpuacct/a"), 5),
        ("4:cpuset:/", old("5", folder="cpuset"), 64),
        # Both, and nonsense.
        (f"{V1}\n{V2}", {**old("6"), "cpu.max": "7 1"}, 6),
        (f"{V1}\n{V2}", {**old("7"), "cpu.max": "6 1"}, 6),
        (V2, {"cpu.max": "all of them"}, 64),
        (V2, {"cpu.max": "100000 0"}, 64),
        (V2, {"cpu.max": ""}, 64),
        (V2, {}, 64),
        ("nonsense", {"cpu.max": "2 1"}, 64),
    ],
)  # fmt: skip
def test_the_time_granted_to_a_container_limits_the_cores(
    machine, groups: str, files: dict[str, str], cores: int
) -> None:
    there = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    assert usable_cores(machine({"proc/self/cgroup": groups, **there})) == cores


def test_without_control_groups_nothing_is_limited(tmp_path) -> None:
    assert cpu_quota(tmp_path) is None


@pytest.fixture
def telling(monkeypatch, tmp_path) -> Path:
    """Real workers that write down their threads while they train; the file they write to."""
    told = tmp_path / "told.txt"
    program = tmp_path / "telling.py"
    program.write_text(f"""
import os, torch
from pathlib import Path
from imseg.engine.workers import worker

def train_and_save(job, listener):
    trained = original(job, listener)
    status = Path("/proc/self/status").read_text()
    alive = status.split("Threads:")[1].split()[0]
    line = f"{{torch.get_num_threads()}} {{torch.get_num_interop_threads()}} {{alive}}\\n"
    with open({str(told)!r}, "a") as stream:
        stream.write(line)
    return trained

original, worker.train_and_save = worker.train_and_save, train_and_save
worker.main()
""")
    monkeypatch.setattr(worker_process, "COMMAND", (sys.executable, "-P", str(program)))
    return told


@LINUX
def test_a_worker_has_the_threads_of_its_job_and_hardly_any_other(make_job, telling) -> None:
    """Those that compute, one that waits for the end of the parent, one of NumPy that is idle,
    since its BLAS goes by the threads of the executor."""
    jobs = [make_job(threads, compute=ComputeConfig(threads=threads)) for threads in (1, 2)]
    train_all(Processes(1, threads=2), jobs)
    told = [tuple(map(int, line.split())) for line in telling.read_text().splitlines()]
    assert [(threads, beside) for threads, beside, _ in told] == [(1, 1), (2, 1)]
    assert all(alive <= threads + 2 for threads, _, alive in told), told


@pytest.mark.rest
@LINUX
def test_libraries_and_compilers_in_a_worker_are_told_how_many_threads(make_job) -> None:
    environments = []

    def look(_job: TrainJob, _steps: int, _loss: float) -> None:
        pid = executor._workers[0]._process.pid
        entries = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        environments.append(dict(entry.split("=", 1) for entry in entries if entry))

    executor = Processes(1, threads=3)
    train_all(executor, [make_job(compute=ComputeConfig(threads=3))], stepped=look)
    assert {name: environments[0][name] for name in THREADS} == dict.fromkeys(THREADS, "3")
    assert environments[0]["OMP_WAIT_POLICY"] == "PASSIVE", "whoever waits sleeps"
