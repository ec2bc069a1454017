"""From finished runs and their test scores to the rows of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.runs.run import Run
from imseg.comparison import statistics as stats
from imseg.comparison.participants import Participant
from imseg.comparison.result import ComparisonRow, OneRun, StageScore
from imseg.comparison.scoring import NetworkScores
from imseg.tasks import Metric

ENDS = ("ldt", "fdt")
"""The two ends of the gap: labels alone, and all labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A finished run with its test scores."""

    participant: Participant
    """Whose."""
    seed: int
    """Its seed."""
    run: Run
    """The run."""
    scored: Mapping[str, NetworkScores]
    """Its networks on the test images."""

    @property
    def chosen(self) -> NetworkScores:
        """The network of the run."""
        return self.scored[self.run.summary["network"]]

    @property
    def last(self) -> NetworkScores:
        """The best network of the last stage."""
        return self.scored[self.run.summary["stages"][-1]["best"]]

    @property
    def ended_with_start(self) -> bool:
        """Whether no generation was trained, though there should have been one."""
        planned = find_approach(self.participant.approach).generations
        return planned > 0 and len(self.run.summary["stages"]) == 1

    @property
    def jobs(self) -> tuple[str, ...]:
        """What was trained: equal jobs, equal networks."""
        return tuple(self.run.trained(name).job for name in self.run.network_names)


def rows_of(
    participants: Sequence[Participant], done: Sequence[FinishedRun], *, out: Path
) -> tuple[ComparisonRow, ...]:
    """Return a row for each participant with at least one finished run.

    Args:
        participants: All of them, in order.
        done: Finished runs.
        out: The folder of the comparison.
    """
    by_name: dict[str, dict[int, FinishedRun]] = {each.name: {} for each in participants}
    for each in done:
        by_name[each.participant.name][each.seed] = each
    rows: list[ComparisonRow] = []
    for participant in participants:
        if by_name[participant.name]:
            matched = [each.name for each in participants if each.matched_to == participant.name]
            rows.append(_row(participant, by_name, matched=matched, before=rows, out=out))
    return tuple(rows)


def _row(
    participant: Participant,
    by_name: Mapping[str, Mapping[int, FinishedRun]],
    *,
    matched: Sequence[str],
    before: Sequence[ComparisonRow],
    out: Path,
) -> ComparisonRow:
    mine = by_name[participant.name]
    metric = next(iter(mine.values())).run.metric
    found = {name: _gained(mine, by_name[name], metric=metric) for name in matched}
    gained = {name: each for name, each in found.items() if each is not None}
    baseline = participant.baseline if participant.baseline in gained else None
    twins = [row.name for row in before if row.kind == "matched" and row.same_as is None]
    same = [name for name in twins if _same(by_name[name], mine)]
    runs = tuple(_one_run(each, out) for each in mine.values())

    def mean(name: str) -> float:
        return sum(float(getattr(run, name)) for run in runs) / len(runs)

    level = asdict(stats.level_of(_scores(mine, list(mine), metric)))
    last = stats.shared([each.last.each[metric.key] for each in mine.values()])
    return ComparisonRow(
        name=participant.name,
        approach=participant.approach,
        kind=participant.kind,
        asked=participant.asked,
        matched_to=participant.matched_to,
        baseline=baseline,
        same_as=same[0] if same and participant.kind == "matched" else None,
        **level,
        last=stats.level_of(last),
        difference=gained.get(baseline or ""),
        other_differences={name: each for name, each in gained.items() if name != baseline},
        ended_with_start=tuple(seed for seed, each in mine.items() if each.ended_with_start),
        gap_closed=_gap_closed(participant, by_name, metric=metric),
        network_steps=mean("network_steps"),
        steps=mean("steps"),
        tflops=mean("flops") / 1e12,
        minutes=mean("seconds") / 60,
        width=mean("width"),
        runs=runs,
    )


def _gap_closed(
    participant: Participant, by_name: Mapping[str, Mapping[int, FinishedRun]], *, metric: Metric
) -> stats.Gap | None:
    """Return the share of the way from ``ldt`` to ``fdt``; None without a seed that has both."""
    mine = by_name[participant.name]
    labels, bound = (by_name.get(name, {}) for name in ENDS)
    seeds = [seed for seed in mine if seed in labels and seed in bound]
    if not seeds or participant.approach in ENDS:
        return None
    return stats.gap_closed(
        _scores(mine, seeds, metric),
        labels=_scores(labels, seeds, metric),
        bound=_scores(bound, seeds, metric),
        higher_is_better=metric.higher_is_better,
    )


def _gained(
    mine: Mapping[int, FinishedRun], others: Mapping[int, FinishedRun], *, metric: Metric
) -> stats.PairedDifference | None:
    """Return a method against a baseline; None where no seed has both.

    A run that ended with its start has not learned from unlabeled images, so it says nothing.
    """
    seeds = [seed for seed in mine if seed in others and not mine[seed].ended_with_start]
    if not seeds:
        return None
    return stats.difference(
        _scores(mine, seeds, metric),
        _scores(others, seeds, metric),
        higher_is_better=metric.higher_is_better,
    )


def _scores(runs: Mapping[int, FinishedRun], seeds: Sequence[int], metric: Metric) -> stats.Scores:
    """Return the scores of the network of each run."""
    return stats.shared([runs[seed].chosen.each[metric.key] for seed in seeds])


def _one_run(done: FinishedRun, out: Path) -> OneRun:
    run, key = done.run, done.run.metric.key
    final = run.trained(run.summary["network"])
    totals = done.chosen.dataset
    return OneRun(
        seed=done.seed,
        path=run.path.relative_to(out).as_posix(),
        stage=run.summary["stage"],
        network=run.summary["network"],
        width=final.network.relative_width,
        network_steps=final.steps,
        score=done.chosen.per_image[key],
        last_score=done.last.per_image[key],
        steps=run.summary["steps"],
        flops=run.summary["flops"],
        seconds=run.summary["training_seconds"],
        stages=tuple(_stage_score(stage, done, key) for stage in run.summary["stages"]),
        dataset={name: value for name, value in totals.items() if isinstance(value, float)},
        per_image=dict(done.chosen.per_image),
    )


def _stage_score(stage: Mapping[str, Any], done: FinishedRun, key: str) -> StageScore:
    best = done.scored[str(stage["best"])]
    names = [str(network["name"]) for network in stage["networks"]]
    return StageScore(
        name=str(stage["name"]),
        network=str(stage["best"]),
        score=best.per_image[key],
        interval=best.ci95["per_image"][key],
        networks=tuple(done.scored[name].per_image[key] for name in names if name in done.scored),
        validation=float(stage["score"]),
    )


def _same(one: Mapping[int, FinishedRun], other: Mapping[int, FinishedRun]) -> bool:
    """Return whether all networks of two rows are the same ones."""
    return one.keys() == other.keys() and all(one[s].jobs == other[s].jobs for s in one)
