"""What a comparison will do, settled and checked before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.budget import fits_time
from imseg.approaches.comparison.entrants import (
    Entrant,
    check_options,
    entrants_of,
    settings_for,
)
from imseg.approaches.comparison.notes import (
    check_place,
    check_same,
    check_same_data,
    read_settings,
)
from imseg.approaches.intake import read_data
from imseg.approaches.preparation import Prepared, prepare
from imseg.approaches.schedule import PlannedStage, planned_stages
from imseg.approaches.settings import values_from
from imseg.engine.progress import Event, Progress
from imseg.errors import ImsegError
from imseg.types import DataSet

_Ready = dict[str, Prepared]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A comparison that could begin now."""

    out: Path
    """Where it goes."""
    dataset: DataSet
    """What is learned from and scored on."""
    entrants: tuple[Entrant, ...]
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

    def folder(self, seed: int) -> Path:
        """Return the folder with the runs of a seed."""
        return self.out / f"seed-{seed}"

    def stages(self, entrant: Entrant) -> list[PlannedStage]:
        """Return what is trained for a row, without the start that is taken over from another.

        A matched baseline trains what the last generation of its method does, at most.
        """
        if entrant.matched_to is not None:
            ready = self.ready[entrant.matched_to]
            return planned_stages(ready.plan, ready.facts)[-1:]
        ready = self.ready[entrant.name]
        names = {each.approach for each in self.entrants}
        start = ready.plan.customized().start
        taken_over = start is not None and start.name in names
        return [
            stage
            for stage in planned_stages(ready.plan, ready.facts)
            if not (taken_over and stage.name == "start")
        ]

    def work(self, entrant: Entrant) -> float:
        """Return about how much is computed for a row, in steps of a network of the base width."""
        return sum(each.networks * each.steps * each.operations for each in self.stages(entrant))


def make_plan(
    data: str | Path | DataSet,
    *,
    approaches: Sequence[str],
    seeds: Sequence[int],
    out: str | Path | None,
    options: Mapping[str, Any],
    progress: Progress,
    probe: bool = True,
    matched: bool = True,
) -> Planned:
    """Return a comparison that could begin now; nothing is written.

    Args:
        data: A folder, or a data set made otherwise.
        approaches: Names from ``imseg approaches``.
        seeds: Each is a run of every approach.
        out: The folder; None for the default.
        options: Fields of ``Settings``; None means "not given".
        progress: Told what is found.
        probe: Whether costs are measured where steps depend on them.
        matched: Whether each method gets a baseline that trains as long.

    Raises:
        ImsegError: For everything the user can mend.
    """
    entrants = entrants_of(approaches, matched=matched)
    _check_seeds(seeds)
    given = values_from(options)
    check_options(entrants, given)
    place = Path(out if out is not None else default_out(data))
    check_place(place)
    earlier = read_settings(place)
    check_same(place, earlier, given)
    first = settings_for(entrants[0], given, seed=seeds[0], runs=None)
    dataset = data if isinstance(data, DataSet) else read_data(Path(data), first, progress)
    if not dataset.test:
        raise ImsegError(
            f"{dataset.name} has no test images to compare approaches on.",
            expected="test/images and test/masks, which are used for nothing else.",
            got="none.",
            hint="move some labeled images (20 or more) and their masks there.",
        )
    if earlier is not None:
        check_same_data(place, earlier, dataset)

    alone = [entrant for entrant in entrants if entrant.role != "matched"]

    def ready(common: Mapping[str, Any], some: Sequence[Entrant], probe: bool) -> _Ready:
        return {
            entrant.name: prepare(
                dataset,
                out=place / f"seed-{seeds[0]}" / entrant.name,
                settings=settings_for(entrant, common, seed=seeds[0], runs=None),
                options={},
                network=None,
                progress=progress if probe else _quiet,
                probe=probe,
            )
            for entrant in some
        }

    common = dict(given)
    if earlier is not None and "max_steps" in earlier["settled"]:
        common["max_steps"] = earlier["settled"]["max_steps"]
    plans = ready(common, alone, False)
    if any(fits_time(each.asked) for each in plans.values()):
        # One number of steps for all: the one that the longest run has time for.
        longest = max(alone, key=lambda entrant: _work(plans[entrant.name]))
        (settled,) = ready(common, [longest], probe).values()
        common["max_steps"] = settled.plan.max_steps
        plans = ready(common, alone, False)
    return Planned(
        out=place,
        dataset=dataset,
        entrants=entrants,
        seeds=tuple(dict.fromkeys(seeds)),
        given=given,
        common=common,
        ready=plans,
        continues=earlier is not None,
    )


def default_out(data: str | Path | DataSet) -> Path:
    """Return where a comparison goes if nothing else is said."""
    name = "arrays" if isinstance(data, DataSet) else Path(data).resolve().name
    return Path("runs") / f"{name}-compare"


def _check_seeds(seeds: Sequence[int]) -> None:
    if not seeds or min(seeds) < 0:
        raise ImsegError(
            "A comparison needs seeds.",
            expected="whole numbers from 0, such as --seeds 0,1,2.",
            got=",".join(map(str, seeds)) or "none.",
        )


def _work(ready: Prepared) -> float:
    stages = planned_stages(ready.plan, ready.facts)
    return sum(each.networks * each.steps * each.operations for each in stages)


def _quiet(event: Event) -> None:
    """Say nothing: plans are told when their runs begin."""
