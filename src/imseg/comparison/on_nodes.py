"""Runs of a comparison that the nodes of a cluster make at once; each node makes all of a run."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.planning.settings import Settings, settings_from
from imseg.approaches.running.experiment import fit
from imseg.approaches.running.preparation import read_data
from imseg.comparison import scoring
from imseg.comparison.comparison_plan import ComparisonPlan
from imseg.comparison.participants import Participant, settings_for
from imseg.engine.storage.run_folder import SILENT, owner_of
from imseg.engine.workers.executors import Spread
from imseg.errors import TrainingFailed
from imseg.progress import Event, Note, Progress, in_time


def waves(participants: Sequence[Participant]) -> list[list[Participant]]:
    """Return participants in groups: those of a group can run at once, after the groups before.

    A method comes after what it starts from, whose networks are taken over; a baseline after what
    it is matched to.

    Args:
        participants: As in ``participants_of``, where each comes after what it needs.
    """
    places: dict[str, int] = {}
    for each in participants:
        before = (each.matched_to, each.starts_from)
        places[each.name] = max((places[name] + 1 for name in before if name in places), default=0)
    return [
        [each for each in participants if places[each.name] == place]
        for place in range(max(places.values(), default=-1) + 1)
    ]


@dataclass(frozen=True)
class Nodes:
    """The nodes of a cluster, which make the runs of a comparison."""

    spread: Spread
    """Calls functions on them."""
    planned: ComparisonPlan
    """The comparison, whose data they see."""
    digest: str
    """A hash of the test images."""
    progress: Progress
    """Told which runs are at work and which are finished."""

    def make(self, is_finished: Callable[[Path, Settings], bool]) -> dict[Path, str | None]:
        """Return by its folder each run that was made now: None, or why it failed.

        Args:
            is_finished: Whether a run was made before, so that nothing is left to do.
        """
        planned, ended = self.planned, dict[Path, str | None]()
        done, total = 0, len(planned.seeds) * len(planned.participants)
        left = sum(map(planned.work, planned.participants)) * len(planned.seeds)
        began, worked = time.monotonic(), 0.0
        for wave in waves(planned.participants):
            asked: list[dict[str, Any]] = []
            places: list[Path] = []
            work: list[float] = []
            for seed, each in itertools.product(planned.seeds, wave):
                folder = planned.folder(seed)
                if each.matched_to is not None and ended.get(folder / each.matched_to) is not None:
                    continue  # what it is matched to has failed
                folder.mkdir(exist_ok=True)
                settings = settings_for(each, planned.common, seed=seed, runs=folder)
                if is_finished(folder / each.name, settings):
                    done, left = done + 1, left - planned.work(each)
                else:
                    places.append(folder / each.name)
                    work.append(planned.work(each))
                    asked.append(self._call(each, seed, settings))
            if not asked:
                continue
            self._say(
                f"at once on the cluster: {', '.join(map(_short, places))}; how far one of them is:"
                f" imseg status {places[0]}"
            )
            cores = next(iter(planned.ready.values())).plan.whole_machine.threads
            for number, why in self.spread.each(make_run, asked, cores=cores):
                done += 1
                ended[places[number]] = why
                worked, left = worked + work[number], left - work[number]
                how = "is finished" if why is None else "has failed"
                text = f"{done} of {total} runs: {_short(places[number])} {how}"
                if left > 0 and worked > 0:
                    rest = left * (time.monotonic() - began) / worked
                    text += f"; about {in_time(rest)} left for all"
                self._say(text)
        return ended

    def _call(self, participant: Participant, seed: int, settings: Settings) -> dict[str, Any]:
        planned, folder = self.planned, self.planned.folder(seed).absolute()
        scores = scoring.scores_file(planned.out.absolute(), participant.name, seed)
        return {
            "data": str(Path(planned.folder_of_data or "").absolute()),
            "settings": settings.plain(),
            "reuse": str(folder),
            "out": str(folder / participant.name),
            "scores": str(scores),
            "digest": self.digest,
        }

    def _say(self, text: str) -> None:
        self.progress(Note(text=text))


def _short(run: Path) -> str:
    """Return the place of a run below its comparison."""
    return "/".join(run.parts[-2:])


def make_run(
    *, data: str, settings: Mapping[str, Any], reuse: str, out: str, scores: str, digest: str
) -> str | None:
    """Make a run of a comparison and score it; return why it failed, if it did. Run on a node.

    Args:
        data: The data folder.
        settings: Of the run, as plain values.
        reuse: The folder of all runs of its seed, from which networks are taken over.
        out: The run.
        scores: The file of its test scores.
        digest: A hash of the test images.
    """
    asked = settings_from({**settings, "reuse": Path(reuse)})
    place = Path(out)
    until = time.monotonic() + 2 * SILENT
    while place.exists() and owner_of(place) is not None and time.monotonic() < until:
        time.sleep(1)  # it is held by a node that was lost a moment ago
    dataset = read_data(Path(data), asked, _quiet)
    try:
        run = fit(dataset, out=place, settings=asked, progress=_quiet)
    except TrainingFailed as failure:
        return str(failure)
    scoring.score(run, dataset, path=Path(scores), digest=digest, progress=lambda *_: None)
    return None


def _quiet(event: Event) -> None:
    """What a run says is in its log."""
