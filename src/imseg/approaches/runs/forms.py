"""What each file of a run must hold; a run may be anybody's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    NonNegativeInt,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from imseg.data.images.picture_file import MAX_CHANNELS
from imseg.engine.storage.run_folder import NETWORK_NAME, STAGE_NAME, RunFolder
from imseg.engine.storage.sealed import read_json
from imseg.engine.storage.trained_files import read_known
from imseg.engine.training.job import Trained
from imseg.errors import ImsegError, and_more
from imseg.tasks import Metric
from imseg.types import Reading, TargetSpec

StageName = Annotated[str, StringConstraints(pattern=f"^{STAGE_NAME}$")]
NetworkName = Annotated[str, StringConstraints(pattern=f"^{NETWORK_NAME}$")]
Ranking = Annotated[list[NetworkName], Field(min_length=1)]
Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_NUMBERS = ("uint8", "uint16", "float32")
_LARGEST = 0xFFFFFF  # the value of white, where values are packed colors
_SHOWN = 5


class _Form(BaseModel):
    """Values of exactly these types; what else there is stays as it is."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Labels(_Form):
    images: NonNegativeInt
    admitted: NonNegativeInt
    inconsistent_share: FiniteFloat | None = None


class _Network(_Form):
    name: NetworkName
    scores: dict[str, float]
    steps: NonNegativeInt
    seconds: Time


class _Stage(_Form):
    name: StageName
    best: NetworkName
    networks: Annotated[list[_Network], Field(min_length=1)]
    failed: list[str] = []
    pseudo_labels: _Labels | None = None

    @model_validator(mode="after")
    def _best_is_there(self) -> Self:
        if self.best not in {network.name for network in self.networks}:
            raise ValueError(f"there is no network {self.best}")
        return self


class _Summary(_Form):
    """``summary.json``."""

    task: str
    stage: StageName
    network: NetworkName
    ranking: Ranking
    validation: dict[str, float]
    start_was_better: bool
    steps: NonNegativeInt
    flops: Time
    training_seconds: Time
    seconds_by_activity: dict[str, Time] | None = None
    stages: Annotated[list[_Stage], Field(min_length=1)]
    aside: list[_Stage] = []

    @model_validator(mode="after")
    def _names_are_there(self) -> Self:
        known = {network.name for stage in self.stages for network in stage.networks}
        missing = [name for name in (self.network, *self.ranking) if name not in known]
        if missing or self.stage not in {stage.name for stage in self.stages}:
            raise ValueError(f"there is no {', '.join(missing) or self.stage}")
        return self


class _Done(_Form):
    """``DONE`` of a stage."""

    ranking: Ranking
    failed: list[str]
    pseudo_labels: _Labels | None


class _Judgment(_Form):
    """``judgment.json``."""

    samples: NonNegativeInt
    mae: FiniteFloat
    rank_correlation: FiniteFloat
    said: list[FiniteFloat]
    true: list[FiniteFloat]
    thresholds: Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> Self:
        if len(self.said) != len(self.true):
            raise ValueError("said and true are of different lengths")
        return self


class _Region(_Form):
    precision: FiniteFloat | None
    score: FiniteFloat | None


class _Audit(_Form):
    """``audit.json`` of a generation."""

    images: NonNegativeInt
    admitted: NonNegativeInt
    coverage: FiniteFloat | None
    outside: _Region
    inside: _Region
    everywhere: _Region
    not_admitted: _Region


class _Pictures(_Form):
    """``data.json``."""

    labeled: dict[str, str]
    unlabeled: dict[str, str] = {}
    val: dict[str, str] = {}


class _Origin(_Form):
    name: str


class _Provenance(_Form):
    """``provenance.json``."""

    started: str
    versions: dict[str, str]
    python: str
    machine: str
    cores: NonNegativeInt
    gpu: str | None = None
    data: _Origin


_FORMS: Mapping[str, type[_Form]] = {
    "summary.json": _Summary,
    "DONE": _Done,
    "judgment.json": _Judgment,
    "audit.json": _Audit,
    "data.json": _Pictures,
    "provenance.json": _Provenance,
}


def form_problem(path: Path, content: Mapping[str, Any]) -> str:
    """Return what is wrong with the content of a file of a run, by its name; empty: nothing."""
    form = _FORMS.get(path.name)
    try:
        if form is not None:
            form.model_validate(dict(content))
        elif path.name == "target.json":
            meaning(content)
        elif path.name.startswith("network-"):
            TypeAdapter(Trained).validate_python(dict(content))
    except ValidationError as error:
        return _in_words(error)
    except (KeyError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}."
    return ""


def meaning(content: Mapping[str, Any]) -> tuple[TargetSpec, Reading]:
    """Return what mask values mean and how pictures are read.

    Args:
        content: Of ``target.json``.

    Raises:
        KeyError: If something is missing.
        TypeError: If something has another type.
        ValueError: If something has another value.
    """
    spec = TargetSpec.from_dict(content)
    TypeAdapter(TargetSpec).validate_python(dataclasses.asdict(spec), strict=False)
    if spec.stored not in _NUMBERS or any(not 0 <= part <= 255 for c in spec.colors for part in c):
        raise ValueError(f"numbers of type {spec.stored!r}, or colors beyond 0..255")
    rising = list(spec.values) == sorted(set(spec.values))
    if not rising or any(not 0 <= value <= _LARGEST for value in spec.values):
        raise ValueError("values that do not rise from 0 to 16777215")
    reading = Reading.from_dict(content.get("reading", content))
    if not 1 <= reading.channels <= MAX_CHANNELS or not spec.names:
        raise ValueError(f"{reading.channels} channels, {len(spec.names)} names")
    return spec, reading


def _in_words(error: ValidationError) -> str:
    found = error.errors()
    told = [f"{'.'.join(map(str, each['loc'])) or 'all'}: {each['msg']}" for each in found[:_SHOWN]]
    more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
    return "; ".join(told) + more + "."


_EXPECTED = "a file of a run, as imseg writes it."
_HINT = "copy the run again, or repeat its train command; do not trust it if it is not yours."


def read_form(path: Path) -> dict[str, Any]:
    """Return the content of a file of a run that holds what it must.

    Raises:
        ImsegError: If it is missing, damaged, or holds anything else; all problems at once.
    """
    content = read_json(path)
    wrong = form_problem(path, content)
    if wrong:
        raise _refused(path, wrong)
    return content


def read_summary(folder: RunFolder, metric: Metric) -> dict[str, Any]:
    """Return the content of ``summary.json``, in which every network has the run's score.

    Raises:
        ImsegError: See ``read_form``.
    """
    content = read_form(folder.summary)
    stages = [*content["stages"], *content.get("aside", ())]
    scores = {
        network["name"]: network["scores"]
        for stage in stages
        if stage["name"] != "scorers"
        for network in stage["networks"]
    }
    lacking = [
        name
        for name, found in {"validation": content["validation"], **scores}.items()
        if metric.key not in found
    ]
    if lacking:
        raise _refused(folder.summary, f"no {metric.label} of {and_more(lacking)}.")
    return content


def read_target(path: Path) -> tuple[TargetSpec, Reading]:
    """Return what mask values mean and how pictures are read, from ``target.json``.

    Raises:
        ImsegError: See ``read_form``.
    """
    return meaning(read_form(path))


def read_network(
    folder: RunFolder, name: str, *, known: Sequence[str], metric: Metric, shape: tuple[int, int]
) -> Trained:
    """Return what is known about a network of a run.

    Args:
        folder: The run.
        name: The network; no name but the known ones leads to a file.
        known: The names of its networks.
        metric: What it must be scored by.
        shape: The channels that it must take, and the outputs that it must give.

    Raises:
        ImsegError: If there is no such network, or what is known about it is damaged.
    """
    wrong: list[str] = []
    weights = folder.weights(name)
    found = read_known(weights, tell=wrong.append) if name in known else None
    if found is not None:
        shaped = found.channels, found.outputs
        if found.name != name:
            wrong.append(f"{weights.with_suffix('.json')} is about {found.name}.")
        elif shaped != shape or metric.key not in found.scores:
            wrong.append(f"{weights.with_suffix('.json')} is about a network of another run.")
    if found is None or wrong:
        raise ImsegError(
            f"{folder.path} has no readable network named {name!r}.",
            expected=", ".join(known),
            got=wrong[0] if wrong else "no such network.",
            hint="repeat the train command; only what is damaged is trained again."
            if wrong
            else "check its name.",
        )
    return found


def _refused(path: Path, wrong: str) -> ImsegError:
    return ImsegError(
        f"{path} does not hold what it must.", expected=_EXPECTED, got=wrong, hint=_HINT
    )
