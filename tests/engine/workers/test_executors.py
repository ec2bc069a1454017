"""Equal jobs give equal networks, whoever trains them, and a job that fails loses no other."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from tests.engine.workers.outcomes import Outcome, train_all
from tests.sets import rest_but

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.loading.samples import Copies, InitialWeights
from imseg.engine.training import monitor
from imseg.engine.training.job import Trained, TrainJob
from imseg.engine.training.monitor import Listener
from imseg.engine.training.trainer import train
from imseg.engine.workers.choice import choose_executor
from imseg.engine.workers.executors import Processes, Serial, run_jobs
from imseg.errors import ImsegError, ImsegErrors, TrainingFailed, parts_of
from imseg.networks.registry import provide
from imseg.ops.photometric import STRENGTH_SCHEDULES
from imseg.progress import Note
from imseg.tasks import Metric


def comparable(trained: Trained) -> dict[str, object]:
    return {**json.loads(trained.as_json()), "seconds": 0, "clock": {}}


@pytest.mark.parametrize("threads", rest_but([1, 2], lambda threads: threads == 1))
def test_processes_and_one_process_train_the_same_bits(make_job, tmp_path, threads: int) -> None:
    """Plain images, copies that are drawn once, and copies that are new at every look."""
    plain = make_job().samples[0]
    strong = {"strength": STRENGTH_SCHEDULES["default"][-1], "rotate": True, "seed": 5}
    parts = [
        plain,
        replace(plain, copies=Copies(count=1, **strong)),
        replace(plain, copies=Copies(count=0, **strong)),
    ]
    found, notes = {}, []
    # The threads a process happens to have, and those of an executor, are not those of a job.
    for name, executor in (("serial", Serial()), ("processes", Processes(2, threads=1))):
        jobs = [
            make_job(
                number,
                samples=(part,),
                compute=ComputeConfig(threads=threads),
                output=tmp_path / name / f"network-{number}.safetensors",
            )
            for number, part in enumerate(parts)
        ]
        outcome = train_all(executor, jobs)
        assert outcome.reasons == []
        found[name] = [(load_file(job.output), comparable(outcome.ended[job.name])) for job in jobs]
        notes.append(sorted(outcome.notes))
    assert notes[0] == notes[1]
    for (ours, facts), (theirs, same_facts) in zip(*found.values(), strict=True):
        assert facts == same_facts
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    first, second, third = (weights for weights, _ in found["serial"])
    assert any(not torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(second[key], third[key]) for key in first)


def test_all_steps_are_reported(make_job) -> None:
    job = make_job()
    steps = []
    train_all(Serial(), [job], stepped=lambda _job, count, _loss: steps.append(count))
    assert sum(steps) == job.steps == 4


@pytest.mark.parametrize(
    "make_executor",
    rest_but([Serial, partial(Processes, 1)], lambda make: make is Serial),
    ids=["serial", "one"],
)
def test_after_an_error_that_would_meet_every_job_none_is_begun_and_finished_ones_are_kept(
    make_executor, make_job, tmp_path
) -> None:
    gone = replace(make_job().samples[0], images=tmp_path / "gone.npy")
    fine, broken, never = make_job(0), make_job(1, samples=(gone,)), make_job(2)
    executor, outcome = make_executor(), Outcome()
    with pytest.raises(TrainingFailed, match=r"network-1.*gone\.npy.*repeat the command"):
        train_all(executor, [fine, broken, never], outcome=outcome)
    assert list(outcome.ended) == [fine.name]
    assert fine.output.exists() and fine.output.with_suffix(".json").exists()
    assert not broken.output.exists() and not never.output.exists()
    if isinstance(executor, Processes):
        assert not executor._workers[0].alive, "workers end with their executor"


@pytest.mark.parametrize(
    "make_executor",
    rest_but([Serial, partial(Processes, 1)], lambda make: make is Serial),
    ids=["serial", "one"],
)
def test_an_error_that_the_user_can_mend_keeps_its_parts(make_executor, make_job, tmp_path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"not weights")
    initial = InitialWeights(weights=damaged, digest="")
    with pytest.raises(ImsegError) as here:
        train(make_job(initial=initial), Listener())
    with pytest.raises(ImsegError) as there:
        train_all(make_executor(), [make_job(initial=initial)])
    assert parts_of(there.value) == parts_of(here.value)
    assert there.value.what.endswith("damaged.safetensors cannot be loaded.")
    assert there.value.expected and there.value.got


def test_several_errors_have_the_parts_of_each() -> None:
    one, other = ImsegError("one", got="1", hint="mend it"), ImsegError("other", expected="2")
    parts = parts_of(ImsegErrors([one, other]))
    assert parts == [*parts_of(one), *parts_of(other)]
    assert [str(ImsegError(**each)) for each in parts] == [str(one), str(other)]


def test_a_network_that_exhausts_the_memory_of_this_process_is_left_out(make_job) -> None:
    class Greedy(torch.nn.Conv2d):
        """Has a first training too large to be validated."""

        made = 0

        def __init__(self, **_: object) -> None:
            super().__init__(1, 1, 1)
            Greedy.made += 1
            self.number = Greedy.made

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if self.number == 1 and not self.training:
                raise MemoryError
            return super().forward(images)

    own = provide(Greedy, "mine:network")
    jobs = [make_job(number, network=own) for number in range(2)]
    outcome = train_all(Serial(), jobs)
    assert [trained is None for trained in outcome.ended.values()] == [True, False]
    (why,) = outcome.reasons
    assert why.startswith("start/network-0: ran out of memory") and "needs less" in why


def test_who_is_left_out_is_told_with_how_many_are_left(make_job, monkeypatch) -> None:
    def fail(job: TrainJob, *_: object, **__: object) -> None:
        raise TrainingFailed(f"{job.name}: the loss stopped being a number")

    monkeypatch.setattr("imseg.engine.workers.executors.train_and_save", fail)
    told = []
    metric = Metric(key="iou", label="IoU")
    jobs = [make_job(number) for number in range(3)]
    trained, failures = run_jobs(jobs, Serial(), metric=metric, elsewhere={}, progress=told.append)
    assert trained == [] and len(failures) == 3
    why = "the loss stopped being a number"
    assert told == [
        Note(
            text=f"start/network-{n} is left out, {2 - n} of 3 networks are left: {why}",
            warning=True,
        )
        for n in range(3)
    ]


def test_an_error_in_a_users_network_is_kept_as_the_cause(make_job) -> None:
    class Mistaken(torch.nn.Module):
        def __init__(self, **_: object) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise ZeroDivisionError("no such layer")

    job = make_job(network=provide(Mistaken, "mine:network"))
    with pytest.raises(TrainingFailed, match="ZeroDivisionError: no such layer") as caught:
        train_all(Serial(), [job])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_users_own_network_is_trained_in_this_process(make_job) -> None:
    compute, importable = make_job().compute, make_job().network

    def network(**_: object) -> torch.nn.Module:
        return torch.nn.Conv2d(1, 1, 1)

    own = provide(network)
    assert not own.is_importable
    assert isinstance(choose_executor(compute, workers=4, network=own), Serial)
    assert isinstance(choose_executor(compute, workers=1, network=importable), Serial)
    assert isinstance(choose_executor(compute, workers=4, network=importable), Processes)
    job = make_job(network=own)
    outcome = train_all(Serial(), [job])
    assert outcome.ended[job.name].parameters == 2


def test_a_training_has_the_threads_of_its_job_and_puts_them_back(make_job, monkeypatch) -> None:
    seen = []

    def look(job: TrainJob, listener, **_: object) -> None:
        seen.append(torch.get_num_threads())
        raise TrainingFailed("enough")

    monkeypatch.setattr("imseg.engine.workers.executors.train_and_save", look)
    before = torch.get_num_threads()
    train_all(
        Serial(), [make_job(threads, compute=ComputeConfig(threads=threads)) for threads in (1, 3)]
    )
    assert seen == [1, 3] and torch.get_num_threads() == before


def test_what_a_training_says_is_told_to_the_user(make_job, monkeypatch) -> None:
    def speak(job: TrainJob, listener, **_: object) -> None:
        listener.alive()
        listener.note("batches are halved", warning=True)
        listener.note("all is well")
        raise TrainingFailed("enough")

    monkeypatch.setattr("imseg.engine.workers.executors.train_and_save", speak)
    told = []
    metric = Metric(key="iou", label="IoU")
    run_jobs([make_job()], Serial(), metric=metric, elsewhere={}, progress=told.append)
    assert told[:2] == [
        Note(text="start/network-0: batches are halved", warning=True),
        Note(text="start/network-0: all is well"),
    ]


def test_forward_passes_of_training_and_validation_are_signs_of_life(make_job, monkeypatch) -> None:
    """Two epochs of two batches; validation after each, and once more at the end."""
    monkeypatch.setattr(monitor, "REPORT_EVERY", math.inf)  # however slow this machine is
    signs: list[str] = []
    listener = Listener()
    listener.alive = lambda: signs.append("alive")
    listener.stepped = lambda steps, _loss: signs.append("stepped")
    job = make_job()
    train(job, listener)
    passes = job.steps + 2 + 1
    assert signs.index("stepped") == passes - 1, "the last validation comes after the last steps"
    assert signs.count("alive") >= passes
