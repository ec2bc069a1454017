"""Who trains the networks of a stage: this process, or several processes side by side."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self

import torch

from imseg.data.files.atomic import write_whole
from imseg.engine.hardware import device
from imseg.engine.training.checkpoint import forget
from imseg.engine.training.job import Trained, TrainJob, read_known, read_trained, write_trained
from imseg.engine.training.monitor import Listener
from imseg.engine.training.trainer import train_and_save
from imseg.engine.workers import worker_process
from imseg.engine.workers.worker_process import HeartbeatTimeout, WorkerProcess
from imseg.errors import ImsegError, TrainingFailed
from imseg.progress import NetworkFinished, Note, Progress, Stepped
from imseg.tasks import Metric

StepReport = Callable[[TrainJob, int, float], None]
"""Called with a job, the steps since the last call and their mean loss."""

NoteReport = Callable[[TrainJob, str, bool], None]
"""Called with a job, what the user should know about it, and whether it deserves attention."""

DoneReport = Callable[[TrainJob, Trained | None, str], None]
"""Called when a job ends: with what was trained, or None and the reason."""


class Spread(Protocol):
    """Calls functions on other machines that see the same files."""

    def each(
        self, function: Callable[..., Any], arguments: Iterable[Mapping[str, Any]], *, cores: int
    ) -> Iterator[tuple[int, Any]]:
        """Call a function with each of the arguments; yield the number and the result of each call.

        They come as they end. A call that is lost with its machine is made again: what it writes
        twice must be the same.

        Args:
            function: At the top of a module of this package; returns plain values, as in JSON.
            arguments: By name; plain values too. They are taken as there is room for them.
            cores: Processors of a machine that a call has to itself, or all of a smaller one.

        Raises:
            ImsegError: If there is something that the user can mend.
            TrainingFailed: If a call went wrong otherwise.
        """


class Executor(Protocol):
    """Trains independent jobs. Equal jobs give equal networks, whoever trains them."""

    @property
    def spread(self) -> Spread | None:
        """Who calls functions on other machines; None where there are none."""
        return None

    def run(
        self, jobs: Sequence[TrainJob], *, stepped: StepReport, noted: NoteReport, done: DoneReport
    ) -> None:
        """Train all jobs; a network that cannot be trained never takes another one with it.

        An error that says nothing about a network would meet every job. No job is begun after it;
        those that have begun may end.

        Args:
            jobs: What to train, with different outputs.
            stepped: Told about steps. None of the three is called while another one is.
            noted: Told what else there is to know, such as that a job was started again.
            done: Told once about each job that came to an end.

        Raises:
            ImsegError: If there is something that the user can mend.
            TrainingFailed: If something else went wrong that says nothing about the network.
        """

    def __enter__(self) -> Self:
        """Make ready."""
        return self

    def __exit__(self, *error: object) -> None:
        """Clean up."""
        return None


class JobListener(Listener):
    """Passes on what is said about one job; one call at a time."""

    def __init__(
        self, job: TrainJob, *, stepped: StepReport, noted: NoteReport, lock: threading.Lock
    ) -> None:
        self._job = job
        self._stepped = stepped
        self._noted = noted
        self._lock = lock

    def stepped(self, steps: int, loss: float) -> None:
        """Tell of steps."""
        with self._lock:
            self._stepped(self._job, steps, loss)

    def note(self, text: str, *, warning: bool = False) -> None:
        """Tell what there is to know."""
        with self._lock:
            self._noted(self._job, text, warning)


class Serial(Executor):
    """Trains one network after the other in this process."""

    def run(
        self, jobs: Sequence[TrainJob], *, stepped: StepReport, noted: NoteReport, done: DoneReport
    ) -> None:
        """Train all jobs in order."""
        device.keep_freed_memory()
        lock = threading.Lock()
        for job in jobs:
            listener = JobListener(job, stepped=stepped, noted=noted, lock=lock)
            trained, why = None, ""
            try:
                with job.compute.threaded():
                    trained = train_and_save(job, listener)
            except ImsegError:
                raise
            except TrainingFailed as failure:
                why = str(failure)
            except Exception as error:
                if not device.is_exhausted(error):
                    raise stopped(job, f"{type(error).__name__}: {error}") from error
                why = f"{job.name}: {device.MEMORY_GONE}"
            done(job, trained, why)  # only now, when no error keeps tensors alive


class Processes(Executor):
    """Trains as many networks side by side as there are workers, each in a process of its own.

    A worker that dies, runs out of memory or sends no message for too long is replaced, and its job
    is tried once more; if that fails too, the job ends without a network.

    Args:
        workers: Processes.
        threads: Threads of each; more than one of them would only fight over the cores.
        timeout: How long a worker may send no message.
    """

    def __init__(
        self, workers: int, *, threads: int = 1, timeout: HeartbeatTimeout | None = None
    ) -> None:
        self._workers: list[WorkerProcess | None] = [None] * workers
        self._threads = threads
        self._timeout = replace(timeout or HeartbeatTimeout())
        self._closing = threading.Event()
        self._starting = threading.Lock()

    def run(
        self, jobs: Sequence[TrainJob], *, stepped: StepReport, noted: NoteReport, done: DoneReport
    ) -> None:
        """Train all jobs, next job to the next free worker."""
        if torch.cuda.is_initialized():
            device.free_unused()  # what this process has predicted with is theirs now
        waiting: queue.SimpleQueue[TrainJob] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        lock = threading.Lock()
        errors: list[BaseException] = []

        def serve(slot: int) -> None:
            try:
                while not self._closing.is_set() and not errors:
                    try:
                        job = waiting.get_nowait()
                    except queue.Empty:
                        return
                    listener = JobListener(job, stepped=stepped, noted=noted, lock=lock)
                    trained, why = self._run_one(slot, job, listener)
                    with lock:
                        if not self._closing.is_set():
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

    def _run_one(self, slot: int, job: TrainJob, listener: Listener) -> tuple[Trained | None, str]:
        first = ""
        while True:
            worker = self._worker(slot)
            try:
                return worker.train(job, listener), ""
            except TrainingFailed as failure:
                return None, str(failure)
            except worker_process.JobBroken as error:
                raise stopped(job, str(error)) from error
            except worker_process.WorkerLost as loss:
                if first:
                    return None, f"{job.name}: its process {first}; started again, it {loss}"
                first = str(loss)
            if not self._closing.is_set():
                listener.note(f"its process {first} and was started again", warning=True)

    def _worker(self, slot: int) -> WorkerProcess:
        """Return the worker of a slot, a new one where there is none."""
        with self._starting:
            if self._closing.is_set():
                raise worker_process.JobBroken("it was stopped")
            worker = self._workers[slot]
            if worker is None or not worker.alive:
                if worker is not None:
                    worker.close()
                worker = self._workers[slot] = WorkerProcess(
                    self._threads, self._timeout, beside=len(self._workers)
                )
            return worker

    def __enter__(self) -> Self:
        self._closing.clear()
        return self

    def __exit__(self, *error: object) -> None:
        with self._starting:
            self._closing.set()
        there = [worker for worker in self._workers if worker is not None]
        for worker in there:  # all at once, and only then one after the other
            worker.dismiss()
        for worker in there:
            worker.close()


def stopped(job: TrainJob, why: str) -> TrainingFailed:
    """Return what there is to say where an error would meet every job."""
    return TrainingFailed(
        f"{job.name}: {why}. What is finished is kept; repeat the command to try again."
    )


def run_jobs(
    jobs: Sequence[TrainJob],
    executor: Executor,
    *,
    metric: Metric,
    elsewhere: Mapping[str, Path],
    progress: Progress,
) -> tuple[list[Trained], list[str]]:
    """Return the networks of all jobs, in the order of the jobs, and why any are missing.

    Args:
        jobs: What to train.
        executor: Who trains it.
        metric: How its score is told.
        elsewhere: Weights of finished networks by the digest of their job, to be taken over.
        progress: Told how it goes on.
    """
    trained: dict[str, Trained] = {}
    failures: list[str] = []
    waiting = []

    def tell(wrong: str) -> None:
        progress(Note(text=f"{wrong} The network is trained again.", warning=True))

    for job in jobs:
        earlier = _find(job, elsewhere, tell)
        if earlier is None:
            waiting.append(job)
        else:
            trained[job.name] = earlier
            announce(earlier, progress, metric=metric, reused=True)

    def stepped(job: TrainJob, steps: int, loss: float) -> None:
        progress(Stepped(network=job.name, steps=steps, loss=loss))

    def noted(job: TrainJob, text: str, warning: bool) -> None:
        progress(Note(text=f"{job.name}: {text}", warning=warning))

    def done(job: TrainJob, network: Trained | None, why: str) -> None:
        if network is None:
            failures.append(why)
            left = f"{len(jobs) - len(failures)} of {len(jobs)} networks are left"
            reason = why.removeprefix(f"{job.name}: ")
            progress(Note(text=f"{job.name} is left out, {left}: {reason}", warning=True))
            return
        trained[job.name] = network
        announce(network, progress, metric=metric)

    if waiting:
        executor.run(waiting, stepped=stepped, noted=noted, done=done)
    return [trained[job.name] for job in jobs if job.name in trained], failures


def announce(network: Trained, progress: Progress, *, metric: Metric, reused: bool = False) -> None:
    """Tell that a network is finished."""
    progress(
        NetworkFinished(
            network=network.name,
            steps=network.steps,
            score=metric.text(network.scores),
            seconds=0.0 if reused else network.seconds,
            reused=reused,
        )
    )


def index_networks(folder: Path) -> dict[str, Path]:
    """Return the weights of all finished networks below a folder by the digest of their job."""
    found = {}
    for path in sorted(folder.rglob("network-*.json")):
        weights = path.with_suffix(".safetensors")
        network = read_known(weights)  # its weights are looked at when they are taken
        if network is not None:
            found[network.job] = weights
    return found


def finished_network(job: TrainJob, *, tell: Callable[[str], None]) -> Trained | None:
    """Return the network of a job if it was trained before, in the place where it belongs.

    Args:
        job: Which.
        tell: Called with what is wrong with a network that is damaged.
    """
    here = read_trained(job.output, tell=tell)
    if here is None or here.job != job.digest():
        return None
    forget(job.output)  # it may have been killed just before it did so itself
    return here


def _find(
    job: TrainJob, elsewhere: Mapping[str, Path], tell: Callable[[str], None]
) -> Trained | None:
    """Return the network if it was trained before, here or in the run to reuse."""
    here = finished_network(job, tell=tell)
    if here is not None:
        return here
    weights = elsewhere.get(job.digest())
    if weights is None:
        return None
    known = read_trained(weights, tell=tell)
    if known is None:
        return None
    write_whole(job.output, weights.read_bytes())
    # What is known comes last, as after training; here the network has another place.
    write_trained(job.output, replace(known, name=job.name))
    return read_trained(job.output, tell=tell)
