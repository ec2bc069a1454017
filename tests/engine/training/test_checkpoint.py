"""A training that is killed continues from its last checkpoint to the same bits."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from tests.sets import rest_but

from imseg.engine.loading.samples import Copies
from imseg.engine.training import checkpoint, trainer
from imseg.engine.training.checkpoint import Checkpoints, path_of, read_saved
from imseg.engine.training.job import Trained
from imseg.engine.training.monitor import Listener
from imseg.engine.training.objectives.mask_quality import MaskQualityAtWork
from imseg.engine.training.objectives.mean_teacher import MeanTeacher
from imseg.engine.training.objectives.online_labels import OnlineLabels
from imseg.engine.training.objectives.supervised import SupervisedAtWork
from imseg.engine.training.objectives.two_views import TwoViewsAtWork
from imseg.engine.training.recipe import Recipe
from imseg.engine.training.trainer import train_and_save
from imseg.errors import ImsegError, TrainingFailed
from imseg.ops.photometric import STRENGTH_SCHEDULES

AT_WORK = (SupervisedAtWork, TwoViewsAtWork, MaskQualityAtWork)
REAL = {at_work: at_work.score for at_work in AT_WORK}

RECIPE = Recipe(epochs=5, batch_size=3)


class Killed(BaseException):
    """The process ends here."""


class Told(Listener):
    """Remembers what a training says."""

    def __init__(self) -> None:
        self.steps = 0
        self.notes: list[str] = []

    def stepped(self, steps: int, loss: float) -> None:
        assert math.isfinite(loss)
        self.steps += steps

    def note(self, text: str, *, warning: bool = False) -> None:
        self.notes.append(text)


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Every pass is worth a checkpoint."""
    monkeypatch.setattr(checkpoint, "SHARE", math.inf)


@pytest.fixture
def kill(monkeypatch):
    """A function that lets trainings end after so many validations."""
    counted = []

    def after(validations: int) -> None:
        counted.clear()
        for at_work in AT_WORK:

            def score(self, network, real=REAL[at_work]):
                if len(counted) >= validations:
                    raise Killed
                counted.append(self)
                return real(self, network)

            monkeypatch.setattr(at_work, "score", score)

    return after


@pytest.fixture
def jobs(make_job, make_two, make_scorer, unlabeled):
    """A job for each objective, and for each way in which copies are drawn."""
    part = make_job().samples[0]
    copies = Copies(count=2, strength=STRENGTH_SCHEDULES["default"][1], rotate=True, seed=3)
    return {
        "labels": make_job(recipe=RECIPE),
        "copies": make_job(recipe=RECIPE, samples=(replace(part, copies=copies),)),
        "fresh copies": make_job(
            recipe=RECIPE, samples=(replace(part, copies=replace(copies, fresh=True)),)
        ),
        "paper": make_job(recipe=replace(RECIPE, paper=True)),
        "few looks": make_job(recipe=replace(RECIPE, epochs=9, validate_every=2)),
        "schedule": make_job(recipe=replace(RECIPE, schedule="cosine", warm_up=4)),
        "averaged weights": make_job(recipe=replace(RECIPE, average=0.5, schedule="polynomial")),
        "last weights": make_job(recipe=replace(RECIPE, average=0.5, keep="last")),
        "two views": make_two(recipe=RECIPE),
        "averaged two views": make_two(recipe=replace(RECIPE, average=0.5)),
        "mask quality": make_scorer(recipe=replace(RECIPE, epochs=4)),
        "mean teacher": make_job(
            recipe=Recipe(epochs=5, batch_size=6, average=0.9),
            objective=MeanTeacher(),
            unlabeled=unlabeled,
        ),
        "online labels": make_job(
            recipe=Recipe(epochs=5, batch_size=6, average=0.9, keep="last"),
            objective=OnlineLabels(learners=2, start=0.3, ramp=0.0),
            unlabeled=unlabeled,
        ),
        "labels of its own": make_job(
            recipe=Recipe(epochs=5, batch_size=6),
            objective=OnlineLabels(averaged=False, filter="confidence", confidence=0.5, start=0.0),
            unlabeled=unlabeled,
        ),
    }


def untimed(trained: Trained) -> Trained:
    return replace(trained, seconds=0.0, clock={})


KINDS = (
    *("labels", "copies", "fresh copies", "paper", "few looks", "schedule", "averaged weights"),
    *(
        "last weights",
        "two views",
        "averaged two views",
        "mask quality",
        "mean teacher",
        "online labels",
        "labels of its own",
    ),
)


@pytest.mark.parametrize(
    ("kind", "passes"),
    rest_but(
        product(KINDS, (1, 2, 3)),
        lambda kind, passes: passes == 2 and kind in ("labels", "two views", "mean teacher"),
    ),
)
def test_a_killed_training_continues_to_the_same_bits(jobs, kill, monkeypatch, kind, passes):
    job = jobs[kind]
    whole = train_and_save(job, Listener())
    weights = job.output.read_bytes()
    for path in (job.output, job.output.with_suffix(".json")):
        path.unlink()
    kill(passes)
    with pytest.raises(Killed):
        train_and_save(job, Listener())
    saved = read_saved(path_of(job.output))
    assert saved is not None
    assert len(saved.losses) == passes
    monkeypatch.undo()
    told = Told()
    again = train_and_save(job, told)
    assert untimed(again) == untimed(whole)
    assert job.output.read_bytes() == weights
    assert told.steps == whole.steps, "progress shows what was made before as well"
    assert told.notes == [f"continues after step {saved.steps} of {whole.steps}"]
    assert not path_of(job.output).exists()


@pytest.fixture
def kill_at_step(monkeypatch):
    """A function that lets trainings write their state after every step, and end after so many."""

    def at(steps: int) -> None:
        real = Checkpoints.keep
        monkeypatch.setattr(checkpoint, "SHARE", math.inf)

        def keep(self, state, network, learner):
            real(self, state, network, learner)
            if learner.steps_made == steps and state.epoch.steps:
                raise Killed

        monkeypatch.setattr(checkpoint, "WITHIN", 0.0)
        monkeypatch.setattr(Checkpoints, "keep", keep)

    return at


@pytest.mark.parametrize("kind", rest_but(KINDS, lambda kind: kind == "mean teacher"))
def test_a_training_killed_within_a_pass_continues_to_the_same_bits(
    jobs, kill_at_step, monkeypatch, kind
):
    looks = jobs[kind].recipe.validate_every
    job = replace(jobs[kind], recipe=replace(jobs[kind].recipe, epochs=2 * looks))
    whole = train_and_save(job, Listener())
    weights = job.output.read_bytes()
    passes = set()
    for steps in range(1, whole.steps + 1):
        for path in (job.output, job.output.with_suffix(".json")):
            path.unlink()
        kill_at_step(steps)
        with pytest.raises(Killed):
            train_and_save(job, Listener())
        monkeypatch.undo()
        saved = read_saved(path_of(job.output))
        assert saved is not None and saved.steps == steps and saved.within >= 1
        passes.add(len(saved.losses))
        told = Told()
        again = train_and_save(job, told)
        assert untimed(again) == untimed(whole)
        assert job.output.read_bytes() == weights
        assert told.steps == whole.steps
        assert told.notes == [f"continues after step {steps} of {whole.steps}"]
    assert passes == set(range(whole.epochs)), "in the first pass, too"


def test_a_state_within_a_pass_is_written_now_and_then(make_job, monkeypatch) -> None:
    written = []
    monkeypatch.setattr(checkpoint, "write_whole", lambda path, content: written.append(path))
    train_and_save(make_job(recipe=RECIPE), Listener())
    assert len(written) == RECIPE.epochs, "passes of less than a minute are not divided"
    written.clear()
    monkeypatch.setattr(checkpoint, "WITHIN", 0.0)
    trained = train_and_save(make_job(1, recipe=RECIPE), Listener())
    assert trained.steps > trained.epochs
    assert len(written) == trained.steps + trained.epochs


def test_a_pass_whose_loss_is_no_number_leaves_no_state(make_job, monkeypatch) -> None:
    written = []
    monkeypatch.setattr(checkpoint, "WITHIN", 0.0)
    monkeypatch.setattr(checkpoint, "write_whole", lambda path, content: written.append(path))
    real = trainer.first_network

    def first_network(job):
        network = real(job)
        with torch.no_grad():
            next(network.parameters()).fill_(math.nan)
        return network

    monkeypatch.setattr(trainer, "first_network", first_network)
    with pytest.raises(TrainingFailed, match="stopped being a number"):
        trainer.train(make_job(recipe=RECIPE), Listener())
    assert written == []


def test_only_the_rest_is_trained(make_job, kill, monkeypatch) -> None:
    job = make_job(recipe=RECIPE)
    kill(3)
    with pytest.raises(Killed):
        train_and_save(job, Listener())
    with pytest.raises(Killed):  # the fourth look is the first one now
        kill(0)
        train_and_save(job, Listener())
    kill(2)
    assert train_and_save(job, Listener()).epochs == 5


def test_a_second_try_is_not_tried_a_third_time(make_job, kill, monkeypatch) -> None:
    job = make_job(recipe=RECIPE)
    real, tried = trainer.first_network, []

    def first_network(tried_now):
        tried.append(tried_now.seed)
        network = real(tried_now)
        if tried_now.seed == job.seed:
            with torch.no_grad():
                next(network.parameters()).fill_(math.nan)
        return network

    monkeypatch.setattr(trainer, "first_network", first_network)
    whole = train_and_save(job, Listener())
    weights = job.output.read_bytes()
    for path in (job.output, job.output.with_suffix(".json")):
        path.unlink()
    kill(2)
    with pytest.raises(Killed):
        train_and_save(job, Listener())
    kill(100)
    tried.clear()
    again = train_and_save(job, Listener())
    assert tried == [job.second_try().seed]
    assert again.retried and untimed(again) == untimed(whole)
    assert job.output.read_bytes() == weights


@pytest.mark.rest
def test_a_damaged_checkpoint_is_passed_over(make_job, kill, monkeypatch) -> None:
    job = make_job(recipe=RECIPE)
    train_and_save(job, Listener())
    weights = job.output.read_bytes()
    kill(2)
    with pytest.raises(Killed):
        train_and_save(replace(job, output=job.output.with_name("network-9.safetensors")), Told())
    place = path_of(job.output)
    whole = path_of(job.output.with_name("network-9.safetensors")).read_bytes()
    monkeypatch.undo()
    for where in range(0, len(whole), len(whole) // 25):
        place.write_bytes(whole[:where] + bytes([whole[where] ^ 8]) + whole[where + 1 :])
        told = Told()
        train_and_save(job, told)
        assert told.notes == [f"{place} is damaged; the training begins anew"]
        assert job.output.read_bytes() == weights
    place.write_bytes(whole[: len(whole) // 2])
    train_and_save(job, Listener())
    assert job.output.read_bytes() == weights
    place.write_bytes(whole)
    told = Told()
    train_and_save(job, told)
    assert told.notes, "the whole one would have been used"


def test_the_state_of_another_job_is_passed_over(make_job, kill, monkeypatch) -> None:
    kill(2)
    with pytest.raises(Killed):
        train_and_save(make_job(recipe=RECIPE), Listener())
    monkeypatch.undo()
    other, told = make_job(recipe=replace(RECIPE, learning_rate=0.001)), Told()
    train_and_save(other, told)
    assert told.notes == []


def test_checkpoints_take_a_small_share_of_the_time(make_job, monkeypatch) -> None:
    monkeypatch.undo()
    written = []
    real = checkpoint.write_whole

    def write(path, content):
        written.append(path)
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_whole", write)
    monkeypatch.setattr(checkpoint, "FIRST_COST", 1e6)
    train_and_save(make_job(recipe=RECIPE), Listener())
    assert written == [], "each would cost far more than the training"
    monkeypatch.setattr(checkpoint, "FIRST_COST", 0.0)
    train_and_save(make_job(1, recipe=RECIPE), Listener())
    assert 1 <= len(written) < 5


def test_a_full_disk_stops_the_training_and_leaves_the_last_state(make_job, monkeypatch) -> None:
    job, real, written = make_job(recipe=RECIPE), checkpoint.write_whole, []

    def write(path, content):
        if len(written) == 2:
            raise ImsegError(f"{path.parent} cannot be written to.", got="No space left on device.")
        written.append(path)
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_whole", write)
    with pytest.raises(ImsegError, match="No space left"):
        train_and_save(job, Listener())
    saved = read_saved(path_of(job.output))
    assert saved is not None and len(saved.losses) == 2
