"""Several opinions about a pixel become one label: each rule against counting by hand."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imseg.errors import ImsegError
from imseg.tasks import check_pool, task_for
from imseg.types import OBJECT_PLANES, TargetSpec

RULES = ("paper", "mean", "majority", "unanimous")
ORIGINS = ("teachers", "views", "one")
EIGHTHS = [0.0, 0.25, 0.375, 0.5, 0.625, 1.0]
"""Probabilities without rounding, one half and its neighbors among them."""


def every_opinion(voters: int) -> torch.Tensor:
    """Return all combinations of probabilities, ``v 1 1 1 n``."""
    return torch.tensor(list(itertools.product(EIGHTHS, repeat=voters))).T[:, None, None, None]


def foreground(opinions: list[float], rule: str, *, at_threshold: bool) -> bool:
    """Return what counting by hand says."""
    half = Fraction(1, 2)
    if rule == "mean":
        opinions = [sum(map(Fraction, opinions)) / len(opinions)]
    yes = sum(each > half or (at_threshold and each == half) for each in opinions)
    return yes == len(opinions) if rule == "unanimous" else 2 * yes > len(opinions)


@pytest.mark.parametrize("voters", [1, 2, 3, 4])
@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("rule", RULES)
def test_binary_opinions_are_pooled_as_counted_by_hand(binary, rule, origin, voters) -> None:
    """Under the paper's rule all must agree; a view agrees at one half, a teacher above it."""
    opinions = every_opinion(voters)
    pooled = binary().pool(opinions, how=rule, of=origin)
    assert pooled.dtype == torch.uint8
    assert pooled.shape == opinions.shape[1:]
    meant = "unanimous" if rule == "paper" else rule
    expected = [
        foreground(each.tolist(), meant, at_threshold=origin == "views")
        for each in opinions.reshape(voters, -1).T
    ]
    assert pooled.flatten().bool().tolist() == expected


@pytest.mark.parametrize("voters", [1, 2, 3, 4])
@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("rule", RULES)
def test_multilabel_opinions_are_pooled_plane_by_plane(multilabel, rule, origin, voters) -> None:
    """Under the paper's rule teachers have a mean, views agree; one half is for a lone teacher."""
    opinions = every_opinion(voters)
    planes = torch.cat([opinions, opinions.flip(-1), opinions.roll(7, -1)], dim=2)
    pooled = multilabel().pool(planes, how=rule, of=origin)
    as_published = "unanimous" if origin == "views" else "mean"
    meant = as_published if rule == "paper" else rule
    for plane in range(3):
        expected = [
            foreground(each.tolist(), meant, at_threshold=origin == "one")
            for each in planes[:, :, plane].reshape(voters, -1).T
        ]
        assert pooled[:, plane].flatten().bool().tolist() == expected


def most_votes(opinions: torch.Tensor, first: int) -> int:
    """Return the class that most of ``v k`` say; between equals the mean probability decides."""
    said = Counter(first + max(range(len(one[first:])), key=one[first:].__getitem__)
                   for one in opinions.tolist())  # fmt: skip
    total = opinions.double().sum(dim=0).tolist()
    return max(said, key=lambda index: (said[index], total[index]))


@given(seed=st.integers(0, 2**32), voters=st.integers(1, 5), paper=st.booleans())
def test_a_majority_of_classes_is_the_one_that_most_say(multiclass, seed, voters, paper) -> None:
    generator = torch.Generator().manual_seed(seed)
    opinions = torch.rand(voters, 2, 4, 3, 5, generator=generator).mul(4).softmax(dim=2)
    pooled = multiclass(3, paper=paper).pool(opinions, how="majority", of="teachers")
    for image, row, column in itertools.product(range(2), range(3), range(5)):
        expected = most_votes(opinions[:, image, :, row, column], 0 if paper else 1)
        assert pooled[image, 0, row, column] == expected


def test_two_hesitant_voters_outvote_a_sure_one_but_not_its_mean(multiclass) -> None:
    opinions = torch.tensor([[0, 0.55, 0.45], [0, 0.55, 0.45], [0, 0.0, 1.0]])
    opinions = opinions[:, None, :, None, None]
    task = multiclass(2)
    assert task.pool(opinions, how="majority", of="teachers").item() == 1
    assert task.pool(opinions, how="mean", of="teachers").item() == 2
    assert task.pool(opinions, how="paper", of="views").item() == 2


@pytest.mark.parametrize("rule", ["paper", "mean", "majority"])
def test_no_vote_on_classes_ends_in_the_reserved_one_outside_paper(multiclass, rule) -> None:
    opinions = torch.zeros(3, 1, 4, 1, 1)
    opinions[:, :, 0], opinions[:, :, 2] = 0.9, 0.1
    assert multiclass(3).pool(opinions, how=rule, of="teachers").item() == 2
    assert multiclass(3, paper=True).pool(opinions, how=rule, of="teachers").item() == 0


@pytest.mark.parametrize("origin", ORIGINS)
def test_one_opinion_alone_is_the_prediction_as_it_is_said_to_be(
    binary, multiclass, multilabel, origin
) -> None:
    """One voter of a kind decides whatever the rule: only one half is read in different ways."""
    opinion = torch.rand(1, 2, 4, 8, 8)
    cases = [(binary(), 1), (multiclass(3), 4), (multilabel("a", "b", "c", "d"), 4)]
    for task, outputs in cases:
        some = opinion[:, :, :outputs]
        for rule in ("paper", "mean", "majority"):
            assert torch.equal(task.pool(some, how=rule, of=origin), task.hard_prediction(some[0]))


def test_numbers_are_averaged(regression) -> None:
    opinions = torch.rand(3, 2, 1, 4, 5)
    for rule in ("paper", "mean"):
        pooled = regression().pool(opinions, how=rule, of="teachers")
        assert torch.allclose(pooled, (opinions[0] + opinions[1] + opinions[2]) / 3)


@pytest.mark.parametrize("rule", ["majority", "unanimous"])
def test_any_other_vote_on_numbers_is_refused(regression, rule) -> None:
    with pytest.raises(ImsegError) as refused:
        regression().pool(torch.rand(3, 1, 1, 2, 2), how=rule, of="teachers")
    assert str(refused.value) == (
        f"There is no {rule} vote on numbers: hardly two networks say the same one.\n"
        "  Expected: a vote that is paper or mean.\n"
        f"  Got:      {rule}\n"
        "  Try:      --vote mean."
    )


def test_a_unanimous_vote_on_classes_is_refused_because_the_mask_is_that(multiclass) -> None:
    with pytest.raises(ImsegError) as refused:
        multiclass(3).pool(torch.rand(2, 1, 4, 2, 2), how="unanimous", of="views")
    assert str(refused.value) == (
        "Networks cannot vote unanimously on classes: where they differ there is no label.\n"
        "  Expected: a vote that is paper or mean or majority.\n"
        "  Got:      unanimous\n"
        "  Try:      --approach im, which masks those pixels; or --vote majority."
    )


@pytest.mark.parametrize("rule", RULES)
def test_what_is_refused_can_be_known_before_anything_is_trained(
    binary, multiclass, multilabel, regression, rule
) -> None:
    opinions = torch.rand(2, 1, 3, 2, 2)
    for task, outputs in ((binary(), 1), (multiclass(2), 3), (multilabel(), 3), (regression(), 1)):
        try:
            check_pool(task.spec, rule)
        except ImsegError as early:
            with pytest.raises(ImsegError) as late:
                task.pool(opinions[:, :, :outputs], how=rule, of="teachers")
            assert str(late.value) == str(early)
        else:
            task.pool(opinions[:, :, :outputs], how=rule, of="teachers")


def test_opinions_about_objects_share_area_but_keep_every_rim_and_the_first_centers() -> None:
    task = task_for(
        TargetSpec(
            kind="multilabel",
            coding="objects",
            names=OBJECT_PLANES,
            colors=((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        )
    )
    opinions = torch.zeros(3, 1, 3, 1, 4)
    opinions[:, 0, 0, 0] = torch.tensor([[0.9, 0.4, 0, 0], [0.9, 0.9, 0.6, 0], [0.9, 0.4, 0.6, 0]])
    opinions[2, 0, 1, 0, 3] = opinions[1, 0, 2, 0, 1] = opinions[0, 0, 2, 0, 0] = 0.9
    found = {rule: task.pool(opinions, how=rule, of="teachers")[0, :, 0] for rule in RULES}
    areas = {rule: planes[0].tolist() for rule, planes in found.items()}
    assert areas == {
        "paper": [1, 1, 0, 0], "mean": [1, 1, 0, 0],
        "majority": [1, 0, 1, 0], "unanimous": [1, 0, 0, 0],
    }  # fmt: skip
    for planes in found.values():
        assert planes[1].tolist() == [0, 0, 0, 1]
        assert planes[2].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(("side", "left"), [(4, False), (5, True)])
def test_a_binary_label_survives_if_the_square_fits_into_it(binary, side, left) -> None:
    labels = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    labels[0, 0, 5 : 5 + side, 5:12] = 1
    assert binary().survives(labels, 5).tolist() == [left, False]


def test_the_border_of_the_image_does_not_erode_a_label(binary) -> None:
    labels = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    labels[0, 0, :3, :] = 1
    assert binary().survives(labels, 5).item()
    assert not binary().survives(labels.roll(6, 2), 5).item()


def test_labels_of_other_kinds_always_survive(multiclass, multilabel, regression) -> None:
    assert multiclass(3).survives(torch.ones(2, 1, 4, 4).byte(), 5).tolist() == [True, True]
    assert multilabel().survives(torch.zeros(2, 3, 4, 4).byte(), 5).tolist() == [True, True]
    assert regression().survives(torch.zeros(2, 1, 4, 4), 5).tolist() == [True, True]


def test_precision_is_the_share_of_what_is_said_that_is_true(
    binary, multiclass, multilabel, regression
) -> None:
    said = torch.tensor([1, 1, 1, 0, 0], dtype=torch.uint8).reshape(1, 1, 1, 5)
    truth = torch.tensor([1, 1, 0, 1, 255], dtype=torch.uint8).reshape(1, 1, 1, 5)
    task = binary(void=True)
    assert task.precision(task.tally(said, truth)) == pytest.approx(2 / 3)
    assert task.precision(task.tally(said * 0, truth)) is None
    classes = multiclass(2, void=True)
    assert classes.precision(classes.tally(said + 1, truth.clamp(max=1) + 1)) == 2 / 5
    assert classes.precision(classes.tally(said + 1, truth * 0 + 255)) is None
    cells = multilabel(void=True)
    planes, there = said.repeat(1, 3, 1, 1), torch.cat([truth, said, said * 0], dim=1)
    assert cells.precision(cells.tally(planes, there)) == pytest.approx(5 / 6)
    numbers = regression()
    assert numbers.precision(numbers.tally(torch.rand(1, 1, 2, 2), torch.rand(1, 1, 2, 2))) is None


def test_a_pixel_given_output_0_is_given_no_class_that_could_be_wrong(multiclass) -> None:
    said = torch.tensor([0, 0, 1, 2], dtype=torch.uint8).reshape(1, 1, 1, 4)
    truth = torch.tensor([1, 2, 1, 1], dtype=torch.uint8).reshape(1, 1, 1, 4)
    for paper in (False, True):
        task = multiclass(2, paper=paper)
        assert task.precision(task.tally(said, truth)) == 1 / 2


def test_blanked_truth_neither_counts_nor_changes_the_rest(
    binary, multiclass, multilabel, regression
) -> None:
    where = torch.zeros(2, 1, 6, 6, dtype=torch.bool)
    where[:, :, :, :3] = True
    numbers = torch.rand(2, 1, 6, 6)
    bits = torch.randint(0, 2, (2, 3, 6, 6)).byte()
    cases = [
        (binary(), bits[:, :1], 1 - bits[:, :1]),
        (multiclass(3), bits[:, :1] + 1, 2 - bits[:, :1]),
        (multilabel(), bits, 1 - bits),
        (regression(), numbers, 1 - numbers),
    ]
    for task, truth, said in cases:
        blanked = task.blank(truth, where)
        assert torch.equal(task.known(blanked), ~where)
        assert task.known(truth).all()
        right = torch.where(where, said, truth)
        assert torch.equal(task.tally(right, blanked), task.tally(truth, blanked))
        wrong_there = task.tally(right, truth)
        assert not torch.equal(task.tally(right, blanked), wrong_there)
        assert not torch.equal(blanked.nan_to_num(255), truth), "the truth itself is left alone"


def test_planes_can_weigh_the_same(multilabel) -> None:
    spec = multilabel().spec
    logits, target = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    logits[:, 2] = 20
    loss = {even: task_for(spec, even=even).loss(logits, target, None).item()
            for even in (False, True)}  # fmt: skip
    assert loss[False] == pytest.approx((0.25 + 0.25 + 3) / 5)
    assert loss[True] == pytest.approx((0.25 + 0.25 + 1) / 3)


def test_only_binary_views_are_moved(binary, multiclass, multilabel, regression) -> None:
    others = (multiclass(2), multilabel(), regression())
    assert binary().moves_views
    assert not any(task.moves_views for task in others)
