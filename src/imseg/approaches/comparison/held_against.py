"""Our scores beside the paper's, and in what they are not those of the published experiment."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imseg.approaches.catalog import find_approach
from imseg.approaches.comparison.planning import Planned
from imseg.approaches.comparison.published import PUBLISHED, PaperScores
from imseg.approaches.comparison.result import Comparison, OneRun, Row
from imseg.approaches.paper import Published

RUNS = 3
"""How often the paper does everything."""
LABELED_SHARE = 0.1
"""The part of the training images whose labels the paper uses."""
HARMLESS = ("device", "workers", "compile", "paper", "unlabeled_masks")
"""Settings under which the experiment is the same."""


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
    rows = {row.name: row for comparison in found for row in comparison.rows}
    lines = [line for row in rows.values() for line in _lines(row, runs[row.name], paper=paper)]
    headline = None
    best = paper.headline
    if best is not None and best.approach in runs:
        headline = Line(
            approach=best.approach,
            generation=None,
            label=best.label,
            published=best.value,
            below=None,
            ours=tuple(run.per_image[best.score] for run in runs[best.approach]),
        )
    return Reproduction(
        name=name,
        lines=tuple(lines),
        headline=headline,
        departures=tuple(_departures(name, found, plans=plans, options=options)),
        comparisons=tuple(planned.out for planned in plans),
    )


def _lines(row: Row, runs: Sequence[OneRun], *, paper: PaperScores) -> list[Line]:
    """Return a line for each stage, of the runs that got so far."""
    published = paper.of(row.approach) if row.role != "matched" else ()
    first = 1 if find_approach(row.approach).generations else 0
    lines = []
    for place in range(first, max(len(run.stages) for run in runs)):
        at = place - first
        lines.append(
            Line(
                approach=row.name,
                generation=place if first else None,
                label=paper.label,
                published=published[at] if at < len(published) else None,
                below=paper.below.get(row.approach),
                ours=tuple(run.stages[place].score for run in runs if place < len(run.stages)),
            )
        )
    return lines


def _departures(
    name: Published,
    found: Sequence[Comparison],
    *,
    plans: Sequence[Planned],
    options: Mapping[str, Any],
) -> list[str]:
    """Return in what this is not the published experiment."""
    given = {key: value for key, value in options.items() if key not in HARMLESS}
    told = [f"{key} = {value}" for key, value in given.items() if value is not None]
    told += _of_data(name, plans)
    runs = sum(len(comparison.seeds) for comparison in found)
    if runs < RUNS:
        told.append(f"{runs} of the paper's {RUNS} runs")
    for comparison in found:
        for row in comparison.rows:
            planned = max(len(run.stages) for run in row.runs)
            wanted = find_approach(row.approach).generations
            if wanted and "generations" not in given:
                planned = wanted + 1
            told += [
                f"{row.name}, seed {run.seed}, ended after {run.stages[-1].name}"
                for run in row.runs
                if len(run.stages) < planned
            ]
        told += [
            f"{each.name}, seed {each.seed}, came to nothing: {each.why}"
            for each in comparison.missing
        ]
    return told


def _of_data(name: Published, plans: Sequence[Planned]) -> list[str]:
    """Return in what the data is not that of the paper, as far as its folders know."""
    told = []
    for planned in plans:
        place = Path(planned.dataset.name) / "splits.json"
        try:
            known = json.loads(place.read_text(encoding="utf-8"))
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
