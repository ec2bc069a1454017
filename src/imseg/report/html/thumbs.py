"""Small pictures inside the page."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.report.html.blocks import Picture
from imseg.types import Bytes

SIDE = 232
"""Pixels of the longer side of a picture in a row of four."""
QUALITY = 82
MAGENTA = np.array([255, 0, 255], dtype=np.float32)


def tinted(picture: Bytes, where: npt.NDArray[np.bool_]) -> Bytes:
    """Return a picture (``h w 3``) in magenta in some places, so that it is still seen there."""
    mixed = (picture * 0.5 + MAGENTA * 0.5).astype(np.uint8)
    return np.where(where[..., None], mixed, picture)


def thumbnail(
    picture: Bytes, *, alt: str, text: str, side: int = SIDE, name: bool = False
) -> Picture:
    """Return a picture (``h w 3``) small enough to be part of a page.

    Args:
        picture: Of any size; smaller ones stay as they are, and are shown larger pixel by pixel.
        alt: What it shows.
        text: What stands below it.
        side: Pixels of the longer side, at most.
        name: Whether the text is a file's name.
    """
    image = Pillow.fromarray(np.ascontiguousarray(picture))
    scale = side / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Pillow.Resampling.BOX)
    else:  # whole multiples, so that every pixel stays a square
        times = max(1, side // max(image.size))
        size = (image.width * times, image.height * times)
        image = image.resize(size, Pillow.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=QUALITY, subsampling=0, optimize=True)
    content = base64.b64encode(stream.getvalue()).decode()
    return Picture(
        source=f"data:image/jpeg;base64,{content}",
        width=image.width,
        height=image.height,
        alt=alt,
        text=text,
        name=name,
    )
