"""Batched inference: probabilities of stored images, pictures of any size, scores of masks.

An image may be looked at in several orientations (flipped, turned): each prediction is moved back,
and their mean is what a network says (test-time augmentation).
"""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from imseg.data.images.decoding import resize_image
from imseg.data.images.image_files import load_pixels
from imseg.data.images.picture_file import probe
from imseg.engine.hardware import device
from imseg.engine.loading.loader import BatchLoader, to_device
from imseg.engine.loading.rows import placement_for
from imseg.engine.loading.samples import SampleSet, as_input
from imseg.errors import ImsegError
from imseg.ops.augment import UNMOVED, Move, move, move_back
from imseg.ops.tiling import Size, Stitcher, TileScheme, Tiling
from imseg.tasks import Planes, Task, Votes
from imseg.tasks.quality import Quality
from imseg.types import Bytes, Image, Reading

BATCH = 32
"""Images predicted at once; results do not depend on it beyond rounding."""


def predict_mean(
    networks: Sequence[nn.Module],
    images: Bytes,
    *,
    task: Task,
    compute: device.ComputeConfig,
    teachers: Sequence[nn.Module] = (),
    moves: Sequence[Move] = UNMOVED,
) -> tuple[Float[Tensor, "b k h w"], Votes | None]:
    """Return the mean of several networks' probabilities for one batch, and what teachers say.

    Each network makes one forward pass per move, also where it is among the teachers.

    Args:
        networks: Whose mean is wanted, at least one.
        images: ``n h w c``.
        task: How outputs become probabilities.
        compute: Device, precision, memory format and threads.
        teachers: Networks whose hard predictions are wanted too.
        moves: The orientations in which each network sees the images; its probabilities are the
            mean over them.

    Returns:
        The mean, and one hard prediction per teacher; None without teachers. On the device.
    """
    with torch.inference_mode(), compute.applied():
        there, every = to_device(images, compute), dict.fromkeys((*networks, *teachers))
        found = {network: _probabilities(network, there, task, moves, compute) for network in every}
        total = found[networks[0]]
        for network in networks[1:]:
            total = total + found[network]
        votes = [task.hard_prediction(found[teacher]) for teacher in teachers]
        return total / len(networks), torch.stack(votes) if votes else None


def probabilities_of(
    network: nn.Module,
    pixels: UInt8[Tensor, "b c h w"],
    task: Task,
    compute: device.ComputeConfig,
    *,
    moves: Sequence[Move] = UNMOVED,
) -> Float[Tensor, "b k h w"]:
    """Return the mean probabilities over moves for one batch of images that are on the device."""
    with torch.inference_mode(), compute.applied():
        return _probabilities(network, as_input(pixels, compute), task, moves, compute)


def vote(
    teachers: Sequence[nn.Module],
    images: Bytes,
    task: Task,
    compute: device.ComputeConfig,
    *,
    moves: Sequence[Move] = UNMOVED,
) -> Votes:
    """Return each teacher's hard prediction for one batch of images, on the device.

    It is made from the teacher's mean probabilities over moves.
    """
    with torch.inference_mode(), compute.applied():
        there = to_device(images, compute)
        return torch.stack(
            [
                task.hard_prediction(_probabilities(teacher, there, task, moves, compute))
                for teacher in teachers
            ]
        )


LOOKS = 6
"""Predictions of one image of which the fastest says how long one takes."""


def seconds_per_image(
    networks: Sequence[nn.Module],
    shape: tuple[int, int, int],
    *,
    task: Task,
    compute: device.ComputeConfig,
) -> float:
    """Return how long one look at an image takes here, all networks together, in seconds.

    A black image is predicted several times, and the fastest counts: the first one sets things up,
    and other work on the machine is not to decide what is predicted.

    Args:
        networks: In inference mode.
        shape: Height, width and channels of the image.
        task: How outputs become probabilities.
        compute: How the networks are computed.
    """
    image, took = np.zeros((1, *shape), np.uint8), []
    for _ in range(LOOKS):
        began = time.monotonic()
        predict_mean(networks, image, task=task, compute=compute)[0].cpu()
        took.append(time.monotonic() - began)
    return min(took)


def _probabilities(
    network: nn.Module,
    images: Float[Tensor, "b c h w"],
    task: Task,
    moves: Sequence[Move],
    compute: device.ComputeConfig,
) -> Float[Tensor, "b k h w"]:
    """Return a network's probabilities, averaged over moves of the images; one move at a time."""

    def seen(some: Tensor, by: Move) -> Tensor:
        moved = move(some, by).contiguous(memory_format=compute.memory_format)
        return move_back(task.probabilities(network(moved)), by)

    def averaged(some: Tensor) -> Tensor:
        total = seen(some, moves[0])
        for by in moves[1:]:
            total = total + seen(some, by)
        return total / len(moves) if len(moves) > 1 else total

    return in_halves(averaged, images)


def in_halves(ask: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return what ``ask`` returns for images: all at once, or in halves where memory is too short.

    Args:
        ask: Returns one result per image, whatever other images there are.
        images: Any, along the first axis.
    """
    try:
        return ask(images)
    except Exception as error:
        if len(images) < 2 or not device.is_exhausted(error):
            raise
    device.free_unused()
    half = len(images) // 2
    return torch.cat([in_halves(ask, images[:half]), in_halves(ask, images[half:])])


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


def segment(
    images: Sequence[Image],
    networks: Sequence[nn.Module],
    *,
    task: Task,
    reading: Reading,
    size: Size | TileScheme | Callable[[Size], Size | TileScheme],
    compute: device.ComputeConfig,
    teachers: Sequence[nn.Module] | None = None,
    moves: Sequence[Move] = UNMOVED,
    unreadable: Unreadable | None = None,
) -> Iterator[Segmented]:
    """Yield predictions in the order of the pictures; the next ones are decoded meanwhile.

    Each network makes one forward pass per picture and move, also where it is among the teachers.

    Args:
        images: Pictures of any size.
        networks: Their mean probability is the prediction.
        task: What a pixel is.
        reading: How pictures were read for training.
        size: Height and width at which they work; or how pictures are cut into tiles, whose
            predictions are joined; or what returns either for the height and width of a picture.
        compute: How they are computed.
        teachers: Networks whose disagreement is wanted; fewer than two never disagree. None: it
            is not asked for.
        moves: The orientations in which each network sees a picture, at working size; its
            probabilities are the mean over them.
        unreadable: Called with each picture that cannot be read, and why; it is left out. None:
            that is an error.

    Raises:
        ImsegError: If a picture cannot be read, and none may be left out.
    """

    def load(image: Image) -> _Loaded | ImsegError:
        try:
            pixels = load_pixels(image, reading)
        except ImsegError as error:
            return error
        own = (pixels.shape[0], pixels.shape[1])
        wanted = size(own) if callable(size) else size
        if isinstance(wanted, TileScheme):
            return _Loaded(pixels, resize_image(pixels, wanted.size_of(own)), wanted.tiling)
        return _Loaded(pixels, resize_image(pixels, wanted), None)

    def ask(batch: Bytes) -> tuple[Float[Tensor, "b k h w"], Bool[Tensor, "b 1 h w"]]:
        mean, votes = predict_mean(
            networks, batch, task=task, compute=compute, teachers=teachers or (), moves=moves
        )
        mask = torch.zeros((len(batch), 1, *batch.shape[1:3]), dtype=torch.bool)
        if votes is not None and len(votes) > 1:
            mask = task.vote(votes)[1].any(1, True).cpu()
        return mean.cpu(), mask

    device.keep_freed_memory()
    with ThreadPoolExecutor(device.usable_cores()) as pool:
        chunks = _chunks(images, reading, unreadable)
        coming = [pool.submit(load, image) for image in chunks[0]] if chunks else []
        for number, chunk in enumerate(chunks, 1):
            results = [future.result() for future in coming]
            coming = [pool.submit(load, image) for part in chunks[number:][:1] for image in part]
            chunk, loaded = _readable(chunk, results, unreadable)
            if not chunk:
                continue
            looks: Iterable[tuple[Tensor, Tensor]]
            if any(each.tiling for each in loaded):
                looks = (_joined(ask, each) for each in loaded)
            else:
                found = ask(np.stack([each.scaled for each in loaded]))
                looks = zip(*(each.split(1) for each in found), strict=True)
            for image, each, (mean, mask) in zip(chunk, loaded, looks, strict=True):
                inconsistent = None if teachers is None else mask
                yield Segmented(image, each.pixels, mean, inconsistent, len(moves))


class _Loaded(NamedTuple):
    """A picture, and what networks see of it."""

    pixels: Bytes
    """``h w c``, as it is."""
    scaled: Bytes
    """At the size at which networks work."""
    tiling: Tiling | None
    """How that is cut; None: it is seen whole."""


def _joined(
    ask: Callable[[Bytes], tuple[Tensor, Tensor]], image: _Loaded
) -> tuple[Float[Tensor, "1 k h w"], Bool[Tensor, "1 1 h w"]]:
    """Return the mean and the inconsistency mask of an image, asked for tile by tile."""
    tiling, size = image.tiling, (image.scaled.shape[0], image.scaled.shape[1])
    if tiling is None:
        return ask(image.scaled[None])
    means, masks = Stitcher(tiling, size), Stitcher(tiling, size)
    tiles = tiling.tiles(image.scaled)
    while batch := list(itertools.islice(tiles, BATCH)):
        mean, mask = ask(np.stack(batch))
        means.add(mean)
        masks.add(mask.float())
    return means.result()[None], masks.result()[None] > 0.5


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


_ONE_PAGE = (
    "save the page that is to be predicted as a file of its own, because the run was trained on"
    " pictures of one page. Or set pages in the imseg.toml of its data folder, and train again."
)


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
                probe(pixels, pages=reading.pages, hint=_ONE_PAGE).size
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


def score_masks(
    scorers: Sequence[nn.Module],
    part: SampleSet,
    quality: Quality,
    compute: device.ComputeConfig,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Tensor, "n b r k"]:
    """Return what each mask scorer says about each used target of a part, on the CPU.

    Images and targets are blocked as the part says; copies are left out.

    Args:
        scorers: Networks in inference mode.
        part: At least one image with its target.
        quality: What a mask scorer scores.
        compute: How mask scorers are computed.
        progress: Told about targets: done, and all.

    Raises:
        ValueError: If the part is empty.
    """
    # Each mask is looked at once, so there is nothing to keep on the device.
    passing = replace(placement_for(compute.device), budget=0)
    plain = replace(part, copies=None, qualities=None, window=None)
    source = BatchLoader((plain,), compute, placement=passing)
    if not len(source):
        raise ValueError("there is nothing to score")
    said, done = [], 0
    for batch in source.feed(torch.arange(len(source)).split(BATCH)):
        said.append(_ask(scorers, batch.images, batch.targets, quality=quality, compute=compute))
        done += len(batch)
        if progress is not None:
            progress(done, len(source))
    return torch.cat(said, dim=1)


def score_candidates(
    scorers: Sequence[nn.Module],
    images: Bytes,
    labels: Planes,
    quality: Quality,
    compute: device.ComputeConfig,
) -> Float[Tensor, "n b r k"]:
    """Return what each mask scorer says about a mask for each image of one batch, on the CPU.

    Args:
        scorers: Networks in inference mode.
        images: ``n h w c``, as they are.
        labels: Their candidates, in inside numbering.
        quality: What a mask scorer scores.
        compute: How mask scorers are computed.
    """
    there = labels.to(compute.device)
    return _ask(scorers, to_device(images, compute), there, quality=quality, compute=compute)


def scorer_logits(
    scorer: Callable[..., Tensor],
    images: Float[Tensor, "b c h w"],
    targets: Planes,
    *,
    quality: Quality,
    compute: device.ComputeConfig,
) -> Float[Tensor, "b r k"]:
    """Return what a mask scorer puts out for a batch of images and masks on its device."""
    masks = quality.as_input(targets).contiguous(memory_format=compute.memory_format)
    logits: Tensor = scorer(images, masks)
    return logits.float()


def _ask(
    scorers: Sequence[nn.Module],
    images: Float[Tensor, "b c h w"],
    targets: Planes,
    *,
    quality: Quality,
    compute: device.ComputeConfig,
) -> Float[Tensor, "n b r k"]:
    ask = partial(scorer_logits, images=images, targets=targets, quality=quality, compute=compute)
    with torch.inference_mode(), compute.applied():
        return torch.stack([quality.probabilities(ask(scorer)).cpu() for scorer in scorers])
