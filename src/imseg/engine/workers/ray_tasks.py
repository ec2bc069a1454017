"""Networks trained as tasks of a Ray cluster, on whatever node has room.

A task does what ``Processes`` does on one machine: it starts a worker process on its node, hands it
one job as JSON and passes on what it says. So the same job gives the same bits wherever it is
trained. Jobs name files: all nodes see the data and the run under the same paths.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import queue
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from imseg.engine.hardware.device import MEMORY_GONE, usable_cores
from imseg.engine.training.job import Trained, TrainJob
from imseg.engine.training.monitor import Listener
from imseg.engine.workers import executors, worker_process
from imseg.errors import ImsegError, TrainingFailed, import_extra, parts_of

TOLD_EVERY = 0.5
"""Seconds between two messages of a task to who began it."""
REACHED_WITHIN = 5.0
"""Seconds in which the machine of an address must answer."""
LOOKED_EVERY = 10.0
"""Seconds after which it is looked whether there is a node left."""
PARTING = 10.0
"""Seconds that a task has to be gone after it was cancelled."""
MOST_LOST = 10
"""How often a job may be lost with its node and begun again."""
SAME = ("python", "torch", "imseg")
"""Whose versions are the same on all nodes."""


class RayTasks(executors.Executor):
    """Trains networks as tasks of a Ray cluster.

    A job whose node is lost goes on elsewhere, after its last checkpoint. One whose process is lost
    on a node that lives is tried once more, as by ``Processes``.

    Args:
        address: ``auto`` or ``HOST:PORT`` of a cluster; None: one is started on this machine.
        threads: Cores of each task.
        gpus: Share of a GPU that each task needs.
    """

    def __init__(self, address: str | None = None, *, threads: int = 1, gpus: float = 0.0) -> None:
        self._address = address
        self._threads = threads
        self._gpus = gpus
        self._own = False
        self._known: set[str] = set()
        self._closing = threading.Event()
        self._tasks: list[Any] = []
        self._serving: list[threading.Thread] = []

    def __enter__(self) -> Self:
        """Connect to the cluster, or start one.

        Raises:
            ImsegError: If Ray is not installed, the cluster cannot be reached, or no node has the
                cores that a task needs.
        """
        self._closing.clear()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = import_extra("ray", extra="cluster", purpose="for --executor ray")
        if not self._ray.is_initialized():
            self._connect()
            self._own = True
        most = self._most_cores()
        if most < self._threads:
            raise ImsegError(
                f"No node of the Ray cluster has {self._threads} cores, which each network needs.",
                expected=f"a node with {self._threads} cores, or networks with fewer threads.",
                got=f"nodes with at most {most:g}.",
                hint="--workers with more networks side by side: each has fewer threads then.",
            )
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        if self._own and self._ray.is_initialized():
            self._ray.shutdown()  # and with it the tasks that still run
            self._own = False

    def run(
        self,
        jobs: Sequence[TrainJob],
        *,
        stepped: executors.StepReport,
        noted: executors.NoteReport,
        done: executors.DoneReport,
    ) -> None:
        """Train all jobs; Ray begins each where and when there is room for it."""
        self._closing.clear()  # an earlier run may have ended with an error
        self._check_nodes(next(path for path in jobs[0].output.parents if path.is_dir()))
        lock = threading.Lock()
        errors: list[BaseException] = []

        def serve(job: TrainJob) -> None:
            try:
                listener = executors.JobListener(job, stepped=stepped, noted=noted, lock=lock)
                trained, why = self._train(job, listener)
                with lock:
                    if not (self._closing.is_set() or errors):
                        done(job, trained, why)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=serve, args=(job,), daemon=True) for job in jobs]
        self._serving = threads
        for thread in threads:
            thread.start()
        looked, told = time.monotonic(), False
        while any(thread.is_alive() for thread in threads) and not errors:
            time.sleep(0.1)  # so that Ctrl-C is heard
            if time.monotonic() - looked > LOOKED_EVERY:
                looked, there = time.monotonic(), self._most_cores() >= self._threads
                if not (there or told):
                    with lock:
                        noted(jobs[0], "no node of the cluster is left; it waits for one", True)
                told = not there
        if errors:
            self._end()
            raise errors[0]

    def _end(self) -> None:
        """End all tasks, and wait for the threads that hear them.

        A thread that still waits when the connection is closed ends the whole process.
        """
        self._closing.set()
        for task in self._tasks:
            with contextlib.suppress(self._ray.exceptions.RayError, ValueError, TypeError):
                self._ray.cancel(task, force=True)
        for thread in self._serving:
            thread.join(PARTING)
        self._tasks, self._serving = [], []

    def _train(self, job: TrainJob, listener: executors.JobListener) -> tuple[Trained | None, str]:
        lost, first = 0, ""
        while not self._closing.is_set():
            try:
                return self._once(job, listener), ""
            except TrainingFailed as failure:
                return None, str(failure)
            except worker_process.JobBroken as error:
                raise executors.stopped(job, str(error)) from error
            except worker_process.WorkerLost as loss:
                if first:
                    return None, f"{job.name}: its process {first}; started again, it {loss}"
                first = str(loss)
                listener.note(f"its process {first} and was started again", warning=True)
            except _NodeLost as loss:
                lost += 1
                if lost > MOST_LOST:
                    return None, f"{job.name}: its node was lost {lost} times: {loss}"
                if not self._closing.is_set():
                    listener.note("its node was lost; it goes on elsewhere", warning=True)
        return None, f"{job.name}: it was stopped"

    def _once(self, job: TrainJob, listener: executors.JobListener) -> Trained:
        """Return what a task has trained.

        Raises:
            TrainingFailed: If the network cannot be trained.
            ImsegError: If the user can mend something.
            JobBroken: If the job cannot be done for another reason.
            WorkerLost: If the worker process was lost.
            _NodeLost: If the task was.
        """
        remote = self._ray.remote(train_here).options(
            num_cpus=self._threads, num_gpus=self._gpus, max_retries=0, num_returns="streaming"
        )
        try:
            task = remote.remote(job.as_json(), self._threads)
            self._tasks.append(task)
            for reference in task:
                for event in json.loads(self._ray.get(reference)):
                    if event["event"] == "lost":
                        raise worker_process.WorkerLost(event["why"])
                    trained = worker_process.heard(event, listener)
                    if trained is not None:
                        return trained
        except self._ray.exceptions.RayTaskError as error:
            why = f"on a node of the Ray cluster: {error.cause!r}"
            raise worker_process.JobBroken(why) from error
        except self._ray.exceptions.OutOfMemoryError as error:
            raise worker_process.WorkerLost(MEMORY_GONE) from error
        except self._ray.exceptions.RayError as error:
            raise _NodeLost(str(error).splitlines()[0]) from error
        raise _NodeLost("its task ended without a word")

    def _connect(self) -> None:
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
        if self._address is None:
            self._ray.init(address="local", num_cpus=usable_cores(), **quiet)
            return
        expected = "auto, beside a node of a running cluster, or HOST:PORT of its head."
        if "://" in self._address:
            raise ImsegError(
                f"--address {self._address} is that of a Ray client, which sees no files.",
                expected=expected,
                got=self._address,
                hint="begin the training on a node of the cluster.",
            )
        try:
            if self._address != "auto":
                host, _, port = self._address.rpartition(":")
                with contextlib.closing(
                    socket.create_connection((host, int(port)), timeout=REACHED_WITHIN)
                ):
                    pass
            self._ray.init(address=self._address, log_to_driver=False, logging_level="error")
        except (OSError, ValueError, RuntimeError) as error:
            raise ImsegError(
                f"No Ray cluster can be reached at {self._address}.",
                expected=expected,
                got=str(error).splitlines()[0],
                hint="`ray status` on its head says whether it is up; without --address one is"
                " started here.",
            ) from error

    def _most_cores(self) -> float:
        """Return how many cores the largest node has."""
        return max((float(node["Resources"].get("CPU", 0)) for node in self._nodes()), default=0.0)

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _check_nodes(self, place: Path) -> None:
        """Refuse nodes with other versions, and those that do not see a folder.

        Raises:
            ImsegError: With everything that is wrong, by node.
        """
        strategies = self._ray.util.scheduling_strategies
        asked, mine = {}, facts_about(str(place))
        for node in self._nodes():
            if node["NodeID"] not in self._known:
                there = strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                remote = self._ray.remote(facts_about).options(
                    num_cpus=0, max_retries=0, scheduling_strategy=there
                )
                asked[node["NodeID"]] = node["NodeManagerAddress"], remote.remote(str(place))
        wrong = []
        for name, (address, reference) in asked.items():
            try:
                found = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                wrong.append(f"{address}: {error.cause!r}")
                continue
            except self._ray.exceptions.RayError:
                continue  # it is gone, and nothing is trained there
            differs = [f"{what} {found[what]}" for what in SAME if found[what] != mine[what]]
            if not found["sees the run"]:
                differs.append(f"{place} is not there")
            if differs:
                wrong.append(f"{address}: {', '.join(differs)}")
            self._known.add(name)
        if wrong:
            here = ", ".join(f"{what} {mine[what]}" for what in SAME)
            raise ImsegError(
                "Nodes of the Ray cluster cannot take part in this training.",
                expected=f"{here} as here, and the folder of the run under the same path.",
                got="; ".join(wrong),
                hint="install the same versions on all nodes, and share the folders of data and"
                " runs.",
            )


class _NodeLost(Exception):
    """A task is gone for a reason that says nothing about its job."""


def facts_about(place: str) -> dict[str, Any]:
    """Return the versions on this machine, and whether it sees a folder."""
    versions = {name: metadata.version(name) for name in SAME[1:]}
    seen = Path(place).is_dir()
    return {"python": platform.python_version(), **versions, "sees the run": seen}


def train_here(job: str, threads: int) -> Iterator[str]:
    """Train one network in a worker process on this machine.

    Args:
        job: As JSON.
        threads: Of the process.

    Yields:
        Lists of events as JSON, the end among the last.
    """
    events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    beside = max(1, usable_cores() // threads)
    worker = worker_process.WorkerProcess(threads, worker_process.HeartbeatTimeout(), beside=beside)
    thread = threading.Thread(target=_work, args=(worker, job, events), daemon=True)
    thread.start()
    try:
        ended = False
        while not ended:
            ended = not thread.is_alive()
            some = []
            while not events.empty():
                some.append(events.get())
            yield json.dumps(_in_short(some))
            thread.join(TOLD_EVERY)
    finally:
        worker.close()


def _work(
    worker: worker_process.WorkerProcess, job: str, events: queue.SimpleQueue[dict[str, Any]]
) -> None:
    try:
        trained = worker.train(TrainJob.from_json(job), _Kept(events))
    except TrainingFailed as failure:
        events.put({"event": "failed", "why": str(failure)})
    except ImsegError as error:
        events.put({"event": "refused", "errors": parts_of(error)})
    except worker_process.WorkerLost as loss:
        events.put({"event": "lost", "why": str(loss)})
    except Exception as error:
        why = str(error) if isinstance(error, worker_process.JobBroken) else repr(error)
        events.put({"event": "broken", "why": why})
    else:
        events.put({"event": "done", "trained": trained.as_json().decode()})


class _Kept(Listener):
    """Keeps what a training says until it is passed on."""

    def __init__(self, events: queue.SimpleQueue[dict[str, Any]]) -> None:
        self._events = events

    def stepped(self, steps: int, loss: float) -> None:
        self._events.put({"event": "stepped", "steps": steps, "loss": loss})

    def note(self, text: str, *, warning: bool = False) -> None:
        self._events.put({"event": "note", "text": text, "warning": warning})


def _in_short(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events with steps that follow one another as one."""
    short: list[dict[str, Any]] = []
    for event in events:
        if short and short[-1]["event"] == event["event"] == "stepped":
            (before, lost), (more, loss) = (
                (each["steps"], each["loss"]) for each in (short[-1], event)
            )
            mean = (before * lost + more * loss) / max(1, before + more)
            short[-1] = {**event, "steps": before + more, "loss": mean}
        else:
            short.append(event)
    return short
