"""What a comparison found: ``comparison.json`` and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from imseg.comparison.participants import RowKind
from imseg.comparison.statistics import Gap, MeanScore, PairedDifference
from imseg.engine.inference.bootstrap import Interval
from imseg.engine.storage.run_folder import RESULT_FILE
from imseg.engine.storage.sealed import SealedFile
from imseg.errors import look_up
from imseg.tasks import Metric


def _inside(path: str) -> str:
    """Return a path that stays in the folder of the comparison.

    Raises:
        ValueError: If it leads out.
    """
    if PurePosixPath(path).is_absolute() or {"..", ""} & set(path.split("/")) or "\0" in path:
        raise ValueError(f"{path!r} leads out of the comparison")
    return path


PathInside = Annotated[str, AfterValidator(_inside)]
FileName = Annotated[str, StringConstraints(pattern=r"^[^/\\\x00-\x1f]+$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedData:
    """What was learned from and scored on: images per split."""

    name: str
    """The last part of its folder's name."""
    task: str
    """What masks hold, in the user's word."""
    labeled: int
    """Labeled images."""
    unlabeled: int
    """Unlabeled images."""
    val: int
    """Validation images; 0 where they are taken from the labeled ones."""
    test: int
    """Test images."""


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
    networks: Annotated[tuple[float, ...], Field(min_length=1)]
    """Test scores of all its networks that were scored, best by validation first."""
    validation: float
    """Score of its best network on the validation images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneRun:
    """One approach with one seed."""

    seed: int
    """The root of its randomness."""
    path: PathInside
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
class ComparisonRow:
    """An approach over all seeds. Scores are those of the network of each run."""

    name: FileName
    """What it is called."""
    approach: str
    """What was trained."""
    kind: RowKind
    """What it is in the comparison for."""
    asked: bool
    """Whether it was asked for, or added for a fair comparison."""
    matched_to: str | None
    """The row whose steps and width it got."""
    baseline: str | None
    """The row that it is compared with; None where there is none, or all its runs failed."""
    same_as: str | None
    """An earlier baseline whose networks are equal, bit by bit."""
    mean: float
    """Mean over seeds of the mean over test images."""
    spread: float
    """Sample standard deviation over seeds; 0 for a single one."""
    interval: Interval
    """Where 95 % of resampled sets of test images have the mean."""
    last: MeanScore
    """The same for the best network of the last generation."""
    difference: PairedDifference | None
    """Its score minus its baseline's; None where it has none."""
    other_differences: Mapping[str, PairedDifference]
    """The same for other rows that are matched to it."""
    ended_with_start: tuple[int, ...]
    """Seeds whose runs learned from no unlabeled image: they are left out of differences."""
    gap_closed: Gap | None
    """Share of the way from ldt to fdt; None where there is none."""
    network_steps: float
    """Optimizer steps of the network of the run, like all that follows a mean over seeds."""
    steps: float
    """Optimizer steps of everything that was trained."""
    tflops: float
    """10^12 floating point operations of all that."""
    minutes: float
    """Wall time of all networks, one after another."""
    width: float
    """The paper's alpha of the network of the run."""
    runs: Annotated[tuple[OneRun, ...], Field(min_length=1)]
    """One per seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRun:
    """A run that failed."""

    name: str
    """Of the row."""
    seed: int
    """Its seed."""
    why: str
    """The reason."""


class Comparison(SealedFile):
    """Approaches under the same conditions: the content of ``comparison.json``."""

    data: ComparedData
    """What all runs share."""
    metric: Metric
    """The score that is compared, by which networks are ranked too."""
    images: int
    """Test images."""
    seeds: tuple[int, ...]
    """The root of randomness of each run of a row."""
    settings: dict[str, Any]
    """What all runs share."""
    rows: Annotated[tuple[ComparisonRow, ...], Field(min_length=1)]
    """All approaches."""
    missing: tuple[MissingRun, ...] = ()
    """Runs that failed."""
    path: Annotated[Path, Field(exclude=True)] = Path()
    """Its folder, which may have been moved: it is not written down."""

    @property
    def methods(self) -> list[ComparisonRow]:
        """Approaches that learn from unlabeled images."""
        return [row for row in self.rows if row.kind == "method"]

    @property
    def best(self) -> ComparisonRow:
        """The row with the best mean, among those that use no hidden masks if there is any."""
        rows = [row for row in self.rows if row.kind != "bound"] or self.rows
        return max(rows, key=lambda row: self.merit(row.mean))

    def merit(self, value: float) -> float:
        """Return a number that is higher for better scores, or differences of scores."""
        return self.metric.merit({self.metric.key: value})

    def row(self, name: str) -> ComparisonRow:
        """Return the row of this name.

        Raises:
            ImsegError: If there is none: it was not asked for, or all its runs failed.
        """
        rows = {row.name: row for row in self.rows}
        return look_up(name, rows, noun="row", command="one of those that are there: {}")


def read_comparison(folder: Path) -> Comparison:
    """Return a finished comparison from its folder, which may be a stranger's.

    Raises:
        ImsegError: If there is none, or it is damaged.
    """
    return Comparison.read(folder / RESULT_FILE).model_copy(update={"path": folder})
