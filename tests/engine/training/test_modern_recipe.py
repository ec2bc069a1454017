"""Parts of the modern recipe at work: clipping, groups, class weights, augmentation, averages."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from imseg.approaches.planning.stage_plan import planned_stages
from imseg.engine.training.job import TrainJob
from imseg.engine.training.label_facts import loss_of
from imseg.engine.training.learner import Learner
from imseg.engine.training.monitor import Clock, Listener
from imseg.engine.training.optimizer import ScheduledAdamW, optimizer_for
from imseg.engine.training.recipe import RECIPES, Augmentation, Recipe
from imseg.engine.training.trainer import train
from imseg.ops.limits import limits_for
from imseg.tasks import Multiclass
from imseg.types import TargetSpec

STRONG = limits_for("strong", kind="binary", modality="gray", rotate=True)
MODERN = replace(
    RECIPES["modern"],
    epochs=4,
    batch_size=4,
    augmentation=Augmentation(level="strong", rotate=True, limits=STRONG),
)


def one_step(make_job, **parts: object) -> dict[str, torch.Tensor]:
    """Return the gradients that an optimizer got in the first step."""
    job = make_job(recipe=Recipe(epochs=1, max_steps=1, batch_size=6, **parts))
    objective = job.objective.open(job)
    network = job.network.make(channels=job.channels, outputs=job.outputs)
    objective.begin(network)
    learner = Learner(network, job, objective, listener=Listener(), clock=Clock())
    learner.learn(next(iter(objective.passes())))
    return {name: weight.grad.clone() for name, weight in network.named_parameters()}


def norm_of(gradients: dict[str, torch.Tensor]) -> float:
    return math.sqrt(sum(float(each.square().sum()) for each in gradients.values()))


def test_long_gradients_are_shortened_and_short_ones_left_alone(make_job) -> None:
    torch.manual_seed(0)
    free = one_step(make_job)
    torch.manual_seed(0)
    clipped = one_step(make_job, clip=norm_of(free) / 2)
    assert norm_of(clipped) == pytest.approx(norm_of(free) / 2, rel=1e-3)
    torch.manual_seed(0)
    same = one_step(make_job, clip=norm_of(free) * 2)
    assert all(torch.equal(same[name], free[name]) for name in free)


def naive_adamw(weight: float, gradients: list[float], rates: list[float], decay: float) -> float:
    """Return a weight after torch's AdamW, whose decay is multiplied by the step size."""
    mean = square = 0.0
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        weight *= 1 - rate * decay
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        root = math.sqrt(square / (1 - 0.999**step))
        weight -= rate * mean / (1 - 0.9**step) / (root + 1e-8)
    return weight


def test_groups_learn_at_their_share_of_a_step_size_that_follows_the_schedule() -> None:
    weights = [nn.Parameter(torch.tensor([2.0])) for _ in range(3)]
    gradients = torch.randn(8, generator=torch.Generator().manual_seed(1)).tolist()
    rates = [1 / (1 + step) for step in range(8)]
    groups = [(0.25, weights[:1]), (0.0, weights[1:2]), (1.0, weights[2:])]
    optimizer = ScheduledAdamW(groups, learning_rate=0.1, decay=0.02, rate=rates.__getitem__)
    for gradient in gradients:
        for weight in weights:
            weight.grad = torch.tensor([gradient])
        optimizer.step()
    for share, (weight,) in groups:
        each = [0.1 * share * rate for rate in rates]
        assert weight.item() == pytest.approx(naive_adamw(2.0, gradients, each, 0.2), abs=1e-5)
    assert weights[1].item() == 2.0, "a share of 0 is frozen"


def test_groups_continue_to_the_same_bits() -> None:
    def opened(seed: int) -> tuple[list[nn.Parameter], ScheduledAdamW]:
        torch.manual_seed(seed)
        made = [nn.Parameter(torch.randn(2, 3, 4, 4)) for _ in range(2)]
        groups = [(0.2, made[:1]), (1.0, made[1:])]
        return made, ScheduledAdamW(groups, learning_rate=0.1, decay=0.01, rate=lambda n: 0.9**n)

    def steps(made, optimizer, numbers: range) -> None:
        for number in numbers:
            for place, weight in enumerate(made):
                torch.manual_seed(10 * number + place)
                weight.grad = torch.randn(weight.shape)
            optimizer.step()

    whole, optimizer = opened(0)
    steps(whole, optimizer, range(6))
    first, optimizer = opened(0)
    steps(first, optimizer, range(3))
    kept = {name: value.clone() for name, value in optimizer.tensors().items()}
    second, resumed = opened(1)
    with torch.no_grad():
        for weight, value in zip(second, first, strict=True):
            weight.copy_(value)
    resumed.restore(kept, steps=3)
    steps(second, resumed, range(3, 6))
    assert all(torch.equal(*pair) for pair in zip(whole, second, strict=True))


def test_the_optimizer_of_a_recipe_has_the_groups_of_the_network(make_job, monkeypatch) -> None:
    job = make_job(recipe=replace(MODERN, learning_rate=0.5))
    network = job.network.make(channels=job.channels, outputs=job.outputs)
    weights = list(network.parameters())
    halves = [(0.1, weights[:3]), (1.0, weights[3:])]
    monkeypatch.setattr(type(job.network), "parameter_groups", lambda self, module: halves)
    for name in ("adamw", "keras-adamw"):
        made = optimizer_for(network, replace(job, recipe=replace(job.recipe, optimizer=name)))
        assert made.largest == pytest.approx([0.05, 0.5])


def test_classes_are_as_frequent_as_people_labeled_them(stored, tmp_path, make_job) -> None:
    spec = TargetSpec(
        kind="multiclass",
        values=(0, 1, 2),
        names=("a", "b", "c"),
        colors=((0, 0, 0),) * 3,
        void=255,
    )
    labels = np.full((2, 1, 8, 8), 1, np.uint8)
    labels[0, 0, :4] = 2  # 32 pixels of b, 88 of a, none of c, 8 void
    labels[1, 0, 0] = 255
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "wrong.npy", np.full((2, 1, 8, 8), 3, np.uint8))
    people = replace(stored("labeled", 2), targets=tmp_path / "labels.npy", indices=(0, 1))
    teachers = replace(people, targets=tmp_path / "wrong.npy", inconsistent=tmp_path / "wrong.npy")
    job: TrainJob = make_job(recipe=replace(MODERN, class_balance=0.5))
    job = replace(job, samples=(people, teachers), target=spec.as_dict(), outputs=4)
    weights = loss_of(job, Multiclass(spec=spec)).class_weights
    assert weights is not None and len(weights) == 4
    assert weights[2] / weights[1] == pytest.approx(math.sqrt(88 / 32))
    assert weights[3] == pytest.approx(weights[1]), "what is not there counts as the most frequent"
    assert (88 * weights[1] + 32 * weights[2]) / 120 == pytest.approx(1)


def test_the_last_averaged_weights_are_kept_whatever_validation_says(make_job, monkeypatch) -> None:
    job = make_job(recipe=MODERN)
    opened = type(job.objective).open

    def falling(value, of: TrainJob):
        work = opened(value, of)
        work.scores = iter(range(100, 0, -1))
        monkeypatch.setattr(type(work), "score", lambda self, network: float(next(self.scores)))
        return work

    monkeypatch.setattr(type(job.objective), "open", falling)
    trained, state = train(job, Listener())
    assert trained.best_epoch == trained.epochs == 4
    assert all(each.isfinite().all() for each in state.values())


def test_another_augmentation_is_another_job(make_job) -> None:
    job = make_job(recipe=MODERN)
    weaker = replace(MODERN.augmentation, limits=replace(STRONG, turn=10.0))
    assert job.digest() == replace(job, recipe=replace(MODERN)).digest()
    assert job.digest() != replace(job, recipe=replace(MODERN, augmentation=weaker)).digest()
    plain = make_job(recipe=Recipe())
    assert plain.digest() != job.digest()


def test_mask_scorers_learn_from_masks_as_they_were_made() -> None:
    from imseg.approaches.planning.budget import make_plan
    from imseg.approaches.planning.plan import Facts
    from imseg.approaches.planning.settings import Settings

    facts = Facts(
        task="binary", labeled=40, validation=20, unlabeled=90, channels=3, outputs=1,
        typical_size=(64, 64),
    )  # fmt: skip
    plan = make_plan(Settings(approach="im++", device="cpu", max_steps=9), facts)
    limits = {stage.name: stage.recipe.augmentation.limits for stage in planned_stages(plan, facts)}
    assert limits.pop("scorers") is None
    assert limits and all(limits.values())
