"""Stages: ranked networks, which of them teaches, and what is told about them."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imseg.approaches.methods.approach import Approach
from imseg.approaches.planning import duration, stage_plan
from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.runs import run_files
from imseg.components.labeling import LabelCounts
from imseg.data.files.listing import counted
from imseg.engine.inference.evaluator import interval_of_mean, resample_counts
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.training.job import Trained, read_trained
from imseg.engine.training.monitor import Clock
from imseg.tasks import Metric
from imseg.types import Modality


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A finished stage."""

    name: str
    """``start`` or ``generation-K``."""
    ranked: tuple[Trained, ...]
    """Its networks, best by validation first."""
    metric: Metric
    """What they are ranked by."""
    failed: tuple[str, ...] = ()
    """Why networks are missing."""
    pseudo_labels: LabelCounts | None = None
    """How many images were pseudo-labeled and admitted, and how much teachers disagreed."""

    @property
    def merit(self) -> float:
        """The metric of the best network on validation; higher is better."""
        return self.metric.merit(self.best.scores)

    def mean_merit(self, networks: int | None) -> float:
        """Return the mean merit of so many of its best networks; None for all."""
        chosen = self.ranked[:networks]
        return statistics.fmean(self.metric.merit(network.scores) for network in chosen)

    @property
    def steps(self) -> int:
        """Optimizer steps of all its networks together."""
        return sum(network.steps for network in self.ranked)

    @property
    def best(self) -> Trained:
        """The network ranked first."""
        return self.ranked[0]

    def write(self, folder: RunFolder) -> None:
        """Write ``DONE``, the last file of a stage."""
        ranking = tuple(network.name for network in self.ranked)
        done = run_files.StageDone(
            ranking=ranking, failed=self.failed, pseudo_labels=self.pseudo_labels
        )
        done.write(folder.done(self.name))

    def summary(self) -> run_files.StageSummary:
        """Return what ``summary.json`` holds about it."""
        scores = [network.scores[self.metric.key] for network in self.ranked]
        return run_files.StageSummary(
            name=self.name,
            best=self.best.name,
            score=scores[0],
            mean_score=statistics.fmean(scores),
            spread_score=statistics.stdev(scores) if len(scores) > 1 else 0.0,
            networks=tuple(map(run_files.NetworkSummary.of_network, self.ranked)),
            failed=self.failed,
            pseudo_labels=self.pseudo_labels,
        )


def missing_in_words(there: int, failed: Sequence[str]) -> str:
    """Return how many networks of a stage could not be trained, and why; empty where all could.

    Args:
        there: Networks it has.
        failed: Why others are missing.
    """
    if not failed:
        return ""
    count, why = len(failed), "; ".join(failed)
    return f"{count} of {there + count} networks could not be trained ({why})"


def missing_by_stage(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return which stages of a run lack networks, and what there is to say about each.

    Args:
        summary: As in ``summary.json``.
    """
    told = {
        stage["name"]: missing_in_words(len(stage["networks"]), stage.get("failed", ()))
        for stage in (*summary["stages"], *summary.get("aside", ()))
    }
    return {name: text for name, text in told.items() if text}


def rank(
    name: str,
    trained: Sequence[Trained],
    *,
    metric: Metric,
    failed: Sequence[str] = (),
    pseudo_labels: LabelCounts | None = None,
) -> Stage:
    """Return a stage, its networks ranked by their mean over validation images, ties in order."""
    ranked = tuple(sorted(trained, key=lambda network: -metric.merit(network.scores)))
    return Stage(
        name=name, ranked=ranked, metric=metric, failed=tuple(failed), pseudo_labels=pseudo_labels
    )


def read_stage(folder: RunFolder, name: str, *, metric: Metric) -> Stage | None:
    """Return a stage that was finished earlier, or None if it is not there whole."""
    if not folder.done(name).exists():
        return None
    done = run_files.StageDone.read(folder.done(name))
    networks = [read_trained(folder.weights(network)) for network in done.ranking]
    named = zip(done.ranking, networks, strict=True)
    whole = tuple(network for name, network in named if network and network.name == name)
    if len(whole) < len(networks):
        return None  # a file was lost: what is missing is trained again
    failed, counts = done.failed, done.pseudo_labels
    return Stage(name=name, ranked=whole, metric=metric, failed=failed, pseudo_labels=counts)


def choose(stages: Sequence[Stage], *, last: bool, keeps_start: bool = False) -> Stage:
    """Return the stage whose best network is that of the run: the best generation by validation.

    Args:
        stages: All finished ones, the start first.
        last: Take the last generation instead, whatever validation says.
        keeps_start: Whether the start may be chosen, and validation says so in any case; else the
            start is chosen only where it is all there is.
    """
    if keeps_start:
        return max(stages, key=lambda stage: stage.merit)
    generations = stages[1:] or stages
    return generations[-1] if last else max(generations, key=lambda stage: stage.merit)


def gain_of(stages: Sequence[Stage]) -> run_files.GainSummary | None:
    """Return what the best generation gained over the start on validation images.

    Args:
        stages: All finished ones, the start first.
    """
    if len(stages) < 2:
        return None
    start, metric = stages[0].best, stages[0].metric
    best = max(stages[1:], key=lambda stage: stage.merit).best
    value, interval = metric.merit(best.scores) - metric.merit(start.scores), None
    pairs = zip(best.image_scores, start.image_scores, strict=False)
    sign = 1 if metric.higher_is_better else -1
    each = [sign * (a - b) for a, b in pairs if a is not None and b is not None]
    if len(each) > 1 and len(best.image_scores) == len(start.image_scores):
        interval = interval_of_mean(np.array(each), resample_counts(len(each)))
    return run_files.GainSummary(
        network=best.name, value=value, interval=interval, images=len(each)
    )


def summarize(
    stages: Sequence[Stage], plan: Plan, *, clock: Clock, aside: Sequence[Stage] = ()
) -> run_files.RunSummary:
    """Return what ``summary.json`` holds.

    Args:
        stages: All finished stages.
        plan: What was done.
        clock: Where the time of this call of the command went.
        aside: Stages that helped and whose networks are no candidates, such as mask scorers.
    """
    final = choose(stages, last=plan.takes_last, keeps_start=plan.approach.keeps_start)
    networks = [network for stage in (*stages, *aside) for network in stage.ranked]
    return run_files.RunSummary(
        approach=plan.approach.name,
        task=plan.task,
        metric=final.metric,
        stage=final.name,
        network=final.best.name,
        ranking=tuple(network.name for network in final.ranked),
        validation=final.best.scores,
        start_was_better=stages[0].merit > final.merit,
        gain=gain_of(stages),
        steps=sum(network.steps for network in networks),
        flops=sum(network.flops for network in networks),
        training_seconds=sum(network.seconds for network in networks),
        seconds=clock.passed,
        seconds_by_activity=duration.as_summary(clock),
        stages=tuple(stage.summary() for stage in stages),
        aside=tuple(stage.summary() for stage in aside),
    )


@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """Decides between generations by their scores on validation images.

    Without patience nothing is decided: each generation teaches the next, to the last.
    """

    patience: int
    """Generations without a rise after which a run ends; 0: never."""

    def teacher_stage(self, stages: Sequence[Stage], teachers: int | None) -> Stage:
        """Return the stage whose best networks teach the next generation.

        Args:
            stages: All finished ones, the start first.
            teachers: How many of its best networks teach; None for all.
        """
        if not self.patience:
            return stages[-1]
        # Of equals the later one: what it has learned from the unlabeled images is not lost.
        return max(reversed(stages), key=lambda stage: stage.mean_merit(teachers))

    def instead(
        self, useless: Stage, stages: Sequence[Stage], teachers: int | None
    ) -> Stage | None:
        """Return the next best stage, to teach where the labels of the best one are of no use.

        None where there is no other, or nothing is decided.

        Args:
            useless: The stage whose labels are of no use.
            stages: All finished ones, the start first.
            teachers: How many of its best networks teach; None for all.
        """
        others = [stage for stage in stages if stage is not useless]
        return self.teacher_stage(others, teachers) if self.patience and others else None

    def is_spent(self, stages: Sequence[Stage]) -> bool:
        """Return whether the last generations, as many as there is patience, brought no rise."""
        if not self.patience or len(stages) <= self.patience:
            return False
        before = max(stage.merit for stage in stages[: -self.patience])
        return all(stage.merit <= before for stage in stages[-self.patience :])


def handed_on(better: Stage, last: Stage, teachers: int | None) -> str:
    """Return why the last generation does not teach the next one."""
    key, count = last.metric, teachers or 0
    who = f"the {count} best networks of" if count > 1 else "the best network of" if count else ""
    numbers = [stage.metric.number(abs(stage.mean_merit(teachers))) for stage in (last, better)]
    return (
        f"{last.name} is worse on validation than {better.name} ({key.label} {numbers[0]} against"
        f" {numbers[1]}, {who or 'all networks of'} each), so {better.name} goes on teaching."
    )


def spent(stages: Sequence[Stage], patience: int, generations: int) -> str:
    """Return that a run ends early, and why."""
    best = max(stages, key=lambda stage: stage.merit)
    count = "1 generation" if patience == 1 else f"{patience} generations"
    return (
        f"{count} without a rise on validation (best: {best.name},"
        f" {best.metric.text(best.best.scores)}): the run ends after {stages[-1].name} of"
        f" {generations}. --patience 0 goes on to the end."
    )


BY_ERROR = Metric(key="iou_error", label="IoU error", higher_is_better=False)
"""What mask scorers are ranked by."""
BY_LOSS = Metric(key="loss", label="loss", higher_is_better=False)
"""The same where the paper does it so."""


def scorers_metric(plan: Plan) -> Metric:
    """Return what the mask scorers of a plan are ranked by."""
    ranked_by = plan.paper_settings.scorers_ranked_by if plan.paper_settings else {}
    return BY_LOSS if ranked_by.get(plan.approach.name) == "loss" else BY_ERROR


LITTLE = 0.2
"""Rank correlation on validation images below which mask scorers are not worth much."""


_LOOKS: Mapping[Modality, str] = {
    "gray": "gray ones",
    "dark": "bright things on a dark ground",
    "photograph": "in color",
    "channels": "of several channels",
}
"""What images are, in the sentence about a plan."""


def _side_by_side(approach: Approach) -> str:
    """Return how many networks learn in the place of one; empty where it is one."""
    learning, recipe = approach.objective, approach.recipe
    beside = learning.images_at_once(recipe) // learning.batch(recipe)
    return f" ({beside} learn side by side, the first of them is kept)" if beside > 1 else ""


def announce_plan(plan: Plan, facts: Facts, seconds: float | None) -> str:
    """Return one sentence about what is going to happen."""
    approach, compute, planned = plan.approach, plan.compute, stage_plan.planned_stages(plan, facts)
    counts = {stage.name: stage.networks for stage in planned}
    stages = counted(counts["start"], "network") + _side_by_side(approach.first)
    if "scorer-start" in counts:
        stages += f" and {counts['scorer-start']} that mask scorers learn from"
    if "scorers" in counts:
        stages += f", {counts['scorers']} mask scorers"
    if approach.generations:
        stages += f", then {approach.generations} x {approach.networks}{_side_by_side(approach)}"
    # Mask scorers and those that they learn from too, which are trained aside.
    each = stage_plan.planned_steps(planned) // sum(stage.networks for stage in planned)
    name, width = approach.network.name, approach.network.relative_width
    widest = max(stage.width for stage in planned if not stage.scores_masks)
    of_width = f" of width {width:g}" if hasattr(approach.network, "width") else ""
    growing = f" growing to {widest:g}" if widest > width else ""
    named = "" if name in ("unet", "unet-plus", "paper-unet") else f" ({name})"
    precision = f"{compute.precision}, compiled" if compute.compile else compute.precision
    text = (
        f"{approach.name}: {stages}{named}{of_width}{growing}, on"
        f" {plan.seen_in_words}, about {counted(each, 'step')} each, seed {plan.seed}, {precision},"
        f" {plan.workers} side by side on {compute.device}."
    )
    if plan.tiles is not None and plan.pixel_sizes is not None and plan.pixel_sizes.differ:
        text += f" {plan.pixel_sizes.seen_in_words(plan.tiles.scale)}"
    augmentation = plan.recipe.augmentation
    if augmentation.limits is not None:
        turned = "turned freely" if plan.rotate else "kept upright"
        text += (
            f" Training images, {_LOOKS[facts.modality]}, are augmented at every look"
            f" ({augmentation.level}, {turned})."
        )
    if plan.tta:
        count = len(plan.moves())
        text += f" Predictions will be averaged over {count} orientations of each image."
    if seconds is None:
        return text
    return f"{text} Measured on this machine, that takes about {max(1, round(seconds / 60))} min."


def start_was_better(stages: Sequence[Stage], final: Stage) -> str:
    """Return that the start was better than the stage the network of the run is from.

    Args:
        stages: All stages, the start first.
        final: The stage that was chosen.
    """
    start, best, metric = stages[0].best, final.best, stages[0].metric
    here, there = (metric.number(network.scores[metric.key]) for network in (best, start))
    return (
        f"on validation {final.name} is not better than the start ({here} against {there}):"
        f" unlabeled images have not helped here. The network of the run is that of {final.name};"
        f" --network {start.name} evaluates the other."
    )


def what_was_bought(gain: run_files.GainSummary, final: Stage) -> str:
    """Return what unlabeled images brought, and what is handed over for that.

    Args:
        gain: Of the best generation over the start.
        final: The stage that was chosen.
    """
    metric = final.metric
    images = counted(gain.images, "validation image") if gain.images else "validation images"
    value = f"{metric.label} {gain.value:+.3f}".replace("+-", "-") + f" {metric.unit}".rstrip()
    better = "" if metric.higher_is_better else "; plus means a smaller error"
    inside = ""
    if gain.interval is not None:
        inside = f" (95 %: {gain.interval[0]:+.3f} to {gain.interval[1]:+.3f}{better})"
        inside += "" if gain.is_clear else ", which chance alone can explain"
    kept = "labels alone" if final.name == "start" else "labels and unlabeled images"
    return (
        f"What unlabeled images bought, on {images}: {value}{inside}. The network of the run is"
        f" {final.best.name}, which learned from {kept}."
    )


def calibration_in_words(judgment: Mapping[str, Any]) -> str:
    """Return how far the mask scorers of a run can be trusted, and when they are content.

    Args:
        judgment: The content of ``judgment.json``.
    """
    (low, high), found = judgment["thresholds"], judgment["rank_correlation"]
    text = (
        f"mask scorers: on {judgment['samples']} masks of validation images their score is off"
        f" by {judgment['mae']:.3f} on average, rank correlation with the true one {found:.2f} (0"
        f" is guessing, 1 perfect); good from {low:.3f}, very good from {high:.3f}"
    )
    if found < LITTLE:
        text += ". They hardly know good masks from bad ones; longer training or more labels help"
    return text
