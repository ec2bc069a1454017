"""Objects told apart, and the discs that mark where cells are. The one user of OpenCV.

A label image is ``h w`` of whole numbers: 0 is background, every other number is one object. It
becomes planes, and planes become a label image again.

The position plane of a multilabel target has one disc a cell. Wherever such a plane is made
discrete it is redrawn: blobs become discs whose radius follows the distance to the next cell.
Centers are arrays ``n 2`` of rows and columns; a plane is 1 (or true) in its foreground, whatever
else it holds (``VOID``) belongs to nothing. Source: METHOD, "Training" and "Scores".
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from imseg.errors import import_extra
from imseg.types import VOID, Bytes

Centers = npt.NDArray[np.int64]
"""Rows and columns of centers, ``n 2``."""

Numbers = npt.NDArray[np.int64]
"""One whole number each."""

SMALLEST, LARGEST = 3, 8
"""Radii of discs in pixels: no smaller and no larger than these."""

SPACING = 4
"""A disc's radius is the distance to the nearest other center divided by this."""

ERODED_BY = 3
"""Side in pixels of the square by which a plane is eroded before centers are found."""

WHOLE = slice(None)
WINDOW = 6
"""Side in pixels of the square around a center in which areas compete for it."""


def find_centers(plane: npt.NDArray[Any], *, eroded: bool = True, paper: bool = False) -> Centers:
    """Return the centers of the blobs of a plane, in no particular order.

    A center is the center of gravity of what a blob's outline encloses, so that of a bent blob may
    lie beside it.

    Args:
        plane: ``h w``, true or 1 in the foreground.
        eroded: Whether the plane is eroded by 3x3 first, so that specks vanish and blobs that
            hardly touch come apart; image borders do not erode.
        paper: As the reference: holes have centers too, blobs without an area (lines and single
            pixels after the erosion) have none, and a center is cut to whole pixels and moved by
            one pixel down and right. It may lie just outside the image.

    Raises:
        ImsegError: If OpenCV is not installed.
    """
    cv2 = _cv2()
    mask: Any = _foreground(plane)
    if eroded:
        mask = cv2.erode(mask, np.ones((ERODED_BY, ERODED_BY), np.uint8))
    retrieved = cv2.RETR_LIST if paper else cv2.RETR_EXTERNAL
    outlines, _ = cv2.findContours(mask, retrieved, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for outline in outlines:
        moments = cv2.moments(outline)
        if moments["m00"]:
            x, y = (moments[name] / moments["m00"] for name in ("m10", "m01"))
            found.append((int(y) + 1, int(x) + 1) if paper else _nearest(y, x))
        elif not paper:
            # An outline without an area is a line or a point.
            x, y = outline.reshape(-1, 2).mean(axis=0)
            found.append(_nearest(y, x))
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def disc_radii(
    centers: Centers, *, smallest: int = SMALLEST, largest: int = LARGEST, single: int | None = None
) -> Numbers:
    """Return a radius for each center: a quarter of the distance to the nearest other one.

    Args:
        centers: Rows and columns in pixels. Of several at one place each is spaced from the others.
        smallest: Radii are not smaller, in pixels.
        largest: Radii are not larger, in pixels.
        single: The radius if there is no other center, in pixels; ``largest`` when None.

    Raises:
        ImsegError: If SciPy, which comes with scikit-image, is not installed.
    """
    places, which = np.unique(centers, axis=0, return_inverse=True)
    if len(places) < 2:
        return np.full(len(centers), largest if single is None else single, dtype=np.int64)
    spatial = import_extra("scipy.spatial", extra="cells", purpose="to space cell centers")
    distances, _ = spatial.cKDTree(places).query(places, k=2)
    radii = np.clip(distances[:, 1] // SPACING, smallest, largest).astype(np.int64)
    spaced: Numbers = radii[which.reshape(-1)]
    return spaced


def draw_discs(
    centers: Centers, radii: Numbers, shape: Sequence[int], *, trimmed: bool = False
) -> Bytes:
    """Return a plane, ``h w``, that is 1 inside the discs and 0 elsewhere.

    Args:
        centers: Rows and columns in pixels; a disc may reach over the image's border.
        radii: Radii in pixels, one a center.
        shape: Height and width of the plane in pixels.
        trimmed: Whether discs lose their top and left rim, as in the reference: a pixel stays only
            if it, the one above, the one to the left and the one between are inside (beyond the
            border the image is mirrored). With centers moved by one pixel this puts discs straight.

    Raises:
        ImsegError: If OpenCV is not installed.
    """
    cv2 = _cv2()
    plane = np.zeros((shape[0], shape[1]), np.uint8)
    for (row, column), radius in zip(centers.tolist(), radii.tolist(), strict=True):
        cv2.circle(plane, (column, row), radius, 1, cv2.FILLED)
    if not trimmed:
        return plane
    above = np.pad(plane, ((1, 0), (1, 0)), mode="reflect" if min(plane.shape) > 1 else "edge")
    return plane & above[:-1, 1:] & above[1:, :-1] & above[:-1, :-1]


def redraw(
    planes: UInt8[Tensor, "b h w"], *, paper: bool = False, scoring: bool = False
) -> UInt8[Tensor, "b h w"]:
    """Return position planes whose blobs are replaced by spaced discs.

    Args:
        planes: Position planes of votes, of a consensus or of predictions, 0 or 1.
        paper: As the reference, see ``find_centers``.
        scoring: Whether this happens before scoring or when data is prepared rather than after a
            vote. Only under ``paper`` is there a difference: a disc without neighbors is then as
            small as can be, and discs are trimmed.

    Raises:
        ImsegError: If OpenCV is not installed.
    """
    as_prepared = paper and scoring
    drawn = []
    for plane in planes.cpu().numpy():
        centers = find_centers(plane, paper=paper)
        radii = disc_radii(centers, single=SMALLEST if as_prepared else None)
        drawn.append(draw_discs(centers, radii, plane.shape, trimmed=as_prepared))
    stacked = np.stack(drawn) if drawn else np.zeros(tuple(planes.shape), np.uint8)
    return torch.from_numpy(stacked).to(planes.device)


def discs_at_size(plane: npt.NDArray[Any], size: tuple[int, int]) -> Bytes:
    """Return the discs of a plane, ``h w``, drawn anew at another height and width.

    Raises:
        ImsegError: If OpenCV is not installed.
    """
    # Erosion parts discs that touch, but loses points and very small ones.
    centers = max((find_centers(plane, eroded=eroded) for eroded in (True, False)), key=len)
    scale = np.array(size) / np.array(plane.shape)
    places = np.floor((centers + 0.5) * scale).astype(np.int64)
    return draw_discs(places, disc_radii(places), size)


def count_cells(
    areas: npt.NDArray[Any], position: npt.NDArray[Any], rows: slice = WHOLE, *, paper: bool = False
) -> Numbers:
    """Return how many cells each area plane has, one number a plane.

    Args:
        areas: ``t h w``, 1 inside the area.
        position: ``h w``, 1 inside the discs that mark cells.
        rows: Cells count whose centers lie in these rows.
        paper: As the reference, see ``find_centers`` and ``count_centers``.

    Raises:
        ImsegError: If OpenCV is not installed.
    """
    centers = find_centers(position, paper=paper)
    centers = centers if rows == WHOLE else centers[np.isin(centers[:, 0], np.r_[rows])]
    return count_centers(areas, centers, paper=paper)


def count_centers(
    areas: npt.NDArray[Any], centers: Centers, *, window: int = WINDOW, paper: bool = False
) -> Numbers:
    """Return how many centers belong to each area plane.

    A center belongs to the plane with the most pixels in the square around it; to none if planes
    tie or none has a pixel there.

    Args:
        areas: ``t h w``, 1 inside the area.
        centers: Rows and columns, as from ``find_centers``.
        window: Side of the square in pixels, even; it is cut at the image's border.
        paper: As the reference: near the top or left border the whole square moves down or right by
            half its side, near the others just into the image.
    """
    half = window // 2
    size = np.array(areas.shape[1:])
    if paper:
        centers = np.minimum(np.where(centers < half, centers + half, centers), size - half)
    top, left = np.clip(centers - half, 0, size).T
    bottom, right = np.clip(centers + half, 0, size).T
    sums = _foreground(areas).astype(np.int64).cumsum(axis=1).cumsum(axis=2)
    sums = np.pad(sums, ((0, 0), (1, 0), (1, 0)))
    inside = (
        sums[:, bottom, right] - sums[:, top, right] - sums[:, bottom, left] + sums[:, top, left]
    )
    most = inside.max(axis=0, initial=0)
    leads = (inside == most) & (most > 0)
    counts: Numbers = (leads & (leads.sum(axis=0) == 1)).sum(axis=1)
    return counts


def _nearest(row: float, column: float) -> tuple[int, int]:
    """Return the nearest pixel; the lower right one of two, so that the even window fits around."""
    return int(row + 0.5), int(column + 0.5)


def _foreground(planes: npt.NDArray[Any]) -> Bytes:
    foreground: Bytes = np.equal(planes, 1).astype(np.uint8)
    return foreground


def _cv2() -> ModuleType:
    return import_extra("cv2", extra="cells", purpose="to find and draw cell centers")


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


def _scipy(module: str) -> ModuleType:
    return import_extra(f"scipy.{module}", extra="cells", purpose="to tell objects apart")
