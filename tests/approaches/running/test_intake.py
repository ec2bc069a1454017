"""Data that does not fit what was asked for is refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.approaches.running.rehearsal import HELA, ISIC, SUIM, spec_of

from imseg.approaches.methods.catalog import APPROACHES
from imseg.approaches.planning.plan import Facts
from imseg.approaches.planning.settings import settings_from
from imseg.approaches.running.preparation import check_facts, check_fits, check_scored
from imseg.errors import ImsegError
from imseg.types import DataSet, Image, Reading

DEPTH = replace(ISIC, task="regression")
ASKED = {"device": "cpu"}


def data_of(facts: Facts) -> DataSet:
    """Return a data set of this kind with one unlabeled image and nothing else."""
    picture = Image("a.png", np.zeros((8, 8, 3), dtype=np.uint8))
    return DataSet(
        name="my-data",
        spec=spec_of(facts),
        reading=Reading(channels=3),
        labeled=(),
        unlabeled=(picture,),
    )


def asked_for(approach: str, **more: object):
    if APPROACHES[approach].sees_truth:
        more["unlabeled_masks"] = "hidden"
    if APPROACHES[approach].matched:
        more["match"] = "runs/a"
    return settings_from({"approach": approach, **ASKED, **more})


def refusal(check, *args: object) -> str:
    with pytest.raises(ImsegError) as caught:
        check(*args)
    return str(caught.value)


@pytest.mark.parametrize(
    ("paper", "facts", "text"),
    [
        (
            "hela",
            ISIC,
            """--paper hela is for multilabel masks.
  Expected: masks of that kind, as `imseg prepare hela` makes them.
  Got:      binary masks in my-data.
  Try:      --effort paper keeps the schedule and takes sizes and strengths from your data.""",
        ),
        (
            "isic2018",
            SUIM,
            """--paper isic2018 is for binary masks.
  Expected: masks of that kind, as `imseg prepare isic2018` makes them.
  Got:      multiclass masks in my-data.
  Try:      --effort paper keeps the schedule and takes sizes and strengths from your data.""",
        ),
    ],
)
def test_published_settings_for_other_masks_are_refused(paper: str, facts: Facts, text) -> None:
    asked = asked_for("im", paper=paper)
    assert refusal(check_facts, asked, facts, data_of(facts)) == text


def test_published_settings_for_such_masks_are_taken() -> None:
    for paper, facts in (("isic2018", ISIC), ("hela", HELA), ("suim", SUIM), ("cityscapes", SUIM)):
        check_facts(asked_for("im", paper=paper), facts, data_of(facts))


@pytest.mark.parametrize(("labeled", "validation"), [(7, 100), (100, 3), (2, 2)])
def test_evalnet_with_too_few_labels_is_refused(labeled: int, validation: int) -> None:
    facts = replace(ISIC, labeled=labeled, validation=validation)
    more = "label more images" if labeled < 8 else "put more images into val/"
    assert refusal(check_facts, asked_for("evalnet"), facts, data_of(facts)) == (
        """evalnet has too few labels to learn what a good mask looks like.
  Expected: at least 8 labeled images to learn from and 4 validation images.
"""
        f"  Got:      {labeled} and {validation}.\n"
        f"  Try:      {more}, or --approach im+, which needs no mask scorers."
    )


def test_evalnet_with_just_enough_labels_is_taken() -> None:
    facts = replace(ISIC, labeled=8, validation=4)
    check_facts(asked_for("evalnet"), facts, data_of(facts))


@pytest.mark.parametrize("approach", sorted(set(APPROACHES) - {"evalnet"}))
def test_other_approaches_go_on_with_few_labels(approach: str) -> None:
    """Those with mask scorers fall back to one copy each, with a warning when the run starts."""
    facts = replace(ISIC, labeled=2, validation=2)
    check_facts(asked_for(approach), facts, data_of(facts))


@pytest.mark.parametrize("approach", ["evalnet", "im++", "aim++", "gt-im++"])
def test_masks_of_numbers_have_no_quality_to_go_by(approach: str) -> None:
    text = f"""{approach} does not fit regression masks.
  Expected: masks of classes or labels: it goes by their IoU, and numbers have none.
  Got:      regression masks in my-data.
  Try:      --approach im+ or aim+, which augment every image equally often."""
    assert refusal(check_scored, approach, data_of(DEPTH)) == text
    assert refusal(check_fits, data_of(DEPTH), asked_for(approach), None) == text


@pytest.mark.parametrize("approach", APPROACHES)
def test_every_approach_fits_masks_of_classes_and_labels(approach: str) -> None:
    for facts in (ISIC, SUIM, HELA):
        check_fits(data_of(facts), asked_for(approach), None)


@pytest.mark.parametrize(
    "approach",
    sorted(
        set(APPROACHES)
        - {"evalnet", "im++", "aim++", "gt-im++", "fixmatch", "unimatch", "unimatch+im"}
    ),
)
def test_every_approach_without_mask_scorers_fits_masks_of_numbers(approach: str) -> None:
    check_fits(data_of(DEPTH), asked_for(approach), None)


def test_numbers_have_no_probability_of_which_a_network_could_be_confident() -> None:
    with pytest.raises(ImsegError, match="--filter confidence says nothing about regression"):
        check_fits(data_of(DEPTH), asked_for("fixmatch"), None)
    agreeing = asked_for("fixmatch", learners=2, filter="agreement")
    check_fits(data_of(DEPTH), agreeing, None)


@pytest.mark.parametrize(
    "approach", [name for name, each in APPROACHES.items() if each.needs_unlabeled]
)
def test_an_approach_that_learns_from_unlabeled_images_needs_some(approach: str) -> None:
    empty = replace(data_of(ISIC), unlabeled=())
    assert refusal(check_fits, empty, asked_for(approach), None) == (
        f"""{approach} learns from unlabeled images, and my-data has none.
  Expected: images in unlabeled/ (no masks needed).
  Got:      no unlabeled images.
  Try:      copy images into my-data/unlabeled/, or --approach ldt."""
    )


@pytest.mark.parametrize(
    ("approach", "vote", "facts"),
    [
        ("model-ensemble", "unanimous", SUIM),
        ("input-ensemble", "majority", DEPTH),
        ("model-ensemble", "unanimous", DEPTH),
    ],
)
def test_a_vote_that_the_kind_of_mask_does_not_have_is_refused_before_training(
    approach: str, vote: str, facts: Facts
) -> None:
    asked = asked_for(approach, vote=vote)
    with pytest.raises(ImsegError, match="vote"):
        check_fits(data_of(facts), asked, None)
