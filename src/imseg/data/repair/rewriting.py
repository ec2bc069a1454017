"""The second step of a repair: masks of the right size and direction, with the right values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imseg.data.doctor.recode import Recode, Snap
from imseg.data.encoding import unpack_colors
from imseg.data.image_io import MaskFile, read_mask, resize_mask, write_png, write_tiff
from imseg.data.mask_io import as_packed_colors
from imseg.data.repair.record import Repair
from imseg.data.repair.turning import Turn


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What is to be done to a mask file; the steps are made in this order."""

    turn: Turn | None = None
    """How it is turned back."""
    size: tuple[int, int] | None = None
    """The height and width it is brought to."""
    recodes: tuple[Recode, ...] = ()
    """What is done to its values."""
    reasons: tuple[str, ...] = ()
    """Why."""

    def __str__(self) -> str:
        steps = [str(self.turn)] if self.turn else []
        if self.size:
            steps.append(f"resized to {self.size[0]}x{self.size[1]} by nearest neighbor")
        return "; ".join([*steps, *(str(recode) for recode in self.recodes)])


def rewrite_mask(path: Path, rewrite: Rewrite, root: Path) -> Repair:
    """Mend a mask file in place; the name changes where the format must.

    Args:
        path: The file.
        rewrite: What is to be done.
        root: The copy, to which names are relative.

    Raises:
        ImsegError: If the file cannot be read or written.
    """
    mask = read_mask(path)
    values, form, palette = mask.values, mask.form, mask.palette
    if rewrite.turn is not None:
        values = rewrite.turn(values)
    if rewrite.size is not None:
        values = resize_mask(values, rewrite.size)
    for recode in rewrite.recodes:
        if isinstance(recode, Snap) and form == "values":
            values, form = as_packed_colors(values), "colors"
        values = recode(values)
    if palette is not None and int(values.max(initial=0)) >= len(palette):
        palette = None
    written = write_mask(path.with_suffix(".png"), MaskFile(values, form, palette))
    if written != path:
        path.unlink()
    return Repair(
        path.relative_to(root).as_posix(),
        "rewritten",
        written.relative_to(root).as_posix(),
        str(rewrite),
        "; ".join(dict.fromkeys(rewrite.reasons)),
    )


def write_mask(path: Path, mask: MaskFile) -> Path:
    """Write a mask without loss and return its path: PNG, or TIFF where PNG cannot hold it.

    Args:
        path: Where to, with the suffix ``.png``.
        mask: What to write.

    Raises:
        ImsegError: If the file cannot be written.
    """
    values = mask.values
    if mask.form == "colors":
        write_png(path, unpack_colors(values))
        return path
    if mask.form == "numbers" or int(values.max(initial=0)) > np.iinfo(np.uint16).max:
        path = path.with_suffix(".tif")
        write_tiff(path, values)
        return path
    small = int(values.max(initial=0)) <= np.iinfo(np.uint8).max
    whole = values.astype(np.uint8 if small else np.uint16)
    write_png(path, whole, palette=mask.palette if small else None)
    return path


def merged(rewrites: Sequence[Rewrite]) -> Rewrite:
    """Return several rewrites of one mask as one."""
    return Rewrite(
        next((each.turn for each in rewrites if each.turn), None),
        next((each.size for each in rewrites if each.size), None),
        tuple(recode for each in rewrites for recode in each.recodes),
        tuple(reason for each in rewrites for reason in each.reasons),
    )
