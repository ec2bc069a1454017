"""What a run says about a picture, and which pictures are meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.array_items import image_from_item
from imseg.data.pictures import list_images
from imseg.types import Image, Pixels, Target


@dataclass(frozen=True)
class Prediction:
    """What a run says about one picture."""

    name: str
    """The picture's name: for files, its path below the folder that was asked for."""
    mask: npt.NDArray[Any]
    """At the picture's own size, as the user's masks are: ``h w`` values, object numbers or
    measurements, ``h w 3`` colors, or ``t h w`` planes of 0 and 255."""
    inconsistent: npt.NDArray[np.bool_]
    """``h w``: where the best networks of the stage disagree."""
    pixels: npt.NDArray[np.uint8]
    """The picture as it was stored for the networks, ``h w c`` bytes."""
    target: Target
    """``t h w``: the mask in inside numbering, for drawing."""


def entries_of(images: str | Path | Sequence[Pixels]) -> list[Image]:
    """Return the pictures that a path or a list of arrays stands for."""
    if isinstance(images, (str, Path)):
        return list_images(Path(images))
    return [
        Image(name, image_from_item(array, name))
        for name, array in ((f"image[{number}]", each) for number, each in enumerate(images))
    ]
