"""What a comparison found, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from imseg.comparison.participants import Role
from imseg.comparison.statistics import Difference, Gap, Level
from imseg.engine.inference.bootstrap import Interval
from imseg.errors import look_up
from imseg.tasks import Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class StageScore:
    """A stage of a run on the test images."""

    name: str
    """``start`` or ``generation-K``."""
    network: str
    """Its best network by validation, whose score stands for it."""
    score: float
    """Mean over test images."""
    interval: Interval
    """Bootstrap interval over test images."""
    networks: tuple[float, ...]
    """Test scores of all its networks that were scored, best by validation first."""
    validation: float
    """Score of its best network on the validation images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRun:
    """One approach with one seed."""

    seed: int
    """The root of its randomness."""
    path: str
    """Its folder, relative to that of the comparison."""
    stage: str
    """The stage that was chosen by validation."""
    network: str
    """The network of the run."""
    width: float
    """The paper's alpha of that network."""
    network_steps: int
    """Optimizer steps of that network."""
    score: float
    """Its mean over test images."""
    last_score: float
    """The same of the best network of the last stage."""
    steps: int
    """Optimizer steps of everything that was trained, the start included."""
    flops: float
    """Floating point operations of all that."""
    seconds: float
    """Wall time of all networks, one after another, the start included."""
    stages: tuple[StageScore, ...]
    """All stages."""
    dataset: dict[str, float]
    """Scores of its network over all test pixels together."""
    per_image: dict[str, float]
    """All scores of its network, means over test images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An approach over all seeds."""

    name: str
    """What it is called."""
    approach: str
    """What was trained."""
    role: Role
    """What it is in the comparison for."""
    asked: bool
    """Whether somebody asked for it, or fairness did."""
    matched_to: str | None
    """The row whose steps and width it got."""
    baseline: str | None
    """The row that it is compared with; None where there is none, or it came to nothing."""
    same_as: str | None
    """An earlier baseline whose networks are the same ones, bit by bit."""
    level: Level
    """Its run's network: the best generation by validation."""
    last: Level
    """The best network of the last generation."""
    difference: Difference | None
    """Its score minus its baseline's; None where it has none."""
    against: Mapping[str, Difference]
    """The same for other rows that are matched to it."""
    ended_with_start: tuple[int, ...]
    """Seeds whose runs learned from no unlabeled image: they are left out of differences."""
    gap_closed: Gap | None
    """Share of the way from ldt to fdt; None where there is none."""
    runs: tuple[OneRun, ...]
    """One a seed."""

    def mean(self, name: str) -> float:
        """Return the mean over seeds of a number of its runs."""
        return sum(float(getattr(run, name)) for run in self.runs) / len(self.runs)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "approach": self.approach,
            "kind": self.role,
            "asked": self.asked,
            "matched_to": self.matched_to,
            "baseline": self.baseline,
            "same_as": self.same_as,
            **asdict(self.level),
            "last": asdict(self.last),
            "difference": None if self.difference is None else asdict(self.difference),
            "against": {name: asdict(each) for name, each in self.against.items()},
            "ended_with_start": list(self.ended_with_start),
            "gap_closed": None if self.gap_closed is None else asdict(self.gap_closed),
            "network_steps": self.mean("network_steps"),
            "steps": self.mean("steps"),
            "tflops": self.mean("flops") / 1e12,
            "minutes": self.mean("seconds") / 60,
            "width": self.mean("width"),
            "runs": [asdict(run) for run in self.runs],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A run that came to nothing."""

    name: str
    """Of the row."""
    seed: int
    """Its seed."""
    why: str
    """The reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Approaches under the same conditions."""

    data: dict[str, Any]
    """Name, task and number of images of each split."""
    metric: Metric
    """The score that is compared, by which networks are ranked too."""
    images: int
    """Test images."""
    seeds: tuple[int, ...]
    """The root of randomness of each run of a row."""
    settings: Mapping[str, Any]
    """What all runs share."""
    rows: tuple[Row, ...]
    """All approaches."""
    missing: tuple[Missing, ...] = ()
    """Runs that came to nothing."""

    def row(self, name: str) -> Row:
        """Return the row of this name.

        Raises:
            ImsegError: If there is none: it was not asked for, or all its runs came to nothing.
        """
        return look_up(
            name,
            {row.name: row for row in self.rows},
            noun="row",
            command="one of those that are there: {}",
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "data": self.data,
            "metric": asdict(self.metric),
            "images": self.images,
            "seeds": list(self.seeds),
            "settings": dict(self.settings),
            "rows": [row.as_dict() for row in self.rows],
            "missing": [asdict(each) for each in self.missing],
        }
