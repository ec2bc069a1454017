"""How long a comparison would take here. Nothing is trained or written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from imseg.approaches.planning.duration import durations
from imseg.approaches.planning.estimate import decoding_of, decoding_seconds
from imseg.approaches.planning.measured import Measured, measure
from imseg.approaches.planning.plan import Plan
from imseg.approaches.running.preparation import Prepared
from imseg.comparison.comparison_plan import ComparisonPlan, planned_stages_of
from imseg.comparison.participants import Participant
from imseg.comparison.scoring import images_to_score
from imseg.progress import Note, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEstimate:
    """What one row would take with one seed."""

    name: str
    """Of the row."""
    seconds: float
    """Training it, without a start that is taken over, and scoring it."""
    networks: int
    """Networks that are trained for it, mask scorers included."""
    network_steps: int
    """Steps of one of the last stage, at most."""
    width: float
    """The paper's alpha of the last stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonEstimate:
    """What a comparison would take."""

    rows: tuple[RowEstimate, ...]
    """One for each row, with one seed."""
    seeds: int
    """How many there are."""

    @property
    def seconds(self) -> float:
        """Seconds in all, as if nothing was done yet."""
        return self.seeds * sum(row.seconds for row in self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"seconds": round(self.seconds, 1), **asdict(self)}


def estimate_comparison(planned: ComparisonPlan, progress: Progress) -> ComparisonEstimate:
    """Return what a comparison would take; a few steps of every kind of network are made.

    All pseudo-labels are taken to be admitted and no generation to be left out: it may be less.

    Args:
        planned: What would be done.
        progress: Told what is measured.
    """
    costs: dict[str, Measured] = {}
    rows = []
    for participant in planned.participants:
        if participant.matched_to is None:
            progress(Note(text=f"measuring what a few steps of {participant.name} cost ..."))
            ready = planned.ready[participant.name]
            costs[participant.name] = measure(ready.plan, ready.facts, ready.dataset.spec)
            seconds = _own_seconds(ready, costs[participant.name], planned=planned)
        else:
            ready = planned.ready[participant.matched_to]
            seconds = _matched_seconds(participant, costs[participant.matched_to], planned=planned)
        stages = planned.stages(participant)
        scored = ready.plan.approach.generations + ready.plan.approach.networks
        seconds += scored * _scoring_seconds(
            ready, costs[participant.matched_to or participant.name]
        )
        rows.append(
            RowEstimate(
                name=participant.name,
                seconds=round(seconds, 1),
                networks=sum(stage.networks for stage in stages),
                network_steps=stages[-1].steps,
                width=stages[-1].width,
            )
        )
    return ComparisonEstimate(rows=tuple(rows), seeds=len(planned.seeds))


def _own_seconds(ready: Prepared, measured: Measured, *, planned: ComparisonPlan) -> float:
    """Return the seconds of a row without those of a start that is taken over."""
    spent = _training_seconds(ready.plan, measured, ready=ready)
    start = ready.plan.approach.start
    if start is not None and start.name in planned.ready:
        begun = _training_seconds(planned.ready[start.name].plan, measured, ready=ready)
        spent = max(0.0, spent - begun) + measured.start_up
    return spent + decoding_seconds(ready)


def _matched_seconds(
    participant: Participant, measured: Measured, *, planned: ComparisonPlan
) -> float:
    """Return the seconds of a baseline, if its method ends with its last generation."""
    ready = planned.ready[str(participant.matched_to)]
    stages = planned_stages_of(ready)
    last = stages[-1]
    cost, rounds = measured.of(last, stages), -(-last.networks // ready.plan.workers)
    validation = last.workload.validations * last.validation * cost.validation
    each = last.steps * (cost.step + cost.batch) + validation + cost.aside
    return rounds * each + measured.start_up + decoding_seconds(ready)


def _training_seconds(plan: Plan, measured: Measured, *, ready: Prepared) -> float:
    return sum(durations(plan, ready.facts, measured).values())


def _scoring_seconds(ready: Prepared, measured: Measured) -> float:
    """Return the seconds of one network's look at all test images."""
    images = images_to_score(ready.dataset)
    looked_at = len(images) * measured.stages["start"].prediction
    return looked_at + decoding_of(ready.dataset, ready.plan, images)
