"""Who holds a run folder, and what becomes of it when its owner is gone."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from imseg.engine.storage import run_folder
from imseg.engine.storage.run_folder import LOCK_FILE, Owner, locked, owner_of
from imseg.errors import ImsegError

HOLD = """
import sys, time
from pathlib import Path
from imseg.engine.storage.run_folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
NOBODY = 2**22 - 3
"""A process that is not there."""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    running = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "held\n"
    yield running
    running.kill()
    running.wait()


def write(folder, owner: Owner, *, silent_for: float = 0.0) -> None:
    place = folder / LOCK_FILE
    place.write_text(json.dumps(asdict(owner)))
    if silent_for:
        then = time.time() - silent_for
        os.utime(place, (then, then))


def test_a_second_process_is_refused_and_told_by_whom(tmp_path, holder) -> None:
    with pytest.raises(ImsegError) as refused, locked(tmp_path):
        pass
    for words in (str(holder.pid), platform.node(), "since 2", str(tmp_path)):
        assert words in str(refused.value)
    owner = owner_of(tmp_path)
    assert owner is not None and owner.pid == holder.pid and owner.is_here


def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path, holder) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / LOCK_FILE).exists()
    assert owner_of(tmp_path) is None
    with locked(tmp_path):
        pass
    assert not (tmp_path / LOCK_FILE).exists()


def test_a_number_that_another_process_has_now_does_not_keep_the_folder(tmp_path) -> None:
    write(tmp_path, Owner(os.getppid(), platform.node(), "long ago"))
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(("silent_for", "lives"), [(10.0, True), (500.0, False)])
def test_an_owner_on_another_machine_lives_while_it_gives_signs(tmp_path, silent_for, lives):
    write(tmp_path, Owner(NOBODY, "elsewhere", "today"), silent_for=silent_for)
    assert (owner_of(tmp_path) is not None) == lives
    if lives:
        with pytest.raises(ImsegError, match=f"process {NOBODY} on elsewhere"), locked(tmp_path):
            pass
    else:
        with locked(tmp_path):
            pass


def test_an_owner_gives_signs_of_life(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(run_folder, "BEAT", 0.05)
    with locked(tmp_path):
        os.utime(tmp_path / LOCK_FILE, (0, 0))
        until = time.monotonic() + 10
        while (tmp_path / LOCK_FILE).stat().st_mtime < 1000 and time.monotonic() < until:
            time.sleep(0.01)
        assert (tmp_path / LOCK_FILE).stat().st_mtime > 1000


def test_without_locks_of_the_system_it_counts_whether_the_owner_lives(tmp_path, monkeypatch):
    def locks(_stream, _how):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", locks)
    write(tmp_path, Owner(os.getppid(), platform.node(), "today"))
    with pytest.raises(ImsegError, match=f"process {os.getppid()}"), locked(tmp_path):
        pass
    write(tmp_path, Owner(NOBODY, platform.node(), "yesterday"))
    with locked(tmp_path):
        pass


def test_a_file_that_its_owner_removes_while_it_is_opened_is_nobodys(tmp_path, monkeypatch):
    """Two processes would hold two files of the same name otherwise."""
    real, removed = fcntl.flock, []

    def locks(stream, how):
        if not removed:
            removed.append(stream)
            (tmp_path / LOCK_FILE).unlink()
        return real(stream, how)

    monkeypatch.setattr(fcntl, "flock", locks)
    with locked(tmp_path):
        assert removed
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "12345", "{}", '{"pid": "x"}'])
def test_whatever_stands_in_the_file_it_can_be_taken_when_nobody_holds_it(tmp_path, text) -> None:
    (tmp_path / LOCK_FILE).write_text(text)
    assert owner_of(tmp_path) is None
    with locked(tmp_path):
        pass
