"""A process that trains one network after another.

Jobs come in as JSON lines, events go out as JSON lines. It is started by
``executors.Processes`` as ``python -m imseg.engine.workers.worker``. JSON instead of
pickles: a job is data, nothing in it can run.
"""

import json
import os
import queue
import sys
import threading
import time
import traceback
from typing import Any, TextIO

import torch

from imseg.engine.hardware.device import free_unused, is_exhausted
from imseg.engine.training.job import TrainJob
from imseg.engine.training.monitor import Listener
from imseg.engine.training.trainer import train_and_save
from imseg.engine.workers.worker_process import serve_parent
from imseg.errors import ImsegError, TrainingFailed, parts_of

ALIVE_EVERY = 1.0
"""Seconds between two signs of life, if nothing else is said; the silence allowed is far longer."""


def main() -> None:
    """Serve jobs until the input ends, as it does when the parent process is gone."""
    events = serve_parent()
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    torch.set_num_interop_threads(1)  # beside the threads of a job there is no core left
    _send(events, event="ready")
    while True:
        _serve(TrainJob.from_json(jobs.get()), events)


class _ToParent(Listener):
    """Sends what a training says to the parent process."""

    def __init__(self, events: TextIO) -> None:
        self._events = events
        self._last = time.monotonic()

    def stepped(self, steps: int, loss: float) -> None:
        self._say(event="stepped", steps=steps, loss=loss)

    def alive(self) -> None:
        if time.monotonic() - self._last >= ALIVE_EVERY:
            self._say(event="alive")

    def note(self, text: str, *, warning: bool = False) -> None:
        self._say(event="note", text=text, warning=warning)

    def _say(self, **content: Any) -> None:
        _send(self._events, **content)
        self._last = time.monotonic()


def _serve(job: TrainJob, events: TextIO) -> None:
    try:
        with job.compute.threaded():
            trained = train_and_save(job, _ToParent(events))
    except TrainingFailed as failure:
        _send(events, event="failed", why=str(failure))
    except ImsegError as error:
        _send(events, event="refused", errors=parts_of(error))
    except Exception as error:
        traceback.print_exc()
        if is_exhausted(error):
            _send(events, event="exhausted")
        else:
            _send(events, event="broken", why=f"{type(error).__name__}: {error}")
    else:
        _send(events, event="done", trained=trained.as_json().decode())
    if torch.cuda.is_initialized():
        free_unused()  # others share the GPU


def _send(events: TextIO, **content: Any) -> None:
    events.write(json.dumps(content) + "\n")
    events.flush()


def _read(jobs: queue.SimpleQueue[str]) -> None:
    """Pass jobs on; when the input ends, the parent has no more of them or is gone: leave."""
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
