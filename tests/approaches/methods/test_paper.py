"""Every number that the paper settles, as METHOD writes it; typed by hand, not taken from the code.

What is looked at is what a run does with the settings: the jobs of a rehearsed run.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.approaches.running.rehearsal import (
    CITYSCAPES,
    HELA,
    ISIC,
    SUIM,
    Rehearsal,
    context_of,
    rehearse,
    spec_of,
)
from tests.approaches.settled import settled

from imseg.approaches.methods.catalog import APPROACHES
from imseg.approaches.methods.paper import PAPER
from imseg.approaches.planning.budget import fits_time, make_plan
from imseg.approaches.planning.plan import Plan
from imseg.approaches.planning.settings import settings_from
from imseg.components.amplification import copies_for
from imseg.components.scorer_samples import consensus_samples, draw_consensus
from imseg.components.votes import VoteOfViews
from imseg.engine.training.objectives.two_views import TwoViews
from imseg.networks.evalnet import EvalNet
from imseg.ops.photometric import Strength
from imseg.tasks import task_for

FACTS = {"isic2018": ISIC, "hela": HELA, "suim": SUIM, "cityscapes": CITYSCAPES}
NAMES = tuple(FACTS)

# Strengths are (max blur, max noise m, gain g, offset o), as the columns of METHOD, "Disturbances".
ORDINARY_CONSISTENCY = {"low": (1, 10, 0.15, 10), "mid": (2, 17, 0.3, 17), "high": (3, 25, 0.5, 25)}
ORDINARY_SCHEDULE = [
    (0, 5, 0.1, 5),
    (1, 10, 0.2, 10),
    (1, 15, 0.3, 15),
    (2, 20, 0.4, 20),
    (3, 25, 0.5, 25),
]
PUBLISHED: dict[str, dict[str, Any]] = {
    "isic2018": {
        "kind": "binary",
        "size": (256, 256),
        "strength_schedule": ORDINARY_SCHEDULE,
        "aldt": (3, 25, 0.5, 25),
        "consistency": ORDINARY_CONSISTENCY,
        "views": (3, 25, 0.5, 25),
        "samples": (3, 20, 0.4, 20),
        "rotate": True,
        "widths": [0.5, 0.75, 1.0, 1.25, 1.5],
        "scorer width": 1.0,
        "thresholds": (0.72, 0.75),
        "accepts": "high",
        "ranked by": "iou_error",
        "heads": 1,
    },
    "hela": {
        "kind": "multilabel",
        "size": (256, 256),
        "strength_schedule": [
            (0, 5, 0.1, 3),
            (1, 10, 0.1, 6),
            (1, 15, 0.2, 9),
            (2, 20, 0.2, 12),
            (3, 25, 0.3, 15),
        ],
        "aldt": (3, 25, 0.3, 15),
        "consistency": ORDINARY_CONSISTENCY,
        "views": (1, 15, 0.3, 15),
        "samples": (1, 10, 0.2, 10),
        "rotate": True,
        "widths": [1.0, 1.25, 1.5, 1.75, 2.0],
        "scorer width": 2.0,
        "thresholds": (0.59, 0.62),
        "accepts": "low",
        "ranked by": "iou_error",
        "heads": 2,
    },
    "suim": {
        "kind": "multiclass",
        "size": (256, 256),
        "strength_schedule": ORDINARY_SCHEDULE,
        "aldt": (3, 25, 0.5, 25),
        "consistency": ORDINARY_CONSISTENCY,
        "views": (1, 15, 0.3, 15),
        "samples": (1, 10, 0.2, 10),
        "rotate": False,
        "widths": [1.0, 1.25, 1.5, 1.75, 2.0],
        "scorer width": 2.0,
        "thresholds": (0.43, 0.51),
        "accepts": "high",
        "ranked by": "loss",
        "heads": 2,
    },
    "cityscapes": {
        "kind": "multiclass",
        "size": (208, 416),  # height and width; METHOD writes 416x208
        "strength_schedule": [
            (0, 3, 0.05, 3),
            (0, 6, 0.1, 6),
            (0, 9, 0.2, 9),
            (0, 12, 0.3, 12),
            (1, 15, 0.4, 15),
        ],
        "aldt": (1, 15, 0.4, 15),
        "consistency": {"low": (0, 3, 0.05, 3), "mid": (0, 9, 0.2, 9), "high": (1, 15, 0.4, 15)},
        "views": (1, 15, 0.3, 15),
        "samples": (1, 10, 0.2, 10),
        "rotate": False,
        "widths": [1.0, 1.25, 1.5, 1.75, 2.0],
        "scorer width": 2.0,
        "thresholds": (0.372, 0.453),
        "accepts": "high",
        "ranked by": "loss",
        "heads": 2,
    },
}


def plan_for(name: str, approach: str, **asked: Any) -> Plan:
    if APPROACHES[approach].sees_truth:
        asked["unlabeled_masks"] = "hidden/masks"
    settings = settings_from({"paper": name, "approach": approach, "device": "cpu", **asked})
    plan = make_plan(settings, FACTS[name])
    assert plan.paper and plan.effort == "paper"
    assert not fits_time(settings), "nothing is measured: the schedule is the published one"
    return plan


@pytest.fixture
def play(tmp_path: Path):
    """A function that rehearses an approach with the published settings for a data set."""

    def played(name: str, approach: str, *, asked: dict[str, Any] | None = None, **wanted: Any):
        plan = plan_for(name, approach, **(asked or {}))
        return rehearse(plan, FACTS[name], folder=tmp_path, **wanted)

    return played


def pushed(strength: Strength) -> tuple[int, int, float, int]:
    """Return a strength in the order of METHOD's columns; there is nothing else in it."""
    assert len(Strength.__dataclass_fields__) == 4
    return strength.blur, strength.noise, strength.gain, strength.offset


def widths(context: Rehearsal) -> list[float]:
    return [job.network.width for job in generations(context)]


def generations(context: Rehearsal):
    """Return one job of each generation."""
    numbered = {
        name: jobs for name, jobs in context.jobs_of.items() if name.startswith("generation")
    }
    return [numbered[f"generation-{number}"][0] for number in range(1, len(numbered) + 1)]


def test_there_are_the_four_data_sets_of_the_paper() -> None:
    assert set(PAPER) == set(PUBLISHED) == {"isic2018", "hela", "suim", "cityscapes"}


@pytest.mark.parametrize("name", NAMES)
def test_what_masks_hold_and_the_size_at_which_networks_work(name: str) -> None:
    assert PAPER[name].kind == FACTS[name].task == PUBLISHED[name]["kind"]
    assert plan_for(name, "ldt").image_size == PUBLISHED[name]["size"]


@pytest.mark.parametrize("name", NAMES)
def test_networks_grow_as_published_where_they_grow(name: str, play) -> None:
    table = PUBLISHED[name]["widths"]
    assert list(PAPER[name].widths) == table
    growing = ("noisy-student", "im+", "im++", "aim+", "aim++", "gt-im++")
    for approach in growing:
        context = play(name, approach)
        assert widths(context) == table, approach
        assert {job.network.width for job in context.jobs_of["start"]} == {table[0]}
    for approach in ("model-ensemble", "input-ensemble", "consistency", "evalnet", "im"):
        assert set(widths(play(name, approach))) == {table[0]}, approach


@pytest.mark.parametrize("name", NAMES)
def test_ten_networks_start_and_five_generations_of_five_follow_50_epochs_each(name, play) -> None:
    for approach in ("model-ensemble", "input-ensemble", "noisy-student", "im", "im+", "aim+"):
        context = play(name, approach)
        counts = {stage: len(jobs) for stage, jobs in context.jobs_of.items()}
        assert counts == {"start": 10} | {f"generation-{number}": 5 for number in range(1, 6)}
        for job in [*context.jobs_of["start"], *generations(context)]:
            recipe = job.recipe
            assert (recipe.epochs, recipe.batch_size, recipe.max_steps) == (50, 32, None)
            assert (recipe.learning_rate, recipe.weight_decay) == (0.003, 1e-4)
    assert plan_for(name, "im").teachers == 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("approach", ["ldt", "aldt", "fdt"])
def test_a_single_stage_trains_ten_networks(name: str, approach: str, play) -> None:
    context = play(name, approach)
    assert {stage: len(jobs) for stage, jobs in context.jobs_of.items()} == {"start": 10}


@pytest.mark.parametrize("samples", [32, 63, 64, 259, 297, 1372])
@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_is_as_many_steps_as_there_are_whole_batches(name: str, samples: int) -> None:
    assert plan_for(name, "im").recipe.steps_per_epoch(samples) == samples // 32


@pytest.mark.parametrize("name", NAMES)
def test_noisy_copies_grow_stronger_as_published(name: str, play) -> None:
    for approach in ("noisy-student", "im+", "im++", "aim+", "aim++", "gt-im++"):
        copies = [job.samples[-1].copies for job in generations(play(name, approach))]
        assert [pushed(each.strength) for each in copies] == PUBLISHED[name]["strength_schedule"]
        assert {each.rotate for each in copies} == {PUBLISHED[name]["rotate"]}
        assert {each.plain for each in copies} == {approach.startswith("aim")}


@pytest.mark.parametrize("name", NAMES)
def test_nine_copies_of_each_labeled_image_are_as_strong_as_published(name: str, play) -> None:
    for approach in ("aldt", "aim+", "aim++"):
        context = play(name, approach)
        for job in [*context.jobs_of["start"], *generations(context)]:
            copies = job.samples[0].copies
            assert (copies.count, copies.plain) == (9, True)
            assert pushed(copies.strength) == PUBLISHED[name]["aldt"]
            assert copies.rotate == PUBLISHED[name]["rotate"]
    for approach in ("ldt", "im", "im+", "im++"):
        context = play(name, approach)
        assert all(jobs[0].samples[0].copies is None for jobs in context.jobs_of.values())


@pytest.mark.parametrize("level", ["low", "mid", "high"])
@pytest.mark.parametrize("name", NAMES)
def test_consistency_learns_100_epochs_on_from_views_that_strong(name, level: str, play) -> None:
    context = play(name, "consistency", asked={"consistency_level": level})
    assert {stage: len(jobs) for stage, jobs in context.jobs_of.items()} == {
        "start": 10,
        "generation-1": 5,
    }
    start = context.jobs_of["start"][0]
    for job in context.jobs_of["generation-1"]:
        views = job.unlabeled
        assert pushed(views.strength) == PUBLISHED[name]["consistency"][level]
        # No geometry at all for classes; elsewhere a random flip or quarter turn.
        assert (views.moves, views.rotate) == (PUBLISHED[name]["kind"] != "multiclass",) * 2
        assert isinstance(job.objective, TwoViews)
        assert (job.objective.weight, job.objective.ramp) == (1, 0)
        assert len(views.indices) == FACTS[name].unlabeled
        assert (start.recipe.epochs, job.recipe.epochs) == (50, 100)
        assert job.initial.weights == start.output
        passes = FACTS[name].labeled // 32 + FACTS[name].unlabeled // 32
        assert job.steps == 100 * passes


@pytest.mark.parametrize("name", NAMES)
def test_the_views_of_input_ensemble_are_as_strong_as_published(name: str, tmp_path) -> None:
    for count in (3, 5, 7):
        plan = plan_for(name, "input-ensemble", views=count)
        context = context_of(plan, FACTS[name], folder=tmp_path)
        labeler = context.approach.pseudo_label
        assert labeler == VoteOfViews(views=count, vote="paper", plain=False)
        seat = context.teacher_batches([], lambda row: row)
        panel = seat(0, torch.zeros(2, 32, 32, 3, dtype=torch.uint8).numpy())
        assert pushed(panel.strength) == PUBLISHED[name]["views"]
        assert panel.rotate == PUBLISHED[name]["rotate"]
        # Only binary views are moved at all.
        assert panel.task.moves_views == (PUBLISHED[name]["kind"] == "binary")


@pytest.mark.parametrize("name", NAMES)
def test_five_mask_scorers_learn_50_epochs_at_the_published_width(name: str, play) -> None:
    for approach in ("evalnet", "im++", "aim++"):
        scorers = play(name, approach).jobs_of["scorers"]
        assert len(scorers) == 5
        for job in scorers:
            assert job.recipe.epochs == 50
            assert job.network.width == PUBLISHED[name]["scorer width"]
            made = job.network.make(channels=job.channels, outputs=job.outputs)
            assert type(made) is EvalNet and len(made.heads) == PUBLISHED[name]["heads"]
            assert (job.recipe.learning_rate, job.recipe.batch_size) == (0.003, 32)


@pytest.mark.parametrize("approach", ["im++", "aim++"])
@pytest.mark.parametrize("name", NAMES)
def test_mask_scorers_learn_from_ten_rounds_of_consensus_and_are_chosen_by_three(
    name: str, approach: str, play
) -> None:
    (kind, by, labeled), (same, others, validation) = play(name, approach).asked
    assert kind == same == "consensus"
    assert by == others == [f"start/network-{number}" for number in range(10)]
    assert (labeled["rounds"], validation["rounds"]) == (10, 3)
    assert labeled["augmented_share"] == 0.5
    for options in (labeled, validation):
        assert pushed(options["copies"].strength) == PUBLISHED[name]["samples"]
        assert not options["copies"].rotate, "free rotation, but not of EvalNet samples"
        assert not {"kernels", "fewest", "most"} & set(options), "they are the published ones"
    defaults = inspect.signature(consensus_samples).parameters
    assert defaults["kernels"].default == (0, 3, 5)
    assert (defaults["fewest"].default, defaults["most"].default) == (2, 4)


def test_two_to_four_of_ten_networks_vote_with_kernels_0_3_5() -> None:
    draws = [draw_consensus(torch.Generator().manual_seed(seed), 10) for seed in range(400)]
    assert {len(draw.networks) for draw in draws} == {2, 3, 4}
    assert {network for draw in draws for network in draw.networks} == set(range(10))
    assert {(draw.erode, draw.dilate) for draw in draws} == {
        (erode, dilate) for erode in (0, 3, 5) for dilate in (0, 3, 5)
    }
    assert math.isclose(sum(draw.augmented for draw in draws) / 400, 0.5, abs_tol=0.08)


@pytest.mark.parametrize("name", NAMES)
def test_mask_scorers_of_the_evalnet_approach_learn_from_ten_plain_and_ten_augmented_networks(
    name: str, play
) -> None:
    context = play(name, "evalnet")
    assert len(context.jobs_of["scorer-start"]) == 10
    copies = context.jobs_of["scorer-start"][0].samples[0].copies
    assert (copies.count, pushed(copies.strength)) == (9, PUBLISHED[name]["aldt"])
    (kind, by, _), (same, others, _) = context.asked
    assert kind == same == "predictions"
    kinds = ("start", "scorer-start")
    assert by == [f"{each}/network-{number}" for each in kinds for number in range(10)]
    assert others == [f"{each}/network-{number}" for each in kinds for number in range(3)]


@pytest.mark.parametrize("name", NAMES)
def test_mask_scorers_are_ranked_by_the_error_of_the_iou_or_by_loss(name: str, play) -> None:
    for approach in ("im++", "aim++"):
        assert play(name, approach).metrics["scorers"].key == PUBLISHED[name]["ranked by"]
    assert play(name, "evalnet").metrics["scorers"].key == "iou_error"


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_is_good_from_the_published_scores_on(name: str) -> None:
    for approach in ("evalnet", "im++", "aim++", "gt-im++"):
        assert plan_for(name, approach).approach.thresholds == PUBLISHED[name]["thresholds"]
    asked = plan_for(name, "im++", thresholds=(0.1, 0.2))
    assert asked.approach.thresholds == (0.1, 0.2), "what is asked for goes before"


@pytest.mark.parametrize("name", NAMES)
def test_a_proposal_is_accepted_from_the_upper_score_but_for_hela(name: str) -> None:
    proposal = plan_for(name, "evalnet").approach.pseudo_label
    assert proposal.accepts == PUBLISHED[name]["accepts"]
    assert proposal.scorers == 2


@pytest.mark.parametrize("name", NAMES)
def test_one_to_five_copies_between_the_thresholds(name: str) -> None:
    low, high = PUBLISHED[name]["thresholds"]
    plan = plan_for(name, "im++")
    fifths = [low + (high - low) * (step + 0.5) / 5 for step in range(-1, 6)]
    scores = torch.tensor([low, *fifths, 1.0], dtype=torch.double)
    appraised = type(
        "Said", (), {"thresholds": plan.approach.thresholds, "scores": lambda _: scores}
    )()
    copies = plan.approach.amplification.copies(len(scores), appraised)
    assert copies == (1, 1, 1, 2, 3, 4, 5, 5, 5)
    assert copies == tuple(copies_for(scores, low=low, high=high))


@pytest.mark.parametrize("name", NAMES)
def test_the_oracle_and_evalnet_make_at_least_so_many_steps(name: str, play) -> None:
    """If next to nothing is admitted: the stream of images goes round."""
    facts = FACTS[name]
    own, full = (facts.labeled + 1) // 32, (facts.labeled + facts.unlabeled) // 32

    def steps(approach: str) -> int:
        job = generations(play(name, approach, admits=1))[0]
        return job.recipe.steps_per_epoch(facts.labeled + 1)

    assert steps("gt-im++") == full
    assert steps("evalnet") == (own if name == "isic2018" else max(own, full // 3))
    for approach in ("im", "im+", "im++", "model-ensemble", "noisy-student"):
        assert steps(approach) == own


@pytest.mark.parametrize("full", range(96, 6000, 96))
def test_a_third_of_the_steps_is_exact(full: int, tmp_path) -> None:
    """``int(1 / 3 * n)`` must not lose a step where n is a multiple of three."""
    facts = dataclasses.replace(SUIM, labeled=32, unlabeled=full - 32)
    asked = {"paper": "suim", "approach": "evalnet", "generations": 2, "device": "cpu"}
    plan = make_plan(settings_from(asked), facts)
    context = rehearse(plan, facts, folder=tmp_path, admits=1)
    assert generations(context)[0].recipe.least_steps == full // 96


@pytest.mark.parametrize(
    ("approach", "steps"),
    [("ldt", 8), ("aldt", 80), ("im", 81), ("im++", 372), ("aim++", 518), ("gt-im++", 372)],
)
def test_epochs_on_isic_have_the_steps_that_were_reported(approach: str, steps: int, play) -> None:
    """REFERENCE, "Not equal budgets": if all images are admitted, and with 5 copies of all."""
    context = play("isic2018", approach, score=1.0)
    last = (generations(context) or context.jobs_of["start"])[-1]
    assert last.recipe.steps_per_epoch(last.images) == steps
    assert last.steps == 50 * steps


def test_the_400_steps_of_ldt_on_isic(play) -> None:
    assert {job.steps for job in play("isic2018", "ldt").jobs_of["start"]} == {400}


@pytest.mark.parametrize(
    "approach", [name for name, each in APPROACHES.items() if not each.matched]
)
@pytest.mark.parametrize("name", NAMES)
def test_no_run_is_ended_early(name: str, approach: str, play) -> None:
    assert plan_for(name, approach).approach.patience == 0
    falling = {f"generation-{number}": 1 / (1 + number) for number in range(1, 6)} | {"start": 1}
    context = play(name, approach, merits=falling)
    assert len(generations(context)) == APPROACHES[approach].generations
    expected = ["start", *(f"generation-{number}" for number in range(1, 5))]
    if APPROACHES[approach].pseudo_label is not None:
        assert list(context.teacher_of.values()) == expected, "each generation teaches the next"


@pytest.mark.parametrize("name", NAMES)
def test_early_stopping_can_be_asked_for(name: str) -> None:
    assert plan_for(name, "im", patience=2).approach.patience == 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("erode", [None, 0, 3, 5])
def test_labels_grow_where_the_mask_is_eroded(name: str, erode: int | None) -> None:
    """In the reference an erode kernel above 0 also dilates the consensus; 0 is the default."""
    consensus = plan_for(name, "im", erode=erode).approach.pseudo_label
    assert consensus.erode == (erode or 0)
    assert consensus.dilate == 0
    assert consensus.grow_labels == bool(erode)
    unwanted = plan_for(name, "im", erode=erode, grow_labels=False).approach.pseudo_label
    assert not unwanted.grow_labels


@pytest.mark.parametrize("name", NAMES)
def test_the_task_is_the_papers(name: str) -> None:
    facts = FACTS[name]
    assert task_for(spec_of(facts), paper=plan_for(name, "im").paper).paper
    assert spec_of(facts).outputs == facts.outputs


@pytest.mark.parametrize("name", NAMES)
def test_what_is_asked_for_goes_before_the_paper(name: str) -> None:
    asked = {
        "image_size": (64, 96),
        "width": 0.25,
        "epochs": 3,
        "networks": 4,
        "generations": 2,
        "rotate": not PUBLISHED[name]["rotate"],
    }
    plan = plan_for(name, "im+", **asked)
    assert {each: settled(plan, each) for each in asked} == asked
    assert plan.scorer_width == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_by_the_paper_comes_back_from_plain_values(name: str) -> None:
    for approach in [name for name, each in APPROACHES.items() if not each.matched]:
        plan = plan_for(name, approach)
        assert Plan.from_dict(plan.as_dict()) == plan
        assert plan.published == name
