"""What a comparison does, and how long it takes."""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.planning import budget, duration, estimate
from imseg.approaches.planning.decoding_time import decoding_of
from imseg.approaches.planning.settings import values_from
from imseg.approaches.planning.stage_plan import StagePlan, planned_stages
from imseg.approaches.running.preparation import Prepared, check_paths, prepare, read_data
from imseg.comparison import result
from imseg.comparison.participants import Participant, check_options, participants_of, settings_for
from imseg.comparison.scoring import images_to_score
from imseg.data.files.listing import short_name
from imseg.engine.storage.run_folder import SETTINGS_FILE
from imseg.errors import ImsegError
from imseg.progress import Note, Progress
from imseg.types import DataSet

NOWHERE = Path(tempfile.gettempdir()) / "no-such-folder" / "nor-such-run"
"""Where runs are planned that have no folder yet: earlier ones are looked at when their turn comes.
"""

LONG = 20_000 * 64 * 64
"""Steps of a network of the base width, times pixels, from which on a comparison takes about a
quarter of an hour."""

FEW_IMAGES = 20
"""Test images below which a comparison begins with a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonPlan:
    """A comparison that could begin now."""

    out: Path
    """Where it goes."""
    dataset: DataSet
    """What is learned from and scored on."""
    folder_of_data: Path | None
    """Where it lies; None if it was made otherwise."""
    participants: tuple[Participant, ...]
    """All rows, in order."""
    seeds: tuple[int, ...]
    """The roots of randomness."""
    given: Mapping[str, Any]
    """Settings that were asked for."""
    common: Mapping[str, Any]
    """The same, with the steps settled: what all runs share."""
    ready: Mapping[str, Prepared]
    """The plan of each row that is not matched to another, for the first seed."""
    continues: bool
    """Whether it was begun before, with the same data."""

    @property
    def is_long(self) -> bool:
        """Whether it is worth some seconds to say beforehand how long it takes."""
        height, width = next(iter(self.ready.values())).plan.image_size
        work = sum(self.work(participant) for participant in self.participants) * len(self.seeds)
        return work * height * width >= LONG

    def folder(self, seed: int) -> Path:
        """Return the folder with the runs of a seed."""
        return self.out / f"seed-{seed}"

    def stages(self, participant: Participant) -> list[StagePlan]:
        """Return what is trained for a row, without the start that is taken over from another.

        A matched baseline trains what the last generation of its method does, at most.
        """
        ready = self.ready[participant.matched_to or participant.name]
        stages = planned_stages(ready.plan, ready.facts)
        if participant.at_cost:
            return stages  # one network does as much as all of these
        if participant.matched_to is not None:
            return stages[-1:]
        taken_over = ready.plan.approach.start is not None
        return [stage for stage in stages if not (taken_over and stage.name == "start")]

    def work(self, participant: Participant) -> float:
        """Return about how much is computed for a row, in steps of a network of the base width."""
        return work_of(self.stages(participant))


def plan_comparison(
    data: str | Path | DataSet,
    *,
    approaches: Sequence[str],
    seeds: Sequence[int],
    out: str | Path | None,
    options: Mapping[str, Any],
    progress: Progress,
    matched: bool = True,
) -> ComparisonPlan:
    """Return a comparison that could begin now; nothing is written.

    Approaches and seeds of an earlier call stay: they can be added to, not taken away.

    Args:
        data: A folder, or a data set made otherwise.
        approaches: Names from ``imseg approaches``.
        seeds: Each is a run of every approach.
        out: The folder; None for the default.
        options: Fields of ``Settings``; None means "not given".
        progress: Told what is found.
        matched: Whether each method gets a baseline that trains as long.

    Raises:
        ImsegError: For everything the user can mend.
    """
    if not seeds or min(seeds) < 0:
        raise ImsegError(
            "A comparison needs seeds.",
            expected="whole numbers from 0, such as --seeds 0,1,2.",
            got=",".join(map(str, seeds)) or "none.",
        )
    if out is None:
        name = "arrays" if isinstance(data, DataSet) else short_name(Path(data))
        out = Path("runs") / f"{name}-compare"
    place = Path(out)
    check_paths([data, place])
    result.check_place(place)
    settings_file = place / SETTINGS_FILE
    earlier = result.ComparisonRecord.read(settings_file) if settings_file.exists() else None
    if earlier is not None:
        approaches = [*earlier.approaches, *approaches]
        seeds = [*earlier.seeds, *seeds]
    participants = participants_of(approaches, matched=matched)
    given = values_from(options)
    check_options(participants, given)
    if earlier is not None:
        result.check_same_settings(place, earlier, given=given)
    first = settings_for(participants[0], given, seed=seeds[0], runs=None)
    dataset = data if isinstance(data, DataSet) else read_data(Path(data), first, progress)
    images = len(images_to_score(dataset))
    if images < FEW_IMAGES:
        text = f"{images} test images are few to compare approaches on; 20 and more tell more."
        progress(Note(text=text, warning=True))
    common = dict(given)
    if earlier is not None:
        result.check_same_data(place, earlier, dataset=dataset)
        if "max_steps" in earlier.settled:
            common["max_steps"] = earlier.settled["max_steps"]
    seeds = tuple(dict.fromkeys(seeds))
    settled, ready = _settle(
        participants, common, dataset=dataset, seed=seeds[0], progress=progress
    )
    return ComparisonPlan(
        out=place,
        dataset=dataset,
        folder_of_data=None if isinstance(data, DataSet) else Path(data),
        participants=participants,
        seeds=seeds,
        given=given,
        common=settled,
        ready=ready,
        continues=earlier is not None,
    )


def _settle(
    participants: Sequence[Participant],
    common: Mapping[str, Any],
    *,
    dataset: DataSet,
    seed: int,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, Prepared]]:
    """Return the shared settings with one number of steps for all, and the plan of each row."""
    alone = {each.name: each for each in participants if each.matched_to is None}

    def prepared(name: str, shared: Mapping[str, Any], *, probe: bool) -> Prepared:
        return prepare(
            dataset,
            settings_for(alone[name], shared, seed=seed, runs=None),
            out=NOWHERE,
            # Plans are told when their runs begin.
            progress=progress if probe else lambda event: None,
            probe=probe,
        )

    settled = dict(common)
    ready = {name: prepared(name, settled, probe=False) for name in alone}
    if any(budget.fits_time(each.asked) for each in ready.values()):
        # The one that the longest run has time for.
        longest = max(
            ready, key=lambda name: work_of(planned_stages(ready[name].plan, ready[name].facts))
        )
        settled["max_steps"] = prepared(longest, settled, probe=True).plan.recipe.max_steps
        ready = {name: prepared(name, settled, probe=False) for name in alone}
    return settled, ready


def work_of(stages: Sequence[StagePlan]) -> float:
    """Return about how much stages compute, in steps of a network of the base width."""
    return sum(each.networks * each.steps * each.operations for each in stages)


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
    costs: dict[str, duration.Measured] = {}
    rows = []
    for participant in planned.participants:
        method = participant.matched_to or participant.name
        ready = planned.ready[method]
        if participant.matched_to is None:
            progress(Note(text=f"measuring what a few steps of {method} cost ..."))
            costs[method] = duration.measure(ready.plan, ready.facts, ready.dataset.spec)
            seconds = _own_seconds(ready, costs[method], planned=planned)
        else:
            seconds = _matched_seconds(ready, costs[method], at_cost=participant.at_cost)
        stages = planned.stages(participant)
        networks, steps = sum(stage.networks for stage in stages), stages[-1].steps
        if participant.at_cost:
            networks, steps = 1, _steps_at_cost(ready)
        scored = ready.plan.approach.generations + ready.plan.approach.networks
        seconds += scored * _scoring_seconds(ready, costs[method])
        rows.append(
            RowEstimate(
                name=participant.name,
                seconds=round(seconds, 1),
                networks=networks,
                network_steps=steps,
                width=stages[-1].width,
            )
        )
    return ComparisonEstimate(rows=tuple(rows), seeds=len(planned.seeds))


def _steps_at_cost(ready: Prepared) -> int:
    """Return about how many steps of labels alone cost what all networks of a method do."""
    stages = planned_stages(ready.plan, ready.facts)
    spent = sum(
        each.networks * each.steps * each.operations * each.workload.images for each in stages
    )
    alone = ready.plan.recipe.mean_batch(ready.facts.labeled * ready.plan.tiles_each)
    return math.ceil(spent / (alone * stages[-1].width ** 2))


def _own_seconds(ready: Prepared, measured: duration.Measured, *, planned: ComparisonPlan) -> float:
    """Return the seconds of a row without those of a start that is taken over."""
    spent = sum(duration.durations(ready.plan, ready.facts, measured).values())
    start = ready.plan.approach.start
    if start is not None:
        begun = duration.durations(planned.ready[start.name].plan, ready.facts, measured)
        spent = max(0.0, spent - sum(begun.values())) + measured.start_up
    return spent + estimate.decoding_of_run(ready)


def _matched_seconds(ready: Prepared, measured: duration.Measured, *, at_cost: bool) -> float:
    """Return the seconds of a baseline, if its method ends with its last generation."""
    stages = planned_stages(ready.plan, ready.facts)
    if at_cost:  # one after the other what its method trains side by side
        beside = duration.side_by_side(ready.plan, stages)
        return beside * duration.seconds_of(ready.plan, ready.facts, measured)
    last = stages[-1]
    cost, rounds = measured.of(last, stages), -(-last.networks // ready.plan.workers)
    validation = last.workload.validations * last.validation * cost.validation
    each = last.steps * (cost.step + cost.batch) + validation + cost.aside
    return rounds * each + measured.start_up + estimate.decoding_of_run(ready)


def _scoring_seconds(ready: Prepared, measured: duration.Measured) -> float:
    """Return the seconds of one network's look at all test images."""
    images = images_to_score(ready.dataset)
    tiles = len(images) * ready.plan.tiles_each
    looked_at = tiles * measured.stages["start"].prediction
    return looked_at + decoding_of(ready.dataset, ready.plan, images)
