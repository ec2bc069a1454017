"""A process that trains one network after another.

Jobs come in as JSON lines, events go out as JSON lines. It is started by
``executors.Processes`` as ``python -m imseg.engine.worker``. JSON instead of
pickles: a job is data, nothing in it can run.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from imseg.engine.device import keep_freed_memory
from imseg.engine.job import Job
from imseg.engine.trainer import train_and_save
from imseg.errors import TrainingFailed


def main() -> None:
    """Serve jobs until the input ends or the parent process is gone."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    threading.Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()
    keep_freed_memory()
    _send(events, event="ready")
    for line in sys.stdin:
        _serve(Job.from_json(line), events)


def _serve(job: Job, events: TextIO) -> None:
    def report(steps: int, loss: float) -> None:
        _send(events, event="stepped", steps=steps, loss=loss)

    try:
        trained = train_and_save(job, report)
    except TrainingFailed as failure:
        _send(events, event="failed", why=str(failure))
    except Exception as error:
        traceback.print_exc()
        _send(events, event="broken", why=f"{type(error).__name__}: {error}")
    else:
        _send(events, event="done", trained=trained.as_json().decode())


def _send(events: TextIO, **content: Any) -> None:
    events.write(json.dumps(content) + "\n")
    events.flush()


def _leave_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
