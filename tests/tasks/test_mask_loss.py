"""Cross-entropy, soft Dice, class weights and robust errors against loops over pixels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imseg.errors import ImsegError
from imseg.tasks import Regression
from imseg.tasks.mask_loss import FITTING, MOST_WEIGHT, MaskLoss, check_loss, class_weights
from imseg.types import VOID, TargetSpec

KINDS = ("binary", "multiclass", "multilabel")
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def tasks(binary, multiclass, multilabel) -> dict:
    return {
        "binary": binary(void=True),
        "multiclass": multiclass(3, void=True),
        "multilabel": multilabel(void=True),
    }


@pytest.fixture
def numbers() -> Regression:
    spec = TargetSpec(
        kind="regression", coding="numbers", names=("depth",), colors=((255, 255, 255),), high=1.0
    )
    return Regression(spec=spec)


def made_up(task, seed: int, images: int = 3, side: int = 5) -> tuple[torch.Tensor, ...]:
    """Return logits, targets with void pixels and absent classes, and weights of 0 and 1."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(images, task.spec.outputs, side, side)) * 2
    if task.spec.kind == "multiclass":
        target = random.integers(1, 4, (images, 1, side, side))
        target[0][target[0] == 2] = 1
    else:
        target = random.integers(0, 2, (images, task.spec.planes, side, side))
        target[0, 0] = 0
    target[random.random(target.shape) < 0.2] = VOID
    weight = (random.random((images, 1, side, side)) < 0.8).astype(np.float32)
    made = (logits.astype(np.float32), target.astype(np.uint8), weight)
    return tuple(torch.from_numpy(each) for each in made)


def naive_terms(task, logits, target, weight, weights=None) -> list[float]:
    """Return cross-entropy and Dice, pixel by pixel."""
    images, outputs, height, width = logits.shape
    many = task.spec.kind == "multiclass"
    total = mass = 0.0
    together, each = np.zeros((3, outputs)), []
    for image in range(images):
        for plane in range(1 if many else outputs):
            areas = together if many else np.zeros((3, 1))
            each.append(areas)
            for row in range(height):
                for column in range(width):
                    value = int(target[image, plane, row, column])
                    counted = float(weight[image, 0, row, column]) if value != VOID else 0.0
                    counted *= 3.0 if task.spec.kind == "multilabel" and plane == 2 else 1.0
                    if not counted:
                        continue
                    said = logits[image, :, row, column].astype(float)
                    if many:
                        chances = np.exp(said) / np.exp(said).sum()
                        error = -math.log(chances[value])
                        areas[1] += counted * chances
                        areas[0, value] += counted * chances[value]
                        areas[2, value] += counted
                    else:
                        chance = 1 / (1 + math.exp(-said[plane]))
                        error = -math.log(chance if value else 1 - chance)
                        areas[1, 0] += counted * chance
                        areas[0, 0] += counted * chance * value
                        areas[2, 0] += counted * value
                    by_class = 1.0 if weights is None else weights[value]
                    total, mass = total + counted * by_class * error, mass + counted * by_class
    masks = together.T if many else np.concatenate(each, axis=1).T
    ratios = [1 - (2 * both + 1) / (said + true + 1) for both, said, true in masks if true]
    return [total / max(mass, 1.0), float(np.mean(ratios)) if ratios else 0.0]


@shared
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS))
def test_the_terms_are_those_of_a_loop_over_pixels(tasks, seed: int, kind: str) -> None:
    task = tasks[kind]
    logits, target, weight = made_up(task, seed)
    found = MaskLoss(task=task, name="cross-entropy+dice").terms(logits, target, weight)
    wanted = naive_terms(task, logits.numpy(), target.numpy(), weight.numpy())
    assert found.tolist() == pytest.approx(wanted, abs=1e-5)
    alone = MaskLoss(task=task, name="cross-entropy").terms(logits, target, weight)
    assert alone.item() == pytest.approx(wanted[0], abs=1e-5)


@shared
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS), cut=st.integers(1, 3))
def test_pieces_weighted_by_their_masses_add_up_to_the_whole(tasks, seed, kind, cut) -> None:
    loss = MaskLoss(task=tasks[kind], name="cross-entropy+dice")
    batch = made_up(tasks[kind], seed, images=4)
    whole = loss.terms(*batch)
    pieces = list(zip(*(each.split([cut, 4 - cut]) for each in batch), strict=True))
    masses = torch.stack([loss.masses(target, weight) for _, target, weight in pieces])
    shares = masses / masses.sum(dim=0).clamp(min=1.0)
    terms = torch.stack([loss.terms(*piece) for piece in pieces])
    pixels, dice = (terms * shares).sum(dim=0).tolist()
    assert pixels == pytest.approx(whole[0].item(), abs=1e-5)
    if kind == "multiclass":  # of all images together, which pieces do not know of each other
        assert min(terms[:, 1].tolist()) - 1e-6 <= dice <= max(terms[:, 1].tolist()) + 1e-6
    else:
        assert dice == pytest.approx(whole[1].item(), abs=1e-5)
    assert loss.masses(*batch[1:]).tolist() == pytest.approx(masses.sum(dim=0).tolist())


def test_classes_count_by_their_weights_in_the_cross_entropy_alone(tasks) -> None:
    task = tasks["multiclass"]
    logits, target, weight = made_up(task, 1)
    weights = (0.5, 1.0, 4.0, 2.0)
    loss = MaskLoss(task=task, name="cross-entropy+dice", class_weights=weights)
    wanted = naive_terms(task, logits.numpy(), target.numpy(), weight.numpy(), weights)
    assert loss.terms(logits, target, weight).tolist() == pytest.approx(wanted, abs=1e-5)
    assert loss.masses(target, weight)[0] == pytest.approx(
        sum(
            weights[value] * counted
            for value, counted in zip(target.flatten(), weight.flatten(), strict=True)
            if value != VOID
        )
    )


@pytest.mark.parametrize("kind", KINDS)
def test_void_and_weightless_pixels_have_no_gradient(tasks, kind: str) -> None:
    task = tasks[kind]
    logits, target, weight = made_up(task, 2)
    logits.requires_grad_()
    MaskLoss(task=task, name="cross-entropy+dice").terms(logits, target, weight).sum().backward()
    hidden = (
        ((target == VOID) | (weight == 0)).expand_as(logits)
        if kind != "multilabel"
        else ((target == VOID) | (weight == 0))
    )
    assert not logits.grad[hidden].any()
    assert logits.grad[~hidden].any()


def test_dice_is_that_of_each_image_and_of_classes_that_of_all_together(tasks) -> None:
    target = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    target[0, :, :4], target[1, :, 0, 0] = 1, 1
    logits = torch.full((2, 1, 8, 8), -20.0)
    logits[0, :, :4] = 20.0  # the large one is found, the small one is not
    found = MaskLoss(task=tasks["binary"], name="cross-entropy+dice").terms(logits, target, None)
    assert found[1].item() == pytest.approx((0 + (1 - 1 / 2)) / 2, abs=1e-5)
    classes = torch.full((2, 4, 8, 8), -20.0)
    classes[:, 1], classes[:, 2] = -logits[:, 0], logits[:, 0]
    loss = MaskLoss(task=tasks["multiclass"], name="cross-entropy+dice")
    found = loss.terms(classes, target + 1, None)
    ground = 1 - (2 * 95 + 1) / (96 + 95 + 1)
    thing = 1 - (2 * 32 + 1) / (32 + 33 + 1)
    assert found[1].item() == pytest.approx((ground + thing) / 2, abs=1e-5)


def test_a_batch_without_anything_has_no_dice(tasks) -> None:
    target = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    loss = MaskLoss(task=tasks["binary"], name="cross-entropy+dice")
    pixels, masks = loss.terms(torch.zeros(1, 1, 4, 4), target, None)
    assert masks == 0 and pixels == pytest.approx(math.log(2))
    assert loss.masses(target, None).tolist() == [16, 0]


def test_a_perfect_answer_costs_next_to_nothing(tasks) -> None:
    target = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    target[:, :, 2:5, 3:7] = 1
    loss = MaskLoss(task=tasks["binary"], name="cross-entropy+dice")
    assert loss.terms((target.float() - 0.5) * 40, target, None).sum() < 1e-4
    assert loss.terms((0.5 - target.float()) * 40, target, None).sum() > 1


def test_a_large_error_of_a_number_counts_linearly_and_an_unknown_one_not_at_all(numbers) -> None:
    logits = torch.tensor([-2.0, 0.0, 1.0, 3.0]).reshape(1, 1, 2, 2)
    target = torch.tensor([0.15, 1.0, math.nan, 0.93]).reshape(1, 1, 2, 2)
    found = MaskLoss(task=numbers, name="smooth-l1").terms(logits, target, None)
    errors = [abs(1 / (1 + math.exp(-x)) - t) for x, t in ((-2, 0.15), (0, 1.0), (3, 0.93))]
    each = [e * e / 0.2 if e < 0.1 else e - 0.05 for e in errors]
    assert found.item() == pytest.approx(sum(each) / 3, abs=1e-6)


def test_the_loss_of_the_paper_is_that_of_the_task(tasks) -> None:
    for task in tasks.values():
        batch = made_up(task, 3)
        loss = MaskLoss(task=task)
        assert torch.equal(loss.terms(*batch), task.loss(*batch))
        assert torch.equal(loss.masses(*batch[1:]), task.mass(*batch[1:]))


@given(
    counts=st.lists(st.integers(0, 10**6), min_size=2, max_size=9).filter(any),
    balance=st.floats(0, 1),
)
def test_the_mean_weight_of_all_pixels_is_one_and_rare_classes_weigh_more(counts, balance) -> None:
    found = class_weights(torch.tensor(counts, dtype=torch.float), balance)
    mean = sum(w * n for w, n in zip(found, counts, strict=True)) / sum(counts)
    assert mean == pytest.approx(1, abs=1e-6)
    there = sorted((n, w) for n, w in zip(counts, found, strict=True) if n)
    weights = [w for _, w in there]
    assert all(a >= b * (1 - 1e-9) for a, b in itertools.pairwise(weights))
    assert max(weights) <= MOST_WEIGHT * min(weights) * (1 + 1e-6)


def test_full_balance_lets_classes_count_alike() -> None:
    counts = torch.tensor([100.0, 50.0, 25.0])
    weights = class_weights(counts, 1.0)
    amounts = [w * n for w, n in zip(weights, counts.tolist(), strict=True)]
    assert amounts == pytest.approx([amounts[0]] * 3)


@pytest.mark.parametrize("kind", FITTING)
@pytest.mark.parametrize("name", ["paper", "cross-entropy", "cross-entropy+dice", "smooth-l1"])
def test_a_loss_that_does_not_fit_the_masks_is_refused(tasks, numbers, kind: str, name) -> None:
    spec = {**tasks, "regression": numbers}[kind].spec
    if name in FITTING[kind]:
        check_loss(spec, name)
        return
    with pytest.raises(ImsegError) as caught:
        check_loss(spec, name)
    assert str(caught.value) == (
        f"--loss {name} does not fit {kind} masks.\n"
        f"  Expected: {', '.join(FITTING[kind][:-1])} or {FITTING[kind][-1]}.\n"
        f"  Got:      {name}\n"
        f"  Try:      --loss {FITTING[kind][-1]}, or leave it out."
    )


def test_classes_are_balanced_where_there_are_classes_and_a_loss_that_can(tasks) -> None:
    check_loss(tasks["multiclass"].spec, "cross-entropy", balanced=True)
    with pytest.raises(ImsegError, match="--class-balance does not fit binary masks"):
        check_loss(tasks["binary"].spec, "cross-entropy", balanced=True)
    with pytest.raises(ImsegError, match="--class-balance does not go with the loss of the paper"):
        check_loss(tasks["multiclass"].spec, "paper", balanced=True)
