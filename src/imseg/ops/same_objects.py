"""Which objects of two label images are the same: predicted and true ones, or those of two bands.

Objects of large pictures are told apart band by band, and get their numbers in the picture. Pixels
that objects share add up over the rows, so that no label image is in memory whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.errors import import_extra

Flags = npt.NDArray[np.bool_]
"""One truth value each."""

Shared = npt.NDArray[np.int64]
"""How many pixels lie in each two objects, ``n 4``: the predicted number and the true one (0 is
background), 1 where something is known, else 0, and the pixels."""


@dataclass(frozen=True, slots=True)
class Matches:
    """How many objects of two label images are the same."""

    tp: int
    """Predicted objects that match a true one."""
    fp: int
    """Predicted objects that match none."""
    fn: int
    """True objects that no predicted one matches."""
    overlap: float = 0.0
    """The IoUs of the matched pairs, added up."""

    @property
    def f1(self) -> float:
        """Twice the matches over the objects of both sides, 0..1; 1 where there is no object."""
        objects = 2 * self.tp + self.fp + self.fn
        return 2 * self.tp / objects if objects else 1.0

    @property
    def ap(self) -> float:
        """Matches over matches and mistakes, 0..1; 1 where there is no object.

        The "average precision at a threshold" of the Data Science Bowl, StarDist and Cellpose.
        """
        objects = self.tp + self.fp + self.fn
        return self.tp / objects if objects else 1.0

    @property
    def mean_iou(self) -> float | None:
        """The mean IoU of the matched pairs, 0..1; None where nothing matches."""
        return self.overlap / self.tp if self.tp else None


def match_objects(
    predicted: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    *,
    threshold: float = 0.5,
    void_mask: Flags | None = None,
) -> Matches:
    """Return how many objects of two label images are the same; see ``matches_of``.

    Args:
        predicted: ``h w``, a label image.
        truth: ``h w``, a label image.
        threshold: The least IoU of a match, above 0 and at most 1.
        void_mask: Where nothing is known.

    Raises:
        ValueError: If the threshold is out of range or the shapes differ.
        ImsegError: If SciPy, which comes with scikit-image, is not installed, and objects compete.
    """
    return matches_of([shared_pixels(predicted, truth, void_mask=void_mask)], threshold=threshold)


def shared_pixels(
    predicted: npt.NDArray[Any], truth: npt.NDArray[Any], *, void_mask: Flags | None = None
) -> Shared:
    """Return how many pixels each two objects share in some rows of two label images.

    Args:
        predicted: ``h w``, objects by their numbers in the whole image.
        truth: ``h w``, objects by their numbers in the whole image.
        void_mask: Where nothing is known; these pixels belong to no true object.

    Raises:
        ValueError: If the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"label images of one shape, not {predicted.shape} and {truth.shape}")
    flat = [predicted.ravel(), truth.ravel()]
    flat += [] if void_mask is None else [~void_mask.ravel()]
    # Looking at runs of equal pixels is many times faster than looking at pixels.
    differ = np.ones(flat[0].size, bool)
    if flat[0].size:
        differ[1:] = np.logical_or.reduce([each[1:] != each[:-1] for each in flat])
    starts = np.flatnonzero(differ)
    runs = np.ones((len(starts), 4), np.int64)
    for column, each in enumerate(flat):
        runs[:, column] = each[starts]
    runs[:, 3] = np.diff(starts, append=flat[0].size)
    runs[runs[:, 2] == 0, 1] = 0
    return _added_up(runs)


def matches_of(parts: Sequence[Shared], *, threshold: float = 0.5) -> Matches:
    """Return how many objects are the same: of an IoU of ``threshold`` or more, one to one.

    Above one half nothing can match twice. At one half and below, as many pairs as possible are
    matched, and of the ways to do so the one with the greatest total IoU is taken. Where nothing is
    known pixels belong to no object; a predicted object that matches nothing and lies there by more
    than half is no mistake.

    Args:
        parts: What ``shared_pixels`` returns for all rows of the label images.
        threshold: The least IoU of a match, above 0 and at most 1.

    Raises:
        ValueError: If the threshold is out of range.
        ImsegError: If SciPy, which comes with scikit-image, is not installed, and objects compete.

    Source: the matching of StarDist and Cellpose.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"an IoU to reach is above 0 and at most 1, not {threshold}")
    here, there, known, pixels = _added_up(np.concatenate(parts)).T
    some, row = np.unique(here, return_inverse=True)
    true, column = np.unique(there, return_inverse=True)
    whole = np.bincount(row, pixels, len(some))
    sizes = np.bincount(row, pixels * known, len(some))
    true_sizes = np.bincount(column, pixels * known, len(true))
    both = (here != 0) & (there != 0)
    rows, columns, shared = row[both], column[both], pixels[both]
    ious = shared / (sizes[rows] + true_sizes[columns] - shared)
    close = ious >= threshold
    rows, columns, ious = rows[close], columns[close], ious[close]
    chosen = _one_to_one(rows, columns, ious)
    mistaken = some != 0
    mistaken[rows[chosen]] = False
    mistaken &= 2 * sizes >= whole
    matched = int(chosen.sum())
    return Matches(
        tp=matched,
        fp=int(mistaken.sum()),
        fn=int((true != 0).sum()) - matched,
        overlap=float(ious[chosen].sum()),
    )


def _added_up(parts: Shared) -> Shared:
    """Return each pair of objects once, with all its pixels, by predicted and true number."""
    if not len(parts):
        return parts
    parts = parts[np.lexsort((parts[:, 2], parts[:, 1], parts[:, 0]))]
    new = np.ones(len(parts), bool)
    new[1:] = (parts[1:, :3] != parts[:-1, :3]).any(axis=1)
    starts = np.flatnonzero(new)
    pixels = np.add.reduceat(parts[:, 3], starts)
    return np.column_stack([parts[starts, :3], pixels])


def _one_to_one(
    rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64], ious: npt.NDArray[np.float64]
) -> Flags:
    """Return which pairs to keep so that nothing is in two of them."""
    chosen: Flags = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    rivals = np.flatnonzero(~chosen)
    if len(rivals) == 0:
        return chosen
    _, row = np.unique(rows[rivals], return_inverse=True)
    _, column = np.unique(columns[rivals], return_inverse=True)
    optimize = import_extra("scipy.optimize", extra="cells", purpose="to tell objects apart")
    # Another match is worth more than any IoU.
    worth = np.zeros((row.max() + 1, column.max() + 1))
    worth[row, column] = len(rivals) + ious[rivals]
    pair = np.full(worth.shape, -1)
    pair[row, column] = rivals
    best = pair[optimize.linear_sum_assignment(worth, maximize=True)]
    chosen[best[best >= 0]] = True
    return chosen


SAME = 0.5
"""Above this IoU, over the rows that two bands both look at, two objects are one."""

Labels = npt.NDArray[np.int32]
"""A label image: 0 is background, every other number is one object."""


class JoinedObjects:
    """Numbers objects from band to band: what two bands see alike is one object.

    Each band looks at some rows more, above and below those that it decides about. There, objects
    of two bands are compared; above an IoU of one half nothing can be two things at once. Objects
    of any length are joined, through as many bands as they cross.
    """

    def __init__(self) -> None:
        self._before: Labels | None = None
        self._first = 0
        self._count = 0

    def join(
        self, labels: npt.NDArray[np.integer], *, first: int, top: int, stop: int, next_first: int
    ) -> tuple[Labels, set[int]]:
        """Return the objects of the next band by the numbers that they have in the picture.

        Args:
            labels: ``h w``, the objects of the band, numbered 1..k.
            first: The row of the picture that is the first of ``labels``.
            top: The first row that the band decides about.
            stop: The row after the last of them.
            next_first: The first row at which the next band looks; ``stop`` where there is none.

        Returns:
            The rows from ``top`` to ``stop``; numbers are 1..k without gaps, band after band. And
            the numbers of the objects that may go on in the next band.
        """
        numbers = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
        if self._before is not None:
            start = max(first, self._first)
            end = min(first + len(labels), self._first + len(self._before))
            here = labels[start - first : end - first]
            there = self._before[start - self._first : end - self._first]
            numbers[:] = _same(here, there, len(numbers))
        inside = labels[top - first : stop - first]
        shown = np.unique(inside)
        new = shown[(shown > 0) & (numbers[shown] == 0)]
        numbers[new] = np.arange(self._count + 1, self._count + 1 + len(new))
        self._count += len(new)
        self._before, self._first = numbers[labels[next_first - first :]], next_first
        return numbers[inside], set(np.unique(self._before).tolist()) - {0}


def _same(here: npt.NDArray[np.integer], there: Labels, count: int) -> Labels:
    """Return for each number in one label image the number of the same object in another, or 0."""
    found = np.zeros(count, np.int32)
    both = (here > 0) & (there > 0)
    if not both.any():
        return found
    pairs, shared = np.unique(np.stack([here[both], there[both]]), axis=1, return_counts=True)
    sizes, others = np.bincount(here.ravel()), np.bincount(there.ravel())
    whole = sizes[pairs[0]] + others[pairs[1]] - shared
    alike = shared > SAME * whole
    found[pairs[0][alike]] = pairs[1][alike]
    return found
