"""Schedules of the step size, decay and averaged weights, against formulas of their own."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from imseg.engine.loading.samples import InitialWeights
from imseg.engine.training import seeds
from imseg.engine.training.job import build, load_network
from imseg.engine.training.learner import Learner
from imseg.engine.training.monitor import Listener
from imseg.engine.training.objectives.objective import AveragedNetwork
from imseg.engine.training.optimizer import BETAS, EPSILON, KerasAdamW, ScheduledAdamW
from imseg.engine.training.recipe import Recipe
from imseg.engine.training.trainer import train, train_and_save

SCHEDULES = ("constant", "cosine", "polynomial")
RECIPE = Recipe(epochs=4, batch_size=3)

ignore = Listener()


def naive_rates(schedule: str, warm_up: int, steps: int) -> list[float]:
    """Return the share of the largest step size that each step has, step by step."""
    rates = []
    warm_up = min(warm_up, steps // 4)
    for step in range(steps):
        if step < warm_up:
            rates.append((step + 1) / warm_up)
            continue
        left = 1 - (step - warm_up) / (steps - warm_up)
        rates.append(
            {
                "constant": 1.0,
                "cosine": math.sin(math.pi / 2 * left) ** 2,  # half of 1 + cos, written otherwise
                "polynomial": math.exp(0.9 * math.log(left)),
            }[schedule]
        )
    return rates


@given(schedule=st.sampled_from(SCHEDULES), warm_up=st.integers(0, 20), steps=st.integers(1, 60))
def test_the_step_size_follows_its_schedule(schedule: str, warm_up: int, steps: int) -> None:
    recipe = replace(RECIPE, schedule=schedule, warm_up=warm_up)
    found = [recipe.rate(step, steps) for step in range(steps)]
    assert found == pytest.approx(naive_rates(schedule, warm_up, steps), abs=1e-12)
    assert all(0 < rate <= 1 for rate in found)
    rising = min(warm_up, steps // 4)
    after = found[rising:]
    assert after == sorted(after, reverse=True), "it only falls after the warm-up"
    assert found[rising] == 1.0


def test_a_schedule_ends_near_0_and_does_not_rise_beyond_its_end() -> None:
    for schedule, last in (("cosine", 1e-4), ("polynomial", 5e-3)):
        recipe = replace(RECIPE, schedule=schedule)
        assert 0 < recipe.rate(999, 1000) < last
        assert recipe.rate(1000, 1000) == recipe.rate(1100, 1000) == pytest.approx(0, abs=1e-12)


def naive_adamw(
    weight: float, gradients: list[float], *, largest: float, decay: float, rates: list[float]
) -> list[float]:
    """Return a weight after each step: Keras' AdamW, with a decay that follows the schedule."""
    mean = square = 0.0
    found = []
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        weight -= decay * rate * weight
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
        step_size = largest * rate * math.sqrt(1 - BETAS[1] ** step) / (1 - BETAS[0] ** step)
        weight -= step_size * mean / (math.sqrt(square) + EPSILON)
        found.append(weight)
    return found


@pytest.mark.parametrize("warm_up", [0, 3])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_steps_and_decay_follow_the_schedule(schedule: str, warm_up: int) -> None:
    recipe = replace(RECIPE, schedule=schedule, warm_up=warm_up)
    steps, decay, largest = 12, 0.02, 0.1
    gradients = torch.randn(steps, generator=torch.Generator().manual_seed(3)).tolist()
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 2.0)
    optimizer = KerasAdamW(
        module, learning_rate=largest, decay=decay, rate=lambda step: recipe.rate(step, steps)
    )
    found = []
    for gradient in gradients:
        module.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        found.append(module.weight.item())
    rates = naive_rates(schedule, warm_up, steps)
    wanted = naive_adamw(2.0, gradients, largest=largest, decay=decay, rates=rates)
    assert found == pytest.approx(wanted, abs=1e-5)
    assert optimizer.steps_made == steps


@pytest.mark.parametrize("keras", [False, True])
def test_steps_are_those_of_torch_to_the_bit(keras: bool) -> None:
    """Weights of several shapes and orders in memory, one of them without a gradient at first."""

    def made() -> nn.Sequential:
        torch.manual_seed(1)
        layers = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Conv2d(3, 40, 3), nn.Conv2d(40, 1, 1))
        return layers.to(memory_format=torch.channels_last)

    ours, theirs = made(), made()
    halves = [
        [
            (share, list(layer.parameters()))
            for share, layer in zip((0.5, 1.0, 0.0), each, strict=True)
        ]
        for each in (ours, theirs)
    ]
    how = {"learning_rate": 0.1, "decay": 0.01, "rate": lambda step: 0.9**step}
    optimizer = (
        KerasAdamW(ours, **how, groups=halves[0]) if keras else ScheduledAdamW(halves[0], **how)
    )
    groups = [{"params": weights, "share": 0.1 * share} for share, weights in halves[1]]
    reference = torch.optim.AdamW(groups, betas=BETAS, weight_decay=0.01 / 0.1, fused=True)
    for step in range(5):
        for group in reference.param_groups:
            group["lr"] = group["share"] * 0.9**step
            group["eps"] = EPSILON / math.sqrt(1 - BETAS[1] ** (step + 1)) if keras else 1e-8
        for weight, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            weight.grad = None if step < 2 and len(weight) == 3 else torch.randn_like(weight)
            other.grad = weight.grad
        optimizer.step()
        reference.step()
        remembered = {
            f"{number}/{name}": value
            for number, kept in reference.state_dict()["state"].items()
            for name, value in kept.items()
        }
        assert all(map(torch.equal, ours.parameters(), theirs.parameters()))
        assert optimizer.tensors().keys() == remembered.keys()
        assert all(torch.equal(value, remembered[k]) for k, value in optimizer.tensors().items())
    optimizer.zero_grad()
    assert {weight.grad for weight in ours.parameters()} == {None}


@pytest.mark.rest
def test_a_training_that_compiles_nothing_does_not_load_the_compiler(make_job) -> None:
    program = """
import sys
from imseg.engine.training.job import TrainJob
from imseg.engine.training.monitor import Listener
from imseg.engine.training.trainer import train_and_save

train_and_save(TrainJob.from_json(sys.stdin.read()), Listener())
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""
    found = subprocess.run(
        [sys.executable, "-c", program],
        input=make_job(recipe=replace(RECIPE, epochs=1, clip=1.0)).as_json(),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert found.stdout == "[]\n", found.stdout + found.stderr


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_an_optimizer_that_goes_on_takes_the_steps_of_one_that_never_stopped(schedule) -> None:
    recipe = replace(RECIPE, schedule=schedule, warm_up=2)

    def opened(module: nn.Module) -> KerasAdamW:
        return KerasAdamW(
            module, learning_rate=0.1, decay=0.01, rate=lambda step: recipe.rate(step, 9)
        )

    def steps(module: nn.Module, optimizer: KerasAdamW, numbers: range) -> None:
        for number in numbers:
            for weight in module.parameters():
                weight.grad = torch.full_like(weight, math.sin(number + 1))
            optimizer.step()

    torch.manual_seed(1)
    whole, halted = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)
    halted.load_state_dict(whole.state_dict())
    steps(whole, opened(whole), range(9))
    steps(halted, first := opened(halted), range(4))
    second = opened(halted)
    second.restore({key: value.clone() for key, value in first.tensors().items()}, steps=4)
    assert second.steps_made == 4
    steps(halted, second, range(4, 9))
    assert all(
        torch.equal(value, whole.state_dict()[k]) for k, value in halted.state_dict().items()
    )


@given(decay=st.floats(0.0, 0.999), steps=st.integers(1, 30), seed=st.integers(0, 2**31))
def test_averaged_weights_are_the_exponential_mean_of_those_after_each_step(
    decay: float, steps: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    average = AveragedNetwork(network, decay)
    wanted = {key: value.double().clone() for key, value in network.state_dict().items()}
    for step in range(1, steps + 1):
        state = network.state_dict()
        for value in state.values():
            if value.dtype.is_floating_point:
                value.copy_(torch.randn(value.shape, generator=generator))
            else:
                value.add_(1)
        average.update(network, steps=step)
        kept = min(decay, (1 + step) / (10 + step))
        for key, value in state.items():
            wanted[key] = (
                kept * wanted[key] + (1 - kept) * value.double()
                if value.dtype.is_floating_point
                else value.double()
            )
    found = average.network.state_dict()
    assert set(found) == set(wanted)
    for key, value in found.items():
        torch.testing.assert_close(value.double(), wanted[key], rtol=1e-5, atol=1e-5)
    assert found["1.num_batches_tracked"] == steps
    assert not average.network.training
    assert not any(weight.requires_grad for weight in average.network.parameters())


def test_an_average_leaves_the_network_as_it_is() -> None:
    network = nn.Conv2d(1, 2, 1)
    average = AveragedNetwork(network, 0.9)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    average.update(network, steps=1)
    with torch.no_grad():
        average.network.weight.fill_(5)
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())
    assert network.training and all(weight.requires_grad for weight in network.parameters())


@pytest.fixture
def after_steps(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """The weights of the network in training, as they are after each validation."""
    found: list[dict[str, torch.Tensor]] = []
    real = Learner.learn

    def learn(self, *args, **keywords):
        loss = real(self, *args, **keywords)
        state = self._network.state_dict()
        found.append({key: value.clone() for key, value in state.items()})
        return loss

    monkeypatch.setattr(Learner, "learn", learn)
    return found


def test_kept_is_the_average_of_all_steps_and_training_is_as_without_it(
    make_job, after_steps, monkeypatch
) -> None:
    """With as many validations as steps, the mean can be made from what is seen after each."""
    one_step = Recipe(epochs=5, batch_size=6, keep="last")
    train(make_job(recipe=one_step), ignore)
    plain = list(after_steps)
    after_steps.clear()
    job = make_job(recipe=replace(one_step, average=0.4))
    trained, kept = train(job, ignore)
    for before, now in zip(plain, after_steps, strict=True):
        assert all(torch.equal(value, now[key]) for key, value in before.items())
    first = build(
        job.network, job.compute, channels=1, outputs=1, seed=weights_seed(job.seed)
    ).state_dict()
    for key, wanted in first.items():
        if not wanted.dtype.is_floating_point:
            continue
        for step, state in enumerate(after_steps, 1):
            share = min(0.4, (1 + step) / (10 + step))
            wanted = share * wanted + (1 - share) * state[key]
        torch.testing.assert_close(kept[key], wanted, rtol=1e-4, atol=1e-5)
    assert trained.epochs == 5
    assert not torch.equal(kept["out.weight"], after_steps[-1]["out.weight"])


def weights_seed(seed: int) -> int:
    return seeds.derive(seed, "weights")


@pytest.mark.parametrize("average", [0.0, 0.5])
@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_best_or_the_last_weights_are_kept_as_asked(
    make_job, monkeypatch, keep: str, average: float
) -> None:
    scores = iter([0.1, 0.5, 0.3, 0.2])
    seen = []

    def score(_objective, network) -> float:
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return next(scores)

    monkeypatch.setattr("imseg.engine.training.objectives.supervised.SupervisedAtWork.score", score)
    job = make_job(recipe=replace(RECIPE, keep=keep, average=average))
    trained, state = train(job, ignore)
    kept = {"best": 2, "last": 4}[keep]
    assert trained.best_epoch == kept
    assert trained.epoch_scores == (0.1, 0.5, 0.3, 0.2), "all are told"
    assert all(torch.equal(state[name], seen[kept - 1][name]) for name in state)
    others = [each for number, each in enumerate(seen) if number != kept - 1]
    assert not any(torch.equal(state["out.weight"], each["out.weight"]) for each in others)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_what_is_stored_is_what_was_validated(make_job, average: float) -> None:
    job = make_job(recipe=replace(RECIPE, average=average))
    trained = train_and_save(job, ignore)
    network = load_network(job.output, job.network, job.compute, channels=1, outputs=1)
    objective = job.objective.open(job)
    assert objective.score(network) == trained.epoch_scores[trained.best_epoch - 1]
    assert objective.validate(network).scores == trained.scores


def test_training_begins_with_the_weights_of_a_file(make_job, tmp_path, after_steps) -> None:
    """A step of next to no size leaves them as they are; they are not those of the job's seed."""
    job = make_job(recipe=Recipe(epochs=1, batch_size=6, learning_rate=1e-9, weight_decay=0.0))
    given = build(job.network, job.compute, channels=1, outputs=1, seed=99).state_dict()
    path = tmp_path / "given.safetensors"
    save_file({key: value.contiguous() for key, value in given.items()}, path)
    job = replace(job, initial=InitialWeights(weights=path, digest="given"))
    train_and_save(job, ignore)
    kept = load_file(job.output)
    for name in (name for name in given if name.endswith(("weight", "bias"))):
        torch.testing.assert_close(kept[name], given[name], rtol=0, atol=1e-7)
    own = build(
        job.network, job.compute, channels=1, outputs=1, seed=weights_seed(job.seed)
    ).state_dict()
    assert not torch.allclose(kept["out.weight"], own["out.weight"], atol=1e-3)
    assert job.digest() != replace(job, initial=None).digest()
