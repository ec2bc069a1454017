"""What kind of images a data set has, from the pixels of some of them."""

import numpy as np

from imseg.ops.limits import Modality
from imseg.types import Bytes

MOST_IMAGES = 48
"""Images looked at, evenly spread over the data set."""
SIDE = 64
"""Pixels looked at along an axis, at most twice as many."""
COLORED = 4.0
"""Gray levels between the highest and the lowest of three channels, on average over an image, from
which it is in color: street scenes under a gray sky have 5 to 20, lesions 9 to 130, and gray images
that were compressed as color 1 or 2."""
DARK = 24.0
"""The largest median of an image on a dark ground, in gray levels; fluorescence has 2 to 15, street
scenes in shadow 25 and more."""
MOST_BRIGHT = 0.3
"""The largest share of pixels in such an image that are nearer to its brightest than to its
ground."""


def recognize_modality(images: Bytes) -> Modality:
    """Return what most images look like; see ``Modality``.

    Half of the images or more decide: a few in color among gray ones leave the data set gray.

    Args:
        images: ``n h w c`` unsigned bytes as they are stored; at most ``MOST_IMAGES`` are read, and
            of these a pixel in several. Without any image only the channels decide.
    """
    count, height, width, channels = images.shape
    if channels not in (1, 3):
        return "channels"
    rows = np.unique(np.linspace(0, max(0, count - 1), min(count, MOST_IMAGES)).astype(int))
    steps = (max(1, height // SIDE), max(1, width // SIDE))
    some = [np.asarray(images[row, :: steps[0], :: steps[1]], dtype=np.int16) for row in rows]
    if 2 * sum(map(_is_dark, some)) > len(some):
        return "dark"
    colored = sum(float(np.ptp(each, axis=2).mean()) >= COLORED for each in some)
    return "photograph" if channels == 3 and 2 * colored >= len(some) else "gray"


def _is_dark(pixels: np.ndarray) -> bool:
    """Return whether few bright pixels (``h w c``) stand on a dark ground."""
    values = pixels.max(axis=2)
    ground, brightest = float(np.median(values)), float(np.percentile(values, 99.5))
    bright = float((values > (ground + brightest) / 2).mean())
    return ground <= DARK and brightest > ground and bright <= MOST_BRIGHT
