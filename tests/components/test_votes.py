"""Labels without a mask: teachers vote, or one teacher about views of an image."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from imseg.components.consensus import Block, Consensus, SurvivesErosion, TeacherBatch
from imseg.components.votes import Vote, VoteOfViews
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.training import seeds
from imseg.errors import ImsegError
from imseg.ops import augment, photometric
from imseg.ops.augment import MOVES, move
from imseg.ops.objects import find_centers
from imseg.ops.photometric import Strength
from imseg.options import options_of
from imseg.tasks import task_for
from imseg.types import OBJECT_PLANES

STILL = Strength()
SHAKEN = Strength(blur=1, noise=40, gain=0.4, offset=25)


class Reader(nn.Module):
    """A teacher that reads its logits off the image: what is bright is there.

    Args:
        outputs: Of the network; each looks at another channel.
        shift: Added to all logits: how generous the teacher is.
        slope: Added from left to right, 0 to this: a teacher that does not treat places alike.
    """

    def __init__(self, outputs: int = 1, *, shift: float = 0.0, slope: float = 0.0) -> None:
        super().__init__()
        self.outputs, self.shift, self.slope = outputs, shift, slope
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        ramp = torch.linspace(0, self.slope, images.shape[-1])
        channels = [images[:, k % images.shape[1]] for k in range(self.outputs)]
        return torch.stack(channels, dim=1) * 8 - 4 + self.shift + ramp


def panel_of(task, *teachers: nn.Module, strength=STILL, rotate=True, **changes) -> TeacherBatch:
    """Return teachers in front of three images of noise."""
    images = np.random.default_rng(7).integers(0, 256, (3, 12, 12, 3), dtype=np.uint8)
    teacher_batch = TeacherBatch(
        task=task,
        teachers=teachers,
        images=images,
        compute=ComputeConfig(),
        seeds=(11, 22, 33),
        strength=strength,
        rotate=rotate,
    )
    return dataclasses.replace(teacher_batch, **changes)


@pytest.fixture(params=["binary", "multiclass", "multilabel", "regression"])
def kind(request, binary, multiclass, multilabel, regression):
    """A task and its number of outputs."""
    return {
        "binary": (binary(), 1),
        "multiclass": (multiclass(3), 4),
        "multilabel": (multilabel("a", "b"), 2),
        "regression": (regression(), 1),
    }[request.param]


def pooled(teacher_batch: TeacherBatch, how: str, of: str) -> Tensor:
    return teacher_batch.task.redraw(
        teacher_batch.task.pool(teacher_batch.probabilities, how=how, of=of)
    )


def test_several_teachers_label_by_the_pool_of_the_task(kind) -> None:
    task, outputs = kind
    teacher_batch = panel_of(
        task, Reader(outputs), Reader(outputs, shift=0.5), Reader(outputs, shift=-2)
    )
    agreement = Vote(teachers=3).label(teacher_batch)
    assert torch.equal(agreement.labels, pooled(teacher_batch, "paper", "teachers"))
    assert torch.equal(agreement.first, task.hard_prediction(teacher_batch.probabilities[0]))
    assert torch.equal(agreement.disputed, Consensus(teachers=3).label(teacher_batch).disputed)
    assert not agreement.inconsistent.any(), "nothing is blocked"


def test_the_vote_that_is_asked_for_decides(binary) -> None:
    teacher_batch = panel_of(binary(), Reader(), Reader(shift=1), Reader(shift=-3))
    found = {
        how: Vote(teachers=3, vote=how).label(teacher_batch) for how in ("majority", "unanimous")
    }
    for how, agreement in found.items():
        assert torch.equal(agreement.labels, pooled(teacher_batch, how, "teachers"))
    assert found["majority"].labels.sum() > found["unanimous"].labels.sum()


def test_one_teacher_alone_disputes_nothing_and_its_word_is_the_label(kind) -> None:
    task, outputs = kind
    teacher_batch = panel_of(task, Reader(outputs))
    agreement = Vote(teachers=1).label(teacher_batch)
    assert torch.equal(agreement.labels, task.hard_prediction(teacher_batch.probabilities[0]))
    assert torch.equal(agreement.labels, agreement.first)
    assert not agreement.disputed.any()
    assert agreement.disputed.shape == (3, 1, 12, 12)


def test_one_half_is_enough_for_a_lone_multilabel_teacher_only(multilabel) -> None:
    undecided = Reader(2, shift=4)
    teacher_batch = panel_of(multilabel("a", "b"), undecided, undecided)
    black = dataclasses.replace(teacher_batch, images=np.zeros_like(teacher_batch.images))
    assert (black.probabilities == 0.5).all()
    assert Vote(teachers=1).label(black).labels.all()
    assert not Vote(teachers=2).label(black).labels.any()


def test_one_half_is_enough_for_binary_views_only(binary) -> None:
    teacher_batch = panel_of(binary(), Reader(shift=4))
    black = dataclasses.replace(teacher_batch, images=np.zeros_like(teacher_batch.images))
    assert VoteOfViews(views=3).label(black).labels.all()
    assert not Vote(teachers=1).label(black).labels.any()


def test_only_as_many_teachers_vote_as_are_asked(binary) -> None:
    teacher_batch = panel_of(binary(), Reader(), Reader(shift=1), Reader(shift=-9))
    two = Vote(teachers=2).label(teacher_batch)
    expected = Vote(teachers=2).label(panel_of(binary(), *teacher_batch.teachers[:2]))
    assert torch.equal(two.labels, expected.labels)
    assert torch.equal(two.disputed, expected.disputed)
    assert two.labels.any() and not Vote(teachers=3).label(teacher_batch).labels.any()


def test_a_vote_needs_teachers(binary) -> None:
    with pytest.raises(ValueError, match="at least one teacher"):
        Vote(teachers=0)
    with pytest.raises(ValueError, match="1 teachers cannot be 2"):
        Vote(teachers=2).label(panel_of(binary(), Reader()))


def test_a_vote_that_does_not_go_with_the_target_is_refused(multiclass, regression) -> None:
    for task, outputs in ((multiclass(3), 4), (regression(), 1)):
        for labeler in (Vote(teachers=2, vote="unanimous"), VoteOfViews(vote="unanimous")):
            with pytest.raises(ImsegError):
                labeler.label(panel_of(task, Reader(outputs), Reader(outputs)))


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("views", [3, 5, 7])
def test_views_of_an_undisturbed_image_agree_on_what_is_seen_in_it(kind, views, plain) -> None:
    """Moved and put back, a teacher that treats all places alike says the same about each."""
    task, outputs = kind
    teacher_batch = panel_of(task, Reader(outputs))
    agreement = VoteOfViews(views=views, plain=plain).label(teacher_batch)
    expected = task.hard_prediction(teacher_batch.probabilities[0])
    assert torch.allclose(agreement.labels.float(), expected.float())
    assert not agreement.disputed.any()
    assert not agreement.inconsistent.any()


def test_each_binary_view_is_put_back_where_it_came_from(binary) -> None:
    """A teacher that favors the right of what it is shown favors another side of the image."""
    teacher_batch = panel_of(binary(), Reader(slope=6))
    agreement = VoteOfViews(views=7, plain=False).label(teacher_batch)
    expected = torch.ones(3, 1, 12, 12, dtype=torch.bool)
    for number in range(7):
        named = [seeds.derive(seed, "view", number) for seed in teacher_batch.seeds]
        moves = augment.draw(named, STILL, rotate=True, square=True).moves
        for row, by in enumerate(moves):
            # The ramp lies over the moved image: over the image itself it lies moved back.
            image = teacher_batch.pixels[row, :1].float() / 255
            ramp = torch.linspace(0, 6, 12).expand(1, 12, 12)
            back = next(ramp_back for m in MOVES
                        if torch.equal(move(ramp_back := move(ramp, m), by), ramp))  # fmt: skip
            expected[row] &= image * 8 - 4 + back >= 0
    assert torch.equal(agreement.labels.bool(), expected)
    assert agreement.disputed.any()


def views_seen(teacher_batch: TeacherBatch, labeler: VoteOfViews) -> list[Tensor]:
    """Return the images that the teacher was shown as views, without the one as it is."""
    teacher = teacher_batch.teachers[0]
    _ = teacher_batch.probabilities
    teacher.seen.clear()
    labeler.label(teacher_batch)
    return teacher.seen


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("views", [3, 5, 7])
def test_binary_has_n_moved_views_others_n_plus_one_of_which_the_image_can_be_one(
    kind, views, plain
) -> None:
    task, outputs = kind
    teacher_batch = panel_of(task, Reader(outputs), strength=SHAKEN)
    seen = views_seen(teacher_batch, VoteOfViews(views=views, plain=plain))
    moved = task.spec.kind == "binary"
    assert len(seen) == (views if moved or plain else views + 1)


def test_views_are_independent_of_each_other_and_made_of_the_image_in_the_order_of_views(
    multiclass,
) -> None:
    teacher_batch = panel_of(multiclass(3), Reader(4), strength=SHAKEN)
    seen = views_seen(teacher_batch, VoteOfViews(views=5))
    for number, view in enumerate(seen):
        named = [seeds.derive(seed, "view", number) for seed in teacher_batch.seeds]
        draws = photometric.draw(named, SHAKEN)
        expected = photometric.apply(teacher_batch.pixels, draws, order="view").float() / 255
        assert torch.equal(view, expected)
    assert not torch.equal(seen[0], seen[1])


def test_binary_views_are_moved_and_then_augmented_in_the_order_of_views(binary) -> None:
    teacher_batch = panel_of(binary(), Reader(), strength=SHAKEN)
    for number, view in enumerate(views_seen(teacher_batch, VoteOfViews(views=7))):
        named = [seeds.derive(seed, "view", number) for seed in teacher_batch.seeds]
        draws = augment.draw(named, SHAKEN, rotate=True, square=True)
        moved = torch.stack([move(teacher_batch.pixels[i], by) for i, by in enumerate(draws.moves)])
        expected = photometric.apply(moved, draws.values, order="view").float() / 255
        assert torch.equal(view, expected)


def test_under_paper_values_below_0_are_mirrored_in_views_too(binary, multiclass) -> None:
    for make, outputs in ((binary, 1), (lambda paper: multiclass(3, paper=paper), 4)):
        seen = {
            paper: views_seen(
                panel_of(make(paper=paper), Reader(outputs), strength=Strength(offset=120)),
                VoteOfViews(views=7),
            )
            for paper in (False, True)
        }
        pairs = list(zip(seen[False], seen[True], strict=True))
        assert any(not torch.equal(ours, theirs) for ours, theirs in pairs)
        assert all((theirs[ours > 0] == ours[ours > 0]).all() for ours, theirs in pairs)


def test_only_binary_views_are_moved(kind) -> None:
    task, outputs = kind
    teacher_batch = panel_of(task, Reader(outputs))
    seen = views_seen(teacher_batch, VoteOfViews(views=7))
    still = [torch.equal(view, teacher_batch.pixels.float() / 255) for view in seen]
    assert all(still) if task.spec.kind != "binary" else not any(still)


def test_without_turns_views_are_only_mirrored_left_to_right(binary) -> None:
    teacher_batch = panel_of(binary(), Reader(), rotate=False)
    image = teacher_batch.pixels.float() / 255
    for view in views_seen(teacher_batch, VoteOfViews(views=7)):
        for row in range(3):
            assert any(torch.equal(view[row], each) for each in (image[row], image[row].flip(-1)))


def test_oblong_images_keep_their_sides(binary) -> None:
    teacher_batch = panel_of(binary(), Reader(slope=3), strength=SHAKEN)
    oblong = dataclasses.replace(teacher_batch, images=teacher_batch.images[:, :8])
    assert VoteOfViews(views=7).label(oblong).labels.shape == (3, 1, 8, 12)


def test_the_image_as_it_is_has_a_vote_of_its_own(binary) -> None:
    """What it says no to is not foreground, whatever the views say."""
    teacher_batch = panel_of(binary(), Reader(), strength=SHAKEN)
    without, within = (
        VoteOfViews(views=3, plain=plain).label(teacher_batch).labels for plain in (False, True)
    )
    plain = binary().pool(teacher_batch.probabilities, how="paper", of="views")
    assert torch.equal(within, without & plain)
    assert torch.equal(
        VoteOfViews(views=3).label(teacher_batch).first, teacher_batch.hard_predictions[0]
    )
    assert not torch.equal(within, teacher_batch.hard_predictions[0])
    assert not torch.equal(within, without)


@pytest.mark.parametrize("labeler", [Vote(teachers=2), Vote(teachers=1), VoteOfViews(views=3)])
def test_centers_of_labels_are_drawn_as_discs(multilabel, labeler) -> None:
    teacher_batch = panel_of(multilabel(), Reader(3), Reader(3))
    images = np.zeros((3, 12, 12, 3), np.uint8)
    images[:, 3:9, 2:10] = 255
    agreement = labeler.label(dataclasses.replace(teacher_batch, images=images))
    assert agreement.consensus[:, 2].sum() == 3 * 6 * 8
    assert torch.equal(agreement.labels, teacher_batch.task.redraw(agreement.consensus))
    assert not torch.equal(agreement.labels[:, 2], agreement.consensus[:, 2])
    assert torch.equal(agreement.labels[:, :2], agreement.consensus[:, :2])


def test_centers_of_objects_are_those_seen_in_the_image_as_it_is(multilabel) -> None:
    task = task_for(multilabel(*OBJECT_PLANES, coding="objects").spec)
    teacher_batch = panel_of(task, Reader(3), strength=SHAKEN)
    agreement = VoteOfViews(views=3).label(teacher_batch)
    assert torch.equal(agreement.consensus[:, 2], teacher_batch.hard_predictions[0][:, 2])
    without = VoteOfViews(views=3, plain=False).label(teacher_batch)
    assert not torch.equal(without.consensus[:, 2], teacher_batch.hard_predictions[0][:, 2])


def test_views_of_an_image_depend_on_its_own_seed_alone(binary) -> None:
    teacher_batch = panel_of(binary(), Reader(slope=4), strength=SHAKEN)
    alone = dataclasses.replace(
        teacher_batch, images=teacher_batch.images[1:2], seeds=teacher_batch.seeds[1:2]
    )
    other = dataclasses.replace(teacher_batch, seeds=(11, 23, 33))
    labels = VoteOfViews(views=3).label(teacher_batch).labels
    assert torch.equal(VoteOfViews(views=3).label(alone).labels[0], labels[1])
    changed = VoteOfViews(views=3).label(other).labels
    assert torch.equal(changed[0], labels[0])
    assert not torch.equal(changed[1], labels[1])


def test_the_best_teacher_alone_looks_at_views(binary) -> None:
    best, other = Reader(), Reader(shift=-9)
    agreement = VoteOfViews(views=3, plain=False).label(panel_of(binary(), best, other))
    assert torch.equal(agreement.labels, agreement.first)
    assert agreement.labels.any()
    assert len(other.seen) <= 1, "at most the image as it is"


def test_the_vote_on_views_that_is_asked_for_decides(multiclass) -> None:
    teacher_batch = panel_of(multiclass(3), Reader(4), strength=SHAKEN)
    mean, most = (
        VoteOfViews(views=7, vote=how).label(teacher_batch).labels for how in ("mean", "majority")
    )
    assert torch.equal(VoteOfViews(views=7).label(teacher_batch).labels, mean)
    assert not torch.equal(mean, most)


@pytest.mark.parametrize("views", [0, 1, 2, 4, 6, 8, 9])
def test_other_numbers_of_views_are_refused(views) -> None:
    with pytest.raises(ValueError, match="views are 3, 5 or 7"):
        VoteOfViews(views=views)


def test_what_vanishes_under_an_erosion_is_not_learned(binary, multiclass) -> None:
    teacher_batch = panel_of(binary(), Reader())
    images = np.zeros((3, 12, 12, 3), np.uint8)
    images[0, 2:7, 2:7] = images[1, 2:6, 2:11] = 255
    teacher_batch = dataclasses.replace(teacher_batch, images=images)
    agreement = VoteOfViews(views=3).label(teacher_batch)
    select = SurvivesErosion()
    assert select(teacher_batch.task, teacher_batch.hard_predictions, agreement).tolist() == [
        True,
        False,
        False,
    ]
    assert SurvivesErosion(3)(
        teacher_batch.task, teacher_batch.hard_predictions, agreement
    ).tolist() == [True, True, False]
    others = panel_of(multiclass(3), Reader(4))
    assert select(others.task, others.hard_predictions, VoteOfViews().label(others)).all()
    for kernel in (0, 4, -1):
        with pytest.raises(ValueError, match="odd side"):
            SurvivesErosion(kernel)


def test_stages_say_what_they_do() -> None:
    assert str(Vote(teachers=1)) == "the best network alone labels the images"
    assert str(Vote(teachers=3)) == (
        "the 3 best networks label the images together, by the paper's rule"
    )
    assert str(VoteOfViews(views=5, vote="majority")) == (
        "the best network looks at 5 augmented views of each image, and at the image as it is;"
        " what it says about them is pooled by majority"
    )
    assert "as it is" not in str(VoteOfViews(plain=False))
    assert str(SurvivesErosion()) == (
        "binary: those whose foreground does not vanish under a 5x5 erosion; other kinds: all"
    )


def test_what_a_user_can_set_is_marked_with_its_option() -> None:
    marked = {
        stage.__name__: [one.name for one in options_of(stage).values()]
        for stage in (Vote, VoteOfViews, Consensus, Block)
    }
    assert marked == {
        "Vote": ["teachers", "vote"],
        "VoteOfViews": ["views", "vote", "plain_view"],
        "Consensus": ["teachers", "erode", "dilate", "grow_labels"],
        "Block": ["blocking", "ignore", "block_color"],
    }


@pytest.mark.parametrize(("paper", "pixels", "differing"), [(False, 1, 64), (True, 2, 120)])
@given(seed=st.integers(0, 2**32), cells=st.integers(1, 9))
def test_discs_drawn_before_a_move_hardly_differ_from_discs_drawn_after_it(
    multilabel, seed, cells, paper, pixels, differing
) -> None:
    """Noisy Student draws after the noise in the reference, we before: centers are a pixel apart.

    Centers are rounded down and to the right, so a move can shift a disc by one pixel (two under
    paper, which adds one), and its radius by one where the distance to the next one changes. On
    random rectangles that is 12 of about 80 pixels a disc in the mean (paper: 23).
    """
    rng = np.random.default_rng(seed)
    labels = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    grid = [(row, column) for row in (11, 32, 53) for column in (11, 32, 53)]
    for place in rng.permutation(len(grid))[:cells]:
        row, column = (value + int(rng.integers(-4, 5)) for value in grid[place])
        height, width = rng.integers(5, 12, 2)
        labels[0, 2, row - 2 : row - 2 + height, column - 2 : column - 2 + width] = 1
    task = multilabel(paper=paper)
    for by in MOVES:
        before, after = move(task.redraw(labels), by)[0, 2], task.redraw(move(labels, by))[0, 2]
        ours, theirs = find_centers(before.numpy()), find_centers(after.numpy())
        assert len(ours) == len(theirs) == cells
        apart = np.abs(ours[:, None] - theirs[None]).max(axis=2)
        assert apart.min(axis=1).max() <= pixels
        assert (before != after).sum() <= differing * cells
