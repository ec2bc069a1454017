"""What a comparison is, what came of it, and how far one has come that is not finished."""

import hashlib
import json
import re
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from imseg.approaches.planning.settings import plain_values
from imseg.approaches.runs import run_status
from imseg.approaches.runs.record import Recovery
from imseg.comparison.participants import RowKind, participants_of
from imseg.comparison.scoring import Gap, MeanScore, PairedDifference
from imseg.data.files.listing import content_of
from imseg.engine.inference.evaluator import Interval
from imseg.engine.storage.run_folder import RESULT_FILE, SETTINGS_FILE, Owner, RunFolder, owner_of
from imseg.engine.storage.sealed import SealedFile, read_sealed
from imseg.errors import ImsegError, look_up
from imseg.tasks import Metric
from imseg.types import DataSet, Image, LabeledImage


class ComparisonRecord(SealedFile):
    """What a comparison is: the content of ``comparison.toml``, by which it is known again."""

    approaches: tuple[str, ...]
    """Those that were asked for."""
    seeds: tuple[int, ...]
    """All of them."""
    matched: bool
    """Whether each method has a baseline that trains as long."""
    asked: dict[str, Any]
    """Shared settings as they were asked for."""
    settled: dict[str, Any]
    """The same with every number settled."""
    data: dict[str, str]
    """A hash of each split, and of what masks mean."""


def check_place(place: Path) -> None:
    """Check that a folder is new, empty, or holds a comparison.

    Raises:
        ImsegError: If it holds something else, or cannot be written to.
    """
    if RunFolder(place).experiment.exists():
        raise ImsegError(
            f"{place} is a run, not a comparison.",
            expected="a new or empty folder, or the comparison to continue.",
            hint="--out with another folder.",
        )
    found = {each.name for each in place.iterdir()} - {".lock"} if place.is_dir() else set()
    if found and not any(re.fullmatch(rf"{re.escape(SETTINGS_FILE)}|seed-\d+", n) for n in found):
        raise ImsegError(
            f"{place} is not empty and is not a comparison.",
            expected="a new or empty folder, or the comparison to continue.",
            got=", ".join(sorted(found)[:4]),
            hint="--out with another folder.",
        )
    if not found:
        RunFolder(place).check_place()
    RunFolder(place).check_links()


def check_same_settings(
    place: Path, earlier: ComparisonRecord, *, given: Mapping[str, Any]
) -> None:
    """Check that a comparison in progress is the one that is asked for now.

    Raises:
        ImsegError: If any shared setting differs. Approaches and seeds may be added.
    """
    then, now = earlier.asked, plain_values(given)
    # Hidden masks change no network but those of upper bounds, whose runs know them; they may have
    # been moved, or come with the first upper bound.
    names = sorted({*then, *now} - {"unlabeled_masks"})
    changed = [name for name in names if then.get(name) != now.get(name)]
    if changed:
        expected, got = (
            ", ".join(f"{name} = {known.get(name, '(default)')}" for name in changed)
            for known in (then, now)
        )
        raise ImsegError(
            f"{place} holds a comparison under other settings.",
            expected=expected,
            got=got,
            hint="--out with another folder; approaches and seeds can be added to this one.",
        )


def check_same_data(place: Path, earlier: ComparisonRecord, *, dataset: DataSet) -> None:
    """Check that images and masks are those that a comparison began with.

    Raises:
        ImsegError: If any split has changed.
    """
    then, now = earlier.data, digests_of(dataset)
    changed = [split for split in now if then.get(split) != now[split]]
    if changed:
        raise ImsegError(
            f"The data has changed since {place} was begun.",
            expected="the same images and masks as then.",
            got=f"other content in: {', '.join(changed)}.".replace("meaning", "imseg.toml"),
            hint="--out with another folder.",
        )


def digests_of(dataset: DataSet) -> dict[str, str]:
    """Return a hash of the images and masks of each split, and of what they mean."""
    meaning = {"target": dataset.spec.as_dict(), "reading": dataset.reading.as_dict()}
    found = {"meaning": _hash(json.dumps(meaning, sort_keys=True))}
    for split in ("labeled", "unlabeled", "val", "test"):
        lines = [f"{entry.name} {_content(entry, dataset)}" for entry in getattr(dataset, split)]
        found[split] = _hash("\n".join(lines))
    return found


def _content(entry: Image | LabeledImage, dataset: DataSet) -> str:
    if entry.name in dataset.digests:
        return dataset.digests[entry.name]
    if isinstance(entry, LabeledImage):
        return content_of(entry.image.pixels) + content_of(entry.mask)
    return content_of(entry.pixels)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
    kept_start: tuple[int, ...] = ()
    """Seeds whose network is that of the start, labels alone, since no generation was better."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonStatus:
    """How far a comparison has come."""

    path: Path
    """Its folder."""
    state: run_status.RunState
    """Whether it is finished, under way in some process, or stopped."""
    owner: Owner | None
    """The process that works on it now; None if there is none."""
    runs: Mapping[str, run_status.RunStatus | None]
    """Each run by its place, such as ``seed-0/im``, in the order of training; None: not begun."""
    seconds_left: float | None
    """About how long it has still to go; None where that is not known."""
    damaged: tuple[str, ...]
    """What is wrong with files, those of all runs, in words that name them."""
    command: str | None
    """What continues it; None where it was not begun by a command."""

    @property
    def finished(self) -> int:
        """Runs that are finished."""
        return sum(run is not None and run.state == "finished" for run in self.runs.values())

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "comparison": str(self.path),
            "state": self.state,
            "owner": self.owner and asdict(self.owner),
            "runs": {name: run and run.as_dict() for name, run in self.runs.items()},
            "finished": self.finished,
            "seconds_left": self.seconds_left,
            "damaged": list(self.damaged),
            "command": self.command,
        }


def is_comparison(path: Path) -> bool:
    """Return whether a folder is that of a comparison."""
    return (path / SETTINGS_FILE).exists()


def comparison_status(path: str | Path) -> ComparisonStatus:
    """Return how far a comparison has come.

    Args:
        path: Its folder, in which another process may be at work.
    """
    folder = Path(path)
    owner = owner_of(folder)
    memory = Recovery(RunFolder(folder))
    record = memory.content(folder / SETTINGS_FILE, ComparisonRecord.read)
    runs = {name: _run(folder / name) for name in _places(folder, record)}
    begun = [run for run in runs.values() if run is not None]
    for wrong in [wrong for run in begun for wrong in run.damaged]:
        memory.tell(wrong)
    result = memory.content(folder / RESULT_FILE, read_sealed)
    all_done = bool(runs) and all(run and run.state == "finished" for run in runs.values())
    finished = result is not None and all_done
    return ComparisonStatus(
        path=folder,
        state="finished" if finished else "stopped" if owner is None else "under way",
        owner=owner,
        runs=runs,
        seconds_left=None if finished else _left(runs),
        damaged=tuple(memory.damaged),
        command=next((run.command for run in reversed(begun) if run.command), None),
    )


def _places(folder: Path, record: ComparisonRecord | None) -> list[str]:
    """Return the places of all runs: those that were planned, else those that are there."""
    there = [path for path in sorted(folder.glob("seed-*/*")) if path.is_dir()]
    planned = []
    if record is not None:
        rows = participants_of(record.approaches, matched=record.matched)
        planned = [f"seed-{seed}/{row.name}" for seed in record.seeds for row in rows]
    return list(dict.fromkeys([*planned, *(f"{path.parent.name}/{path.name}" for path in there)]))


def _run(path: Path) -> run_status.RunStatus | None:
    """Return how far a run has come; None if it is not begun."""
    try:
        return run_status.status_of(path)
    except ImsegError:
        return None


def _left(runs: Mapping[str, run_status.RunStatus | None]) -> float | None:
    """Return about how many seconds are left: a run that is not begun takes as long as its like.

    None where one is not known.
    """
    spent: dict[str, list[float]] = {}
    for name, run in runs.items():
        if run is not None and run.state == "finished":
            seconds = [each.seconds for stage in run.stages for each in stage.trained]
            spent.setdefault(name.partition("/")[2], []).append(sum(seconds))
    left = 0.0
    for name, run in runs.items():
        if run is None:
            like = spent.get(name.partition("/")[2])
            seconds_left = statistics.fmean(like) if like else None
        else:
            seconds_left = 0.0 if run.state == "finished" else run.seconds_left
        if seconds_left is None:
            return None
        left += seconds_left
    return left
