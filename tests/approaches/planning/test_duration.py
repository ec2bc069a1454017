"""How long a plan takes, from what networks cost."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.approaches.planning.made_up_costs import costs, paid, rising
from tests.approaches.running.rehearsal import ISIC, SUIM, spec_of

from imseg.approaches.methods.catalog import APPROACHES
from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.duration import (
    ACTIVITIES,
    AUGMENTATION,
    FILES,
    OTHER,
    PSEUDO_LABELS,
    SCORERS,
    TRAINING,
    VALIDATION,
    durations,
    seconds_of,
)
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.settings import settings_from
from imseg.approaches.planning.stage_plan import planned_stages
from imseg.engine.hardware.benchmark import BenchmarkResult

UNMATCHED = [name for name, each in APPROACHES.items() if not each.matched]


def plan_for(approach: str, facts: Facts = ISIC, **asked: object) -> Plan:
    asked = {"effort": "quick", "device": "cpu", "workers": 2, **asked}
    if APPROACHES[approach].sees_truth:
        asked["unlabeled_masks"] = "hidden"
    return make_plan(settings_from({"approach": approach, **asked}), facts)


@pytest.mark.parametrize("approach", UNMATCHED)
def test_activities_are_those_of_a_run_and_files_are_left_to_others(approach: str) -> None:
    plan = plan_for(approach)
    measured = rising(0.5, plan, ISIC, batch=0.01, decision=0.001, aside=0.2, start_up=2.0)
    found = durations(plan, ISIC, measured)
    assert tuple(found) == ACTIVITIES
    assert found[FILES] == 0 and found[TRAINING] > 0 and found[VALIDATION] > 0
    built = APPROACHES[approach]
    assert (found[PSEUDO_LABELS] > 0) == (built.pseudo_label is not None)
    assert (found[SCORERS] > 0) == (built.scorer is not None)
    assert seconds_of(plan, ISIC, measured) == pytest.approx(sum(found.values()))


@pytest.mark.parametrize(("networks", "rounds"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_a_stage_lasts_as_long_as_its_fullest_worker(networks: int, rounds: int) -> None:
    plan = plan_for("ldt", networks=networks, max_steps=100)
    assert plan.workers == 2
    steps = planned_stages(plan, ISIC)[0].steps
    assert steps == 100
    found = durations(plan, ISIC, paid(BenchmarkResult(step=0.5, batch=0.25)))
    assert found[TRAINING] == pytest.approx(rounds * steps * 0.5)
    assert found[AUGMENTATION] == pytest.approx(rounds * steps * 0.25)


def test_looks_at_validation_images_are_one_an_epoch_and_one_in_the_end() -> None:
    plan = plan_for("ldt", networks=2, epochs=10, max_steps=80)
    few = plan.with_recipe(validate_every=4)
    assert planned_stages(few, ISIC)[0].workload.validations == 3 + 1
    plan = plan.with_recipe(validate_every=1)
    (stage,) = planned_stages(plan, ISIC)
    assert stage.workload.epoch == 9  # 259 images in batches of 32
    assert stage.workload.validations == 9 + 1
    found = durations(plan, ISIC, paid(BenchmarkResult(validation=0.1)))
    assert found[VALIDATION] == pytest.approx(10 * ISIC.validation * 0.1)


def test_copies_cost_where_there_are_copies() -> None:
    """What a batch costs is measured on as many augmented images as there will be."""

    def shares(approach: str) -> list[float]:
        plan = plan_for(approach, networks=2, max_steps=50)
        stages = planned_stages(plan, ISIC)
        for stage in stages:
            job = stage.rehearsed(plan, ISIC, spec_of(ISIC))
            augmented = sum(each.samples for each in job.samples if each.copies is not None)
            assert job.images == stage.labeled + stage.pseudo
            assert augmented == round(stage.augmented * job.images)
            assert not any(each.copies.plain for each in job.samples if each.copies is not None)
        return [stage.augmented for stage in stages]

    assert shares("im") == [0, 0]
    share = ISIC.unlabeled / (ISIC.labeled + ISIC.unlabeled)
    assert shares("im+") == pytest.approx([0, share])
    assert shares("aldt") == pytest.approx([0.9])
    assert shares("ldt-online") == [1]


def test_every_teacher_looks_at_every_unlabeled_image_in_every_generation() -> None:
    plan = plan_for("im", generations=2, teachers=3, networks=4, limit_unlabeled=100, tta=False)
    found = durations(plan, ISIC, paid(BenchmarkResult(prediction=0.1)))
    assert found[PSEUDO_LABELS] == pytest.approx(2 * 3 * 100 * 0.1)
    found = durations(plan, ISIC, paid(BenchmarkResult(decision=0.1)))
    assert found[PSEUDO_LABELS] == pytest.approx(2 * 100 * 0.1)


@pytest.mark.parametrize(("size", "orientations"), [((64, 64), 8), ((64, 96), 4)])
def test_teachers_look_as_often_as_there_are_orientations(size, orientations: int) -> None:
    def spent(approach: str, measured, **asked: object) -> dict[str, float]:
        plan = plan_for(approach, generations=2, networks=2, image_size=size, **asked)
        return durations(plan, ISIC, measured)

    look, vote = (paid(BenchmarkResult(**{name: 0.1})) for name in ("prediction", "decision"))
    for approach in ("im", "noisy-student", "im++"):
        for measured, factor in ((look, orientations), (vote, 1)):
            plain, found = (spent(approach, measured, tta=tta) for tta in (False, True))
            assert found[PSEUDO_LABELS] == pytest.approx(factor * plain[PSEUDO_LABELS])
    plain, found = (spent("im++", look, tta=tta)[SCORERS] for tta in (False, True))
    assert plain < found < orientations * plain, "mask scorers see each mask once"
    views = [spent("input-ensemble", look, tta=tta) for tta in (False, True)]
    assert views[0] == views[1], "views are orientations of their own"


def test_start_up_and_the_first_step_are_paid_once() -> None:
    measured = paid(BenchmarkResult(first=7.0, opening=3.0), start_up=5.0)
    found = durations(plan_for("im", generations=3), ISIC, measured)
    assert (found[OTHER], found[TRAINING]) == (8.0, 7.0)


def test_a_growing_approach_takes_longer_than_its_parent() -> None:
    times = []
    for approach in ("ldt", "im", "im+", "im++", "aim++"):
        plan = plan_for(approach, SUIM, effort="paper")
        times.append(seconds_of(plan, SUIM, rising(1.0, plan, SUIM), cap=10**9))
    assert times == sorted(set(times))


@given(power=st.floats(0.5, 2.0), width=st.floats(0.25, 2.0))
def test_between_two_widths_costs_follow_a_power_of_the_width(power: float, width: float) -> None:
    plan = plan_for("im+", generations=4, width=width)
    stages = planned_stages(plan, ISIC)
    measured = rising(0.5, plan, ISIC, power=power)
    assert set(measured.stages) == {"start", "generation-1", "generation-4"}
    for stage in stages[1:]:
        found = measured.of(stage, stages)
        assert found.step == pytest.approx(0.5 * (stage.width / width) ** power)
        assert found.prediction == pytest.approx(found.step / 3 / 32)


def test_networks_that_do_not_grow_cost_the_same_in_all_generations() -> None:
    plan = plan_for("im", generations=4)
    stages = planned_stages(plan, ISIC)
    measured = rising(0.5, plan, ISIC)
    assert measured.of(stages[2], stages) == measured.stages["generation-1"]


@given(cap=st.integers(1, 2999), approach=st.sampled_from(UNMATCHED))
def test_more_steps_never_take_less_time(cap: int, approach: str) -> None:
    plan = plan_for(approach)
    measured = costs(0.3, batch=0.001, decision=0.001)
    assert seconds_of(plan, ISIC, measured, cap=cap) <= seconds_of(
        plan, ISIC, measured, cap=cap + 1
    )


def test_the_last_generation_is_measured_by_its_own_cost() -> None:
    plan = plan_for("im+", generations=2)
    stages = planned_stages(plan, ISIC)
    measured = rising(0.5, plan, ISIC)
    dear = dataclasses.replace(measured.stages["generation-2"], step=9.0)
    measured = dataclasses.replace(measured, stages={**measured.stages, "generation-2": dear})
    assert measured.of(stages[-1], stages).step == 9.0
