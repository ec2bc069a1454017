"""The command itself, with worker processes, killed at random moments and repeated."""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.same_runs import check_same
from tests.faults.small_run import fresh

from imseg.data.synthetic import CellScene, write_demo

SETTINGS = shlex.split(
    "--approach aim++ --generations 1 --networks 2 --image-size 32 32 --width 0.25 --max-steps 40"
    " --epochs 8 --batch-size 8 --workers 2 --compile off --precision float32 --select all"
    " --seed 3 --device cpu --no-report --patience 0 --thresholds 0.05 0.1"
)
LONGEST = 300.0


@dataclass(frozen=True)
class Command:
    """A training of a minute, as it is typed."""

    data: Path
    """What is learned from."""
    whole: Path
    """A run that nobody disturbed."""
    seconds: float
    """How long it took."""

    @classmethod
    def prepared(cls, place: Path) -> Command:
        """Return the command after it was carried out once.

        Args:
            place: A folder of its own.
        """
        scene = CellScene(difficulty=0.0, size=(32, 32), cells=(9, 14), radius=(3.0, 6.0))
        data = write_demo(
            place / "data", seed=1, labeled=16, unlabeled=12, val=6, test=2, scene=scene
        )
        began = time.monotonic()
        started = start(data, place / "whole")
        if started.wait(LONGEST) != 0:
            raise RuntimeError("the undisturbed command failed")
        return cls(data, place / "whole", time.monotonic() - began)


def start(data: Path, out: Path, *further: str) -> subprocess.Popen:
    """Start the command."""
    words = [sys.executable, "-m", "imseg", "train", str(data), "--out", str(out)]
    return subprocess.Popen(
        [*words, *SETTINGS, *further], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def killed_at_random(
    command: Command, kills: int, moments: random.Random, *, until: float = float("inf")
) -> int:
    """Kill the command so many times at random moments; check each run that comes to its end.

    A run is continued after each kill, with the next moment drawn from the time that a whole run
    takes; once it is finished and checked, another one is begun. Return how often it was killed.

    Args:
        command: What is killed.
        kills: How often.
        moments: Draws them.
        until: No kill after this time of the monotonic clock.
    """
    done, out = 0, command.whole.with_name("killed")
    fresh(out)
    while done < kills and time.monotonic() < until:
        running = start(command.data, out)
        try:
            status = running.wait(moments.uniform(0.0, command.seconds))
        except subprocess.TimeoutExpired:
            os.kill(running.pid, signal.SIGKILL)
            running.wait()
            done += 1
            continue
        _finished(status, out, command)
        fresh(out)
    _finished(start(command.data, out).wait(LONGEST), out, command)
    return done


def _finished(status: int, out: Path, command: Command) -> None:
    if status != 0:
        raise AssertionError(f"continued, it ended with {status}")
    check_same(out, command.whole)
