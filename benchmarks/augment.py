"""Noisy copies a second on one core, against the naive way, and what each step costs.

    python benchmarks/augment.py [--sides 96 256] [--repeats 40] [--device cpu]

Images are RGB and lie as in the store (``n h w c``), with one target plane and no mask, in batches
of 32, at the last level of the default strength schedule with free rotation. The naive way is image
by image in floats on the CPU; "together" is the way of devices other than the CPU, and sends them
what is known about a batch.

The second table is about samples that are augmented anew at every look, by level and without one
kind of change each, beside an optimizer step of a U-Net of half the width over the same images, all
in turn. Times are the median of all repeats and, because other programs disturb
them, the best.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from naive import augment as naive_copy
from torch.nn import functional

from imseg.engine.hardware.device import ComputeConfig, keep_freed_memory
from imseg.engine.loading.augmented_samples import SampleAugmenter, augment_samples
from imseg.engine.loading.rows import send
from imseg.engine.loading.samples import as_input
from imseg.engine.training.job import build
from imseg.engine.training.optimizer import KerasAdamW
from imseg.networks.registry import UNetConfig
from imseg.ops import augment, batched, photometric
from imseg.ops.augment import move_each
from imseg.ops.batched import AugmentParams, params_of, range_of
from imseg.ops.limits import AugmentLimits, limits_for
from imseg.ops.photometric import STRENGTH_SCHEDULES, Strength

BATCH = 32
STRENGTH = STRENGTH_SCHEDULES["default"][-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[96, 256])
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    for side in arguments.sides:
        found = measure(side, arguments.repeats, arguments.device)
        none = min(found["values: nothing"])
        print(f"\n{side}x{side}x3, one thread; share: of ours, without what 'nothing' costs")
        print(f"{'':<28}{'best us':>9}{'median us':>11}{'images/s':>10}{'share':>8}")
        for name, seconds in found.items():
            extra = none if name in ("gain and offset", "blur", "noise") else 0.0
            best = min(seconds)
            share = (best - extra) / min(found["ours"])
            numbers = f"{1e6 * best:>9.0f}{1e6 * statistics.median(seconds):>11.0f}"
            print(f"{name:<28}{numbers}{1 / best:>10.0f}{share:>8.0%}")
        looks = measure_looks(side, arguments.repeats, arguments.device)
        print(f"\n{side}x{side}x3, samples augmented at every look; share: of an optimizer step")
        for name, seconds in looks.items():
            middle = statistics.median(seconds)
            share = middle / statistics.median(looks["optimizer step"])
            numbers = f"{1e6 * min(seconds):>9.0f}{1e6 * middle:>11.0f}{1 / min(seconds):>10.0f}"
            print(f"{name:<28}{numbers}{share:>8.1%}")


def measure(side: int, repeats: int, device: str) -> dict[str, list[float]]:
    """Return seconds an image of each variant and step."""
    generator = np.random.default_rng(0)
    stored = generator.integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    masks = generator.integers(0, 2, (BATCH, 1, side, side), dtype=np.uint8)
    images = torch.from_numpy(stored).to(device).permute(0, 3, 1, 2)
    targets = torch.from_numpy(masks).to(device)
    inconsistent = targets.bool()
    augment_range = range_of(STRENGTH, rotate=True, square=True)

    def ours(seeds: range) -> None:
        augment.augment(images, targets, None, seeds=seeds, strength=STRENGTH, rotate=True)

    def blocked(seeds: range) -> None:
        augment.augment(
            images, targets, inconsistent,
            seeds=seeds, strength=STRENGTH, rotate=True, black=True,
        )  # fmt: skip

    def all_together(seeds: range) -> None:
        columns = params_of(draws(seeds)).tensors()
        pinned = torch.device(device).type == "cuda"
        augment_params = AugmentParams(**send(columns, device, pinned=pinned))
        batched.apply(images, augment_params, augment_range=augment_range, targets=targets)

    def draws(seeds: range) -> augment.Draws:
        return augment.draw(seeds, STRENGTH, rotate=True, square=True)

    def values(strength: Strength) -> Callable[[range], object]:
        return lambda seeds: photometric.apply(images, photometric.draw(seeds, strength))

    def naive(seeds: range) -> None:
        for row, seed in enumerate(seeds):
            naive_copy(stored[row], masks[row, 0], seed, STRENGTH)

    variants: dict[str, Callable[[range], object]] = {
        "naive": naive,
        "ours": ours,
        "together": all_together,
        "ours, with mask kept black": blocked,
        "draws": draws,
        "moves of images": lambda seeds: move_each(images, draws(seeds).moves),
        "moves of targets": lambda seeds: move_each(targets, draws(seeds).moves),
        "values: nothing": values(Strength()),
        "gain and offset": values(Strength(gain=STRENGTH.gain, offset=STRENGTH.offset)),
        "blur": values(Strength(blur=STRENGTH.blur)),
        "noise": values(Strength(noise=STRENGTH.noise)),
    }
    return {name: timed(variant, repeats, device) for name, variant in variants.items()}


def measure_looks(side: int, repeats: int, device: str) -> dict[str, list[float]]:
    """Return seconds an image of augmented looks and of an optimizer step, measured in turn."""
    stored = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    images = torch.from_numpy(stored).to(device).permute(0, 3, 1, 2)
    targets = images[:, :1].contiguous() // 128
    compute = ComputeConfig(threads=1, device=device)
    network = build(UNetConfig(width=0.5), compute, channels=3, outputs=1).train()
    optimizer = KerasAdamW(network, learning_rate=0.003, decay=1e-4)
    shown = as_input(images, compute)
    how = {"kind": "binary", "modality": "photograph", "rotate": True}
    weak, strong = (limits_for(level, **how) for level in ("weak", "strong"))
    assert weak is not None and strong is not None

    def step(_seeds: range) -> None:
        loss = functional.mse_loss(torch.sigmoid(network(shown)), targets.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def look(limits: AugmentLimits, seeds: range) -> None:
        columns = SampleAugmenter(limits, stored.shape[1:]).columns(seeds)
        augment_samples(images, targets, None, send(columns, device, pinned=False))

    without = ("elastic", "scale", "saturation", "blur", "noise", "color_share")
    all_limits = {
        "weak": weak,
        "strong": strong,
        "strong, geometry alone": strong.geometry,
        **{f"strong without {name}": replace(strong, **{name: 0.0}) for name in without},
    }
    variants = {"optimizer step": step} | {
        name: functools.partial(look, limits) for name, limits in all_limits.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(max(1, repeats // 4)):
        for name, variant in variants.items():
            seconds[name] += timed(variant, 1, device)
    return seconds


def timed(variant: Callable[[range], object], repeats: int, device: str) -> list[float]:
    """Return seconds an image, one number a batch; the first batch is not counted."""
    seconds = []
    for batch in range(repeats + 1):
        seeds = range(batch * BATCH, (batch + 1) * BATCH)
        start = time.perf_counter()
        variant(seeds)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append((time.perf_counter() - start) / BATCH)
    return seconds[1:]


if __name__ == "__main__":
    main()
