"""Mask scorers in a run: when there are any, and what follows where there are none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.approaches.running.rehearsal import ISIC, SUIM, rehearse

from imseg.approaches.methods.catalog import APPROACHES
from imseg.approaches.planning.budget import make_plan
from imseg.approaches.planning.settings import settings_from
from imseg.approaches.running.stage import announce_plan


def plan_for(approach: str, facts=ISIC, **asked: object):
    if APPROACHES[approach].sees_truth:
        asked["unlabeled_masks"] = "hidden"
    wanted = {"approach": approach, "effort": "quick", "device": "cpu", **asked}
    return make_plan(settings_from(wanted), facts)


@pytest.mark.parametrize("approach", ["im++", "aim++"])
@pytest.mark.parametrize(("labeled", "validation"), [(7, 100), (100, 3)])
def test_too_few_labels_for_mask_scorers_leave_one_copy_and_a_warning(
    approach: str, labeled: int, validation: int, tmp_path
) -> None:
    facts = replace(ISIC, labeled=labeled, validation=validation, unlabeled=20)
    plan = plan_for(approach, facts, generations=2)
    context = rehearse(plan, facts, folder=tmp_path)
    assert list(context.jobs_of) == ["start", "generation-1", "generation-2"]
    for generation in ("generation-1", "generation-2"):
        copies = context.jobs_of[generation][0].samples[-1].copies
        assert (copies.count, copies.counts) == (1, None)
    said = [note for note in context.notes if "too few" in note]
    assert said == [
        f"{approach}: {labeled} labeled and {validation} validation images are too few to train"
        " mask scorers (8 and 4 are needed), so every image gets one copy."
    ]


def test_the_oracle_needs_no_mask_scorers_and_no_more_labels(tmp_path) -> None:
    facts = replace(ISIC, labeled=4, validation=2, unlabeled=20)
    context = rehearse(plan_for("gt-im++", facts), facts, folder=tmp_path, score=1.0)
    assert list(context.jobs_of) == ["start", "generation-1"]
    assert context.jobs_of["generation-1"][0].samples[-1].copies.count == 5
    assert not any("too few" in note for note in context.notes)


def test_mask_scorers_are_trained_once_before_the_first_generation(tmp_path) -> None:
    context = rehearse(plan_for("im++", generations=3, patience=0), ISIC, folder=tmp_path)
    generations = [f"generation-{number}" for number in range(1, 4)]
    assert list(context.jobs_of) == ["start", "scorers", *generations]
    context = rehearse(plan_for("evalnet", generations=3, patience=0), ISIC, folder=tmp_path)
    assert list(context.jobs_of) == ["start", "scorer-start", "scorers", *generations]


@pytest.mark.parametrize("approach", ["im", "im+", "aim+", "noisy-student", "model-ensemble"])
def test_approaches_that_ask_no_mask_scorers_train_none(approach: str, tmp_path) -> None:
    context = rehearse(plan_for(approach), ISIC, folder=tmp_path)
    assert list(context.jobs_of) == ["start", "generation-1"]


def test_mask_scorers_learn_from_the_start_that_the_approach_has(tmp_path) -> None:
    for approach, copies in (("im++", None), ("aim++", 9)):
        context = rehearse(plan_for(approach), ISIC, folder=tmp_path)
        made = context.jobs_of["start"][0].samples[0].copies
        assert (made.count if made else None) == copies
        (_, by, _), _ = context.asked
        assert by == [job.name for job in context.jobs_of["start"]]


def test_mask_scorers_differ_from_each_other_and_from_the_networks_they_score(tmp_path) -> None:
    context = rehearse(plan_for("evalnet", networks=4), SUIM, folder=tmp_path)
    seeds = [job.seed for jobs in context.jobs_of.values() for job in jobs]
    assert len(seeds) == len(set(seeds)) == 4 * 4


@pytest.mark.parametrize("approach", ["im++", "aim++", "evalnet", "im", "ldt", "consistency"])
def test_no_network_is_announced_to_train_longer_than_it_may(approach: str) -> None:
    """Mask scorers are networks too: their steps are not those of the others."""
    plan = plan_for(approach)
    text = announce_plan(plan, ISIC, None)
    each = int(text.partition(" px, about ")[2].partition(" steps each")[0])
    assert plan.recipe.max_steps == 150
    assert each <= 150


def test_a_single_step_is_announced_as_one() -> None:
    plan = plan_for("ldt").with_recipe(max_steps=1)
    assert "about 1 step each," in announce_plan(plan, ISIC, None)


@pytest.mark.parametrize(
    ("approach", "options", "said"),
    [
        ("online-im", {}, "2 networks (2 learn side by side, the first of them is kept)"),
        ("online-im", {"learners": 3}, "(3 learn side by side"),
        ("auto", {}, "1 network, then 1 x 1 (2 learn side by side, the first of them is kept)"),
    ],
)
def test_networks_that_learn_side_by_side_are_announced(approach, options, said) -> None:
    assert said in announce_plan(plan_for(approach, **options), ISIC, None)
    assert "learn side by side" not in announce_plan(plan_for("fixmatch"), ISIC, None)
