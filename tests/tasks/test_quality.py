"""How masks are scored: against naive NumPy formulas, and thresholds at their knife edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.training.job import build
from imseg.errors import ImsegError
from imseg.networks.evalnet import EvalNet
from imseg.networks.registry import EvalNetConfig
from imseg.networks.unet import MOMENTUM, PAPER_MOMENTUM
from imseg.tasks.quality import heads_for, quality_for
from imseg.types import OBJECT_PLANES, VOID

seeds = st.integers(0, 2**32 - 1)
CLASSES = 4
"""The reserved one included."""


def random(seed: int, shape: tuple[int, ...], values) -> torch.Tensor:
    generator = np.random.Generator(np.random.PCG64(seed))
    return torch.from_numpy(generator.choice(np.array(values, np.uint8), shape))


def naive_iou(mask, truth, counted) -> float | None:
    """Return the IoU of two planes where pixels count; None if both are empty there."""
    union = ((mask | truth) & counted).sum()
    return None if union == 0 else ((mask & truth) & counted).sum() / union


def strip(*counts: tuple[int, int], length: int) -> torch.Tensor:
    """Return ``1 1 1 length`` with (value, count) pixels from the left, the rest 0."""
    values = [value for value, count in counts for _ in range(count)]
    return torch.tensor(values + [0] * (length - len(values)), dtype=torch.uint8).reshape(
        1, 1, 1, -1
    )


def first(count: int, length: int) -> torch.Tensor:
    return (torch.arange(length) < count).reshape(1, 1, 1, -1)


@given(seed=seeds)
def test_a_binary_mask_is_taught_the_iou_of_what_is_not_blocked_with_the_whole_truth(
    binary, seed
) -> None:
    labels = random(seed, (3, 1, 4, 5), [0, 1])
    inconsistent = random(seed + 1, (3, 1, 4, 5), [0, 0, 1]).bool()
    truth = random(seed + 2, (3, 1, 4, 5), [0, 1, VOID])
    quality = quality_for(binary(void=True))
    wanted = quality.of_consensus(labels, inconsistent, truth)
    assert wanted.shape == (3, 1, 1)
    for i in range(3):
        mask = (labels[i] == 1).numpy() & ~inconsistent[i].numpy()
        true, counted = (truth[i] == 1).numpy(), (truth[i] != VOID).numpy()
        expected = naive_iou(mask, true, counted)
        assert wanted[i].item() == pytest.approx(1.0 if expected is None else expected, abs=1e-6)
        blanked = true & ~inconsistent[i].numpy()
        oracle = quality.true_score(labels, inconsistent, truth)[i].item()
        assert oracle == pytest.approx(naive_iou(mask, blanked, counted) or 0.0, abs=1e-6)


def test_an_empty_mask_of_nothing_is_perfect_but_worth_no_copies(binary) -> None:
    nothing = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
    calm = nothing.bool()
    for paper, told in ((False, 1.0), (True, 0.0)):
        quality = quality_for(binary(paper=paper))
        assert quality.of_prediction(nothing, nothing).item() == told
        assert quality.of_consensus(nothing, calm, nothing).item() == told
        assert quality.true_score(nothing, calm, nothing).item() == 0


@given(seed=seeds)
def test_classes_are_taught_as_a_naive_formula_says(multiclass, seed) -> None:
    labels = random(seed, (3, 1, 5, 6), range(1, CLASSES))
    inconsistent = random(seed + 1, (3, 1, 5, 6), [0, 1]).bool()
    truth = random(seed + 2, (3, 1, 5, 6), [1, 1, 2, VOID])
    quality = quality_for(multiclass(CLASSES - 1, void=True))
    wanted = quality.of_consensus(labels, inconsistent, truth)
    single = quality.of_prediction(labels, truth)
    oracle = quality.true_score(labels, inconsistent, truth)
    assert wanted.shape == single.shape == (3, 2, CLASSES)
    for i in range(3):
        gone, counted = inconsistent[i].numpy(), (truth[i] != VOID).numpy()
        said = labels[i].numpy()
        true = [((truth[i] == k).numpy()) for k in range(CLASSES)]
        left = [(each & ~gone).sum() for each in true]
        oracles = []
        for k in range(1, CLASSES):
            there, mask = true[k].any(), (said == k) & ~gone
            iou = naive_iou(mask, true[k], counted) if there else 0.0
            assert wanted[i, 0, k].item() == pytest.approx(iou, abs=1e-6)
            much = left[k] >= 0.3 * true[k].sum() or left[k] >= 0.1 * counted.sum()
            assert wanted[i, 1, k].item() == (left[k] > 0 and much)
            alone = naive_iou(said == k, true[k], counted) if there else 0.0
            assert single[i, 0, k].item() == pytest.approx(alone, abs=1e-6)
            assert single[i, 1, k].item() == (true[k].sum() > 0.01 * counted.sum())
            if left[k]:
                oracles.append(naive_iou(mask, true[k] & ~gone, counted))
        zeros = (gone & counted).any()
        assert wanted[i, :, 0].tolist() == [zeros, zeros]
        assert single[i, :, 0].tolist() == [0, 0]
        expected = sum(oracles) / len(oracles) if oracles else 0.0
        assert oracle[i].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("pixels", "blocked", "present"),
    [
        (10, 7, True),  # 30 % of its pixels are left
        (20, 15, False),  # 25 %, and 5 pixels of 100
        (100, 71, True),  # 29 %, but 29 pixels of 280
        (90, 79, False),  # 12 %, and 11 pixels of 280
        (4, 4, False),  # nothing is left
    ],
)
def test_a_class_is_present_while_enough_of_it_is_left(
    multiclass, pixels, blocked, present
) -> None:
    length = 280 if pixels > 20 else 100
    truth = strip((2, pixels), (1, length - pixels), length=length)
    wanted = quality_for(multiclass(3)).of_consensus(truth, first(blocked, length), truth)
    assert wanted[0, 1, 2].item() == present
    assert wanted[0, 0, 2].item() == pytest.approx((pixels - blocked) / pixels, abs=1e-6)


def test_a_class_with_exactly_a_tenth_of_the_image_left_is_present(multiclass) -> None:
    truth = strip((2, 90), (1, 10), length=100)
    quality = quality_for(multiclass(2))
    for blocked, present in ((80, True), (81, False)):
        wanted = quality.of_consensus(truth, first(blocked, 100), truth)
        assert wanted[0, 1, 2].item() == present


def test_void_is_no_part_of_the_image_that_a_class_has_to_cover(multiclass) -> None:
    truth = strip((2, 3), (1, 197), (VOID, 200), length=400)
    quality = quality_for(multiclass(2, void=True))
    assert quality.of_prediction(truth.masked_fill(truth == VOID, 1), truth)[0].tolist() == [
        [0, 1, 1],
        [0, 1, 1],
    ]
    whole = strip((2, 3), (1, 397), length=400)
    assert quality.of_prediction(whole, whole)[0, 1].tolist() == [0, 1, 0]


def test_what_teachers_say_about_void_is_not_scored(multiclass, multilabel) -> None:
    truth = strip((VOID, 50), (2, 10), (1, 40), length=100)
    labels = truth.masked_fill(truth == VOID, 1)
    quality = quality_for(multiclass(2, void=True))
    calm = quality.of_consensus(labels, first(0, 100), truth)
    assert calm[0].tolist() == [[0, 1, 1], [0, 1, 1]]
    assert torch.equal(quality.of_consensus(labels, first(50, 100), truth), calm)
    assert quality.true_score(labels, first(50, 100), truth).item() == 1
    nothing = torch.full((1, 1, 3, 3), VOID, dtype=torch.uint8)
    unknown = quality_for(multilabel("a", void=True)).of_prediction(nothing * 0, nothing)
    assert unknown[0].tolist() == [[0], [0]]


def test_a_class_must_cover_more_than_a_hundredth_of_the_truth(multiclass) -> None:
    quality = quality_for(multiclass(2))
    for pixels, present in ((2, False), (3, True)):
        truth = strip((2, pixels), (1, 200 - pixels), length=200)
        assert quality.of_prediction(truth, truth)[0, 1, 2].item() == present


@pytest.mark.parametrize(
    ("names", "coding", "parts"),
    [
        (("alive", "dead", "position"), "planes", (100, 100, 1000)),
        (OBJECT_PLANES, "objects", (100, 1000, 1000)),
        (("border", "position"), "planes", (100, 1000)),
    ],
)
def test_a_plane_must_cover_a_hundredth_and_marks_a_thousandth(
    multilabel, names, coding, parts
) -> None:
    quality = quality_for(multilabel(*names, coding=coding))
    calm = torch.zeros(1, 1, 1, 2000, dtype=torch.bool)
    for fewer in (0, 1):
        truth = torch.cat([strip((1, 2000 // part - fewer), length=2000) for part in parts], dim=1)
        wanted = quality.of_prediction(truth, truth)
        assert wanted[0, 1].tolist() == [1.0 - fewer] * len(parts)
        agreed = quality.of_consensus(truth, calm, truth)
        assert torch.equal(wanted[:, 1], agreed[:, 1])
        # Single predictions: absent planes get IoU 0; a consensus keeps the IoU it has.
        assert wanted[0, 0].tolist() == pytest.approx([1.0 - fewer] * len(parts))
        assert agreed[0, 0].tolist() == pytest.approx([1.0] * len(parts))


@given(seed=seeds)
def test_planes_are_taught_as_a_naive_formula_says(multilabel, seed) -> None:
    labels = random(seed, (3, 3, 4, 5), [0, 1])
    inconsistent = random(seed + 1, (3, 1, 4, 5), [0, 0, 1]).bool()
    truth = random(seed + 2, (3, 3, 4, 5), [0, 0, 0, 0, 0, 0, 0, 1, VOID])
    quality = quality_for(multilabel("a", "b", "c", void=True))
    wanted = quality.of_consensus(labels, inconsistent, truth)
    oracle = quality.true_score(labels, inconsistent, truth)
    for i in range(3):
        gone, oracles = inconsistent[i, 0].numpy(), []
        for t in range(3):
            mask, true = (labels[i, t] == 1).numpy() & ~gone, (truth[i, t] == 1).numpy()
            counted = (truth[i, t] != VOID).numpy()
            iou = naive_iou(mask, true, counted)
            assert wanted[i, 0, t].item() == pytest.approx(iou or 0.0, abs=1e-6)
            assert wanted[i, 1, t].item() == (true.any() and true.sum() * 100 >= counted.sum())
            if (true & ~gone).any():
                oracles.append(naive_iou(mask, true & ~gone, counted))
        expected = sum(oracles) / len(oracles) if oracles else 0.0
        assert oracle[i].item() == pytest.approx(expected, abs=1e-6)


def test_the_oracle_forgives_what_is_blocked_and_a_scorer_is_taught_that_it_is_missing(
    binary, multiclass, multilabel
) -> None:
    for task, value in ((binary(), 1), (multiclass(2), 2), (multilabel("a"), 1)):
        truth = strip((value, 50), (1 if value == 2 else 0, 50), length=100)
        quality, blocked = quality_for(task), first(25, 100)
        assert quality.true_score(truth, blocked, truth).item() == pytest.approx(1, abs=1e-6)
        taught = quality.of_consensus(truth, blocked, truth)[0, 0, -1].item()
        assert taught == pytest.approx(0.5, abs=1e-6)


def test_scorers_are_averaged_before_anything_is_decided(multiclass, multilabel) -> None:
    iou = [[0.9, 0.2, 0.4, 0.6], [0.9, 0.4, 0.2, 0.6]]
    presence = [[0.9, 0.3, 0.4, 0.2], [0.9, 0.7, 0.5, 0.9]]
    scored = torch.tensor([iou, presence]).permute(1, 0, 2).unsqueeze(1)
    quality = quality_for(multiclass(3))
    # Present: 0 (.9), 1 (exactly .5) and 3 (.55), but not 2 (.45).
    assert quality.score(scored, amplification=True).item() == pytest.approx((0.3 + 0.6) / 2)
    everything = quality.score(scored, amplification=False).item()
    assert everything == pytest.approx((0.9 + 0.3 + 0.6) / 3)
    planes = quality_for(multilabel("a", "b", "c", "d"))
    for amplification in (True, False):
        assert planes.score(scored, amplification=amplification).item() == pytest.approx(everything)


def test_a_mask_in_which_scorers_find_nothing_scores_nothing(multiclass, binary) -> None:
    scored = torch.full((2, 5, 2, 4), 0.4)
    scored[..., 1, 0] = 0.9
    quality = quality_for(multiclass(3))
    assert quality.score(scored, amplification=True).tolist() == [0] * 5
    assert quality.score(scored, amplification=False).tolist() == pytest.approx([0.4] * 5)
    alone = torch.tensor([0.2, 0.5]).reshape(2, 1, 1, 1)
    assert quality_for(binary()).score(alone, amplification=True).item() == pytest.approx(0.35)


def test_the_loss_is_squared_error_of_iou_plus_cross_entropy_of_presence(
    binary, multiclass
) -> None:
    logits = torch.tensor([[[-1.0, 2.0, 0.5], [3.0, -0.2, 0.0]]])
    wanted = torch.tensor([[[0.3, 0.9, 0.0], [1.0, 0.0, 1.0]]])
    p, want = 1 / (1 + np.exp(-logits[0].double().numpy())), wanted[0].double().numpy()
    squared = ((p[0] - want[0]) ** 2).mean()
    entropy = -(want[1] * np.log(p[1]) + (1 - want[1]) * np.log(1 - p[1])).mean()
    quality = quality_for(multiclass(2))
    assert quality.loss(logits, wanted).item() == pytest.approx(squared + entropy, rel=1e-5)
    np.testing.assert_allclose(quality.probabilities(logits)[0], p, rtol=1e-5)
    one = quality_for(binary())
    loss = one.loss(logits[:, :1, :1], wanted[:, :1, :1]).item()
    assert loss == pytest.approx((p[0, 0] - 0.3) ** 2, rel=1e-5)


def test_a_scorer_sees_every_class_on_a_plane_of_its_own(binary, multiclass, multilabel) -> None:
    labels = torch.tensor([0, 1, 2, VOID], dtype=torch.uint8).reshape(1, 1, 1, 4)
    assert quality_for(multiclass(2)).as_input(labels)[0, :, 0].tolist() == [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
    ]
    planes = torch.tensor([[0, 1, VOID], [1, VOID, 0]], dtype=torch.uint8).reshape(1, 2, 1, 3)
    expected = [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    assert quality_for(multilabel("a", "b")).as_input(planes)[0, :, 0].tolist() == expected
    assert quality_for(binary()).as_input(planes[:, :1])[0, :, 0].tolist() == expected[:1]


@pytest.mark.parametrize("paper", [False, True])
def test_the_network_of_a_scorer_fits_what_it_sees_and_is_taught(
    binary, multiclass, multilabel, paper
) -> None:
    momentum = PAPER_MOMENTUM if paper else MOMENTUM
    for task, heads in ((binary(), 1), (multiclass(3), 2), (multilabel("a", "b"), 2)):
        quality = quality_for(task)
        labels = torch.ones(2, task.spec.planes, 32, 40, dtype=torch.uint8)
        config = EvalNetConfig(width=0.0625, heads=heads_for(task.spec.kind), paper=paper)
        compute = ComputeConfig(threads=1)
        network = build(config, compute, channels=1, outputs=quality.outputs).eval()
        assert isinstance(network, EvalNet) and len(network.heads) == heads
        norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert norms and {norm.momentum for norm in norms} == {momentum}
        scored = network(torch.rand(2, 1, 32, 40), quality.as_input(labels))
        wanted = quality.of_prediction(labels, labels)
        assert scored.shape == wanted.shape
        assert quality.loss(scored, wanted).isfinite()


def test_numbers_cannot_be_scored_and_the_message_says_what_can_be_done(regression) -> None:
    with pytest.raises(ImsegError) as caught:
        quality_for(regression())
    assert str(caught.value).splitlines() == [
        "Masks of numbers cannot be scored.",
        "  Expected: binary, multiclass or multilabel masks: a mask scorer learns their IoU.",
        "  Got:      the quantity 'depth'",
        "  Try:      an approach without a mask scorer, such as im+ or noisy-student.",
    ]
