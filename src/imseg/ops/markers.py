"""Position discs: where cells are, how far apart, how many of each kind. The one user of OpenCV.

The position plane of a multilabel target has one disc a cell. Wherever such a plane is made
discrete it is redrawn: blobs become discs whose radius follows the distance to the next cell.

Centers are arrays ``n 2`` of rows and columns; a plane is 1 (or true) in its foreground, whatever
else it holds (``VOID``) belongs to nothing. Source: METHOD, "Training" and "Scores".
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from torch import Tensor

from imseg.errors import import_extra
from imseg.types import Bytes

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


def count_cells(
    areas: npt.NDArray[Any], position: npt.NDArray[Any], *, paper: bool = False
) -> Numbers:
    """Return how many cells each area plane has, one number a plane.

    Args:
        areas: ``t h w``, 1 inside the area.
        position: ``h w``, 1 inside the discs that mark cells.
        paper: As the reference, see ``find_centers`` and ``count_centers``.

    Raises:
        ImsegError: If OpenCV is not installed.
    """
    return count_centers(areas, find_centers(position, paper=paper), paper=paper)


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
    places = centers
    if paper:
        places = np.where(places < half, places + half, places)
        places = np.minimum(places, size - half)
    low = np.clip(places - half, 0, size).T
    high = np.clip(places + half, 0, size).T
    sums = np.pad(
        _foreground(areas).astype(np.int64).cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0))
    )
    (top, left), (bottom, right) = low, high
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
