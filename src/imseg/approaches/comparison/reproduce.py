"""The paper's experiments under its own settings, and ours beside its numbers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.catalog import find_approach
from imseg.approaches.comparison.compare import carry_out
from imseg.approaches.comparison.planning import Planned, make_plan
from imseg.approaches.comparison.published import (
    PUBLISHED,
    PaperScores,
    default_approaches,
)
from imseg.approaches.comparison.result import Comparison, OneRun, Row
from imseg.approaches.paper import Published
from imseg.data.prepare import prepare_data_set
from imseg.engine.progress import Note, Progress, Working, log_progress
from imseg.engine.runs import write_json
from imseg.errors import ImsegError, look_up

RESULT_FILE = "reproduction.json"
SHORTER = ("networks", "epochs", "max_steps", "generations", "limit_unlabeled")
"""Settings that make an experiment smaller than the published one."""
HIDDEN = Path("hidden") / "masks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A published score and ours."""

    approach: str
    """Whose."""
    generation: int | None
    """Which generation; None for approaches of one stage, and for the headline."""
    label: str
    """The paper's name of the score."""
    published: float | None
    """The paper's; None where it shows none."""
    below: float | None
    """What the paper's score is below, where it shows no more than that."""
    ours: tuple[float, ...]
    """One a run, means over test images."""

    @property
    def mean(self) -> float:
        """Mean over runs."""
        return statistics.fmean(self.ours)

    @property
    def spread(self) -> float:
        """Sample standard deviation over runs; 0 for a single one."""
        return statistics.stdev(self.ours) if len(self.ours) > 1 else 0.0

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        return None if self.published is None else self.mean - self.published


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """The paper's experiments on one data set, done again."""

    name: Published
    """Which data set."""
    lines: tuple[Line, ...]
    """All scores that both have."""
    headline: Line | None
    """The paper's best, and ours of the same approach; None where there is none."""
    departures: tuple[str, ...]
    """In what it is not the published experiment, in words; empty if it is."""
    comparisons: tuple[Path, ...]
    """Where all runs and scores are."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""

        def plain(line: Line) -> dict[str, Any]:
            further = {"mean": line.mean, "spread": line.spread, "difference": line.difference}
            return {**asdict(line), **further}

        return {
            "data_set": self.name,
            "lines": [plain(line) for line in self.lines],
            "headline": None if self.headline is None else plain(self.headline),
            "departures": list(self.departures),
            "comparisons": [str(path) for path in self.comparisons],
        }


def reproduce(
    name: str,
    data: str | Path,
    *,
    approaches: Sequence[str] | None = None,
    runs: int = 3,
    out: str | Path | None = None,
    matched: bool = False,
    progress: Progress = log_progress,
    **options: Any,
) -> Reproduction:
    """Train approaches as in the paper and hold the scores against the published ones.

    Each run has its own split and its own networks where ``data`` is the download; a data folder
    that is prepared already has one split, which all runs share. Called again, it continues.

    Args:
        name: ``isic2018``, ``hela``, ``suim`` or ``cityscapes``.
        data: The download as its source gives it, or what ``imseg prepare`` made of it.
        approaches: Names; None for both ends of the gap, IM and the paper's best on this data set.
        runs: How often everything is done; the paper has 3.
        out: The folder; ``runs/reproduce-<name>`` by default.
        matched: Add the baselines that train as long as each method, which the paper lacks.
        progress: Told how the work goes on.
        options: Fields of ``Settings`` that make it smaller, such as ``max_steps=100``.

    Raises:
        ImsegError: For everything the user can mend, before training starts.
        TrainingFailed: If no run at all could be finished.
    """
    plans = plan_reproduction(
        name,
        data,
        approaches=approaches,
        runs=runs,
        out=out,
        matched=matched,
        options=options,
        progress=progress,
    )
    return carry_out_all(name, plans, options=options, progress=progress)[0]


def plan_reproduction(
    name: str,
    data: str | Path,
    *,
    approaches: Sequence[str] | None,
    runs: int,
    out: str | Path | None,
    matched: bool,
    options: Mapping[str, Any],
    progress: Progress,
) -> list[Planned]:
    """Return one comparison a split. Downloads are prepared for that; nothing is trained.

    Args:
        name: As in ``reproduce``, like all others.
        data: The download, or a prepared folder.
        approaches: Names, or None.
        runs: How often.
        out: The folder, or None.
        matched: Whether baselines that train as long are added.
        options: Fields of ``Settings``.
        progress: Told what is prepared.

    Raises:
        ImsegError: For everything the user can mend.
    """
    known: dict[str, Published] = {each: each for each in PUBLISHED}
    chosen = look_up(name, known, noun="published experiment", command="imseg reproduce {} DATA")
    if runs < 1:
        raise ImsegError("There is nothing to do.", expected="--runs 1 or more.", got=str(runs))
    place = Path(out) if out is not None else Path("runs") / f"reproduce-{chosen}"
    wanted = list(approaches or default_approaches(chosen))
    found = [find_approach(each) for each in wanted]
    looks = any(each.sees_truth or each.pseudo_label is not None for each in found)
    plans = []
    for folder, seeds, where in _splits(chosen, Path(data), place, runs, progress):
        given = {**options, "paper": chosen}
        if looks and (folder / HIDDEN).is_dir():
            given["unlabeled_masks"] = folder / HIDDEN
        plans.append(
            make_plan(
                folder,
                approaches=wanted,
                seeds=seeds,
                out=where,
                options=given,
                progress=progress,
                matched=matched,
            )
        )
    return plans


def carry_out_all(
    name: str, plans: Sequence[Planned], *, options: Mapping[str, Any], progress: Progress
) -> tuple[Reproduction, list[Comparison]]:
    """Return what planned comparisons find, beside the paper's numbers, and the comparisons.

    Args:
        name: Which data set.
        plans: From ``plan_reproduction``.
        options: Fields of ``Settings`` that make it smaller.
        progress: Told how the work goes on.

    Raises:
        TrainingFailed: If no run at all could be finished.
    """
    chosen: Published = next(each for each in PUBLISHED if each == name)
    found = []
    for number, planned in enumerate(plans, 1):
        if len(plans) > 1:
            progress(Note(text=f"split {number} of {len(plans)}"))
        found.append(carry_out(planned, progress))
    done = hold_against(chosen, found, plans, options=options)
    write_json(plans[0].out.parent / RESULT_FILE, done.as_dict())
    return done, found


def hold_against(
    name: Published,
    found: Sequence[Comparison],
    plans: Sequence[Planned],
    *,
    options: Mapping[str, Any],
) -> Reproduction:
    """Return our scores beside the paper's.

    Args:
        name: Which data set.
        found: Finished comparisons, one a split.
        plans: What they did.
        options: Fields of ``Settings`` that made it smaller.
    """
    paper = PUBLISHED[name]
    runs: dict[str, list[OneRun]] = {}
    for comparison in found:
        for row in comparison.rows:
            runs.setdefault(row.name, []).extend(row.runs)
    key = found[0].metric.key
    rows = {row.name: row for comparison in found for row in comparison.rows}
    lines = [line for row in rows.values() for line in _lines(row, runs[row.name], paper)]
    headline = None
    best = paper.headline
    if best is not None and best.approach in runs:
        ours = tuple(run.per_image.get(best.score, run.score) for run in runs[best.approach])
        headline = Line(
            approach=best.approach,
            generation=None,
            label=best.label,
            published=best.value,
            below=None,
            ours=ours if best.score != key else tuple(run.score for run in runs[best.approach]),
        )
    return Reproduction(
        name=name,
        lines=tuple(lines),
        headline=headline,
        departures=tuple(_departures(found, options)),
        comparisons=tuple(planned.out for planned in plans),
    )


def _lines(row: Row, runs: Sequence[OneRun], paper: PaperScores) -> list[Line]:
    """Return a line for each stage that all runs of an approach have."""
    published = paper.of(row.approach) if row.role != "matched" else ()
    stages = min(len(run.stages) for run in runs)
    first = 1 if find_approach(row.approach).generations else 0
    lines = []
    for place in range(first, stages):
        at = place - first
        lines.append(
            Line(
                approach=row.name,
                generation=place if first else None,
                label=paper.label,
                published=published[at] if at < len(published) else None,
                below=paper.below.get(row.approach),
                ours=tuple(run.stages[place].score for run in runs),
            )
        )
    return lines


def _departures(found: Sequence[Comparison], options: Mapping[str, Any]) -> list[str]:
    """Return in what this is not the published experiment."""
    told = [f"{name} = {options[name]}" for name in SHORTER if options.get(name) is not None]
    further = ("image_size", "width", "batch_size")
    told += [f"{name} = {options[name]}" for name in further if options.get(name) is not None]
    runs = sum(len(comparison.seeds) for comparison in found)
    if runs < 3:
        told.append(f"{runs} of the paper's 3 runs")
    ended = {
        f"{row.name}, seed {run.seed}, ended after {run.stages[-1].name}"
        for comparison in found
        for row in comparison.rows
        for run in row.runs
        if row.role in ("method", "bound")
        and len(run.stages) == 1
        and find_approach(row.approach).generations
    }
    told += sorted(ended)
    missing = [each for comparison in found for each in comparison.missing]
    told += [f"{each.name}, seed {each.seed}, came to nothing: {each.why}" for each in missing]
    return told


def _splits(
    name: Published, data: Path, place: Path, runs: int, progress: Progress
) -> list[tuple[Path, list[int], Path]]:
    """Return data folder, seeds and place of each comparison; downloads are prepared here."""
    if (data / "labeled").is_dir():
        return [(data, list(range(runs)), place / "split-0")]
    found = []
    for seed in range(runs):
        folder = place / f"data-{seed}"
        if not (folder / "splits.json").is_file():
            progress(Note(text=f"preparing split {seed} in {folder}"))
            prepare_data_set(
                name,
                data,
                folder,
                seed=seed,
                progress=lambda what, done, total: progress(
                    Working(what=what, done=done, total=total)
                ),
                **({"paper_split": True} if name == "cityscapes" else {}),
            )
        found.append((folder, [seed], place / f"split-{seed}"))
    return found
