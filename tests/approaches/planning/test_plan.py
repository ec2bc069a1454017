"""From what was asked for to what will be done."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tests.approaches.planning.made_up_costs import costs

from imseg.approaches.methods.catalog import APPROACHES
from imseg.approaches.methods.paper import PAPER, PaperSettings
from imseg.approaches.planning import budget as planning
from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.duration import seconds_of
from imseg.approaches.planning.measured import Measured
from imseg.approaches.planning.plan import Plan, match_plan
from imseg.approaches.planning.settings import Effort, Settings
from imseg.approaches.planning.plan import Facts
from imseg.approaches.planning.stages import planned_steps
from imseg.components.amplification import NoisyCopies
from imseg.components.consensus import Block
from imseg.engine.training.objectives.two_views import TwoViews
from imseg.components.votes import Vote, VoteOfViews
from imseg.engine.training.recipe import Recipe
from imseg.ops.photometric import STRENGTH_SCHEDULES
from imseg.types import Kind

EFFORTS: tuple[Effort, ...] = ("quick", "standard", "paper")
ISIC = Facts(
    task="binary",
    labeled=259,
    validation=100,
    unlabeled=2335,
    channels=3,
    outputs=1,
    typical_size=(256, 256),
)
SUIM = dataclasses.replace(ISIC, task="multiclass", labeled=138, unlabeled=1234, outputs=9)


class Pretended:
    """Pretends to measure."""

    def __init__(self, of_256: float = 0.4) -> None:
        self.of_256 = of_256
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, plan: Plan) -> Measured:
        self.sizes.append(plan.image_size)
        return costs(self.of_256 * plan.image_size[0] * plan.image_size[1] / 256**2)


@pytest.fixture
def probe() -> Pretended:
    return Pretended()


def plan_for(facts: Facts = ISIC, *, measure: Pretended | None = None, **asked: object) -> Plan:
    return make_plan(Settings(device="cpu", **asked), facts, measure=measure or Pretended())[0]


@pytest.mark.parametrize(("facts", "width"), [(ISIC, 0.5), (SUIM, 1.0)])
def test_the_paper_schedule_is_the_published_one(facts: Facts, width: float, probe) -> None:
    plan, measured = make_plan(Settings(effort="paper", device="cpu"), facts, measure=probe)
    assert plan.paper and plan.recipe.paper
    assert (plan.start_networks, plan.networks, plan.generations) == (10, 5, 5)
    assert (plan.teachers, plan.epochs, plan.batch_size) == (2, 50, 32)
    assert (plan.max_steps, plan.width, plan.image_size) == (None, width, (256, 256))
    assert (plan.erode, plan.dilate, plan.blocking, plan.ignore) == (0, 0, "both", False)
    assert (plan.recipe.learning_rate, plan.recipe.decay) == (0.003, 1e-4)
    assert measured is None and probe.sizes == []


@pytest.mark.parametrize(
    ("asked", "blocking", "ignore"),
    [
        ({}, "none", True),
        ({"effort": "quick"}, "none", True),
        ({"effort": "paper"}, "both", False),
        ({"blocking": "both"}, "both", False),
        ({"blocking": "output"}, "output", False),
        ({"blocking": "none"}, "none", False),
        ({"ignore": False}, "none", False),
        ({"ignore": True}, "none", True),
        ({"blocking": "input", "ignore": True}, "input", True),
        ({"block_color": "mean"}, "both", False),
        ({"erode": 3}, "both", False),
        ({"erode": 0}, "none", True),
        ({"approach": "im+", "reblock": True}, "both", False),
    ],
)
def test_inconsistent_pixels_are_ignored_unless_something_else_is_asked_for(
    asked: dict[str, Any], blocking: str, ignore: bool
) -> None:
    plan = plan_for(**asked)
    assert (plan.blocking, plan.ignore) == (blocking, ignore)
    block = plan.approach.pseudo_label.block
    wanted = (blocking in ("both", "input"), blocking in ("both", "output"), ignore)
    assert (block.input, block.output, block.ignore) == wanted


def test_the_published_aldt_makes_80_steps_an_epoch_on_isic() -> None:
    plan = plan_for(effort="paper", approach="aldt")
    samples = ISIC.labeled * plan.approach.labeled.samples
    assert samples == 2590
    assert plan.recipe.steps_per_epoch(samples) == 80
    assert planned_steps(plan, ISIC) == 10 * 50 * 80
    assert plan.strength == STRENGTH_SCHEDULES["default"][-1]


def test_pictures_without_an_above_are_turned_and_scenes_are_not() -> None:
    assert plan_for(approach="aldt").rotate
    assert plan_for(dataclasses.replace(ISIC, task="multilabel"), approach="aldt").rotate
    assert not plan_for(SUIM, approach="aldt").rotate
    assert not plan_for(dataclasses.replace(ISIC, task="regression"), approach="aldt").rotate
    assert plan_for(SUIM, approach="aldt", rotate=True).rotate


def test_a_matched_aldt_counts_its_copies_into_an_epoch() -> None:
    base = plan_for(approach="aldt-matched", match=Path("run"), effort="quick")
    matched = match_plan(base, matched=plan_for(), steps=300, width=0.5, labeled=16)
    assert matched.recipe.steps(160) == 300
    assert matched.epochs == 60  # of 5 steps, not of 1


def test_ldt_online_takes_a_match_and_works_without() -> None:
    alone = plan_for(approach="ldt-online", effort="quick")
    assert alone.max_steps == 150
    matched = plan_for(approach="ldt-online", match=Path("run"))
    assert matched.start_networks == 3


def test_a_plan_from_before_there_were_copies_is_still_read() -> None:
    plain = plan_for().as_dict()
    del plain["strength_schedule"], plain["rotate"]
    assert Plan.from_dict(plain).ladder == "default"


def test_the_published_ldt_makes_400_steps_on_isic() -> None:
    plan = plan_for(effort="paper", approach="ldt")
    assert (plan.start_networks, plan.generations) == (10, 0)
    assert plan.recipe.steps(ISIC.labeled) == 400
    assert planned_steps(plan, ISIC) == 4000
    assert plan.approach.networks == 10


def test_the_published_im_makes_at_most_81_steps_an_epoch_on_isic() -> None:
    plan = plan_for(effort="paper")
    assert plan.recipe.steps_per_epoch(ISIC.labeled + ISIC.unlabeled) == 81
    assert planned_steps(plan, ISIC) == 10 * 400 + 25 * 50 * 81


def test_cityscapes_keeps_its_shape_and_multiples_of_16() -> None:
    facts = dataclasses.replace(SUIM, typical_size=(1024, 2048))
    assert plan_for(facts, effort="paper").image_size == (128, 256)


ASKED = {
    "generations": 3,
    "teachers": 3,
    "epochs": 7,
    "max_steps": 11,
    "image_size": (48, 80),
    "width": 0.25,
    "batch_size": 5,
    "limit_unlabeled": 9,
    "erode": 3,
    "dilate": 5,
    "blocking": "input",
    "ignore": True,
    "seed": 4,
    "precision": "float32",
    "workers": 3,
}


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("name", ASKED)
def test_what_is_asked_for_goes_before_effort(effort: Effort, name: str) -> None:
    plan = plan_for(effort=effort, **{name: ASKED[name]})
    assert getattr(plan, name) == ASKED[name]


ASKED_OF = {
    "patience": ("im", 4),
    "grow_labels": ("im", True),
    "vote": ("model-ensemble", "majority"),
    "views": ("input-ensemble", 5),
    "plain_view": ("input-ensemble", False),
    "mask_scorers": ("evalnet", 1),
    "thresholds": ("im++", (0.1, 0.9)),
    "consistency_weight": ("consistency", 0.5),
    "consistency_ramp": ("consistency", 7),
    "consistency_level": ("consistency", "high"),
    "block_color": ("im", "mean"),
    "reblock": ("im+", False),
    "fresh_copies": ("aldt", True),
    "strength_level": ("im+", 5),
    "strength_schedule": ("im+", "hela"),
    "rotate": ("im+", False),
}


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("name", ASKED_OF)
def test_what_is_asked_of_a_stage_goes_before_effort(effort: Effort, name: str) -> None:
    approach, value = ASKED_OF[name]
    plan = plan_for(effort=effort, approach=approach, **{name: value})
    assert getattr(plan, name) == value
    assert Plan.from_dict(plan.as_dict()) == plan


def test_what_is_asked_of_a_stage_gets_there() -> None:
    def stage(approach: str, place: str = "pseudo_label", **asked: object):
        return getattr(plan_for(approach=approach, effort="quick", **asked).approach, place)

    assert stage("model-ensemble", teachers=4, vote="mean") == Vote(teachers=4, vote="mean")
    views = stage("input-ensemble", views=7, vote="majority", plain_view=False)
    assert views == VoteOfViews(views=7, vote="majority", plain=False)
    assert stage("input-ensemble") == VoteOfViews(views=3, vote="paper", plain=True)
    assert stage("evalnet", scorers=1).scorers == 1
    assert stage("evalnet").accepts == "high"
    assert stage("noisy-student") == Vote(teachers=1)
    learned = stage(
        "consistency",
        "objective",
        consistency_weight=0.25,
        consistency_ramp=3,
        consistency_level="low",
    )
    assert learned == TwoViews(weight=0.25, ramp=3, level="low")


@pytest.mark.parametrize(("approach", "teachers"), [("evalnet", 0), ("consistency", 0), ("ldt", 0)])
def test_where_all_networks_or_none_vote_there_is_no_number_of_teachers(approach, teachers) -> None:
    assert plan_for(approach=approach, effort="quick").teachers == teachers


@pytest.mark.parametrize(
    ("approach", "effort", "generations"),
    [
        ("ldt", "paper", 0),
        ("consistency", "quick", 1),
        ("consistency", "paper", 1),
        ("evalnet", "quick", 1),
        ("evalnet", "standard", 2),
        ("evalnet", "paper", 5),
    ],
)
def test_an_approach_of_one_stage_or_one_generation_is_what_it_is(
    approach: str, effort: Effort, generations: int
) -> None:
    plan = plan_for(approach=approach, effort=effort)
    assert plan.generations == plan.approach.generations == generations


@pytest.mark.parametrize(
    ("approach", "effort", "patience"),
    [
        ("im", "quick", 2),
        ("im", "standard", 2),
        ("im", "paper", 0),
        ("evalnet", "standard", 2),
        ("ldt", "standard", 0),
        ("consistency", "standard", 0),
    ],
)
def test_the_controller_is_on_by_default_and_off_under_paper(
    approach: str, effort: Effort, patience: int
) -> None:
    assert plan_for(approach=approach, effort=effort).patience == patience


@pytest.mark.parametrize("effort", EFFORTS)
def test_the_plain_view_votes_except_under_paper(effort: Effort) -> None:
    plan = plan_for(approach="input-ensemble", effort=effort)
    assert plan.plain_view == (effort != "paper")
    assert plan_for(approach="im", effort=effort).plain_view is None


def test_thresholds_come_from_the_data_unless_they_are_published_or_asked_for() -> None:
    assert plan_for(approach="im++", effort="quick").thresholds is None
    assert plan_for(approach="im++", effort="paper").thresholds is None
    assert plan_for(approach="im++", effort="quick", thresholds=(0.2, 0.3)).thresholds == (0.2, 0.3)


def test_strengths_of_a_users_own_data_are_those_of_the_most_alike_of_the_papers() -> None:
    def strengths(task: Kind, ladder: str | None) -> PaperSettings:
        facts = dataclasses.replace(ISIC, task=task)
        return plan_for(facts, approach="im+", effort="quick", strength_schedule=ladder).strengths

    for task in ("binary", "multiclass", "multilabel", "regression"):
        assert strengths(task, None) is PAPER["isic2018" if task == "binary" else "suim"]
        assert strengths(task, "hela") is PAPER["hela"]
        assert strengths(task, "cityscapes") is PAPER["cityscapes"]


def test_networks_that_grow_are_a_quarter_wider_in_each_generation() -> None:
    plan = plan_for(approach="im+", effort="quick", width=0.5, generations=3)
    assert [plan.width_in(number, growing=True) for number in (1, 2, 3)] == [0.5, 0.75, 1.0]
    assert [plan.width_in(number, growing=False) for number in (1, 2, 3)] == [0.5] * 3
    assert plan.scorer_width == 1.0


def test_a_ladder_goes_on_with_its_last_rung() -> None:
    plan = plan_for(approach="im+", effort="quick")
    assert [plan.strength_in(number) for number in (1, 5, 6, 9)] == [
        STRENGTH_SCHEDULES["default"][0],
        *[STRENGTH_SCHEDULES["default"][4]] * 3,
    ]


def test_a_rung_that_is_asked_for_is_that_of_every_generation() -> None:
    plan = plan_for(approach="im+", effort="quick", strength_level=4)
    assert [plan.strength_in(number) for number in (1, 3, 5, 9)] == [STRENGTH_SCHEDULES["default"][3]] * 4
    assert plan.strength == STRENGTH_SCHEDULES["default"][4], "labeled images are no pseudo-labeled ones"
    assert plan.approach.augment == NoisyCopies(strength_level=4)


def test_what_a_schedule_does_with_blocked_pixels_by_itself_is_nothing_that_was_asked_for() -> None:
    for effort in EFFORTS:
        for reblock in (None, True, False):
            plan = plan_for(approach="im+", effort=effort, reblock=reblock)
            by_itself = reblock in (None, effort != "paper")
            assert plan.approach.augment.reblock == (None if by_itself else reblock)


def test_fresh_copies_are_those_of_labeled_images_too_where_there_are_any() -> None:
    def fresh(approach: str) -> tuple[bool, ...]:
        one = plan_for(approach=approach, effort="quick", fresh_copies=True).approach
        start = one.start.labeled.fresh if one.start else False
        return start, one.labeled.fresh, one.augment is not None and one.augment.fresh

    assert fresh("aim+") == (True, True, True)
    assert fresh("im+") == fresh("noisy-student") == (False, False, True)
    assert fresh("aldt") == (False, True, False)
    assert not plan_for(approach="aim+", effort="quick").approach.augment.fresh


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("mask_scorers", [1, 2, 4])
def test_there_are_never_fewer_networks_than_judges_that_are_asked(effort, scorers: int) -> None:
    plan = plan_for(approach="evalnet", effort=effort, scorers=scorers)
    assert plan.networks >= plan.approach.pseudo_label.scorers


@pytest.mark.parametrize("effort", EFFORTS)
def test_all_that_is_asked_for_together_goes_before_effort(effort: Effort) -> None:
    plan = plan_for(effort=effort, **ASKED)
    assert {name: getattr(plan, name) for name in ASKED} == ASKED


@pytest.mark.parametrize("effort", EFFORTS)
def test_networks_are_those_of_every_stage(effort: Effort) -> None:
    plan = plan_for(effort=effort, networks=4)
    assert (plan.start_networks, plan.networks) == (4, 4)


@pytest.mark.parametrize("effort", EFFORTS)
def test_there_are_never_fewer_networks_than_teachers(effort: Effort) -> None:
    plan = plan_for(effort=effort, teachers=4)
    assert min(plan.start_networks, plan.networks) >= 4


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("cores", [1, 2, 3, 4, 7, 8, 64])
def test_networks_side_by_side_have_no_more_threads_than_there_are_cores(
    effort: Effort, cores: int, monkeypatch
) -> None:
    for asking in (planning,):
        monkeypatch.setattr(asking, "usable_cores", lambda: cores)
    for networks in (None, 1, 2, 5, 100):
        plan = plan_for(effort=effort, networks=networks)
        assert plan.workers >= 1 and plan.threads >= 1
        assert cores / 2 < plan.workers * plan.threads <= cores
        assert plan.compute.threads == plan.threads
    alone = plan_for(effort=effort, workers=1)
    assert (alone.workers, alone.threads) == (1, cores)


def test_quick_needs_no_probe(probe) -> None:
    plan, measured = make_plan(Settings(effort="quick", device="cpu"), ISIC, measure=probe)
    assert (measured, probe.sizes) == (None, [])
    assert max(plan.image_size) <= 96
    assert (plan.max_steps, plan.generations) == (150, 1)


def test_standard_measures_once_and_fits_its_budget() -> None:
    probe = Pretended(4.0)
    plan, measured = make_plan(Settings(device="cpu", workers=2), ISIC, measure=probe)
    assert probe.sizes == [(128, 128)] and plan.image_size == (128, 128)
    assert measured is not None
    assert 0 < seconds_of(plan, ISIC, measured) <= planning.BUDGET_SECONDS
    assert plan.max_steps is not None and plan.max_steps <= planning.MOST_STEPS
    assert plan.max_steps % planning.STEPS_ROUNDED_TO == 0
    more = plan.max_steps + planning.STEPS_ROUNDED_TO
    assert seconds_of(plan, ISIC, measured, cap=more) > planning.BUDGET_SECONDS


def test_where_nothing_may_be_measured_steps_are_the_most_that_there_can_be() -> None:
    plan, measured = make_plan(Settings(device="cpu"), ISIC)
    assert (plan.max_steps, measured) == (planning.MOST_STEPS, None)


def test_a_slow_machine_trains_shorter_but_on_the_same_images() -> None:
    quick, slow = plan_for(workers=2), plan_for(workers=2, measure=Pretended(7.6))
    assert slow.image_size == quick.image_size == (128, 128)
    assert slow.max_steps < quick.max_steps


def test_looks_at_validation_images_cost_at_most_a_tenth_of_learning() -> None:
    plan, recipe = plan_for(approach="ldt"), Recipe(epochs=50, batch_size=32)
    for samples in (1, 20, 156, 1500, 40_000):
        for validation in (1, 20, 50, 1000):
            every = plan.looked_at(recipe, samples=samples, validation=validation).validate_every
            assert validation / 3 <= 0.1 * every * samples + 1e-9
            assert every == 1 or validation / 3 > 0.1 * (every - 1) * samples
    asked = dataclasses.replace(plan, validate_every=3)
    assert asked.looked_at(recipe, samples=1, validation=1000).validate_every == 3
    assert plan_for(approach="im", effort="paper").validate_every == 1


def test_the_size_that_was_asked_for_is_taken() -> None:
    assert plan_for(workers=1, image_size=(256, 256)).image_size == (256, 256)


def test_asking_for_steps_spares_the_probe(probe) -> None:
    assert plan_for(max_steps=20, measure=probe).max_steps == 20
    assert probe.sizes == []


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("approach", APPROACHES)
def test_a_plan_comes_back_from_plain_values_unchanged(effort: Effort, approach: str) -> None:
    plan = plan_for(effort=effort, approach=approach)
    plain = plan.as_dict()
    assert None not in plain.values()
    assert Plan.from_dict(plain) == plan


def test_the_plan_decides_the_numbers_of_the_stages() -> None:
    plan = plan_for(effort="quick", teachers=3, erode=3, dilate=5, blocking="output", ignore=True)
    assert plan_for(block_color="mean").approach.pseudo_label.block == Block(color="mean")
    approach = plan.approach
    assert approach.generations == plan.generations
    assert approach.start is not None and approach.start.networks == plan.start_networks
    consensus = approach.pseudo_label
    assert consensus is not None
    assert (consensus.teachers, consensus.erode, consensus.dilate) == (3, 3, 5)
    assert consensus.block == Block(input=False, output=True, ignore=True)
    assert not consensus.grow_labels


@pytest.mark.parametrize(("effort", "erode", "grows"), [("paper", 3, True), ("paper", 0, False)])
def test_labels_grow_under_paper_when_the_mask_is_eroded(effort, erode: int, grows: bool) -> None:
    consensus = plan_for(effort=effort, erode=erode).approach.pseudo_label
    assert consensus is not None and consensus.grow_labels == grows


def test_teachers_use_all_threads_that_training_uses() -> None:
    plan = plan_for(workers=2)
    assert plan.whole_machine.threads == plan.threads * 2
    assert plan.whole_machine.precision == plan.compute.precision


@pytest.mark.parametrize(("steps", "labeled"), [(81, 20), (1000, 259), (1, 500)])
def test_a_matched_baseline_makes_exactly_the_steps_of_its_match(steps, labeled: int) -> None:
    im = plan_for(effort="quick")
    own = plan_for(effort="quick", approach="ldt-matched", match="runs/a")
    plan = match_plan(own, matched=im, steps=steps, width=0.75, labeled=labeled)
    assert plan.recipe.steps(labeled) == steps
    assert (plan.width, plan.image_size, plan.batch_size) == (0.75, im.image_size, im.batch_size)
    assert plan.approach == "ldt-matched"


def test_few_labels_get_more_epochs_but_never_fewer_than_the_paper() -> None:
    few = dataclasses.replace(ISIC, labeled=8)
    plan = plan_for(few, effort="quick")
    assert plan.epochs == 150
    assert Recipe(epochs=plan.epochs, max_steps=plan.max_steps).steps(8) == 150
    assert plan_for(dataclasses.replace(ISIC, labeled=5000), effort="quick").epochs == 50
