"""An approach is its parent plus a difference."""

from __future__ import annotations

import pytest

from imseg.approaches.approach import Approach, Labeled, differences, variant
from imseg.approaches.catalog import (
    ALDT,
    ALDT_MATCHED,
    APPROACHES,
    FDT,
    IM,
    LDT,
    LDT_MATCHED,
    LDT_ONLINE,
    find_approach,
)
from imseg.errors import ImsegError
from imseg.stages.pseudo_label import Block, Consensus
from imseg.stages.select import Everything, ForegroundExceedsInconsistency


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (LDT_MATCHED, LDT, {"networks": (5, 10), "matched": (True, False)}),
        (ALDT, LDT, {"labeled": (Labeled(copies=9), Labeled())}),
        (ALDT_MATCHED, ALDT, {"networks": (5, 10), "matched": (True, False)}),
        (
            LDT_ONLINE,
            LDT,
            {"labeled": (Labeled(online=True), Labeled()), "matchable": (True, False)},
        ),
        (FDT, LDT, {"labeled": (Labeled(hidden_too=True), Labeled())}),
        (
            IM,
            LDT,
            {
                "start": (LDT, None),
                "networks": (5, 10),
                "generations": (5, 0),
                "pseudo_label": (Consensus(teachers=2), None),
                "select": (ForegroundExceedsInconsistency(), Everything()),
            },
        ),
    ],
)
def test_an_approach_is_its_parent_plus_a_difference(one, other, expected) -> None:
    assert differences(one, other) == expected


def test_every_approach_has_a_known_parent_or_none() -> None:
    matched = {"ldt-matched", "aldt-matched", "ldt-online"}
    assert set(APPROACHES) == {"ldt", "aldt", "fdt", "im"} | matched
    for name, approach in APPROACHES.items():
        assert approach.name == name
        assert approach.parent is None or approach.parent in APPROACHES
    assert (LDT_MATCHED.parent, FDT.parent) == ("ldt", "ldt")


def test_a_new_approach_shows_up_with_its_difference_alone() -> None:
    bolder = variant(IM, name="im-3", pseudo_label=Consensus(teachers=3))
    assert bolder.parent == "im"
    assert list(differences(bolder, IM)) == ["pseudo_label"]
    assert differences(IM, IM) == {}


def test_inconsistent_pixels_are_blocked_in_image_and_label_by_default() -> None:
    assert IM.pseudo_label is not None
    assert IM.pseudo_label.block == Block(input=True, output=True, ignore=False)
    assert (IM.pseudo_label.erode, IM.pseudo_label.dilate) == (0, 0)
    assert not IM.pseudo_label.grow_labels


def test_only_approaches_that_disturb_images_know_how_strongly() -> None:
    disturbing = {name for name, each in APPROACHES.items() if each.disturbs}
    assert disturbing == {"aldt", "aldt-matched", "ldt-online"}


def test_approaches_that_need_unlabeled_images_say_so() -> None:
    assert {name for name, each in APPROACHES.items() if each.needs_unlabeled} == {"fdt", "im"}


@pytest.mark.parametrize(
    ("typed", "meant"), [("IM", "im"), ("ldt_matched", "ldt-matched"), ("fdtt", "fdt")]
)
def test_a_misspelled_approach_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(ImsegError) as caught:
        find_approach(typed)
    assert str(caught.value) == (
        f"There is no approach named {typed!r}.\n"
        "  Expected: ldt, ldt-matched, aldt, aldt-matched, ldt-online, fdt, im\n"
        f"  Got:      {typed}\n"
        f"  Try:      --approach {meant}"
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"generations": 2},
        {"pseudo_label": Consensus()},
        {"generations": 2, "pseudo_label": Consensus()},
    ],
)
def test_an_approach_that_cannot_work_is_refused(fields) -> None:
    with pytest.raises(ValueError, match="need"):
        Approach(name="broken", summary="", **fields)
