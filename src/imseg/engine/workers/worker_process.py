"""A worker as its parent sees it: one process, two pipes, and how long it may be silent."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from imseg.engine.hardware.device import MEMORY_GONE, NEEDS_LESS, keep_freed_memory
from imseg.engine.loading.rows import SHARED_BY
from imseg.engine.training.job import Trained, TrainJob
from imseg.engine.training.monitor import Listener
from imseg.errors import ImsegError, TrainingFailed, raise_all
from imseg.networks.registry import trust_names

COMMAND = (sys.executable, "-P", "-m", "imseg.engine.workers.worker")
"""What starts a worker."""
GLANCE = 1.0
"""Seconds after which a waiting parent looks up."""
PARTING = 10.0
"""Seconds that a process has to be gone after it was killed or has closed its output."""
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TORCHINDUCTOR_COMPILE_THREADS",
)
"""What libraries and compilers read how many threads they may start, processes included."""


def start(command: Sequence[str], *, threads: int, **environment: str) -> subprocess.Popen[str]:
    """Start a process that reads and writes lines of text.

    Args:
        command: The program and its arguments.
        threads: What its libraries may start.
        environment: Further variables.
    """
    return subprocess.Popen(
        command,
        start_new_session=True,  # Ctrl-C is the parent's to answer
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={
            **os.environ,
            **dict.fromkeys(THREADS, str(threads)),
            **environment,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        text=True,
        encoding="utf-8",
    )


def write_to(process: subprocess.Popen[str], text: str) -> None:
    """Write to a process; one that is gone has closed its output as well, and that is heard."""
    assert process.stdin is not None
    with contextlib.suppress(OSError, ValueError):
        process.stdin.write(text)
        process.stdin.flush()


def serve_parent() -> TextIO:
    """Return what leads to the parent process, once this one is ready to work for it."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    keep_freed_memory()
    trust_names()  # what is asked comes from the parent process alone
    return output


@dataclass(slots=True, kw_only=True)
class HeartbeatTimeout:
    """How long the processes of an executor may send no message before one counts as lost."""

    starting: float = 300.0
    """Seconds from its start until it is ready: Python and torch are loaded, often in 3 to 10."""
    working: float = 300.0
    """Seconds between two messages of a training, at least. Every batch sends one."""
    factor: float = 20.0
    """A training may also be silent for that many times as long as one of the same executor was
    before it went on, so that slow machines are not punished."""
    longest: float = field(default=0.0, init=False)
    """Seconds of the longest silence after which a training went on."""

    def __post_init__(self) -> None:
        if min(self.starting, self.working) <= 0 or self.factor < 0:
            raise ValueError(f"silences are longer than 0 s, factors not below 0: {self}")

    @property
    def allowed(self) -> float:
        """Seconds that a training may be silent now."""
        return max(self.working, self.factor * self.longest)


class WorkerLost(Exception):
    """A worker is gone or was silent for too long; its job may be tried once more."""


class JobBroken(Exception):
    """A job could not be done for a reason that says nothing about the network."""


def heard(message: dict[str, Any], listener: Listener) -> Trained | None:
    """Pass on what is said about a training; return what was trained, if that is said.

    Args:
        message: An event of ``worker`` with what belongs to it.
        listener: Told what it says.

    Raises:
        TrainingFailed: If the network cannot be trained.
        ImsegError: If the job cannot be done, and the user can mend it.
        JobBroken: If it cannot be done for another reason.
    """
    match message["event"]:
        case "stepped":
            listener.stepped(message["steps"], message["loss"])
        case "alive":
            listener.alive()
        case "note":
            listener.note(message["text"], warning=message["warning"])
        case "failed":
            raise TrainingFailed(message["why"])
        case "refused":
            raise_all(ImsegError(**parts) for parts in message["errors"])
        case "broken":
            raise JobBroken(message["why"])
        case "done":
            return Trained.from_json(message["trained"])
    return None


class WorkerProcess:
    """One ``imseg.engine.workers.worker`` process and the two pipes to it.

    Args:
        threads: What its libraries may start.
        timeout: How long it may send no message; shared by all processes of an executor.
        beside: How many workers there are, it among them.
    """

    def __init__(self, threads: int, timeout: HeartbeatTimeout, *, beside: int = 1) -> None:
        self._timeout = timeout
        self._process = start(COMMAND, threads=threads, **{SHARED_BY: str(beside)})
        self._ready = False
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # Threads, since not every system can wait for a pipe with a time limit. Either ends with
        # the process.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._writer = threading.Thread()
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def train(self, job: TrainJob, listener: Listener) -> Trained:
        """Let the process train a network.

        Args:
            job: What to train.
            listener: Told what the process says about it.

        Raises:
            TrainingFailed: If the network cannot be trained.
            ImsegError: If the job cannot be done, and the user can mend it.
            JobBroken: If it cannot be done for another reason.
            WorkerLost: If the process ended, ran out of memory or was silent for too long. It is
                gone then.
        """
        while not self._ready:
            message, _ = self._next(self._timeout.starting)
            self._ready = message["event"] == "ready"
        text = job.as_json() + "\n"
        self._writer = threading.Thread(target=write_to, args=(self._process, text), daemon=True)
        self._writer.start()
        while True:
            message, after = self._next(self._timeout.allowed)
            self._timeout.longest = max(self._timeout.longest, after)
            if message["event"] == "exhausted":
                self._kill()  # what it holds is needed by the others
                raise WorkerLost(MEMORY_GONE)
            trained = heard(message, listener)
            if trained is not None:
                return trained

    def dismiss(self) -> None:
        """Let the process end by itself, which takes a moment; ``close`` waits for it."""
        if not self._writer.is_alive():  # else the other end does not read, and it cannot be closed
            self._end_input()

    def close(self) -> None:
        """End the process, whatever it does."""
        writing = self._writer.is_alive()
        if not writing:
            self._end_input()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=0.5)
        self._kill()
        if writing:
            self._writer.join(PARTING)
            self._end_input()
        self._reader.join(PARTING)
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()

    def _next(self, limit: float) -> tuple[dict[str, Any], float]:
        """Return what the process says next and after how many seconds.

        Raises:
            WorkerLost: If it says nothing for so many seconds, or never again.
        """
        waited, glance = 0.0, min(GLANCE, limit)
        while waited < limit:
            began = time.monotonic()
            try:
                line = self._lines.get(timeout=glance)
            except queue.Empty:
                # No more than a glance: where this process was stopped or the computer slept, much
                # time may have passed without a silence of the worker.
                waited += glance
                continue
            if line is None:
                raise WorkerLost(self._ending())
            return json.loads(line), waited + min(glance, time.monotonic() - began)
        self._kill()
        raise WorkerLost(f"was silent for {waited:.0f} s")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            for line in self._process.stdout:
                if line.endswith("\n"):  # else the process ended in the middle of a word
                    self._lines.put(line)
        self._lines.put(None)

    def _end_input(self) -> None:
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _ending(self) -> str:
        """Return how the process ended, in words."""
        try:
            status = self._process.wait(PARTING)
        except subprocess.TimeoutExpired:
            self._kill()
            return "closed its output and went on"
        return f"ended unexpectedly ({_in_words(status)})"

    def _kill(self) -> None:
        """Kill the process, stopped ones too, and the processes it has started."""
        if self.alive:
            with contextlib.suppress(OSError):
                if hasattr(os, "killpg"):
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(PARTING)


def _in_words(status: int) -> str:
    """Return how a process ended; the system kills those that take too much memory."""
    if os.name == "posix" and status == -signal.SIGKILL:
        return f"killed, which is how systems answer a lack of memory: {NEEDS_LESS}"
    return f"exit status {status}"
