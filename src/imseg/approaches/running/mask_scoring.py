"""How good the pseudo-labels of a part are: what mask scorers say, or what the truth says."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from imseg.approaches.planning.duration import SCORERS
from imseg.approaches.running.context import RunContext
from imseg.approaches.running.stage import LITTLE, Stage, calibration_in_words
from imseg.approaches.runs.run_files import Judgment
from imseg.components import amplification, consensus, labeling
from imseg.components import scorer_samples as samples
from imseg.components.votes import BestProposal
from imseg.data.cache.store import gather, open_array
from imseg.engine.inference.evaluator import rank_correlation
from imseg.engine.inference.predictor import BATCH, score_masks
from imseg.engine.loading.samples import Copies, SampleSet
from imseg.engine.training import seeds
from imseg.engine.training.job import Trained
from imseg.tasks import Task
from imseg.tasks.quality import Quality, quality_for


@dataclass(frozen=True)
class LabelQuality:
    """How good pseudo-labels are, by mask scorers or by the hidden truth."""

    thresholds: tuple[float, float]
    """The scores above which a mask is good, and very good."""
    found: Float[Tensor, "b"]
    """The mean IoU of each label: what mask scorers expect, or what it is."""

    def scores(self) -> Float[Tensor, "b"]:
        """Return the mean IoU of each label."""
        return self.found


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
    made = labeling.pseudo_label(
        validation.images,
        validation.digest,
        ask=labeling.ask_teachers(
            validation.images,
            teacher_batch_for=context.teacher_batches(teachers, lambda row: row),
            labeler=labeler,
            select=consensus.Everything(),
            task=context.task,
        ),
        block=labeler.block,
        task=context.task,
        folder=context.folder.cache / "scorers" / "consensus",
        progress=context.working("consensus on validation images"),
    )
    return replace(made.part, indices=validation.indices)


class MaskScoring:
    """Trains the mask scorers of a run and asks them.

    Args:
        context: What everything is made with.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._further: Stage | None = None
        self._scorers: Stage | None = None

    def begin(self, start: Stage) -> None:
        """Train the mask scorers of a run, if its approach has any, after its start."""
        context, facts, approach = self._context, self._context.facts, self._context.approach
        if approach.scorer is None:
            return
        if not amplification.enough_for_scorers(facts.labeled, facts.validation):
            context.note(
                f"{approach.name}: {facts.labeled} labeled and {facts.validation} validation images"
                f" are too few to train mask scorers ({amplification.LEAST_LABELED} and"
                f" {amplification.LEAST_VALIDATION} are needed), so every image gets one copy.",
                warning=True,
            )
            return
        if approach.scorer_start is not None:
            self._further = context.from_labels("scorer-start", approach.scorer_start, least=1)
        said = context.folder.judgment.exists()  # else it is found anew
        earlier = context.finished("scorers") if said else None
        self._scorers = earlier or self._train(approach.scorer, start)

    @cached_property
    def bench(self) -> consensus.ScorerGroup | None:
        """The mask scorers and when they are content; None where there are none."""
        return self._context.scorer_group(self.asked) if self.asked else None

    @property
    def asked(self) -> tuple[Trained, ...]:
        """The mask scorers that are asked, best first; none where there are none."""
        return () if self._scorers is None else self._scorers.ranked[: self._most_asked]

    def appraisal(self, part: SampleSet) -> LabelQuality | None:
        """Return how good the pseudo-labels of a part are; None where it is not known.

        Raises:
            ValueError: If the truth is to say it and there are no hidden masks.
        """
        context, augment, bench = self._context, self._context.approach.amplification, self.bench
        if augment is not None and augment.needs_truth:
            hidden = context.data.hidden
            if hidden is None:
                raise ValueError("the oracle needs the hidden masks")
            return LabelQuality(self._oracle_thresholds, true_scores(context.task, part, hidden))
        if bench is None:
            return None
        scored = score_masks(
            bench.scorers,
            # As mask scorers have learned: black in image and 0 in mask, whatever students see.
            replace(part, blocks_input=True, blocks_output=True, block_color="black"),
            bench.quality,
            context.plan.whole_machine,
            progress=context.working("scoring masks"),
        )
        return LabelQuality(bench.thresholds, bench.quality.score(scored, amplification=True))

    @cached_property
    def _oracle_thresholds(self) -> tuple[float, float]:
        """The thresholds of one who knows the truth."""
        context = self._context
        if context.approach.thresholds is not None:
            return context.approach.thresholds
        part = consensus_on_validation(context, context.done[0])
        scores = true_scores(context.task, part, context.data.validation)
        return amplification.thresholds_from(scores)

    @cached_property
    def _quality(self) -> Quality:
        """How masks are scored."""
        return quality_for(self._context.task)

    @property
    def _most_asked(self) -> int:
        """How many of the best mask scorers are asked."""
        labeler = self._context.approach.pseudo_label
        return labeler.scorers if isinstance(labeler, BestProposal) else self._context.plan.teachers

    def _train(self, scorer: amplification.MaskScorer, start: Stage) -> Stage:
        """Return the mask scorers, trained now."""
        context = self._context
        with context.clock.on(SCORERS):
            learned, validation = self._samples(scorer, start)
        jobs = context.jobs("scorers", learned, validation=validation)
        stage = context.train("scorers", jobs, least=self._most_asked)
        if context.approach.carry:
            # What is scored are predictions; the last samples of validation are the truth itself.
            predictions = validation.indices[: -len(context.data.validation.indices)]
            validation = replace(validation, indices=predictions)
        with context.clock.on(SCORERS):
            thresholds = self._thresholds(stage, validation, start)
            judgment = self._calibration(stage, validation, thresholds=thresholds)
        judgment.write(context.folder.judgment)
        self._tell(judgment)
        return context.finish(stage)

    def _tell(self, judgment: Judgment) -> None:
        """Say how far mask scorers can be trusted."""
        warning = judgment.rank_correlation < LITTLE
        self._context.note(calibration_in_words(judgment.as_dict()), warning=warning)

    def _samples(
        self, scorer: amplification.MaskScorer, start: Stage
    ) -> tuple[tuple[SampleSet, ...], SampleSet]:
        """Return what mask scorers learn from, and what they are chosen by."""
        context, plan = self._context, self._context.plan
        copies = Copies(count=1, strength=plan.strengths.scorer_samples, rotate=False, seed=0)
        consensus, made = scorer.learns_from == "consensus", []
        for split, part in (("labeled", context.data.labeled), ("val", context.data.validation)):
            chosen = split == "val"
            folder = context.folder.cache / "scorers" / split
            networks = start.ranked
            if not consensus:
                most = scorer.networks_validation if chosen else None
                further = self._further.ranked if self._further else ()
                networks = (*networks[:most], *further[:most])
            given: dict[str, Any] = {
                "task": context.task,
                "quality": self._quality,
                "seed": seeds.derive(plan.seed, "judge samples", split),
                "copies": copies,
                "folder": folder,
                "augmented_share": 0.5 if consensus and not chosen else 0.0,
            }
            if consensus:
                given["rounds"] = scorer.rounds_validation if chosen else scorer.rounds
            make = samples.consensus_samples if consensus else samples.prediction_samples
            made.append(make(self._hard_predictions(networks, part, folder), part, **given))
        return made[0], made[1][0]

    def _hard_predictions(self, networks: Sequence[Trained], part: SampleSet, folder: Path) -> Path:
        """Return what networks say about the images of a part."""
        context = self._context
        return samples.store_hard_predictions(
            context.load(networks),
            part.images,
            [part.image_row(index) for index in part.indices],
            task=context.task,
            compute=context.plan.whole_machine,
            moves=context.plan.teacher_moves,  # as they will see what is scored later
            path=folder / "predictions.npy",
            progress=context.working("what mask scorers learn from"),
        )

    def _calibration(
        self, stage: Stage, validation: SampleSet, *, thresholds: tuple[float, float]
    ) -> Judgment:
        """Return how far mask scorers are from the truth together, on validation samples."""
        said = self._said(stage, validation).numpy()
        if validation.qualities is None:
            raise ValueError("validation samples of mask scorers have qualities")
        wanted = gather(open_array(validation.qualities), np.array(validation.indices))
        for_copies = not self._context.approach.carry
        true = self._quality.score(torch.from_numpy(wanted)[None], amplification=for_copies).numpy()
        return Judgment(
            samples=len(said),
            mae=float(np.abs(said - true).mean()),
            rank_correlation=rank_correlation(said, true),
            said=tuple(round(float(value), 4) for value in said),
            true=tuple(round(float(value), 4) for value in true),
            thresholds=thresholds,
        )

    def _thresholds(self, stage: Stage, validation: SampleSet, start: Stage) -> tuple[float, float]:
        """Return the scores above which a mask is good, and very good."""
        context = self._context
        if context.approach.thresholds is not None:
            return context.approach.thresholds
        part = validation if context.approach.carry else consensus_on_validation(context, start)
        return amplification.thresholds_from(self._said(stage, part))

    def _said(self, stage: Stage, part: SampleSet) -> Float[Tensor, "b"]:
        """Return the scores that the best mask scorers of a stage give together."""
        scorers = self._context.load(stage.ranked[: self._most_asked])
        scored = score_masks(scorers, part, self._quality, self._context.plan.whole_machine)
        return self._quality.score(scored, amplification=not self._context.approach.carry)
