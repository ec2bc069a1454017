"""The steps of a training: compiled ones, and gradients in pieces."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from imseg.engine.hardware.device import ComputeConfig, free_unused, is_exhausted
from imseg.engine.training.job import TrainJob
from imseg.engine.training.monitor import BATCHES, STEPS, Clock, Listener, Reporter
from imseg.engine.training.objectives.objective import AnyStep, Forward, ObjectiveAtWork
from imseg.engine.training.optimizer import optimizer_for
from imseg.errors import MemoryTooShort, TrainingFailed

Value = TypeVar("Value")

_compiled_before: set[tuple[Any, ...]] = set()
"""Shapes that were compiled in this process. torch stops compiling after a few of them."""
MOST_SHAPES = 4
_failed: set[type[nn.Module]] = set()
"""Networks that could not be compiled in this process."""


class Compiled:
    """A network whose steps over whole batches are compiled, into fewer passes over memory.

    Compiling takes 10 to 50 seconds, so whether it pays is settled once, before a run starts; see
    ``approaches/planning/budget.py``. What fails is said, and training goes on without.

    Other batches, such as the last of an epoch, go through the plain network: each size would be
    compiled anew.

    Args:
        network: The plain network, whose weights are trained either way.
        compute: Whether it is compiled.
        batch_size: Images of a whole batch.
    """

    def __init__(self, network: nn.Module, compute: ComputeConfig, *, batch_size: int) -> None:
        self._plain = network
        self._batch_size = batch_size
        self._compiled: Forward | None = None
        self.proven = False
        """Whether a compiled step has worked."""
        if compute.compile and type(network) not in _failed:
            _make_room(network, compute, batch_size)
            # Not the module: its hooks, which say that the work goes on, are not to be compiled.
            self._compiled = torch.compile(network.forward, dynamic=False)

    def forward(self, samples: int) -> Forward:
        """Return what is called with a batch of so many samples."""
        if self._compiled is None or samples != self._batch_size:
            return self._plain
        return self._compiled

    def on_trial(self, samples: int) -> bool:
        """Return whether an error may come from compiling: no compiled step has worked yet."""
        whole = samples == self._batch_size
        return self._compiled is not None and whole and not self.proven

    @property
    def works(self) -> bool:
        """Whether steps are compiled, as far as is known."""
        return self._compiled is not None

    def give_up(self) -> None:
        """Go on with the plain network, and do not try again in this process."""
        self._compiled = None
        _failed.add(type(self._plain))


def _make_room(network: nn.Module, compute: ComputeConfig, batch_size: int) -> None:
    """Forget earlier compilations before torch finds that there are too many."""
    weights = tuple(tuple(weight.shape) for weight in network.parameters())
    shape = (weights, compute, batch_size)
    if shape not in _compiled_before and len(_compiled_before) >= MOST_SHAPES:
        torch.compiler.reset()
        _compiled_before.clear()
    _compiled_before.add(shape)


OPTIMIZER, AVERAGE, OBJECTIVE = "optimizer", "average", "objective"
"""How the names of tensors in a checkpoint begin, by what they belong to."""
FEWEST = 2
"""Samples that are tried at once at least: one alone says little about how to normalize."""


@dataclass
class EpochState:
    """A pass that is under way."""

    steps: int = 0
    """Steps of it that were made."""
    total: Float[Tensor, ""] | None = None
    """The sum of their losses."""


class Learner:
    """Makes the optimizer steps of one training.

    Args:
        network: What learns; its weights are changed.
        job: How.
        objective: What it minimizes.
        listener: Told about steps, pieces and failed compilations.
        clock: Where the time of batches and steps is counted.
    """

    def __init__(
        self,
        network: nn.Module,
        job: TrainJob,
        objective: ObjectiveAtWork,
        *,
        listener: Listener,
        clock: Clock,
    ) -> None:
        self._network = network
        self._job = job
        self._objective = objective
        self._listener = listener
        self._clock = clock
        self._reporter = Reporter(listener)
        self._optimizer = optimizer_for(network, job)
        self._compiled = Compiled(network, job.compute, batch_size=job.objective.batch(job.recipe))
        self.most: int | None = None
        """Samples of a piece at most, once memory was too short for a whole batch."""

    def learn(
        self,
        steps: Iterator[AnyStep],
        begun: EpochState | None = None,
        *,
        after: Callable[[], None] = lambda: None,
    ) -> float:
        """Make the steps of a pass and return their mean loss.

        Args:
            steps: Those that were not made yet.
            begun: Those that were, if any; it grows.
            after: Called after each.

        Raises:
            TrainingFailed: If the loss stops being a number, or memory is too short for a few
                samples.
        """
        self._network.train()
        begun = EpochState() if begun is None else begun
        if begun.total is None:
            begun.total = torch.zeros((), device=self._job.compute.device)
        for step in self._clock.each(steps, BATCHES):
            with self._clock.on(STEPS), self._job.compute.applied():
                loss = self._gradients(step)
                if self._job.recipe.clip:
                    nn.utils.clip_grad_norm_(self._network.parameters(), self._job.recipe.clip)
                self._optimizer.step()
                self._objective.after_step(self._network, steps=self.steps_made)
            begun.total += loss
            begun.steps += 1
            if self._job.compute.compile:  # else the network says so itself
                self._listener.alive()
            self._reporter.step(loss)
            after()
        with self._clock.on(STEPS):  # a GPU may still be at work
            mean = (begun.total / begun.steps).item()
        if not math.isfinite(mean):
            raise TrainingFailed(f"{self._job.name}: the loss stopped being a number")
        return mean

    @property
    def steps_made(self) -> int:
        """Optimizer steps so far, of an earlier part of the training too."""
        return self._optimizer.steps_made

    def state(self) -> dict[str, Tensor]:
        """Return what steps depend on beside the weights."""
        found = {f"{OPTIMIZER}/{key}": value for key, value in self._optimizer.tensors().items()}
        average = self._objective.average
        if average is not None:
            averaged = average.network.state_dict()
            found |= {f"{AVERAGE}/{key}": value for key, value in averaged.items()}
        own = self._objective.state()
        return found | {f"{OBJECTIVE}/{key}": value for key, value in own.items()}

    def restore(self, state: Mapping[str, Tensor], *, steps: int, most: int | None) -> None:
        """Go on after so many steps with what ``state`` returned then."""
        self._optimizer.restore(part_of(state, OPTIMIZER), steps=steps)
        if self._objective.average is not None:
            self._objective.average.network.load_state_dict(part_of(state, AVERAGE))
        self._objective.restore(part_of(state, OBJECTIVE))
        self.most = most

    def fits(self, state: Mapping[str, Tensor]) -> bool:
        """Return whether ``restore`` can take a state, before anything is taken from it."""
        weights = [weight.shape for weight in self._network.parameters()]
        moments: dict[int, dict[str, torch.Size]] = {}
        for key, shape in shapes_of(part_of(state, OPTIMIZER)).items():
            place, _, name = key.partition("/")
            if not place.isdecimal() or int(place) >= len(weights):
                return False
            moments.setdefault(int(place), {})[name] = shape
        like = all(
            found == {"step": torch.Size(), "exp_avg": weights[place], "exp_avg_sq": weights[place]}
            for place, found in moments.items()
        )
        own, theirs = shapes_of(self.state()), shapes_of(state)
        names = (AVERAGE, OBJECTIVE)
        return like and all(part_of(own, name) == part_of(theirs, name) for name in names)

    @property
    def compiled(self) -> bool:
        """Whether steps are compiled, as far as is known."""
        return self._compiled.works

    def kept(self, network: nn.Module) -> nn.Module:
        """Return what is validated and kept of what learns."""
        return self._objective.kept(network)

    def flush(self) -> None:
        """Tell about the last steps."""
        self._reporter.flush()

    def _gradients(self, step: AnyStep) -> Float[Tensor, ""]:
        """Leave the gradients of a step in the weights and return its loss."""
        while True:
            before = None
            if self._compiled.on_trial(step.samples):
                before = {key: value.clone() for key, value in self._network.state_dict().items()}
            try:
                loss = self._try(step)
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                if before is None and not is_exhausted(error):
                    raise
            else:
                if before is not None:
                    self._compiled.proven = True
                return loss
            # Only now, when the error no longer keeps the tensors of the failed step alive.
            if before is None:
                self._halve(step)
                continue
            # Whatever it was, a compiler's lack of memory too: the plain step has its own chance.
            self._network.load_state_dict(before)
            self._compiled.give_up()
            text = "training steps could not be compiled and are computed as they are"
            self._listener.note(f"{text} ({_in_short(why)})", warning=True)

    def _try(self, step: AnyStep) -> Float[Tensor, ""]:
        self._optimizer.zero_grad()
        if self.most is None or step.samples <= self.most:
            loss = step(self._compiled.forward(step.samples)).sum()
            loss.backward()
            return loss.detach()
        pieces = step.split(self.most)
        masses = torch.stack([piece.mass() for piece in pieces]).to(self._job.compute.device)
        shares = masses / masses.sum(dim=0).clamp(min=1.0)
        total = torch.zeros((), device=shares.device)
        for piece, share in zip(pieces, shares, strict=True):
            loss = (piece(self._network) * share).sum()
            loss.backward()
            total += loss.detach()
        return total

    def _halve(self, step: AnyStep) -> None:
        """Allow half as many samples at once.

        Raises:
            MemoryTooShort: If so few are not possible.
        """
        free_unused()
        now = min(step.samples, self.most or step.samples)
        if now <= FEWEST:
            raise MemoryTooShort(
                f"{self._job.name}: memory is too short for {now} images at once; a smaller"
                " --image-size or --width, or fewer --workers, needs less"
            )
        self.most = max(FEWEST, math.ceil(now / 2))
        self._listener.note(
            f"memory is too short for {now} images at once: gradients of {self.most} at a time are"
            " added up to the same step (each piece is normalized by itself)",
            warning=True,
        )


def part_of(values: Mapping[str, Value], name: str) -> dict[str, Value]:
    """Return the values whose names begin with a name and a slash, without these."""
    start = f"{name}/"
    return {key[len(start) :]: value for key, value in values.items() if key.startswith(start)}


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Return the shape of each tensor."""
    return {key: value.shape for key, value in tensors.items()}


def _in_short(text: str) -> str:
    """Return the line of an error that says what is wrong; compilers put it below another one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith("raised:"):
        lines = lines[1:]
    return lines[0][:150] if lines else text
