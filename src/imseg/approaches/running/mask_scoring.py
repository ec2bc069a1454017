"""How good the pseudo-labels of a part are: what mask scorers say, or what the truth says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from imseg.approaches.methods.approach import Approach
from imseg.approaches.planning.duration import SCORERS
from imseg.approaches.planning.plan import Plan
from imseg.approaches.running.context import RunContext
from imseg.approaches.running.stage import LITTLE, Stage, calibration_in_words
from imseg.approaches.runs.run_files import Judgment
from imseg.components.amplification import (
    LEAST_LABELED,
    LEAST_VALIDATION,
    Appraisal,
    MaskScorer,
    enough_for_scorers,
    thresholds_from,
)
from imseg.components.consensus import Everything, ScorerGroup, TeacherBatch
from imseg.components.labeling import pseudo_label
from imseg.components.scorer_samples import (
    consensus_samples,
    prediction_samples,
    store_hard_predictions,
)
from imseg.components.votes import BestProposal
from imseg.data.cache.store import gather, open_array
from imseg.engine.inference.evaluator import rank_correlation
from imseg.engine.inference.predictor import BATCH, score_masks
from imseg.engine.loading.samples import Copies, SampleSet
from imseg.engine.training import seeds
from imseg.engine.training.job import Trained
from imseg.tasks import Metric, Task
from imseg.tasks.quality import Quality, quality_for
from imseg.types import Bytes


@dataclass(frozen=True)
class ScoredQuality:
    """What mask scorers say about pseudo-labels."""

    context: RunContext
    """Told how the work goes on."""
    part: SampleSet
    """The pseudo-labels."""
    bench: ScorerGroup
    """The mask scorers."""

    @property
    def thresholds(self) -> tuple[float, float]:
        """The scores above which a mask is good, and very good."""
        return self.bench.thresholds

    def scores(self) -> Float[Tensor, "b"]:
        """Return the mean IoU that the mask scorers expect."""
        context, bench = self.context, self.bench
        scored = score_masks(
            bench.scorers,
            # As mask scorers have learned: black in image and 0 in mask, whatever students see.
            replace(self.part, blocks_input=True, blocks_output=True, block_color="black"),
            bench.quality,
            context.plan.whole_machine,
            progress=lambda done, total: context.working("scoring masks", done, total),
        )
        return bench.quality.score(scored, amplification=True)


@dataclass(frozen=True)
class TrueQuality:
    """What the hidden truth says about pseudo-labels: for the oracle alone."""

    context: RunContext
    """Has the hidden masks."""
    part: SampleSet
    """The pseudo-labels."""
    thresholds: tuple[float, float]
    """The scores above which a mask is good, and very good."""

    def scores(self) -> Float[Tensor, "b"]:
        """Return the true mean IoU.

        Raises:
            ValueError: If there are no hidden masks.
        """
        hidden = self.context.data.hidden
        if hidden is None:
            raise ValueError("the oracle needs the hidden masks")
        return true_scores(self.context.task, self.part, hidden)


def true_scores(task: Task, part: SampleSet, truth: SampleSet) -> Float[Tensor, "b"]:
    """Return the true mean IoU of the used pseudo-labels of a part, the truth blanked in the mask.

    Args:
        task: What a pixel is.
        part: Pseudo-labels with their masks, row by row as the truth.
        truth: Where the true targets of the same images are.
    """
    quality = quality_for(task)
    labels, targets = open_array(part.targets), open_array(truth.targets)
    masks = open_array(part.inconsistent) if part.inconsistent is not None else None
    found = []
    for start in range(0, len(part.indices), BATCH):
        rows = np.array(part.indices[start : start + BATCH])
        here = torch.from_numpy(gather(labels, rows))
        blocked = torch.zeros_like(here[:, :1], dtype=torch.bool)
        if masks is not None:
            blocked = torch.from_numpy(gather(masks, rows)).bool()
        found.append(quality.true_score(here, blocked, torch.from_numpy(gather(targets, rows))))
    return torch.cat(found)


def consensus_on_validation(context: RunContext, start: Stage) -> SampleSet:
    """Return what the best start networks agree on about the validation images, all of them used.

    Args:
        context: What everything is made with.
        start: Whose networks are asked.
    """
    labeler, validation = context.approach.pseudo_label, context.data.validation
    if labeler is None:
        raise ValueError(f"{context.approach.name} makes no pseudo-labels")
    teachers = context.load(start.ranked[: labeler.teachers])

    def seat(first: int, images: Bytes) -> TeacherBatch:
        return TeacherBatch(
            task=context.task,
            teachers=teachers,
            images=images,
            compute=context.plan.whole_machine,
            seeds=tuple(range(first, first + len(images))),
            strength=context.plan.strengths.views,
            rotate=context.plan.rotate,
        )

    made = pseudo_label(
        validation.images,
        validation.digest,
        teacher_batch_for=seat,
        labeler=labeler,
        select=Everything(),
        task=context.task,
        folder=context.folder.cache / "scorers" / "consensus",
        progress=lambda done, total: context.working("consensus on validation images", done, total),
    )
    return replace(made.part, indices=validation.indices)


BY_ERROR = Metric(key="iou_error", label="IoU error", higher_is_better=False)
"""What mask scorers are ranked by."""
BY_LOSS = Metric(key="loss", label="loss", higher_is_better=False)
"""The same where the paper does it so."""


def scorers_metric(plan: Plan) -> Metric:
    """Return what the mask scorers of a plan are ranked by."""
    ranked_by = plan.paper_settings.scorers_ranked_by if plan.paper_settings else {}
    return BY_LOSS if ranked_by.get(plan.approach.name) == "loss" else BY_ERROR


class MaskScoring:
    """Trains the mask scorers of a run and asks them.

    Args:
        context: What everything is made with.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._start: Stage | None = None
        self._further: Stage | None = None
        self._scorers: Stage | None = None

    @property
    def trained(self) -> list[Stage]:
        """The stages that were trained for judging."""
        return [stage for stage in (self._further, self._scorers) if stage is not None]

    def begin(self, start: Stage) -> None:
        """Train the mask scorers of a run, if its approach has any, after its start."""
        self._start = start
        scorer = self._context.approach.scorer
        if scorer is None or not self.possible:
            return
        by = scorers_metric(self._context.plan)
        further = self._context.approach.scorer_start
        if further is not None:
            self._further = self._train_further(further, start)
        said = self._context.folder.judgment.exists()  # else it is found anew
        self._scorers = (said and self._context.finished("scorers", by)) or self._train(
            scorer, start, by
        )

    @cached_property
    def possible(self) -> bool:
        """Whether there are enough labels to train mask scorers; says so where there are not."""
        facts, name = self._context.facts, self._context.approach.name
        if enough_for_scorers(facts.labeled, facts.validation):
            return True
        self._context.note(
            f"{name}: {facts.labeled} labeled and {facts.validation} validation images are too few"
            f" to train mask scorers ({LEAST_LABELED} and {LEAST_VALIDATION} are needed), so"
            " every image gets one copy.",
            warning=True,
        )
        return False

    def bench(self) -> ScorerGroup | None:
        """Return the mask scorers and when they are content; None where there are none."""
        return None if self._scorers is None else self._bench

    @cached_property
    def _bench(self) -> ScorerGroup:
        if self._scorers is None:
            raise ValueError("there are no mask scorers")
        judgment = Judgment.read(self._context.folder.judgment)
        scorers = self._context.load(self._scorers.ranked[: self._asked])
        return ScorerGroup(
            scorers=scorers, quality=quality_for(self._context.task), thresholds=judgment.thresholds
        )

    def appraisal(self, part: SampleSet) -> Appraisal | None:
        """Return how good the pseudo-labels of a part are; None where it is not known."""
        context, augment = self._context, self._context.approach.amplification
        if augment is not None and augment.needs_truth:
            return TrueQuality(context, part, self._oracle_thresholds)
        bench = self.bench()
        return None if bench is None else ScoredQuality(context, part, bench)

    @cached_property
    def _oracle_thresholds(self) -> tuple[float, float]:
        """The thresholds of one who knows the truth."""
        context = self._context
        if context.approach.thresholds is not None:
            return context.approach.thresholds
        if self._start is None:
            raise ValueError("thresholds come from what start networks say")
        part = consensus_on_validation(context, self._start)
        return thresholds_from(true_scores(context.task, part, context.data.validation))

    @property
    def _asked(self) -> int:
        """How many of the best mask scorers are asked."""
        labeler = self._context.approach.pseudo_label
        return labeler.scorers if isinstance(labeler, BestProposal) else self._context.plan.teachers

    def _train_further(self, further: Approach, start: Stage) -> Stage:
        """Return networks of another kind whose predictions mask scorers learn from as well."""
        context, name = self._context, "scorer-start"
        metric = context.task.metric
        earlier = context.finished(name, metric)
        if earlier is not None:
            return earlier
        jobs = context.jobs(name, context.labels_of(further))
        stage = context.train(name, jobs, metric=metric, least=1, before=start.steps)
        return context.finish(stage)

    def _train(self, scorer: MaskScorer, start: Stage, by: Metric) -> Stage:
        """Return the mask scorers, trained now."""
        context = self._context
        with context.clock.on(SCORERS):
            samples, validation = self._samples(scorer, start)
        quality = quality_for(context.task)
        jobs = context.jobs("scorers", samples, validation=validation)
        before = start.steps + (self._further.steps if self._further else 0)
        stage = context.train("scorers", jobs, metric=by, least=self._asked, before=before)
        if context.approach.carry:
            # What is scored are predictions; the last samples of validation are the truth itself.
            predictions = validation.indices[: -len(context.data.validation.indices)]
            validation = replace(validation, indices=predictions)
        with context.clock.on(SCORERS):
            thresholds = self._thresholds(stage, validation, start, quality)
            judgment = self._calibration(stage, validation, quality, thresholds=thresholds)
        judgment.write(context.folder.judgment)
        self._tell(judgment)
        return context.finish(stage)

    def _tell(self, judgment: Judgment) -> None:
        """Say how far mask scorers can be trusted."""
        warning = judgment.rank_correlation < LITTLE
        self._context.note(calibration_in_words(judgment.as_dict()), warning=warning)

    def _samples(self, scorer: MaskScorer, start: Stage) -> tuple[tuple[SampleSet, ...], SampleSet]:
        """Return what mask scorers learn from, and what they are chosen by."""
        context, plan = self._context, self._context.plan
        copies = Copies(count=1, strength=plan.strengths.scorer_samples, rotate=False, seed=0)
        made = []
        for split, part in (("labeled", context.data.labeled), ("val", context.data.validation)):
            chosen = split == "val"
            seed = seeds.derive(plan.seed, "judge samples", split)
            folder = context.folder.cache / "scorers" / split
            most = scorer.networks_validation if chosen else None
            networks = [*start.ranked[:most]]
            if self._further is not None:
                networks += self._further.ranked[:most]
            if scorer.learns_from == "consensus":
                networks = [*start.ranked]
            hard_predictions = self._hard_predictions(networks, part, folder)
            quality = quality_for(context.task)
            if scorer.learns_from == "consensus":
                rounds = scorer.rounds_validation if chosen else scorer.rounds
                made.append(
                    consensus_samples(
                        hard_predictions,
                        part,
                        task=context.task,
                        quality=quality,
                        rounds=rounds,
                        seed=seed,
                        copies=copies,
                        folder=folder,
                        augmented_share=0.0 if chosen else 0.5,
                    )
                )
            else:
                made.append(
                    prediction_samples(
                        hard_predictions,
                        part,
                        task=context.task,
                        quality=quality,
                        seed=seed,
                        copies=copies,
                        folder=folder,
                        augmented_share=0.0,
                    )
                )
        return made[0], made[1][0]

    def _hard_predictions(self, networks: Sequence[Trained], part: SampleSet, folder: Path) -> Path:
        """Return what networks say about the images of a part."""
        context = self._context
        return store_hard_predictions(
            context.load(networks),
            part.images,
            [part.image_row(index) for index in part.indices],
            task=context.task,
            compute=context.plan.whole_machine,
            path=folder / "ballots.npy",
            progress=lambda d, t: context.working("what mask scorers learn from", d, t),
        )

    def _calibration(
        self,
        stage: Stage,
        validation: SampleSet,
        quality: Quality,
        *,
        thresholds: tuple[float, float],
    ) -> Judgment:
        """Return how far mask scorers are from the truth together, on validation samples."""
        scorers = self._context.load(stage.ranked[: self._asked])
        scored = score_masks(scorers, validation, quality, self._context.plan.whole_machine)
        amplification = not self._context.approach.carry
        said = quality.score(scored, amplification=amplification).numpy()
        if validation.qualities is None:
            raise ValueError("validation samples of mask scorers have qualities")
        wanted = gather(open_array(validation.qualities), np.array(validation.indices))
        true = quality.score(torch.from_numpy(wanted)[None], amplification=amplification).numpy()
        return Judgment(
            samples=len(said),
            mae=float(np.abs(said - true).mean()),
            rank_correlation=rank_correlation(said, true),
            said=tuple(round(float(value), 4) for value in said),
            true=tuple(round(float(value), 4) for value in true),
            thresholds=thresholds,
        )

    def _thresholds(
        self, stage: Stage, validation: SampleSet, start: Stage, quality: Quality
    ) -> tuple[float, float]:
        """Return the scores above which a mask is good, and very good."""
        context = self._context
        if context.approach.thresholds is not None:
            return context.approach.thresholds
        scorers = context.load(stage.ranked[: self._asked])
        part = validation if context.approach.carry else consensus_on_validation(context, start)
        scored = score_masks(scorers, part, quality, context.plan.whole_machine)
        return thresholds_from(quality.score(scored, amplification=not context.approach.carry))
