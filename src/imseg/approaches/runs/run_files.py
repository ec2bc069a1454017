"""The files of a run: one model per file, which writes it and checks it when it is read.

A run may come from anywhere, so every value is of exactly its type, and nothing else is there.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic
from pydantic import Field, FiniteFloat, NonNegativeInt, TypeAdapter, model_validator
from torch import nn

from imseg.approaches.planning.plan import Plan
from imseg.components import audit, labeling
from imseg.data.images.tiff_decoding import MAX_CHANNELS
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.storage import sealed
from imseg.engine.storage.run_folder import NETWORK_NAME, STAGE_NAME, RunFolder
from imseg.engine.training.job import Trained, load_network, read_known
from imseg.errors import ImsegError, and_more
from imseg.tasks import Metric
from imseg.types import Reading, TargetSpec

StageName = Annotated[str, pydantic.StringConstraints(pattern=f"^{STAGE_NAME}$")]
NetworkName = Annotated[str, pydantic.StringConstraints(pattern=f"^{NETWORK_NAME}$")]
Ranking = Annotated[tuple[NetworkName, ...], Field(min_length=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_LARGEST = 0xFFFFFF  # the value of white, where values are packed colors


class NetworkSummary(sealed.StrictModel):
    """A network of a stage, in short."""

    name: NetworkName
    """Its place in the run."""
    scores: dict[str, float]
    """On validation images."""
    images: NonNegativeInt
    """Training samples, copies included."""
    steps: NonNegativeInt
    """Optimizer steps."""
    epochs: NonNegativeInt
    """Looks at the validation images."""
    best_epoch: int
    """The look whose weights were kept, from 1."""
    width: float
    """How wide it is."""
    parameters: NonNegativeInt
    """Trainable numbers."""
    flops: Amount
    """Floating point operations of the whole training."""
    seconds: Amount
    """Wall time."""
    retried: bool
    """Whether this is the second try."""
    at_once: int | None
    """Images whose gradients were computed at once; None: whole batches."""

    @classmethod
    def of_network(cls, network: Trained) -> Self:
        """Return what is kept of all that is known about a network."""
        names = set(cls.model_fields) - {"width"}
        values = {name: getattr(network, name) for name in names}
        return cls(width=network.network.relative_width, **values)


class StageSummary(sealed.StrictModel):
    """A finished stage."""

    name: StageName
    """``start``, ``generation-K``, or that of mask scorers."""
    best: NetworkName
    """The network ranked first."""
    score: float
    """Its score on validation images, by the run's metric."""
    mean_score: float
    """The mean over its networks."""
    spread_score: float
    """The sample standard deviation over its networks; 0 for one."""
    networks: Annotated[tuple[NetworkSummary, ...], Field(min_length=1)]
    """Best first."""
    failed: tuple[str, ...]
    """Why networks are missing."""
    pseudo_labels: labeling.LabelCounts | None
    """How unlabeled images were labeled; None where they were not."""

    @model_validator(mode="after")
    def _best_is_there(self) -> Self:
        if self.best not in {network.name for network in self.networks}:
            raise ValueError(f"there is no network {self.best}")
        return self


class GainSummary(sealed.StrictModel):
    """What the best generation gained over the start, on validation images; above 0: better."""

    network: NetworkName
    """The best network of all generations."""
    value: float
    """The difference of the means."""
    interval: tuple[float, float] | None
    """Its 95 % interval over images; None where scores of single images are not known."""
    images: NonNegativeInt
    """How many images."""

    @property
    def is_clear(self) -> bool:
        """Whether chance in the choice of images does not explain it."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


class RunSummary(sealed.SealedFile):
    """``summary.json``."""

    approach: str
    """Its name."""
    task: str
    """What a pixel is."""
    metric: Metric
    """What networks are ranked by."""
    stage: StageName
    """The chosen stage."""
    network: NetworkName
    """The chosen network."""
    ranking: Ranking
    """The networks of the chosen stage, best first."""
    validation: dict[str, float]
    """Scores of the chosen network on validation images."""
    start_was_better: bool
    """Whether the start was better on validation than the chosen stage."""
    gain: GainSummary | None = None
    """What the best generation gained; None where there is none."""
    steps: NonNegativeInt
    """Optimizer steps of all networks together."""
    flops: Amount
    """Floating point operations of all networks together."""
    training_seconds: Amount
    """Wall time of all networks together."""
    seconds: Amount
    """Wall time of the last call of the command."""
    seconds_by_activity: dict[str, Amount]
    """Where that went."""
    stages: Annotated[tuple[StageSummary, ...], Field(min_length=1)]
    """The start and all generations."""
    aside: tuple[StageSummary, ...]
    """Stages that only helped, such as mask scorers."""

    @model_validator(mode="after")
    def _names_are_there(self) -> Self:
        known = {network.name for stage in self.stages for network in stage.networks}
        missing = [name for name in (self.network, *self.ranking) if name not in known]
        if missing or self.stage not in {stage.name for stage in self.stages}:
            raise ValueError(f"there is no {', '.join(missing) or self.stage}")
        return self


class StageDone(sealed.SealedFile):
    """``DONE``, the last file of a stage."""

    ranking: Ranking
    """Its networks, best first."""
    failed: tuple[str, ...]
    """Why networks are missing."""
    pseudo_labels: labeling.LabelCounts | None
    """How unlabeled images were labeled; None where they were not."""


class Judgment(sealed.SealedFile):
    """``judgment.json``: how far mask scorers can be trusted, and which scores are good."""

    samples: NonNegativeInt
    """Masks of validation images that were scored."""
    mae: FiniteFloat
    """Mean absolute error of the scores, which are IoU."""
    rank_correlation: FiniteFloat
    """Spearman's, of both scores, -1..1."""
    said: tuple[FiniteFloat, ...]
    """What the mask scorers say about each sample."""
    true: tuple[FiniteFloat, ...]
    """The true score of each sample."""
    thresholds: tuple[FiniteFloat, FiniteFloat]
    """Scores from which on a mask is good, and very good."""

    @model_validator(mode="after")
    def _pairs_are_whole(self) -> Self:
        if len(self.said) != len(self.true):
            raise ValueError("said and true are of different lengths")
        return self


class DataContents(sealed.SealedFile):
    """``data.json``: the hash of each picture (labeled ones with their masks) by split and name."""

    labeled: dict[str, str]
    unlabeled: dict[str, str]
    val: dict[str, str]
    hidden: dict[str, str]
    """The hash of each hidden mask, by the name of its picture."""

    def by_split(self) -> dict[str, set[str]]:
        """Return the hashes of each split."""
        return {split: set(pictures.values()) for split, pictures in self if split != "hidden"}


class FileFacts(sealed.SealedFile):
    """``facts.json``: what files of the data turned out to be."""

    files: str
    """Packed; see ``KnownFiles``."""


def _as_plan(plan: Plan | dict[str, Any]) -> Plan:
    return plan if isinstance(plan, Plan) else Plan.from_dict(plan)


class Record(sealed.SealedFile):
    """``experiment.toml``: what was asked for, and what was settled."""

    asked: dict[str, Any]
    """The settings that were given, as plain values."""
    plan: Annotated[Plan, pydantic.PlainValidator(_as_plan), pydantic.PlainSerializer(Plan.as_dict)]
    """Every number, settled."""
    data: str
    """The data folder's name."""
    digests: dict[str, str]
    """Hashes of the images and targets by split."""


class Surroundings(sealed.StrictModel):
    """Versions and machine: what the same training may depend on."""

    versions: dict[str, str]
    """Of imseg and the libraries that results depend on."""
    git: dict[str, str | bool] | None
    """The commit of the code, and whether it was changed; None outside of a checkout."""
    python: str
    """Its version."""
    machine: str
    """Operating system and processor family."""
    cores: NonNegativeInt
    """Processors that could be used."""
    cpu: str
    """Its vector instructions."""
    gpu: str | None
    """Its name; None without one."""


class DataNames(sealed.StrictModel):
    """The names of labeled and validation images, and how many unlabeled ones there are."""

    name: str
    """The data folder's name."""
    labeled: tuple[str, ...]
    """The labeled images."""
    validation: tuple[str, ...]
    """The validation images."""
    unlabeled: NonNegativeInt
    """How many unlabeled images there are."""


class Provenance(sealed.SealedFile, Surroundings):
    """``provenance.json``."""

    command: tuple[str, ...]
    """The words of the command."""
    started: str
    """Date and time, UTC."""
    data: DataNames
    """What it was trained on."""
    experiment: Record
    """A second copy of ``experiment.toml``."""


_FILES: Mapping[str, type[sealed.SealedFile]] = {
    "summary.json": RunSummary,
    "DONE": StageDone,
    "judgment.json": Judgment,
    "audit.json": audit.AuditResult,
    "data.json": DataContents,
    "facts.json": FileFacts,
    "provenance.json": Provenance,
    "experiment.toml": Record,
}


def form_problem(path: Path, content: Mapping[str, Any]) -> str:
    """Return what is wrong with the content of a file of a run, by its name; empty: nothing."""
    try:
        if path.name in _FILES:
            _FILES[path.name].of(content)
        elif path.name == "target.json":
            meaning(content)
        elif path.name.startswith("network-"):
            TypeAdapter(Trained).validate_python(dict(content))
    except (KeyError, TypeError, ValueError) as error:
        return sealed.in_words(error)
    return ""


def meaning(content: Mapping[str, Any]) -> tuple[TargetSpec, Reading]:
    """Return what mask values mean and how pictures are read.

    Args:
        content: Of ``target.json``.

    Raises:
        ValueError: If something is missing, or has another type or value.
    """
    spec = TargetSpec.from_dict(content)
    numbers = ("uint8", "uint16", "float32")
    if spec.stored not in numbers or any(not 0 <= part <= 255 for c in spec.colors for part in c):
        raise ValueError(f"numbers of type {spec.stored!r}, or colors beyond 0..255")
    rising = list(spec.values) == sorted(set(spec.values))
    if not rising or any(not 0 <= value <= _LARGEST for value in spec.values):
        raise ValueError("values that do not rise from 0 to 16777215")
    reading = Reading.from_dict(content["reading"])
    if not 1 <= reading.channels <= MAX_CHANNELS or not spec.names:
        raise ValueError(f"{reading.channels} channels, {len(spec.names)} names")
    return spec, reading


def read_summary(folder: RunFolder, metric: Metric) -> RunSummary:
    """Return the content of ``summary.json``, in which every network has the run's score.

    Raises:
        ImsegError: See ``SealedFile.read``.
    """
    summary = RunSummary.read(folder.summary)
    stages = [stage for stage in (*summary.stages, *summary.aside) if stage.name != "scorers"]
    scores = {"validation": summary.validation}
    scores |= {network.name: network.scores for stage in stages for network in stage.networks}
    lacking = [name for name, found in scores.items() if metric.key not in found]
    if lacking:
        raise sealed.unlike(folder.summary, f"no {metric.label} of {and_more(lacking)}.")
    return summary


def read_target(path: Path) -> tuple[TargetSpec, Reading]:
    """Return what mask values mean and how pictures are read, from ``target.json``.

    Raises:
        ImsegError: See ``SealedFile.read``.
    """
    content = sealed.read_sealed(path)
    try:
        return meaning(content)
    except (KeyError, TypeError, ValueError) as error:
        raise sealed.unlike(path, sealed.in_words(error)) from error


def read_network(
    folder: RunFolder, name: str, *, known: Sequence[str], metric: Metric, shape: tuple[int, int]
) -> Trained:
    """Return what is known about a network of a run.

    Args:
        folder: The run.
        name: The network; only the known names lead to a file.
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


def load_networks(
    folder: RunFolder, networks: Iterable[Trained], compute: ComputeConfig
) -> list[nn.Module]:
    """Return networks of a run in inference mode."""
    return [
        load_network(
            folder.weights(each.name),
            each.network,
            compute,
            channels=each.channels,
            outputs=each.outputs,
            sha256=each.sha256,
        )
        for each in networks
    ]
