"""A run in which nothing is trained: every job that a plan leads to, with made-up scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.running.context import RunContext
from imseg.approaches.running.generations import Generations, PseudoLabeler, PseudoLabelResult
from imseg.approaches.running.mask_scoring import MaskScoring
from imseg.approaches.running.run_data import RunData
from imseg.approaches.running.stage import EarlyStopping, Stage, rank
from imseg.approaches.runs.run_files import Judgment
from imseg.components import scorer_samples
from imseg.components.labeling import PseudoLabels
from imseg.data.cache.store import Stored
from imseg.engine.loading.samples import SampleSet
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.training.job import Trained, TrainJob
from imseg.engine.workers.executors import Serial
from imseg.networks.registry import UNetConfig
from imseg.tasks import Metric, task_for
from imseg.types import TargetSpec

NOWHERE = Path("nowhere")

ISIC = Facts(
    task="binary",
    labeled=259,
    validation=100,
    unlabeled=2335,
    channels=3,
    outputs=1,
    typical_size=(256, 256),
)
HELA = replace(ISIC, task="multilabel", labeled=200, unlabeled=1800, channels=1, outputs=3)
SUIM = replace(ISIC, task="multiclass", labeled=138, unlabeled=1234, validation=153, outputs=9)
CITYSCAPES = replace(
    SUIM, labeled=297, unlabeled=2678, validation=250, outputs=35, typical_size=(1024, 2048)
)


def trained(name: str, *, metric: Metric, score: float, steps: int = 1, **more: Any) -> Trained:
    """Return a network that was never trained and has a score."""
    fields: dict[str, Any] = {"images": 1, "epochs": 1, "best_epoch": 1, "parameters": 1}
    fields |= {"network": UNetConfig(), "channels": 3, "outputs": 1}
    fields |= {"seed": 0, "flops": 1.0, "seconds": 1.0, "epoch_scores": (score,), "losses": (1.0,)}
    scores = {metric.key: score}
    return Trained(
        **{**fields, "name": name, "job": name, "steps": steps, "scores": scores, **more}
    )


def spec_of(facts: Facts) -> TargetSpec:
    """Return what masks mean in data of this kind, with as many classes as there are outputs."""
    if facts.task == "multiclass":
        names = tuple(f"class {number}" for number in range(facts.outputs - 1))
    elif facts.task == "multilabel":
        names = ("alive", "dead", "position")
    else:
        names = ("depth",) if facts.task == "regression" else ("background", "lesion")
    return TargetSpec(
        kind=facts.task,
        coding={"multilabel": "planes", "regression": "numbers"}.get(facts.task, "values"),
        values=tuple(range(len(names))) if facts.task in ("binary", "multiclass") else (),
        names=names,
        colors=tuple((number, 0, 0) for number in range(len(names))),
    )


def part_of(name: str, count: int, **more: Any) -> SampleSet:
    """Return a part without any pictures."""
    indices = tuple(range(count))
    return SampleSet(images=NOWHERE, targets=NOWHERE, digest=name, indices=indices, **more)


@dataclass(frozen=True)
class MadeUp:
    """Says the same of every label: how good it is between ``low`` 0.2 and ``high`` 0.7."""

    images: int
    score: float
    thresholds: tuple[float, float] = (0.2, 0.7)

    def scores(self) -> Tensor:
        return torch.full((self.images,), self.score, dtype=torch.double)


@dataclass(frozen=True, kw_only=True)
class Rehearsal(RunContext):
    """A run context that notes jobs instead of training them."""

    jobs_of: dict[str, list[TrainJob]] = field(default_factory=dict)
    """The jobs of each stage."""
    metrics: dict[str, Metric] = field(default_factory=dict)
    """What the networks of each stage are ranked by."""
    teacher_of: dict[int, str] = field(default_factory=dict)
    """The stage that teaches each generation."""
    asked: list[tuple[str, list[str], dict[str, Any]]] = field(default_factory=list)
    """What samples of mask scorers were made with: the kind, which networks said it, and how."""
    notes: list[str] = field(default_factory=list)
    """What the user was told."""
    lost: Mapping[tuple[int, str], str] = field(default_factory=dict)
    """What is wrong with the labels that a stage makes for a generation."""
    merits: Mapping[str, float] = field(default_factory=dict)
    """The score of every network of a stage."""
    score: float = 1.0
    """How good every pseudo-label is."""
    admits: int | None = None
    """How many unlabeled images are admitted; None for all."""

    def note(self, text: str, *, warning: bool = False) -> None:
        self.notes.append(text)

    def load(self, networks: Sequence[Trained]) -> list[nn.Module]:
        return [nn.Identity() for _ in networks]

    def finished(self, name: str) -> Stage | None:
        return None

    def train(self, name: str, jobs: Sequence[TrainJob], **_: Any) -> Stage:
        metric = self.metric(name)
        self.jobs_of[name], self.metrics[name] = list(jobs), metric
        score = self.merits.get(name, 0.5)
        networks = [
            trained(job.name, metric=metric, score=score, steps=job.steps, network=job.network)
            for job in jobs
        ]
        return rank(name, networks, metric=metric)

    def finish(self, stage: Stage) -> Stage:
        return stage


class RehearsedScoring(MaskScoring):
    """Trains mask scorers in a rehearsal, which say of every label what the rehearsal wants."""

    def _hard_predictions(self, networks, part, folder):
        self.said_by = [network.name for network in networks]
        return folder / "predictions.npy"

    def _samples(self, scorer, start):
        context = self._context

        def noted(kind):
            def samples(hard_predictions, images, **options):
                context.asked.append((kind, self.said_by, options))
                rounds = options.get("rounds", len(self.said_by) + 1)
                return (part_of("samples", rounds * len(images.indices)),)

            return samples

        with patch.multiple(
            scorer_samples,
            consensus_samples=noted("consensus"),
            prediction_samples=noted("predictions"),
        ):
            return super()._samples(scorer, start)

    def _calibration(self, stage, validation, *, thresholds):
        pair = {"said": (0.5,), "true": (0.5,)}
        return Judgment(samples=1, mae=0.0, rank_correlation=1.0, thresholds=thresholds, **pair)

    def _thresholds(self, stage, validation, start):
        return self._context.approach.thresholds or (0.5, 0.9)

    def _tell(self, words):
        pass

    def appraisal(self, part):
        if not self._context.approach.sees_truth and self.bench is None:
            return None
        return MadeUp(len(part.indices), self._context.score)


class RehearsedLabeler(PseudoLabeler):
    """Admits as many images as the rehearsal wants."""

    def _by(self, teaching, number, stages, *, watched):
        context = self.context
        context.teacher_of[number] = teaching.name
        images = context.facts.unlabeled
        part = part_of("pseudo", images if context.admits is None else context.admits)
        made = PseudoLabels(part=part, images=images, inconsistent_share=0.0)
        return PseudoLabelResult(labels=made, lost=context.lost.get((number, teaching.name), ""))


def context_of(plan: Plan, facts: Facts, *, folder: Path, **wanted: Any) -> Rehearsal:
    """Return a run context in which nothing is trained."""
    approach = plan.approach
    unlabeled = Stored(
        images=NOWHERE,
        targets=None,
        index=NOWHERE,
        digest="unlabeled",
        names=tuple(str(number) for number in range(facts.unlabeled)),
        decoded=0,
        reused=0,
    )
    return Rehearsal(
        plan=plan,
        task=task_for(spec_of(facts), paper=plan.paper),
        facts=facts,
        data=RunData(
            labeled=part_of("labeled", facts.labeled),
            validation=part_of("validation", facts.validation),
            unlabeled=unlabeled,
            hidden=part_of("hidden", facts.unlabeled) if approach.sees_truth else None,
        ),
        folder=RunFolder(folder),
        executor=Serial(),
        progress=lambda event: None,
        **wanted,
    )


def rehearse(plan: Plan, facts: Facts, *, folder: Path, **wanted: Any) -> Rehearsal:
    """Return a run in which nothing was trained.

    Args:
        plan: What to do.
        facts: What the data is like.
        folder: Where a few small files go.
        wanted: ``merits``, ``score``, ``lost`` and ``admits`` of the rehearsal.
    """
    context = context_of(plan, facts, folder=folder, **wanted)
    generations = Generations(context)
    generations._mask_scoring = RehearsedScoring(context)
    generations._labeler = RehearsedLabeler(
        context, generations._mask_scoring, EarlyStopping(plan.approach.patience)
    )
    generations.run()
    return context
