"""How long a plan takes, from what networks cost."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.approaches.planning.made_up_costs import FREE, NOTHING, costs, pace, rising
from tests.approaches.running.rehearsal import ISIC, SUIM

from imseg.approaches.methods.catalog import APPROACHES
from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.duration import (
    ACTIVITIES,
    AUGMENTATION,
    FILES,
    SCORERS,
    OTHER,
    PSEUDO_LABELS,
    TRAINING,
    VALIDATION,
    durations,
    seconds_of,
)
from imseg.approaches.planning.plan import Plan
from imseg.approaches.planning.settings import settings_from
from imseg.approaches.planning.plan import Facts
from imseg.approaches.planning.stages import planned_stages

UNMATCHED = sorted(set(APPROACHES) - {"ldt-matched", "aldt-matched"})


def plan_for(approach: str, facts: Facts = ISIC, **asked: object) -> Plan:
    asked = {"effort": "quick", "device": "cpu", "workers": 2, **asked}
    if APPROACHES[approach].sees_truth:
        asked["unlabeled_masks"] = "hidden"
    return make_plan(settings_from({"approach": approach, **asked}), facts)[0]


@pytest.mark.parametrize("approach", UNMATCHED)
def test_activities_are_those_of_a_run_and_files_are_left_to_others(approach: str) -> None:
    plan = plan_for(approach)
    measured = dataclasses.replace(
        rising(0.5, plan), copy=0.01, gather=0.001, decision=0.001, aside=0.2, start_up=2.0
    )
    found = durations(plan, ISIC, measured)
    assert tuple(found) == ACTIVITIES
    assert found[FILES] == 0 and found[TRAINING] > 0 and found[VALIDATION] > 0
    built = APPROACHES[approach]
    assert (found[PSEUDO_LABELS] > 0) == (built.pseudo_label is not None)
    assert (found[SCORERS] > 0) == (built.scorer is not None)
    assert seconds_of(plan, ISIC, measured) == pytest.approx(sum(found.values()))


def test_a_stage_lasts_as_long_as_its_fullest_worker() -> None:
    plan = plan_for("ldt", networks=3, max_steps=100)
    steps = planned_stages(plan, ISIC)[0].steps
    plain = dataclasses.replace(NOTHING, narrow=(one := pace(0.5, look=0.0)), wide=one)
    full = planned_stages(plan, ISIC)[0].images / plan.batch_size
    # The last network is trained alone, which is faster where two share the memory.
    for alone in (1.0, 0.8):
        measured = dataclasses.replace(plain, side_by_side=2, alone=alone)
        found = durations(plan, ISIC, measured)[TRAINING]
        assert found == pytest.approx((1 + alone) * steps * 0.5 * full, rel=1e-6)


def test_looks_at_validation_images_are_one_an_epoch_and_one_in_the_end() -> None:
    plan = plan_for("ldt", networks=2, epochs=10, max_steps=80)
    few = dataclasses.replace(plan, validate_every=4)
    assert planned_stages(few, ISIC)[0].validations == 3 + 1
    plan = dataclasses.replace(plan, validate_every=1)
    (stage,) = planned_stages(plan, ISIC)
    assert stage.epoch == 9  # 259 images in batches of 32
    assert stage.validations == 9 + 1
    free = dataclasses.replace(FREE, validation=0.1)
    found = durations(plan, ISIC, dataclasses.replace(NOTHING, narrow=free, wide=free))
    assert found[VALIDATION] == pytest.approx(10 * ISIC.validation * 0.1)


def test_copies_cost_where_there_are_copies() -> None:
    copying = dataclasses.replace(NOTHING, copy=1.0)
    assert durations(plan_for("im"), ISIC, copying)[AUGMENTATION] == 0
    plan = plan_for("im+", networks=2, max_steps=50)
    share = ISIC.unlabeled / (ISIC.labeled + ISIC.unlabeled)
    stage = planned_stages(plan, ISIC)[1]
    found = durations(plan, ISIC, copying)[AUGMENTATION]
    assert found == pytest.approx(50 * stage.images * share)
    aldt = durations(plan_for("aldt", networks=2, max_steps=50), ISIC, copying)[AUGMENTATION]
    assert aldt == pytest.approx(50 * planned_stages(plan_for("aldt"), ISIC)[0].images * 0.9)


def test_every_teacher_looks_at_every_unlabeled_image_in_every_generation() -> None:
    asking = dataclasses.replace(FREE, prediction=0.1)
    measured = dataclasses.replace(NOTHING, narrow=asking, wide=asking)
    plan = plan_for("im", generations=2, teachers=3, networks=4, limit_unlabeled=100)
    assert durations(plan, ISIC, measured)[PSEUDO_LABELS] == pytest.approx(2 * 3 * 100 * 0.1)


def test_start_up_and_the_first_step_are_paid_once() -> None:
    measured = dataclasses.replace(NOTHING, start_up=5.0, first=7.0)
    found = durations(plan_for("im", generations=3), ISIC, measured)
    assert (found[OTHER], found[TRAINING]) == (5.0, 7.0)


def test_a_growing_approach_takes_longer_than_its_parent() -> None:
    times = []
    for approach in ("ldt", "im", "im+", "im++", "aim++"):
        plan = plan_for(approach, SUIM, effort="paper")
        times.append(seconds_of(plan, SUIM, rising(1.0, plan), cap=10**9))
    assert times == sorted(set(times))


@given(power=st.floats(0.5, 2.0), width=st.floats(0.25, 2.0))
def test_between_two_widths_costs_follow_a_power_of_the_width(power: float, width: float) -> None:
    plan = dataclasses.replace(plan_for("im+"), width=0.25)
    found = rising(0.5, plan, power=power).of_width(width)
    assert found.step == pytest.approx(0.5 * (max(width, 0.25) / 0.25) ** power)


@given(cap=st.integers(1, 2999), approach=st.sampled_from(UNMATCHED))
def test_more_steps_never_take_less_time(cap: int, approach: str) -> None:
    plan = plan_for(approach)
    measured = costs(0.3, copy=0.001, decision=0.001)
    assert seconds_of(plan, ISIC, measured, cap=cap) <= seconds_of(
        plan, ISIC, measured, cap=cap + 1
    )
