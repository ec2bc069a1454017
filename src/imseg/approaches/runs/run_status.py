"""How far each stage of a run has come, by what lies in its folder."""

import heapq
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from imseg.approaches.planning.plan import Facts, Plan
from imseg.approaches.planning.stage_plan import StagePlan, planned_stages
from imseg.approaches.running.stage import scorers_metric
from imseg.approaches.runs.record import Recovery, age_of, command_in, no_run, read_log
from imseg.approaches.runs.run_files import Provenance, RunSummary, StageDone
from imseg.components.labeling import admitted_in
from imseg.engine.storage.run_folder import Owner, RunFolder, owner_of
from imseg.engine.training.checkpoint import path_of, read_saved
from imseg.engine.training.job import Trained, read_known
from imseg.tasks import Metric

StageState = Literal["done", "under way", "begun", "not begun", "left out"]
"""``under way``: a process is at it. ``begun``: none is. ``left out``: the run ended before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedNetwork:
    """A network that is not finished and has a checkpoint."""

    network: str
    """Its place in the run."""
    step: int
    """Optimizer steps that are kept."""
    steps: int
    """Optimizer steps of the whole training."""
    age: float
    """Seconds since it was written."""
    seconds: float
    """Wall time of the steps that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageProgress:
    """How far a stage has come."""

    planned: StagePlan
    """What was planned, if all pseudo-labels are admitted."""
    state: StageState
    """Whether it is done."""
    trained: tuple[Trained, ...]
    """Finished networks."""
    failed: tuple[str, ...] = ()
    """Why networks are missing that could not be trained."""
    saved: tuple[SavedNetwork, ...] = ()
    """Networks with a checkpoint."""
    metric: Metric | None = None
    """What they are ranked by; None where no file knows."""
    pseudo_labels: tuple[int, int] | None = None
    """Admitted and all pseudo-labels; None where there are none, or not yet."""

    @property
    def is_generation(self) -> bool:
        """Whether it learns from unlabeled images."""
        return self.planned.is_generation

    @property
    def best(self) -> Trained | None:
        """The finished network with the best score; None where there is none."""
        metric = self.metric
        if metric is None:
            return None
        scored = [network for network in self.trained if metric.key in network.scores]
        return max(scored, key=lambda network: metric.merit(network.scores), default=None)

    @property
    def steps_of_each(self) -> int:
        """Optimizer steps of a network: as far as they are known of those that have begun."""
        known = [*(each.steps for each in self.saved), *(each.steps for each in self.trained)]
        return known[0] if known else self.planned.steps

    @property
    def steps_done(self) -> int:
        """Optimizer steps that are kept."""
        return sum(each.steps for each in self.trained) + sum(each.step for each in self.saved)

    @property
    def steps_left(self) -> list[int]:
        """Optimizer steps that are left of each network that is not finished."""
        if self.state in ("done", "left out"):
            return []
        begun = [each.steps - each.step for each in self.saved]
        fresh = max(0, self.planned.networks - len(self.trained) - len(self.saved))
        return begun + [self.steps_of_each] * fresh

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        best, metric, labels = self.best, self.metric, self.pseudo_labels
        return {
            "name": self.planned.name,
            "state": self.state,
            "networks": self.planned.networks,
            "done": [network.name for network in self.trained],
            "failed": list(self.failed),
            "best": None if best is None else best.name,
            "score": None if best is None or metric is None else best.scores[metric.key],
            "metric": None if metric is None else metric.key,
            "checkpoints": [asdict(each) for each in self.saved],
            "pseudo_labels": labels and {"admitted": labels[0], "images": labels[1]},
            "steps_done": self.steps_done,
            "steps": self.steps_done + sum(self.steps_left),
        }


def stages_of(
    recovery: Recovery, plan: Plan, facts: Facts, *, held: bool, finished: bool
) -> tuple[StageProgress, ...]:
    """Return how far each planned stage has come.

    Args:
        recovery: Reads the run.
        plan: What is to be done.
        facts: What the data is like.
        held: Whether a process is at work in the run.
        finished: Whether the run is finished.
    """
    found: list[StageProgress] = []
    metric, idle = recovery.metric(plan), finished or not held
    for planned in planned_stages(plan, facts):
        folder, name = recovery.folder, planned.name
        done = recovery.content(folder.done(name), StageDone.read)
        ranked = done.ranking if done else ()
        names = [f"{name}/network-{number}" for number in range(planned.networks)]
        known = {each: _known(recovery, each, expected=each in ranked) for each in names}
        trained = tuple(each for each in known.values() if each)
        left = [each for each, network in known.items() if not network]
        saved = tuple(there for each in left if (there := _saved(recovery, each)))
        counts = done.pseudo_labels if done else None
        labels = (counts.admitted, counts.images) if counts else None
        if done is None and (admitted := admitted_in(folder.cache / name)) is not None:
            labels = (admitted, plan.unlabeled_used(facts))
        state: StageState = "left out" if finished else "not begun"
        if done and len(trained) == len(ranked):
            state = "done"
        elif not idle:
            state, idle = "under way", True
        elif trained or saved or labels:
            state = "begun"
        stage = StageProgress(
            planned=planned,
            state=state,
            trained=trained,
            failed=done.failed if done else (),
            saved=saved,
            metric=scorers_metric(plan) if planned.scores_masks else metric,
            pseudo_labels=labels,
        )
        found.append(stage)
    return tuple(found)


def _known(recovery: Recovery, network: str, *, expected: bool) -> Trained | None:
    """Return a finished network, whose weights are not looked at; what is missing is kept."""
    weights = recovery.folder.weights(network)
    scores = weights.with_suffix(".json")
    known = read_known(weights, tell=recovery.tell)
    if known is None and not weights.exists() and (expected or scores.exists()):
        recovery.tell(f"{weights} is missing.")
    if known is None and not scores.exists() and expected:
        recovery.tell(f"{scores} is missing.")
    return known


def _saved(recovery: Recovery, network: str) -> SavedNetwork | None:
    path = path_of(recovery.folder.weights(network))
    try:
        written = path.stat().st_mtime
    except OSError:
        return None
    found = read_saved(path)
    if found is None:
        if path.exists():
            recovery.tell(f"{path} is damaged.")
        return None
    return SavedNetwork(
        network=network,
        step=found.steps,
        steps=found.of,
        age=max(0.0, time.time() - written),
        seconds=found.passed,
    )


def seconds_left(
    stages: Sequence[StageProgress], log: Iterable[Mapping[str, Any]], *, workers: int
) -> float | None:
    """Return about how many seconds are left; None as long as no network says how fast it goes.

    Networks that are not finished take as long a step as those of their stage, else as those of the
    stage before by the operations of a step. Between stages it takes as long as it took so far.

    Args:
        stages: How far each has come.
        log: The events of the run, oldest first.
        workers: Networks side by side.
    """
    left, pace = 0.0, _first_pace(stages)
    if pace is None:
        return None
    for stage in stages:
        own = _pace(stage)
        if own is not None and not stage.planned.scores_masks:
            pace = own
        each = (pace if own is None else own) * stage.planned.operations
        left += _side_by_side([steps * each for steps in stage.steps_left], workers)
    generations = [stage for stage in stages if stage.is_generation and stage.steps_left]
    unlabeled = sum(stage.pseudo_labels is None for stage in generations)
    return left + unlabeled * _between(log)


def _first_pace(stages: Sequence[StageProgress]) -> float | None:
    """Return the pace that is known first, of networks that make masks where it is known."""
    ordered = sorted(stages, key=lambda stage: stage.planned.scores_masks)
    return next((found for stage in ordered if (found := _pace(stage)) is not None), None)


def _pace(stage: StageProgress) -> float | None:
    """Return seconds per step, divided by its operations; None where no network says."""
    spent = [(each.seconds, each.steps) for each in stage.trained if each.seconds > 0]
    spent = spent or [(each.seconds, each.step) for each in stage.saved if each.seconds > 0]
    steps = sum(count for _, count in spent)
    seconds = sum(passed for passed, _ in spent)
    return seconds / steps / stage.planned.operations if steps else None


def _side_by_side(seconds: Sequence[float], workers: int) -> float:
    """Return how long pieces of work take if each goes to the worker that is free first."""
    busy = [0.0] * max(1, workers)
    for each in sorted(seconds, reverse=True):
        heapq.heapreplace(busy, busy[0] + each)
    return max(busy)


def _between(log: Iterable[Mapping[str, Any]]) -> float:
    """Return the seconds between the end of a stage and the next one's first step, on average.

    Pseudo-labels are made then, and copies counted.
    """
    gaps: list[float] = []
    ended: float | None = None
    for entry in log:
        if not isinstance(entry.get("at"), int | float):
            continue
        if entry["event"] == "StageFinished":
            ended = float(entry["at"])
        elif entry["event"] == "Planned":
            if ended is not None and not entry.get("first"):
                gaps.append(float(entry["at"]) - ended)
            ended = None  # with ``first`` another call of the command begins
    return statistics.fmean(gaps) if gaps else 0.0


RunState = Literal["finished", "under way", "stopped"]
"""``under way``: a process is at work in the folder now."""
NOTES = 5
"""Notes of the log that are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogNote:
    """What a training told."""

    text: str
    """One or two sentences."""
    warning: bool
    """Whether it deserves attention."""
    age: float | None
    """Seconds since; None where the log does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """How far a run has come."""

    path: Path
    """Its folder."""
    state: RunState
    """Whether it is finished, or a process is at work."""
    owner: Owner | None = None
    """Who is at work in it now."""
    approach: str | None = None
    """What is trained; None where no file knows, or not yet."""
    seed: int | None = None
    """The root of randomness."""
    data: str | None = None
    """Name of the data folder."""
    stages: tuple[StageProgress, ...] = ()
    """How far each stage has come; none where the plan is not known."""
    seconds_left: float | None = None
    """About how long it has still to go while a process is at work; None where it is not known."""
    notes: tuple[LogNote, ...] = ()
    """What was told last, oldest first."""
    damaged: tuple[str, ...] = ()
    """What is wrong with files, in words that name them."""
    command: str | None = None
    """What continues it; None where it was not begun by a command."""
    untouched: float | None = None
    """Seconds since anything was written; None if nothing was."""

    @property
    def steps(self) -> tuple[int, int]:
        """Optimizer steps that are done, and all of them."""
        done = sum(stage.steps_done for stage in self.stages)
        return done, done + sum(sum(stage.steps_left) for stage in self.stages)

    @property
    def current(self) -> StageProgress | None:
        """The stage that is next to be finished; None where there is none."""
        return next((each for each in self.stages if each.state not in ("done", "left out")), None)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        done, steps = self.steps
        return {
            "run": str(self.path),
            **{name: getattr(self, name) for name in ("state", "approach", "seed", "data")},
            "owner": self.owner and asdict(self.owner),
            "stages": [stage.as_dict() for stage in self.stages],
            "steps_done": done,
            "steps": steps,
            "notes": [asdict(note) for note in self.notes],
            **{name: getattr(self, name) for name in ("seconds_left", "damaged")},
            **{name: getattr(self, name) for name in ("command", "untouched")},
        }


def status_of(path: str | Path) -> RunStatus:
    """Return how far a run has come.

    Args:
        path: Its folder, in which another process may be at work.

    Raises:
        ImsegError: If there is no run.
    """
    folder = RunFolder(Path(path))
    owner = owner_of(folder.path)
    _check_there(folder, owner)
    recovery = Recovery(folder)
    record, log = recovery.record(), read_log(folder)
    finished = recovery.content(folder.summary, RunSummary.read) is not None
    provenance = recovery.content(folder.provenance, Provenance.read)
    stages: tuple[StageProgress, ...] = ()
    left = None
    if record is not None and (facts := recovery.facts(record.plan)) is not None:
        stages = stages_of(recovery, record.plan, facts, held=owner is not None, finished=finished)
        left = seconds_left(stages, log, workers=record.plan.workers)
    return RunStatus(
        path=folder.path,
        state="finished" if finished else "stopped" if owner is None else "under way",
        owner=owner,
        approach=record.plan.approach.name if record else None,
        seed=record.plan.seed if record else None,
        data=record.data if record else None,
        stages=stages,
        seconds_left=None if finished else left,
        notes=_notes(log),
        damaged=tuple(recovery.damaged),
        command=command_in(provenance.command) if provenance else None,
        untouched=_untouched(folder),
    )


def _check_there(folder: RunFolder, owner: Owner | None) -> None:
    own = (folder.experiment, folder.provenance, folder.target, folder.data, folder.cache)
    if owner is None and not any(path.exists() for path in own):
        raise no_run(folder.path, expected="the folder of a run or a comparison, finished or not.")


def _notes(log: list[dict[str, Any]]) -> tuple[LogNote, ...]:
    told = [entry for entry in log if entry["event"] == "Note"][-NOTES:]
    return tuple(
        LogNote(
            text=str(entry.get("text", "")),
            warning=bool(entry.get("warning")),
            age=age_of(entry.get("time")),
        )
        for entry in told
    )


def _untouched(folder: RunFolder) -> float | None:
    """Return the seconds since the log or a file of a network was written."""
    written = []
    for path in (folder.log, *folder.path.glob("*/network-*")):
        try:
            written.append(path.stat().st_mtime)
        except OSError:
            continue  # it went away meanwhile
    return max(0.0, time.time() - max(written)) if written else None
