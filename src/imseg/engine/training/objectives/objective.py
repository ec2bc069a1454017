"""What every objective is and does: a value that a training job carries, and it at work.

An :class:`Objective` says what a network minimizes. It is a frozen dataclass that travels from the
approach to the process that trains. There, ``open`` gives an :class:`ObjectiveAtWork`, which makes
the batches, the loss and the validation of one training, and has whatever state that needs. The
trainer knows none of them by name: a new one is a file in this folder.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, Self, TypeVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from imseg.engine.loading.loader import BatchLoader
from imseg.engine.loading.order import epochs
from imseg.engine.loading.samples import Batch, UnlabeledViews
from imseg.engine.training import seeds
from imseg.engine.training.operations import flops_of
from imseg.engine.training.recipe import Recipe
from imseg.networks.registry import Network
from imseg.ops.photometric import Strength
from imseg.options import Component
from imseg.tasks import Task

if TYPE_CHECKING:
    from imseg.engine.training.job import TrainJob

Level = Literal["low", "mid", "high"]

DEAD = 1e-4
"""Range of an output, as a probability, over all validation images, below which it is the same
whatever the network sees. Dead networks, mostly thin ones, gave exactly 0, after 1 step and after
100; others gave 0.005 at least after a single step (5 widths, 12 seeds each)."""

Forward = Callable[..., Tensor]
"""A network, compiled or not, as it is called in a training step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How many images a network is trained with."""

    samples: int
    """Labeled and pseudo-labeled images and their copies, per epoch."""
    unlabeled: int = 0
    """Unlabeled images that have no label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """How much a training is, for estimates and progress."""

    steps: int
    """Optimizer steps."""
    epoch: int
    """Optimizer steps between two validations."""
    images: float
    """Images per step, on average."""
    passes: float = 1.0
    """How often an image of a step passes through the network, forward and backward."""

    @property
    def validations(self) -> int:
        """How often the network is validated: after every so many steps, and at last."""
        return -(-self.steps // self.epoch) + 1


def by_epochs(recipe: Recipe, samples: int) -> Workload:
    """Return how much a training is that passes the epochs of its recipe over so many samples."""
    in_epoch = recipe.steps_per_epoch(samples)
    return Workload(
        steps=recipe.limited(recipe.epochs * in_epoch),
        epoch=in_epoch * max(1, recipe.validate_every),
        images=recipe.mean_batch(samples),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewStrengths:
    """How strongly views of images are augmented, by the paper's settings for such data."""

    levels: Mapping[Level, Strength]
    """``low``, ``mid`` and ``high``."""
    strongest: Strength
    """As copies of labeled images are."""


class AveragedNetwork:
    """An exponential average of a network's weights and normalization statistics, step by step.

    Args:
        network: What is averaged; the average begins with its weights.
        decay: How much of the average stays at each step, 0..1. In the first steps it is less, so
            that the first weights are soon forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        """The averaged network, in inference mode."""
        self._decay = decay

    def update(self, network: nn.Module, *, steps: int) -> None:
        """Take in the weights after an optimizer step.

        Args:
            network: What is averaged.
            steps: Steps made so far, this one included.
        """
        decay = min(self._decay, (1 + steps) / (10 + steps))
        with torch.no_grad():
            state, means = network.state_dict(), self.network.state_dict()
            floats = [key for key, mean in means.items() if mean.dtype.is_floating_point]
            torch._foreach_lerp_(
                [means[key] for key in floats], [state[key] for key in floats], 1 - decay
            )
            for key in means.keys() - set(floats):
                means[key].copy_(state[key])


class Learners(nn.Module):
    """Networks of one kind that see the same images.

    Args:
        networks: Each with weights of its own.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, images: Float[Tensor, "b c h w"], *how: Any) -> Float[Tensor, "n b k h w"]:
        """Return what each says."""
        return torch.stack([network(images, *how) for network in self.networks])


class Objective(Component, ABC):
    """What a network minimizes."""

    epochs_factor: ClassVar[int] = 1
    """Epochs, as a multiple of those of the recipe."""
    uses_unlabeled: ClassVar[bool] = False
    """Whether it learns from unlabeled images that have no label."""
    continues_start: ClassVar[bool] = False
    """Whether a network begins with the weights of the best network of the stage before."""

    def unlabeled_views(
        self, views: UnlabeledViews, strengths: ViewStrengths
    ) -> UnlabeledViews | None:
        """Return how unlabeled images are seen; None if they are not used.

        Args:
            views: The images, with moves as the data allows them and no other augmentation.
            strengths: How strongly images of this kind are augmented.
        """
        return None

    @property
    def idle(self) -> frozenset[str]:
        """The names of options that change nothing as it is set."""
        return frozenset()

    def check(self, task: Task, network: Network) -> None:
        """Refuse what does not go with a kind of target, or with a network.

        Raises:
            ImsegError: If there is anything.
        """

    def settled(self) -> Self:
        """Return the objective as it is for most of a training, by which costs are measured."""
        return self

    def averaging(self, recipe: Recipe) -> float:
        """Return the decay of the averaged network that is validated and kept; 0: there is none."""
        return recipe.average

    def workload(self, recipe: Recipe, amounts: Amounts) -> Workload:
        """Return how much a training is: by default epochs over the samples."""
        return by_epochs(recipe, amounts.samples)

    def batch(self, recipe: Recipe) -> int:
        """Return how many images a network sees in a step over a whole batch."""
        return recipe.batch_size

    def images_at_once(self, recipe: Recipe) -> int:
        """Return for how many images there must be memory in a step, all networks together."""
        return self.batch(recipe)

    @abstractmethod
    def open(self, job: TrainJob) -> ObjectiveAtWork:
        """Return the objective at work on a job's images."""


class ObjectiveAtWork(ABC):
    """An objective in one training: its batches, loss, validation and state.

    Whoever overrides ``begin``, ``after_step`` or ``kept`` calls the method of this class as well,
    or ``--average-weights`` has no effect.

    Args:
        job: What is trained on what.
    """

    def __init__(self, job: TrainJob) -> None:
        self._job = job
        self._loader = BatchLoader(
            job.samples,
            job.compute,
            seed=job.seed,
            paper=job.recipe.paper,
            limits=job.recipe.augmentation.limits,
        )
        self.average: AveragedNetwork | None = None
        """The averaged network; it is kept in checkpoints by itself."""

    def begin(self, network: nn.Module) -> nn.Module:
        """Take note of the network that will be trained, with its first weights.

        Returns:
            What learns: the network, or several of which it is one.
        """
        decay = self._job.objective.averaging(self._job.recipe)
        if decay:
            self.average = AveragedNetwork(network, decay)
        return network

    def passes(self, skipped: int = 0, within: int = 0) -> Iterator[Iterator[AnyStep]]:
        """Yield the steps of each pass; after each pass the network is validated.

        By default a pass is an epoch over the samples.

        Args:
            skipped: Passes that were made before; those that follow are the same as ever.
            within: Steps of the next one that were made before, too.
        """
        order = seeds.generator(self._job.seed, "order")
        recipe = replace(self._job.recipe, max_steps=self._job.steps)
        for number, batches in enumerate(self.labeled_epochs(recipe, order)):
            left = remaining(batches, number, skipped=skipped, within=within, loader=self)
            if left is not None:
                yield self.steps(left)

    def labeled_epochs(
        self, recipe: Recipe, order: torch.Generator
    ) -> Iterator[list[Int64[Tensor, "b"]]]:
        """Yield the batches of each pass over the samples, as running numbers."""
        return epochs(self._job.images, recipe, order, rare=self.rare())

    def rare(self) -> Int64[Tensor, "n"] | None:
        """Return the numbers of samples that show what is rare; None: all are alike."""
        return None

    def steps(self, batches: list[Tensor]) -> Iterator[AnyStep]:
        """Yield a step for each list of running numbers."""
        return (Step(batch, self.loss, self.mass) for batch in self._loader.feed(batches))

    def skip(self, batches: Sequence[Any]) -> None:
        """Go on as if the steps of ``steps`` had been made."""
        self._loader.skip(batches)

    @abstractmethod
    def loss(self, network: Forward, batch: Batch) -> Float[Tensor, "*t"]:
        """Return the terms of the loss over a batch, each a mean."""

    def mass(self, batch: Batch) -> Float[Tensor, "*t"]:
        """Return by what the terms of a piece of a batch are weighted."""
        return by_number(batch)

    def after_step(self, network: nn.Module, *, steps: int) -> None:
        """Do what comes after an optimizer step.

        Args:
            network: What is trained.
            steps: Steps made so far, this one included.
        """
        if self.average is not None:
            self.average.update(network, steps=steps)

    def kept(self, network: nn.Module) -> nn.Module:
        """Return the network that is validated and kept: the averaged one, if there is one."""
        return network if self.average is None else self.average.network

    def state(self) -> dict[str, Tensor]:
        """Return what else a checkpoint must hold, by name."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue with what ``state`` returned, after ``begin``.

        Raises:
            ValueError: If it is the state of another objective.
        """
        if state:
            raise ValueError("this objective has no state")

    @abstractmethod
    def score(self, network: nn.Module) -> float:
        """Return the score by which the best pass is kept, higher is better; may be no number."""

    @abstractmethod
    def validate(self, network: nn.Module) -> ValidationResult:
        """Return what validation says about a trained network."""

    def flops(self, network: nn.Module) -> float:
        """Return floating point operations of all passes so far, forward and backward."""
        seen = self._job.recipe.mean_batch(len(self._loader))
        return self.flops_of_sample(network) * self._job.steps * seen

    def flops_of_sample(self, network: nn.Module) -> float:
        """Return floating point operations of one image, forward and backward."""
        # Twice the same: one alone may be too few to normalize.
        step = next(self.steps([torch.tensor([0, 0])]))
        return flops_of(step, network, self._job.compute) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationResult:
    """What is known about a trained network from validation."""

    scores: dict[str, float]
    """Means over the validation images."""
    dead: str = ""
    """Why it is of no use: its outputs are the same for every image. Empty where they are not."""
    doubt: str = ""
    """What the user should know about it; empty where there is nothing."""
    each: tuple[float | None, ...] = ()
    """Of each validation image the score by which networks are ranked; None where it has none."""


class Splittable(Protocol):
    """What a step is made of; it lies on the device."""

    def __len__(self) -> int:
        """Return how many samples there are."""

    def split(self, sizes: Sequence[int]) -> Sequence[Self]:
        """Return the same samples in their order, in pieces of these sizes."""


Content = TypeVar("Content", bound=Splittable)


@dataclass(frozen=True, slots=True)
class Step(Generic[Content]):
    """A batch that lies on the device, and what is learned from it.

    The loss is the mean of a term over the batch, or several such means, ``t``: they are added.
    """

    batch: Content
    """What the network sees."""
    loss: Callable[[Forward, Content], Float[Tensor, "*t"]]
    """The terms of a network's loss, each the mean over a batch."""
    weigh: Callable[[Content], Float[Tensor, "*t"]]
    """The mass of each term: of how many pixels or samples it is the mean. Where a step is split
    for memory, the terms of its pieces are averaged with their masses as weights."""

    @property
    def samples(self) -> int:
        """Samples in the batch."""
        return len(self.batch)

    def __call__(self, network: Forward) -> Float[Tensor, "*t"]:
        """Return the terms of the loss."""
        return self.loss(network, self.batch)

    def mass(self) -> Float[Tensor, "*t"]:
        """Return by what the terms of pieces are weighted so that they add up to the whole's."""
        return self.weigh(self.batch)

    def split(self, most: int) -> list[Step[Content]]:
        """Return the same in as few pieces as possible, even ones, of at most so many samples."""
        count = -(-self.samples // most)
        least, larger = divmod(self.samples, count)
        sizes = [least + 1] * larger + [least] * (count - larger)
        return [Step(piece, self.loss, self.weigh) for piece in self.batch.split(sizes)]


AnyStep = Step[Any]


def by_number(batch: Splittable) -> Float[Tensor, ""]:
    """Return the mass of a batch whose loss is the mean over its samples."""
    return torch.tensor(float(len(batch)))


Numbers = TypeVar("Numbers")


class Skipping(Protocol):
    """Makes batches, and can go on as if some had been made."""

    def skip(self, batches: Sequence[Any]) -> None:
        """Count batches without making them."""


def remaining(
    batches: list[Numbers], number: int, *, skipped: int, within: int, loader: Skipping
) -> list[Numbers] | None:
    """Return the batches of a pass that are still to be made; None if the pass was made before.

    An empty list means that all its steps were made and its validation was not.

    Args:
        batches: All batches of the pass, as running numbers.
        number: The pass, counted from 0.
        skipped: Passes that were made before.
        within: Steps of the one after them that were made before.
        loader: Told which batches are skipped.
    """
    before = len(batches) if number < skipped else within if number == skipped else 0
    loader.skip(batches[:before])
    return batches[before:] if number >= skipped else None


@dataclass
class OutputRange:
    """The least and the greatest value along the second axis, batch after batch."""

    _ends: tuple[Tensor, Tensor] | None = field(default=None, init=False)

    def add(self, values: Tensor, known: Bool[Tensor, "..."] | None = None) -> None:
        """Add a batch.

        Args:
            values: Of any shape.
            known: Which of them count; None for all.
        """
        # The ends stay where the batches are until they are asked for: reading makes a GPU wait.
        low = high = values.float()
        if known is not None:
            low, high = low.masked_fill(~known, torch.inf), high.masked_fill(~known, -torch.inf)
        others = [axis for axis in range(values.ndim) if axis != 1]
        low, high = low.amin(dim=others), high.amax(dim=others)
        if self._ends is not None:
            low, high = torch.minimum(self._ends[0], low), torch.maximum(self._ends[1], high)
        self._ends = low, high

    @property
    def ends(self) -> tuple[Float[Tensor, "k"], Float[Tensor, "k"]]:
        """The least and the greatest, on the CPU.

        Raises:
            ValueError: If there was no batch.
        """
        if self._ends is None:
            raise ValueError("a range of nothing")
        return self._ends[0].cpu(), self._ends[1].cpu()

    @property
    def widest(self) -> float:
        """How far the ends are apart where they are farthest; not a number where one is not."""
        low, high = self.ends
        return (high - low).max().item()


def death(outputs: OutputRange, wanted: OutputRange) -> str:
    """Return in words that a network's outputs are constant, or no numbers; else an empty text.

    Args:
        outputs: Its outputs, as probabilities.
        wanted: The targets. Where these are the same everywhere, nothing can be known.
    """
    if not wanted.widest > 0 or outputs.widest >= DEAD:
        return ""
    if outputs.widest != outputs.widest:
        return "what the network says are no numbers"
    return (
        "the network says the same whatever it sees (its outputs differ by at most"
        f" {outputs.widest:.1g} over all validation images)"
    )
