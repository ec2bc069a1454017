"""Masks of any size, some rows at a time, as ``io`` reads them at once."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.images import by_rows, decoding
from imseg.data.masks import io
from imseg.errors import ImsegError
from imseg.ops.tiling import Size
from imseg.types import LabeledImage, Pages, TargetSpec

AT_ONCE = 1 << 22
"""Pixels at most of the rows that an array gives at once."""

Rows = Iterator[npt.NDArray[Any]]
"""Rows from top to bottom, ``n w``, any number at a time."""


def check_fits(pair: LabeledImage, size: Size, spec: TargetSpec) -> None:
    """Refuse masks of another size than their picture; of files only the headers are read.

    Args:
        pair: A picture and its mask.
        size: Height and width of the picture.
        spec: What mask values mean.

    Raises:
        ImsegError: If they do not fit, or cannot be read as far as the header tells.
    """
    masks = pair.mask if isinstance(pair.mask, Mapping) else {"": pair.mask}
    for mask in masks.values():
        if isinstance(mask, Path):
            name, own = str(mask), by_rows.probe(mask, pages=_pages(spec.pages)).size
        else:
            shape = mask.shape[1:] if spec.coding == "planes" else mask.shape
            name, own = f"The mask of {pair.name}", (shape[0], shape[1])
        if own != size:
            raise ImsegError(
                f"{name} does not fit its image.",
                expected=f"{size[1]}x{size[0]} px, as {pair.image.name} has.",
                got=f"{own[1]}x{own[0]} px.",
                hint="save the mask at the size of its image.",
            )


def read_mask_rows(pair: LabeledImage, spec: TargetSpec) -> list[Rows]:
    """Return the file values of a mask from top to bottom, as ``io.load_values`` has them at once.

    Files whose rows cannot be read one after the other are decoded whole.

    Args:
        pair: A picture and its mask.
        spec: What mask values mean.

    Returns:
        The rows of each plane; of other masks than planes, one.

    Raises:
        ImsegError: If a file cannot be read, or is of another kind than the spec's; while rows are
            read, too.
    """
    mask = pair.mask
    if isinstance(mask, Path):
        return [_of_file(mask, spec)]
    if isinstance(mask, Mapping):
        return [_of_file(mask[name], spec) for name in spec.names]
    if spec.coding == "planes":
        return [_of_array(plane) for plane in mask]
    rows = _of_array(mask)
    return [map(io.pack_colors, rows) if mask.ndim == 3 else rows]


def whole_values(pair: LabeledImage, spec: TargetSpec) -> npt.NDArray[Any]:
    """Return the file values of a mask of any size, as ``io.load_values`` does of smaller ones.

    Raises:
        ImsegError: As ``read_mask_rows``.
    """
    planes = [np.concatenate(list(rows)) for rows in read_mask_rows(pair, spec)]
    return np.stack(planes) if spec.coding == "planes" else planes[0]


def file_rows(path: Path, *, pages: Pages) -> Iterator[io.MaskFile] | None:
    """Return what the rows of a mask file hold, some at a time; None where it is to be read whole.

    Args:
        path: A picture file.
        pages: Which plane of several is the mask.

    Raises:
        ImsegError: As ``io.read_mask``; while rows are read, too.
    """
    stored = by_rows.stored_rows(path, pages=_pages(pages))
    # What alpha channels and deep colors are shows in all of their pixels together.
    if stored is None or stored[0].alpha or (stored[0].samples > 1 and stored[0].depth != "uint8"):
        return None
    return _masks(path, stored[1])


def _pages(pages: Pages) -> Pages:
    return "refuse" if pages == "channels" else pages


def _masks(path: Path, chunks: Iterator[decoding.Decoded]) -> Iterator[io.MaskFile]:
    with decoding.errors_named(path):
        for chunk in chunks:
            yield io.mask_from(path, chunk)


def _of_file(path: Path, spec: TargetSpec) -> Rows:
    found = file_rows(path, pages=spec.pages)
    if found is None:
        return _of_array(io.values_of(io.read_mask(path, pages=spec.pages), path, spec))
    return (io.values_of(each, path, spec) for each in found)


def _of_array(values: npt.NDArray[Any]) -> Rows:
    height, width = values.shape[:2]
    step = max(1, AT_ONCE // max(1, width))
    return (values[top : top + step] for top in range(0, height, step))
