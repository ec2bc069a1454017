"""Mean Teacher: one batch of labeled and unlabeled images, and a teacher that is an average."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from imseg.data.cache.store import open_array
from imseg.engine.training.monitor import Listener
from imseg.engine.training.objectives.mean_teacher import MeanTeacher, MeanTeacherAtWork, MixedBatch
from imseg.engine.training.objectives.objective import Amounts, ViewStrengths
from imseg.engine.training.recipe import Recipe
from imseg.engine.training.trainer import train, train_and_save
from imseg.networks.registry import UNetConfig
from imseg.ops.augment import MOVES, move
from imseg.ops.photometric import STRENGTH_SCHEDULES, Strength

STRONG = STRENGTH_SCHEDULES["default"][-1]
STRENGTHS = ViewStrengths(levels={}, strongest=STRONG)
RECIPE = Recipe(epochs=3, batch_size=6, average=0.9)


@pytest.fixture
def make_taught(make_job, unlabeled):
    """A function that returns a job with a mean teacher."""
    value = MeanTeacher()
    views = value.unlabeled_views(unlabeled, STRENGTHS)

    def make(**changes: object):
        fields = {"objective": value, "unlabeled": views, "recipe": RECIPE}
        return make_job(1, **{**fields, "network": UNetConfig(width=0.25), **changes})

    return make


@pytest.fixture
def plain_network():
    """A network without normalization, so that pieces of a batch add up to the whole."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 1, 1))


def begun(job, network):
    work = job.objective.open(job)
    work.begin(network)
    return work


def steps_of(work):
    return [step for steps in work.passes() for step in steps]


def test_the_teacher_sees_images_moved_and_no_more_and_the_student_the_same_moves(
    make_taught, plain_network, unlabeled
) -> None:
    stored = torch.from_numpy(open_array(unlabeled.images).copy()).permute(0, 3, 1, 2).float() / 255
    allowed = [move(stored[row], by) for row in unlabeled.indices for by in MOVES]
    for step in steps_of(begun(make_taught(), plain_network)):
        weak, strong = step.batch.unlabeled
        for one, other in zip(weak, strong, strict=True):
            near = min(allowed, key=lambda each: (each - one).abs().mean())
            assert torch.equal(near, one)
            assert not torch.equal(one, other)
            again = min(allowed, key=lambda each: (normal(each) - normal(other)).abs().mean())
            assert torch.equal(again, one), "moved alike"


def normal(image):
    return (image - image.mean()) / image.std()


def test_a_batch_has_its_shares_and_an_epoch_every_labeled_image_once(make_taught) -> None:
    job = make_taught()
    work = job.objective.open(job)
    passes = [list(steps) for steps in work.passes()]
    assert len(passes) == RECIPE.epochs
    for steps in passes:
        assert [len(step.batch.labeled) for step in steps] == [3, 3]
        assert [len(step.batch.unlabeled) for step in steps] == [4, 4], "a last one joins others"
    assert sum(len(steps) for steps in passes) == job.steps == 6


@pytest.mark.parametrize(("share", "labeled"), [(0.01, 1), (0.5, 16), (0.75, 24), (0.99, 31)])
def test_at_least_one_image_of_each_kind_is_in_a_batch(share: float, labeled: int) -> None:
    both = MeanTeacher(labeled=share).divided(Recipe(batch_size=32))
    assert [each.batch_size for each in both] == [labeled, 32 - labeled]


def test_the_weight_rises_from_nearly_nothing_and_stays() -> None:
    value = MeanTeacher(weight=2.0, ramp=0.4)
    assert value.weight_at(0.0) == pytest.approx(2 * math.exp(-5))
    assert value.weight_at(0.2) == pytest.approx(2 * math.exp(-5 / 4))
    assert value.weight_at(0.4) == value.weight_at(1.0) == 2.0
    assert MeanTeacher(weight=2.0, ramp=0.0).weight_at(0.0) == 2.0


def test_the_loss_is_that_of_labels_and_the_distance_from_the_teacher(
    make_taught, plain_network
) -> None:
    job = make_taught(objective=MeanTeacher(weight=3.0, ramp=0.0))
    work = begun(job, plain_network)
    teacher = copy.deepcopy(plain_network)
    with torch.no_grad():  # the student has moved on; the teacher has not
        for weight in plain_network.parameters():
            weight += 0.1
    step = steps_of(work)[0]
    batch = step.batch
    said = plain_network(batch.unlabeled.each[1]).sigmoid()
    wanted = teacher(batch.unlabeled.each[0]).sigmoid().detach()
    labels = job.task.loss(plain_network(batch.labeled.images), batch.labeled.targets, None)
    terms = step(plain_network)
    assert torch.allclose(terms, torch.stack([labels, 3 * ((said - wanted) ** 2).mean()]))
    terms.sum().backward()
    found = [weight.grad.clone() for weight in plain_network.parameters()]
    plain_network.zero_grad()
    loss = labels + 3 * functional.mse_loss(said, wanted)
    loss.backward()
    for one, other in zip(found, plain_network.parameters(), strict=True):
        assert torch.allclose(one, other.grad, atol=1e-7)
    assert all(weight.grad is None for weight in work.kept(plain_network).parameters())


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5])
def test_pieces_add_up_to_the_whole_step(make_taught, plain_network, most: int) -> None:
    job = make_taught(objective=MeanTeacher(weight=3.0, ramp=0.0, labeled=0.34))
    step = steps_of(begun(job, plain_network))[0]
    pieces = step.split(most)
    masses = torch.stack([piece.mass() for piece in pieces])
    shares = masses / masses.sum(0)
    total = sum(piece(plain_network) * share for piece, share in zip(pieces, shares, strict=True))
    assert torch.allclose(total, step(plain_network), atol=1e-6)
    kept = [piece.batch for piece in pieces]
    assert torch.equal(torch.cat([each.labeled.images for each in kept]), step.batch.labeled.images)
    assert torch.equal(
        torch.cat([each.unlabeled.each[1] for each in kept]), step.batch.unlabeled.each[1]
    )
    assert max(map(len, kept)) <= most
    assert isinstance(kept[0], MixedBatch)


def copied(network):
    return [weight.detach().clone() for weight in network.parameters()]


def test_the_teacher_is_the_average_of_the_weights_of_all_steps(make_taught, monkeypatch) -> None:
    seen, first = [], []

    def after_step(self, network, *, steps: int, real=MeanTeacherAtWork.after_step) -> None:
        seen.append(copied(network))
        real(self, network, steps=steps)

    def begin(self, network, real=MeanTeacherAtWork.begin):
        first.extend(copied(network))
        return real(self, network)

    monkeypatch.setattr(MeanTeacherAtWork, "after_step", after_step)
    monkeypatch.setattr(MeanTeacherAtWork, "begin", begin)
    trained, state = train(make_taught(recipe=replace(RECIPE, keep="last")), Listener())
    assert len(seen) == trained.steps == 6
    expected = first
    for number, weights in enumerate(seen, 1):
        decay = min(0.9, (1 + number) / (10 + number))
        expected = [
            decay * mean + (1 - decay) * new for mean, new in zip(expected, weights, strict=True)
        ]
    kept = [value for value in state.values() if value.dtype.is_floating_point]
    for mean in expected:
        assert any(
            mean.shape == value.shape and torch.allclose(mean, value, atol=1e-5) for value in kept
        )


def test_images_of_one_kind_are_seen_at_their_own_pace(make_taught) -> None:
    """Labeled images come once per epoch, unlabeled ones as often as their share asks for."""
    job = make_taught(objective=MeanTeacher(labeled=0.17), recipe=replace(RECIPE, epochs=4))
    work = job.objective.workload(job.recipe, Amounts(samples=6, unlabeled=4))
    assert (work.steps, work.epoch, work.images) == (24, 6, 6.0)
    assert 1.2 < work.passes < 1.3


def test_training_with_a_teacher_learns_something(make_taught) -> None:
    recipe = Recipe(epochs=80, batch_size=6, average=0.9)
    trained = train_and_save(make_taught(recipe=recipe), Listener())
    assert trained.scores["iou"] > 0.5


def test_unlabeled_images_change_what_is_learned(make_taught) -> None:
    with_teacher = train(make_taught(), Listener())[1]
    without = train(make_taught(objective=MeanTeacher(weight=0.0)), Listener())[1]
    assert any(not torch.equal(with_teacher[key], without[key]) for key in without)


def test_without_unlabeled_images_there_is_no_teacher(make_taught) -> None:
    with pytest.raises(ValueError, match="needs unlabeled images"):
        train(make_taught(unlabeled=None), Listener())


def test_the_teachers_view_is_weak(unlabeled) -> None:
    views = MeanTeacher().unlabeled_views(unlabeled, STRENGTHS)
    assert (views.strength, views.other) == (Strength(), STRONG)
