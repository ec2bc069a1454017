"""What must hold for every consensus and every inconsistency mask, whatever the votes are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from imseg.components.consensus import Block, Consensus, ForegroundExceedsInconsistency, SameClasses
from imseg.ops.augment import MOVES, move, move_back
from imseg.ops.inconsistency import (
    COLORS,
    block_input,
    block_output,
    clean_up,
    dilate,
    dilate_classes,
    erode,
)

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 12)
teacher_counts = st.integers(2, 4)
kernels = st.sampled_from([0, 3, 5])
moves = st.sampled_from(MOVES)


@pytest.fixture(scope="module", params=["binary", "multiclass"])
def task(request, binary, multiclass):
    return binary() if request.param == "binary" else multiclass(3)


def draw_votes(task, seed: int, *, teachers: int, height: int = 9, width: int = 7) -> Tensor:
    """Return ``v b 1 h w`` votes that agree here and there; the second image is unanimous."""
    generator = torch.Generator().manual_seed(seed)
    lowest = task.spec.first_index
    values = (lowest, lowest + len(task.spec.values))
    common = torch.randint(*values, (1, 2, 1, height, width), generator=generator)
    own = torch.randint(*values, (teachers, 2, 1, height, width), generator=generator)
    strays = torch.rand(own.shape, generator=generator) < 0.3
    strays[:, 1] = False
    return torch.where(strays, own, common).to(torch.uint8)


def draw_mask(seed: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand((), generator=generator)
    return torch.rand(1, 1, height, width, generator=generator) < share


@given(seed=seeds, teachers=st.integers(2, 3))
def test_another_teacher_can_only_add_inconsistency(task, seed: int, teachers: int) -> None:
    votes = draw_votes(task, seed, teachers=teachers + 1)
    _, fewer = task.vote(votes[:teachers])
    _, more = task.vote(votes)
    assert (more >= fewer).all()


@given(seed=seeds, teachers=teacher_counts, order=st.permutations(range(4)))
def test_the_order_of_teachers_does_not_matter(task, seed: int, teachers: int, order) -> None:
    votes = draw_votes(task, seed, teachers=teachers)
    shuffled = votes[[index for index in order if index < teachers]]
    for one, other in zip(task.vote(votes), task.vote(shuffled), strict=True):
        assert torch.equal(one, other)


@given(seed=seeds, teachers=teacher_counts)
def test_outside_the_mask_the_consensus_is_every_teachers_vote(task, seed, teachers) -> None:
    votes = draw_votes(task, seed, teachers=teachers)
    consensus, inconsistent = task.vote(votes)
    for vote in votes:
        assert torch.equal(vote[~inconsistent], consensus[~inconsistent])


@given(seed=seeds, teachers=teacher_counts)
def test_inside_the_mask_the_consensus_is_0(task, seed: int, teachers: int) -> None:
    consensus, inconsistent = task.vote(draw_votes(task, seed, teachers=teachers))
    assert (consensus[inconsistent] == 0).all()


@given(seed=seeds, teachers=teacher_counts)
def test_unanimous_teachers_leave_no_mask(task, seed: int, teachers: int) -> None:
    votes = draw_votes(task, seed, teachers=1).expand(teachers, -1, -1, -1, -1)
    consensus, inconsistent = task.vote(votes)
    assert not inconsistent.any()
    assert torch.equal(consensus, votes[0])


@given(seed=seeds, teachers=teacher_counts)
def test_consensus_and_mask_follow_the_naive_formula(task, seed: int, teachers: int) -> None:
    votes = draw_votes(task, seed, teachers=teachers)
    expected_consensus, expected_mask = naive_vote(votes.numpy(), task.spec.kind)
    consensus, inconsistent = task.vote(votes)
    np.testing.assert_array_equal(consensus, expected_consensus)
    np.testing.assert_array_equal(inconsistent, expected_mask)


def naive_vote(votes: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return consensus and mask, pixel by pixel, from METHOD's table."""
    consensus = np.zeros(votes.shape[1:], np.uint8)
    mask = np.zeros(votes.shape[1:], bool)
    for place in np.ndindex(votes.shape[1:]):
        said = [int(vote[place]) for vote in votes]
        if kind == "binary":
            ones = said.count(1)
            consensus[place] = 1 if ones == len(said) else 0
            mask[place] = 0 < ones < len(said)
        else:
            same = len(set(said)) == 1
            consensus[place] = said[0] if same else 0
            mask[place] = not same
    return consensus, mask


@given(seed=seeds, teachers=teacher_counts)
def test_blocking_twice_is_blocking_once(task, seed: int, teachers: int) -> None:
    consensus, inconsistent = task.vote(draw_votes(task, seed, teachers=teachers))
    images = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(seed))
    once = block_input(images, inconsistent)
    assert torch.equal(block_input(once, inconsistent), once)
    label = block_output(consensus, inconsistent)
    assert torch.equal(block_output(label, inconsistent), label)


@given(seed=seeds, teachers=teacher_counts, erosion=kernels, dilation=kernels)
def test_blocking_makes_the_mask_black_and_touches_nothing_else(
    task, seed: int, teachers: int, erosion: int, dilation: int
) -> None:
    consensus = Consensus(teachers=teachers, erode=erosion, dilate=dilation)
    agreement = consensus(task, draw_votes(task, seed, teachers=teachers))
    images = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(seed)) + 0.1
    inside = agreement.inconsistent.expand_as(images)
    blocked = block_input(images, agreement.inconsistent)
    assert (blocked[inside] == 0).all()
    assert torch.equal(blocked[~inside], images[~inside])
    label = block_output(agreement.labels, agreement.inconsistent)
    assert (label[agreement.inconsistent] == 0).all()
    kept = ~agreement.inconsistent
    assert torch.equal(label[kept], agreement.labels[kept])


@given(seed=seeds, height=sides, width=sides, by=moves)
def test_moving_back_undoes_a_move(seed: int, height: int, width: int, by) -> None:
    planes = torch.rand(2, height, width, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(move_back(move(planes, by), by), planes)


@given(seed=seeds, height=sides, width=sides)
def test_the_eight_moves_are_different(seed: int, height: int, width: int) -> None:
    planes = torch.arange(height * width).reshape(height, width)
    views = {
        (tuple(v.shape), tuple(v.flatten().tolist())) for v in (move(planes, b) for b in MOVES)
    }
    if min(height, width) > 1:
        assert len(views) == len(MOVES) == 8


@given(seed=seeds, teachers=teacher_counts, by=moves, erosion=kernels, dilation=kernels)
def test_image_label_and_mask_move_together(
    task, seed: int, teachers: int, by, erosion: int, dilation: int
) -> None:
    consensus = Consensus(teachers=teachers, erode=erosion, dilate=dilation, grow_labels=False)
    votes = draw_votes(task, seed, teachers=teachers)
    images = torch.rand(2, 3, 9, 7, generator=torch.Generator().manual_seed(seed))
    still, moved = consensus(task, votes), consensus(task, move(votes, by))
    assert torch.equal(moved.labels, move(still.labels, by))
    assert torch.equal(moved.inconsistent, move(still.inconsistent, by))
    assert torch.equal(
        block_input(move(images, by), moved.inconsistent),
        move(block_input(images, still.inconsistent), by),
    )
    assert torch.equal(
        block_output(moved.labels, moved.inconsistent),
        move(block_output(still.labels, still.inconsistent), by),
    )


@given(seed=seeds, height=sides, width=sides, kernel=st.sampled_from([1, 3, 5, 7, 19, 41]))
def test_erosion_shrinks_and_dilation_grows(seed: int, height: int, width: int, kernel) -> None:
    mask = draw_mask(seed, height, width)
    assert (erode(mask, kernel) <= mask).all()
    assert (mask <= dilate(mask, kernel)).all()


@given(height=sides, width=sides, kernel=kernels)
def test_the_border_of_the_image_does_not_erode(height: int, width: int, kernel: int) -> None:
    assert erode(torch.ones(1, 1, height, width, dtype=torch.bool), kernel).all()


@given(
    seed=seeds,
    height=sides,
    width=sides,
    erosion=st.sampled_from([0, 3, 5, 19]),
    dilation=st.sampled_from([0, 3, 5, 21]),
)
def test_clean_up_follows_the_naive_formula(
    seed: int, height: int, width: int, erosion: int, dilation: int
) -> None:
    mask = draw_mask(seed, height, width)
    expected = naive_filter(naive_filter(mask[0, 0].numpy(), erosion, all), dilation, any)
    cleaned = clean_up(mask, erode_by=erosion, dilate_by=dilation)
    np.testing.assert_array_equal(cleaned[0, 0], expected)


def naive_filter(mask: np.ndarray, kernel: int, rule) -> np.ndarray:
    """Return all (erosion) or any (dilation) of the pixels inside the image within a square."""
    reach = kernel // 2
    filtered = np.zeros_like(mask)
    for y, x in np.ndindex(mask.shape):
        around = mask[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        filtered[y, x] = rule(bool(value) for value in around.flat)
    return filtered


@given(seed=seeds, height=sides, width=sides)
def test_grown_classes_follow_the_naive_formula(seed: int, height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (1, 1, height, width), generator=generator).to(torch.uint8)
    plain = labels[0, 0].numpy()
    expected = np.zeros_like(plain)
    for index in (1, 2, 3):
        expected[naive_filter(plain == index, 3, any)] = index
    np.testing.assert_array_equal(dilate_classes(labels, classes=4)[0, 0], expected)


@pytest.mark.parametrize("kernel", [2, 4, -1])
def test_a_kernel_without_a_center_is_refused(kernel: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        dilate(torch.zeros(1, 1, 4, 4, dtype=torch.bool), kernel)


def test_a_consensus_needs_two_teachers() -> None:
    with pytest.raises(ValueError, match="two teachers"):
        Consensus(teachers=1)


def test_a_consensus_says_what_blocked_pixels_become() -> None:
    said = {
        color: str(Consensus(block=Block(color=color))).split("disagree ")[1] for color in COLORS
    }
    assert said == {
        "black": "are black in the image and 0 in the label",
        "mean": "are of the image's mean color and 0 in the label",
        "noise": "are noise in the image and 0 in the label",
    }


@pytest.mark.parametrize("dilation", [0, 5])
def test_images_are_selected_by_what_was_disputed_before_clean_up(binary, dilation: int) -> None:
    votes = torch.zeros(2, 2, 1, 12, 12, dtype=torch.uint8)
    votes[:, 0, :, :2, :5] = 1
    votes[0, 0, :, 6::4, 2::4] = 1  # 6 lone pixels against 10: admitted
    votes[:, 1, :, 0, :5] = 1
    votes[0, 1, :, 6::4, 2::4] = 1  # 6 against 5: not
    task = binary()
    agreement = Consensus(teachers=2, dilate=dilation)(task, votes)
    assert agreement.disputed.sum(dim=(1, 2, 3)).tolist() == [6, 6]
    used = ForegroundExceedsInconsistency()(task, votes, agreement)
    assert used.tolist() == [True, False]


@given(seed=seeds, teachers=teacher_counts)
def test_selection_by_classes_follows_the_naive_formula(multiclass, seed, teachers: int) -> None:
    task = multiclass(3)
    votes = draw_votes(task, seed, teachers=teachers, height=2, width=2)
    agreement = Consensus(teachers=teachers)(task, votes)
    expected = [
        len({frozenset(vote[image].flatten().tolist()) for vote in votes}) == 1 for image in (0, 1)
    ]
    assert SameClasses()(task, votes, agreement).tolist() == expected
    assert ForegroundExceedsInconsistency()(task, votes, agreement).all()
