"""Networks trained as tasks of a Ray cluster, on whatever node has room.

A task does what ``Processes`` does on one machine: it starts a worker process on its node, hands it
one job as JSON and passes on what it says. So the same job gives the same bits wherever it is
trained. Jobs name files: all nodes see the data and the run under the same paths.
"""

from __future__ import annotations

import contextlib
import json
import math
import platform
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from imseg.engine.hardware.device import MEMORY_GONE, usable_cores
from imseg.engine.training.job import Trained, TrainJob
from imseg.engine.training.monitor import Listener
from imseg.engine.workers import executors, ray_cluster, worker_process
from imseg.engine.workers.ray_calls import RayCalls
from imseg.errors import ImsegError, TrainingFailed, parts_of

TOLD_EVERY = 0.5
"""Seconds between two messages of a task to who began it."""
HEARD_EVERY = 0.2
"""Seconds after which who waits for messages looks up."""
LOOKED_EVERY = 10.0
"""Seconds after which it is looked whether a node with room for a task is left."""
MOST_LOST = 10
"""How often a job may be lost with its node and begun again."""


class RayTasks(executors.Executor):
    """Trains networks as tasks of a Ray cluster.

    A job whose node is lost goes on elsewhere, after its last checkpoint. One whose process is lost
    on a node that lives is tried once more, as by ``Processes``.

    Args:
        address: ``auto`` or ``HOST:PORT`` of a cluster; None: one is started on this machine.
        threads: Cores that each task needs at least; more if its job has more threads.
        gpus: Share of a GPU that each task needs.
        memory: Bytes that each task needs; None: they are not told to Ray, nor are they where a
            cluster is started here: this machine is known.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        threads: int = 1,
        gpus: float = 0.0,
        memory: int | None = None,
    ) -> None:
        self._threads = threads
        self._needs = {
            "CPU": float(threads),
            "GPU": gpus,
            "memory": float(0 if address is None else memory or 0),
        }
        self._cluster = ray_cluster.RayCluster(address, self._needs)

    def __enter__(self) -> Self:
        """Connect to the cluster, or start one; see ``RayCluster``."""
        self._ray = self._cluster.__enter__().ray
        return self

    def __exit__(self, *error: object) -> None:
        self._cluster.__exit__(*error)

    @property
    def spread(self) -> RayCalls:
        """Who calls functions on the nodes."""
        # A call has a GPU to itself: it predicts with several networks, or makes a whole run.
        return RayCalls(self._cluster, gpus=math.ceil(self._needs["GPU"]))

    def run(
        self,
        jobs: Sequence[TrainJob],
        *,
        stepped: executors.StepReport,
        noted: executors.NoteReport,
        done: executors.DoneReport,
    ) -> None:
        """Train all jobs; Ray begins each where and when there is room for it."""
        self._cluster.check(next(path for path in jobs[0].output.parents if path.is_dir()))
        lock = threading.Lock()
        needs = {**self._needs, "CPU": max(self._cores(job) for job in jobs)}
        tasks: dict[Any, _Task] = {}  # by what yields their messages
        try:
            for job in jobs:
                listener = executors.JobListener(job, stepped=stepped, noted=noted, lock=lock)
                tasks[self._begin(job)] = _Task(job, listener)
            looked, told = time.monotonic(), False
            while tasks:
                for messages in self._ray.wait(
                    list(tasks), num_returns=len(tasks), timeout=HEARD_EVERY
                )[0]:
                    task = tasks[messages]
                    try:
                        ended = self._hear(messages, task)
                        if ended is None:
                            continue
                    except (worker_process.WorkerLost, _NodeLost) as loss:
                        ended = task.lost(loss)
                    del tasks[messages]
                    if ended is None:
                        tasks[self._begin(task.job)] = task
                    else:
                        done(task.job, *ended)
                if time.monotonic() - looked > LOOKED_EVERY:
                    looked, there = time.monotonic(), bool(self._cluster.nodes(needs))
                    if not (there or told):
                        wanted = ray_cluster.in_words(needs)
                        noted(jobs[0], f"no node of the cluster has {wanted}; it waits", True)
                    told = not there
        finally:
            for messages in tasks:  # there was an error, or Ctrl-C
                with contextlib.suppress(self._ray.exceptions.RayError):
                    self._ray.cancel(messages)

    def _begin(self, job: TrainJob) -> Any:
        """Return what yields the messages of a new task."""
        remote = self._ray.remote(train_here).options(
            num_cpus=self._cores(job),
            num_gpus=self._needs["GPU"],
            memory=self._needs["memory"] or None,
            max_retries=0,
            num_returns="streaming",
        )
        return remote.remote(job.as_json(), self._threads, json.dumps(ray_cluster.versions()))

    def _cores(self, job: TrainJob) -> int:
        return max(self._threads, job.compute.threads)

    def _hear(self, messages: Any, task: _Task) -> tuple[Trained | None, str] | None:
        """Pass on the next message of a task; return how its job ended, None while it goes on.

        Raises:
            ImsegError: If the user can mend something.
            TrainingFailed: If the job cannot be done for another reason.
            WorkerLost: If the worker process was lost.
            _NodeLost: If the task was.
        """
        errors = self._ray.exceptions
        try:
            for event in json.loads(self._ray.get(next(messages))):
                if event["event"] == "lost":
                    raise worker_process.WorkerLost(event["why"])
                trained = worker_process.heard(event, task.listener)
                if trained is not None:
                    return trained, ""
        except TrainingFailed as failure:
            return None, str(failure)
        except worker_process.JobBroken as error:
            raise executors.stopped(task.job, str(error)) from error
        except errors.RayTaskError as error:
            why = f"on a node of the Ray cluster: {error.cause!r}"
            raise executors.stopped(task.job, why) from error
        except errors.OutOfMemoryError as error:
            raise worker_process.WorkerLost(MEMORY_GONE) from error
        except errors.RayError as error:
            raise _NodeLost(str(error).splitlines()[0]) from error
        except StopIteration as error:
            raise _NodeLost("its task ended without a word") from error
        return None


class _NodeLost(Exception):
    """A task is gone for a reason that says nothing about its job."""


@dataclass(slots=True)
class _Task:
    """A job, and what has happened to it so far."""

    job: TrainJob
    listener: Listener
    process_lost: str = ""
    """How its process was lost on a node that lives; empty if it was not."""
    nodes_lost: int = 0
    """How often it was lost with its node."""

    def lost(self, loss: Exception) -> tuple[Trained | None, str] | None:
        """Return how the job ends after a loss; None: it is begun once more."""
        known = executors.finished_network(self.job, tell=self.listener.note)
        if known is not None:
            return known, ""  # what it had still to say is there
        if isinstance(loss, worker_process.WorkerLost):
            if self.process_lost:
                why = f"its process {self.process_lost}; started again, it {loss}"
                return None, f"{self.job.name}: {why}"
            self.process_lost = str(loss)
            self.listener.note(f"its process {loss} and was started again", warning=True)
            return None
        self.nodes_lost += 1
        if self.nodes_lost > MOST_LOST:
            why = f"its node was lost {self.nodes_lost} times: {loss}"
            return None, f"{self.job.name}: {why}"
        self.listener.note("its node was lost; it goes on elsewhere", warning=True)
        return None


def train_here(job: str, threads: int, expected: str) -> Iterator[str]:
    """Train one network in a worker process on this machine.

    Args:
        job: As JSON.
        threads: Of the process.
        expected: The versions that this machine has to have, as JSON: it may have joined the
            cluster since its nodes were looked at.

    Yields:
        Lists of events as JSON, the end among the last.
    """
    theirs = json.loads(expected)
    differs = ray_cluster.differing(ray_cluster.versions(), theirs)
    if differs:
        error = ray_cluster.refused([f"{platform.node()}: {', '.join(differs)}"], theirs)
        yield json.dumps([{"event": "refused", "errors": parts_of(error)}])
        return
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
