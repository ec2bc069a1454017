"""What is done to a mask file: turned, resized, its values mended; always written without loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from imseg.data.checks.mask_values import Recode, Snap
from imseg.data.images.decoding import turned
from imseg.data.images.image_files import write_png, write_tiff
from imseg.data.masks.io import MaskFile, as_packed_colors, read_mask, resize_mask, unpack_colors
from imseg.types import Pixels

Change = Literal["left out", "renamed", "rewritten"]
"""What can happen to a file on its way into the copy; most are copied byte for byte."""


@dataclass(frozen=True, slots=True)
class Repair:
    """One change."""

    file: str
    """The file, relative to the data folder; a renamed one by its new name from then on."""
    change: Change
    """What happened to it."""
    became: str
    """Its name in the copy; empty if it is not there."""
    did: str
    """What was done to its content; empty if nothing was."""
    why: str
    """The reason, in the same words for all changes of one kind."""
    about: str = ""
    """What the reason refers to: another file, or what exactly is wrong."""


Pair = tuple[Pixels, npt.NDArray[Any]]
"""An image, ``h w c``, and the values of its mask."""

_SURE = 0.98
_DRAWS = 200
_FEWEST_KNOWN = 5
_SIDE = 256
_WORDS = {
    6: "turned by 90 degrees clockwise",
    8: "turned by 90 degrees counterclockwise",
    5: "mirrored along its diagonal",
    7: "mirrored along its other diagonal",
}

_Plane = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """How a mask is turned back."""

    orientation: int
    """The EXIF number of a picture that is stored on its side: 5, 6, 7 or 8."""

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the ``h w`` values, turned."""
        return np.ascontiguousarray(turned(values, self.orientation))

    def __str__(self) -> str:
        return _WORDS[self.orientation]


def find_turn(lying: Sequence[Pair], known: Sequence[Pair]) -> Turn | None:
    """Return the turn by which masks fit their images best; None if that is not clear.

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
    flips: list[Callable[[_Plane], _Plane]] = [
        lambda mask: mask,
        lambda mask: mask[::-1],
        lambda mask: mask[:, ::-1],
        lambda mask: mask[::-1, ::-1],
    ]
    proven = _fits([(pixels, [flip(mask) for flip in flips]) for pixels, mask in known])
    found = _fits([(pixels, [turned(mask, each) for each in _WORDS]) for pixels, mask in lying])
    generator = np.random.default_rng(0)
    draws = generator.integers(0, len(known), (_DRAWS, len(lying)))
    # Draws, pairs, measures, ways -> how often the first way wins.
    right = (proven[draws].mean(axis=1).argmax(axis=2) == 0).mean(axis=0)
    best = int(right.argmax())
    if right[best] < _SURE:
        return None
    return Turn(list(_WORDS)[int(found.mean(axis=0)[best].argmax())])


def _fits(pairs: Sequence[tuple[Pixels, list[_Plane]]]) -> npt.NDArray[np.float64]:
    """Return how well masks fit, by pair, measure and way of turning."""
    fits = np.zeros((len(pairs), 3, 4))
    for place, (pixels, masks) in enumerate(pairs):
        # Every so many pixels are enough, and keep large pictures fast.
        step = max(1, max(pixels.shape[:2]) // _SIDE)
        gray = pixels[::step, ::step].astype(np.float32).mean(axis=2)
        down, across = np.gradient(gray)
        steepness = np.hypot(down, across)
        for way, mask in enumerate(masks):
            small = mask[::step, ::step]
            fits[place, :, way] = (
                _explained(gray, small),
                _explained(steepness, small),
                _steepness_at_edges(steepness, small),
            )
    return fits


def _explained(plane: _Plane, mask: _Plane) -> float:
    """Return the share of the variance of a plane between the classes of a mask, 0..1."""
    _, places, counts = np.unique(mask, return_inverse=True, return_counts=True)
    sums = np.bincount(places.ravel(), weights=plane.ravel().astype(np.float64))
    whole = float(plane.var())
    if whole == 0:
        return 0.0
    apart = (sums / counts - float(plane.mean())) ** 2
    return float((apart * counts).sum() / plane.size / whole)


def _steepness_at_edges(steepness: _Plane, mask: _Plane) -> float:
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
    """Return several rewrites of one mask as one; what concerns its shape comes first."""
    rewrites = sorted(rewrites, key=lambda each: len(each.recodes))
    return Rewrite(
        next((each.turn for each in rewrites if each.turn), None),
        next((each.size for each in rewrites if each.size), None),
        tuple(recode for each in rewrites for recode in each.recodes),
        tuple(reason for each in rewrites for reason in each.reasons),
    )
