"""Equal jobs give equal networks, whoever trains them, and a lost worker loses no job."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from imseg.engine.executors import Processes, Serial, choose_executor
from imseg.engine.job import Job, NetworkSpec, Recipe, Trained
from imseg.engine.networks import load_network
from imseg.errors import TrainingFailed


def train_all(executor, jobs, stepped=None) -> tuple[dict[str, Trained | None], list[str]]:
    """Return what became of each job, and the reasons of those that failed."""
    ended: dict[str, Trained | None] = {}
    reasons: list[str] = []

    def done(job: Job, trained: Trained | None, why: str) -> None:
        assert job.name not in ended, "a job ends once"
        ended[job.name] = trained
        if trained is None:
            reasons.append(why)

    with executor:
        executor.run(jobs, stepped=stepped or (lambda *_: None), done=done)
    return ended, reasons


def comparable(trained: Trained) -> dict[str, object]:
    return {**json.loads(trained.as_json()), "seconds": 0}


def test_processes_and_one_process_train_the_same_bits(make_job, tmp_path) -> None:
    found = {}
    for name, executor in (("serial", Serial()), ("processes", Processes(2))):
        jobs = [
            make_job(number, output=tmp_path / name / f"network-{number}.safetensors")
            for number in (0, 1)
        ]
        ended, reasons = train_all(executor, jobs)
        assert reasons == []
        found[name] = [(load_file(job.output), comparable(ended[job.name])) for job in jobs]
    for (ours, facts), (theirs, same_facts) in zip(*found.values(), strict=True):
        assert facts == same_facts
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    first, second = (weights for weights, _ in found["serial"])
    assert any(not torch.equal(first[key], second[key]) for key in first)


def test_all_steps_are_reported(make_job) -> None:
    job = make_job()
    steps = []
    train_all(Serial(), [job], lambda _job, count, _loss: steps.append(count))
    assert sum(steps) == job.steps == 4


def test_a_killed_worker_is_replaced_and_its_job_done_again(make_job) -> None:
    job = make_job(recipe=Recipe(epochs=200, batch_size=3, max_steps=400))
    executor = Processes(1)
    killed: list[int] = []

    def kill_once(_job: Job, _steps: int, _loss: float) -> None:
        if not killed:
            killed.append(executor._workers[0]._process.pid)
            os.kill(killed[0], signal.SIGKILL)

    ended, reasons = train_all(executor, [job], kill_once)
    assert len(killed) == 1
    assert reasons == []
    trained = ended[job.name]
    assert trained is not None and trained.steps == 400
    assert not trained.retried
    assert load_network(job.output, job.network, job.numerics)


@pytest.mark.slow
def test_a_job_whose_worker_dies_twice_is_left_out_and_the_next_is_done(make_job) -> None:
    long = make_job(0, recipe=Recipe(epochs=300, batch_size=3, max_steps=600))
    executor = Processes(1)

    def kill(job: Job, _steps: int, _loss: float) -> None:
        if job.name == long.name:
            with contextlib.suppress(ProcessLookupError):
                os.kill(executor._workers[0]._process.pid, signal.SIGKILL)

    ended, reasons = train_all(executor, [long, make_job(1)], kill)
    assert ended["start/network-0"] is None
    assert ended["start/network-1"] is not None
    assert len(reasons) == 1 and "twice" in reasons[0]
    assert not long.output.exists()


def test_a_job_that_cannot_be_done_fails_after_the_others_are_finished(make_job, tmp_path) -> None:
    gone = replace(make_job().parts[0], images=tmp_path / "gone.npy")
    broken, fine = make_job(0, parts=(gone,)), make_job(1)
    executor = Processes(1)
    with pytest.raises(TrainingFailed, match=r"network-0.*gone\.npy.*repeat the command"):
        train_all(executor, [broken, fine])
    assert fine.output.exists() and fine.output.with_suffix(".json").exists()
    assert not broken.output.exists()
    assert executor._workers[0]._process.poll() is not None, "workers end with their executor"


def test_a_users_own_network_is_trained_in_this_process(make_job) -> None:
    numerics = make_job().numerics

    def network(**_: object) -> torch.nn.Module:
        return torch.nn.Conv2d(1, 1, 1)

    assert isinstance(choose_executor(numerics, workers=4, factory=network), Serial)
    assert isinstance(choose_executor(numerics, workers=1), Serial)
    assert isinstance(choose_executor(numerics, workers=4), Processes)
    job = make_job(network=NetworkSpec(channels=1, outputs=1, factory="mine:network"))
    ended, _ = train_all(Serial(network), [job])
    assert ended[job.name].parameters == 2
