"""What must hold for scores and losses, whatever the masks are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from imseg.ops import overlap
from imseg.types import VOID

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 12)
measures = pytest.mark.parametrize("measure", [overlap.iou, overlap.dice, overlap.boundary_iou])


@pytest.fixture(scope="module", params=["binary", "multiclass"])
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def task(kind, binary, multiclass):
    return binary(void=True) if kind == "binary" else multiclass(3, void=True)


def draw_masks(seed: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return two batches of masks; some are empty, some full."""
    generator = torch.Generator().manual_seed(seed)
    shares = torch.rand(2, 4, 1, 1, generator=generator) * 1.4 - 0.2
    masks = torch.rand(2, 4, height, width, generator=generator) < shares
    return masks[0], masks[1]


def draw_target(task, seed: int, height: int, width: int, images: int = 3) -> tuple[Tensor, Tensor]:
    """Return predictions and targets without void."""
    generator = torch.Generator().manual_seed(seed)
    first = task.spec.first_index
    shape = (2, images, 1, height, width)
    last = first + len(task.spec.values)
    drawn = torch.randint(first, last, shape, generator=generator).to(torch.uint8)
    return drawn[0], drawn[1]


@measures
@given(seed=seeds, height=sides, width=sides)
def test_overlap_is_symmetric_and_between_0_and_1(measure, seed, height: int, width: int) -> None:
    one, other = draw_masks(seed, height, width)
    score = measure(one, other)
    assert torch.equal(score, measure(other, one))
    assert ((score >= 0) & (score <= 1)).all()


@measures
@given(seed=seeds, height=sides, width=sides)
def test_equal_masks_overlap_wholly(measure, seed: int, height: int, width: int) -> None:
    mask, _ = draw_masks(seed, height, width)
    torch.testing.assert_close(
        measure(mask, mask.clone()), torch.ones(4).double(), rtol=0, atol=1e-6
    )


@given(seed=seeds, height=sides, width=sides)
def test_overlap_follows_the_naive_formula(seed: int, height: int, width: int) -> None:
    one, other = draw_masks(seed, height, width)
    for index in range(len(one)):
        a = {tuple(place) for place in one[index].nonzero().tolist()}
        b = {tuple(place) for place in other[index].nonzero().tolist()}
        iou = len(a & b) / len(a | b) if a | b else 1.0
        dice = (2 * len(a & b) + 1) / (len(a) + len(b) + 1)
        assert overlap.iou(one, other)[index].item() == pytest.approx(iou, abs=1e-6)
        assert overlap.dice(one, other)[index].item() == pytest.approx(dice)


@given(seed=seeds, height=st.integers(8, 16), width=st.integers(8, 16))
def test_the_boundary_is_what_an_erosion_takes_away(seed: int, height: int, width: int) -> None:
    one, other = draw_masks(seed, height, width)
    rims = []
    for masks in (one, other):
        padded = np.pad(masks.numpy(), ((0, 0), (1, 1), (1, 1)))
        rim = np.zeros(masks.shape, bool)
        for index, y, x in np.ndindex(*masks.shape):
            around = padded[index, y : y + 3, x : x + 3]
            rim[index, y, x] = around[1, 1] and not around.all()
        rims.append(torch.from_numpy(rim))
    expected = overlap.iou(rims[0], rims[1])
    assert torch.equal(overlap.boundary_iou(one, other, thickness=0.05), expected)


@given(seed=seeds, height=sides, width=sides, classes=st.integers(1, 5))
def test_the_confusion_matrix_counts_pixel_by_pixel(seed, height, width, classes) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, height, width)
    drawn = torch.randint(0, classes, (2, *shape), generator=generator).to(torch.uint8)
    valid = torch.rand(shape, generator=generator) < 0.8
    expected = np.zeros((2, classes, classes), np.int64)
    for index, y, x in np.ndindex(*shape):
        if valid[index, y, x]:
            expected[index, drawn[1, index, y, x], drawn[0, index, y, x]] += 1
    each = overlap.confusion_matrices(drawn[0], drawn[1], classes=classes, valid=valid)
    np.testing.assert_array_equal(each, expected)
    whole = overlap.confusion_matrix(drawn[0], drawn[1], classes=classes, valid=valid)
    np.testing.assert_array_equal(whole, expected.sum(axis=0))


@given(seed=seeds, height=sides, width=sides)
def test_summed_confusion_scores_like_all_pixels_together(task, seed, height, width) -> None:
    predicted, target = draw_target(task, seed, height, width)
    summed = sum(task.tally(predicted[i : i + 1], target[i : i + 1]) for i in range(3))
    joined = task.tally(side_by_side(predicted), side_by_side(target))
    assert task.dataset_scores(summed) == task.dataset_scores(joined)


def side_by_side(masks: Tensor) -> Tensor:
    """Return a batch of masks as one wide mask."""
    return torch.cat(list(masks), dim=-1).unsqueeze(0)


@given(seed=seeds, height=st.integers(2, 10), width=st.integers(2, 10))
def test_data_set_scores_follow_the_naive_formula(task, seed: int, height: int, width: int) -> None:
    predicted, target = draw_target(task, seed, height, width)
    scores = task.dataset_scores(task.tally(predicted, target))
    first, names = task.spec.first_index, task.spec.names
    found: dict[str, float] = {}
    for index, name in enumerate(names):
        a, b = predicted.numpy() == index + first, target.numpy() == index + first
        if (a | b).any():
            found[name] = (a & b).sum() / (a | b).sum()
            dice = 2 * (a & b).sum() / (a.sum() + b.sum())
            assert scores["dice_per_class"][name] == pytest.approx(dice)
        assert scores["iou_per_class"][name] == pytest.approx(found.get(name))
    assert scores["miou"] == pytest.approx(np.mean(list(found.values())))
    assert scores["accuracy"] == pytest.approx((predicted == target).double().mean().item())


@given(seed=seeds, height=sides, width=sides)
def test_void_pixels_change_no_score(task, kind, seed: int, height: int, width: int) -> None:
    predicted, target = draw_target(task, seed, height, width)
    void = torch.rand(target.shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    target = target.masked_fill(void, VOID)
    other = predicted.clone()
    lowest = task.spec.first_index
    other[void] = lowest + (other[void] + 1 - lowest) % len(task.spec.values)
    assert torch.equal(task.tally(predicted, target), task.tally(other, target))
    before, after = (task.image_scores(p, target) for p in (predicted, other))
    assert all(torch.equal(before[name], after[name]) for name in ("iou", "dice", "accuracy"))


@given(seed=seeds, height=sides, width=sides)
def test_void_pixels_change_neither_loss_nor_meter(
    task, seed: int, height: int, width: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    _, target = draw_target(task, seed, height, width)
    void = torch.rand(target.shape, generator=generator) < 0.4
    target = target.masked_fill(void, VOID)
    logits = torch.randn(2, 3, task.spec.outputs, height, width, generator=generator)
    other = torch.where(void, logits[1], logits[0])
    losses = [task.loss(each, target, None) for each in (logits[0], other)]
    torch.testing.assert_close(losses[0], losses[1])
    values = []
    for each in (logits[0], other):
        meter = task.meter()
        meter.update(task.probabilities(each), target)
        values.append(meter.value())
    assert values[0] == pytest.approx(values[1], abs=1e-6)


@given(seed=seeds, height=sides, width=sides)
def test_void_and_weight_0_leave_the_mean_over_the_rest(task, kind, seed, height, width) -> None:
    generator = torch.Generator().manual_seed(seed)
    _, target = draw_target(task, seed, height, width)
    void = torch.rand(target.shape, generator=generator) < 0.3
    weight = (torch.rand(target.shape, generator=generator) < 0.7).float()
    logits = torch.randn(3, task.spec.outputs, height, width, generator=generator)
    errors = []
    for b, _, y, x in np.ndindex(*target.shape):
        if void[b, 0, y, x] or weight[b, 0, y, x] == 0:
            continue
        at, true = logits[b, :, y, x].double().tolist(), int(target[b, 0, y, x])
        if kind == "binary":
            errors.append((1 / (1 + math.exp(-at[0])) - true) ** 2)
        else:
            errors.append(math.log(sum(math.exp(value) for value in at)) - at[true])
    loss = task.loss(logits, target.masked_fill(void, VOID), weight)
    assert loss.item() == pytest.approx(np.mean(errors) if errors else 0.0, abs=1e-5)


@given(seed=seeds, height=sides, width=sides)
def test_classes_are_never_predicted_as_inconsistent(multiclass, seed, height, width) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(2, 4, height, width, generator=generator)
    probabilities[:, 0] = 2
    assert (multiclass(3).discretize(probabilities) > 0).all()
    assert (multiclass(3, paper=True).discretize(probabilities) == 0).all()


def test_two_empty_masks_agree_except_under_paper(binary) -> None:
    nothing = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    assert binary().image_scores(nothing, nothing)["iou"].item() == 1
    assert binary(paper=True).image_scores(nothing, nothing)["iou"].item() == 0
