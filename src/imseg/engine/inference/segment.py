"""Pictures of any size in, predictions at their own size out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from imseg.data.images.decoding import resize_image
from imseg.data.images.image_files import load_pixels
from imseg.data.images.picture_file import probe
from imseg.engine.hardware.device import ComputeConfig, keep_freed_memory, usable_cores
from imseg.engine.inference.predictor import BATCH, predict_mean
from imseg.tasks import Planes, Task
from imseg.types import Bytes, Image, Reading

MOST_VALUES = 192 * 10**6
"""Pixels times channels of decoded pictures held at once, and as many again being decoded."""


@dataclass(frozen=True, slots=True)
class Segmented:
    """One picture and what the networks say about it."""

    image: Image
    """The picture."""
    pixels: Bytes
    """Decoded, ``h w c``."""
    probabilities: Float[Tensor, "1 k h w"]
    """Mean over the networks, at working size."""
    inconsistent: Bool[Tensor, "1 1 h w"] | None = None
    """Where teachers disagree, at working size; None where that was not asked for."""

    def at_size(self, size: tuple[int, int] | None = None) -> Float[Tensor, "1 k h w"]:
        """Return probabilities at a height and width; None for the picture's own."""
        return upsample(self.probabilities, size or (self.pixels.shape[0], self.pixels.shape[1]))

    def predict(self, task: Task, size: tuple[int, int] | None = None) -> Planes:
        """Return the predicted value of each pixel (``1 t h w``), in inside numbering.

        Args:
            task: How probabilities become values.
            size: Height and width wanted; None for the picture's own.
        """
        return task.discretize(self.at_size(size))

    def disagreement(self) -> Bool[Tensor, "1 1 h w"]:
        """Return where teachers disagree, at the picture's own size.

        Raises:
            ValueError: If that was not asked for.
        """
        if self.inconsistent is None:
            raise ValueError("disagreement was not asked for")
        size = (self.pixels.shape[0], self.pixels.shape[1])
        return functional.interpolate(self.inconsistent.float(), size=size, mode="nearest") > 0.5


def upsample(
    probabilities: Float[Tensor, "b k h w"], size: tuple[int, int]
) -> Float[Tensor, "b k H W"]:
    """Return probabilities at another size, bilinearly, before they are made discrete."""
    if tuple(probabilities.shape[-2:]) == size:
        return probabilities
    return functional.interpolate(probabilities, size=size, mode="bilinear", align_corners=False)


def segment(
    images: Sequence[Image],
    networks: Sequence[nn.Module],
    *,
    task: Task,
    reading: Reading,
    size: tuple[int, int],
    compute: ComputeConfig,
    teachers: Sequence[nn.Module] | None = None,
) -> Iterator[Segmented]:
    """Yield predictions in the order of the pictures; the next ones are decoded meanwhile.

    Each network makes one forward pass per picture, also where it is among the teachers.

    Args:
        images: Pictures of any size.
        networks: Their mean probability is the prediction.
        task: What a pixel is.
        reading: How pictures were read for training.
        size: Height and width at which they work.
        compute: How they are computed.
        teachers: Networks whose disagreement is wanted; fewer than two never disagree. None: it
            is not asked for.
    """

    def load(image: Image) -> tuple[Bytes, Bytes]:
        pixels = load_pixels(image, reading)
        return pixels, resize_image(pixels, size)

    keep_freed_memory()
    with ThreadPoolExecutor(usable_cores()) as pool:
        chunks = _chunks(images, reading)
        coming = [pool.submit(load, image) for image in chunks[0]] if chunks else []
        for number, chunk in enumerate(chunks, 1):
            loaded = [future.result() for future in coming]
            coming = [pool.submit(load, image) for part in chunks[number:][:1] for image in part]
            batch = np.stack([small for _, small in loaded])
            mean, votes = predict_mean(
                networks, batch, task=task, compute=compute, teachers=teachers or ()
            )
            disputed: Sequence[Tensor | None] = [None] * len(chunk)
            if votes is not None and len(votes) > 1:
                disputed = task.vote(votes)[1].any(1, True).cpu().split(1)
            elif teachers is not None:
                disputed = torch.zeros((len(chunk), 1, *size), dtype=torch.bool).split(1)
            of_each = zip(chunk, loaded, mean.cpu().split(1), disputed, strict=True)
            for image, (pixels, _), probabilities, inconsistent in of_each:
                yield Segmented(image, pixels, probabilities, inconsistent)


def _chunks(images: Sequence[Image], reading: Reading) -> list[list[Image]]:
    """Return pictures in order, so many together that decoded they fit into memory.

    All headers are read first, so that what is no picture is told before anything is computed.
    """
    chunks: list[list[Image]] = []
    room = 0
    for image in images:
        pixels = image.pixels
        size = probe(pixels, pages=reading.pages).size if isinstance(pixels, Path) else pixels.shape
        needed = int(size[0]) * int(size[1]) * reading.channels
        if not chunks or len(chunks[-1]) == BATCH or needed > room:
            chunks.append([])
            room = MOST_VALUES
        chunks[-1].append(image)
        room -= needed
    return chunks
