"""Ctrl-C and SIGTERM end a command within seconds, with all that is done saved."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.e2e.same_runs import check_same
from tests.faults.random_kills import SETTINGS, Command, start

LIMIT = 5.0
"""Seconds that a command has to end."""

STUBBORN = """
import time
from imseg.cli.main import stoppable
with stoppable(["train", "my data"]) as stop:
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        while True:
            try:
                time.sleep(60)  # somebody waits for something that does not come
            except KeyboardInterrupt:
                print("told again", flush=True)
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> Command:
    return Command.prepared(tmp_path_factory.mktemp("stopping"))


def hearing() -> None:
    """Hear signals in a new process, though who started these tests had them ignored."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)


def begun(command: Command, out: Path, text: str) -> subprocess.Popen:
    """Start the command and wait until it has said something."""
    words = [sys.executable, "-m", "imseg", "train", str(command.data), "--out", str(out)]
    running = subprocess.Popen(
        [*words, *SETTINGS],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hearing,
    )
    assert running.stderr is not None
    for line in running.stderr:
        if text in line:
            return running
    raise AssertionError(f"{text!r} was never said")


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    threads = Path(f"/proc/{pid}/task").glob("*/children")  # any of them may have started one
    return [int(child) for thread in threads for child in thread.read_text().split()]


@pytest.mark.rest
@pytest.mark.parametrize(
    ("sent", "said", "status", "why"),
    [
        (signal.SIGINT, "The run goes to", 130, "interrupted"),
        (signal.SIGTERM, "start/network", 143, "asked to end"),
        (signal.SIGINT, "generation-1: ", 130, "interrupted"),
    ],
)
def test_a_signal_ends_a_training_and_it_continues_to_the_same_bits(
    command, tmp_path, sent, said, status, why
) -> None:
    out = tmp_path / "run"
    running = begun(command, out, said)
    workers = children_of(running.pid)
    began = time.monotonic()
    running.send_signal(sent)
    _, err = running.communicate(timeout=60)
    assert time.monotonic() - began < LIMIT
    assert running.returncode == status
    assert f"imseg: {why}. What is done is saved. To continue:" in err
    assert f"imseg train {command.data} --out {out} --approach aim++" in err
    assert "Traceback" not in err
    time.sleep(0.5)
    assert [pid for pid in workers if Path(f"/proc/{pid}/status").exists()] == []
    assert start(command.data, out).wait(120) == 0
    check_same(out, command.whole)


def stubborn() -> subprocess.Popen:
    running = subprocess.Popen(
        [sys.executable, "-c", STUBBORN],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hearing,
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    return running


def test_a_second_signal_ends_at_once() -> None:
    running = stubborn()
    running.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert running.poll() is None
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    assert running.wait(30) == 130
    assert time.monotonic() - began < 1.0


def test_what_does_not_stop_by_itself_is_ended_and_says_how_to_continue() -> None:
    running = stubborn()
    began = time.monotonic()
    running.send_signal(signal.SIGTERM)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 143
    assert 3.0 < time.monotonic() - began < LIMIT
    assert "imseg train 'my data'" in err


@pytest.mark.rest
def test_workers_leave_when_their_parent_is_killed(command, tmp_path) -> None:
    running = begun(command, tmp_path / "run", "start/network")
    workers = children_of(running.pid)
    assert workers
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    until = time.monotonic() + LIMIT
    while time.monotonic() < until and any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.05)
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []


def test_signals_that_were_ignored_before_stay_ignored() -> None:
    """So that nohup keeps its word."""
    text = STUBBORN.replace("import time", "import signal, time\nsignal.signal(1, signal.SIG_IGN)")
    running = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert running.poll() is None
    running.kill()
    running.wait()


def test_a_prediction_says_whether_it_can_be_continued() -> None:
    from imseg.cli.main import Stop

    words = ["predict", "run", "images", "--out", "masks"]
    assert "To continue:\n  imseg predict run images --out masks" in Stop(words).words
    assert "To start again:" in Stop([*words, "--overwrite"]).words
    assert "To start again:" in Stop(["evaluate", "run", "data"]).words
