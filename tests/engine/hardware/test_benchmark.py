"""What training costs is measured with what trains: a job's own steps on made-up images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imseg.engine.hardware import benchmark
from imseg.engine.hardware.benchmark import BenchmarkRequest, make_up, measure_here
from imseg.engine.loading.samples import Copies
from imseg.engine.training.job import TrainJob
from imseg.engine.training.learner import Learner
from imseg.engine.training.recipe import Recipe
from imseg.ops.photometric import STRENGTH_SCHEDULES

SIZE = (32, 48)
KINDS = ("labels", "copies", "averaged weights", "two views", "mask quality")


@pytest.fixture
def jobs(make_job, make_two, make_scorer) -> dict[str, TrainJob]:
    """A job for each objective, whose images, targets and weights are not there."""
    part = make_job().samples[0]
    copies = Copies(count=2, strength=STRENGTH_SCHEDULES["default"][1], rotate=True, seed=3)
    recipe = Recipe(epochs=2, batch_size=3)
    made = {
        "labels": make_job(recipe=recipe),
        "copies": make_job(recipe=recipe, samples=(replace(part, copies=copies),)),
        "averaged weights": make_job(recipe=replace(recipe, average=0.9, schedule="cosine")),
        "two views": make_two(recipe=recipe),
        "mask quality": make_scorer(recipe=recipe),
    }
    return {kind: away(job) for kind, job in made.items()}


def away(job: TrainJob) -> TrainJob:
    """Return the job with every file in a folder that does not exist."""
    nowhere = Path("/nowhere/at/all.npy")

    def moved(each):
        further = {"qualities": nowhere} if each.qualities is not None else {}
        return replace(each, images=nowhere, targets=nowhere, **further)

    return replace(
        job,
        samples=tuple(moved(each) for each in job.samples),
        validation=moved(job.validation),
        unlabeled=job.unlabeled and replace(job.unlabeled, images=nowhere),
        initial=job.initial and replace(job.initial, weights=nowhere),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_training_of_every_objective_is_measured_without_its_files(jobs, kind) -> None:
    found = measure_here(BenchmarkRequest(what="training", job=jobs[kind], size=SIZE, seconds=0.05))
    assert min(found.step, found.batch, found.validation, found.opening, found.aside) > 0
    assert found.first >= 0 and found.memory > 0 and found.prediction == 0
    assert found.at_once is None and not found.compiled


def test_passes_of_a_single_step_are_measured(make_job) -> None:
    """Few labels fit into one batch, which is then a whole pass."""
    job = away(make_job(recipe=Recipe(epochs=2, batch_size=32)))
    assert job.workload.epoch == 1
    found = measure_here(BenchmarkRequest(what="training", job=job, size=SIZE, seconds=0.05))
    assert found.step > 0 and found.validation > 0


@pytest.mark.parametrize("kind", ["labels", "mask quality"])
def test_predictions_are_measured(jobs, kind) -> None:
    found = measure_here(
        BenchmarkRequest(what="predicting", job=jobs[kind], size=SIZE, seconds=0.05)
    )
    assert found.prediction > 0 and found.step == 0
    assert (found.decision > 0) == (kind == "labels"), "mask scorers do not vote"


@pytest.mark.parametrize("kind", KINDS)
def test_made_up_images_are_few_and_of_the_kind_of_the_job(jobs, kind, tmp_path) -> None:
    job = jobs[kind]
    made = make_up(job, SIZE, tmp_path)
    assert made.objective == job.objective and made.network == job.network
    assert replace(made.recipe, epochs=2, max_steps=None) == job.recipe
    assert [each.copies for each in made.samples] == [each.copies for each in job.samples]
    images, targets = (np.load(tmp_path / f"{name}.npy") for name in ("images", "targets"))
    assert images.shape[1:] == (*SIZE, job.channels) and images.dtype == np.uint8
    assert targets.shape[1:] == (1, *SIZE) and set(np.unique(targets)) == {0, 1}
    assert made.images + (0 if made.unlabeled is None else len(made.unlabeled.indices)) <= 3 * 3 * 6
    many = replace(job.samples[0], indices=tuple(range(100_000)))
    large = make_up(replace(job, samples=(many,)), SIZE, tmp_path)
    assert large.samples[0].samples <= 18 * (1 if many.copies is None else 3)
    assert len(np.load(tmp_path / "images.npy")) <= 64


def test_what_is_timed_are_whole_passes_with_their_validation(jobs, monkeypatch) -> None:
    """An unlabeled pass costs more than a labeled one: either alone would mislead."""
    passes = []
    real = Learner.learn

    def learn(self, steps, state=None, **keywords):
        loss = real(self, steps, state, **keywords)
        passes.append(0 if state is None else state.steps)
        return loss

    monkeypatch.setattr(Learner, "learn", learn)
    monkeypatch.setattr(benchmark, "LEAST_STEPS", 1)
    request = BenchmarkRequest(what="training", job=jobs["two views"], size=SIZE, seconds=0.0)
    measure_here(request)
    assert passes[0] == 0, "the first step is told apart"
    assert len(passes) >= 3 and all(passes[1:])
