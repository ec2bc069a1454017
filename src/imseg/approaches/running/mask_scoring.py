"""How good the pseudo-labels of a part are: what judges say, or what the truth says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from imseg.approaches.methods.approach import Approach
from imseg.approaches.planning.duration import JUDGES
from imseg.approaches.planning.plan import Plan
from imseg.approaches.running.announce import LITTLE, calibration_in_words
from imseg.approaches.running.context import Workshop
from imseg.approaches.running.stage import Stage
from imseg.approaches.runs.forms import read_form
from imseg.components.amplification import (
    LEAST_LABELED,
    LEAST_VALIDATION,
    Appraisal,
    Judge,
    enough_for_judges,
    thresholds_from,
)
from imseg.components.consensus import Bench, Panel
from imseg.components.labeling import pseudo_label
from imseg.components.proposals import BestProposal
from imseg.components.scorer_samples import consensus_samples, prediction_samples, store_ballots
from imseg.components.selection import Everything
from imseg.data.cache.store import gather, open_array
from imseg.engine.inference.bootstrap import rank_correlation
from imseg.engine.inference.mask_scorer import judge_masks
from imseg.engine.inference.predictor import BATCH
from imseg.engine.storage.sealed import write_json
from imseg.engine.training import seeds
from imseg.engine.training.job import Job, NetworkSpec, Trained
from imseg.engine.training.sample_set import Copies, Part
from imseg.tasks import Metric, Task
from imseg.tasks.quality import Quality, quality_for
from imseg.types import Bytes


@dataclass(frozen=True)
class JudgedQuality:
    """What judges say about pseudo-labels."""

    workshop: Workshop
    """Told how the work goes on."""
    part: Part
    """The pseudo-labels."""
    bench: Bench
    """The judges."""

    @property
    def thresholds(self) -> tuple[float, float]:
        """The scores above which a mask is good, and very good."""
        return self.bench.thresholds

    def scores(self) -> Float[Tensor, "b"]:
        """Return the mean IoU that the judges expect."""
        shop, bench = self.workshop, self.bench
        judged = judge_masks(
            bench.judges,
            # As judges have learned: black in image and 0 in mask, whatever students see.
            replace(self.part, blocks_input=True, blocks_output=True, block_color="black"),
            bench.quality,
            shop.plan.whole_machine,
            progress=lambda done, total: shop.working("judging masks", done, total),
        )
        return bench.quality.score(judged, amplification=True)


@dataclass(frozen=True)
class TrueQuality:
    """What the hidden truth says about pseudo-labels: for the oracle alone."""

    workshop: Workshop
    """Has the hidden masks."""
    part: Part
    """The pseudo-labels."""
    thresholds: tuple[float, float]
    """The scores above which a mask is good, and very good."""

    def scores(self) -> Float[Tensor, "b"]:
        """Return the true mean IoU.

        Raises:
            ValueError: If there are no hidden masks.
        """
        hidden = self.workshop.material.hidden
        if hidden is None:
            raise ValueError("the oracle needs the hidden masks")
        return true_scores(self.workshop.task, self.part, hidden)


def true_scores(task: Task, part: Part, truth: Part) -> Float[Tensor, "b"]:
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


def consensus_on_validation(shop: Workshop, start: Stage) -> Part:
    """Return what the best start networks agree on about the validation images, all of them used.

    Args:
        shop: What everything is made with.
        start: Whose networks are asked.
    """
    labeler, validation = shop.approach.pseudo_label, shop.material.validation
    if labeler is None:
        raise ValueError(f"{shop.approach.name} makes no pseudo-labels")
    teachers = shop.load(start.ranked[: labeler.teachers])

    def seat(first: int, images: Bytes) -> Panel:
        return Panel(
            task=shop.task,
            teachers=teachers,
            images=images,
            numerics=shop.plan.whole_machine,
            seeds=tuple(range(first, first + len(images))),
            strength=shop.plan.strengths.views,
            rotate=shop.plan.rotate,
        )

    made = pseudo_label(
        validation.images,
        validation.digest,
        panel_for=seat,
        labeler=labeler,
        select=Everything(),
        task=shop.task,
        folder=shop.folder.cache / "judges" / "consensus",
        progress=lambda done, total: shop.working("consensus on validation images", done, total),
    )
    return replace(made.part, indices=validation.indices)


BY_ERROR = Metric(key="iou_error", label="IoU error", higher_is_better=False)
"""What judges are ranked by."""
BY_LOSS = Metric(key="loss", label="loss", higher_is_better=False)
"""The same where the paper does it so."""


def judges_metric(plan: Plan) -> Metric:
    """Return what the judges of a plan are ranked by."""
    ranked_by = plan.paper_settings.judges_ranked_by if plan.paper_settings else {}
    return BY_LOSS if ranked_by.get(plan.approach) == "loss" else BY_ERROR


class Judging:
    """Trains the judges of a run and asks them.

    Args:
        workshop: What everything is made with.
    """

    def __init__(self, workshop: Workshop) -> None:
        self._shop = workshop
        self._start: Stage | None = None
        self._further: Stage | None = None
        self._judges: Stage | None = None

    @property
    def trained(self) -> list[Stage]:
        """The stages that were trained for judging."""
        return [stage for stage in (self._further, self._judges) if stage is not None]

    def begin(self, start: Stage) -> None:
        """Train the judges of a run, if its approach has any, after its start."""
        self._start = start
        judge = self._shop.approach.judge
        if judge is None or not self.possible:
            return
        by = judges_metric(self._shop.plan)
        further = self._shop.approach.judge_start
        if further is not None:
            self._further = self._train_further(further, start)
        said = self._shop.folder.judgment.exists()  # else it is found anew, with the same judges
        self._judges = (said and self._shop.finished("judges", by)) or self._train(judge, start, by)

    @cached_property
    def possible(self) -> bool:
        """Whether there are enough labels to train judges; says so where there are not."""
        facts, name = self._shop.facts, self._shop.approach.name
        if enough_for_judges(facts.labeled, facts.validation):
            return True
        self._shop.note(
            f"{name}: {facts.labeled} labeled and {facts.validation} validation images are too few"
            f" to train judges of masks ({LEAST_LABELED} and {LEAST_VALIDATION} are needed), so"
            " every image gets one copy.",
            warning=True,
        )
        return False

    def bench(self) -> Bench | None:
        """Return the judges and when they are content; None where there are none."""
        return None if self._judges is None else self._bench

    @cached_property
    def _bench(self) -> Bench:
        if self._judges is None:
            raise ValueError("there are no judges")
        words = read_form(self._shop.folder.judgment)
        low, high = words["thresholds"]
        judges = self._shop.load(self._judges.ranked[: self._asked])
        return Bench(judges=judges, quality=quality_for(self._shop.task), thresholds=(low, high))

    def appraisal(self, part: Part) -> Appraisal | None:
        """Return how good the pseudo-labels of a part are; None where nobody can say."""
        shop, augment = self._shop, self._shop.approach.augment
        if augment is not None and augment.needs_truth:
            return TrueQuality(shop, part, self._oracle_thresholds)
        bench = self.bench()
        return None if bench is None else JudgedQuality(shop, part, bench)

    @cached_property
    def _oracle_thresholds(self) -> tuple[float, float]:
        """The thresholds of one who knows the truth."""
        shop = self._shop
        if shop.plan.thresholds is not None:
            return shop.plan.thresholds
        if self._start is None:
            raise ValueError("thresholds come from what start networks say")
        part = consensus_on_validation(shop, self._start)
        return thresholds_from(true_scores(shop.task, part, shop.material.validation))

    @property
    def _asked(self) -> int:
        """How many of the best judges are asked."""
        labeler = self._shop.approach.pseudo_label
        return labeler.judges if isinstance(labeler, BestProposal) else self._shop.plan.teachers

    def _train_further(self, further: Approach, start: Stage) -> Stage:
        """Return networks of another kind whose predictions judges learn from as well."""
        shop, name = self._shop, "judge-start"
        metric = shop.task.metric
        earlier = shop.finished(name, metric)
        if earlier is not None:
            return earlier
        parts = shop.labels_of(further)
        jobs = shop.jobs(
            name,
            further,
            parts,
            width=shop.plan.width,
            recipe=shop.plan.recipe,
            seeded_as="start",  # so that they are those of a run of that approach
        )
        stage = shop.train(name, jobs, metric=metric, least=1, before=start.steps)
        return shop.finish(stage)

    def _train(self, judge: Judge, start: Stage, by: Metric) -> Stage:
        """Return the judges, trained now."""
        shop, plan = self._shop, self._shop.plan
        with shop.clock.on(JUDGES):
            samples, validation = self._samples(judge, start)
        quality = quality_for(shop.task)
        network = NetworkSpec(
            channels=shop.facts.channels,
            outputs=quality.outputs,
            width=plan.judge_width,
            factory=quality.factory(plan.paper),
        )
        recipe = replace(plan.recipe, epochs=min(plan.epochs, judge.epochs))
        names = [f"judges/network-{number}" for number in range(plan.networks)]
        jobs = [
            Job(
                name=name,
                output=shop.folder.weights(name),
                parts=samples,
                validation=validation,
                target=shop.spec.as_dict(),
                network=network,
                recipe=shop.looked_at(recipe, samples, validation),
                numerics=plan.numerics,
                seed=seeds.derive(plan.seed, "judges", number),
            )
            for number, name in enumerate(names)
        ]
        before = start.steps + (self._further.steps if self._further else 0)
        stage = shop.train("judges", jobs, metric=by, least=self._asked, before=before)
        if shop.approach.carry:
            # What is judged are predictions; the last samples of validation are the truth itself.
            predictions = validation.indices[: -len(shop.material.validation.indices)]
            validation = replace(validation, indices=predictions)
        with shop.clock.on(JUDGES):
            words = self._calibration(stage, validation, quality)
            words["thresholds"] = list(self._thresholds(stage, validation, start, quality))
        write_json(shop.folder.judgment, words)
        self._tell(words)
        return shop.finish(stage)

    def _tell(self, words: dict[str, Any]) -> None:
        """Say how far judges can be trusted."""
        self._shop.note(calibration_in_words(words), warning=words["rank_correlation"] < LITTLE)

    def _samples(self, judge: Judge, start: Stage) -> tuple[tuple[Part, ...], Part]:
        """Return what judges learn from, and what they are chosen by."""
        shop, plan = self._shop, self._shop.plan
        copies = Copies(count=1, strength=plan.strengths.judge_samples, rotate=False, seed=0)
        made = []
        for split, part in (("labeled", shop.material.labeled), ("val", shop.material.validation)):
            chosen = split == "val"
            seed = seeds.derive(plan.seed, "judge samples", split)
            folder = shop.folder.cache / "judges" / split
            most = judge.networks_validation if chosen else None
            networks = [*start.ranked[:most]]
            if self._further is not None:
                networks += self._further.ranked[:most]
            if judge.learns_from == "consensus":
                networks = [*start.ranked]
            ballots = self._ballots(networks, part, folder)
            quality = quality_for(shop.task)
            if judge.learns_from == "consensus":
                rounds = judge.rounds_validation if chosen else judge.rounds
                made.append(
                    consensus_samples(
                        ballots, part, task=shop.task, quality=quality, rounds=rounds, seed=seed,
                        copies=copies, folder=folder, augmented_share=0.0 if chosen else 0.5,
                    )
                )  # fmt: skip
            else:
                made.append(
                    prediction_samples(
                        ballots, part, task=shop.task, quality=quality, seed=seed, copies=copies,
                        folder=folder, augmented_share=0.0,
                    )
                )  # fmt: skip
        return made[0], made[1][0]

    def _ballots(self, networks: Sequence[Trained], part: Part, folder: Path) -> Path:
        """Return what networks say about the images of a part."""
        shop = self._shop
        return store_ballots(
            shop.load(networks),
            part.images,
            [part.image_row(index) for index in part.indices],
            task=shop.task,
            numerics=shop.plan.whole_machine,
            path=folder / "ballots.npy",
            progress=lambda done, total: shop.working("what judges learn from", done, total),
        )

    def _calibration(self, stage: Stage, validation: Part, quality: Quality) -> dict[str, Any]:
        """Return how far what the judges say together is from the truth, on validation samples."""
        judges = self._shop.load(stage.ranked[: self._asked])
        judged = judge_masks(judges, validation, quality, self._shop.plan.whole_machine)
        amplification = not self._shop.approach.carry
        said = quality.score(judged, amplification=amplification).numpy()
        if validation.qualities is None:
            raise ValueError("validation samples of judges have qualities")
        wanted = gather(open_array(validation.qualities), np.array(validation.indices))
        true = quality.score(torch.from_numpy(wanted)[None], amplification=amplification).numpy()
        return {
            "samples": len(said),
            "mae": float(np.abs(said - true).mean()),
            "rank_correlation": rank_correlation(said, true),
            "said": [round(float(value), 4) for value in said],
            "true": [round(float(value), 4) for value in true],
        }

    def _thresholds(
        self, stage: Stage, validation: Part, start: Stage, quality: Quality
    ) -> tuple[float, float]:
        """Return the scores above which a mask is good, and very good."""
        shop = self._shop
        if shop.plan.thresholds is not None:
            return shop.plan.thresholds
        judges = shop.load(stage.ranked[: self._asked])
        part = validation if shop.approach.carry else consensus_on_validation(shop, start)
        judged = judge_masks(judges, part, quality, shop.plan.whole_machine)
        return thresholds_from(quality.score(judged, amplification=not shop.approach.carry))
