"""What ``comparison.json`` holds, as values with types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
)

from imseg.engine.storage.sealed import read_json
from imseg.errors import ImsegError
from imseg.tasks import Metric

FILE_NAME = "comparison.json"


def _inside(path: str) -> str:
    """Return a path below the comparison.

    Raises:
        ValueError: If it leads out.
    """
    if PurePosixPath(path).is_absolute() or {"..", ""} & set(path.split("/")) or "\0" in path:
        raise ValueError(f"{path!r} leads out of the comparison")
    return path


Inside = Annotated[str, AfterValidator(_inside)]
PlainName = Annotated[str, StringConstraints(pattern=r"^[^/\\\x00-\x1f]+$")]


class _Plain(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


Form = TypeVar("Form", bound=_Plain)


class Material(_Plain):
    """The data of a comparison."""

    name: str
    task: str
    labeled: int
    unlabeled: int
    val: int
    test: int


class Difference(_Plain):
    """How far a row is from its baseline, on the same images."""

    mean: float
    interval: tuple[float, float]
    of_seeds: tuple[float, ...] = ()
    images_better: float | None = None
    margin: float | None = None
    verdict: Literal["better", "worse", "open"] = "open"


class Closed(_Plain):
    """How much of the way from few labels to all labels was made."""

    mean: float
    interval: tuple[float, float]


class StageScore(_Plain):
    """A stage of a run on test images."""

    name: str
    network: str
    score: float
    interval: tuple[float, float] | None = None
    networks: tuple[float, ...] = ()
    validation: float | None = None


class OneRun(_Plain):
    """An approach with one seed."""

    seed: int
    path: Inside
    stage: str
    network: str
    width: float
    score: float
    network_steps: int
    steps: int
    flops: float
    seconds: float
    stages: tuple[StageScore, ...] = ()


class Row(_Plain):
    """An approach over all seeds; scores are of test images, in the metric's own direction."""

    name: PlainName
    approach: str
    kind: str
    matched_to: str | None = None
    baseline: str | None = None
    same_as: str | None = None
    asked: bool = True
    mean: float
    spread: float
    interval: tuple[float, float]
    difference: Difference | None = None
    gap_closed: Closed | None = None
    network_steps: float
    steps: float
    tflops: float
    minutes: float
    width: float
    runs: tuple[OneRun, ...]


class ImageScores(_Plain):
    """What the network of a run scored on each test image."""

    names: tuple[str, ...] = ()
    each: dict[str, tuple[float | None, ...]] = {}


class Missing(_Plain):
    """A run that came to nothing."""

    name: str
    seed: int
    why: str


class _Measured(_Plain):
    key: str
    label: str
    higher_is_better: bool
    unit: str = ""
    pooled_key: str = ""


class _File(_Plain):
    data: Material
    metric: _Measured
    images: int
    seeds: tuple[int, ...]
    settings: dict[str, Any] = {}
    rows: tuple[Row, ...]
    missing: tuple[Missing, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A finished comparison."""

    path: Path
    """Its folder."""
    data: Material
    """What it was made with."""
    metric: Metric
    """What is compared."""
    images: int
    """Test images."""
    seeds: tuple[int, ...]
    """Repetitions."""
    settings: dict[str, Any]
    """What was asked for."""
    rows: tuple[Row, ...]
    """The approaches."""
    missing: tuple[Missing, ...] = ()
    """Runs that came to nothing."""

    def row(self, name: str | None) -> Row | None:
        """Return the row of a name; None if there is none."""
        return next((row for row in self.rows if row.name == name), None)

    @property
    def methods(self) -> list[Row]:
        """Approaches that use unlabeled images, as they stand."""
        return [row for row in self.rows if row.kind == "method"]


def read_comparison(folder: Path) -> Comparison:
    """Return a finished comparison from its folder.

    Raises:
        ImsegError: If there is none, or it is damaged.
    """
    found = checked(_File, read_json(folder / FILE_NAME), folder / FILE_NAME)
    return Comparison(
        path=folder,
        data=found.data,
        metric=Metric(**found.metric.model_dump()),
        images=found.images,
        seeds=found.seeds,
        settings=found.settings,
        rows=found.rows,
        missing=found.missing,
    )


def checked(form: type[Form], content: object, path: Path) -> Form:
    """Return what a file of a comparison holds.

    Args:
        form: What it must hold.
        content: What it holds.
        path: Where it is, for the error.

    Raises:
        ImsegError: If it holds something else.
    """
    try:
        return form.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ImsegError(
            f"{path} cannot be read.",
            expected="the file that a comparison writes.",
            got=f"{place}: {first['msg']}",
        ) from error
