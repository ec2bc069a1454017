"""What kind of pictures these are, as far as it decides how they may be changed in training."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from imseg.data.checks.appearance import Look
from imseg.types import Modality

COLORED = 6.0
"""Mean difference between the channels of a pixel, in gray levels, from which on a picture has
colors: gray pictures that were compressed in three channels reach 3."""
DARK = 60
"""Gray level, 0..255 from the darkest to the brightest place of a picture, that most of it stays
below where bright things lie on a dark ground."""
MOST_DARK = 0.6
"""The share of a picture that is below it at least."""
BLACK = 70.0
"""Mean gray level of a colored picture below which its ground can be black."""


def recognize_modality(looks: Sequence[Look], *, channels: int) -> Modality:
    """Return what most of the pictures are.

    Args:
        looks: Of labeled pictures; with none of them they are taken for photographs, or gray.
        channels: As the pictures are read: of all of them alike.
    """
    if channels not in (1, 3):
        return "channels"
    if not looks:
        return "photograph" if channels == 3 else "gray"
    found = Counter(_of(look, channels) for look in looks)
    return found.most_common(1)[0][0]


def _of(look: Look, channels: int) -> Modality:
    places = np.frombuffer(look.thumbnail, np.uint8)
    dark = float((places < DARK).mean()) >= MOST_DARK
    colored = channels == 3 and look.saturation >= COLORED
    if dark and not (colored and look.brightness >= BLACK):
        return "dark"
    return "photograph" if colored else "gray"
