"""The state of a training on its way, so that one that is killed continues from there.

Beside the weights of a network there is ``network-J.checkpoint`` while it is trained: a safetensors
file with its weights, those of its best pass and the moments of the optimizer, as they are after a
pass or, where passes take long, within one. What it says about itself (whose it is, scores, losses,
a checksum) stands in the header. It is replaced as a whole.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, FiniteFloat, NonNegativeInt, PositiveInt, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from imseg.data.files.atomic import write_whole
from imseg.engine.storage.trained_files import Tell
from imseg.engine.training.clock import Clock
from imseg.engine.training.job import Job
from imseg.engine.training.learner import EpochState, Learner

SHARE = 0.02
"""How much of the time of a training may go into writing its state, about."""
WITHIN = 60.0
"""Seconds that must have gone by for a state to be written within a pass."""
FIRST_COST = 0.02
"""Seconds that a checkpoint is taken to cost before one was written."""
_NOW, _BEST, _OPTIMIZER = "now", "best", "optimizer"
_BEGUN = "begun/total"


class _State(BaseModel):
    """What the header of a checkpoint must say."""

    steps: NonNegativeInt
    of: NonNegativeInt
    most: PositiveInt | None
    epoch_scores: list[float]
    losses: list[float]
    begun: NonNegativeInt = 0
    passed: FiniteFloat
    clock: dict[str, FiniteFloat]

    @model_validator(mode="after")
    def _has_brought_something(self) -> Self:
        if len(self.epoch_scores) != len(self.losses) or not (self.losses or self.begun):
            raise ValueError("there are no steps, or losses without scores")
        return self


@dataclass(kw_only=True)
class TrainingState:
    """What a training has brought so far."""

    epoch_scores: list[float] = field(default_factory=list)
    """The score after each pass."""
    losses: list[float] = field(default_factory=list)
    """The mean loss of each pass."""
    best: dict[str, Tensor] = field(default_factory=dict)
    """The weights after the best pass, the last of equals."""
    begun: EpochState = field(default_factory=EpochState)
    """The pass that is under way."""

    def add(self, loss: float, score: float, network: nn.Module) -> None:
        """Take note of a pass."""
        self.losses.append(loss)
        self.epoch_scores.append(score)
        self.begun = EpochState()
        if self.best_is_last:
            self.best = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @property
    def best_is_last(self) -> bool:
        """Whether no pass was better than the last one."""
        return self.epoch_scores[-1] >= max(self.epoch_scores)

    @property
    def last_loss(self) -> float:
        """The mean loss of the last pass, or so far of the first one."""
        if self.losses or self.begun.total is None:
            return self.losses[-1]
        return self.begun.total.item() / self.begun.steps


@dataclass(frozen=True, slots=True)
class Saved:
    """What a checkpoint says about itself."""

    job: str
    """The digest of the job it is of."""
    passes: int
    """Passes that were made."""
    steps: int
    """Optimizer steps that were made."""
    of: int
    """Optimizer steps of the whole training."""
    said: Mapping[str, Any]
    """Everything, as plain values."""


class Checkpoints:
    """Keeps the state of one training on the disk.

    Args:
        job: What is trained.
        clock: Whose time is kept with it.
    """

    def __init__(self, job: Job, clock: Clock) -> None:
        self._job = job
        self._digest = job.digest()
        self._path = path_of(job.output)
        self._clock = clock
        self._cost = FIRST_COST
        self._last = time.monotonic()

    def restore(self, network: nn.Module, learner: Learner, tell: Tell) -> TrainingState:
        """Bring a training to where it was; return what it had brought, nothing if it is new.

        Args:
            network: Gets the weights.
            learner: Gets the state of its optimizer.
            tell: Called where there is a checkpoint and it is damaged.
        """
        saved = read_saved(self._path)
        if saved is not None and saved.job != self._digest:
            return TrainingState()
        tensors = None if saved is None else _tensors(self._path, saved)
        if saved is None or tensors is None or not _fits(tensors, network, saved):
            if self._path.exists():
                tell(f"{self._path} is damaged; the training begins anew")
            return TrainingState()
        there = self._job.compute.device
        now = _part(tensors, _NOW)
        network.load_state_dict(now)
        learner.restore(_part(tensors, _OPTIMIZER), steps=saved.steps, most=saved.said["most"])
        self._clock.resume(saved.said["passed"], saved.said["clock"])
        best = _part(tensors, _BEST)
        if saved.passes and not best:
            best = {key: value.clone() for key, value in now.items()}
        begun = saved.said.get("begun", 0)
        return TrainingState(
            epoch_scores=list(saved.said["epoch_scores"]),
            losses=list(saved.said["losses"]),
            best={key: value.to(there) for key, value in best.items()},
            begun=EpochState(begun, tensors[_BEGUN].to(there)) if begun else EpochState(),
        )

    def keep(self, course: TrainingState, network: nn.Module, learner: Learner) -> None:
        """Write the state after a step or a pass, unless the last was written not long before.

        Raises:
            ImsegError: If it cannot be written.
        """
        began, begun = time.monotonic(), course.begun
        if began - self._last < max(self._cost / SHARE, WITHIN if begun.steps else 0.0):
            return
        if begun.total is not None and not begun.total.isfinite():
            return  # the pass will fail, and nothing is to be continued from here
        tensors = {f"{_OPTIMIZER}/{key}": value for key, value in learner.state().items()}
        tensors |= {f"{_NOW}/{key}": value for key, value in network.state_dict().items()}
        if begun.total is not None:
            tensors[_BEGUN] = begun.total
        if course.losses and (begun.steps or not course.best_is_last):
            tensors |= {f"{_BEST}/{key}": value for key, value in course.best.items()}
        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        said = {
            "job": self._digest,
            "steps": learner.steps_made,
            "of": self._job.steps,
            "most": learner.most,
            "epoch_scores": course.epoch_scores,
            "losses": course.losses,
            "begun": begun.steps,
            "passed": self._clock.passed,
            "clock": self._clock.seconds,
        }
        text = json.dumps(said)
        header = {"state": text, "sha256": _checksum(text, plain)}
        write_whole(self._path, save(plain, metadata=header))
        self._last = time.monotonic()
        self._cost = self._last - began


def path_of(weights: Path) -> Path:
    """Return where the state of a training lies whose weights will be in a file."""
    return weights.with_suffix(".checkpoint")


def forget(weights: Path) -> None:
    """Remove the state of a training that is over."""
    path_of(weights).unlink(missing_ok=True)


def read_saved(path: Path) -> Saved | None:
    """Return what a checkpoint says about itself; None if it is not there or cannot be read.

    Args:
        path: The checkpoint; its tensors are not looked at.
    """
    if not path.is_file():  # nothing, or something that would never end
        return None
    try:
        with safe_open(path, framework="pt") as file:
            said = json.loads((file.metadata() or {})["state"])
        _State.model_validate(said)
        passes = len(said["epoch_scores"])
        return Saved(str(said["job"]), passes, int(said["steps"]), int(said["of"]), said)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return None


def is_whole(path: Path) -> bool:
    """Return whether a checkpoint has the content it was written with."""
    saved = read_saved(path)
    return saved is not None and _tensors(path, saved) is not None


def _tensors(path: Path, saved: Saved) -> dict[str, Tensor] | None:
    """Return the tensors of a checkpoint, or None if they are not those that were written."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    same = header.get("sha256") == _checksum(header.get("state", ""), tensors)
    return tensors if same and json.loads(header["state"]) == saved.said else None


def _fits(tensors: Mapping[str, Tensor], network: nn.Module, saved: Saved) -> bool:
    """Return whether tensors are of this network, before anything is taken from them."""
    total = tensors.get(_BEGUN)
    if saved.said.get("begun") and (total is None or total.shape or not total.isfinite()):
        return False
    state, weights = network.state_dict(), [weight.shape for weight in network.parameters()]
    wanted = {key: value.shape for key, value in state.items()}
    now, best = ({k: v.shape for k, v in _part(tensors, n).items()} for n in (_NOW, _BEST))
    moments: dict[int, dict[str, torch.Size]] = {}
    for key, value in _part(tensors, _OPTIMIZER).items():
        place, _, name = key.partition("/")
        if not place.isdecimal() or int(place) >= len(weights):
            return False
        moments.setdefault(int(place), {})[name] = value.shape
    like = all(
        found == {"step": torch.Size(), "exp_avg": weights[place], "exp_avg_sq": weights[place]}
        for place, found in moments.items()
    )
    return like and now == wanted and best in (wanted, {})


def _part(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    start = f"{name}/"
    return {key[len(start) :]: value for key, value in tensors.items() if key.startswith(start)}


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        value = tensors[key]
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
