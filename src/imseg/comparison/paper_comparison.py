"""The scores of the paper beside ours.

Those of the paper are in ``published.json``: read off the authors' figure, to about .0005 (a marker
hidden behind another: to .002), means over test images; null where the figure shows no number. The
headline scores are entries of the authors' leaderboards, probably best single runs; of which
generation is not known.

Source: arXiv 2401.14387.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.methods.paper import Published
from imseg.comparison.comparison_plan import ComparisonPlan, plan_comparison
from imseg.comparison.participants import command_for
from imseg.comparison.result import Comparison, ComparisonRow, OneRun
from imseg.comparison.runner import carry_out
from imseg.data.datasets import prepare_data_set
from imseg.engine.storage.sealed import SealedFile
from imseg.errors import ImsegError, look_up
from imseg.progress import Note, Progress, Working


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The best score that the paper is known for on a data set."""

    approach: str
    """Who got it."""
    score: str
    """Its name among our scores of an image."""
    label: str
    """Its name in the paper."""
    value: float
    """Mean over test images."""
    parameters: float
    """Millions of numbers in the network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperScores:
    """What the paper reports for one data set."""

    label: str
    """The paper's name of the score; ours is that by which networks are ranked."""
    alone: Mapping[str, float]
    """Approaches of one stage."""
    generations: Mapping[str, tuple[float | None, ...]]
    """Approaches with generations, 1 to 5; None where the paper only says that it is below what
    the figure shows."""
    headline: Headline | None
    """The best score; None where there is no such entry."""
    below: Mapping[str, float]
    """Approaches of which the paper shows no number, and what they are below."""

    def of(self, approach: str) -> tuple[float | None, ...]:
        """Return the published scores of an approach, generation after generation."""
        if approach in self.alone:
            return (self.alone[approach],)
        return self.generations.get(approach, ())


_FILE = Path(__file__).with_name("published.json")
_SCORES = TypeAdapter(dict[Published, PaperScores])
PUBLISHED = _SCORES.validate_json(_FILE.read_bytes(), strict=True)
"""What the paper reports, by data set."""


def default_approaches(name: Published) -> tuple[str, ...]:
    """Return what is reproduced if nothing else is asked for: both ends, IM and the best."""
    headline = PUBLISHED[name].headline
    return ("ldt", "aldt", "fdt", "im", headline.approach if headline else "aim+")


RUNS = 3
"""How often the paper does everything."""
LABELED_SHARE = 0.1
"""The part of the training images whose labels the paper uses."""
HARMLESS = ("device", "workers", "compile", "paper", "unlabeled_masks")
"""Settings under which the experiment is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperLine:
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
    """One per run, means over test images."""

    mean: float
    """Mean over runs."""
    spread: float
    """Sample standard deviation over runs; 0 for a single one."""
    difference: float | None
    """Ours minus the paper's; None where the paper shows no number."""


class Reproduction(SealedFile):
    """The paper's experiments on one data set, done again: ``reproduction.json``."""

    data_set: Published
    """Which data set."""
    lines: tuple[PaperLine, ...]
    """All scores that both have."""
    headline: PaperLine | None
    """The paper's best, and ours of the same approach; None where there is none."""
    departures: tuple[str, ...]
    """In what it is not the published experiment, in words; empty if it is."""
    comparisons: tuple[Path, ...]
    """Where all runs and scores are."""


def _lines(row: ComparisonRow, runs: Sequence[OneRun], *, paper: PaperScores) -> list[PaperLine]:
    """Return a line for each stage, of the runs that got so far."""
    published = paper.of(row.approach) if row.kind != "matched" else ()
    first = 1 if find_approach(row.approach).generations else 0
    return [
        _line(
            row.name,
            [run.stages[place].score for run in runs if place < len(run.stages)],
            label=paper.label,
            published=published[place - first] if place - first < len(published) else None,
            generation=place if first else None,
            below=paper.below.get(row.approach),
        )
        for place in range(first, max(len(run.stages) for run in runs))
    ]


def _line(
    approach: str,
    ours: Sequence[float],
    *,
    label: str,
    published: float | None,
    generation: int | None = None,
    below: float | None = None,
) -> PaperLine:
    mean = statistics.fmean(ours)
    return PaperLine(
        approach=approach,
        generation=generation,
        label=label,
        published=published,
        below=below,
        ours=tuple(ours),
        mean=mean,
        spread=statistics.stdev(ours) if len(ours) > 1 else 0.0,
        difference=None if published is None else mean - published,
    )


def _departures(found: Sequence[Comparison], plans: Sequence[ComparisonPlan]) -> list[str]:
    """Return in what this is not the published experiment."""
    given = {key: value for key, value in plans[0].given.items() if key not in HARMLESS}
    told = [f"{key} = {value}" for key, value in given.items()]
    told += _of_data(plans[0].given["paper"], plans)
    runs = sum(len(comparison.seeds) for comparison in found)
    if runs < RUNS:
        told.append(f"{runs} of the paper's {RUNS} runs")
    for comparison in found:
        for row in comparison.rows:
            stages = max(len(run.stages) for run in row.runs)
            generations = find_approach(row.approach).generations
            if generations and "generations" not in given:
                stages = generations + 1
            told += [
                f"{row.name}, seed {run.seed}, ended after {run.stages[-1].name}"
                for run in row.runs
                if len(run.stages) < stages
            ]
        told += [f"{run.name}, seed {run.seed}, failed: {run.why}" for run in comparison.missing]
    return told


def _of_data(name: Published, plans: Sequence[ComparisonPlan]) -> list[str]:
    """Return in what the data is not that of the paper, as far as its folders know."""
    told = []
    for planned in plans:
        place = Path(planned.dataset.name) / "splits.json"
        try:
            known = json.loads(place.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            told.append(f"{planned.dataset.name} was not made by `imseg prepare {name}`")
            continue
        title = {"isic2018": "ISIC 2018", "hela": "HeLa", "suim": "SUIM"}.get(name, "Cityscapes")
        if not str(known.get("source", "")).startswith(title):
            told.append(f"the data is {known.get('source', 'unknown')}, not {title}")
        share = known.get("labeled_share", LABELED_SHARE)
        if share != LABELED_SHARE:
            told.append(f"{share:.0%} of the training images are labeled, not 10%")
    if len(plans) == 1 and len(plans[0].seeds) > 1:
        told.append("all runs share one split")
    return list(dict.fromkeys(told))


REPRODUCTION_FILE = "reproduction.json"
HIDDEN = Path("hidden") / "masks"


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
) -> list[ComparisonPlan]:
    """Return one comparison per split. Downloads are prepared for that; nothing is trained.

    Each run has its own split and its own networks where ``data`` is the download; a data folder
    that is prepared already has one split, which all runs share.

    Args:
        name: ``isic2018``, ``hela``, ``suim`` or ``cityscapes``.
        data: The download as its source gives it, or what ``imseg prepare`` made of it.
        approaches: Names; None for both ends of the gap, IM and the paper's best on this data set.
        runs: How often everything is done; the paper has 3.
        out: The folder; None for ``runs/reproduce-<name>``.
        matched: Add the baselines that train as long as each method, which the paper lacks.
        options: Fields of ``Settings`` that make it smaller, such as ``max_steps``.
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
    found = [find_approach(each, command_for(each, wanted)) for each in wanted]
    looks = any(each.sees_truth or each.pseudo_label is not None for each in found)
    plans = []
    splits = _splits(chosen, Path(data), place=place, runs=runs, progress=progress)
    for folder, seeds, where in splits:
        given = {**options, "paper": chosen}
        if looks and (folder / HIDDEN).is_dir():
            given["unlabeled_masks"] = folder / HIDDEN
        plans.append(
            plan_comparison(
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
    plans: Sequence[ComparisonPlan], progress: Progress
) -> tuple[Reproduction, list[Comparison]]:
    """Return what planned comparisons find, beside the paper's numbers, and the comparisons.

    Args:
        plans: From ``plan_reproduction``.
        progress: Told how the work goes on.

    Raises:
        TrainingFailed: If no run at all could be finished.
    """
    found = []
    for number, planned in enumerate(plans, 1):
        if len(plans) > 1:
            progress(Note(text=f"split {number} of {len(plans)}"))
        found.append(carry_out(planned, progress))
    name: Published = plans[0].given["paper"]
    rows = {row.name: row for comparison in found for row in comparison.rows}
    runs: dict[str, list[OneRun]] = {row: [] for row in rows}
    for comparison in found:
        for row in comparison.rows:
            runs[row.name] += row.runs
    headline, best = None, PUBLISHED[name].headline
    if best is not None and best.approach in runs:
        ours = [run.per_image[best.score] for run in runs[best.approach]]
        headline = _line(best.approach, ours, label=best.label, published=best.value)
    lines = (_lines(row, runs[row.name], paper=PUBLISHED[name]) for row in rows.values())
    done = Reproduction(
        data_set=name,
        lines=tuple(line for of_row in lines for line in of_row),
        headline=headline,
        departures=tuple(_departures(found, plans)),
        comparisons=tuple(planned.out for planned in plans),
    )
    done.write(plans[0].out.parent / REPRODUCTION_FILE)
    return done, found


def _splits(
    name: Published, data: Path, *, place: Path, runs: int, progress: Progress
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
