"""The state of a training on its way, so that one that is killed continues from there.

Beside the weights of a network there is ``network-J.checkpoint`` while it is trained: a safetensors
file with its weights, those that are kept, and the states of the optimizer and the objective, as
they are after a pass or, where passes take long, within one. What it says about itself (whose it
is, scores, losses, a checksum) stands in the header. It is replaced as a whole.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, FiniteFloat, NonNegativeInt, PositiveInt, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from imseg.data.files.atomic import write_whole
from imseg.engine.training.job import Tell, TrainJob
from imseg.engine.training.learner import EpochState, Learner, part_of, shapes_of
from imseg.engine.training.monitor import Clock

SHARE = 0.02
"""How much of the time of a training may go into writing its state, about."""
WITHIN = 60.0
"""Seconds that must have gone by for a state to be written within a pass."""
FIRST_COST = 0.02
"""Seconds that a checkpoint is taken to cost before one was written."""
_NOW, _BEST = "now", "best"
_TOTAL = "epoch/total"


class CheckpointHeader(BaseModel):
    """What a checkpoint says about itself."""

    job: str
    """The digest of the job it is of."""
    steps: NonNegativeInt
    """Optimizer steps that were made."""
    of: NonNegativeInt
    """Optimizer steps of the whole training."""
    most: PositiveInt | None
    """Samples of a piece, once memory was too short for a whole batch."""
    epoch_scores: list[float]
    """The score after each pass."""
    losses: list[float]
    """The mean loss of each pass."""
    best_epoch: NonNegativeInt
    """The pass whose weights are kept, from 1; 0: none yet."""
    within: NonNegativeInt
    """Steps of the pass that is under way."""
    passed: FiniteFloat
    """Seconds so far."""
    clock: dict[str, FiniteFloat]
    """The same by activity."""

    @model_validator(mode="after")
    def _has_brought_something(self) -> Self:
        passes = len(self.losses)
        if len(self.epoch_scores) != passes or not (passes or self.within):
            raise ValueError("there are no steps, or losses without scores")
        if bool(passes) != (1 <= self.best_epoch <= passes):
            raise ValueError("there is no such best pass")
        return self


@dataclass(kw_only=True)
class TrainingState:
    """What a training has brought so far."""

    epoch_scores: list[float] = field(default_factory=list)
    """The score after each pass."""
    losses: list[float] = field(default_factory=list)
    """The mean loss of each pass."""
    best: dict[str, Tensor] = field(default_factory=dict)
    """The weights that are kept: after the best pass, the last of equals, or the last pass."""
    best_epoch: int = 0
    """The pass they are of, from 1; 0: none yet."""
    epoch: EpochState = field(default_factory=EpochState)
    """The pass that is under way."""

    def add(self, loss: float, score: float, network: nn.Module, *, always: bool = False) -> None:
        """Take note of a pass.

        Args:
            loss: Its mean loss.
            score: The validation score after it.
            network: Whose weights are kept if no pass was better.
            always: Whether they are kept in any case.
        """
        self.losses.append(loss)
        self.epoch_scores.append(score)
        self.epoch = EpochState()
        if always or score >= max(self.epoch_scores):
            self.best_epoch = len(self.epoch_scores)
            self.best = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @property
    def last_loss(self) -> float:
        """The mean loss of the last pass, or so far of the first one."""
        if self.losses or self.epoch.total is None:
            return self.losses[-1]
        return self.epoch.total.item() / self.epoch.steps


class Checkpoints:
    """Keeps the state of one training on the disk.

    Args:
        job: What is trained.
        clock: Whose time is kept with it.
    """

    def __init__(self, job: TrainJob, clock: Clock) -> None:
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
            learner: Gets the states of its optimizer and objective.
            tell: Called where there is a checkpoint and it is damaged.
        """
        saved = read_saved(self._path)
        if saved is not None and saved.job != self._digest:
            return TrainingState()
        tensors = None if saved is None else _tensors(self._path, saved)
        if saved is None or tensors is None or not _fits(tensors, network, learner, saved):
            if self._path.exists():
                tell(f"{self._path} is damaged; the training begins anew")
            return TrainingState()
        there = self._job.compute.device
        now, best = part_of(tensors, _NOW), part_of(tensors, _BEST)
        network.load_state_dict(now)
        learner.restore(tensors, steps=saved.steps, most=saved.most)
        self._clock.resume(saved.passed, saved.clock)
        if saved.losses and not best:
            best = {key: value.clone() for key, value in now.items()}
        return TrainingState(
            epoch_scores=saved.epoch_scores,
            losses=saved.losses,
            best={key: value.to(there) for key, value in best.items()},
            best_epoch=saved.best_epoch,
            epoch=EpochState(saved.within, tensors[_TOTAL].to(there) if saved.within else None),
        )

    def keep(self, state: TrainingState, network: nn.Module, learner: Learner) -> None:
        """Write the state after a step or a pass, unless the last was written not long before.

        Raises:
            ImsegError: If it cannot be written.
        """
        began, epoch = time.monotonic(), state.epoch
        if began - self._last < max(self._cost / SHARE, WITHIN if epoch.steps else 0.0):
            return
        if epoch.total is not None and not epoch.total.isfinite():
            return  # the pass will fail, and nothing is to be continued from here
        tensors = learner.state()
        tensors |= {f"{_NOW}/{key}": value for key, value in network.state_dict().items()}
        if epoch.total is not None:
            tensors[_TOTAL] = epoch.total
        same = state.best_epoch == len(state.losses) and learner.kept(network) is network
        if state.losses and (epoch.steps or not same):
            tensors |= {f"{_BEST}/{key}": value for key, value in state.best.items()}
        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        header = CheckpointHeader(
            job=self._digest,
            steps=learner.steps_made,
            of=self._job.steps,
            most=learner.most,
            epoch_scores=state.epoch_scores,
            losses=state.losses,
            best_epoch=state.best_epoch,
            within=epoch.steps,
            passed=self._clock.passed,
            clock=self._clock.seconds,
        )
        text = header.model_dump_json()
        write_whole(
            self._path, save(plain, metadata={"state": text, "sha256": _checksum(text, plain)})
        )
        self._last = time.monotonic()
        self._cost = self._last - began


def path_of(weights: Path) -> Path:
    """Return where the state of a training lies whose weights will be in a file."""
    return weights.with_suffix(".checkpoint")


def forget(weights: Path) -> None:
    """Remove the state of a training that is over."""
    path_of(weights).unlink(missing_ok=True)


def read_saved(path: Path) -> CheckpointHeader | None:
    """Return what a checkpoint says about itself; None if it is not there or cannot be read.

    Args:
        path: The checkpoint; its tensors are not looked at.
    """
    if not path.is_file():  # nothing, or something that would never end
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})["state"]
        return CheckpointHeader.model_validate_json(text)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return None


def is_whole(path: Path) -> bool:
    """Return whether a checkpoint has the content it was written with."""
    saved = read_saved(path)
    return saved is not None and _tensors(path, saved) is not None


def _tensors(path: Path, saved: CheckpointHeader) -> dict[str, Tensor] | None:
    """Return the tensors of a checkpoint, or None if they are not those that were written."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    text = header.get("state", "")
    same = header.get("sha256") == _checksum(text, tensors)
    return tensors if same and CheckpointHeader.model_validate_json(text) == saved else None


def _fits(
    tensors: Mapping[str, Tensor], network: nn.Module, learner: Learner, saved: CheckpointHeader
) -> bool:
    """Return whether tensors are of this training, before anything is taken from them."""
    total = tensors.get(_TOTAL)
    if saved.within and (total is None or total.shape or not total.isfinite()):
        return False
    wanted, kept = (shapes_of(each.state_dict()) for each in (network, learner.kept(network)))
    now, best = (shapes_of(part_of(tensors, name)) for name in (_NOW, _BEST))
    return learner.fits(tensors) and now == wanted and best in (kept, {})


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        value = tensors[key]
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
