"""Mean Teacher: the student agrees with the average of its own earlier weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from imseg.engine.loading import samples, views
from imseg.engine.loading.order import epochs
from imseg.engine.training import seeds
from imseg.engine.training.objectives import mixed, objective
from imseg.engine.training.operations import flops_of
from imseg.options import option

if TYPE_CHECKING:
    from imseg.engine.training.job import TrainJob


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanTeacher(mixed.MixedObjective):
    """Labels, and the output of an averaged teacher for unlabeled images, in one batch.

    The teacher, an exponential average of the student's weights, sees a weakly augmented view of an
    unlabeled image (moved, but with its own brightness and sharpness), the student a strongly
    augmented one. Validated and kept is the teacher.

    Source: Tarvainen and Valpola 2017, arXiv 1703.01780.
    """

    kind = "mean-teacher"

    weight: float = option(1.0, **mixed.WEIGHT)
    """How much the difference counts once it has risen, beside 1 for labeled images."""
    ramp: float = option(0.4, **mixed.RAMP)
    """Share of the optimizer steps over which the weight rises."""

    def __str__(self) -> str:
        return (
            "the student is to give strongly augmented unlabeled images the output that its"
            f" averaged weights give weakly augmented ones, with weight {self.weight:g}, rising"
            f" over {self.ramp:.0%} of the steps; {self.labeled:.0%} of a batch are labeled"
        )

    def weight_at(self, share: float) -> float:
        """Return the weight after a share of all steps, 0..1."""
        return self.weight * mixed.risen(share / self.ramp if self.ramp else 1.0)

    def open(self, job: TrainJob) -> MeanTeacherAtWork:
        """Return the objective at work on a job's images."""
        return MeanTeacherAtWork(job, self)


@dataclass(frozen=True, slots=True)
class MixedBatch:
    """Labeled images, and two views of unlabeled ones: the first is the teacher's."""

    labeled: samples.Batch
    unlabeled: views.Views

    def __len__(self) -> int:
        return len(self.labeled) + len(self.unlabeled)

    def split(self, sizes: Sequence[int]) -> list[MixedBatch]:
        """Return the samples in pieces of these sizes; each has its share of both kinds."""
        counts, others = mixed.shares_of(sizes, len(self.labeled), len(self))
        pieces = zip(self.labeled.split(counts), self.unlabeled.split(others), strict=True)
        return [MixedBatch(*piece) for piece in pieces]


class MeanTeacherAtWork(mixed.MixedAtWork):
    """Learns from labels and from a teacher that is the average of what learns.

    Args:
        job: Samples, unlabeled images, recipe and seed.
        value: Weight, ramp and shares.
    """

    def __init__(self, job: TrainJob, value: MeanTeacher) -> None:
        super().__init__(job)
        self._value = value

    def begin(self, network: nn.Module) -> nn.Module:
        """Make the teacher, with the first weights."""
        self.average = objective.AveragedNetwork(network, self._job.recipe.average)
        return network

    def passes(self, skipped: int = 0, within: int = 0) -> Iterator[Iterator[objective.AnyStep]]:
        """Yield the steps of the epochs after those that are skipped."""
        steps, seed = self._job.steps, self._job.seed
        labeled, unlabeled = (
            replace(each, max_steps=steps) for each in self._value.divided(self._job.recipe)
        )
        orders = [seeds.generator(seed, name) for name in ("order", "unlabeled order")]
        endless = replace(unlabeled, epochs=steps)
        others = chain.from_iterable(epochs(len(self._views), endless, orders[1]))
        made = 0
        for number, batches in enumerate(self.labeled_epochs(labeled, orders[0])):
            pairs = list(zip(batches, islice(others, len(batches)), strict=True))
            todo = objective.remaining(pairs, number, skipped=skipped, within=within, loader=self)
            made += len(pairs)
            if todo is not None:
                yield self._mixed(todo, made - len(todo))

    def skip(self, batches: Sequence[Any]) -> None:
        """Go on as if these pairs of running numbers had been seen."""
        self._loader.skip([labeled for labeled, _ in batches])
        self._views.skip([unlabeled for _, unlabeled in batches])

    def flops(self, network: nn.Module) -> float:
        """Return floating point operations of the whole training."""
        pair = torch.tensor([0, 0])  # one alone may be too few to normalize
        step = next(self._mixed([(pair, pair)], 0))
        each = flops_of(step, network, self._job.compute) / len(step.batch)
        return each * self._job.workload.images * self._job.steps

    def _mixed(self, pairs: list[tuple[Tensor, Tensor]], made: int) -> Iterator[objective.AnyStep]:
        """Yield a step for each pair of running numbers, labeled and unlabeled."""
        labeled = self._loader.feed([one for one, _ in pairs])
        unlabeled = self._views.feed([other for _, other in pairs])
        for number, both in enumerate(zip(labeled, unlabeled, strict=True), made):
            weight = self._value.weight_at(number / self._job.steps)
            yield objective.Step(
                MixedBatch(*both), partial(self._terms, weight=weight), self._masses
            )

    def _terms(
        self, network: objective.Forward, batch: MixedBatch, *, weight: float
    ) -> Float[Tensor, "t"]:
        """Return the loss on labels, and the weighted mean squared difference to the teacher."""
        labeled, (weak, strong) = batch.labeled, batch.unlabeled
        outputs = network(torch.cat([labeled.images, strong]))
        known, unknown = outputs.split([len(labeled), len(batch.unlabeled)])
        assert self.average is not None
        with torch.no_grad():
            wanted = self._task.probabilities(self.average.network(weak))
        zero = outputs.sum() * 0
        supervised = zero.expand_as(self.mass(labeled))
        if len(labeled):
            supervised = self._loss.terms(known, labeled.targets, labeled.weight)
        difference = zero
        if len(batch.unlabeled):
            difference = functional.mse_loss(self._task.probabilities(unknown), wanted) * weight
        return torch.cat([supervised.reshape(-1), difference.reshape(1)])

    def _masses(self, batch: MixedBatch) -> Float[Tensor, "t"]:
        mass = self.mass(batch.labeled).reshape(-1)
        return torch.cat([mass, mass.new_tensor([float(len(batch.unlabeled))])])
