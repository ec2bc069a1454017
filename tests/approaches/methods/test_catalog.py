"""An approach is its parent plus a difference."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from dataclasses import dataclass, field

import pytest
from tests.approaches.running.rehearsal import ISIC, rehearse

from imseg.approaches.methods import catalog
from imseg.approaches.methods.approach import Approach, Labeled, differences, variant, with_options
from imseg.approaches.methods.catalog import (
    AIM_PLUS,
    AIM_PLUS_PLUS,
    ALDT,
    ALDT_MATCHED,
    APPROACHES,
    CONSISTENCY,
    EVALNET,
    FDT,
    GT_IM_PLUS_PLUS,
    IM,
    IM_PLUS,
    IM_PLUS_PLUS,
    INPUT_ENSEMBLE,
    LDT,
    LDT_MATCHED,
    LDT_ONLINE,
    MODEL_ENSEMBLE,
    NOISY_STUDENT,
    find_approach,
)
from imseg.approaches.methods.explain import explain_approach
from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.settings import settings_from
from imseg.components.amplification import CopiesByQuality, CopiesByTruth, MaskScorer, NoisyCopies
from imseg.components.consensus import Block, Consensus, PseudoLabelBatch, TeacherBatch
from imseg.engine.training.objectives.two_views import TwoViews
from imseg.components.proposals import BestProposal
from imseg.components.selection import Everything, ForegroundExceedsInconsistency, SurvivesErosion
from imseg.components.votes import Vote, VoteOfViews
from imseg.errors import ImsegError

NAMES = [
    "ldt",
    "ldt-matched",
    "aldt",
    "aldt-matched",
    "ldt-online",
    "fdt",
    "model-ensemble",
    "input-ensemble",
    "noisy-student",
    "consistency",
    "evalnet",
    "im",
    "im+",
    "im++",
    "aim+",
    "aim++",
    "gt-im++",
]
NINE_COPIES = Labeled(copies=9)
IGNORED = Block(input=False, output=False, ignore=True)
# The rows of METHOD, "The approaches, as differences": (start, pseudo-labels from, select, augment,
# labeled part, grows). "-" in the column "augment" is None.
METHOD = {
    MODEL_ENSEMBLE: (LDT, Vote(teachers=2), Everything(), None, Labeled(), False),
    INPUT_ENSEMBLE: (LDT, VoteOfViews(views=3), SurvivesErosion(kernel=5), None, Labeled(), False),
    NOISY_STUDENT: (LDT, Vote(teachers=1), Everything(), NoisyCopies(count=1), Labeled(), True),
    IM: (
        LDT,
        Consensus(teachers=2, block=IGNORED),
        ForegroundExceedsInconsistency(),
        None,
        Labeled(),
        False,
    ),
    IM_PLUS: (
        LDT,
        Consensus(teachers=2, block=IGNORED),
        ForegroundExceedsInconsistency(),
        NoisyCopies(count=1, keep_plain=False),
        Labeled(),
        True,
    ),
    IM_PLUS_PLUS: (
        LDT,
        Consensus(teachers=2, block=IGNORED),
        ForegroundExceedsInconsistency(),
        CopiesByQuality(keep_plain=False, scorer=MaskScorer(learns_from="consensus")),
        Labeled(),
        True,
    ),
    AIM_PLUS: (
        ALDT,
        Consensus(teachers=2, block=IGNORED),
        ForegroundExceedsInconsistency(),
        NoisyCopies(count=1, keep_plain=True),
        NINE_COPIES,
        True,
    ),
    AIM_PLUS_PLUS: (
        ALDT,
        Consensus(teachers=2, block=IGNORED),
        ForegroundExceedsInconsistency(),
        CopiesByQuality(keep_plain=True, scorer=MaskScorer(learns_from="consensus")),
        NINE_COPIES,
        True,
    ),
    GT_IM_PLUS_PLUS: (
        LDT,
        Consensus(teachers=2, block=IGNORED),
        ForegroundExceedsInconsistency(),
        CopiesByTruth(keep_plain=False),
        Labeled(),
        True,
    ),
    EVALNET: (
        LDT,
        BestProposal(scorer=MaskScorer(learns_from="predictions")),
        Everything(),
        None,
        Labeled(),
        False,
    ),
}


@pytest.mark.parametrize("approach", METHOD, ids=lambda each: each.name)
def test_an_approach_is_the_row_of_the_published_table(approach: Approach) -> None:
    row = (
        approach.start,
        approach.pseudo_label,
        approach.select,
        approach.augment,
        approach.labeled,
        approach.growing,
    )
    assert row == METHOD[approach]
    assert (approach.networks, approach.generations) == (5, 5)
    assert approach.start is not None and approach.start.networks == 10
    assert approach.objective is None


def test_a_start_is_a_single_stage_of_ten_networks_and_consistency_is_one_generation() -> None:
    for approach in (LDT, ALDT, FDT, LDT_ONLINE):
        assert (approach.networks, approach.generations, approach.start) == (10, 0, None)
    assert (CONSISTENCY.start, CONSISTENCY.generations, CONSISTENCY.networks) == (LDT, 1, 5)
    assert CONSISTENCY.objective == TwoViews(weight=1.0, ramp=0, epochs_times=2)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (LDT_MATCHED, LDT, {"networks": (5, 10), "matched": (True, False)}),
        (ALDT, LDT, {"labeled": (NINE_COPIES, Labeled())}),
        (ALDT_MATCHED, ALDT, {"networks": (5, 10), "matched": (True, False)}),
        (
            LDT_ONLINE,
            LDT,
            {"labeled": (Labeled(online=True), Labeled()), "matchable": (True, False)},
        ),
        (FDT, LDT, {"labeled": (Labeled(hidden_too=True), Labeled())}),
        (
            INPUT_ENSEMBLE,
            MODEL_ENSEMBLE,
            {
                "pseudo_label": (VoteOfViews(views=3), Vote(teachers=2)),
                "select": (SurvivesErosion(), Everything()),
            },
        ),
        (
            NOISY_STUDENT,
            MODEL_ENSEMBLE,
            {
                "pseudo_label": (Vote(teachers=1), Vote(teachers=2)),
                "augment": (NoisyCopies(count=1), None),
                "growing": (True, False),
            },
        ),
        (
            EVALNET,
            MODEL_ENSEMBLE,
            {
                "pseudo_label": (
                    BestProposal(scorer=MaskScorer(learns_from="predictions")),
                    Vote(teachers=2),
                ),
                "carry": (True, False),
                "scorer_start": (ALDT, None),
            },
        ),
        (
            IM,
            MODEL_ENSEMBLE,
            {
                "pseudo_label": (Consensus(teachers=2, block=IGNORED), Vote(teachers=2)),
                "select": (ForegroundExceedsInconsistency(), Everything()),
            },
        ),
        (IM_PLUS, IM, {"augment": (NoisyCopies(count=1), None), "growing": (True, False)}),
        (IM_PLUS_PLUS, IM_PLUS, {"augment": (CopiesByQuality(), NoisyCopies(count=1))}),
        (
            AIM_PLUS,
            IM_PLUS,
            {
                "start": (ALDT, LDT),
                "labeled": (NINE_COPIES, Labeled()),
                "augment": (NoisyCopies(count=1, keep_plain=True), NoisyCopies(count=1)),
            },
        ),
        (
            AIM_PLUS_PLUS,
            AIM_PLUS,
            {
                "augment": (
                    CopiesByQuality(keep_plain=True),
                    NoisyCopies(count=1, keep_plain=True),
                )
            },
        ),
        (GT_IM_PLUS_PLUS, IM_PLUS_PLUS, {"augment": (CopiesByTruth(), CopiesByQuality())}),
        # No parent, but made of the same fields:
        (
            MODEL_ENSEMBLE,
            LDT,
            {
                "start": (LDT, None),
                "networks": (5, 10),
                "generations": (5, 0),
                "pseudo_label": (Vote(teachers=2), None),
            },
        ),
        (
            CONSISTENCY,
            LDT,
            {
                "start": (LDT, None),
                "networks": (5, 10),
                "generations": (1, 0),
                "objective": (TwoViews(), None),
            },
        ),
    ],
    ids=lambda each: each.name if isinstance(each, Approach) else "",
)
def test_an_approach_is_its_parent_plus_a_difference(one, other, expected) -> None:
    assert differences(one, other) == expected
    assert one.parent == other.name or one.parent is None


def test_every_approach_has_a_known_parent_or_none() -> None:
    assert list(APPROACHES) == NAMES
    for name, approach in APPROACHES.items():
        assert approach.name == name
        assert approach.parent is None or approach.parent in APPROACHES
    roots = {name for name, approach in APPROACHES.items() if approach.parent is None}
    assert roots == {"ldt", "model-ensemble", "consistency"}


def test_every_approach_leads_back_to_a_root_and_no_two_are_alike() -> None:
    for approach in APPROACHES.values():
        seen = [approach]
        while seen[-1].parent is not None:
            seen.append(find_approach(seen[-1].parent))
            assert differences(seen[-2], seen[-1]), seen[-2].name
            assert len(seen) < len(APPROACHES)
    named = list(APPROACHES.values())
    alike = [
        (one.name, other.name)
        for place, one in enumerate(named)
        for other in named[place + 1 :]
        if not differences(one, other)
    ]
    assert alike == []


def test_a_new_approach_shows_up_with_its_difference_alone() -> None:
    bolder = variant(IM, name="im-3", pseudo_label=Consensus(teachers=3))
    assert bolder.parent == "im"
    assert list(differences(bolder, IM)) == ["pseudo_label"]
    assert differences(IM, IM) == {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Oldest:
    """What a made-up approach does: the first of so many teachers is believed."""

    teachers: int = field(default=2, metadata={"option": "teachers"})
    doubt: float = field(default=0.5, metadata={"option": "doubt"})
    kept_to_itself: int = 7

    block = None

    def __str__(self) -> str:
        return f"the first of {self.teachers} networks is believed, with doubt {self.doubt:g}"

    def label(self, teacher_batch: TeacherBatch) -> PseudoLabelBatch:
        first = teacher_batch.hard_predictions[0]
        nowhere = (first[:, :1] != first[:, :1]).bool()
        return PseudoLabelBatch(
            labels=first, inconsistent=nowhere, disputed=nowhere, consensus=first, first=first
        )


@pytest.fixture
def made_up(monkeypatch) -> Approach:
    """An approach that takes one stage class, above, and one line of the catalog."""
    line = variant(IM, name="oldest", summary="The first is right.", pseudo_label=Oldest())
    monkeypatch.setitem(catalog.APPROACHES, line.name, line)
    return line


def test_the_options_of_a_made_up_stage_are_known_and_set(made_up: Approach) -> None:
    assert made_up.options == {"teachers", "doubt"}
    stage = with_options(made_up.pseudo_label, {"teachers": 4, "doubt": 0.25, "erode": 3})
    assert stage == Oldest(teachers=4, doubt=0.25)
    assert with_options(made_up.pseudo_label, {"erode": 3}) is made_up.pseudo_label


def test_a_made_up_approach_is_explained_by_its_difference(made_up: Approach) -> None:
    explained = explain_approach(made_up)
    assert explained.settings["pseudo_label"] == str(Oldest())
    assert [parent for parent, _ in explained.chain] == ["im", "model-ensemble"]
    assert explained.chain[0][1] == {"pseudo_label": (str(Oldest()), str(IM.pseudo_label))}
    text = explained.as_text()
    assert "the first of 2 networks is believed, with doubt 0.5" in text
    assert "differs from im in:" in text and "The first is right." in text


def test_a_made_up_approach_is_planned_refused_and_trained_like_any(made_up, tmp_path) -> None:
    asked = {"approach": made_up.name, "effort": "quick", "teachers": 3, "device": "cpu"}
    plan, _ = make_plan(settings_from(asked), ISIC)
    assert plan.approach.pseudo_label == Oldest(teachers=3)
    context = rehearse(plan, ISIC, folder=tmp_path)
    assert list(context.jobs_of) == ["start", "generation-1"]
    assert len(context.jobs_of["start"]) == 3
    with pytest.raises(ImsegError, match="oldest has no use for --erode"):
        settings_from({**asked, "erode": 3})


@pytest.mark.parametrize("approach", APPROACHES.values(), ids=NAMES)
def test_every_approach_can_be_explained_to_its_root(approach: Approach) -> None:
    explained = explain_approach(approach)
    parents, current = [], approach
    while current.parent is not None:
        current = find_approach(current.parent)
        parents.append(current.name)
    assert [parent for parent, _ in explained.chain] == parents
    text = explained.as_text()
    assert approach.summary in text
    for parent, changed in explained.chain:
        assert f"differs from {parent} in:" in text
        assert changed
    assert not re.search(r"\w\(\w+=", text), "a value is shown as code, not in words"


def test_a_summary_is_one_plain_sentence() -> None:
    for approach in APPROACHES.values():
        assert approach.summary.endswith(".")
        assert ". " not in approach.summary
        assert 20 < len(approach.summary) < 240


def test_the_catalog_is_one_page_without_a_number_of_any_data_set() -> None:
    source = inspect.getsource(catalog)
    assert len(source.splitlines()) <= 200
    numbers = {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float))
    } - {True, False}
    # Networks, generations, teachers, views and copies: what METHOD says of an approach itself.
    assert numbers <= {1, 2, 3, 5, 9, 10}
    for word in ("isic", "hela", "suim", "cityscapes", "Strength", "thresholds", "width="):
        assert word not in source.lower(), word


def test_inconsistent_pixels_have_no_weight_by_default() -> None:
    for approach in (IM, IM_PLUS, IM_PLUS_PLUS, AIM_PLUS, AIM_PLUS_PLUS, GT_IM_PLUS_PLUS):
        labeler = approach.pseudo_label
        assert isinstance(labeler, Consensus)
        assert labeler.block == IGNORED
        assert (labeler.erode, labeler.dilate) == (0, 0)
        assert not labeler.grow_labels
    for approach in (MODEL_ENSEMBLE, INPUT_ENSEMBLE, NOISY_STUDENT, EVALNET):
        assert approach.pseudo_label is not None and approach.pseudo_label.block is None


def test_only_approaches_that_disturb_images_know_how_strongly() -> None:
    undisturbed = {name for name, each in APPROACHES.items() if not each.augments}
    assert undisturbed == {"ldt", "ldt-matched", "fdt", "model-ensemble", "im"}


def test_approaches_that_need_unlabeled_images_say_so() -> None:
    alone = {name for name, each in APPROACHES.items() if not each.needs_unlabeled}
    assert alone == {"ldt", "ldt-matched", "aldt", "aldt-matched", "ldt-online"}


def test_the_approaches_with_judges_are_those_that_ask_how_good_a_mask_is() -> None:
    scored = {name: each.scorer for name, each in APPROACHES.items() if each.scorer is not None}
    assert {name: scorer.learns_from for name, scorer in scored.items()} == {
        "evalnet": "predictions",
        "im++": "consensus",
        "aim++": "consensus",
    }
    asking = {name for name, each in APPROACHES.items() if each.has_thresholds}
    assert asking == {*scored, "gt-im++"}


def test_the_options_of_an_approach_are_those_of_its_stages() -> None:
    masking = {"teachers", "erode", "dilate", "grow_labels", "block"}
    copies = {"reblock", "fresh_copies", "strength_level"}
    consistency = {"consistency_weight", "consistency_ramp", "consistency_level"}
    expected = {
        "model-ensemble": {"teachers", "vote"},
        "noisy-student": {"teachers", "vote"} | copies,
        "input-ensemble": {"views", "vote", "plain_view"},
        "evalnet": {"mask_scorers", "accepts"},
        "consistency": consistency,
        "im": masking,
        **dict.fromkeys(("im+", "im++", "aim+", "aim++", "gt-im++"), masking | copies),
    }
    for name, approach in APPROACHES.items():
        assert approach.options == expected.get(name, set()), name


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("IM", "im"),
        ("ldt_matched", "ldt-matched"),
        ("fdtt", "fdt"),
        ("evalnets", "evalnet"),
        ("input_ensemble", "input-ensemble"),
    ],
)
def test_a_misspelled_approach_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(ImsegError) as caught:
        find_approach(typed)
    assert str(caught.value) == (
        f"There is no approach named {typed!r}.\n"
        f"  Expected: {', '.join(NAMES)}\n"
        f"  Got:      {typed}\n"
        f"  Try:      --approach {meant}"
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"generations": 2}, "generations need pseudo-labels or an objective"),
        ({"pseudo_label": Consensus()}, "generations need pseudo-labels or an objective"),
        ({"objective": TwoViews()}, "generations need pseudo-labels or an objective"),
        (
            {"generations": 2, "pseudo_label": Consensus()},
            "need a start approach that trains the first teachers",
        ),
        ({"augment": NoisyCopies()}, "copies of pseudo-labeled images need pseudo-labels"),
    ],
)
def test_an_approach_that_cannot_work_is_refused(fields, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Approach(name="broken", summary="", **fields)


def test_an_approach_is_a_value() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        IM.networks = 3
    assert dataclasses.replace(IM) == IM
    assert hash(dataclasses.replace(IM)) == hash(IM)
