"""Who trains the networks of a stage: this process, or several processes side by side."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Protocol, Self

from imseg.engine.device import Numerics, keep_freed_memory
from imseg.engine.job import Job, Trained
from imseg.engine.networks import NetworkFactory
from imseg.engine.trainer import train_and_save
from imseg.errors import TrainingFailed

StepReport = Callable[[Job, int, float], None]
"""Called with a job, the steps since the last call and their mean loss."""

DoneReport = Callable[[Job, Trained | None, str], None]
"""Called when a job ends: with what was trained, or None and the reason."""


class Executor(Protocol):
    """Trains independent jobs. Equal jobs give equal networks, whoever trains them."""

    def run(self, jobs: Sequence[Job], *, stepped: StepReport, done: DoneReport) -> None:
        """Train all jobs; a job that fails never loses the others."""

    def __enter__(self) -> Self:
        """Make ready."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clean up."""


class Serial:
    """Trains one network after the other in this process.

    Args:
        factory: The user's own network; None for the one each job names.
    """

    def __init__(self, factory: NetworkFactory | None = None) -> None:
        self._factory = factory

    def run(self, jobs: Sequence[Job], *, stepped: StepReport, done: DoneReport) -> None:
        """Train all jobs in order."""
        keep_freed_memory()
        for job in jobs:
            try:
                trained = train_and_save(job, partial(stepped, job), factory=self._factory)
            except TrainingFailed as failure:
                done(job, None, str(failure))
            else:
                done(job, trained, "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class Processes:
    """Trains as many networks side by side as there are workers, each in a process of its own.

    A worker that dies is replaced and its job is tried once more; if that fails too, the other jobs
    are finished before ``TrainingFailed`` is raised.

    Args:
        workers: Processes.
        threads: Threads of each; more than one of them would only fight over the cores.
    """

    def __init__(self, workers: int, *, threads: int = 1) -> None:
        self._workers: list[_Worker | None] = [None] * workers
        self._threads = threads
        self._closing = threading.Event()

    def run(self, jobs: Sequence[Job], *, stepped: StepReport, done: DoneReport) -> None:
        """Train all jobs, next job to the next free worker."""
        waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        lock = threading.Lock()
        errors: list[BaseException] = []
        broken: list[str] = []

        def safely_stepped(job: Job, steps: int, loss: float) -> None:
            with lock:
                stepped(job, steps, loss)

        def serve(slot: int) -> None:
            try:
                while not self._closing.is_set():
                    try:
                        job = waiting.get_nowait()
                    except queue.Empty:
                        return
                    try:
                        trained, why = self._run_one(slot, job, safely_stepped)
                    except _Broken as error:
                        broken.append(f"{job.name}: {error}")
                        continue
                    if not self._closing.is_set():
                        with lock:
                            done(job, trained, why)
            except BaseException as error:
                errors.append(error)

        count = min(len(self._workers), len(jobs))
        threads = [threading.Thread(target=serve, args=(i,), daemon=True) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(timeout=0.2)  # so that Ctrl-C is heard
        if errors:
            raise errors[0]
        if broken:
            raise TrainingFailed(
                f"{'; '.join(broken)}. What is finished is kept; repeat the command to try again."
            )

    def _run_one(self, slot: int, job: Job, stepped: StepReport) -> tuple[Trained | None, str]:
        why = ""
        for _ in range(2):
            if self._closing.is_set():
                break
            worker = self._workers[slot]
            if worker is None or not worker.alive:
                worker = self._workers[slot] = _Worker(self._threads)
            try:
                return worker.train(job, partial(stepped, job)), ""
            except TrainingFailed as failure:
                return None, str(failure)
            except _WorkerDied as death:
                why = str(death)
        raise _Broken(f"{why}, twice")

    def __enter__(self) -> Self:
        self._closing.clear()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        for worker in self._workers:
            if worker is not None:
                worker.close()


class _WorkerDied(Exception):
    """A worker is gone; its job may be tried once more."""


class _Broken(Exception):
    """A job could not be done for a reason that says nothing about the network."""


class _Worker:
    """One ``imseg.engine.worker`` process and the two pipes to it."""

    def __init__(self, threads: int) -> None:
        limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "imseg.engine.worker"],
            start_new_session=True,  # Ctrl-C is the parent's to answer
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **limits, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            text=True,
            encoding="utf-8",
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def train(self, job: Job, report: Callable[[int, float], None]) -> Trained:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(job.as_json() + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise _WorkerDied("a training process ended unexpectedly") from error
        for line in self._process.stdout:
            message = json.loads(line)
            match message["event"]:
                case "stepped":
                    report(message["steps"], message["loss"])
                case "failed":
                    raise TrainingFailed(message["why"])
                case "broken":
                    raise _Broken(message["why"])
                case "done":
                    return Trained.from_json(message["trained"])
        raise _WorkerDied(
            f"a training process ended unexpectedly ({_in_words(self._process.wait())})"
        )

    def close(self) -> None:
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def _in_words(status: int) -> str:
    """Return how a process ended; the system kills those that take too much memory."""
    if status == -signal.SIGKILL:
        return (
            "killed, which is how systems answer a lack of memory: a smaller --image-size or"
            " --batch-size, or --workers 1, needs less"
        )
    return f"exit status {status}"


def choose_executor(
    numerics: Numerics, *, workers: int, factory: NetworkFactory | None = None
) -> Executor:
    """Return processes for several networks side by side on the CPU, else this process.

    A user's own network cannot be sent by name, so it is trained in this process.
    """
    if factory is None and workers > 1 and numerics.device == "cpu":
        return Processes(workers, threads=numerics.threads)
    return Serial(factory)
