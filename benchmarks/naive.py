"""The naive way: what one would write down from the description, to measure against.

Eager, ``n c h w``, float32, the allocator as it is, all threads, and image by image wherever the
work allows it. Networks, losses and optimizer are the real ones, so that only the way differs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from imseg.engine.hardware.device import ComputeConfig, usable_cores
from imseg.engine.training.job import build
from imseg.engine.training.optimizer import KerasAdamW
from imseg.networks.registry import EvalNetConfig, UNetConfig
from imseg.ops.photometric import KERNELS, Strength


def compute() -> ComputeConfig:
    """Return how the naive way computes."""
    return ComputeConfig(threads=usable_cores(), channels_last=False)


def training_step(network: UNetConfig, images: np.ndarray, masks: np.ndarray) -> Callable[[], None]:
    """Return what makes an optimizer step over all images (``n h w c``) and masks (``n 1 h w``)."""
    trained = build(network, compute(), channels=3, outputs=1).train()
    optimizer = KerasAdamW(trained, learning_rate=0.003, decay=1e-4)

    def step() -> None:
        batch = torch.stack([as_tensor(image) for image in images])
        truth = torch.stack([torch.from_numpy(mask).float() for mask in masks])
        loss = functional.mse_loss(torch.sigmoid(trained(batch)), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def scorer_step(
    network: EvalNetConfig, images: np.ndarray, masks: np.ndarray, qualities: np.ndarray
) -> Callable[[], None]:
    """Return what makes an optimizer step of a scorer of binary masks."""
    scorer = build(network, compute(), channels=3, outputs=1).train()
    optimizer = KerasAdamW(scorer, learning_rate=0.003, decay=1e-4)

    def step() -> None:
        batch = torch.stack([as_tensor(image) for image in images])
        shown = torch.stack([torch.from_numpy(mask).float() for mask in masks])
        said = torch.sigmoid(scorer(batch, shown))
        loss = functional.mse_loss(said, torch.from_numpy(qualities))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def pseudo_label(teachers: list[nn.Module], image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a blocked image (``h w c``) and its blocked label (``h w``)."""
    with torch.no_grad():
        batch = as_tensor(image).unsqueeze(0)
        votes = torch.stack([torch.sigmoid(teacher(batch))[0, 0] > 0.5 for teacher in teachers])
    unanimous, any_says = votes.all(dim=0).numpy(), votes.any(dim=0).numpy()
    inconsistent = any_says & ~unanimous
    blocked, label = image.copy(), unanimous.astype(np.uint8)
    blocked[inconsistent] = 0
    label[inconsistent] = 0
    return blocked, label


def as_tensor(image: np.ndarray) -> Tensor:
    """Return an image (``h w c`` bytes) as ``c h w``, 0..1."""
    return torch.from_numpy(image).permute(2, 0, 1).contiguous().float() / 255


def augment(
    image: np.ndarray, mask: np.ndarray, seed: int, strength: Strength
) -> tuple[np.ndarray, ...]:
    """Return one noisy copy of an image (``h w c``) and its mask (``h w``)."""
    generator = np.random.default_rng(seed)
    turns, flips = int(generator.integers(4)), generator.integers(0, 2, 2)
    for axis in (0, 1):
        if flips[axis]:
            image, mask = np.flip(image, axis), np.flip(mask, axis)
    values = np.rot90(image, turns).astype(np.float64)
    if generator.integers(2):
        gain = generator.uniform(1 - strength.gain, 1 + strength.gain)
        offset = generator.uniform(-strength.offset, strength.offset)
        values = np.clip(np.rint(values * gain + offset), 0, 255)
    radius = int(generator.integers(strength.blur + 1))
    for axis in (0, 1):
        values = smooth(values, radius, axis=axis)
    values = np.rint(values) + generator.integers(-strength.noise, strength.noise, values.shape)
    return np.clip(values, 0, 255).astype(np.uint8), np.ascontiguousarray(np.rot90(mask, turns))


def smooth(values: np.ndarray, radius: int, *, axis: int) -> np.ndarray:
    """Return values convolved with a kernel along an axis."""
    kernel = np.array(KERNELS[radius]) / sum(KERNELS[radius])
    width = [(radius, radius) if at == axis else (0, 0) for at in range(3)]
    padded, size = np.pad(values, width, mode="reflect"), values.shape[axis]
    shifted = (padded.take(range(start, start + size), axis) for start in range(len(kernel)))
    return sum(weight * part for weight, part in zip(kernel, shifted, strict=True))
