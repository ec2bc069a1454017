"""Objects told apart: from label images to planes, back again, and which objects are the same.

A label image is ``h w`` of whole numbers: 0 is background, every other number is one object.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.errors import import_extra
from imseg.ops.markers import disc_radii
from imseg.types import VOID, Bytes

Labels = npt.NDArray[np.int32]
"""A label image without gaps: 0 and 1..k."""

Flags = npt.NDArray[np.bool_]
"""One yes or no each."""

DEEP = 0.75
"""The center of an object is sought where the edge is at least this share of the greatest distance
from the edge away."""

SPECK = 0.1
"""What has no center is an object only from this share of the usual size on."""

CORE = 0.5
"""Where area outweighs border by this much, a pixel belongs to the core of an object."""


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


def object_planes(labels: npt.NDArray[Any], *, void: int | None = None) -> Bytes:
    """Return the planes from which objects can be told apart again, in the order ``OBJECT_PLANES``.

    Area: any object. Border: pixels of an object that touch another object or the background, also
    over a corner: its inner rim, one pixel wide. The border of the image and void are no rim.
    Position: a disc at the center of each object, as wide as ``disc_radii`` says but within the
    rim, and at least one pixel. The center is the pixel nearest to the center of gravity among
    those deep inside the object, so it lies inside bent objects too.

    Args:
        labels: ``h w``, whole numbers of any type; pieces of one number are one object.
        void: The number of pixels that belong to nothing.

    Returns:
        ``3 h w`` of 0 and 1; ``VOID`` in all three planes where ``labels`` is ``void``.

    Raises:
        ImsegError: If SciPy, which comes with scikit-image, is not installed.
    """
    area = labels != 0
    nothing = np.zeros_like(area) if void is None else labels == void
    area &= ~nothing
    rim = area & _edges(labels, nothing)
    planes = np.zeros((3, *labels.shape), np.uint8)
    planes[0], planes[1] = area, rim
    if area.any():
        # Beyond the image is outside, so that the center of an object it cuts is not at its border.
        inside = np.pad(area & ~rim, 1)
        depth = _scipy("ndimage").distance_transform_edt(inside)[1:-1, 1:-1]
        planes[2, area] = _discs(labels[area], np.argwhere(area), depth[area])
    planes[:, nothing] = VOID
    return planes


def separate(
    area: npt.NDArray[Any], border: npt.NDArray[Any], position: npt.NDArray[Any]
) -> Labels:
    """Return the label image that predicted planes describe.

    Objects grow from their discs over the pixels whose area is above one half, first where area
    outweighs border (a watershed). A disc may be missing: then an object grows from its core, the
    connected pixels where area outweighs border clearly; or it is what nothing else reached. Cores
    and leftovers below a tenth of the usual size (the median of cores with a disc, or of objects)
    are specks and dropped. Discs outside the area are dropped too.

    Args:
        area: ``h w``, probability, 0..1.
        border: ``h w``, probability, 0..1.
        position: ``h w``, 1 inside discs; discs that touch are one.

    Returns:
        0 (background) and 1..k without gaps.

    Raises:
        ImsegError: If scikit-image is not installed.
    """
    segmentation = import_extra(
        "skimage.segmentation", extra="cells", purpose="to tell objects apart"
    )
    label = _scipy("ndimage").label
    foreground = area > 0.5
    seeds, _ = label((position == 1) & foreground)
    # Cores keep a rim between each other, so their pixels may hang together by corners alone.
    cores, _ = label(foreground & (area - border > CORE), np.ones((3, 3)))
    with_disc = np.bincount(cores[seeds > 0], minlength=cores.max() + 1) > 0
    sizes = np.bincount(cores.ravel())
    seeds = _add(seeds, cores, ~with_disc & _large(sizes, compared_with=sizes[1:][with_disc[1:]]))
    grown = seeds
    if seeds.any():
        # Over corners too: else the corner of a rim is as near to the neighbor's core.
        grown = segmentation.watershed(border - area, seeds, connectivity=2, mask=foreground)
    rest, _ = label(foreground & (grown == 0))
    usual = np.bincount(grown.ravel())[1:]
    grown = _add(grown, rest, _large(np.bincount(rest.ravel()), compared_with=usual))
    return _numbered(grown)[0].astype(np.int32)


def match_objects(
    predicted: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    *,
    threshold: float = 0.5,
    void_mask: Flags | None = None,
) -> Matches:
    """Return how many objects are the same: of an IoU of ``threshold`` or more, one to one.

    Above one half nothing can match twice. At one half and below, as many pairs as possible are
    matched, and of the ways to do so the one with the greatest total IoU is taken.

    Args:
        predicted: ``h w``, a label image.
        truth: ``h w``, a label image.
        threshold: The least IoU of a match, above 0 and at most 1.
        void_mask: Where nothing is known. These pixels belong to no object; a predicted object that
            matches nothing and lies there by more than half is no mistake.

    Raises:
        ValueError: If the threshold is out of range or the shapes differ.
        ImsegError: If SciPy, which comes with scikit-image, is not installed, and objects compete.

    Source: the matching of StarDist and Cellpose.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"an IoU to reach is above 0 and at most 1, not {threshold}")
    if predicted.shape != truth.shape:
        raise ValueError(f"label images of one shape, not {predicted.shape} and {truth.shape}")
    here, count = _numbered(predicted)
    there, true_count = _numbered(truth)
    whole = np.bincount(here.ravel(), minlength=count + 1)[1:]
    if void_mask is not None:
        here, there = np.where(void_mask, 0, here), np.where(void_mask, 0, there)
    sizes = np.bincount(here.ravel(), minlength=count + 1)[1:]
    true_sizes = np.bincount(there.ravel(), minlength=true_count + 1)[1:]
    both = (here > 0) & (there > 0)
    pairs, shared = _tally((here[both] - 1) * true_count + there[both] - 1, count * true_count)
    rows, columns = pairs // max(true_count, 1), pairs % max(true_count, 1)
    ious = shared / (sizes[rows] + true_sizes[columns] - shared)
    close = ious >= threshold
    rows, columns, ious = rows[close], columns[close], ious[close]
    chosen = _one_to_one(rows, columns, ious)
    mistaken = np.ones(count, bool)
    mistaken[rows[chosen]] = False
    mistaken &= 2 * sizes >= whole
    matched = int(chosen.sum())
    return Matches(
        tp=matched,
        fp=int(mistaken.sum()),
        fn=int((true_sizes > 0).sum()) - matched,
        overlap=float(ious[chosen].sum()),
    )


def _edges(labels: npt.NDArray[Any], nothing: Flags) -> Flags:
    """Return where a pixel has one of its eight neighbors of another number, ``nothing`` apart."""
    edges = np.zeros(labels.shape, bool)
    height, width = labels.shape
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = np.s_[: height - down, max(0, -right) : width - max(0, right)]
        other = np.s_[down:, max(0, right) : width - max(0, -right)]
        differ = (labels[one] != labels[other]) & ~nothing[one] & ~nothing[other]
        edges[one] |= differ
        edges[other] |= differ
    return edges


def _discs(
    numbers: npt.NDArray[Any], places: npt.NDArray[np.int64], depth: npt.NDArray[np.float64]
) -> Flags:
    """Return which pixels of objects lie in the disc of their object.

    Args:
        numbers: The object of each pixel.
        places: Row and column of each pixel.
        depth: How far from the nearest pixel outside or on a rim each pixel is; 0 on a rim.
    """
    _, which, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    middle = np.stack([np.bincount(which, axis) / sizes for axis in places.T], axis=1)
    deepest = np.zeros(len(sizes))
    np.maximum.at(deepest, which, depth)
    eccentric = ((places - middle[which]) ** 2).sum(axis=1)
    order = np.lexsort((eccentric, depth < DEEP * deepest[which], which))
    first = order[np.searchsorted(which[order], np.arange(len(sizes)))]
    centers = places[first]
    distance = ((places - centers[which]) ** 2).sum(axis=1)
    reach = np.minimum(disc_radii(centers) ** 2, np.rint(depth[first] ** 2) - 1)
    inside: Flags = distance <= np.maximum(reach, 0)[which]
    return inside


def _large(sizes: npt.NDArray[np.int64], *, compared_with: npt.NDArray[np.int64]) -> Flags:
    """Return which of the sizes (0 is background, never large) are no specks."""
    usual = compared_with if len(compared_with) else sizes[1:]
    large: Flags = sizes >= (SPECK * np.median(usual) if len(usual) else 0)
    large[0] = False
    return large


def _add(labels: npt.NDArray[Any], parts: npt.NDArray[Any], wanted: Flags) -> npt.NDArray[Any]:
    """Return labels and, as further objects, the wanted ones of some parts."""
    numbers = np.where(wanted, labels.max(initial=0) + np.cumsum(wanted), 0)[parts]
    return np.where(numbers > 0, numbers, labels)


def _numbered(labels: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], int]:
    """Return labels as 0 and 1..k without gaps, and k."""
    # Looking at runs of equal pixels is many times faster than looking at pixels.
    flat = labels.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    values, numbers = np.unique(flat[starts], return_inverse=True)
    objects = values != 0
    runs = np.where(objects, np.cumsum(objects), 0)[numbers]
    whole = np.repeat(runs, np.diff(starts, append=flat.size))
    return whole.reshape(labels.shape), int(objects.sum())


def _tally(
    codes: npt.NDArray[np.int64], upto: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the codes that occur, below ``upto``, and how often."""
    if upto <= 2**22:
        counts = np.bincount(codes, minlength=1)
        found = np.flatnonzero(counts)
        return found, counts[found]
    return np.unique(codes, return_counts=True)


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
    # Another match is worth more than any IoU.
    worth = np.zeros((row.max() + 1, column.max() + 1))
    worth[row, column] = len(rivals) + ious[rivals]
    pair = np.full(worth.shape, -1)
    pair[row, column] = rivals
    best = pair[_scipy("optimize").linear_sum_assignment(worth, maximize=True)]
    chosen[best[best >= 0]] = True
    return chosen


def _scipy(module: str) -> ModuleType:
    return import_extra(f"scipy.{module}", extra="cells", purpose="to tell objects apart")
