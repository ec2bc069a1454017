"""What is trained in so many minutes."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from tests.approaches.planning.made_up_costs import costs

from imseg.approaches.planning import minutes as minutes_module
from imseg.approaches.planning.duration import Measured, seconds_of
from imseg.approaches.planning.minutes import (
    ENOUGH,
    FEW_LABELS,
    FEWEST,
    LONG,
    MOST_STEPS,
    SIDES,
    WIDER,
    WIDTH,
    fit_to_minutes,
)
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.settings import Settings, settings_from
from imseg.errors import ImsegError

CELLS = Facts(
    task="binary",
    labeled=2 * FEW_LABELS,
    validation=40,
    unlabeled=260,
    channels=3,
    outputs=1,
    typical_size=(720, 512),
    narrow=0.02,
)


def measured(plan: Plan, *, pace: float = 1.0) -> Measured:
    """Return the costs of a machine that takes .2 s a step at 128x128 px and width .5."""
    height, width = plan.image_size
    operations = height * width * plan.network.relative_width**2 / (128**2 * 0.25)
    return costs(0.2 * pace * operations**0.85)


def fitted(minutes: float, facts: Facts = CELLS, *, pace: float = 1.0, **asked: object) -> Plan:
    settings = Settings(minutes=minutes, device="cpu", workers=2, **asked)
    seen: list[Plan] = []

    def measure(plan: Plan) -> Measured:
        seen.append(plan)
        return measured(plan, pace=pace)

    plan, cost = fit_to_minutes(settings, facts, left=lambda _: 60 * minutes, measure=measure)
    assert len(seen) <= len(SIDES) + 2, "measuring takes time too"
    assert cost is not None and seconds_of(plan, facts, cost) <= 60 * minutes
    return plan


def steps(plan: Plan) -> int:
    assert plan.recipe.max_steps is not None
    return plan.recipe.max_steps


def size_and_width(plan: Plan) -> tuple[int, float]:
    return max(plan.image_size), plan.network.relative_width


def test_more_minutes_never_give_smaller_images_or_narrower_networks() -> None:
    plans = [fitted(minutes) for minutes in (1, 2, 4, 8, 15, 30, 60, 120, 600)]
    pairs = [size_and_width(plan) for plan in plans]
    places = [(SIDES.index(side), width) for side, width in pairs]
    assert places == sorted(places)
    assert pairs[0] == (SIDES[0], WIDTH) and pairs[-1] == (SIDES[-1], WIDER)
    for before, after in itertools.pairwise(plans):
        same = size_and_width(before) == size_and_width(after)
        if same and before.approach.name == after.approach.name:
            assert steps(before) <= steps(after)


@pytest.mark.parametrize("minutes", [4, 15, 60])
def test_the_minutes_are_used(minutes: int) -> None:
    plan = fitted(minutes, approach="ldt")
    spent = seconds_of(plan, CELLS, measured(plan))
    assert steps(plan) == MOST_STEPS or spent > 0.9 * 60 * minutes
    assert plan.approach.first.networks == 1, "one network gets all of the time"


def test_above_the_smallest_size_every_network_has_enough_steps() -> None:
    for minutes in (5, 15, 45, 200):
        for approach in ("ldt", "im", "mean-teacher"):
            plan = fitted(minutes, approach=approach)
            if size_and_width(plan) != (SIDES[0], WIDTH):
                assert steps(plan) >= ENOUGH


def test_steps_do_not_hang_on_epochs() -> None:
    few = replace(CELLS, labeled=3)
    for facts in (CELLS, few):
        plan = fitted(20, facts, approach="ldt")
        in_epoch = plan.recipe.steps_per_epoch(facts.labeled)
        assert plan.recipe.epochs * in_epoch >= steps(plan)


def test_a_slower_machine_trains_on_smaller_images() -> None:
    fast, slow = (fitted(15, approach="ldt", pace=pace) for pace in (1.0, 8.0))
    assert max(slow.image_size) < max(fast.image_size)


@pytest.mark.parametrize(("narrow", "side"), [(0.2, 128), (0.071, 128), (0.07, 192), (None, 128)])
def test_images_are_as_large_as_their_objects_need(narrow: float | None, side: int) -> None:
    """The narrowest tenth of them is then nine pixels wide or more; images have 128 px or more."""
    plan = fitted(600, replace(CELLS, narrow=narrow))
    assert size_and_width(plan) == (side, WIDER)


def test_images_are_never_enlarged() -> None:
    small = replace(CELLS, typical_size=(64, 80))
    assert fitted(500, small).image_size == (64, 80)
    assert fitted(1, small).image_size == (64, 80)


def test_unlabeled_images_are_tried_when_labels_alone_have_all_they_can_use() -> None:
    assert fitted(10).approach.name == "ldt"
    plan = fitted(1000)
    assert plan.approach.name == "auto"
    assert size_and_width(plan) == (SIDES[-1], WIDER) and steps(plan) >= LONG


def test_with_few_labels_unlabeled_images_are_tried_sooner() -> None:
    few = replace(CELLS, labeled=FEW_LABELS, narrow=0.2)
    more = replace(few, labeled=FEW_LABELS + 1)
    plan = fitted(30, few)
    assert plan.approach.name == "auto" and steps(plan) >= LONG
    alone = fitted(30, more)
    assert alone.approach.name == "ldt"
    assert plan.image_size == alone.image_size, "images are as large as for labels alone"
    assert fitted(15, few).approach.name == "ldt", "there is no time for both"
    assert fitted(30, replace(few, unlabeled=FEW_LABELS)).approach.name == "ldt"
    assert fitted(30, few, approach="ldt").approach.name == "ldt"


def test_an_approach_that_was_asked_for_is_kept() -> None:
    for name in ("im", "aim++", "consistency", "mean-teacher"):
        assert fitted(10, approach=name).approach.name == name
    assert fitted(10, learners=3).approach.name == "auto", "of no use to labels alone"


def test_what_was_asked_for_is_kept() -> None:
    plan = fitted(30, image_size=(128, 96))
    assert plan.image_size == (128, 96) and plan.network.relative_width == WIDER
    assert fitted(30, width=2.0).network.relative_width == 2.0
    assert fitted(30, approach="ldt", networks=3).approach.networks == 3
    assert fitted(60, approach="im", generations=2).approach.generations == 2


def test_the_plan_says_how_many_minutes_would_do() -> None:
    with pytest.raises(ImsegError, match="not enough for im") as caught:
        fitted(1, approach="im", pace=40.0)
    words = caught.value.expected.split()
    minutes = int(words[words.index("about") + 1])
    assert steps(fitted(minutes, approach="im", pace=40.0)) >= FEWEST


def test_where_nothing_may_be_measured_the_cheapest_training_is_told() -> None:
    settings = Settings(minutes=30, device="cpu")
    plan, cost = fit_to_minutes(settings, CELLS, left=lambda _: 1800, measure=None)
    assert cost is None and steps(plan) == MOST_STEPS
    assert size_and_width(plan) == (SIDES[0], WIDTH)


def test_time_that_has_passed_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minutes_module.time, "monotonic", lambda: 100.0)
    settings = Settings(minutes=10)
    fresh, later = (
        minutes_module.time_left(settings, since=100.0),
        minutes_module.time_left(settings, since=40.0),
    )
    assert 0.8 * 600 < fresh < 600
    assert fresh - later == pytest.approx(60 * (1 - minutes_module.SPARED))


@pytest.mark.parametrize("other", [{"max_steps": 100}, {"epochs": 3}, {"effort": "quick"}])
def test_minutes_and_another_length_are_refused(other: dict[str, object]) -> None:
    with pytest.raises(ImsegError, match="--minutes cannot be joined with --"):
        settings_from({"minutes": 10, **other})


def test_minutes_of_a_published_schedule_are_refused() -> None:
    with pytest.raises(ImsegError, match="--minutes cannot be joined with --effort"):
        settings_from({"minutes": 10, "paper": "isic2018"})
