"""Labels and, in the same batch, unlabeled images that networks label for each other as they learn.

One or several networks learn at once. What they, or the averages of their weights, say about a
weakly augmented view of an unlabeled image is the label of a strongly augmented one, where a filter
trusts it. FixMatch, UniMatch, Cross Pseudo Supervision and inconsistency masks made online are
settings of the same objective.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from imseg.engine.inference.predictor import in_halves
from imseg.engine.loading.order import epochs
from imseg.engine.loading.samples import Batch
from imseg.engine.training import label_facts, seeds
from imseg.engine.training.objectives import mixed, objective, online_batch
from imseg.engine.training.recipe import Recipe
from imseg.errors import ImsegError
from imseg.networks.registry import Network
from imseg.ops import augment
from imseg.options import option
from imseg.tasks import Task, collapse

if TYPE_CHECKING:
    from imseg.engine.training.job import TrainJob

WATCHED = 50
"""Steps with labels after which these are looked at: whether they have collapsed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineLabels(mixed.MixedObjective):
    """Networks learn from labels, and from what they say about unlabeled images meanwhile.

    The first part of the steps is on labels alone: agreement is evidence only between networks that
    have learned something. Then the weight of unlabeled images rises. Where what is taught
    collapses to one value, the rest is on labels alone again. Kept is the averaged first network,
    where weights are averaged.

    Source: FixMatch, arXiv 2001.07685; UniMatch, arXiv 2208.09910; Cross Pseudo Supervision, arXiv
    2106.01226; CutMix, arXiv 1905.04899; inconsistency masks, arXiv 2401.14387.
    """

    kind = "online-labels"

    learners: int = option(
        1,
        "Networks that learn side by side and label images together: 1 to 4.",
        group="method",
        among=(1, 2, 3, 4),
        essential=True,
    )
    """How many networks learn at once; one of them is kept."""
    averaged: bool = option(
        True,
        "Let the averages of their weights label the images.",
        group="method",
        name="averaged_teachers",
    )
    """Whether averages of the weights label images; else the networks as they are."""
    exchange: bool = option(
        False, "Let each network learn from what the others say, not from all.", group="method"
    )
    """Whether each network learns from the mean of the others; else all from the same labels."""
    filter: online_batch.Filter = option(
        "agreement",
        "Where such labels are learned: agreement (the inconsistency mask), confidence, both,"
        " random (a control), none (everywhere).",
        group="method",
    )
    """Where labels are learned."""
    confidence: float = option(
        0.95, "The probability from which on a label is confident.", group="method", low=0.5, high=1
    )
    """The probability of what is predicted from which on it is learned, with such a filter."""
    cutmix: float = option(
        0.5,
        "Share of the strong views that get a box of another one, with its label.",
        group="method",
        low=0,
        high=1,
    )
    """The share of strong views into which a box of another one is pasted, label and all."""
    strong_views: int = option(
        1, "Strong views of an unlabeled image in a step: 1 or 2.", group="method", among=(1, 2)
    )
    """How many strong views of an unlabeled image learn its label in a step."""
    feature_dropout: float = option(
        0.0,
        "Share of a network's features that are dropped from a further, weak view, which learns the"
        " same label; 0: there is none.",
        group="method",
        low=0,
        high=0.9,
    )
    """Share of the channels between encoder and decoder that are dropped from a further view; it
    counts as much as the strong ones together."""
    weight: float = option(1.0, **mixed.WEIGHT)
    """How much unlabeled images count once that has risen, beside 1 for labeled ones."""
    start: float = option(
        0.2,
        "Share of the optimizer steps that are on labels alone, at the start.",
        group="method",
        name="start_share",
        low=0,
        high=0.9,
    )
    """Share of the steps before unlabeled images count."""
    ramp: float = option(0.2, **mixed.RAMP)
    """Share of the steps over which their weight rises."""

    def __post_init__(self) -> None:
        if self.exchange and self.filter in ("agreement", "both"):
            raise ImsegError(
                f"--exchange changes nothing with --filter {self.filter}.",
                expected="--filter none, confidence or random: where all agree they say the same.",
                got=f"--exchange --filter {self.filter}.",
                hint="leave one of them out.",
            )
        if self.learners < 2 and (self.exchange or self.filter in online_batch.AGREEING):
            what = "--exchange" if self.exchange else f"--filter {self.filter}"
            raise ImsegError(
                f"{what} needs several networks that learn side by side.",
                expected="--learners 2 or more.",
                got=f"--learners {self.learners}.",
                hint="--learners 2, or --filter confidence.",
            )

    def __str__(self) -> str:
        count = f"{self.learners} networks learn" if self.learners > 1 else "a network learns"
        who = "the averages of their weights" if self.averaged else "the networks themselves"
        if self.learners == 1:
            who = "the average of its weights" if self.averaged else "the network itself"
        shown = "; each learns what the others say" if self.exchange else ""
        box = f", {self.cutmix:.0%} of them with a box of another one" if self.cutmix else ""
        where = online_batch.FILTERS[self.filter]
        views = "two strong views" if self.strong_views == 2 else "a strong view"
        if self.feature_dropout:
            box += f", and from a weak one without {self.feature_dropout:.0%} of its features"
        return (
            f"{count} from labels and, after {self.start:.0%} of the steps, from {views} of each"
            f" unlabeled image{box}; their labels are what {who} say about weakly augmented"
            f" ones{shown}, {where}, with weight {self.weight:g}, rising over"
            f" {self.ramp:.0%} of the steps; {self.labeled:.0%} of a batch are labeled"
        )

    def check(self, task: Task, network: Network) -> None:
        """Refuse a filter that says nothing about a kind of masks, and networks without features.

        Raises:
            ImsegError: If numbers were to be confident, or features of a user's own network were to
                be dropped.
        """
        if self.feature_dropout and not network.has_features:
            raise ImsegError(
                f"--feature-dropout does not know the features of {network.name}.",
                expected="one of imseg's networks, or --feature-dropout 0.",
                got=f"--feature-dropout {self.feature_dropout:g} with {network.name}.",
                hint="--network unet-plus, or --feature-dropout 0.",
            )
        if self.filter in online_batch.CONFIDENT and not task.has_certainty:
            raise ImsegError(
                f"--filter {self.filter} says nothing about {task.spec.in_words}.",
                expected="--filter agreement: where the networks differ no more than usual.",
                got=f"--filter {self.filter}, which asks for probabilities.",
                hint="--learners 2 --filter agreement.",
            )

    @property
    def idle(self) -> frozenset[str]:
        """The names of options that change nothing as it is set."""
        return frozenset() if self.filter in online_batch.CONFIDENT else frozenset({"confidence"})

    def settled(self) -> OnlineLabels:
        """Return the objective as it is once unlabeled images count in full."""
        return replace(self, start=0.0, ramp=0.0)

    def averaging(self, recipe: Recipe) -> float:
        """Return the decay of the averaged networks."""
        return recipe.average or (mixed.DECAY if self.averaged else 0.0)

    def workload(self, recipe: Recipe, amounts: objective.Amounts) -> objective.Workload:
        """Return how much a training is: epochs over the labeled images, for all networks."""
        labeled, unlabeled = self.divided(recipe)
        work = objective.by_epochs(labeled, amounts.samples)
        alone = self.alone(work.steps) / work.steps
        both = work.images + unlabeled.batch_size * self.views
        images = alone * recipe.mean_batch(amounts.samples) + (1 - alone) * both
        labeling = (1 - alone) * unlabeled.batch_size * mixed.WITHOUT_GRADIENT
        return replace(work, images=images, passes=(1 + labeling / images) * self.learners)

    def alone(self, steps: int) -> int:
        """Return how many of so many steps are on labels alone, at the start."""
        return math.ceil(steps * self.start)

    @property
    def views(self) -> int:
        """In how many views an unlabeled image is learned from in a step."""
        return self.strong_views + bool(self.feature_dropout)

    def batch(self, recipe: Recipe) -> int:
        """Return how many images a network sees in a step over a whole batch."""
        labeled, unlabeled = self.divided(recipe)
        return labeled.batch_size + unlabeled.batch_size * self.views

    def images_at_once(self, recipe: Recipe) -> int:
        """Return for how many images there must be memory in a step, all networks together."""
        return self.batch(recipe) * self.learners

    def weight_at(self, share: float) -> float:
        """Return the weight of unlabeled images after a share of all steps, 0..1."""
        if share < self.start:
            return 0.0
        return self.weight * mixed.risen((share - self.start) / self.ramp if self.ramp else 1.0)

    def open(self, job: TrainJob) -> OnlineLabelsAtWork:
        """Return the objective at work on a job's images."""
        return OnlineLabelsAtWork(job, self)


class OnlineLabelsAtWork(mixed.MixedAtWork):
    """Learns from labels, and from labels that are made at every step.

    Args:
        job: Samples, unlabeled images, recipe and seed.
        value: Who labels, and what is learned of it.
    """

    def __init__(self, job: TrainJob, value: OnlineLabels) -> None:
        super().__init__(job, views=1 + value.strong_views)
        self._value = value
        # A census of all that was taught since it was last looked at.
        self._made = 0 * self._drawn
        self._stopped, self._steps = -1, 0
        self._why = ""
        self._features = 0

    def begin(self, network: nn.Module) -> nn.Module:
        """Make the other networks, each with first weights of its own, and the averages."""
        self._learning = network
        if self._value.feature_dropout:
            self._features = sum(cast(Any, network).feature_channels)
        if self._value.learners > 1:
            others = [self._job.companion(number) for number in range(1, self._value.learners)]
            self._learning = objective.Learners([network, *others])
        return super().begin(self._learning)

    def kept(self, network: nn.Module) -> nn.Module:
        """Return the first network, averaged where the recipe averages weights."""
        kept = super().kept(network) if self._job.recipe.average else network
        return kept.networks[0] if isinstance(kept, objective.Learners) else kept

    def passes(self, skipped: int = 0, within: int = 0) -> Iterator[Iterator[objective.AnyStep]]:
        """Yield the steps of the epochs after those that are skipped.

        First those on labels alone, in batches as large as others; then those of both kinds.
        """
        job, seed = self._job, self._job.seed
        alone = self._value.alone(job.steps)
        labeled, unlabeled = self._value.divided(job.recipe)
        orders = [seeds.generator(seed, name) for name in ("order", "unlabeled order")]
        endless = replace(unlabeled, epochs=job.steps, max_steps=None)
        others = chain.from_iterable(epochs(len(self._views), endless, orders[1]))
        first = replace(job.recipe, epochs=job.steps, max_steps=alone) if alone else None
        rest = replace(labeled, epochs=job.steps, max_steps=job.steps - alone)
        made = number = 0
        for recipe in (first, rest):
            if recipe is None or not recipe.max_steps:
                continue
            for batches in self.labeled_epochs(recipe, orders[0]):
                todo: list[Any] = batches
                if recipe is rest:
                    todo = list(zip(batches, islice(others, len(batches)), strict=True))
                made += len(todo)
                left = objective.remaining(
                    todo, number, skipped=skipped, within=within, loader=self
                )
                number += 1
                if left is None:
                    continue
                if recipe is rest:
                    yield self._mixed(left, made - len(left))
                else:
                    yield self.steps(left)

    def skip(self, batches: Sequence[Any]) -> None:
        """Go on as if these running numbers, or pairs of them, had been seen."""
        pairs = [each if isinstance(each, tuple) else (each, None) for each in batches]
        self._loader.skip([labeled for labeled, _ in pairs])
        self._views.skip([unlabeled for _, unlabeled in pairs if unlabeled is not None])

    def loss(self, network: objective.Forward, batch: Batch) -> Float[Tensor, "*t"]:
        """Return the terms of the loss on labels, the mean over the networks."""
        return self._mean_terms(self._said(network, batch.images), batch.targets, batch.weight)

    def state(self) -> dict[str, Tensor]:
        """Return what was taught since it was last looked at, and when teaching stopped."""
        return {"made": self._made, "stopped": torch.tensor([self._stopped, self._steps])}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue with what ``state`` returned."""
        self._made = state["made"].cpu()
        self._stopped, self._steps = state["stopped"].tolist()
        if self._stopped >= 0:
            self._why = self._collapsed()

    def validate(self, network: nn.Module) -> objective.ValidationResult:
        """Return mean scores, and whether teaching was stopped."""
        found = super().validate(network)
        if self._stopped < 0:
            return found
        text = (
            f"learned from labels alone from step {self._stopped} on: what the networks said about"
            f" unlabeled images had collapsed ({self._why})"
        )
        return replace(found, doubt=f"{found.doubt}; {text}" if found.doubt else text)

    def flops(self, network: nn.Module) -> float:
        """Return floating point operations of the whole training."""
        job, value = self._job, self._value
        labeled, unlabeled = value.divided(job.recipe)
        alone = value.alone(job.steps)
        taught = job.steps if self._stopped < 0 else self._stopped
        both = (job.steps - alone) * labeled.mean_batch(job.images)
        seen = alone * job.recipe.mean_batch(job.images) + both
        each_taught = unlabeled.batch_size * (value.views + mixed.WITHOUT_GRADIENT)
        return self.flops_of_sample(network) * (seen + max(0, taught - alone) * each_taught)

    def _mixed(self, pairs: list[tuple[Tensor, Tensor]], made: int) -> Iterator[objective.AnyStep]:
        """Yield a step for each pair of running numbers, labeled and unlabeled."""
        labeled = self._loader.feed([one for one, _ in pairs])
        unlabeled = self._views.feed([other for _, other in pairs])
        for number, (known, (weak, *strong)) in enumerate(
            zip(labeled, unlabeled, strict=True), made
        ):
            self._watch(number)
            if self._stopped >= 0:
                yield objective.Step(known, self.loss, self.mass)
                continue
            weight = self._value.weight_at(number / self._job.steps)
            labels, trusted = self._given(weak)
            if weight:
                self._take_note(labels)
            views = self._views_of(weak, strong, labels, trusted, number)
            # Of few trusted pixels each counts no more than it would among many.
            weights = [weight * float(each.weight.mean()) / len(views) for each in views]
            terms = partial(self._terms, weights=weights)
            yield objective.Step(online_batch.OnlineBatch(known, views), terms, self._masses)

    def _views_of(
        self,
        weak: Float[Tensor, "b c h w"],
        strong: Sequence[Float[Tensor, "b c h w"]],
        labels: Shaped[Tensor, "b n t h w"],
        trusted: Float[Tensor, "b n t h w"],
        number: int,
    ) -> tuple[online_batch.LabeledViews, ...]:
        """Return what is learned from in a step: all strong views, and one that lacks features."""
        count = len(strong)
        images, *rest = augment.cut_and_paste(
            torch.cat(list(strong)),
            torch.cat([labels] * count),
            torch.cat([trusted] * count),
            share=self._value.cutmix,
            seed=seeds.derive(self._job.seed, "cutmix", number),
        )
        images = images.contiguous(memory_format=self._job.compute.memory_format)
        views = online_batch.LabeledViews(images, *rest)
        share = self._value.feature_dropout
        if not share:
            return (views,)
        drawn = torch.rand(
            (len(weak), self._features),
            generator=seeds.generator(self._job.seed, "features", number),
        )
        kept = (drawn >= share).float() / (1 - share)
        return views, online_batch.LabeledViews(weak, labels, trusted, kept.to(weak.device))

    @torch.no_grad()
    def _given(
        self, weak: Float[Tensor, "b c h w"]
    ) -> tuple[Shaped[Tensor, "b n t h w"], Float[Tensor, "b n t h w"]]:
        """Return what each network is to say about images, and where that counts."""
        labeling, learning = self._learning, self._learning.training
        if self._value.averaged:
            assert self.average is not None
            labeling = self.average.network
        labeling.eval()
        with self._job.compute.applied():
            said = in_halves(
                lambda some: self._said(labeling, some).transpose(0, 1).contiguous(), weak
            )
        self._learning.train(learning)
        several = said.transpose(0, 1)
        probabilities = torch.stack([self._task.probabilities(each) for each in several])
        value = self._value
        return online_batch.labels_of(
            self._task,
            probabilities,
            filter=value.filter,
            confidence=value.confidence,
            exchange=value.exchange,
        )

    def _said(
        self, network: objective.Forward, images: Float[Tensor, "b c h w"], *how: Tensor
    ) -> Float[Tensor, "n b k h w"]:
        found = network(images, *how)
        return found if self._value.learners > 1 else found[None]

    def _mean_terms(
        self, said: Float[Tensor, "n b k h w"], targets: Tensor, weight: Tensor | None
    ) -> Float[Tensor, "*t"]:
        return torch.stack([self._loss.terms(each, targets, weight) for each in said]).mean(dim=0)

    def _terms(
        self,
        network: objective.Forward,
        batch: online_batch.OnlineBatch,
        *,
        weights: Sequence[float],
    ) -> Float[Tensor, "t"]:
        """Return the loss on labels, and the weighted losses on labels that were given."""
        labeled = batch.labeled
        said = self._said(network, *batch.seen)
        zero = said.sum() * 0
        known, *unknown = said.split([len(labeled), *map(len, batch.views)], dim=1)
        supervised = zero.expand_as(self.mass(labeled))
        if len(labeled):
            supervised = self._mean_terms(known, labeled.targets, labeled.weight)
        found = [supervised.reshape(-1)]
        for views, mine, weight in zip(batch.views, unknown, weights, strict=True):
            given = zero.expand_as(supervised)
            if weight and len(views):
                each = [
                    self._loss.terms(one, views.labels[:, number], views.weight[:, number])
                    for number, one in enumerate(mine)
                ]
                given = torch.stack(each).mean(dim=0) * weight
            found.append(given.reshape(-1))
        return torch.cat(found)

    def _masses(self, batch: online_batch.OnlineBatch) -> Float[Tensor, "t"]:
        found = [self.mass(batch.labeled).reshape(-1)]
        for views in batch.views:
            given = [
                self._loss.masses(views.labels[:, number], views.weight[:, number])
                for number in range(views.labels.shape[1])
            ]
            found.append(torch.stack(given).mean(dim=0).reshape(-1).to(found[0].device))
        return torch.cat(found)

    def _take_note(self, labels: Tensor) -> None:
        """Add up what is said, trusted or not: of what is trusted first, much may be background."""
        everywhere = torch.ones_like(labels[:, 0, :1], dtype=torch.bool)
        self._made = self._made + collapse.census(self._task.spec, labels[:, 0], everywhere)
        self._steps += 1

    def _watch(self, number: int) -> None:
        """Stop teaching where all that was taught lately has collapsed."""
        if self._steps < WATCHED or self._stopped >= 0:
            return
        self._why = self._collapsed()
        if self._why:
            self._stopped = number  # and what was taught stays, which says why
            return
        self._made, self._steps = torch.zeros_like(self._made), 0

    def _collapsed(self) -> str:
        """Return in words that all that was taught lately is of no use; empty where it is."""
        return collapse.collapsed(self._task.spec, self._made, self._drawn)

    @cached_property
    def _drawn(self) -> Float[Tensor, "t n"]:
        """Return the census of the labels that people made."""
        spec, found = self._task.spec, torch.zeros(())
        for each in self._job.samples:
            if each.inconsistent is None:
                found = found + label_facts.census_of(each, spec)
        return found
