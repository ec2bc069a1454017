"""The work that ``bench.py`` measures: ours, through the real engine, and the naive way."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path

import naive
import numpy as np
import torch

from imseg.components.consensus import Consensus, Everything, TeacherBatch
from imseg.components.labeling import ask_teachers, pseudo_label
from imseg.engine.hardware.device import (
    ComputeConfig,
    keep_freed_memory,
    resolve_precision,
    usable_cores,
)
from imseg.engine.loading.samples import Copies, SampleSet
from imseg.engine.training.job import TrainJob, build
from imseg.engine.training.learner import Learner
from imseg.engine.training.monitor import Clock, Listener
from imseg.engine.training.objectives.mask_quality import MaskQuality
from imseg.engine.training.objectives.supervised import Supervised
from imseg.engine.training.recipe import Recipe
from imseg.networks.registry import EvalNetConfig, Network, UNetConfig
from imseg.ops.augment import augment
from imseg.ops.photometric import STRENGTH_SCHEDULES
from imseg.tasks import task_for
from imseg.types import TargetSpec

BATCH, IMAGES, TEACHERS = 32, 64, 4
STRENGTH = STRENGTH_SCHEDULES["default"][-1]
SPEC = TargetSpec(
    kind="binary", values=(0, 255), names=("background", "cell"), colors=((0, 0, 0), (255, 0, 0))
)
Work = tuple[Callable[[], object], int]
"""What is done in a round, and how many units of work that is."""


def environment(variant: str) -> dict[str, str]:
    """Return the environment of a variant: the naive one as it is, ours as the executor sets it."""
    if variant.startswith("naive"):
        return dict(os.environ)
    threads = str(_threads(variant))
    return {
        **os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads,
        "OMP_WAIT_POLICY": "PASSIVE",
    }  # fmt: skip


def make_data(folder: Path, side: int) -> None:
    """Write pictures with bright disks, their masks, and qualities of the masks."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    centers = generator.integers(side // 4, side - side // 4, (IMAGES, 2, 1, 1))
    masks = (rows - centers[:, 0]) ** 2 + (columns - centers[:, 1]) ** 2 < (side // 5) ** 2
    images = generator.integers(0, 130, (IMAGES, side, side, 3)) + 100 * masks[..., None]
    np.save(folder / "images.npy", images.astype(np.uint8))
    np.save(folder / "masks.npy", masks.astype(np.uint8)[:, None])
    np.save(folder / "qualities.npy", generator.random((IMAGES, 1, 1), dtype=np.float32))


def most_memory() -> int:
    """Return the most memory this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def precision_here(precision: str) -> str:
    """Return the precision that a run would resolve here."""
    return resolve_precision(precision, "cpu")


def training(side: int, data: Path, *, precision: str = "auto", width: float = 0.5) -> Work:
    return _step(data, precision=precision, network=UNetConfig(width=width))


def scorer(side: int, data: Path) -> Work:
    network = EvalNetConfig(width=1.0)
    return _step(data, precision="auto", network=network, qualities=data / "qualities.npy")


def pseudo_labels(side: int, data: Path) -> Work:
    """Label stored images, then take them blocked, as a training would."""
    compute = _compute("auto", threads=usable_cores())
    torch.set_num_threads(compute.threads)
    keep_freed_memory()
    teachers = [_teacher(data, number, compute) for number in range(TEACHERS)]
    task = task_for(SPEC)

    def seat(_start: int, images: np.ndarray) -> TeacherBatch:
        return TeacherBatch(
            task=task, teachers=teachers, images=images, compute=compute,
            seeds=(0,) * len(images), strength=STRENGTH, rotate=True,
        )  # fmt: skip

    labeler = Consensus(teachers=TEACHERS)
    ask = ask_teachers(
        data / "images.npy", teacher_batch_for=seat, labeler=labeler, select=Everything(), task=task
    )

    def work() -> None:
        from imseg.engine.loading.loader import BatchLoader

        made = pseudo_label(
            data / "images.npy", "bench", ask=ask, block=labeler.block, task=task,
            folder=data / f"labels-{os.getpid()}",
            progress=lambda *_: None,
        )  # fmt: skip
        source = BatchLoader((made.part,), compute)
        for numbers in torch.arange(IMAGES).split(BATCH):
            source.take(numbers)

    return work, IMAGES


def copies(side: int, data: Path) -> Work:
    torch.set_num_threads(1)
    keep_freed_memory()
    images = torch.from_numpy(np.load(data / "images.npy")[:BATCH]).permute(0, 3, 1, 2)
    masks = torch.from_numpy(np.load(data / "masks.npy")[:BATCH])
    begin = iter(range(0, 10**9, BATCH))

    def work() -> None:
        first = next(begin)
        augment(
            images, masks, None, seeds=range(first, first + BATCH), strength=STRENGTH, rotate=True
        )

    return work, BATCH


def naive_training(side: int, data: Path) -> Work:
    images, masks = np.load(data / "images.npy")[:BATCH], np.load(data / "masks.npy")[:BATCH]
    return naive.training_step(UNetConfig(width=0.5), images, masks), 1


def naive_scorer(side: int, data: Path) -> Work:
    images, masks = np.load(data / "images.npy")[:BATCH], np.load(data / "masks.npy")[:BATCH]
    qualities = np.load(data / "qualities.npy")[:BATCH]
    return naive.scorer_step(EvalNetConfig(width=1.0), images, masks, qualities), 1


def naive_pseudo_labels(side: int, data: Path) -> Work:
    images = np.load(data / "images.npy")[:16]
    teachers = [_teacher(data, number, naive.compute()) for number in range(TEACHERS)]

    def work() -> None:
        for image in images:
            blocked, _ = naive.pseudo_label(teachers, image)
            naive.as_tensor(blocked)

    return work, len(images)


def naive_copies(side: int, data: Path) -> Work:
    torch.set_num_threads(1)
    images, masks = np.load(data / "images.npy")[:8], np.load(data / "masks.npy")[:8]

    def work() -> None:
        for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
            naive.augment(image, mask[0], number, STRENGTH)

    return work, len(images)


VARIANTS: dict[str, Callable[[int, Path], Work]] = {
    "training": training,
    "training float32": lambda side, data: training(side, data, precision="float32"),
    "naive training": naive_training,
    "pseudo-labels": pseudo_labels,
    "naive pseudo-labels": naive_pseudo_labels,
    "copies": copies,
    "naive copies": naive_copies,
    "mask scorer": scorer,
    "naive mask scorer": naive_scorer,
}


def _step(data: Path, *, precision: str, network: Network, qualities: Path | None = None) -> Work:
    """Return what makes one step as a worker does, batch included."""
    compute = _compute(precision, threads=1)
    keep_freed_memory()
    part = SampleSet(
        images=data / "images.npy", targets=data / "masks.npy", digest="bench",
        indices=tuple(range(IMAGES)), qualities=qualities,
        copies=Copies(count=0, strength=STRENGTH, rotate=True, seed=0),
    )  # fmt: skip
    job = TrainJob(
        name="bench", output=data / "none.safetensors", samples=(part,), validation=part,
        target=SPEC.as_dict(), network=network, channels=3, outputs=1,
        objective=Supervised() if qualities is None else MaskQuality(),
        recipe=Recipe(epochs=10**6, batch_size=BATCH), compute=compute, seed=0,
    )  # fmt: skip
    made = build(network, compute, channels=3, outputs=1)
    objective = job.objective.open(job)
    objective.begin(made)
    learner = Learner(made, job, objective, listener=Listener(), clock=Clock())
    steps = (step for one_pass in objective.passes() for step in one_pass)
    return lambda: learner.learn(iter([next(steps)])), 1


def _teacher(data: Path, number: int, compute: ComputeConfig) -> torch.nn.Module:
    return build(UNetConfig(width=0.5), compute, channels=3, outputs=1, seed=number).eval()


def _compute(precision: str, *, threads: int) -> ComputeConfig:
    return ComputeConfig(precision=resolve_precision(precision, "cpu"), threads=threads)


def _threads(variant: str) -> int:
    return usable_cores() if variant == "pseudo-labels" else 1
