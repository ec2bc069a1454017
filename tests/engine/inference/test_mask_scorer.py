"""EvalNet's objective: a mask scorer is trained, chosen, measured and asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from imseg.data.cache.store import open_array
from imseg.engine.inference.predictor import score_candidates, score_masks
from imseg.engine.loading.loader import BatchLoader
from imseg.engine.loading.samples import Copies, SampleSet
from imseg.engine.training.job import TrainJob, build, load_network
from imseg.engine.training.monitor import Listener
from imseg.engine.training.objectives.objective import ObjectiveAtWork
from imseg.engine.training.recipe import Recipe
from imseg.engine.training.trainer import train, train_and_save
from imseg.engine.workers.executors import Processes, Serial, run_jobs
from imseg.errors import TrainingFailed
from imseg.ops.photometric import STRENGTH_SCHEDULES
from imseg.tasks import Metric, task_for
from imseg.tasks.quality import quality_for
from imseg.types import TargetSpec

METRIC = Metric(key="iou_error", label="IoU error", higher_is_better=False)
MULTILABEL = TargetSpec(
    kind="multilabel", names=("alive", "dead"), colors=((255, 0, 0), (0, 255, 0))
)
MULTICLASS = TargetSpec(
    kind="multiclass", values=(0, 1), names=("floor", "disk"), colors=((0, 0, 0), (255, 0, 0))
)

ignore = Listener()


@pytest.fixture
def make_scorer_of_two(make_scorer, tmp_path) -> Callable[..., TrainJob]:
    """The same for two labels: with IoU and presence of each."""

    def doubled(part: SampleSet, name: str) -> SampleSet:
        targets, good = np.load(part.targets), np.load(part.qualities)
        there = np.ones_like(good)
        absent = np.zeros_like(good)
        rows = [np.concatenate(pair, axis=2) for pair in ((good, absent), (there, absent))]
        np.save(tmp_path / f"{name}-2.npy", np.concatenate([targets, 0 * targets], axis=1))
        np.save(tmp_path / f"{name}-2-qualities.npy", np.concatenate(rows, axis=1))
        return replace(
            part, targets=tmp_path / f"{name}-2.npy", qualities=tmp_path / f"{name}-2-qualities.npy"
        )

    def make(number: int = 0, **changes: object) -> TrainJob:
        job = make_scorer(number, **changes)
        return replace(
            job,
            samples=(doubled(job.samples[0], "l"),),
            validation=doubled(job.validation, "v"),
            target=MULTILABEL.as_dict(),
            network=replace(job.network, heads=2),
            outputs=2,
        )

    return make


def opened(job: TrainJob) -> ObjectiveAtWork:
    """Return a job's objective at work."""
    return job.objective.open(job)


def quality_of(job: TrainJob):
    return quality_for(task_for(TargetSpec.from_dict(job.target)))


def test_a_scorer_tells_perfect_masks_from_empty_ones(make_scorer) -> None:
    trained, _ = train(make_scorer(recipe=Recipe(epochs=40, batch_size=8)), ignore)
    assert trained.scores["iou_error"] < 0.15
    assert trained.scores["score_error"] == pytest.approx(trained.scores["iou_error"], rel=1e-5)
    assert trained.scores["rank_correlation"] > 0.8
    assert trained.scores["samples"] == 6
    assert trained.losses[-1] < trained.losses[0] / 3


def test_every_epoch_is_validated_by_the_same_copies(make_scorer) -> None:
    job = make_scorer()
    online = Copies(count=0, strength=STRENGTH_SCHEDULES["default"][-1], rotate=True, seed=0)
    objective = opened(replace(job, validation=replace(job.validation, copies=online)))
    network = build(job.network, job.compute, channels=job.channels, outputs=job.outputs)
    assert objective.score(network) == objective.score(network)
    assert objective.validate(network).scores == objective.validate(network).scores


@pytest.mark.rest
def test_a_scorer_of_several_labels_learns_both_heads(make_scorer_of_two) -> None:
    trained, _ = train(make_scorer_of_two(recipe=Recipe(epochs=40, batch_size=8)), ignore)
    assert trained.scores["iou_error"] < 0.15
    assert trained.scores["score_error"] < 0.25
    assert trained.losses[-1] < trained.losses[0] / 3


class Echo(nn.Module):
    """Says of each mask what share of the pixels it covers, head for head and plane for plane."""

    def __init__(self, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        self.seen.append((images, masks))
        share = masks.mean(dim=(2, 3)).clamp(1e-6, 1 - 1e-6)
        return torch.logit(share)[:, None].repeat(1, self.heads, 1)


def test_scores_are_those_of_the_formulas(make_scorer) -> None:
    job = make_scorer()
    said = open_array(job.validation.targets).mean(axis=(1, 2, 3)).clip(1e-6, 1 - 1e-6)
    wanted = open_array(job.validation.qualities)[:, 0, 0]
    scores = opened(job).validate(Echo()).scores
    error = np.abs(said - wanted).mean()
    assert scores["iou_error"] == pytest.approx(error, rel=1e-4)
    assert scores["score_error"] == pytest.approx(error, rel=1e-4)
    assert scores["loss"] == pytest.approx(np.mean((said - wanted) ** 2), rel=1e-4)
    assert scores["rank_correlation"] > 0.8
    assert opened(job).score(Echo()) == pytest.approx(-error, rel=1e-4)


def test_two_heads_are_chosen_by_the_loss_and_the_error_is_that_of_the_iou(
    make_scorer_of_two,
) -> None:
    job = make_scorer_of_two()
    said = open_array(job.validation.targets).mean(axis=(2, 3)).clip(1e-6, 1 - 1e-6)
    iou, presence = open_array(job.validation.qualities).transpose(1, 0, 2)
    entropy = -(presence * np.log(said) + (1 - presence) * np.log(1 - said)).mean()
    loss = ((said - iou) ** 2).mean() + entropy
    objective = opened(job)
    scores = objective.validate(Echo(2)).scores
    assert scores["loss"] == pytest.approx(loss, rel=1e-4)
    assert scores["iou_error"] == pytest.approx(np.abs(said - iou).mean(), rel=1e-4)
    assert objective.score(Echo(2)) == pytest.approx(-loss, rel=1e-4)


def test_the_reserved_class_does_not_count_in_the_score_that_decides_copies(
    make_scorer, tmp_path: Path
) -> None:
    """All that is said wrongly here is said of class 0."""
    job = make_scorer()
    labels = np.load(job.validation.targets) + 1
    labels[:, :, :8] = 0
    shares = np.stack([(labels == k).mean(axis=(1, 2, 3)) for k in range(3)], axis=1)
    wanted = np.stack([shares, np.ones_like(shares)], axis=1).astype(np.float32)
    wanted[:, :, 0] = 1.0
    np.save(tmp_path / "classes.npy", labels)
    np.save(tmp_path / "class-qualities.npy", wanted)
    validation = replace(
        job.validation, targets=tmp_path / "classes.npy", qualities=tmp_path / "class-qualities.npy"
    )

    class Present(Echo):
        def forward(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
            iou = super().forward(images, masks)
            return torch.cat([iou, torch.full_like(iou, 9.0)], dim=1)

    multiclass = replace(job, validation=validation, target=MULTICLASS.as_dict())
    scores = opened(multiclass).validate(Present()).scores
    assert scores["score_error"] < 1e-5
    assert scores["iou_error"] == pytest.approx(0.75 / 3, rel=1e-4)


def test_a_scorer_that_says_the_same_of_all_masks_ranks_nothing(make_scorer) -> None:
    class Constant(nn.Module):
        def forward(self, images: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(masks), 1, 1)

    found = opened(make_scorer()).validate(Constant())
    assert found.scores["rank_correlation"] == 0.0
    assert found.scores["iou_error"] == 0.5
    assert "says the same whatever it sees" in found.dead
    assert opened(make_scorer()).validate(Echo()).dead == ""


def test_a_scorer_that_dies_twice_is_no_scorer(make_scorer) -> None:
    job = make_scorer()
    job = replace(job, recipe=replace(job.recipe, learning_rate=1.0))
    with pytest.raises(TrainingFailed, match="says the same whatever it sees"):
        train_and_save(job, ignore)
    assert not job.output.exists()


def test_validation_blocks_and_augments_as_training_does_and_always_alike(
    make_scorer, tmp_path
) -> None:
    job = make_scorer()
    inconsistent = np.zeros((6, 1, 32, 32), np.uint8)
    inconsistent[:, :, :11] = 1
    np.save(tmp_path / "inconsistent.npy", inconsistent)
    copies = Copies(
        count=1, strength=STRENGTH_SCHEDULES["default"][0], rotate=False, seed=3, plain=False
    )
    part = replace(job.validation, inconsistent=tmp_path / "inconsistent.npy", copies=copies)
    objective, echo = opened(replace(job, validation=part)), Echo()
    first, second = objective.validate(echo).scores, objective.validate(echo).scores
    assert first == second
    expected = BatchLoader((part,), job.compute).take(torch.arange(6))
    for images, masks in echo.seen:
        assert torch.equal(images, expected.images)
        assert torch.equal(masks, expected.targets.float())
        assert (images[:, :, :11] == 0).all() and (masks[:, :, :11] == 0).all()


def test_a_scorer_is_validated_by_masks_of_known_quality_alone(make_scorer) -> None:
    job = make_scorer()
    with pytest.raises(ValueError, match="masks of known quality"):
        opened(replace(job, validation=replace(job.validation, qualities=None)))


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_few_samples_and_small_batches_do_not_stop_it(
    make_scorer, samples: int, batch_size: int
) -> None:
    job = make_scorer(recipe=Recipe(epochs=2, batch_size=batch_size))
    part = replace(job.samples[0], indices=tuple(range(samples)))
    trained, _ = train(replace(job, samples=(part,)), ignore)
    assert trained.steps == 2 * (samples if batch_size == 1 else 1)


@pytest.mark.rest
def test_scorers_are_trained_stored_and_ranked_like_any_network(make_scorer) -> None:
    """In other processes too."""
    jobs = [make_scorer(0), make_scorer(1)]
    spoken = []
    for executor in (Serial(), Processes(1)):
        with executor:
            trained, failures = run_jobs(
                jobs, executor, metric=METRIC, elsewhere={}, progress=spoken.append
            )
        assert failures == [] and [network.name for network in trained] == [
            job.name for job in jobs
        ]
        for job in jobs:
            job.output.unlink()
    assert spoken[0].__class__.__name__ == "Stepped"
    finished = [event for event in spoken if event.__class__.__name__ == "NetworkFinished"]
    assert len(finished) == 4 and finished[0].score.startswith("IoU error 0.")
    assert [event.score for event in finished[:2]] == [event.score for event in finished[2:]]
    assert METRIC.merit(trained[0].scores) == -trained[0].scores["iou_error"]


def test_operations_of_a_scorer_are_counted(make_scorer) -> None:
    one, _ = train(make_scorer(recipe=Recipe(epochs=1, batch_size=8)), ignore)
    two, _ = train(make_scorer(recipe=Recipe(epochs=2, batch_size=8)), ignore)
    assert two.flops == 2 * one.flops > 0


@pytest.fixture
def scorers(make_scorer) -> tuple[TrainJob, list[nn.Module]]:
    jobs = [make_scorer(number) for number in range(2)]
    with Serial() as executor:
        run_jobs(jobs, executor, metric=METRIC, elsewhere={}, progress=lambda _event: None)
    return jobs[0], [
        load_network(job.output, job.network, job.compute, channels=1, outputs=1) for job in jobs
    ]


def test_every_scorer_is_asked_about_every_used_mask(scorers, tmp_path: Path) -> None:
    job, networks = scorers
    quality, part = quality_of(job), replace(job.samples[0], indices=(9, 0, 4, 15, 1))
    said = score_masks(networks, part, quality, job.compute)
    assert said.shape == (2, 5, 1, 1)
    assert said.device.type == "cpu" and ((said >= 0) & (said <= 1)).all()
    images, targets = open_array(part.images), open_array(part.targets)
    for place, row in enumerate(part.indices):
        alone = score_candidates(
            networks,
            images[[part.image_row(row)]],
            torch.from_numpy(targets[[row]]),
            quality,
            job.compute,
        )
        torch.testing.assert_close(said[:, place : place + 1], alone, rtol=0, atol=1e-6)
    assert not torch.equal(said[0], said[1])


def test_masks_are_scored_blocked_and_without_copies(scorers, tmp_path: Path) -> None:
    job, _ = scorers
    part, echo = job.samples[0], Echo()
    inconsistent = np.zeros((16, 1, 32, 32), np.uint8)
    inconsistent[:, :, :, 13:] = 1
    np.save(tmp_path / "inconsistent.npy", inconsistent)
    copies = Copies(count=4, strength=STRENGTH_SCHEDULES["default"][-1], rotate=True, seed=3)
    part = replace(part, inconsistent=tmp_path / "inconsistent.npy", copies=copies)
    said = score_masks([echo], part, quality_of(job), job.compute)
    (images, masks), blocked = echo.seen[0], np.load(part.targets)[:, :, :, :13]
    assert masks.shape == (16, 1, 32, 32)
    assert (images[..., 13:] == 0).all() and images[..., :13].any()
    np.testing.assert_allclose(
        said[0, :, 0, 0], (blocked.sum(axis=(1, 2, 3)) / 1024).clip(1e-6), rtol=1e-3
    )


def test_many_masks_are_scored_in_batches_and_it_is_told(scorers) -> None:
    job, networks = scorers
    part = replace(job.samples[0], indices=tuple(range(16)) * 3)
    told = []
    said = score_masks(
        networks,
        part,
        quality_of(job),
        job.compute,
        progress=lambda done, of: told.append((done, of)),
    )
    assert told == [(32, 48), (48, 48)]
    torch.testing.assert_close(said[:, :16], said[:, 32:], rtol=0, atol=1e-6)


def test_without_masks_there_is_nothing_to_score(scorers) -> None:
    job, networks = scorers
    with pytest.raises(ValueError, match="nothing to score"):
        score_masks(networks, replace(job.samples[0], indices=()), quality_of(job), job.compute)
