"""An approach is its parent plus a difference."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.approaches.running.rehearsal import ISIC, rehearse

from imseg.approaches.methods import catalog, online
from imseg.approaches.methods.approach import Approach, Labeled, differences, variant
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
from imseg.approaches.methods.explain import MEANINGS, explain_approach
from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.plan import Plan
from imseg.approaches.planning.settings import declared, default_of, settings_from
from imseg.components.amplification import CopiesByQuality, CopiesByTruth, MaskScorer, NoisyCopies
from imseg.components.consensus import (
    TEACHERS,
    Block,
    Consensus,
    Everything,
    ForegroundExceedsInconsistency,
    Labeler,
    PseudoLabelBatch,
    SurvivesErosion,
    TeacherBatch,
)
from imseg.components.votes import BestProposal, Vote, VoteOfViews
from imseg.engine.training.objectives.supervised import Supervised
from imseg.engine.training.objectives.two_views import TwoViews
from imseg.engine.training.recipe import Augmentation, Recipe
from imseg.errors import ImsegError
from imseg.networks.registry import CustomConfig, UNetConfig
from imseg.options import option, options_in, with_options

NAMES = [
    "auto",
    "ldt",
    "ldt-matched",
    "ldt-same-cost",
    "aldt",
    "aldt-matched",
    "ldt-online",
    "fdt",
    "model-ensemble",
    "input-ensemble",
    "noisy-student",
    "consistency",
    "evalnet",
    "mean-teacher",
    "fixmatch",
    "unimatch",
    "unimatch+im",
    "cps",
    "online-im",
    "im",
    "im+",
    "im++",
    "aim+",
    "aim++",
    "gt-im++",
]
NINE_COPIES = Labeled(copies=9)
IGNORED = Block(blocking="none", ignore=True)
# The rows of METHOD, "The approaches, as differences": (start, pseudo-labels from, select, copies,
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
        approach.amplification,
        approach.labeled,
        approach.growing,
    )
    assert row == METHOD[approach]
    assert (approach.networks, approach.generations) == (5, 5)
    assert approach.start is not None and approach.start.networks == 10
    assert approach.objective == Supervised()


def test_a_start_is_a_single_stage_of_ten_networks_and_consistency_is_one_generation() -> None:
    for approach in (LDT, ALDT, FDT, LDT_ONLINE):
        assert (approach.networks, approach.generations, approach.start) == (10, 0, None)
    assert (CONSISTENCY.start, CONSISTENCY.generations, CONSISTENCY.networks) == (LDT, 1, 5)
    assert CONSISTENCY.objective == TwoViews(weight=1.0, ramp=0)
    assert CONSISTENCY.objective.epochs_factor == 2


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
                "amplification": (NoisyCopies(count=1), None),
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
        (IM_PLUS, IM, {"amplification": (NoisyCopies(count=1), None), "growing": (True, False)}),
        (IM_PLUS_PLUS, IM_PLUS, {"amplification": (CopiesByQuality(), NoisyCopies(count=1))}),
        (
            AIM_PLUS,
            IM_PLUS,
            {
                "start": (ALDT, LDT),
                "labeled": (NINE_COPIES, Labeled()),
                "amplification": (NoisyCopies(count=1, keep_plain=True), NoisyCopies(count=1)),
            },
        ),
        (
            AIM_PLUS_PLUS,
            AIM_PLUS,
            {
                "amplification": (
                    CopiesByQuality(keep_plain=True),
                    NoisyCopies(count=1, keep_plain=True),
                )
            },
        ),
        (GT_IM_PLUS_PLUS, IM_PLUS_PLUS, {"amplification": (CopiesByTruth(), CopiesByQuality())}),
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
                "objective": (TwoViews(), Supervised()),
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
    assert roots == {"ldt", "model-ensemble", "consistency", "mean-teacher"}


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
class Oldest(Labeler):
    """What a made-up approach does: the first of so many teachers is believed."""

    kind = "oldest"

    teachers: int = option(2, **TEACHERS)
    doubt: float = option(0.5, "How much the first is doubted.", group="method", low=0, high=1)
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
def made_up(monkeypatch) -> Iterator[Approach]:
    """An approach that takes one stage class, above, and one line of the catalog."""
    line = variant(IM, name="oldest", summary="The first is right.", pseudo_label=Oldest())
    monkeypatch.setitem(catalog.APPROACHES, line.name, line)
    declared.cache_clear()
    default_of.cache_clear()
    yield line
    declared.cache_clear()
    default_of.cache_clear()


def test_the_options_of_a_made_up_stage_are_known_and_set(made_up: Approach) -> None:
    assert set(options_in(made_up.pseudo_label)) == {"teachers", "doubt"}
    assert set(made_up.options) == {"teachers", "doubt", "generations", "patience", "select"} | ANY
    assert declared()["doubt"].flag == "--doubt" and default_of("doubt") == 0.5
    assert settings_from({"approach": "oldest", "doubt": 0.25}).doubt == 0.25
    with pytest.raises(ImsegError, match=r"--doubt cannot be 2"):
        settings_from({"approach": "oldest", "doubt": 2})
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
    plan = make_plan(settings_from(asked), ISIC)
    assert plan.approach.pseudo_label == Oldest(teachers=3)
    assert Plan.from_dict(plan.as_dict()) == plan
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


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("recipe", Recipe(epochs=7, learning_rate=0.01, average=0.99, schedule="cosine"), "0.99"),
        ("recipe", Recipe(augmentation=Augmentation(strength_schedule="hela")), "hela"),
        ("recipe", Recipe(max_steps=70, warm_up=5, keep="last"), "at most 70 steps"),
        ("network", UNetConfig(width=0.25, weights="a.safetensors"), "unet of width 0.25"),
        ("network", CustomConfig(callable="mine:net"), "mine:net of width 1"),
        ("objective", TwoViews(weight=0.25), "0.25"),
        ("amplification", NoisyCopies(count=3, level=2), "3 noisy copies"),
        ("scorer_start", ALDT, "aldt"),
        ("selecting", "same-classes", "those on which all teachers found the same classes"),
        ("selecting", "all", "all"),
        ("select", SurvivesErosion(kernel=3), "3x3"),
        ("thresholds", (0.25, 0.75), "0.25 and 0.75"),
        ("patience", 4, "4"),
        ("generations", 7, "7"),
        ("networks", 7, "7"),
        ("labeled", Labeled(copies=3), "3 augmented copies"),
        ("pseudo_label", Consensus(teachers=4), "4"),
        ("growing", True, "yes"),
        ("keeps_start", True, "yes"),
        ("carry", True, "yes"),
        ("matchable", True, "yes"),
        ("matched", True, "yes"),
        ("at_cost", True, "yes"),
        ("start", ALDT, "aldt"),
    ],
)
def test_every_difference_is_explained_in_words(field: str, value: object, said: str) -> None:
    explained = explain_approach(variant(IM, name="other", summary="Other.", **{field: value}))
    assert list(explained.chain[0][1]) == [field]
    assert said in explained.chain[0][1][field][0]
    text = explained.as_text()
    assert MEANINGS[field] in text
    assert not re.search(r"\w\(\w*=?|<.*>", text.replace("(EvalNet)", "").replace("(s)", "")), text


def test_every_field_of_an_approach_has_a_meaning() -> None:
    fields = {entry.name for entry in dataclasses.fields(Approach)}
    assert set(MEANINGS) == fields - {"name", "summary", "parent"}


def test_a_summary_is_one_plain_sentence() -> None:
    for approach in APPROACHES.values():
        assert approach.summary.endswith(".")
        assert ". " not in approach.summary
        assert 20 < len(approach.summary) < 240


def test_the_catalog_is_one_page_without_a_number_of_any_data_set() -> None:
    page, other = inspect.getsource(catalog), inspect.getsource(online)
    assert len(page.splitlines()) <= 200 and len(other.splitlines()) <= 100
    source = page + other
    numbers = {
        node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float))
    } - {True, False}
    # Networks, generations, teachers, views and copies: what METHOD says of an approach itself;
    # and the share of features that UniMatch drops.
    assert numbers <= {1, 2, 3, 5, 9, 10, 0.5}
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


def test_only_approaches_that_augment_images_know_how_strongly() -> None:
    not_augmented = {name for name, each in APPROACHES.items() if not each.augments}
    assert not_augmented == {"ldt", "ldt-matched", "ldt-same-cost", "fdt", "model-ensemble", "im"}


def test_approaches_that_need_unlabeled_images_say_so() -> None:
    alone = {name for name, each in APPROACHES.items() if not each.needs_unlabeled}
    assert alone == {"ldt", "ldt-matched", "ldt-same-cost", "aldt", "aldt-matched", "ldt-online"}


def test_the_approaches_with_mask_scorers_are_those_that_ask_how_good_a_mask_is() -> None:
    scored = {name: each.scorer for name, each in APPROACHES.items() if each.scorer is not None}
    assert {name: scorer.learns_from for name, scorer in scored.items()} == {
        "evalnet": "predictions",
        "im++": "consensus",
        "aim++": "consensus",
    }
    asking = {name for name, each in APPROACHES.items() if each.has_thresholds}
    assert asking == {*scored, "gt-im++"}


# What is set about any approach: how its networks are trained, and which they are.
ANY = {
    *("networks", "epochs", "max_steps", "batch_size", "validate_every", "width", "weights"),
    *("learning_rate", "weight_decay", "learning_rate_schedule", "warm_up_steps"),
    *("average_weights", "keep_weights", "augment", "loss", "class_balance", "optimizer"),
    *("clip_gradients", "rare_share"),
}


def test_the_options_of_an_approach_are_those_of_its_components() -> None:
    masking = {"teachers", "erode", "dilate", "grow_labels", "blocking", "ignore", "block_color"}
    copies = {"reblock", "fresh_copies", "strength_level"}
    consistency = {"consistency_weight", "consistency_ramp", "consistency_level"}
    teaching = {"teacher_weight", "teacher_ramp", "labeled_share"}
    online = {"learners", "averaged_teachers", "exchange", "filter", "confidence", "cutmix"}
    online |= {"start_share", "strong_views", "feature_dropout"}
    augmented = {"strength_schedule", "rotate"}
    generations = {"generations", "patience", "select"}
    scored = {"thresholds"}
    expected = {
        **dict.fromkeys(("ldt", "ldt-matched", "ldt-same-cost", "fdt"), frozenset()),
        **dict.fromkeys(("aldt", "aldt-matched"), augmented | {"fresh_copies"}),
        "ldt-online": augmented,
        "model-ensemble": generations | {"teachers", "vote"},
        "noisy-student": generations | augmented | {"teachers", "vote"} | copies,
        "input-ensemble": generations | augmented | {"views", "vote", "plain_view"},
        "evalnet": generations | augmented | scored | {"mask_scorers"},
        "consistency": augmented | consistency,
        "mean-teacher": augmented | teaching,
        **dict.fromkeys(
            ("auto", "fixmatch", "unimatch", "unimatch+im", "cps", "online-im"),
            augmented | teaching | online,
        ),
        "im": generations | masking,
        **dict.fromkeys(("im+", "aim+"), generations | augmented | masking | copies),
        **dict.fromkeys(
            ("im++", "aim++", "gt-im++"), generations | augmented | masking | copies | scored
        ),
    }
    assert set(expected) == set(APPROACHES)
    for name, approach in APPROACHES.items():
        assert set(approach.options) == expected[name] | ANY, name


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
        ({"generations": 2}, "generations need pseudo-labels or a start to"),
        (
            {"pseudo_label": Consensus()},
            "generations need pseudo-labels or a start to continue from",
        ),
        ({"objective": TwoViews()}, "generations need pseudo-labels or a start to"),
        (
            {"generations": 2, "pseudo_label": Consensus()},
            "need a start approach that trains the first teachers",
        ),
        ({"amplification": NoisyCopies()}, "copies of pseudo-labeled images need pseudo-labels"),
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
