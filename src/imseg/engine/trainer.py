"""The one training loop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from imseg.data.store import open_array
from imseg.engine import seeds
from imseg.engine.batches import Source, epochs, to_device
from imseg.engine.job import Job, Recipe, Trained
from imseg.engine.networks import NetworkFactory, build, save_weights
from imseg.engine.predictor import predict
from imseg.engine.runs import write_whole
from imseg.errors import TrainingFailed
from imseg.tasks import Task, task_for
from imseg.types import Bytes, Target, TargetSpec

BETAS = (0.9, 0.999)
EPSILON = 1e-7
REPORT_EVERY = 0.5
"""Seconds between two reports of steps."""
NO_SCORE = -1e9
"""Stands for a score that is no number; lower than any."""

Report = Callable[[int, float], None]
"""Called with the steps since the last call and their mean loss."""


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


def train_and_save(job: Job, report: Report, *, factory: NetworkFactory | None = None) -> Trained:
    """Train a network and write its weights and then, last, what is known about it.

    A loss that is no number is answered once, with another seed and half the learning rate.

    Args:
        job: What to train and where it goes.
        report: Told about steps.
        factory: The user's own network; None for the one the job names.

    Raises:
        TrainingFailed: If the second try fails as well.
    """
    try:
        trained, state = train(job, report, factory=factory)
    except TrainingFailed:
        trained, state = train(job.second_try(), report, factory=factory)
        fields = {name: getattr(trained, name) for name in Trained.__dataclass_fields__}
        trained = Trained(**{**fields, "job": job.digest(), "retried": True})
    save_weights(state, job.output)
    write_whole(job.output.with_suffix(".json"), trained.as_json())
    return trained


def train(
    job: Job, report: Report, *, factory: NetworkFactory | None = None
) -> tuple[Trained, dict[str, Tensor]]:
    """Train one network and return what is known about it and the weights of its best epoch.

    Args:
        job: What to train.
        report: Told about steps.
        factory: The user's own network; None for the one the job names.

    Raises:
        TrainingFailed: If the loss stops being a number.
    """
    began = time.monotonic()
    task = task_for(TargetSpec.from_dict(job.target), paper=job.recipe.paper)
    network = build(
        job.network, job.numerics, factory=factory, seed=seeds.derive(job.seed, "weights")
    )
    optimizer = KerasAdamW(network, learning_rate=job.recipe.learning_rate, decay=job.recipe.decay)
    source = Source(job.parts, job.numerics, seed=job.seed, paper=job.recipe.paper)
    reporter = _Reporter(report)
    epoch_scores: list[float] = []
    losses: list[float] = []
    best: dict[str, Tensor] = {}
    order = seeds.generator(job.seed, "order")
    for batches in epochs(len(source), job.recipe, order):
        losses.append(_train_epoch(network, optimizer, source, batches, task, job, reporter))
        epoch_scores.append(_validate(network, task, job))
        if epoch_scores[-1] >= max(epoch_scores):
            best = {name: value.detach().clone() for name, value in network.state_dict().items()}
    if not all(value.isfinite().all() for value in best.values()):
        raise TrainingFailed(f"{job.name}: the weights stopped being numbers")
    network.load_state_dict(best)
    reporter.flush()
    trained = Trained(
        name=job.name,
        job=job.digest(),
        seed=job.seed,
        images=len(source),
        steps=job.steps,
        epochs=len(epoch_scores),
        best_epoch=max(i for i, s in enumerate(epoch_scores, 1) if s == max(epoch_scores)),
        epoch_scores=tuple(epoch_scores),
        losses=tuple(losses),
        scores=validation_scores(network, task, job),
        parameters=sum(p.numel() for p in network.parameters()),
        flops=_flops_of_image(network, task, job)
        * job.steps
        * _mean_batch(job.recipe, len(source)),
        seconds=time.monotonic() - began,
        network=job.network,
    )
    return trained, best


def _train_epoch(
    network: nn.Module,
    optimizer: KerasAdamW,
    source: Source,
    batches: list[Tensor],
    task: Task,
    job: Job,
    reporter: _Reporter,
) -> float:
    network.train()
    total = torch.zeros((), device=job.numerics.device)
    for numbers in batches:
        batch = source.take(numbers)
        with job.numerics.applied():
            logits = network(batch.images)
            loss = task.loss(logits, batch.targets, batch.weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        total += loss.detach()
        reporter.step(loss.detach())
    mean = (total / len(batches)).item()
    if not math.isfinite(mean):
        raise TrainingFailed(f"{job.name}: the loss stopped being a number")
    return mean


def _validate(network: nn.Module, task: Task, job: Job) -> float:
    """Return the score by which the best epoch is kept."""
    network.eval()
    images, targets = _validation_arrays(job)
    meter = task.meter()
    start = 0
    for probabilities in predict(network, images, task, job.numerics):
        end = start + len(probabilities)
        meter.update(probabilities, torch.from_numpy(targets[start:end]).to(probabilities.device))
        start = end
    value = meter.value()
    return value if math.isfinite(value) else NO_SCORE


def validation_scores(network: nn.Module, task: Task, job: Job) -> dict[str, float]:
    """Return mean scores over the validation images, at working size."""
    network.eval()
    images, targets = _validation_arrays(job)
    collected: dict[str, list[Tensor]] = {}
    start = 0
    for probabilities in predict(network, images, task, job.numerics):
        end = start + len(probabilities)
        truth = torch.from_numpy(targets[start:end]).to(probabilities.device)
        for name, values in task.image_scores(task.discretize(probabilities), truth).items():
            collected.setdefault(name, []).append(values.cpu())
        start = end
    return {name: torch.cat(values).nanmean().item() for name, values in collected.items()}


def _validation_arrays(job: Job) -> tuple[Bytes, Target]:
    rows = list(job.validation.indices)
    return open_array(job.validation.images)[rows], open_array(job.validation.targets)[rows]


def _mean_batch(recipe: Recipe, images: int) -> float:
    return min(recipe.batch_size, images / recipe.steps_per_epoch(images))


def _flops_of_image(network: nn.Module, task: Task, job: Job) -> float:
    """Return floating point operations of one image, forward and backward."""
    twice = list(job.parts[0].indices[:1]) * 2  # one alone may be too few to normalize
    pixels = open_array(job.parts[0].images)[twice]
    target = torch.from_numpy(open_array(job.parts[0].targets)[twice])
    spare = copy.deepcopy(network).train()
    counter = FlopCounterMode(display=False)
    with counter, job.numerics.applied():
        logits = spare(to_device(pixels, job.numerics))
        task.loss(logits, target.to(job.numerics.device), None).backward()
    return counter.get_total_flops() / len(twice)


class _Reporter:
    """Passes steps on, but not more often than anybody can read."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._losses: list[Tensor] = []
        self._last = time.monotonic()

    def step(self, loss: Tensor) -> None:
        self._losses.append(loss)
        if time.monotonic() - self._last >= REPORT_EVERY:
            self.flush()

    def flush(self) -> None:
        if self._losses:
            self._report(len(self._losses), torch.stack(self._losses).mean().item())
        self._losses = []
        self._last = time.monotonic()
