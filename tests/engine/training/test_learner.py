"""Steps where memory is short, and steps that are compiled: the same optimization either way."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from imseg.engine.hardware.device import ComputeConfig, is_exhausted
from imseg.engine.inference.predictor import in_halves
from imseg.engine.loading.samples import Batch
from imseg.engine.training import learner as learner_module
from imseg.engine.training.job import TrainJob, build
from imseg.engine.training.learner import Learner
from imseg.engine.training.monitor import Clock, Listener
from imseg.engine.training.objectives.objective import Step, by_number
from imseg.engine.training.recipe import Recipe
from imseg.engine.training.trainer import train, train_and_save
from imseg.errors import MemoryTooShort, TrainingFailed
from imseg.networks.registry import NetworkFactory, provide


class Heard(Listener):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps = 0

    def stepped(self, steps: int, loss: float) -> None:
        self.steps += steps

    def note(self, text: str, *, warning: bool = False) -> None:
        assert warning
        self.notes.append(text)


class Small(torch.nn.Module):
    """A network without normalization that can look at so many images at once."""

    def __init__(self, channels: int, outputs: int, room: int, seen: list[int]) -> None:
        super().__init__()
        self.layer = torch.nn.Conv2d(channels, outputs, 3, padding=1)
        self.room, self.seen = room, seen

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(len(images))
            if len(images) > self.room:
                raise torch.OutOfMemoryError("no room on this device")
        return self.layer(images)


def small_job(make_job, factory: NetworkFactory) -> TrainJob:
    network = provide(factory, "mine:network")
    return make_job(network=network, recipe=Recipe(epochs=3, batch_size=6))


def trained_with(make_job, room: int):
    seen: list[int] = []
    heard = Heard()

    def factory(*, channels: int, outputs: int, width: float) -> torch.nn.Module:
        return Small(channels, outputs, room, seen)

    # A slow training leaves a checkpoint behind, which is not for the next one to continue from.
    job = small_job(make_job, factory)
    output = job.output.with_name(f"room-for-{room}.safetensors")
    trained, state = train(replace(job, output=output), heard)
    return trained, state, seen, heard


def test_pieces_of_a_batch_are_the_same_step(make_job) -> None:
    whole, wanted, _, quiet = trained_with(make_job, 6)
    assert (whole.at_once, quiet.notes) == (None, [])
    for room, sizes in ((5, [3, 3]), (3, [3, 3]), (2, [2, 2, 2])):
        pieces, found, seen, heard = trained_with(make_job, room)
        assert pieces.at_once == sizes[0]
        assert seen[-len(sizes) :] == sizes
        for name, value in wanted.items():
            assert torch.allclose(found[name], value, atol=1e-5)
        assert pieces.losses == pytest.approx(whole.losses, rel=1e-4)
        assert heard.steps == whole.steps == pieces.steps == 3
        said = heard.notes[-1]
        assert f"gradients of {sizes[0]} at a time" in said and "normalized by itself" in said


@pytest.mark.rest
def test_pieces_stay_small_for_the_rest_of_the_training(make_job) -> None:
    _, _, seen, heard = trained_with(make_job, 2)
    # 6 and 3 were tried once each: whole, halved, halved again.
    assert [size for size in seen if size > 2] == [6, 3]
    assert len(heard.notes) == 2


@given(samples=st.integers(1, 70), most=st.integers(1, 70))
def test_pieces_are_few_and_even_and_leave_nothing_out(samples: int, most: int) -> None:
    numbers = torch.arange(samples, dtype=torch.float32).reshape(-1, 1, 1, 1)
    whole = Step(Batch(numbers, numbers, None), lambda *_: numbers.sum(), by_number)
    pieces = whole.split(most)
    sizes = [piece.samples for piece in pieces]
    assert max(sizes) <= most and len(sizes) == -(-samples // most)
    assert max(sizes) - min(sizes) <= 1
    assert torch.equal(torch.cat([piece.batch.images for piece in pieces]), numbers)
    assert sum(piece.mass() for piece in pieces) == whole.mass() == samples


@pytest.mark.rest
def test_memory_that_is_too_short_for_anything_is_a_failure_that_says_what_to_try(make_job) -> None:
    with pytest.raises(TrainingFailed, match=r"too short for 2 images at once.*--image-size"):
        trained_with(make_job, 1)


def test_a_lack_of_memory_is_no_reason_to_try_another_seed(make_job) -> None:
    seen: list[int] = []
    seeds: list[int] = []

    def factory(*, channels: int, outputs: int, width: float) -> torch.nn.Module:
        seeds.append(torch.initial_seed())
        return Small(channels, outputs, 1, seen)

    with pytest.raises(MemoryTooShort):
        train_and_save(small_job(make_job, factory), Heard())
    assert len(seeds) == 1


@pytest.mark.rest
def test_looks_and_votes_are_made_in_halves_where_memory_is_short() -> None:
    asked: list[int] = []

    def ask(images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        if len(images) > 3:
            raise torch.OutOfMemoryError("no room")
        return images * 2

    images = torch.arange(10.0).reshape(10, 1, 1, 1)
    assert torch.equal(in_halves(ask, images), images * 2)
    assert [size for size in asked if size <= 3] == [2, 3, 2, 3]
    with pytest.raises(torch.OutOfMemoryError):
        in_halves(lambda _: ask(torch.zeros(4)), images)
    with pytest.raises(ValueError, match="else"):
        in_halves(lambda _: (_ for _ in ()).throw(ValueError("something else")), images)


def test_a_compiled_first_step_that_runs_out_of_memory_is_tried_plain(
    make_job, monkeypatch
) -> None:
    def no_room(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room for compiled steps")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: no_room)
    monkeypatch.setattr(learner_module, "_failed", set())
    plain = make_job(recipe=Recipe(epochs=2, batch_size=3))
    wanted, _, _ = learn_steps(plain, Heard())
    found, network, learner = learn_steps(
        replace(plain, compute=compiled_numerics()), heard := Heard()
    )
    assert learner.most is None, "whole batches fit"
    assert len(heard.notes) == 1 and "could not be compiled" in heard.notes[0]
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))
    again = learner_module.Compiled(network, compiled_numerics(), batch_size=3)
    assert not again.works, "once is enough in a process"


def test_other_errors_are_not_taken_for_a_lack_of_memory(make_job) -> None:
    def factory(**_: object) -> torch.nn.Module:
        return torch.nn.Conv2d(3, 1, 1)  # the images have one channel

    with pytest.raises(RuntimeError, match="channels"):
        train(small_job(make_job, factory), Heard())
    assert not is_exhausted(ValueError("out of memory"))
    assert is_exhausted(MemoryError())
    assert is_exhausted(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))


@pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="missing: Linux, which limits the memory of a process",
)
def test_a_real_lack_of_memory_is_recognized(tmp_path) -> None:
    """In a process that may have little more than the bare program."""
    program = """
import resource, sys, torch
from imseg.engine.hardware.device import is_exhausted
torch.set_num_threads(1)
torch.ones(1) + 1
now = next(int(l.split()[1]) * 1024 for l in open("/proc/self/status") if l.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (now + 2**28, now + 2**28))
try:
    torch.ones(2**30)
except Exception as error:
    print(type(error).__name__, is_exhausted(error))
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert found.stdout.split() == ["RuntimeError", "True"], found.stderr


def compiled_numerics() -> ComputeConfig:
    return ComputeConfig(threads=1, compile=True)


def learn_steps(job: TrainJob, heard: Heard) -> tuple[list[torch.Tensor], torch.nn.Module, Learner]:
    """Return the weights after each pass, the network, and who taught it."""
    network = build(job.network, job.compute, channels=1, outputs=1, seed=1)
    objective = job.objective.open(job)
    objective.begin(network)
    learner = Learner(network, job, objective, listener=heard, clock=Clock())
    after = []
    for steps in objective.passes():
        learner.learn(steps)
        after.append(
            torch.cat([value.flatten().float() for value in network.state_dict().values()])
        )
    return after, network, learner


@pytest.mark.slow
def test_a_compilation_that_fails_is_said_and_does_no_harm(make_job, tmp_path) -> None:
    """In a process of its own, where C++ is translated by a program that does not exist."""
    program = """
import sys
from imseg.engine.training.job import TrainJob
from imseg.engine.training.monitor import Listener
from imseg.engine.training.trainer import train_and_save

class Printing(Listener):
    def note(self, text, *, warning=False):
        print(text)

train_and_save(TrainJob.from_json(sys.stdin.read()), Printing())
"""
    plain = make_job(recipe=Recipe(epochs=2, batch_size=3))
    job = replace(plain, compute=compiled_numerics(), output=tmp_path / "failed.safetensors")
    nowhere = {
        **os.environ, "CXX": "/nowhere/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }  # fmt: skip
    found = subprocess.run(
        [sys.executable, "-c", program],
        input=job.as_json(), env=nowhere, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    (said,) = found.stdout.splitlines()
    assert "could not be compiled" in said and "C++ compiler" in said and len(said) < 400
    _, wanted = train(plain, Listener())
    state = load_file(job.output)
    assert all(torch.equal(state[name], value) for name, value in wanted.items()), (
        "the failed step left nothing behind, moving statistics included"
    )


@pytest.mark.slow
def test_compiled_steps_learn_the_same(make_job) -> None:
    plain = make_job(recipe=Recipe(epochs=2, batch_size=4))  # batches of 4 and of 2
    wanted, _, _ = learn_steps(plain, Heard())
    found, network, learner = learn_steps(
        replace(plain, compute=compiled_numerics()), heard := Heard()
    )
    assert heard.notes == []
    assert learner._compiled.works and not learner._compiled.on_trial(4), "a compiled step worked"
    # AdamW divides a gradient by its size. Where the gradient is only rounding, another order of
    # summation sends that weight another way, by up to twice the step size at both steps.
    difference = (found[0] - wanted[0]).abs()
    assert difference.quantile(0.99) < 1e-4
    assert difference.max() < 2 * 2 * plain.recipe.learning_rate
    assert set(network.state_dict()) == set(
        build(plain.network, plain.compute, channels=1, outputs=1).state_dict()
    )


def test_only_whole_batches_are_compiled(make_job, monkeypatch) -> None:
    network = build(make_job().network, make_job().compute, channels=1, outputs=1)
    calls = []
    monkeypatch.setattr(torch, "compile", lambda module, **_: calls.append(module) or "compiled")
    one = learner_module.Compiled(network, compiled_numerics(), batch_size=4)
    assert calls == [network.forward]
    assert one.forward(4) == "compiled" and one.on_trial(4)
    assert one.forward(3) is network and not one.on_trial(3)
    one.proven = True
    assert not one.on_trial(4)
    one.give_up()
    assert one.forward(4) is network
    assert learner_module.Compiled(network, ComputeConfig(), batch_size=4).forward(4) is network
