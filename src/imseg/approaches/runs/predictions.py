"""What a run says about pictures in the user's mask values; about large ones, band by band."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.images import by_rows
from imseg.data.masks.io import decode
from imseg.engine.inference import large, pictures
from imseg.errors import ImsegError
from imseg.ops.same_objects import JoinedObjects
from imseg.tasks import Task
from imseg.tasks.multilabel import find_objects, tells_apart
from imseg.types import Image, Target


@dataclass(frozen=True)
class Prediction:
    """What a run says about one picture."""

    name: str
    """The picture's name: for files, its path below the folder that was asked for."""
    mask: npt.NDArray[Any]
    """At the picture's own size, as the user's masks are: ``h w`` values, object numbers or
    measurements, ``h w 3`` colors, or ``t h w`` planes of 0 and 255."""
    pixels: npt.NDArray[np.uint8]
    """The picture as it was stored for the networks, ``h w c`` bytes."""
    target: Target
    """``t h w``: the mask in inside numbering, for drawing."""
    inconsistent: npt.NDArray[np.bool_] | None = None
    """``h w``: where the best networks of the stage disagree; None unless asked for with
    ``disagreement=True``."""


def prediction_of(segmented: pictures.Segmented, task: Task) -> Prediction:
    """Return what a run says about a picture, at its own size, in the user's mask values."""
    target: Target = segmented.predict(task)[0].numpy()
    if tells_apart(task.spec):
        mask = _numbered(find_objects(task, segmented.at_size()))
    else:
        mask = decode(target, task.spec)
    asked = segmented.inconsistent is not None
    return Prediction(
        name=segmented.image.name,
        mask=mask,
        pixels=segmented.pixels,
        target=target,
        inconsistent=segmented.disagreement()[0, 0].numpy() if asked else None,
    )


def _numbered(labels: npt.NDArray[np.int32]) -> npt.NDArray[Any]:
    return labels.astype(np.uint16 if labels.max(initial=0) < 2**16 else np.uint32)


@dataclass(frozen=True, slots=True)
class BandPrediction:
    """What a run says about a band of a large picture."""

    band: large.Band
    """The band."""
    around: Prediction
    """About all rows that are looked at; it has no pixels of the picture."""
    inside: Prediction
    """About the rows that the band decides about. Objects have their numbers in the picture."""
    going_on: set[int]
    """The numbers of the objects that may go on in the next band."""


def in_bands(predictor: pictures.Predictor, image: Image) -> Iterator[BandPrediction]:
    """Yield what a run says about a large picture, from top to bottom.

    Objects are told apart in each band, and joined across bands.

    Args:
        predictor: The networks of the run, ready to look.
        image: The picture.

    Raises:
        ImsegError: If it cannot be read; perhaps not before its last rows.
    """
    task, joined = predictor.task, JoinedObjects()
    for band in large.bands(predictor, image):
        around, going_on = prediction_of(band.segmented, task), set[int]()
        inside = _part(around, band.inside, slice(None))
        if tells_apart(task.spec):
            labels, going_on = joined.join(
                around.mask,
                first=band.first,
                top=band.top,
                stop=band.stop,
                next_first=band.next_first,
            )
            inside = replace(inside, mask=labels)
        yield BandPrediction(band, around, inside, going_on)


def _part(found: Prediction, rows: slice, columns: slice) -> Prediction:
    """Return what is said about some rows and columns; no pixels of the picture."""
    height, width = found.target.shape[1:]
    planes = found.mask.shape[-2:] == (height, width) and found.mask.ndim == 3
    doubts = found.inconsistent
    return replace(
        found,
        mask=found.mask[:, rows, columns] if planes else found.mask[rows, columns],
        target=found.target[:, rows, columns],
        inconsistent=None if doubts is None else doubts[rows, columns],
    )


def thinned(each: BandPrediction, most: int | None) -> Prediction:
    """Return what is said about a band on every so manyth row and column of the picture.

    Args:
        each: The band.
        most: Pixels a side at most that the picture has then; None: it stays as it is.
    """
    (height, width), band = each.band.size, each.band
    step = 1 if most is None else -(-max(band.size) // most)
    if step == 1:
        return each.inside
    rows, columns = _kept(band.top, band.stop, height, step), _kept(0, width, width, step)
    part = _part(each.inside, rows, columns)
    doubts = part.inconsistent  # copies, so that the band is let go
    return replace(
        part,
        mask=part.mask.copy(),
        target=part.target.copy(),
        inconsistent=None if doubts is None else doubts.copy(),
    )


def _kept(start: int, stop: int, side: int, step: int) -> slice:
    """Return which of some rows or columns are kept: every so manyth, and at least one of all."""
    first = min(step // 2, side - 1)
    return slice((first - start) % step, stop - start, step)


def join_bands(
    parts: Sequence[Prediction], image: Image, predictor: pictures.Predictor
) -> Prediction:
    """Return what is said about a large picture, with its pixels at the size of the parts.

    Args:
        parts: As from ``thinned``, from top to bottom.
        image: The picture.
        predictor: What has looked at it.

    Raises:
        ImsegError: If it cannot be read.
    """
    target = np.concatenate([each.target for each in parts], axis=1)
    size = (target.shape[1], target.shape[2])
    first = parts[0]
    planes = first.mask.ndim == 3 and first.mask.shape[1:] == first.target.shape[1:]
    mask = np.concatenate([each.mask for each in parts], axis=1 if planes else 0)
    rows = large.scaled_rows(by_rows.read_rows(image, predictor.reading, least=size), size)
    doubts = [each.inconsistent for each in parts if each.inconsistent is not None]
    return Prediction(
        name=image.name,
        mask=_numbered(mask) if tells_apart(predictor.task.spec) else mask,
        pixels=np.concatenate(list(rows)),
        target=target,
        inconsistent=np.concatenate(doubts) if doubts else None,
    )


def predict_each(
    predictor: pictures.Predictor,
    images: Sequence[Image],
    *,
    most: int | None = None,
    unreadable: pictures.Unreadable | None = None,
) -> Iterator[Prediction]:
    """Yield what is said about each picture, in order; large ones are looked at in bands.

    Args:
        predictor: The networks of a run, ready to look.
        images: The pictures.
        most: Pixels a side at most of what is returned about large pictures; None: their own size.
        unreadable: Called with each picture that cannot be read, and why; it is left out. None:
            that is an error.

    Raises:
        ImsegError: If a picture cannot be read, and none may be left out.
    """
    known, task = [], predictor.task
    for image in images:
        try:
            size = by_rows.size_of(image, predictor.reading)
            known.append((large.needs_bands(predictor, image, size), image))
        except ImsegError as error:
            if unreadable is None:
                raise
            unreadable(image, error)
    for is_large, some in itertools.groupby(known, key=lambda each: each[0]):
        alike = [image for _, image in some]
        if not is_large:
            found = predictor.segment(alike, unreadable=unreadable)
            yield from (prediction_of(each, task) for each in found)
            continue
        for image in alike:
            try:
                parts = [thinned(each, most) for each in in_bands(predictor, image)]
                yield join_bands(parts, image, predictor)
            except ImsegError as error:
                if unreadable is None:
                    raise
                unreadable(image, error)
