"""A finished stage of a run, and the summary of all of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imseg.approaches.planning.duration import as_summary
from imseg.approaches.planning.plan import Plan
from imseg.approaches.runs.run_files import NetworkSummary, RunSummary, StageDone, StageSummary
from imseg.components.labeling import LabelCounts
from imseg.engine.storage.run_folder import RunFolder
from imseg.engine.storage.trained_files import read_trained
from imseg.engine.training.clock import Clock
from imseg.engine.training.job import Trained
from imseg.tasks import Metric


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
    def missing(self) -> str:
        """How many networks could not be trained, and why; empty where none is missing."""
        return missing_in_words(len(self.ranked), self.failed)

    @property
    def best(self) -> Trained:
        """The network ranked first."""
        return self.ranked[0]

    def write(self, folder: RunFolder) -> None:
        """Write ``DONE``, the last file of a stage."""
        ranking = [network.name for network in self.ranked]
        done = StageDone(
            ranking=tuple(ranking), failed=self.failed, pseudo_labels=self.pseudo_labels
        )
        done.write(folder.done(self.name))

    def summary(self) -> StageSummary:
        """Return what ``summary.json`` holds about it."""
        scores = [network.scores[self.metric.key] for network in self.ranked]
        return StageSummary(
            name=self.name,
            best=self.best.name,
            score=self.best.scores[self.metric.key],
            mean_score=statistics.fmean(scores),
            spread_score=statistics.stdev(scores) if len(scores) > 1 else 0.0,
            networks=tuple(map(NetworkSummary.of_network, self.ranked)),
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
    return (
        f"{len(failed)} of {there + len(failed)} networks could not be trained"
        f" ({'; '.join(failed)})"
    )


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
    done = StageDone.read(folder.done(name))
    networks = [read_trained(folder.weights(network)) for network in done.ranking]
    named = zip(done.ranking, networks, strict=True)
    whole = tuple(network for name, network in named if network and network.name == name)
    if len(whole) < len(networks):
        return None  # a file was lost: what is missing is trained again
    return Stage(
        name=name,
        ranked=whole,
        metric=metric,
        failed=done.failed,
        pseudo_labels=done.pseudo_labels,
    )


def choose(stages: Sequence[Stage], *, last: bool) -> Stage:
    """Return the stage whose best network is that of the run: the best generation by validation.

    The start is chosen only where it is all there is.

    Args:
        stages: All finished ones, the start first.
        last: Take the last generation instead, whatever validation says.
    """
    generations = stages[1:] or stages
    return generations[-1] if last else max(generations, key=lambda s: s.merit)


def summarize(
    stages: Sequence[Stage], plan: Plan, *, clock: Clock, aside: Sequence[Stage] = ()
) -> RunSummary:
    """Return what ``summary.json`` holds.

    Args:
        stages: All finished stages.
        plan: What was done.
        clock: Where the time of this call of the command went.
        aside: Stages that helped and whose networks are no candidates, such as mask scorers.
    """
    final = choose(stages, last=plan.takes_last)
    networks = [network for stage in (*stages, *aside) for network in stage.ranked]
    return RunSummary(
        approach=plan.approach.name,
        task=plan.task,
        metric=final.metric,
        stage=final.name,
        network=final.best.name,
        ranking=tuple(network.name for network in final.ranked),
        validation=final.best.scores,
        start_was_better=stages[0].merit > final.merit,
        steps=sum(network.steps for network in networks),
        flops=sum(network.flops for network in networks),
        training_seconds=sum(network.seconds for network in networks),
        seconds=clock.passed,
        seconds_by_activity=as_summary(clock),
        stages=tuple(stage.summary() for stage in stages),
        aside=tuple(stage.summary() for stage in aside),
    )
