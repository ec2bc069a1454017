"""What is planned: the networks of each stage, their steps, and what a step costs."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.approaches.running.rehearsal import HELA, ISIC, SUIM, rehearse

from imseg.approaches.methods.catalog import ALDT, APPROACHES, FDT, IM, IM_PLUS, IM_PLUS_PLUS, LDT
from imseg.approaches.methods.explain import relative_cost
from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.settings import settings_from
from imseg.approaches.planning.stage_plan import StagePlan, planned_stages, planned_steps

SMALL = Facts(
    task="multiclass",
    labeled=20,
    validation=10,
    unlabeled=100,
    channels=3,
    outputs=4,
    typical_size=(64, 64),
)
UNMATCHED = [name for name, each in APPROACHES.items() if not each.matched]


def plan_for(approach: str, facts: Facts = SMALL, **asked: object) -> Plan:
    asked = {"effort": "paper", "device": "cpu"} | asked
    if APPROACHES[approach].sees_truth:
        asked["unlabeled_masks"] = "hidden"
    return make_plan(settings_from({"approach": approach, **asked}), facts)


def counted(stages: list[StagePlan]) -> dict[str, tuple[int, int]]:
    """Return networks and optimizer steps an epoch of each stage."""
    return {stage.name: (stage.networks, stage.workload.epoch) for stage in stages}


def test_the_stages_of_the_published_im_plus_plus_on_isic() -> None:
    """259 images in 8 steps; 10 rounds of them; 259 + 3 x 2335 in 227 steps."""
    plan = plan_for("im++", ISIC)
    assert counted(planned_stages(plan, ISIC)) == {
        "start": (10, 8),
        "scorers": (5, 80),
        **{f"generation-{number}": (5, 227) for number in range(1, 6)},
    }
    assert planned_steps(planned_stages(plan, ISIC)) == 50 * (10 * 8 + 5 * 80 + 25 * 227)


def test_the_stages_of_the_published_aim_plus_plus_on_isic() -> None:
    """Ten of each labeled image; generations 2590 + 4 x 2335 in 372 steps."""
    plan = plan_for("aim++", ISIC)
    assert counted(planned_stages(plan, ISIC)) == {
        "start": (10, 80),
        "scorers": (5, 80),
        **{f"generation-{number}": (5, 372) for number in range(1, 6)},
    }


def test_the_stages_of_the_published_evalnet_on_isic() -> None:
    """METHOD: what 10 LDT and 10 ALDT networks predict, and the truth: 21 of each image."""
    plan = plan_for("evalnet", ISIC)
    assert counted(planned_stages(plan, ISIC)) == {
        "start": (10, 8),
        "scorer-start": (10, 80),
        "scorers": (5, 21 * 259 // 32),
        **{f"generation-{number}": (5, 81) for number in range(1, 6)},
    }


def test_the_stages_of_the_published_consistency_on_isic() -> None:
    """100 epochs of 8 steps over labeled images and 72 over unlabeled ones."""
    plan = plan_for("consistency", ISIC)
    start, only = planned_stages(plan, ISIC)
    assert (start.networks, start.steps, only.networks, only.steps) == (10, 400, 5, 100 * (8 + 72))
    assert only.workload.epoch == 40, "validation images are looked at after either pass"
    assert planned_steps(planned_stages(plan, ISIC)) == 10 * 400 + 5 * 8000


@pytest.mark.parametrize("facts", [ISIC, HELA, SUIM, SMALL], ids=["isic", "hela", "suim", "small"])
@pytest.mark.parametrize("asked", [{}, {"max_steps": 70}, {"effort": "quick", "networks": 3}])
@pytest.mark.parametrize("approach", UNMATCHED)
def test_what_is_planned_is_what_is_trained(approach: str, asked, facts: Facts, tmp_path) -> None:
    """If all is admitted, and mask scorers find an image worth three copies, the middle."""
    plan = plan_for(approach, facts, **asked)
    context = rehearse(plan, facts, folder=tmp_path, score=0.45)
    planned = {stage.name: (stage.networks, stage.steps) for stage in planned_stages(plan, facts)}
    done = {name: (len(jobs), jobs[0].steps) for name, jobs in context.jobs_of.items()}
    assert list(planned) == list(done)
    assert planned == done


@pytest.mark.parametrize("approach", UNMATCHED)
def test_the_width_that_is_planned_is_the_one_that_is_trained(approach: str, tmp_path) -> None:
    plan = plan_for(approach)
    context = rehearse(plan, SMALL, folder=tmp_path)
    for stage in planned_stages(plan, SMALL):
        width = context.jobs_of[stage.name][0].network.width
        assert width == stage.width == stage.network.width
        assert stage.scores_masks == (stage.name == "scorers")
        if stage.scores_masks:
            assert width == plan.scorer_width
        elif not (plan.approach.growing and stage.is_generation):
            assert width == plan.network.width
        else:
            number = int(stage.name.removeprefix("generation-"))
            assert width == plan.network_in(number).width == 0.25 * (number - 1) + 1


@pytest.mark.parametrize("approach", ["noisy-student", "im+", "im++", "aim+", "aim++", "gt-im++"])
def test_costs_rise_with_width(approach: str) -> None:
    stages = planned_stages(plan_for(approach), SMALL)
    grown = [stage for stage in stages if stage.name.startswith("generation")]
    costs = [stage.operations for stage in grown]
    assert costs == sorted(set(costs)) and len(costs) == 5
    assert costs[0] == 1 < costs[4]
    assert grown[4].width == 2
    assert grown[4].operations == 4


@pytest.mark.parametrize("approach", ["ldt", "im", "model-ensemble", "evalnet"])
def test_a_step_of_networks_that_do_not_grow_costs_the_same_in_all_generations(approach) -> None:
    stages = planned_stages(plan_for(approach), SMALL)
    assert {stage.operations for stage in stages if not stage.scores_masks} == {1}


def test_a_step_with_two_views_of_an_image_costs_two_looks() -> None:
    start, students = planned_stages(plan_for("consistency"), SMALL)
    recipe = plan_for("consistency").recipe
    labeled, unlabeled = (
        recipe.steps_per_epoch(images) for images in (SMALL.labeled, SMALL.unlabeled)
    )
    mean = (labeled + 2 * unlabeled) / (labeled + unlabeled)
    assert start.operations == 1
    assert students.operations == pytest.approx(mean)


@given(cap=st.integers(1, 3000), approach=st.sampled_from(UNMATCHED))
def test_no_network_trains_longer_than_the_cap(cap: int, approach: str) -> None:
    plan = plan_for(approach)
    uncapped = planned_stages(plan, SMALL)
    capped = planned_stages(plan, SMALL, cap=cap)
    assert [stage.name for stage in capped] == [stage.name for stage in uncapped]
    for long, short in zip(uncapped, capped, strict=True):
        assert short.steps == min(long.steps, cap)


@given(one=st.integers(1, 400), other=st.integers(1, 400))
def test_fewer_unlabeled_images_never_take_more_steps(one: int, other: int) -> None:
    fewer, more = sorted((one, other))
    for approach in ("im", "im++", "consistency", "evalnet"):
        plan = plan_for(approach)
        steps = [
            planned_steps(planned_stages(dataclasses.replace(plan, limit_unlabeled=limit), SMALL))
            for limit in (fewer, more)
        ]
        assert steps[0] <= steps[1]


def test_what_approaches_cost_beside_ldt_on_isic() -> None:
    """METHOD and REFERENCE: 10 x 8 steps an epoch; 80 for ALDT, 81 for FDT and IM."""
    for approach, steps in ((LDT, 80), (ALDT, 800), (FDT, 810), (IM, 80 + 25 * 81)):
        cost = relative_cost(approach)
        assert cost.steps == cost.operations == pytest.approx(steps / 80)
    plus, plus_plus = relative_cost(IM_PLUS), relative_cost(IM_PLUS_PLUS)
    assert plus.steps == relative_cost(IM).steps
    # Widths 1 to 3 times the first: 1, 2.25, 4, 6.25 and 9 times the operations.
    assert plus.operations == pytest.approx((80 + 5 * 81 * (1 + 2.25 + 4 + 6.25 + 9)) / 80)
    assert plus_plus.steps == pytest.approx((80 + 5 * 80 + 25 * 227) / 80)
