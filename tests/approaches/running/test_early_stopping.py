"""Which generation teaches the next, and when there is nothing more to gain."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.approaches.running.rehearsal import (
    ISIC,
    RehearsedLabeler,
    RehearsedScoring,
    rehearse,
    trained,
)

from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.settings import settings_from
from imseg.approaches.running.stage import (
    EarlyStopping,
    Stage,
    choose,
    gain_of,
    handed_on,
    rank,
    spent,
    what_was_bought,
)
from imseg.tasks import Metric

IOU = Metric(key="iou", label="IoU")
RMSE = Metric(key="rmse", label="RMSE", higher_is_better=False, unit="m")

# Whole numbers: means of few of them are exact enough to be told apart, and equals are equal.
scores = st.lists(st.integers(0, 40), min_size=4, max_size=6)
histories = st.lists(scores, min_size=1, max_size=7)
teachers = st.sampled_from([1, 2, 3, 4, None])
Lost = dict[tuple[int, str], str]


def stages_of(history: Sequence[Sequence[float]], metric: Metric = IOU) -> list[Stage]:
    """Return the stages of a run whose networks have these scores, the start first."""
    names = ["start", *(f"generation-{number}" for number in range(1, len(history)))]
    return [
        rank(
            name,
            [
                trained(f"{name}/network-{number}", metric=metric, score=score)
                for number, score in enumerate(each)
            ],
            metric=metric,
        )
        for name, each in zip(names, history, strict=True)
    ]


def best_mean(each: Sequence[float], count: int | None) -> float:
    return statistics.fmean(sorted(each, reverse=True)[:count])


@given(history=histories, patience=st.integers(1, 4), count=teachers)
def test_no_other_stage_has_better_teachers_than_the_one_that_teaches(history, patience, count):
    stages = stages_of(history)
    teaching = stages.index(EarlyStopping(patience).teacher_stage(stages, count))
    means = [best_mean(each, count) for each in history]
    assert means[teaching] == max(means)
    assert means[teaching] > max(means[teaching + 1 :], default=-1), "of equals the later one"


@given(history=histories, count=teachers)
def test_without_patience_the_last_stage_teaches_and_no_run_ends(history, count) -> None:
    stages = stages_of(history)
    assert EarlyStopping(0).teacher_stage(stages, count) is stages[-1]
    assert not EarlyStopping(0).is_spent(stages)


def test_of_equals_the_later_teaches() -> None:
    stages = stages_of([[0.5, 0.5], [0.7, 0.3], [0.4, 0.4]])
    assert EarlyStopping(2).teacher_stage(stages, 2) is stages[1]
    assert EarlyStopping(2).teacher_stage(stages, 1) is stages[1]
    assert EarlyStopping(2).teacher_stage(stages_of([[0.5]] * 4), 1).name == "generation-3"


def test_the_best_networks_decide_and_not_the_whole_stage() -> None:
    stages = stages_of([[0.8, 0.8, 0.1, 0.1], [0.7, 0.7, 0.7, 0.7]])
    assert EarlyStopping(1).teacher_stage(stages, 2) is stages[0]
    assert EarlyStopping(1).teacher_stage(stages, None) is stages[1]


@given(history=histories, patience=st.integers(1, 4))
def test_a_run_is_spent_exactly_after_so_many_generations_without_a_rise(history, patience) -> None:
    best, without_rise = max(history[0]), 0
    for each in history[1:]:
        rises = max(each) > best
        best, without_rise = max(best, *each), 0 if rises else without_rise + 1
    assert EarlyStopping(patience).is_spent(stages_of(history)) == (without_rise >= patience)


@given(history=histories, patience=st.integers(0, 4), count=teachers)
def test_errors_that_are_to_be_low_are_decided_by_in_the_same_way(history, patience, count) -> None:
    mirrored = [[100 - score for score in each] for each in history]
    early_stopping = EarlyStopping(patience)
    high, low = stages_of(history), stages_of(mirrored, RMSE)
    assert (
        early_stopping.teacher_stage(high, count).name
        == early_stopping.teacher_stage(low, count).name
    )
    assert early_stopping.is_spent(high) == early_stopping.is_spent(low)


def test_a_start_alone_teaches_and_is_not_spent() -> None:
    stages = stages_of([[0.2]])
    assert EarlyStopping(1).teacher_stage(stages, 2) is stages[0]
    assert not EarlyStopping(1).is_spent(stages)


def test_a_generation_as_good_as_the_best_is_no_rise() -> None:
    assert EarlyStopping(1).is_spent(stages_of([[0.5], [0.5]]))
    assert not EarlyStopping(1).is_spent(stages_of([[0.5], [0.51]]))
    assert not EarlyStopping(2).is_spent(stages_of([[0.5], [0.5]]))
    assert EarlyStopping(2).is_spent(stages_of([[0.5], [0.4], [0.5]]))
    # A rise above the generation before, but not above the best, is none.
    assert EarlyStopping(2).is_spent(stages_of([[0.5], [0.3], [0.4]]))


@given(history=histories)
def test_the_network_of_a_run_is_that_of_the_best_generation_or_of_the_last(history) -> None:
    stages = stages_of(history)
    chosen = choose(stages, last=False)
    assert chosen.merit == max(stage.merit for stage in stages[1:] or stages)
    assert choose(stages, last=True) is stages[-1]
    assert len(stages) == 1 or chosen is not stages[0]
    best = choose(stages, last=False, keeps_start=True)
    assert best.merit == max(stage.merit for stage in stages)
    assert best is next(stage for stage in stages if stage.merit == best.merit), "what is cheaper"
    assert choose(stages, last=True, keeps_start=True) is best


def with_images(stages: list[Stage], *scores: Sequence[float | None]) -> list[Stage]:
    """Return stages of one network each with a score for each validation image."""
    return [
        replace(stage, ranked=(replace(stage.best, image_scores=tuple(each)),))
        for stage, each in zip(stages, scores, strict=True)
    ]


def test_what_a_generation_gained_is_told_with_an_interval_over_images() -> None:
    assert gain_of(stages_of([[0.5]])) is None
    plain = gain_of(stages_of([[0.5], [0.3], [0.6, 0.4]]))
    assert plain is not None and plain.network == "generation-2/network-0"
    assert plain.value == pytest.approx(0.1) and plain.interval is None and not plain.is_clear
    start = [0.1 * number for number in range(8)]
    clear = [each + 0.1 + 0.01 * (number % 2) for number, each in enumerate(start)]
    found = gain_of(with_images(stages_of([[0.35], [0.455]]), start, clear))
    assert found is not None and found.images == 8 and found.is_clear
    assert found.interval is not None
    low, high = found.interval
    assert 0.1 <= low < found.value < high <= 0.11
    open_ = gain_of(with_images(stages_of([[0.35], [0.355]]), start, start[::-1]))
    assert open_ is not None and not open_.is_clear
    missing = gain_of(with_images(stages_of([[0.3], [0.4]]), [*start, None], [*clear, 0.9]))
    assert missing is not None and missing.images == 8 and missing.interval == found.interval


def test_an_error_that_falls_is_a_gain() -> None:
    stages = with_images(stages_of([[3.0], [2.0]], RMSE), [4.0, 2.0, 3.0], [3.0, 1.0, 2.0])
    found = gain_of(stages)
    assert found is not None and found.interval is not None
    assert (found.value, found.interval) == (1.0, (1.0, 1.0))
    text = what_was_bought(found, stages[1])
    assert "RMSE +1.000 m (95 %: +1.000 to +1.000; plus means a smaller error)" in text
    assert "on 3 validation images" in text and "labels and unlabeled images" in text


def test_what_chance_can_explain_is_called_so() -> None:
    stages = with_images(stages_of([[0.5], [0.49]]), [0.4, 0.5, 0.6], [0.6, 0.5, 0.37])
    found = gain_of(stages)
    assert found is not None
    text = what_was_bought(found, stages[0])
    assert "IoU -0.010" in text and "which chance alone can explain" in text
    assert "start/network-0, which learned from labels alone" in text


@pytest.mark.parametrize(
    ("count", "who"),
    [
        (1, "the best network of each"),
        (2, "the 2 best networks of each"),
        (None, "all networks of each"),
    ],
)
def test_why_the_last_generation_does_not_teach(count: int | None, who: str) -> None:
    first, last = stages_of([[0.7121, 0.7121], [0.6, 0.6]])
    assert handed_on(first, last, count) == (
        f"generation-1 is worse on validation than start (IoU 0.600 against 0.712, {who}), so start"
        " goes on teaching."
    )


def test_why_in_the_unit_of_an_error() -> None:
    first, last = stages_of([[2.5, 3.5], [4.0, 5.0]], RMSE)
    assert handed_on(first, last, 2) == (
        "generation-1 is worse on validation than start (RMSE 4.5 m against 3 m, the 2 best"
        " networks of each), so start goes on teaching."
    )


def test_why_a_run_ends_early() -> None:
    stages = stages_of([[0.5], [0.7], [0.6], [0.65]])
    assert spent(stages, 2, 5) == (
        "2 generations without a rise on validation (best: generation-1, IoU 0.700): the run ends"
        " after generation-3 of 5. --patience 0 goes on to the end."
    )
    stages = stages_of([[3.0], [3.0]], RMSE)
    assert spent(stages, 1, 4) == (
        "1 generation without a rise on validation (best: start, RMSE 3 m): the run ends"
        " after generation-1 of 4. --patience 0 goes on to the end."
    )


def played(folder, merits: dict[str, float], *, lost: Lost | None = None, **asked: object):
    wanted = {"approach": "im", "effort": "quick", "generations": 5, "device": "cpu", **asked}
    plan = make_plan(settings_from(wanted), ISIC)
    return rehearse(plan, ISIC, folder=folder, merits=merits, lost=lost or {})


UP_AND_DOWN = {
    "start": 0.5,
    "generation-1": 0.7,
    "generation-2": 0.6,
    "generation-3": 0.65,
    "generation-4": 0.9,
}


def test_a_run_hands_on_the_best_ensemble_says_so_and_ends(tmp_path) -> None:
    context = played(tmp_path, UP_AND_DOWN)
    assert list(context.jobs_of) == ["start", "generation-1", "generation-2", "generation-3"]
    assert context.teacher_of == {1: "start", 2: "generation-1", 3: "generation-1"}
    assert [note for note in context.notes if "validation" in note] == [
        "generation-2 is worse on validation than generation-1 (IoU 0.600 against 0.700, the 2"
        " best networks of each), so generation-1 goes on teaching.",
        "2 generations without a rise on validation (best: generation-1, IoU 0.700): the run ends"
        " after generation-3 of 5. --patience 0 goes on to the end.",
    ]


def test_without_patience_a_run_goes_on_to_the_end_and_says_nothing(tmp_path) -> None:
    context = played(tmp_path, UP_AND_DOWN, patience=0)
    assert len(context.jobs_of) == 6
    assert context.teacher_of[3] == "generation-2"
    assert not any("validation" in note for note in context.notes)


def test_more_patience_lets_a_late_rise_happen(tmp_path) -> None:
    context = played(tmp_path, UP_AND_DOWN, patience=3)
    assert len(context.jobs_of) == 6
    assert context.teacher_of == {
        1: "start",
        2: "generation-1",
        3: "generation-1",
        4: "generation-1",
        5: "generation-4",
    }


def test_a_run_that_rises_is_never_ended(tmp_path) -> None:
    rising = {f"generation-{number}": 0.5 + number / 100 for number in range(1, 6)}
    context = played(tmp_path, {"start": 0.5, **rising}, patience=1)
    assert len(context.jobs_of) == 6


def test_a_start_that_is_best_goes_on_teaching(tmp_path) -> None:
    falling = {"start": 0.9, "generation-1": 0.6, "generation-2": 0.7}
    context = played(tmp_path, falling)
    assert context.teacher_of == {1: "start", 2: "start"}
    assert list(context.jobs_of) == ["start", "generation-1", "generation-2"]


@given(history=histories, patience=st.integers(0, 4), count=teachers)
def test_instead_of_who_teaches_comes_the_best_of_the_others(history, patience, count):
    stages = stages_of(history)
    early_stopping = EarlyStopping(patience)
    teaching = early_stopping.teacher_stage(stages, count)
    other = early_stopping.instead(teaching, stages, count)
    if not patience or len(stages) == 1:
        assert other is None
        return
    rest = [stage for stage in stages if stage.name != teaching.name]
    assert other in rest
    assert other.mean_merit(count) == max(stage.mean_merit(count) for stage in rest)


RISING = {f"generation-{number}": 0.5 + number / 100 for number in range(1, 6)}


def test_labels_that_collapse_are_made_again_by_the_next_best(tmp_path) -> None:
    lost = {(3, "generation-2"): "all are background"}
    context = played(tmp_path, {"start": 0.5, **RISING}, lost=lost)
    assert len(context.jobs_of) == 6
    assert [context.teacher_of[number] for number in (2, 3, 4)] == [
        "generation-1", "generation-1", "generation-3"
    ]  # fmt: skip
    assert (
        "generation-3: the pseudo-labels of generation-2 are of no use (all are background), so"
        " those of generation-1 are made and learned from."
    ) in context.notes


def test_labels_that_collapse_twice_end_a_run_with_the_stage_before(tmp_path) -> None:
    lost = {(2, "generation-1"): "all are background", (2, "start"): "all are disks"}
    context = played(tmp_path, {"start": 0.5, **RISING}, lost=lost)
    assert list(context.jobs_of) == ["start", "generation-1"]
    assert context.notes[-1].startswith(
        "generation-2: the pseudo-labels have collapsed: all are disks. The run ends with the stage"
    )
    assert "--max-steps" in context.notes[-1] and "--patience 0" in context.notes[-1]


def test_the_first_labels_that_collapse_end_a_run_as_nobody_else_can_make_them(tmp_path) -> None:
    context = played(tmp_path, {"start": 0.5}, lost={(1, "start"): "all are background"})
    assert list(context.jobs_of) == ["start"]
    assert not any("made and learned from" in note for note in context.notes)


def test_without_patience_labels_that_collapse_are_learned_from_and_it_is_said(tmp_path) -> None:
    lost = {(2, "generation-1"): "all are background"}
    context = played(tmp_path, {"start": 0.5, **RISING}, lost=lost, patience=0)
    assert len(context.jobs_of) == 6 and context.teacher_of[2] == "generation-1"
    (told,) = [note for note in context.notes if "collapsed" in note]
    assert told.startswith("generation-2: the pseudo-labels have collapsed: all are background.")


def test_labels_made_once_more_are_those_that_were_learned_from(tmp_path) -> None:
    """As EvalNet needs them whose cache is gone; nobody is told a second time."""
    lost = {(2, "generation-1"): "all are background"}
    context = played(tmp_path, {"start": 0.5, **RISING}, lost=lost)
    stages = stages_of([[0.5], [0.6]])
    early_stopping = EarlyStopping(2)
    teaching = RehearsedLabeler(context, RehearsedScoring(context), early_stopping)
    told = list(context.notes)
    taught = teaching._plain(2, stages)
    assert context.teacher_of[2] == "start" and taught.lost == "" and context.notes == told
    assert taught.counts.collapsed == "all are background (labels of generation-1)"
