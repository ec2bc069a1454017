"""A worker that dies or hangs is replaced once, and never takes another job with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engine.workers.outcomes import Outcome, train_all

from imseg.engine.training.job import Trained, TrainJob, load_network
from imseg.engine.training.recipe import Recipe
from imseg.engine.workers import worker_process
from imseg.engine.workers.executors import Processes
from imseg.engine.workers.worker_process import HeartbeatTimeout
from imseg.errors import ImsegError, TrainingFailed
from imseg.networks.registry import UNetConfig

SHORT = HeartbeatTimeout(starting=30.0, working=1.0, factor=0)
PRETENDER = Path(__file__).with_name("pretender.py")


@pytest.fixture
def pretend(make_job, monkeypatch, tmp_path) -> Callable[..., list[TrainJob]]:
    """A function that lets workers pretend, and returns a job for each name."""
    trained = Trained(
        name="pretended", job="", seed=0, images=1, steps=1, epochs=1, best_epoch=1,
        epoch_scores=(0.5,), losses=(0.5,), scores={"iou": 0.5}, parameters=1, flops=1.0,
        seconds=1.0, network=UNetConfig(), channels=1, outputs=1,
    )  # fmt: skip
    (tmp_path / "done.json").write_bytes(trained.as_json())
    command = (sys.executable, "-S", str(PRETENDER), str(tmp_path))
    monkeypatch.setattr(worker_process, "COMMAND", command)
    return lambda *names: [make_job(number, name=name) for number, name in enumerate(names)]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pid_of(folder: Path, name: str, time: int) -> int:
    return int((folder / f"{name}.{time}.pid").read_text())


def test_a_hung_worker_is_replaced_and_its_job_done_again(pretend, tmp_path) -> None:
    outcome = train_all(Processes(2, timeout=SHORT), pretend("hangs-once", "slow", "fine"))
    assert sorted(outcome.ended) == ["fine", "hangs-once", "slow"]
    assert None not in outcome.ended.values()
    told = "its process was silent for 1 s and was started again"
    assert outcome.notes == [("hangs-once", told, True)]
    assert pid_of(tmp_path, "hangs-once", 2) != pid_of(tmp_path, "hangs-once", 1)
    assert not is_there(pid_of(tmp_path, "hangs-once", 1))
    assert not (tmp_path / "slow.2.pid").exists(), "slow, but alive"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("hangs", r"hangs: its process was silent for 1 s; started again, it was silent for 1 s"),
        ("dies", r"dies: its process ended unexpectedly \(exit status 3\); started again, it end"),
        ("hangs-then-dies", r"hangs-then-dies: .*silent for 1 s; started again, it ended unexpe"),
        ("exhausted", r"exhausted: its process ran out of memory: a smaller .*; started again, it"),
    ],
)
def test_a_job_that_loses_two_workers_ends_without_a_network_and_the_others_are_done(
    pretend, tmp_path, name: str, why: str
) -> None:
    outcome = train_all(Processes(1, timeout=SHORT), pretend(name, "fine", "talks"))
    assert list(outcome.ended) == [name, "fine", "talks"]
    assert [name for name, trained in outcome.ended.items() if trained is None] == [name]
    assert len(outcome.reasons) == 1 and re.match(why, outcome.reasons[0])
    assert outcome.notes[0][0] == name and outcome.notes[0][2]
    assert (tmp_path / f"{name}.2.pid").exists() and not (tmp_path / f"{name}.3.pid").exists()


@pytest.mark.parametrize("trouble", ["never-ready", "deaf"])
def test_a_worker_that_never_reads_its_job_is_replaced(pretend, tmp_path, trouble: str) -> None:
    """The job is longer than the 64 KiB that a pipe holds: whoever writes it waits for a reader."""
    (tmp_path / trouble).touch()
    job = pretend("fine")[0]
    job = replace(job, samples=(replace(job.samples[0], indices=tuple(range(50_000))),))
    assert len(job.as_json()) > 2 * 65_536
    outcome = train_all(Processes(1, timeout=replace(SHORT, starting=1.0)), [job])
    assert outcome.ended["fine"] is not None
    assert outcome.notes == [("fine", "its process was silent for 1 s and was started again", True)]


@pytest.mark.parametrize("name", ["torn", "mute"])
def test_a_worker_that_ends_in_the_middle_of_a_word_is_replaced(pretend, monkeypatch, name) -> None:
    monkeypatch.setattr(worker_process, "PARTING", 0.5)
    outcome = train_all(Processes(1, timeout=SHORT), pretend(name))
    assert outcome.ended[name] is not None
    ((_, text, warning),) = outcome.notes
    assert warning and text.endswith("and was started again")


def test_the_silence_allowed_grows_with_what_was_seen(pretend, tmp_path) -> None:
    """0.3 s and then 1.5 s; 1 s is allowed at least."""
    patient = Processes(1, timeout=replace(SHORT, factor=20))
    assert train_all(patient, pretend("slower-and-slower")).notes == []
    (tmp_path / "slower-and-slower.1.pid").unlink()
    (tmp_path / "slower-and-slower.count").unlink()
    (why,) = train_all(Processes(1, timeout=SHORT), pretend("slower-and-slower")).reasons
    assert "silent" in why


def test_a_worker_that_runs_out_of_memory_gives_it_back_and_is_replaced(pretend, tmp_path) -> None:
    outcome = train_all(Processes(1, timeout=SHORT), pretend("exhausted-once", "fine"))
    assert None not in outcome.ended.values()
    ((name, text, warning),) = outcome.notes
    assert name == "exhausted-once" and warning
    assert "--workers 1, needs less" in text and text.endswith("and was started again")
    assert not is_there(pid_of(tmp_path, "exhausted-once", 1))


@pytest.mark.parametrize(("trouble", "kind"), [("broken", TrainingFailed), ("refused", ImsegError)])
def test_after_an_error_that_would_meet_every_job_none_is_begun_and_running_ones_end(
    pretend, tmp_path, trouble: str, kind: type[Exception]
) -> None:
    outcome = Outcome()
    with pytest.raises(kind, match="disk full"):
        train_all(Processes(2, timeout=SHORT), pretend("slow", trouble, "fine"), outcome=outcome)
    assert list(outcome.ended) == ["slow"] and outcome.ended["slow"] is not None
    assert not (tmp_path / "fine.1.pid").exists()


def test_what_a_worker_says_reaches_the_user(pretend) -> None:
    outcome = train_all(Processes(1, timeout=SHORT), pretend("talks"))
    assert outcome.notes == [("talks", "batches are halved", True), ("talks", "all is well", False)]


def test_leaving_early_ends_a_worker_that_does_not_listen(pretend, tmp_path) -> None:
    class Left(BaseException):
        pass

    def leave(*_: object) -> None:
        raise Left

    began = time.monotonic()
    with pytest.raises(Left):
        train_all(Processes(1), pretend("hangs-once"), stepped=leave)
    assert time.monotonic() - began < 5
    assert not is_there(pid_of(tmp_path, "hangs-once", 1))


@pytest.mark.parametrize("wrong", [{"starting": 0}, {"working": -1}, {"factor": -0.1}])
def test_silences_are_longer_than_nothing(wrong) -> None:
    with pytest.raises(ValueError, match="longer than 0 s"):
        HeartbeatTimeout(**wrong)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_job_done_again(make_job) -> None:
    job = make_job(recipe=Recipe(epochs=200, batch_size=3, max_steps=400, validate_every=100))
    executor = Processes(1)
    killed: list[int] = []

    def kill_once(_job: TrainJob, _steps: int, _loss: float) -> None:
        if not killed:
            killed.append(executor._workers[0]._process.pid)
            os.kill(killed[0], signal.SIGKILL)

    outcome = train_all(executor, [job], stepped=kill_once)
    assert len(killed) == 1
    assert outcome.reasons == []
    ((name, text, warning),) = outcome.notes
    assert name == job.name and "lack of memory" in text and warning
    trained = outcome.ended[job.name]
    assert trained is not None and trained.steps == 400
    assert not trained.retried
    assert load_network(job.output, job.network, job.compute, channels=1, outputs=1)


@pytest.mark.slow
def test_a_stopped_worker_is_replaced_while_another_one_goes_on(make_job) -> None:
    """Real workers: SIGSTOP leaves a process there with all its threads, and it does nothing."""
    recipe = Recipe(epochs=300, batch_size=3, max_steps=600, validate_every=100)
    jobs = [make_job(number, recipe=recipe) for number in range(2)]
    executor = Processes(2, timeout=HeartbeatTimeout(working=5.0, factor=1))
    at_work: set[str] = set()
    stopped: list[int] = []

    def stop_once(job: TrainJob, _steps: int, _loss: float) -> None:
        at_work.add(job.name)
        if len(at_work) == 2 and not stopped:
            stopped.append(executor._workers[0]._process.pid)
            os.kill(stopped[0], signal.SIGSTOP)

    outcome = train_all(executor, jobs, stepped=stop_once)
    assert stopped and not is_there(stopped[0])
    ((name, text, warning),) = outcome.notes
    assert name in at_work and warning
    assert text == "its process was silent for 5 s and was started again"
    assert {name: trained.steps for name, trained in outcome.ended.items()} == {
        job.name: 600 for job in jobs
    }


@pytest.mark.slow
def test_time_that_the_parent_itself_stood_still_is_no_silence_of_a_worker(
    pretend, tmp_path
) -> None:
    (job,) = pretend("slow")  # says something every 0.25 s, for 3 s
    (tmp_path / "job.json").write_text(job.as_json())
    program = f"""
from pathlib import Path
from imseg.engine.workers import worker_process
from imseg.engine.workers.executors import Processes
from imseg.engine.training.job import TrainJob
from imseg.engine.workers.worker_process import HeartbeatTimeout
worker_process.COMMAND = {worker_process.COMMAND!r}
worker_process.GLANCE = 0.5
notes = []
job = TrainJob.from_json(Path({str(tmp_path / "job.json")!r}).read_text())
with Processes(1, timeout=HeartbeatTimeout(starting=30.0, working=1.0, factor=0)) as executor:
    executor.run(
        [job],
        stepped=print,
        noted=lambda *note: notes.append(note),
        done=lambda job, trained, why: print("done", trained is not None, len(notes)),
    )
"""
    path = os.pathsep.join(p for p in sys.path if p)
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    while not (tmp_path / "slow.1.pid").exists():
        time.sleep(0.05)
    parent.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    parent.send_signal(signal.SIGCONT)
    assert parent.communicate(timeout=60)[0].strip() == "done True 0"
