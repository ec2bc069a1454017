"""What can be asked about the costs of training, and what is answered."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from imseg.engine.hardware.device import ComputeConfig, keep_freed_memory
from imseg.engine.hardware.exhaustion import free_unused, is_exhausted
from imseg.engine.hardware.memory import leave_first, peak_memory
from imseg.engine.inference.mask_scorer import judged_logits
from imseg.engine.inference.predictor import BATCH, predict, vote
from imseg.engine.loading.rows import placement_for, send_together
from imseg.engine.loading.samples import as_input
from imseg.engine.training import seeds
from imseg.engine.training.job import NetworkSpec
from imseg.engine.training.learner import Compiled
from imseg.engine.training.networks import NetworkFactory, build
from imseg.engine.training.objectives.objective import Forward, flops_of
from imseg.engine.training.optimizer import KerasAdamW
from imseg.ops import augment, batched
from imseg.ops.batched import AugmentParams, params_of, range_of
from imseg.ops.photometric import Strength
from imseg.tasks import Task, task_for
from imseg.tasks.quality import quality_for
from imseg.types import TargetSpec

BenchmarkKind = Literal["training", "predicting", "copies"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkRequest:
    """What is measured: a network at work, or images being disturbed."""

    what: BenchmarkKind
    """Training (steps and looks at validation images), prediction alone, or disturbed copies."""
    network: NetworkSpec
    """Which network."""
    compute: ComputeConfig
    """How it is computed."""
    target: dict[str, Any]
    """The target's ``TargetSpec`` as plain values."""
    size: tuple[int, int]
    """Height and width of the images."""
    batch_size: int
    """Images a step."""
    paper: bool = False
    """Whether the reference is followed where it differs from us."""
    judge: bool = False
    """Whether the network judges masks."""
    strength: Strength = field(default_factory=Strength)
    """How far copies are pushed."""
    seconds: float = 0.8
    """How long each thing is repeated, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """Seconds and bytes; 0 is what was not asked for."""

    step: float = 0.0
    """Seconds of an optimizer step with a full batch."""
    small_step: float = 0.0
    """The same with a quarter of a batch."""
    first: float = 0.0
    """Seconds that the very first step takes beyond that: memory is handed out by the system."""
    validation: float = 0.0
    """Seconds of a look at one validation image."""
    opening: float = 0.0
    """Seconds for making the optimizer, for the first of which much is loaded."""
    aside: float = 0.0
    """Seconds for making the network and counting its operations."""
    gather: float = 0.0
    """Seconds for bringing one image of a batch to the device."""
    prediction: float = 0.0
    """Seconds of a prediction for one image."""
    decision: float = 0.0
    """Seconds of a vote about one image."""
    copy: float = 0.0
    """Seconds for disturbing one image."""
    memory: int = 0
    """Peak bytes of the process so far."""
    device_memory: int = 0
    """Peak bytes taken on a GPU so far."""
    at_once: int = 0
    """Images of a step whose gradients are computed at once; fewer than a batch if memory is short.
    """
    compiled: bool = False
    """Whether steps were compiled, and that worked."""


def disturb_as_trained(
    pixels: Tensor, targets: Tensor, mask: Tensor, names: Sequence[int], *, asked: BenchmarkRequest
) -> None:
    """Disturb a batch in the way of its device: in groups, or together.

    Args:
        pixels: ``b c h w`` bytes.
        targets: ``b t h w``.
        mask: ``b 1 h w``, of pixels that stay black.
        names: A seed for each image.
        asked: How far, and where.
    """
    placement = placement_for(asked.compute.device)
    strength, square = asked.strength, asked.size[0] == asked.size[1]
    if not placement.together:
        augment.augment(
            pixels,
            targets,
            mask,
            seeds=names,
            strength=strength,
            rotate=True,
            paper=asked.paper,
            black=not asked.paper,
        )
        return
    drawn = augment.draw(names, strength, rotate=True, square=square)
    columns = {**params_of(drawn).tensors(), "black": torch.ones(len(names)).bool()}
    there = send_together(columns, asked.compute.device, pinned=placement.pinned)
    black = there.pop("black")
    batched.apply(
        pixels,
        AugmentParams(**there),
        extent=range_of(strength, rotate=True, square=square),
        targets=targets,
        mask=mask,
        black=None if asked.paper else black,
        paper=asked.paper,
    )


IN_A_ROW = 8
"""Steps after which a GPU is waited for."""


def answer(
    question: BenchmarkRequest,
    *,
    factory: NetworkFactory | None = None,
    meet: Callable[[], object] = lambda: None,
) -> BenchmarkResult:
    """Return what was measured in this process.

    Args:
        question: What is wanted.
        factory: The user's own network.
        meet: Waits until others that measure at the same time are ready too.
    """
    device = torch.device(question.compute.device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    bench = _Bench(question, factory, meet)
    measures = {
        "training": bench.training,
        "predicting": bench.predicting,
        "copies": bench.copies,
    }
    found = measures[question.what]()
    device_memory = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0
    return BenchmarkResult(**found, memory=peak_memory(), device_memory=device_memory)


class _Bench:
    """A network and made-up images, both on the device."""

    def __init__(
        self, question: BenchmarkRequest, factory: NetworkFactory | None, meet: Callable[[], object]
    ) -> None:
        self._asked = question
        self._meet = meet
        self._most = question.batch_size
        self._on_gpu = torch.device(question.compute.device).type == "cuda"
        self._compute = question.compute
        self._factory = factory
        spec = TargetSpec.from_dict(question.target)
        self._task: Task = task_for(spec, paper=question.paper)
        channels, planes = question.network.channels, spec.outputs
        random = np.random.default_rng(0)
        count = max(BATCH, question.batch_size)
        self._stored = random.integers(0, 256, (count, *question.size, channels), dtype=np.uint8)
        shape = (count, planes, *question.size)
        # What a network could say is a target of the right kind, whatever the kind is.
        smooth = torch.randn(count, planes, 4, 4, generator=torch.Generator().manual_seed(0))
        logits = nn.functional.interpolate(smooth, size=shape[2:], mode="bilinear") * 4
        probabilities = self._task.probabilities(logits)
        self._targets = self._task.discretize(probabilities).to(self._compute.device)
        self._pixels = torch.from_numpy(self._stored).to(self._compute.device).permute(0, 3, 1, 2)

    def training(self) -> dict[str, Any]:
        """Return what the training of a network costs."""
        began = time.monotonic()
        network = build(self._asked.network, self._compute, factory=self._factory)
        made = time.monotonic() - began
        began = time.monotonic()
        optimizer = KerasAdamW(network, learning_rate=1e-6, decay=1e-6)
        opening = time.monotonic() - began
        batch = self._asked.batch_size
        images = as_input(self._pixels, self._compute)
        loss_of = self._judges_loss if self._asked.judge else self._loss

        compiled = Compiled(network, self._compute, batch_size=batch)

        def step(count: int) -> None:
            with self._compute.applied():
                loss = loss_of(compiled.forward(count), images[:count], self._targets[:count])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()

        network.train()
        first = self._first(step, compiled)
        works, batch = compiled.works, self._most
        self._meet()
        validated = self._judge_once if self._asked.judge else self._validate

        def look() -> None:
            validated(network.eval())
            network.train()

        # As in an epoch: what comes between steps costs the next one something too.
        full, small, looking = self._in_turn(
            (lambda: step(batch), 4), (lambda: step(max(2, batch // 4)), 1), (look, 1)
        )
        full *= self._asked.batch_size / batch
        counting = self._once(
            lambda: flops_of(
                lambda spare: loss_of(spare, images[:2], self._targets[:2]), network, self._compute
            )
        )
        gathering = self._repeated(self._gather, share=0.1) / BATCH
        return {
            "step": full,
            "small_step": min(small, full),
            "first": max(0.0, first - full),
            "validation": looking / BATCH,
            "opening": opening,
            "aside": made + counting,
            "gather": gathering,
            "compiled": works,
            "at_once": batch,
        }

    def _first(self, step: Callable[[int], None], compiled: Compiled) -> float:
        """Make the first step, as a training would if it cannot be compiled or does not fit."""
        while True:
            try:
                return self._once(lambda: step(self._most))
            except Exception as error:
                if not compiled.works and not (self._most > 2 and is_exhausted(error)):
                    raise
            if compiled.works:
                compiled.give_up()
            else:
                free_unused()
                self._most = max(2, self._most // 2)

    def predicting(self) -> dict[str, float]:
        """Return what predictions cost."""
        network = build(self._asked.network, self._compute, factory=self._factory).eval()
        self._meet()
        if self._asked.judge:
            self._judge_once(network)
            seconds = self._repeated(lambda: self._judge_once(network), share=0.5)
            return {"prediction": seconds / BATCH}
        stored = self._stored[:BATCH]
        votes = vote([network, network], stored, self._task, self._compute)

        def decide() -> None:
            with self._compute.applied():
                self._task.vote(votes)

        asked = self._repeated(
            lambda: vote([network], stored, self._task, self._compute), share=0.5
        )
        return {
            "prediction": asked / BATCH,
            "decision": self._repeated(decide, share=0.2) / BATCH,
        }

    def copies(self) -> dict[str, float]:
        """Return what disturbed copies cost, as they are made for a batch from two parts."""
        mask = self._targets[:BATCH, :1] == self._targets[:1, :1]
        number = iter(range(10**6))

        def part(rows: list[int]) -> None:
            pixels, targets = self._pixels[rows].clone(), self._targets[rows].clone()
            names = [seeds.derive(0, "copy", next(number)) for _ in rows]
            disturb_as_trained(pixels, targets, mask[rows], names, asked=self._asked)

        def batch() -> None:
            with self._compute.applied():
                part(list(range(BATCH // 4)))
                part(list(range(BATCH // 4, BATCH)))

        batch()
        self._meet()
        return {"copy": self._repeated(batch) / BATCH}

    def _loss(self, network: Forward, images: Tensor, targets: Tensor) -> Tensor:
        return self._task.loss(network(images), targets, None)

    def _judges_loss(self, network: Forward, images: Tensor, targets: Tensor) -> Tensor:
        quality = quality_for(self._task)
        logits = judged_logits(network, images, targets, quality=quality, compute=self._compute)
        return quality.loss(logits, torch.full_like(logits, 0.5))

    def _gather(self) -> None:
        rows = np.arange(BATCH)[::-1]
        taken = torch.from_numpy(np.take(self._stored, rows, axis=0)).to(self._compute.device)
        as_input(taken.permute(0, 3, 1, 2), self._compute)

    def _validate(self, network: nn.Module) -> None:
        meter = self._task.meter()
        for probabilities in predict(network, self._stored[:BATCH], self._task, self._compute):
            meter.update(probabilities, self._targets[:BATCH])
        meter.value()

    def _judge_once(self, network: nn.Module) -> None:
        quality = quality_for(self._task)
        images = as_input(self._pixels[:BATCH], self._compute)
        with torch.inference_mode(), self._compute.applied():
            judged_logits(
                network, images, self._targets[:BATCH], quality=quality, compute=self._compute
            ).cpu()

    def _once(self, work: Callable[[], object]) -> float:
        """Return the seconds of a piece of work, that of a GPU included."""
        began = time.monotonic()
        work()
        if self._on_gpu:
            torch.cuda.synchronize(self._compute.device)
        return time.monotonic() - began

    def _in_turn(self, *works: tuple[Callable[[], object], int]) -> list[float]:
        """Return the mean seconds of each piece of work, done so many times in each of some turns.

        The first turn does not count, unless there is no time for another.
        """
        took: list[list[float]] = [[] for _ in works]
        end, turns = time.monotonic() + 2 * self._asked.seconds, 0
        while not turns or time.monotonic() < end:
            if turns == 1:
                took = [[] for _ in works]
            for seconds, (work, times) in zip(took, works, strict=True):
                some = functools.partial(_repeat, work, times)
                seconds.append(self._once(some) / times)
            turns += 1
        return [sum(seconds) / len(seconds) for seconds in took]

    def _repeated(self, work: Callable[[], object], *, share: float = 1.0) -> float:
        """Return the mean seconds of work that is repeated as long as the question allows."""
        end = time.monotonic() + self._asked.seconds * share
        # A GPU is waited for only now and then, as in a training.
        times = IN_A_ROW if self._on_gpu else 1
        seconds: list[float] = []
        while not seconds or time.monotonic() < end:
            seconds.append(self._once(functools.partial(_repeat, work, times)) / times)
        return sum(seconds) / len(seconds)


def _repeat(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()


def main() -> None:
    """Answer questions until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    keep_freed_memory()
    leave_first()
    torch.zeros(1)
    answers.write(json.dumps({"ready": peak_memory()}) + "\n")
    answers.flush()

    def meet() -> None:
        answers.write(json.dumps({"warm": True}) + "\n")
        answers.flush()
        sys.stdin.readline()

    for line in iter(sys.stdin.readline, ""):
        found = answer(TypeAdapter(BenchmarkRequest).validate_json(line), meet=meet)
        answers.write(TypeAdapter(BenchmarkResult).dump_json(found).decode() + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
