"""What each of several networks says about stored images, kept to be looked at more than once."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from imseg.components.consensus import Consensus
from imseg.components.votes import as_candidates
from imseg.data.cache.store import gather, open_array
from imseg.data.cache.stored_arrays import NewArray, new_array
from imseg.data.files.atomic import make_folder
from imseg.engine.hardware.device import ComputeConfig
from imseg.engine.inference.predictor import BATCH, vote
from imseg.engine.loading.samples import Copies, SampleSet
from imseg.engine.training import seeds
from imseg.errors import ImsegError
from imseg.ops.augment import UNMOVED, Move
from imseg.tasks import Planes, Task, Votes
from imseg.tasks.quality import Quality
from imseg.types import VOID


def store_hard_predictions(
    networks: Sequence[nn.Module],
    images: Path,
    rows: Sequence[int],
    *,
    task: Task,
    compute: ComputeConfig,
    moves: Sequence[Move] = UNMOVED,
    path: Path,
    progress: Callable[[int, int], None],
) -> Path:
    """Write the hard predictions of networks (``v n t h w``, .npy) and return where they are.

    Args:
        networks: In inference mode.
        images: ``n h w c`` unsigned bytes (.npy).
        rows: Images that are looked at; those of all others are 0.
        task: What a pixel is.
        compute: How the networks are computed.
        moves: The orientations in which they see the images.
        path: Where they go.
        progress: Told about finished and all images.
    """
    pixels = open_array(images)
    count, (height, width) = len(pixels), pixels.shape[1:3]
    make_folder(path.parent)
    shape = (len(networks), count, task.spec.planes, height, width)
    with new_array(path, task.spec.dtype, shape, counting=2) as hard_predictions:
        for start in range(0, len(rows), BATCH):
            chosen = list(rows[start : start + BATCH])
            with torch.inference_mode():
                votes = vote(networks, pixels[chosen], task, compute, moves=moves).cpu().numpy()
            votes = votes.astype(task.spec.dtype, copy=False)
            for voter, cast in enumerate(votes):
                for row, hard_prediction in zip(chosen, cast, strict=True):
                    hard_predictions.put(voter * count + row, hard_prediction)
            progress(min(start + BATCH, len(rows)), len(rows))
    return path


class Samples(NamedTuple):
    """A batch of masks of known quality."""

    shows: list[int]
    """The stored image that each belongs to."""
    augmented: list[bool]
    """Which are augmented."""
    labels: Planes
    """Not blocked."""
    inconsistent: Bool[Tensor, "b 1 h w"] | None
    """Where teachers disagree; None for the predictions of single networks."""
    qualities: Float[Tensor, "b r k"]
    """What a mask scorer is to say about them."""


def store_samples(
    batches: Iterator[Samples],
    images: SampleSet,
    *,
    folder: Path,
    passes: int,
    copies: Copies,
    seed: int,
) -> tuple[SampleSet, ...]:
    """Write samples to files; return the plain and the augmented ones as parts.

    Args:
        batches: All samples.
        images: The images they belong to.
        folder: Where ``labels.npy``, ``inconsistent.npy`` and ``qualities.npy`` go.
        passes: How often each image is among them.
        copies: How augmented ones are; there is one of each image in its stead.
        seed: Of all draws.

    Returns:
        Parts that share the files; one without samples is left out.
    """
    make_folder(folder)
    files: dict[str, NewArray] = {}
    content = hashlib.sha256(images.digest.encode())
    shows: list[int] = []
    augmented: list[bool] = []
    with ExitStack() as whole:
        for batch in batches:
            for name in ("labels", "inconsistent", "qualities"):
                values = getattr(batch, name)
                if values is None:
                    continue
                array = values.cpu().numpy()
                array = array.astype(np.uint8) if array.dtype == np.bool_ else array
                if name not in files:
                    shape = (passes * len(images.indices), *array.shape[1:])
                    new = new_array(folder / f"{name}.npy", array.dtype, shape)
                    files[name] = whole.enter_context(new)
                content.update(files[name].put_all(len(shows), array).data)
            shows += batch.shows
            augmented += batch.augmented
    one_each = replace(
        copies, count=1, plain=False, counts=None, seed=seeds.derive(seed, "judge copies")
    )
    part = SampleSet(
        images=images.images,
        targets=folder / "labels.npy",
        digest=content.hexdigest(),
        indices=(),
        inconsistent=folder / "inconsistent.npy" if "inconsistent" in files else None,
        shows=tuple(shows),
        qualities=folder / "qualities.npy",
    )
    rows = {
        wanted: tuple(row for row, each in enumerate(augmented) if each is wanted)
        for wanted in (False, True)
    }
    return tuple(
        replace(part, indices=indices, copies=one_each if wanted else None)
        for wanted, indices in rows.items()
        if indices
    )


class Draw(NamedTuple):
    """Who makes a sample, and how."""

    networks: tuple[int, ...]
    """Which networks vote."""
    erode: int
    """Side of the square by which their disagreement is eroded, in pixels; 0: off."""
    dilate: int
    """Side of the square by which it is dilated then."""
    augmented: bool
    """Whether the sample is augmented."""


def draw_consensus(
    generator: torch.Generator,
    networks: int,
    *,
    kernels: Sequence[int] = (0, 3, 5),
    fewest: int = 2,
    most: int = 4,
    augmented_share: float = 0.5,
) -> Draw:
    """Return a random choice of networks and clean-up.

    Args:
        generator: Of this one sample.
        networks: How many there are to choose from.
        kernels: Of erosion and of dilation, equally likely each.
        fewest: The fewest networks that vote.
        most: The most, as far as there are so many.
        augmented_share: How likely a sample is to be augmented.
    """

    def below(end: int) -> int:
        return int(torch.randint(end, (), generator=generator))

    count = fewest + below(min(most, networks) - fewest + 1)
    chosen = torch.randperm(networks, generator=generator)[:count].tolist()
    erode, dilate = kernels[below(len(kernels))], kernels[below(len(kernels))]
    return Draw(tuple(chosen), erode, dilate, _coin(generator) < augmented_share)


def sample_consensus(
    task: Task, hard_predictions: Votes, draw: Draw
) -> tuple[Planes, Bool[Tensor, "1 1 h w"]]:
    """Return what the chosen networks agree on in one image, not blocked, and where they do not.

    Cell centers are redrawn, as in the pseudo-labels that will be scored. The reference does not
    redraw them here; neither does ``paper``.

    Args:
        task: What a pixel is.
        hard_predictions: ``v 1 t h w``, of the networks of ``draw`` alone.
        draw: How the disagreement is cleaned up.
    """
    consensus = Consensus(teachers=len(hard_predictions), erode=draw.erode, dilate=draw.dilate)
    agreement = consensus(task, hard_predictions)
    return agreement.consensus if task.paper else agreement.labels, agreement.inconsistent


def consensus_samples(
    hard_predictions: Path,
    images: SampleSet,
    *,
    task: Task,
    quality: Quality,
    rounds: int,
    seed: int,
    copies: Copies,
    folder: Path,
    kernels: Sequence[int] = (0, 3, 5),
    fewest: int = 2,
    most: int = 4,
    augmented_share: float = 0.5,
) -> tuple[SampleSet, ...]:
    """Return samples whose masks are the blocked consensus of random networks.

    Every round uses each image once. What a sample is depends on the seed, the round and the image.

    Args:
        hard_predictions: ``v n t h w`` unsigned bytes (.npy): of each network about the n stored
            images.
        images: Images with the masks that people drew.
        task: What a pixel is.
        quality: How masks are scored.
        rounds: How often each image is used.
        seed: Of all draws.
        copies: How samples are augmented; its number of copies and seed are set here.
        folder: Where labels, masks and qualities go.
        kernels: See ``draw_consensus``, as are the following.
        fewest: The fewest networks that vote.
        most: The most.
        augmented_share: How likely a sample is to be augmented.

    Returns:
        The plain samples and the augmented ones; a part without samples is left out.

    Raises:
        ImsegError: If there are fewer networks than have to vote.
    """
    votes, truth = open_array(hard_predictions), open_array(images.targets)
    if len(votes) < fewest:
        raise ImsegError(
            "A mask scorer cannot learn from so few networks.",
            expected=f"at least {fewest}, because so many vote for each of its samples.",
            got=str(len(votes)),
            hint=f"--networks {fewest} or more.",
        )

    def draw(number: int, row: int) -> Draw:
        return draw_consensus(
            seeds.generator(seed, "judge samples", number, row),
            len(votes),
            kernels=kernels,
            fewest=fewest,
            most=most,
            augmented_share=augmented_share,
        )

    def batches() -> Iterator[Samples]:
        for number, rows in _passes(rounds, images.indices):
            shows = [images.image_row(row) for row in rows]
            draws = [draw(number, row) for row in rows]
            said = [votes[list(d.networks), image] for d, image in zip(draws, shows, strict=True)]
            made = [
                sample_consensus(task, torch.from_numpy(each).unsqueeze(1), d)
                for each, d in zip(said, draws, strict=True)
            ]
            labels, inconsistent = (torch.cat(each) for each in zip(*made, strict=True))
            true = torch.from_numpy(gather(truth, np.array(rows)))
            qualities = quality.of_consensus(labels, inconsistent, true)
            yield Samples(shows, [d.augmented for d in draws], labels, inconsistent, qualities)

    return store_samples(batches(), images, folder=folder, passes=rounds, copies=copies, seed=seed)


def prediction_samples(
    hard_predictions: Path,
    images: SampleSet,
    *,
    task: Task,
    quality: Quality,
    seed: int,
    copies: Copies,
    folder: Path,
    augmented_share: float = 0.5,
) -> tuple[SampleSet, ...]:
    """Return samples whose masks are predictions of single networks, and each truth once.

    Args:
        hard_predictions: ``v n t h w`` unsigned bytes (.npy): of each network about the n stored
            images.
        images: Images with the masks that people drew.
        task: What a pixel is.
        quality: How masks are scored.
        seed: Of all draws.
        copies: How samples are augmented; its number of copies and seed are set here.
        folder: Where labels and qualities go.
        augmented_share: How likely a sample is to be augmented.

    Returns:
        The plain samples and the augmented ones; a part without samples is left out.
    """
    votes, truth = open_array(hard_predictions), open_array(images.targets)
    perfect = len(votes)

    def batches() -> Iterator[Samples]:
        for number, rows in _passes(perfect + 1, images.indices):
            shows = [images.image_row(row) for row in rows]
            true = torch.from_numpy(gather(truth, np.array(rows)))
            if number == perfect:
                labels = true.masked_fill(true == VOID, 0)
            else:
                said = torch.from_numpy(gather(votes[number], np.array(shows)))
                labels = as_candidates(task, said.unsqueeze(0))[0]
            names = [seeds.generator(seed, "judge samples", number, row) for row in rows]
            augmented = [_coin(name) < augmented_share for name in names]
            yield Samples(shows, augmented, labels, None, quality.of_prediction(labels, true))

    return store_samples(
        batches(), images, folder=folder, passes=perfect + 1, copies=copies, seed=seed
    )


def _coin(generator: torch.Generator) -> float:
    return torch.rand((), generator=generator, dtype=torch.double).item()


def _passes(count: int, indices: Sequence[int]) -> Iterator[tuple[int, Sequence[int]]]:
    """Yield every index so many times, in batches, with the number of the pass."""
    for number in range(count):
        for start in range(0, len(indices), BATCH):
            yield number, indices[start : start + BATCH]
