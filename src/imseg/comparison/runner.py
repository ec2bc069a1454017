"""Approaches on the same data, under the same conditions, seed after seed; and their rows."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.planning.settings import Settings, plain_values
from imseg.approaches.running.experiment import fit
from imseg.approaches.running.stage import announce_plan
from imseg.approaches.runs import record, verification
from imseg.approaches.runs.run import Run, load_run
from imseg.comparison import on_nodes, result, scoring
from imseg.comparison.comparison_plan import ComparisonPlan, plan_comparison
from imseg.comparison.participants import Participant, settings_for
from imseg.data.masks.recognize import word_of
from imseg.engine.hardware.device import ComputeConfig, resolve_device, usable_cores
from imseg.engine.storage.run_folder import RESULT_FILE, SETTINGS_FILE, RunFolder, locked
from imseg.engine.workers.choice import choose_executor
from imseg.errors import TrainingFailed
from imseg.progress import Event, Note, Planned, Progress, Working, in_time, log_progress
from imseg.tasks import Metric
from imseg.types import DataSet

DEFAULT_APPROACHES = ("ldt", "aldt", "im", "aim++")
DEFAULT_SEEDS = (0, 1, 2)


def compare(
    data: str | Path | DataSet,
    *,
    approaches: Sequence[str] = DEFAULT_APPROACHES,
    seeds: Sequence[int] = DEFAULT_SEEDS,
    out: str | Path | None = None,
    progress: Progress = log_progress,
    **options: Any,
) -> result.Comparison:
    """Train approaches with several seeds and score them on the test images; again, it continues.

    Start networks are trained once per seed and taken over. Each method gets a matched baseline:
    labeled images alone, with the steps and the width of the method's final network. Approaches and
    seeds can be added to a finished comparison.

    Examples:
        >>> found = compare("my-data", approaches=["im", "aim++"], seeds=[0, 1])  # doctest: +SKIP
        >>> found.row("im").difference.interval  # doctest: +SKIP

    Args:
        data: A folder with test images in the documented layout, or such a data set.
        approaches: Names from ``imseg approaches``.
        seeds: Each is a run of every approach.
        out: The folder; ``runs/<data>-compare`` by default.
        progress: Told how the work goes on.
        options: Fields of ``Settings`` that all runs share, such as ``max_steps=300``.

    Raises:
        ImsegError: For everything the user can mend, before training starts.
        TrainingFailed: If no run at all could be finished.
    """
    planned = plan_comparison(
        data, approaches=approaches, seeds=seeds, out=out, options=options, progress=progress
    )
    return carry_out(planned, progress)


def carry_out(planned: ComparisonPlan, progress: Progress) -> result.Comparison:
    """Return what a planned comparison finds; ``comparison.json`` is written after each seed.

    A run that fails is left out and told; the others go on.

    Args:
        planned: What to do.
        progress: Told how the work goes on.

    Raises:
        TrainingFailed: If no run at all could be finished.
    """
    planned.out.mkdir(parents=True, exist_ok=True)
    progress(Note(text=f"The comparison goes to {planned.out}"))
    for participant in planned.participants:
        progress(Note(text=_budget(participant, planned)))
    with locked(planned.out):
        asked_for = result.ComparisonRecord(
            approaches=tuple(each.approach for each in planned.participants if each.asked),
            seeds=planned.seeds,
            matched=any(each.baseline is not None for each in planned.participants),
            asked=plain_values(planned.given),
            settled=plain_values(planned.common),
            data=result.digests_of(planned.dataset),
        )
        asked_for.write(planned.out / SETTINGS_FILE)
        return _Worker(planned, progress).run()


def _budget(participant: Participant, planned: ComparisonPlan) -> str:
    """Return what a row may spend."""
    if participant.at_cost:
        return f"{participant.name}: at the cost of all networks of {participant.matched_to}"
    if participant.matched_to is not None:
        final = f"the final network of {participant.matched_to}"
        return f"{participant.name}: as many steps and as wide as {final}"
    ready = planned.ready[participant.name]
    added = "" if participant.asked else " (added: others start from it)"
    text = announce_plan(ready.plan, ready.facts, None).rstrip(".")
    return text.replace(f", seed {ready.plan.seed}", "") + added


class _Worker:
    """Carries out a comparison, run after run."""

    def __init__(self, planned: ComparisonPlan, progress: Progress) -> None:
        self._planned = planned
        self._progress = progress
        self._done: list[FinishedRun] = []
        self._missing: list[result.MissingRun] = []
        self._ahead: dict[Path, str | None] = {}
        """Runs that nodes of a cluster have made, or why they could not."""
        self._spent = self._worked = 0.0
        self._test = result.digests_of(planned.dataset)[scoring.SPLIT]

    def run(self) -> result.Comparison:
        planned = self._planned
        # Seed after seed: what is finished says something, whenever it is stopped.
        todo = [(seed, each) for seed in planned.seeds for each in planned.participants]
        device = resolve_device(planned.common.get("device", "auto"))
        network = next(iter(planned.ready.values())).plan.network
        cores = planned.common.get("workers") or usable_cores()
        with choose_executor(
            ComputeConfig(device=device),
            workers=cores,
            network=network,
            name=planned.common.get("executor", "auto"),
            address=planned.common.get("address"),
        ) as executor:
            # Runs on a GPU choose by their memory how many networks go side by side.
            own = executor if device == "cpu" else None
            if executor.spread is not None and planned.folder_of_data is not None:
                nodes = on_nodes.Nodes(executor.spread, planned, self._test, self._progress)
                self._ahead = nodes.make(
                    lambda path, asked: self._finished(path, asked) is not None
                )
            for number, (seed, participant) in enumerate(todo, 1):
                self._announce(number, todo)
                try:
                    self._done.append(self._one(seed, participant, executor=own))
                except TrainingFailed as failure:
                    name, why = participant.name, str(failure)
                    self._missing.append(result.MissingRun(name=name, seed=seed, why=why))
                    text = f"{name}, seed {seed}, failed and is left out: {why}"
                    self._progress(Note(text=text, warning=True))
                if self._done and participant is planned.participants[-1]:
                    self._result().write(planned.out / RESULT_FILE)
        if not self._done:
            raise TrainingFailed(f"No run could be finished: {self._missing[0].why}")
        return self._result()

    def _one(self, seed: int, participant: Participant, *, executor: Any) -> "FinishedRun":
        planned, folder = self._planned, self._planned.folder(seed)
        if why := self._ahead.get(folder / participant.name):
            raise TrainingFailed(why)
        finished = {each.participant.name for each in self._done if each.seed == seed}
        if participant.matched_to is not None and participant.matched_to not in finished:
            raise TrainingFailed(f"{participant.matched_to}, which it is matched to, is missing")
        folder.mkdir(exist_ok=True)
        settings = settings_for(participant, planned.common, seed=seed, runs=folder)
        run = self._finished(folder / participant.name, settings)
        if run is None:
            began = time.monotonic()
            run = fit(
                planned.dataset,
                out=folder / participant.name,
                settings=settings,
                executor=executor,
                progress=_Brief(self._progress),
            )
            self._spent += time.monotonic() - began
            self._worked += planned.work(participant)
        what = f"scoring {participant.name}"
        scored = scoring.score(
            run,
            planned.dataset,
            path=scoring.scores_file(planned.out, participant.name, seed),
            digest=self._test,
            progress=lambda done, total: self._progress(Working(what=what, done=done, total=total)),
        )
        return FinishedRun(participant=participant, seed=seed, run=run, scored=scored)

    def _finished(self, path: Path, settings: Settings) -> Run | None:
        """Return a run that an earlier call finished; None where there is work to do.

        That the data is the same was checked for all runs together.
        """
        folder = RunFolder(path)
        there = self._planned.continues or path in self._ahead
        done = there and folder.summary.exists()
        known = record.read_record(folder) if done else None
        if known is None:
            return None
        # The whole comparison, or its data, may have been moved; and who only compares
        # pseudo-labels with hidden masks is not changed by them.
        match, hidden = (
            Path(str(known.asked[name])) if name in known.asked else None
            for name in ("match", "unlabeled_masks")
        )
        record.check_same(folder, known, settings.but(match=match, unlabeled_masks=hidden))
        # What is damaged is made again.
        damaged = any(each.wrong for each in verification.survey(path))
        return None if damaged else load_run(path)

    def _announce(self, number: int, todo: Sequence[tuple[int, Participant]]) -> None:
        seed, participant = todo[number - 1]
        if self._planned.folder(seed) / participant.name in self._ahead:
            return  # told when it ended
        text = f"run {number} of {len(todo)}: {participant.name}, seed {seed}"
        if self._worked:
            left = sum(self._left(*each) for each in todo[number - 1 :])
            text += f"; about {in_time(left * self._spent / self._worked)} left for all"
        self._progress(Note(text=text))

    def _left(self, seed: int, participant: Participant) -> float:
        """Return the work that is left of a run."""
        finished = RunFolder(self._planned.folder(seed) / participant.name).summary.exists()
        return 0.0 if finished else self._planned.work(participant)

    def _result(self) -> result.Comparison:
        planned, dataset = self._planned, self._planned.dataset
        begun = {run.seed for run in self._done} | {run.seed for run in self._missing}
        splits = ("labeled", "unlabeled", "val", "test")
        images = {split: len(getattr(dataset, split)) for split in splits}
        return result.Comparison(
            data=result.ComparedData(
                name=Path(dataset.name).name, task=word_of(dataset.spec), **images
            ),
            metric=self._done[0].run.metric,
            images=images["test"],
            seeds=tuple(seed for seed in planned.seeds if seed in begun),
            settings=plain_values(planned.common),
            rows=rows_of(planned.participants, self._done, out=planned.out),
            missing=tuple(self._missing),
            path=planned.out,
        )


class _Brief:
    """Passes on what a run says once it trains; what it is was told for all runs together."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._begun = False

    def __call__(self, event: Event) -> None:
        self._begun = self._begun or isinstance(event, Planned)
        if self._begun or not isinstance(event, Note) or event.warning:
            self._progress(event)


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
    scored: Mapping[str, scoring.NetworkScores]
    """Its networks on the test images."""

    @property
    def chosen(self) -> scoring.NetworkScores:
        """The network of the run."""
        return self.scored[self.run.summary["network"]]

    @property
    def last(self) -> scoring.NetworkScores:
        """The best network of the last stage."""
        return self.scored[self.run.summary["stages"][-1]["best"]]

    @property
    def ended_with_start(self) -> bool:
        """Whether no generation was trained, though there should have been one."""
        planned = find_approach(self.participant.approach).generations
        return planned > 0 and len(self.run.summary["stages"]) == 1

    @property
    def kept_start(self) -> bool:
        """Whether a generation was trained and the network of the run is that of the start."""
        summary = self.run.summary
        return len(summary["stages"]) > 1 and summary["stage"] == summary["stages"][0]["name"]


def rows_of(
    participants: Sequence[Participant], done: Sequence[FinishedRun], *, out: Path
) -> tuple[result.ComparisonRow, ...]:
    """Return a row for each participant with at least one finished run.

    Args:
        participants: All of them, in order.
        done: Finished runs.
        out: The folder of the comparison.
    """
    by_name: dict[str, dict[int, FinishedRun]] = {each.name: {} for each in participants}
    for each in done:
        by_name[each.participant.name][each.seed] = each
    rows: list[result.ComparisonRow] = []
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
    before: Sequence[result.ComparisonRow],
    out: Path,
) -> result.ComparisonRow:
    mine = by_name[participant.name]
    metric = next(iter(mine.values())).run.metric
    found = {name: _gained(mine, by_name[name], metric=metric) for name in matched}
    gained = {name: each for name, each in found.items() if each is not None}
    baseline = participant.baseline if participant.baseline in gained else None
    twins = [row.name for row in before if row.kind == participant.kind == "matched"]
    same = [name for name in twins if _jobs(by_name[name]) == _jobs(mine)]
    runs = tuple(_one_run(each, out) for each in mine.values())

    def mean(name: str) -> float:
        return sum(float(getattr(run, name)) for run in runs) / len(runs)

    last = np.array([each.last.each[metric.key] for each in mine.values()])
    return result.ComparisonRow(
        name=participant.name,
        approach=participant.approach,
        kind=participant.kind,
        asked=participant.asked,
        matched_to=participant.matched_to,
        baseline=baseline,
        same_as=same[0] if same else None,
        **asdict(scoring.level_of(_scores(mine, mine, metric.key))),
        last=scoring.level_of(last),
        difference=gained.get(baseline or ""),
        other_differences={name: each for name, each in gained.items() if name != baseline},
        ended_with_start=tuple(seed for seed, each in mine.items() if each.ended_with_start),
        kept_start=tuple(seed for seed, each in mine.items() if each.kept_start),
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
) -> scoring.Gap | None:
    """Return the share of the way from ``ldt`` to ``fdt``; None without a seed that has both."""
    mine = by_name[participant.name]
    labels, bound = (by_name.get(name, {}) for name in ENDS)
    seeds = [seed for seed in mine if seed in labels and seed in bound]
    if not seeds or participant.approach in ENDS:
        return None
    return scoring.gap_closed(
        _scores(mine, seeds, metric.key),
        labels=_scores(labels, seeds, metric.key),
        bound=_scores(bound, seeds, metric.key),
        higher_is_better=metric.higher_is_better,
    )


def _gained(
    mine: Mapping[int, FinishedRun], others: Mapping[int, FinishedRun], *, metric: Metric
) -> scoring.PairedDifference | None:
    """Return a method against a baseline; None where no seed has both.

    A run that ended with its start has not learned from unlabeled images, so it says nothing.
    """
    seeds = [seed for seed in mine if seed in others and not mine[seed].ended_with_start]
    if not seeds:
        return None
    return scoring.difference(
        _scores(mine, seeds, metric.key),
        _scores(others, seeds, metric.key),
        higher_is_better=metric.higher_is_better,
    )


def _scores(runs: Mapping[int, FinishedRun], seeds: Iterable[int], key: str) -> scoring.Scores:
    """Return the scores of the network of each run."""
    return np.array([runs[seed].chosen.each[key] for seed in seeds])


def _one_run(done: FinishedRun, out: Path) -> result.OneRun:
    run, key = done.run, done.run.metric.key
    final, totals = run.trained(run.summary["network"]), done.chosen.dataset
    return result.OneRun(
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


def _stage_score(stage: Mapping[str, Any], done: FinishedRun, key: str) -> result.StageScore:
    best = done.scored[str(stage["best"])]
    names = [str(network["name"]) for network in stage["networks"]]
    return result.StageScore(
        name=str(stage["name"]),
        network=str(stage["best"]),
        score=best.per_image[key],
        interval=best.ci95["per_image"][key],
        networks=tuple(done.scored[name].per_image[key] for name in names if name in done.scored),
        validation=float(stage["score"]),
    )


def _jobs(runs: Mapping[int, FinishedRun]) -> dict[int, list[str]]:
    """Return what was trained with each seed: equal jobs, equal networks."""
    return {
        seed: [done.run.trained(name).job for name in done.run.network_names]
        for seed, done in runs.items()
    }
