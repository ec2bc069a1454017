"""A real worker that the system kills whenever it gets certain jobs, named as arguments."""

from __future__ import annotations

import os
import signal
import sys

from imseg.engine.training.job import Trained, TrainJob
from imseg.engine.training.monitor import Listener
from imseg.engine.workers import worker

train_and_save = worker.train_and_save


def train_or_die(job: TrainJob, listener: Listener) -> Trained:
    if job.name in sys.argv[1:]:
        os.kill(os.getpid(), signal.SIGKILL)
    return train_and_save(job, listener)


if __name__ == "__main__":
    worker.train_and_save = train_or_die
    worker.main()
