"""From what was asked for to what will be done."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tests.approaches.planning.made_up_costs import costs
from tests.approaches.settled import settled

from imseg.approaches.methods.catalog import APPROACHES
from imseg.approaches.methods.paper import PAPER, PaperSettings
from imseg.approaches.planning import budget as planning
from imseg.approaches.planning import duration
from imseg.approaches.planning.budget import fits_time, make_plan, match_plan
from imseg.approaches.planning.duration import Measured, fit_to_time, seconds_of
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.run_options import Effort
from imseg.approaches.planning.settings import Settings
from imseg.approaches.planning.stage_plan import planned_stages, planned_steps
from imseg.components.amplification import NoisyCopies
from imseg.components.consensus import Block
from imseg.components.votes import Vote, VoteOfViews
from imseg.engine.training.objectives.two_views import TwoViews
from imseg.engine.training.recipe import RECIPES, Recipe
from imseg.networks.registry import UNetConfig
from imseg.ops.augment import MOVES, UNMOVED
from imseg.ops.limits import limits_for
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


def made_up(plan: Plan, of_256: float) -> Measured:
    """Return what networks cost where a step at 256x256 px takes so many seconds."""
    return costs(of_256 * plan.image_size[0] * plan.image_size[1] / 256**2)


def plan_for(facts: Facts = ISIC, *, of_256: float = 0.4, **asked: object) -> Plan:
    """Return a plan, its steps fitted to time where they are, as for a run; of im, if none else."""
    settings = Settings(device="cpu", **{"approach": "im", **asked})
    plan = make_plan(settings, facts)
    return fit_to_time(plan, facts, made_up(plan, of_256)) if fits_time(settings) else plan


@pytest.mark.parametrize(("facts", "width"), [(ISIC, 0.5), (SUIM, 1.0)])
def test_the_paper_schedule_is_the_published_one(facts: Facts, width: float) -> None:
    asked = Settings(effort="paper", device="cpu")
    plan = make_plan(asked, facts)
    approach, recipe = plan.approach, plan.recipe
    assert plan.paper and recipe.paper
    assert (approach.start.networks, approach.networks, approach.generations) == (10, 5, 5)
    assert (plan.teachers, recipe.epochs, recipe.batch_size) == (2, 50, 32)
    assert (recipe.max_steps, plan.network.width, plan.image_size) == (None, width, (256, 256))
    labeler = approach.pseudo_label
    assert (labeler.erode, labeler.dilate) == (0, 0)
    assert (labeler.block.blocking, labeler.block.ignore) == ("both", False)
    assert (recipe.learning_rate, recipe.weight_decay) == (0.003, 1e-4)
    assert (recipe.schedule, recipe.warm_up, recipe.average, recipe.keep) == (
        *("constant", 0, 0.0, "best"),
    )
    assert not fits_time(asked), "nothing is measured"
    assert approach.start.recipe == recipe


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
    block = plan.approach.pseudo_label.block
    wanted = (blocking in ("both", "input"), blocking in ("both", "output"), ignore)
    assert (block.input, block.output, block.ignore) == wanted
    assert block.blocking == blocking


def test_the_published_aldt_makes_80_steps_an_epoch_on_isic() -> None:
    plan = plan_for(effort="paper", approach="aldt")
    samples = ISIC.labeled * plan.approach.labeled.samples
    assert samples == 2590
    assert plan.recipe.steps_per_epoch(samples) == 80
    assert planned_steps(planned_stages(plan, ISIC)) == 10 * 50 * 80
    assert plan.strengths.labeled_copies == STRENGTH_SCHEDULES["default"][-1]


def test_pictures_without_an_above_are_turned_and_scenes_are_not() -> None:
    assert plan_for(approach="aldt").rotate
    assert plan_for(dataclasses.replace(ISIC, task="multilabel"), approach="aldt").rotate
    assert not plan_for(SUIM, approach="aldt").rotate
    assert not plan_for(dataclasses.replace(ISIC, task="regression"), approach="aldt").rotate
    assert plan_for(SUIM, approach="aldt", rotate=True).rotate


def test_the_modern_recipe_is_the_default_and_the_papers_belongs_to_its_schedule() -> None:
    for effort, asked, name in (
        ("standard", None, "modern"),
        ("quick", None, "modern"),
        ("paper", None, "paper"),
        ("standard", "paper", "paper"),
        ("paper", "modern", "modern"),
    ):
        plan = plan_for(effort=effort, recipe=asked)
        parts = ("loss", "optimizer", "schedule", "warm_up", "average", "keep", "clip")
        found, wanted = plan.recipe, RECIPES[name]
        assert [getattr(found, part) for part in parts] == [getattr(wanted, p) for p in parts]
        assert found.augmentation.level == wanted.augmentation.level
        assert plan.approach.start.recipe == found, "starts have the recipe, too"
        assert plan.tta == (name == "modern")
        assert Plan.from_dict(plan.as_dict()) == plan


def test_parts_of_a_recipe_that_are_asked_for_go_before_it() -> None:
    plan = plan_for(SUIM, loss="cross-entropy", average_weights=0.9, augment="weak", tta=False)
    assert (plan.recipe.loss, plan.recipe.average) == ("cross-entropy", 0.9)
    assert (plan.recipe.augmentation.level, plan.tta) == ("weak", False)
    assert plan.recipe.class_balance == 0.5
    assert plan_for(SUIM, class_balance=0.25).recipe.class_balance == 0.25
    assert plan_for(SUIM, loss="paper").recipe.class_balance == 0.0


def test_the_modern_recipe_is_fitted_to_what_masks_hold() -> None:
    def recipe(task: Kind) -> Recipe:
        return plan_for(dataclasses.replace(ISIC, task=task)).recipe

    for task in ("binary", "multilabel", "multiclass"):
        assert recipe(task).loss == "cross-entropy+dice"
        assert recipe(task).class_balance == (0.5 if task == "multiclass" else 0.0)
    assert recipe("regression").loss == "smooth-l1"
    assert plan_for(SUIM, recipe="paper").recipe.class_balance == 0.0


def test_augmentation_depends_on_the_masks_the_images_and_the_level_alone() -> None:
    def limits(level: str = "strong", rotate: bool | None = None, **facts: object):
        known = dataclasses.replace(ISIC, **facts)
        return plan_for(known, augment=level, rotate=rotate).recipe.augmentation.limits

    assert limits() == limits_for("strong", kind="binary", modality="photograph", rotate=True)
    assert limits(task="multiclass") == limits_for(
        "strong", kind="multiclass", modality="photograph", rotate=False
    )
    assert limits(rotate=False).turn < limits().turn
    assert limits(modality="gray").saturation == 0 < limits().saturation
    assert limits("none") is limits("paper") is None
    assert limits("weak").turn == 0


def test_small_objects_are_not_scaled_down_until_nothing_is_left() -> None:
    def limits(narrow: float | None):
        return plan_for(dataclasses.replace(ISIC, narrow=narrow)).recipe.augmentation.limits

    assert limits(0.5) == limits(None)
    side = 128
    assert limits(2.5 / side).shrink < limits(None).shrink
    assert limits(1 / side).shrink == 0
    assert limits(1 / side).blur < limits(None).blur


def test_a_matched_baseline_has_the_recipe_of_its_match_but_for_what_is_asked() -> None:
    network, facts = UNetConfig(width=0.5), ISIC
    for recipe, given in (("modern", {}), ("paper", {}), ("modern", {"loss": "cross-entropy"})):
        other = plan_for(facts, approach="im", recipe=recipe, learning_rate=0.001, rotate=False)
        own = plan_for(facts, approach="ldt-matched", match=Path("run"), **given)
        plan = match_plan(own, matched=other, steps=90, network=network, labeled=9, given=given)
        kept = ("optimizer", "schedule", "average", "keep", "learning_rate", "augmentation")
        for part in kept:
            assert getattr(plan.recipe, part) == getattr(other.recipe, part), part
        assert plan.recipe.loss == given.get("loss", other.recipe.loss)
        turned = match_plan(
            plan_for(facts, approach="ldt-matched", match=Path("run"), rotate=True, recipe=recipe),
            matched=other,
            steps=90,
            network=network,
            labeled=9,
            given={"rotate": True},
        )
        assert turned.rotate and not plan.rotate


def steps_of(plan: Plan, *, labeled: int) -> int:
    """Return the optimizer steps of each network of the first stage."""
    return planned_stages(plan, dataclasses.replace(ISIC, labeled=labeled))[0].steps


def test_a_matched_aldt_counts_its_copies_into_an_epoch() -> None:
    base = plan_for(approach="aldt-matched", match=Path("run"), effort="quick")
    network = UNetConfig(width=0.5)
    matched = match_plan(base, matched=plan_for(), steps=300, network=network, labeled=16)
    assert steps_of(matched, labeled=16) == 300
    assert matched.recipe.epochs == 60  # of 5 steps, not of 1
    assert matched.matched_steps == 300


def test_ldt_online_takes_a_match_and_works_without() -> None:
    alone = plan_for(approach="ldt-online", effort="quick")
    assert alone.recipe.max_steps == 150
    matched = plan_for(approach="ldt-online", match=Path("run"))
    assert matched.approach.networks == 3


def test_the_published_ldt_makes_400_steps_on_isic() -> None:
    plan = plan_for(effort="paper", approach="ldt")
    assert (plan.approach.networks, plan.approach.generations) == (10, 0)
    assert steps_of(plan, labeled=ISIC.labeled) == 400
    assert planned_steps(planned_stages(plan, ISIC)) == 4000
    assert plan.approach.networks == 10


def test_the_published_im_makes_at_most_81_steps_an_epoch_on_isic() -> None:
    plan = plan_for(effort="paper")
    assert plan.recipe.steps_per_epoch(ISIC.labeled + ISIC.unlabeled) == 81
    assert planned_steps(planned_stages(plan, ISIC)) == 10 * 400 + 25 * 50 * 81


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
    assert settled(plan, name) == ASKED[name]


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
    by_itself = name == "reblock" and effort == "paper"  # then there is nothing to write down
    plan = plan_for(effort=effort, approach=approach, recipe="paper", **{name: value})
    assert settled(plan, name) == (None if by_itself else value)
    assert Plan.from_dict(plan.as_dict()) == plan


def test_what_is_asked_of_a_stage_gets_there() -> None:
    def stage(approach: str, place: str = "pseudo_label", **asked: object):
        asked = {"approach": approach, "effort": "quick", "recipe": "paper", **asked}
        return getattr(plan_for(**asked).approach, place)

    assert stage("model-ensemble", teachers=4, vote="mean") == Vote(teachers=4, vote="mean")
    views = stage("input-ensemble", views=7, vote="majority", plain_view=False)
    assert views == VoteOfViews(views=7, vote="majority", plain=False)
    assert stage("input-ensemble") == VoteOfViews(views=3, vote="paper", plain=True)
    assert stage("evalnet", mask_scorers=1).scorers == 1
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
    assert plan.approach.generations == generations


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
def test_early_stopping_is_on_by_default_and_off_under_paper(
    approach: str, effort: Effort, patience: int
) -> None:
    assert plan_for(approach=approach, effort=effort).approach.patience == patience


@pytest.mark.parametrize("effort", EFFORTS)
def test_the_plain_view_votes_except_under_paper(effort: Effort) -> None:
    plan = plan_for(approach="input-ensemble", effort=effort)
    assert plan.approach.pseudo_label.plain == (effort != "paper")
    assert "plain_view" not in plan_for(approach="im", effort=effort).approach.options


def test_thresholds_come_from_the_data_unless_they_are_published_or_asked_for() -> None:
    assert plan_for(approach="im++", effort="quick").approach.thresholds is None
    assert plan_for(approach="im++", effort="paper").approach.thresholds is None
    asked = plan_for(approach="im++", effort="quick", thresholds=(0.2, 0.3))
    assert asked.approach.thresholds == (0.2, 0.3)


def test_strengths_of_a_users_own_data_are_those_of_the_most_alike_of_the_papers() -> None:
    def strengths(task: Kind, schedule: str | None) -> PaperSettings:
        facts = dataclasses.replace(ISIC, task=task)
        asked = {"approach": "im+", "effort": "quick", "strength_schedule": schedule}
        return plan_for(facts, recipe="paper", **asked).strengths

    for task in ("binary", "multiclass", "multilabel", "regression"):
        assert strengths(task, None) is PAPER["isic2018" if task == "binary" else "suim"]
        assert strengths(task, "hela") is PAPER["hela"]
        assert strengths(task, "cityscapes") is PAPER["cityscapes"]


def test_networks_that_grow_are_a_quarter_wider_in_each_generation() -> None:
    plan = plan_for(approach="im+", effort="quick", width=0.5, generations=3)
    assert [plan.network_in(number).width for number in (1, 2, 3)] == [0.5, 0.75, 1.0]
    same = plan_for(approach="im", effort="quick", width=0.5, generations=3)
    assert [same.network_in(number).width for number in (1, 2, 3)] == [0.5] * 3
    assert plan.scorer_width == 1.0


def test_a_strength_schedule_goes_on_with_its_last_level() -> None:
    plan = plan_for(approach="im+", effort="quick", recipe="paper")
    assert [plan.strength_in(number) for number in (1, 5, 6, 9)] == [
        STRENGTH_SCHEDULES["default"][0],
        *[STRENGTH_SCHEDULES["default"][4]] * 3,
    ]


def test_a_level_that_is_asked_for_is_that_of_every_generation() -> None:
    plan = plan_for(approach="im+", effort="quick", recipe="paper", strength_level=4)
    levels = STRENGTH_SCHEDULES["default"]
    assert [plan.strength_in(number) for number in (1, 3, 5, 9)] == [levels[3]] * 4
    assert plan.strengths.labeled_copies == levels[4], "labeled images are no pseudo-labeled ones"
    assert plan.approach.amplification == NoisyCopies(level=4)


def test_what_a_schedule_does_with_blocked_pixels_by_itself_is_nothing_that_was_asked_for() -> None:
    for effort in EFFORTS:
        for reblock in (None, True, False):
            plan = plan_for(approach="im+", effort=effort, reblock=reblock)
            by_itself = reblock in (None, effort != "paper")
            assert plan.approach.amplification.reblock == (None if by_itself else reblock)


def test_fresh_copies_are_those_of_labeled_images_too_where_there_are_any() -> None:
    def fresh(approach: str) -> tuple[bool, ...]:
        asked = {"approach": approach, "effort": "quick", "recipe": "paper", "fresh_copies": True}
        one = plan_for(**asked).approach
        start = one.start.labeled.fresh if one.start else False
        return start, one.labeled.fresh, one.amplification is not None and one.amplification.fresh

    assert fresh("aim+") == (True, True, True)
    assert fresh("im+") == fresh("noisy-student") == (False, False, True)
    assert fresh("aldt") == (False, True, False)
    assert not plan_for(approach="aim+", effort="quick").approach.amplification.fresh


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("scorers", [1, 2, 4])
def test_there_are_never_fewer_networks_than_mask_scorers_that_are_asked(
    effort, scorers: int
) -> None:
    plan = plan_for(approach="evalnet", effort=effort, mask_scorers=scorers)
    assert plan.approach.pseudo_label.scorers == scorers <= plan.approach.networks


@pytest.mark.parametrize("effort", EFFORTS)
def test_all_that_is_asked_for_together_goes_before_effort(effort: Effort) -> None:
    plan = plan_for(effort=effort, **ASKED)
    assert {name: settled(plan, name) for name in ASKED} == ASKED


@pytest.mark.parametrize("effort", EFFORTS)
def test_networks_are_those_of_every_stage(effort: Effort) -> None:
    plan = plan_for(effort=effort, networks=4)
    assert (plan.approach.start.networks, plan.approach.networks) == (4, 4)


@pytest.mark.parametrize("effort", ["quick", "standard"])
def test_auto_trains_one_network_of_each_kind_if_nothing_is_said(effort: Effort) -> None:
    plan = plan_for(approach="auto", effort=effort)
    assert (plan.approach.start.networks, plan.approach.networks) == (1, 1)
    plan = plan_for(approach="auto", effort=effort, networks=3)
    assert (plan.approach.start.networks, plan.approach.networks) == (3, 3)


@pytest.mark.parametrize("effort", EFFORTS)
def test_there_are_never_fewer_networks_than_teachers(effort: Effort) -> None:
    plan = plan_for(effort=effort, teachers=4)
    assert min(plan.approach.start.networks, plan.approach.networks) >= 4


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("cores", [1, 2, 3, 4, 7, 8, 64])
def test_networks_side_by_side_have_no_more_threads_than_there_are_cores(
    effort: Effort, cores: int, monkeypatch
) -> None:
    monkeypatch.setattr(planning.hardware, "usable_cores", lambda: cores)
    for networks in (None, 1, 2, 5, 100):
        plan = plan_for(effort=effort, networks=networks)
        threads = plan.compute.threads
        assert plan.workers >= 1 and threads >= 1
        assert cores / 2 < plan.workers * threads <= cores
    alone = plan_for(effort=effort, workers=1)
    assert (alone.workers, alone.compute.threads) == (1, cores)


def test_quick_needs_no_measurement() -> None:
    asked = Settings(effort="quick", device="cpu")
    plan = make_plan(asked, ISIC)
    assert not fits_time(asked)
    assert max(plan.image_size) <= 96
    assert (plan.recipe.max_steps, plan.approach.generations) == (150, 1)


def test_standard_fits_what_was_measured_to_its_budget() -> None:
    asked = Settings(device="cpu", workers=2)
    assert fits_time(asked)
    plan = make_plan(asked, ISIC)
    assert plan.image_size == (128, 128)
    measured = made_up(plan, 12.0)
    plan = fit_to_time(plan, ISIC, measured)
    most = plan.recipe.max_steps
    assert plan.approach.start.recipe.max_steps == most
    assert 0 < seconds_of(plan, ISIC, measured) <= duration.BUDGET_SECONDS
    assert most is not None and most <= duration.MOST_STEPS
    assert most % duration.STEPS_ROUNDED_TO == 0
    more = most + duration.STEPS_ROUNDED_TO
    assert seconds_of(plan, ISIC, measured, cap=more) > duration.BUDGET_SECONDS


def test_where_nothing_may_be_measured_steps_are_the_most_that_there_can_be() -> None:
    plan = fit_to_time(make_plan(Settings(device="cpu"), ISIC), ISIC, None)
    assert plan.recipe.max_steps == duration.MOST_STEPS


def test_a_slow_machine_trains_shorter_but_on_the_same_images() -> None:
    quick, slow = plan_for(workers=2), plan_for(workers=2, of_256=7.6)
    assert slow.image_size == quick.image_size == (128, 128)
    assert slow.recipe.max_steps < quick.recipe.max_steps


def test_looks_at_validation_images_cost_at_most_a_tenth_of_learning() -> None:
    recipe = plan_for(approach="ldt").recipe
    for samples in (1, 20, 156, 1500, 40_000):
        for validation in (1, 20, 50, 1000):
            every = recipe.validated(samples=samples, validation=validation).validate_every
            assert validation / 3 <= 0.1 * every * samples + 1e-9
            assert every == 1 or validation / 3 > 0.1 * (every - 1) * samples
    asked = plan_for(approach="ldt", validate_every=3).recipe
    assert asked.validated(samples=1, validation=1000).validate_every == 3
    assert plan_for(approach="im", effort="paper").recipe.validate_every == 1


def test_the_size_that_was_asked_for_is_taken() -> None:
    assert plan_for(workers=1, image_size=(256, 256)).image_size == (256, 256)


def test_asking_for_steps_spares_the_measurement() -> None:
    assert plan_for(max_steps=20).recipe.max_steps == 20
    assert not fits_time(Settings(max_steps=20))
    assert not fits_time(Settings(approach="ldt-matched", match=Path("run")))


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("approach", APPROACHES)
def test_a_plan_comes_back_from_plain_values_unchanged(effort: Effort, approach: str) -> None:
    plan = plan_for(effort=effort, approach=approach)
    plain = plan.as_dict()
    assert None not in plain.values()
    assert Plan.from_dict(plain) == plan


def test_flips_belong_to_the_modern_recipe_and_an_old_plan_has_none() -> None:
    plain, asked = plan_for(effort="quick", tta=False), plan_for(effort="quick")
    papers = plan_for(effort="paper"), plan_for(effort="quick", recipe="paper")
    assert (plain.tta, asked.tta, *(each.tta for each in papers)) == (False, True, False, False)
    assert plan_for(effort="paper", tta=True).tta
    before = plain.as_dict()
    del before["tta"]
    assert Plan.from_dict(before) == plain
    assert plain.moves() == plain.teacher_moves == UNMOVED
    assert plain.moves(tta=True) == MOVES and asked.moves(tta=False) == UNMOVED


@pytest.mark.parametrize(
    ("facts", "asked", "moves"),
    [
        (ISIC, {"image_size": (64, 64)}, MOVES),
        (ISIC, {"image_size": (64, 96)}, MOVES[::2]),
        (ISIC, {"image_size": (64, 64), "rotate": False}, (MOVES[0], MOVES[4])),
        (SUIM, {"image_size": (64, 64)}, (MOVES[0], MOVES[4])),
        (SUIM, {"image_size": (64, 96), "rotate": True}, MOVES[::2]),
    ],
)
def test_orientations_are_those_in_which_images_are_augmented(facts, asked, moves) -> None:
    plan = plan_for(facts, approach="im+", effort="quick", tta=True, **asked)
    assert plan.moves() == plan.teacher_moves == moves
    views = plan_for(facts, approach="input-ensemble", effort="quick", tta=True, **asked)
    assert (views.moves(), views.teacher_moves) == (moves, UNMOVED), "views are turned already"


def test_the_plan_decides_the_numbers_of_the_stages() -> None:
    plan = plan_for(effort="quick", teachers=3, erode=3, dilate=5, blocking="output", ignore=True)
    assert plan_for(block_color="mean").approach.pseudo_label.block == Block(color="mean")
    approach = plan.approach
    assert approach.start is not None and approach.start.networks == approach.networks == 3
    assert approach.generations == 1
    consensus = approach.pseudo_label
    assert consensus is not None
    assert (consensus.teachers, consensus.erode, consensus.dilate) == (3, 3, 5)
    assert consensus.block == Block(blocking="output", ignore=True)
    assert not consensus.grow_labels


@pytest.mark.parametrize(("effort", "erode", "grows"), [("paper", 3, True), ("paper", 0, False)])
def test_labels_grow_under_paper_when_the_mask_is_eroded(effort, erode: int, grows: bool) -> None:
    consensus = plan_for(effort=effort, erode=erode).approach.pseudo_label
    assert consensus is not None and consensus.grow_labels == grows


def test_teachers_use_all_threads_that_training_uses() -> None:
    plan = plan_for(workers=2)
    assert plan.whole_machine.threads == plan.compute.threads * 2
    assert plan.whole_machine.precision == plan.compute.precision


@pytest.mark.parametrize(("steps", "labeled"), [(81, 20), (1000, 259), (1, 500)])
def test_a_matched_baseline_makes_exactly_the_steps_of_its_match(steps, labeled: int) -> None:
    im = plan_for(effort="quick")
    own = plan_for(effort="quick", approach="ldt-matched", match="runs/a")
    network = UNetConfig(width=0.75)
    plan = match_plan(own, matched=im, steps=steps, network=network, labeled=labeled)
    assert steps_of(plan, labeled=labeled) == steps
    assert (plan.network, plan.image_size) == (network, im.image_size)
    assert plan.recipe.batch_size == im.recipe.batch_size
    assert plan.approach.name == "ldt-matched"


def test_few_labels_get_more_epochs_but_never_fewer_than_the_paper() -> None:
    few = dataclasses.replace(ISIC, labeled=8)
    plan = plan_for(few, effort="quick")
    assert plan.recipe.epochs == 150
    assert steps_of(plan, labeled=8) == 150
    many = plan_for(dataclasses.replace(ISIC, labeled=5000), effort="quick")
    assert many.recipe.epochs == 50
