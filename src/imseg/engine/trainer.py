"""The one training loop, whatever the lesson."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from imseg.engine import seeds
from imseg.engine.clock import BATCHES, STEPS, VALIDATION, Clock, with_rest
from imseg.engine.job import Job, Trained
from imseg.engine.lessons import Step, lesson_for
from imseg.engine.networks import NetworkFactory, build, load_network, save_weights
from imseg.engine.report import Listener, hear
from imseg.engine.runs import write_whole
from imseg.errors import TrainingFailed

BETAS = (0.9, 0.999)
EPSILON = 1e-7
REPORT_EVERY = 0.5
"""Seconds between two reports of steps."""
NO_SCORE = -1e9
"""Stands for a score that is no number; lower than any."""


class KerasAdamW(torch.optim.AdamW):
    """AdamW as in the reference.

    Decay does not depend on the learning rate; epsilon stands beside the uncorrected root.

    Args:
        network: What is optimized.
        learning_rate: Step size.
        decay: Every trainable number loses this share of itself at each step.

    Source: METHOD, "Training"; tested against six steps of the reference.
    """

    def __init__(self, network: nn.Module, *, learning_rate: float, decay: float) -> None:
        super().__init__(
            network.parameters(),
            lr=learning_rate,
            betas=BETAS,
            eps=EPSILON,
            weight_decay=decay / learning_rate,
            fused=True,
        )
        self._steps_made = 0

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one step."""
        self._steps_made += 1
        # torch divides the second moment by this before it takes the root, Keras after.
        correction = math.sqrt(1 - BETAS[1] ** self._steps_made)
        for group in self.param_groups:
            group["eps"] = EPSILON / correction
        super().step(closure)


def train_and_save(
    job: Job, listener: Listener, *, factory: NetworkFactory | None = None
) -> Trained:
    """Train a network and write its weights and then, last, what is known about it.

    A loss that is no number is answered once, with another seed and half the learning rate.

    Args:
        job: What to train and where it goes.
        listener: Told how it goes on.
        factory: The user's own network; None for the one the job names.

    Raises:
        TrainingFailed: If the second try fails as well.
    """
    try:
        trained, state = train(job, listener, factory=factory)
    except TrainingFailed:
        trained, state = train(job.second_try(), listener, factory=factory)
        fields = {name: getattr(trained, name) for name in Trained.__dataclass_fields__}
        trained = Trained(**{**fields, "job": job.digest(), "retried": True})
    save_weights(state, job.output)
    write_whole(job.output.with_suffix(".json"), trained.as_json())
    return trained


def train(
    job: Job, listener: Listener, *, factory: NetworkFactory | None = None
) -> tuple[Trained, dict[str, Tensor]]:
    """Train one network and return what is known about it and the weights of its best epoch.

    Args:
        job: What to train.
        listener: Told how it goes on.
        factory: The user's own network; None for the one the job names.

    Raises:
        TrainingFailed: If the loss stops being a number.
    """
    clock = Clock()
    lesson = lesson_for(job)
    network = _first_network(job, factory)
    hear(network, listener)
    optimizer = KerasAdamW(network, learning_rate=job.recipe.learning_rate, decay=job.recipe.decay)
    reporter = _Reporter(listener)
    epoch_scores: list[float] = []
    losses: list[float] = []
    best: dict[str, Tensor] = {}
    for steps in lesson.passes():
        losses.append(_learn(network, optimizer, steps, job=job, reporter=reporter, clock=clock))
        with clock.on(VALIDATION):
            score = lesson.score(network)
        epoch_scores.append(score if math.isfinite(score) else NO_SCORE)
        if epoch_scores[-1] >= max(epoch_scores):
            best = {name: value.detach().clone() for name, value in network.state_dict().items()}
    if not all(value.isfinite().all() for value in best.values()):
        raise TrainingFailed(f"{job.name}: the weights stopped being numbers")
    network.load_state_dict(best)
    reporter.flush()
    with clock.on(VALIDATION):
        scores = lesson.scores(network)
    trained = Trained(
        name=job.name,
        job=job.digest(),
        seed=job.seed,
        images=job.images,
        steps=job.steps,
        epochs=len(epoch_scores),
        best_epoch=max(i for i, s in enumerate(epoch_scores, 1) if s == max(epoch_scores)),
        epoch_scores=tuple(epoch_scores),
        losses=tuple(losses),
        scores=scores,
        parameters=sum(p.numel() for p in network.parameters()),
        flops=lesson.flops(network),
        seconds=clock.passed,
        clock=with_rest(clock.seconds, clock.passed),
        network=job.network,
    )
    return trained, best


def _first_network(job: Job, factory: NetworkFactory | None) -> nn.Module:
    """Return the network that training begins with."""
    if job.beginning is not None:
        return load_network(job.beginning.weights, job.network, job.numerics, factory=factory)
    return build(job.network, job.numerics, factory=factory, seed=seeds.derive(job.seed, "weights"))


def _learn(
    network: nn.Module,
    optimizer: KerasAdamW,
    steps: Iterator[Step],
    *,
    job: Job,
    reporter: _Reporter,
    clock: Clock,
) -> float:
    """Make the steps of one pass and return their mean loss."""
    network.train()
    total = torch.zeros((), device=job.numerics.device)
    made = 0
    for step in clock.each(steps, BATCHES):
        with clock.on(STEPS), job.numerics.applied():
            loss = step(network)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        total += loss.detach()
        reporter.step(loss.detach())
        made += 1
    mean = (total / made).item()
    if not math.isfinite(mean):
        raise TrainingFailed(f"{job.name}: the loss stopped being a number")
    return mean


class _Reporter:
    """Passes steps on, but not more often than anybody can read."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._losses: list[Tensor] = []
        self._last = time.monotonic()

    def step(self, loss: Tensor) -> None:
        self._losses.append(loss)
        if time.monotonic() - self._last >= REPORT_EVERY:
            self.flush()

    def flush(self) -> None:
        if self._losses:
            self._listener.stepped(len(self._losses), torch.stack(self._losses).mean().item())
        self._losses = []
        self._last = time.monotonic()
