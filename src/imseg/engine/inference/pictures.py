"""Pictures of users and what networks say about them: decoded, scaled, batched, put together."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from imseg.data.images.by_rows import ONE_PAGE
from imseg.data.images.decoding import resize_image
from imseg.data.images.image_files import load_pixels
from imseg.data.images.picture_file import probe
from imseg.engine.hardware import device
from imseg.engine.inference.predictor import BATCH, predict_mean
from imseg.errors import ImsegError
from imseg.ops.augment import UNMOVED, Move
from imseg.ops.tiling import Size, Stitcher, TileScheme, Tiling
from imseg.tasks import Planes, Task
from imseg.types import Bytes, Image, Reading

Unreadable = Callable[[Image, ImsegError], None]
"""Called with a picture that cannot be read and is left out, and the reason."""

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
    orientations: int = 1
    """In how many orientations (flipped, turned) each network saw it."""

    def at_size(self, size: tuple[int, int] | None = None) -> Float[Tensor, "1 k h w"]:
        """Return probabilities at a height and width, bilinearly; None for the picture's own."""
        size = size or (self.pixels.shape[0], self.pixels.shape[1])
        found = self.probabilities
        if tuple(found.shape[-2:]) == size:
            return found
        return functional.interpolate(found, size=size, mode="bilinear", align_corners=False)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """Networks, and how they look at pictures.

    Each network makes one forward pass per picture (or tile of one) and move, also where it is
    among the teachers.
    """

    networks: Sequence[nn.Module]
    """Their mean probability is the prediction."""
    task: Task
    """What a pixel is."""
    reading: Reading
    """How pictures were read for training."""
    size: Callable[[Size, float | None], Size | TileScheme]
    """Returns for the height and width of a picture, and the micrometers on a side of its pixels
    (None: not known), the height and width at which networks see it whole; or how it is cut into
    tiles, whose predictions are joined."""
    compute: device.ComputeConfig
    """How they are computed."""
    teachers: Sequence[nn.Module] | None = None
    """Networks whose disagreement is wanted; fewer than two never disagree. None: it is not asked
    for."""
    moves: Sequence[Move] = UNMOVED
    """The orientations in which each network sees a picture; its probabilities are the mean."""

    def look(self, batch: Bytes) -> tuple[Float[Tensor, "b k h w"], Bool[Tensor, "b 1 h w"]]:
        """Return the mean for images of one size, ``n h w c``, and where teachers disagree.

        Both are on the CPU; nowhere without teachers.
        """
        mean, votes = predict_mean(
            self.networks,
            batch,
            task=self.task,
            compute=self.compute,
            teachers=self.teachers or (),
            moves=self.moves,
        )
        mask = torch.zeros((len(batch), 1, *batch.shape[1:3]), dtype=torch.bool)
        if votes is not None and len(votes) > 1:
            mask = self.task.vote(votes)[1].any(1, True).cpu()
        return mean.cpu(), mask

    def segment(
        self, images: Sequence[Image], *, unreadable: Unreadable | None = None
    ) -> Iterator[Segmented]:
        """Yield predictions in the order of the pictures; the next ones are decoded meanwhile.

        Args:
            images: Pictures of any size that memory can hold; see ``large`` for others.
            unreadable: Called with each picture that cannot be read, and why; it is left out. None:
                that is an error.

        Raises:
            ImsegError: If a picture cannot be read, and none may be left out.
        """
        device.keep_freed_memory()
        with ThreadPoolExecutor(device.usable_cores()) as pool:
            chunks = _chunks(images, self.reading, unreadable)
            coming = [pool.submit(self._load, image) for image in chunks[0]] if chunks else []
            for number, chunk in enumerate(chunks, 1):
                results = [future.result() for future in coming]
                coming = [
                    pool.submit(self._load, image) for part in chunks[number:][:1] for image in part
                ]
                chunk, loaded = _readable(chunk, results, unreadable)
                if not chunk:
                    continue
                looks: Iterable[tuple[Tensor, Tensor]]
                if any(each.tiling for each in loaded):
                    looks = map(self._joined, loaded)
                else:
                    found = self.look(np.stack([each.scaled for each in loaded]))
                    looks = zip(*(each.split(1) for each in found), strict=True)
                for image, each, (mean, mask) in zip(chunk, loaded, looks, strict=True):
                    inconsistent = None if self.teachers is None else mask
                    yield Segmented(image, each.pixels, mean, inconsistent, len(self.moves))

    def _load(self, image: Image) -> "_Loaded | ImsegError":
        try:
            pixels = load_pixels(image, self.reading)
        except ImsegError as error:
            return error
        own = (pixels.shape[0], pixels.shape[1])
        wanted = self.size(own, image.pixel_size)
        if isinstance(wanted, TileScheme):
            return _Loaded(pixels, resize_image(pixels, wanted.size_of(own)), wanted.tiling)
        return _Loaded(pixels, resize_image(pixels, wanted), None)

    def _joined(self, image: "_Loaded") -> tuple[Float[Tensor, "1 k h w"], Bool[Tensor, "1 1 h w"]]:
        """Return the mean and the inconsistency mask of an image, asked for tile by tile."""
        tiling, size = image.tiling, (image.scaled.shape[0], image.scaled.shape[1])
        if tiling is None:
            return self.look(image.scaled[None])
        means, masks = Stitcher(tiling, size), Stitcher(tiling, size)
        tiles = tiling.tiles(image.scaled)
        while batch := list(itertools.islice(tiles, BATCH)):
            mean, mask = self.look(np.stack(batch))
            means.add(mean)
            if self.teachers is not None:
                masks.add(mask.float())
        nowhere = torch.zeros((1, *size), dtype=torch.bool)
        inconsistent = nowhere if self.teachers is None else masks.result() > 0.5
        return means.result()[None], inconsistent[None]


class _Loaded(NamedTuple):
    """A picture, and what networks see of it."""

    pixels: Bytes
    """``h w c``, as it is."""
    scaled: Bytes
    """At the size at which networks work."""
    tiling: Tiling | None
    """How that is cut; None: it is seen whole."""


def _readable(
    images: Sequence[Image], loaded: Sequence[_Loaded | ImsegError], unreadable: Unreadable | None
) -> tuple[list[Image], list[_Loaded]]:
    """Return the pictures that could be read with their pixels; tell about the others."""
    kept, pixels = [], []
    for image, each in zip(images, loaded, strict=True):
        if not isinstance(each, ImsegError):
            kept.append(image)
            pixels.append(each)
        elif unreadable is None:
            raise each
        else:
            unreadable(image, each)
    return kept, pixels


def _chunks(
    images: Sequence[Image], reading: Reading, unreadable: Unreadable | None
) -> list[list[Image]]:
    """Return pictures in order, so many together that decoded they fit into memory.

    All headers are read first, so that what is no picture is told before anything is computed.
    """
    chunks: list[list[Image]] = []
    room = 0
    for image in images:
        pixels = image.pixels
        try:
            size = (
                probe(pixels, pages=reading.pages, hint=ONE_PAGE).size
                if isinstance(pixels, Path)
                else pixels.shape
            )
        except ImsegError as error:
            if unreadable is None:
                raise
            unreadable(image, error)
            continue
        needed = int(size[0]) * int(size[1]) * reading.channels
        if not chunks or len(chunks[-1]) == BATCH or needed > room:
            chunks.append([])
            room = MOST_VALUES
        chunks[-1].append(image)
        room -= needed
    return chunks
