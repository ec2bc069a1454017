"""The scores of the paper, to hold ours against.

Read off the authors' figure, to about .0005 (a marker hidden behind another: to .002), means over
test images. The headline scores are entries of the authors' leaderboards, probably best single
runs; of which generation is not said.

Source: arXiv 2401.14387.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.methods.paper import Published
from imseg.comparison.comparison_plan import Planned
from imseg.comparison.result import Comparison, OneRun, Row


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
    headline: Headline | None = None
    """The best score; None where there is no such entry."""
    below: Mapping[str, float] = field(default_factory=dict)
    """Approaches of which the paper shows no number, and what they are below."""

    def of(self, approach: str) -> tuple[float | None, ...]:
        """Return the published scores of an approach, generation after generation."""
        if approach in self.alone:
            return (self.alone[approach],)
        return self.generations.get(approach, ())


PUBLISHED: Mapping[Published, PaperScores] = {
    "isic2018": PaperScores(
        label="IoU",
        alone={"ldt": 0.655, "aldt": 0.722, "fdt": 0.745},
        generations={
            "im": (0.698, 0.710, 0.713, 0.717, 0.718),
            "im+": (0.698, 0.707, 0.717, 0.727, 0.732),
            "im++": (0.709, 0.718, 0.738, 0.747, 0.757),
            "aim+": (0.740, 0.749, 0.749, 0.748, 0.750),
            "aim++": (0.745, 0.758, 0.763, 0.766, 0.767),
            "noisy-student": (0.679, 0.695, 0.704, 0.717, 0.724),
            "evalnet": (0.702, 0.709, 0.712, 0.721, 0.712),
            "model-ensemble": (0.673, 0.680, 0.686, 0.688, 0.689),
            "input-ensemble": (None, None, 0.651, 0.655, 0.657),
        },
        headline=Headline(
            approach="aim++", score="dice", label="mean Dice", value=0.85, parameters=1.5
        ),
        below={"consistency": 0.65},
    ),
    "hela": PaperScores(
        label="mIoU_ad",
        alone={"ldt": 0.511, "aldt": 0.657, "fdt": 0.693, "consistency": 0.536},
        generations={
            "im": (0.653, 0.677, 0.673, 0.669, 0.666),
            "im+": (0.658, 0.681, 0.686, 0.681, 0.682),
            "im++": (0.653, 0.672, 0.680, 0.676, 0.678),
            "aim+": (0.665, 0.683, 0.687, 0.686, 0.689),
            "aim++": (0.666, 0.680, 0.683, 0.687, 0.688),
            "noisy-student": (0.620, 0.656, 0.665, 0.673, 0.669),
            "evalnet": (0.636, 0.651, 0.650, 0.646, 0.645),
            "model-ensemble": (None, 0.515, 0.539, 0.546, 0.555),
        },
        below={"input-ensemble": 0.51},
    ),
    "suim": PaperScores(
        label="mIoU",
        alone={"ldt": 0.333, "aldt": 0.429, "fdt": 0.509},
        generations={
            "im": (0.387, 0.410, 0.421, 0.430, 0.432),
            "im+": (0.382, 0.411, 0.431, 0.447, 0.450),
            "im++": (0.388, 0.419, 0.441, 0.453, 0.463),
            "aim+": (0.452, 0.462, 0.466, 0.471, 0.475),
            "aim++": (0.454, 0.462, 0.469, 0.470, 0.471),
            "noisy-student": (0.340, 0.369, 0.403, 0.417, 0.424),
            "evalnet": (0.387, 0.391, 0.397, 0.387, 0.389),
            "model-ensemble": (0.333, 0.336, 0.338, 0.340, 0.346),
        },
        headline=Headline(approach="aim+", score="iou", label="mIoU", value=0.482, parameters=2.7),
        below={"consistency": 0.33, "input-ensemble": 0.33},
    ),
    "cityscapes": PaperScores(
        label="mIoU",
        alone={"ldt": 0.310, "aldt": 0.372, "fdt": 0.453, "consistency": 0.336},
        generations={
            "im": (0.382, 0.394, 0.399, 0.402, 0.404),
            "im+": (0.38, 0.404, 0.411, 0.417, 0.423),
            "im++": (0.378, 0.402, 0.415, 0.421, 0.425),
            "aim+": (0.391, 0.398, 0.404, 0.406, 0.411),
            "aim++": (0.393, 0.401, 0.408, 0.415, 0.422),
            "noisy-student": (0.346, 0.369, 0.382, 0.392, 0.398),
            "evalnet": (0.335, 0.342, 0.348, 0.351, 0.352),
            "model-ensemble": (0.338, 0.342, 0.343, 0.344, 0.345),
        },
        headline=Headline(approach="im++", score="iou", label="mIoU", value=0.428, parameters=2.7),
        below={"input-ensemble": 0.31},
    ),
}


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


def compare_with_paper(
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
