"""How good the prediction of one image is: of a large one from sums over bands of rows."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imseg.data.images import by_rows
from imseg.data.masks import io, labeled_regions, mask_rows
from imseg.engine.inference import large, pictures
from imseg.ops import same_objects
from imseg.tasks import Task, multilabel
from imseg.tasks.base import Sums
from imseg.types import VOID, Image, LabeledImage, Target, TargetSpec

Said = tuple[npt.NDArray[Any], npt.NDArray[np.int32] | None]
"""Of some rows the predicted planes, ``t n w``, and where they are told apart, the objects."""


@dataclass(frozen=True, slots=True)
class ImageScores:
    """How good the prediction of one image is."""

    scores: dict[str, float]
    """Its scores by name."""
    tally: npt.NDArray[np.float64]
    """What adds up over images: that of the task, and right, needless and missing objects."""
    shape: torch.Size
    """The shape of the tally of the task, with which the other begins."""
    orientations: int
    """In how many orientations networks saw it."""


def score_whole(pair: LabeledImage, segmented: pictures.Segmented, task: Task) -> ImageScores:
    """Return scores of a picture that was looked at whole, at its mask's own size.

    Under ``paper`` that is at working size.

    Args:
        pair: The picture with its mask.
        segmented: What networks say about it.
        task: What a pixel is.

    Raises:
        ImsegError: If the mask cannot be read, or holds unknown values.
    """
    height, width = segmented.probabilities.shape[-2:]
    truth = io.load_target(pair, task.spec, (height, width) if task.paper else None)
    own = (truth.shape[1], truth.shape[2])
    sums = task.sums(segmented.predict(task, own), _batch(truth))
    shared = []
    if multilabel.tells_apart(task.spec):
        labels = multilabel.find_objects(task, segmented.at_size(own))
        drawn = io.resize_mask(io.load_values(pair, task.spec), own)
        shared.append(same_objects.shared_pixels(labels, drawn, void_mask=truth[0] == VOID))
    return _scored(task, sums, shared, segmented.orientations)


def score_in_bands(pair: LabeledImage, predictor: pictures.Predictor) -> ImageScores:
    """Return scores of a large picture and its mask of the same size, from top to bottom.

    They are those of one look, but for pixels that are rounded otherwise, and objects that bands
    see otherwise.

    Args:
        pair: The picture with its mask.
        predictor: Networks that are ready to look.

    Raises:
        ImsegError: If a file cannot be read, perhaps not before its last rows, or if the mask holds
            unknown values.
    """
    task, spec = predictor.task, predictor.task.spec
    size = by_rows.size_of(pair.image, predictor.reading)
    planes, labels = _rows_of(_said(predictor, pair.image), spec)
    values = [large.Rows(each, axis=0) for each in mask_rows.read_mask_rows(pair, spec)]
    reach = task.reach(size)
    step = max(large.LEAST_ROWS, reach, large.VALUES // 16 // size[1])
    total: Sums = ()
    shared = []
    for top in range(0, size[0], step):
        stop = min(top + step, size[0])
        first, last = max(0, top - reach), min(stop + reach, size[0])
        drawn = [each.get(first, last) for each in values]
        unlabeled = None
        if pair.regions is not None:
            rows = slice(first, last)
            unlabeled = labeled_regions.outside(pair.regions, size, size, among=rows)
        whole = np.stack(drawn) if spec.coding == "planes" else drawn[0]
        truth = io.target_of(whole, pair, spec, unlabeled=unlabeled)
        inside = slice(top - first, stop - first)
        said = _batch(planes.get(first, last))
        sums = task.sums(said, _batch(truth), rows=inside, size=size)
        total = tuple(a + b for a, b in zip(total, sums, strict=True)) if total else sums
        if labels is not None:
            void = truth[0, inside] == VOID
            shared.append(
                same_objects.shared_pixels(labels.get(top, stop), drawn[0][inside], void_mask=void)
            )
    return _scored(task, total, shared, len(predictor.moves))


def _scored(
    task: Task, sums: Sums, shared: Sequence[same_objects.Shared], orientations: int
) -> ImageScores:
    scores = {name: value.item() for name, value in task.scores_of(sums).items()}
    counts = task.tally_of(sums[0])
    tally = counts.numpy().astype(np.float64).reshape(-1)
    if shared:
        found = same_objects.matches_of(shared, threshold=multilabel.MATCHED)
        matched = (float(found.tp), float(found.fp), float(found.fn))
        errors = {"object_count_error": abs(matched[1] - matched[2])}
        scores = {**multilabel.object_scores(matched), **errors, **scores}
        tally = np.concatenate([tally, matched])
    return ImageScores(scores, tally, counts.shape, orientations)


def _batch(planes: Target) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(planes))[None]


def _said(predictor: pictures.Predictor, image: Image) -> Iterator[Said]:
    """Yield what is predicted from top to bottom; objects have their numbers in the picture."""
    task, joined = predictor.task, same_objects.JoinedObjects()
    for band in large.bands(predictor, image):
        planes = band.segmented.predict(task)[0, :, band.inside].numpy().copy()
        labels = None
        if multilabel.tells_apart(task.spec):
            labels, _ = joined.join(
                multilabel.find_objects(task, band.segmented.at_size()),
                first=band.first,
                top=band.top,
                stop=band.stop,
                next_first=band.next_first,
            )
        yield planes, labels


def _rows_of(said: Iterator[Said], spec: TargetSpec) -> tuple[large.Rows, large.Rows | None]:
    """Return rows of predicted planes and, where they are told apart, of objects."""
    if not multilabel.tells_apart(spec):
        return large.Rows((planes for planes, _ in said), axis=1), None
    one, other = itertools.tee(said)
    objects = (labels for _, labels in other if labels is not None)
    return large.Rows((planes for planes, _ in one), axis=1), large.Rows(objects, axis=0)
