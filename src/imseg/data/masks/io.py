"""Mask files: what lies in them, and how it becomes the target of a task, and back."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.folder.config import FILE_NAME, MAX_VALUE, Key, as_color, as_number
from imseg.data.images.decoding import Decoded, decode_pillow, unreadable
from imseg.data.images.picture_file import decode_planes
from imseg.data.masks.labeled_regions import blot_out, outside
from imseg.errors import ImsegError, and_more
from imseg.ops import objects
from imseg.types import INCONSISTENT, VOID, Coding, Color, LabeledImage, Pages, Target, TargetSpec

MaskForm = Literal["values", "colors", "numbers"]
"""What a mask file holds: a whole number, a color or a measurement for each pixel."""

HOLDS = {"values": "whole numbers", "colors": "colors", "numbers": "fractions"}
"""The forms in words."""

MaskAlpha = Literal["", "mask", "opaque", "hidden"]
"""What an alpha channel is: none, or as in any picture; the mask itself; full, over pixels that are
all black; 0, over pixels of one other color."""

_PAGES = (
    'set pages in imseg.toml to "first", to "max" or to the number of a plane (1 is the first): '
    "it holds for images and masks. Or save each page as a file of its own."
)
_GRAY_TO_COLOR = 0x010101
_DEEP_STEP = 257
_LARGEST = 2**63 - 1
_LARGEST_WHOLE = 1 << 24  # beyond it, float32 leaves whole numbers out
_UNKNOWN = -1
_SHOWN = 255


@dataclass(frozen=True, slots=True)
class MaskFile:
    """What a mask file holds."""

    values: npt.NDArray[Any]
    """``h w``: whole numbers (values), packed colors (int32), or float32 (numbers)."""
    form: MaskForm
    """What the values are."""
    palette: tuple[Color, ...] | None = None
    """Of an indexed file, the color of each index; the values are the indices."""
    inverting: int = 0
    """Bits per number of a TIFF file whose 0 is to be shown as white; 0: of any other file."""
    alpha: MaskAlpha = ""
    """What the alpha channel of the file was for."""


def read_mask(path: Path, *, pages: Pages = "refuse") -> MaskFile:
    """Return what a mask file holds, upright.

    A 1-bit file gives 0 and 255, an indexed file its indices, a gray RGB file its gray value. Other
    whole numbers are as they are stored, whatever color they are to be shown with. Pixels that are
    fully transparent count as 0 (black), whatever color an editor has left below them, unless all
    of the mask is transparent; half transparent ones count as the color they have. Where all that
    is visible is black, the alpha channel is the mask.

    Args:
        path: A picture file.
        pages: Which plane is the mask where there are several. With "max" each pixel has the one
            value above 0 that it has in any of the planes.

    Raises:
        ImsegError: If the file cannot be read, has several pages (unless a plane is chosen) or
            channels that are no color, or its planes contradict each other.
    """
    wanted: Pages = "refuse" if pages == "channels" else pages
    decoded = decode_planes(path, pages=wanted, hint=_PAGES)
    return reduce(partial(_laid_over, path), map(partial(mask_from, path), decoded))


def _laid_over(path: Path, one: MaskFile, other: MaskFile) -> MaskFile:
    """Return two planes of a mask as one; each pixel may have one value above 0 only."""
    ours, theirs = one.values, other.values
    if (one.form, ours.shape) == (other.form, theirs.shape):
        values = np.where(ours == 0, theirs, ours)
        if np.array_equal(values, np.where(theirs == 0, ours, theirs), equal_nan=True):
            return replace(one, values=values)
    reason = "has planes that give one pixel different values, so they have no maximum"
    hint = "save the mask of the maximum as a file with one page, or set pages to one plane."
    raise unreadable(path, reason, hint)


def mask_of(picture: Pillow.Image, name: str) -> MaskFile:
    """Return what an open Pillow picture holds as a mask; ``name`` is used in errors."""
    return mask_from(Path(name), decode_pillow(Path(name), picture))


def as_packed_colors(values: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return gray values 0..255 as packed colors, for a gray mask among colored ones."""
    return values.astype(np.int32) * _GRAY_TO_COLOR


def resize_mask(mask: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Return a mask (``h w`` or ``t h w``) at another (height, width), by nearest neighbor."""
    if mask.shape[-2:] == size:
        return mask
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(size, mask.shape[-2:], strict=True)
    )
    resized: npt.NDArray[Any] = mask.take(rows, axis=-2).take(columns, axis=-1)
    return resized


def are_whole(values: npt.NDArray[Any]) -> bool:
    """Return whether floats are whole numbers, as some programs save label images."""
    if not values.size or not np.isfinite(values).all():
        return False
    if max(-values.min(), values.max()) > _LARGEST_WHOLE:
        return False
    return bool(np.array_equal(values, np.rint(values)))


def mask_from(path: Path, decoded: Decoded) -> MaskFile:
    """Return what a decoded picture holds as a mask; ``path`` is used in errors."""
    values, alpha = decoded.values, decoded.alpha
    if decoded.palette is not None:
        return MaskFile(values[..., 0], "values", decoded.palette)
    told: MaskAlpha = ""
    if alpha is not None and alpha.size:
        told = _purpose_of(alpha, values)
        hidden = alpha == 0
        if told == "mask":
            values = alpha[..., None]
        elif told == "hidden":
            values = np.zeros_like(values[..., :1])
        # Some programs write an alpha channel and leave it at 0: then it means nothing.
        elif hidden.any() and not hidden.all():
            values = np.where(hidden[..., None], values.dtype.type(0), values)
    found = _without_alpha(path, values)
    return replace(found, inverting=decoded.inverting, alpha=told)


def _purpose_of(alpha: npt.NDArray[Any], values: npt.NDArray[Any]) -> MaskAlpha:
    """Return what an alpha channel is for.

    It is the mask if only it tells pixels from one another: all visible ones have one color, and
    that is black, as if hidden, or no pixel is hidden, or none is opaque but some are more so.
    """
    least, most = alpha.min(), alpha.max()
    seen = values[alpha > 0] if most > 0 else values.reshape(-1, values.shape[2])
    if (seen != seen[0]).any():
        return ""
    black = not seen[0].any()
    full = alpha.dtype.kind == "u" and most == np.iinfo(alpha.dtype).max
    if least == most:
        alone: MaskAlpha = "opaque" if full else ""
        return alone if black else ("" if most > 0 else "hidden")
    graded = not full and len(np.unique(alpha)) > 2
    return "mask" if black or least > 0 or graded else ""


def _without_alpha(path: Path, values: npt.NDArray[Any]) -> MaskFile:
    if values.shape[2] == 3 and values.dtype in (np.uint8, np.uint16):
        return _color_mask(path, values)
    if values.shape[2] > 1:
        reason = f"has {values.shape[2]} channels"
        raise unreadable(path, reason, "save a mask with one number, or one color, per pixel.")
    values = values[..., 0]
    if values.dtype.kind == "f":
        # Beyond the largest float32 is infinity, which counts as unknown, like what is no number.
        with np.errstate(over="ignore", invalid="ignore"):
            return MaskFile(values.astype(np.float32, copy=False), "numbers")
    if values.dtype == np.uint64 and values.max(initial=0) > _LARGEST:
        reason = f"holds whole numbers that need all of 64 bits ({values.max()})"
        hint = "save class values from 0 to 65535, or measurements as a float TIFF."
        raise unreadable(path, reason, hint)
    return MaskFile(values, "values")


def _color_mask(path: Path, values: npt.NDArray[Any]) -> MaskFile:
    first = values[..., :1]
    if np.array_equal(first, values[..., 1:2]) and np.array_equal(first, values[..., 2:]):
        return MaskFile(values[..., 0], "values")
    if values.dtype == np.uint16:
        small = values // _DEEP_STEP
        if not np.array_equal(small * _DEEP_STEP, values):
            reason = "holds colors that need 16 bits per channel"
            raise unreadable(path, reason, "save it with 8 bits per channel.")
        values = small
    return MaskFile(pack_colors(values), "colors")


def load_target(
    pair: LabeledImage,
    spec: TargetSpec,
    size: tuple[int, int] | None = None,
    *,
    read: Callable[[Path], MaskFile] | None = None,
) -> Target:
    """Return the target of a picture, ``t h w``, in the numbering inside.

    Args:
        pair: A picture and its mask.
        spec: What mask values mean.
        size: Height and width to resize to, by nearest neighbor; None keeps the mask's own.
        read: Returns what a mask file holds; None: ``read_mask`` does.

    Raises:
        ImsegError: If a file cannot be read or holds unknown values.
    """
    drawn = load_values(pair, spec, read)
    own = (drawn.shape[-2], drawn.shape[-1])
    unlabeled = None if pair.regions is None else outside(pair.regions, own, own)
    if size is None or size == own:
        return target_of(drawn, pair, spec, unlabeled=unlabeled)
    if unlabeled is not None and spec.has_classes:  # outside there may be anything
        drawn = np.where(unlabeled, spec.values[0], drawn)
    target = target_of(resize_mask(drawn, size), pair, spec, unlabeled=None)
    if spec.coding == "planes" and spec.position is not None:
        plane, marked = target[spec.position], drawn[spec.position]
        known = (marked != 0) if spec.void is None else (marked != 0) & (marked != spec.void)
        discs = objects.discs_at_size(known, size)  # shrunk with the picture they would vanish
        plane[plane != VOID] = discs[plane != VOID]
    if pair.regions is not None:
        blot_out(target, outside(pair.regions, own, size), VOID)
    return target


def target_of(
    values: npt.NDArray[Any],
    pair: LabeledImage,
    spec: TargetSpec,
    *,
    unlabeled: npt.NDArray[np.bool_] | None,
) -> Target:
    """Return the target that file values of a mask, or of some rows of it, stand for.

    Args:
        values: As from ``load_values``.
        pair: Whose mask it is, for errors.
        spec: What the values mean.
        unlabeled: Pixels without a label, ``h w``; None: all have one.

    Raises:
        UnknownMaskValues: If there are values that are neither a class nor void.
    """
    if unlabeled is not None and spec.has_classes:
        values = np.where(unlabeled, spec.values[0], values)
    try:
        target = encode(values, spec)
    except UnknownMaskValues as error:
        name = str(pair.mask) if isinstance(pair.mask, Path) else f"The mask of {pair.name}"
        raise UnknownMaskValues(error.values, spec, f"{name} holds unknown values.") from error
    if unlabeled is not None:
        blot_out(target, unlabeled, VOID)
    return target


def load_values(
    pair: LabeledImage, spec: TargetSpec, read: Callable[[Path], MaskFile] | None = None
) -> npt.NDArray[Any]:
    """Return the file values of a mask: ``h w``, or ``t h w`` planes in the order of the spec.

    Raises:
        ImsegError: If a file cannot be read, or is of another kind than the spec's.
    """
    mask, read = pair.mask, read or partial(read_mask, pages=spec.pages)
    if isinstance(mask, Path):
        return values_of(read(mask), mask, spec)
    if isinstance(mask, Mapping):
        return np.stack([values_of(read(mask[name]), mask[name], spec) for name in spec.names])
    if spec.coding == "colors" and mask.ndim == 3:
        return pack_colors(mask)
    return mask


def values_of(found: MaskFile, path: Path, spec: TargetSpec) -> npt.NDArray[Any]:
    """Return file values, ``h w``; a file of another kind than the spec's is an error."""
    if spec.coding == "colors" and found.form == "values":
        return as_packed_colors(found.values)
    form = spec.coding if spec.coding in ("colors", "numbers") else "values"
    below = form == "values" and _goes_below_zero(found.values, spec.void)
    if found.form in (form, "values") and not below:
        return found.values
    if form == "values" and found.form == "numbers" and are_whole(found.values) and not below:
        return found.values.astype(np.int32)
    raise ImsegError(
        f"{path} is not a mask of the kind that the others are.",
        expected=f"{HOLDS[form]}.",
        got=f"{HOLDS[found.form]}{' below 0' * below}.",
        hint="save all masks in the same way.",
    )


def _goes_below_zero(values: npt.NDArray[Any], void: int | None) -> bool:
    if values.dtype.kind == "u":
        return False
    below = values < 0
    return bool(below.any() if void is None else (below & (values != void)).any())


class UnknownMaskValues(ImsegError):
    """A mask holds values that are no class of the data set.

    Args:
        values: The unknown values.
        spec: What values there may be.
        what: What is wrong, in a sentence.
    """

    def __init__(
        self, values: Iterable[int], spec: TargetSpec, what: str = "A mask holds unknown values."
    ) -> None:
        self.values = tuple(values)
        super().__init__(
            what,
            expected=describe_values(spec),
            got=and_more([value_text(value, spec.coding) for value in self.values], most=8) + ".",
            hint=f"list them under [classes] in {FILE_NAME}, or set void there.",
        )


def describe_values(spec: TargetSpec) -> str:
    """Return what masks may hold, in words."""
    void = "" if spec.void is None else f", {value_text(spec.void, spec.coding)} (void)"
    match spec.coding:
        case "planes":
            return f"in each of {', '.join(spec.names)}: 0, and one other value{void}."
        case "objects":
            return f"0 (background) and a whole number for each object{void}."
        case "numbers":
            return f"numbers{void}."
        case _:
            keys = [value_text(value, spec.coding) for value in spec.values]
            pairs = zip(keys, spec.names, strict=True)
            texts = [key if key == name else f"{key} ({name})" for key, name in pairs]
            return and_more(texts, most=12) + f"{void}."


def as_value(key: Key | None, coding: Coding) -> int | None:
    """Return what masks of a coding hold where a user writes ``key``; None if they cannot."""
    return as_color(key) if coding == "colors" else as_number(key)


def value_text(value: int, coding: Coding) -> str:
    """Return a file value as the user knows it: a number, or a color such as ``#00ff00``."""
    return f"#{value:06x}" if coding == "colors" else str(value)


def unknown_values(counts: Iterable[int], spec: TargetSpec) -> tuple[int, ...]:
    """Return the values that are neither a class nor void, ascending."""
    if spec.coding not in ("values", "colors"):
        return ()
    known = {*spec.values, spec.void}
    return tuple(sorted(int(value) for value in counts if value not in known))


def encode(mask: npt.NDArray[Any], spec: TargetSpec) -> Target:
    """Return a mask of file values as a target, ``t h w``, in the numbering inside.

    Binary: 0 and 1. Multiclass: 1 for the lowest value, 2 for the next. Multilabel: 0 and 1 in each
    plane; objects become ``OBJECT_PLANES``. Void is 255 in all of them. Regression: floats, 0 at
    ``spec.low`` and 1 at ``spec.high``; void is not a number.

    Args:
        mask: ``h w`` values, packed colors, object numbers or measurements; ``t h w`` planes.
        spec: What they mean.

    Raises:
        UnknownMaskValues: If the mask holds a value that is neither a class nor void.
    """
    match spec.coding:
        case "planes":
            planes: npt.NDArray[np.uint8] = (mask != 0).astype(np.uint8)
            if spec.void is not None:
                planes[mask == spec.void] = VOID
            return planes
        case "objects":
            return objects.object_planes(mask, void=spec.void)
        case "numbers":
            return _encode_numbers(mask, spec)[None]
        case _:
            return _encode_classes(mask, spec)[None]


def decode(target: npt.NDArray[Any], spec: TargetSpec) -> npt.NDArray[Any]:
    """Return a ``t h w`` target in the user's own values.

    The type depends on the spec alone. Pixels of no class (void, or "inconsistent" in a multiclass
    target) get ``classless_value``.

    Returns:
        ``h w`` of 8 or 16 bits (values), ``h w 3`` (colors), ``t h w`` of 0 and 255 (planes and
        objects) or ``h w`` of the user's type (numbers).

    Raises:
        ValueError: If the target holds numbers that are no class of the spec.
    """
    match spec.coding:
        case "planes" | "objects":
            return np.where(target == 1, np.uint8(_SHOWN), np.uint8(0))
        case "numbers":
            return _decode_numbers(target[0], spec)
        case "colors":
            return unpack_colors(_decode_classes(target[0], spec))
        case _:
            small = max((*spec.values, spec.void or 0)) <= 255
            return _decode_classes(target[0], spec).astype(np.uint8 if small else np.uint16)


def classless_value(spec: TargetSpec) -> int:
    """Return the file value for pixels of no class: void, else the highest value in no use.

    Predictions hold no numbers below 0, so a void of -1 is not written.
    """
    if spec.void is not None and spec.void >= 0:
        return spec.void
    if spec.coding == "colors":
        grays = {level * 0x010101 for level in range(256)}
        return min(grays - set(spec.values))
    highest = 255 if max(spec.values) <= 255 else MAX_VALUE
    return max(set(range(highest + 1)) - set(spec.values))


def pack_colors(colors: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return ``... 3`` colors as whole numbers: 65536 red + 256 green + blue."""
    wide = colors.astype(np.int32)
    packed: npt.NDArray[np.int32] = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    return packed


def unpack_colors(packed: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return whole numbers as ``... 3`` colors."""
    return np.stack([(packed >> shift) & 255 for shift in (16, 8, 0)], axis=-1).astype(np.uint8)


def _encode_classes(mask: npt.NDArray[Any], spec: TargetSpec) -> npt.NDArray[np.uint8]:
    pairs = [(value, number) for number, value in enumerate(spec.values, spec.first_index)]
    pairs += [(spec.void, VOID)] if spec.void is not None else []
    if mask.dtype.kind == "u":
        pairs = [(value, number) for value, number in pairs if value >= 0]
    known = np.array([value for value, _ in sorted(pairs)], np.int64)
    codes = np.array([number for _, number in sorted(pairs)], np.uint8)
    if mask.dtype == np.uint8 and known[-1] <= 255:
        # By table, several times faster than by search.
        table = np.full(256, _UNKNOWN, np.int16)
        table[known] = codes
        encoded: npt.NDArray[Any] = table[mask]
        is_known = not (encoded == _UNKNOWN).any()
    else:
        places = np.minimum(np.searchsorted(known, mask), len(known) - 1)
        encoded = codes[places]
        is_known = np.array_equal(known[places], mask)
    if not is_known:
        raise UnknownMaskValues(unknown_values(np.unique(mask).tolist(), spec), spec)
    target: npt.NDArray[np.uint8] = encoded.astype(np.uint8, copy=False)
    return target


def _encode_numbers(mask: npt.NDArray[Any], spec: TargetSpec) -> npt.NDArray[np.float32]:
    numbers = mask.astype(np.float64)
    if spec.void is not None:
        numbers[mask == spec.void] = np.nan
    numbers[~np.isfinite(numbers)] = np.nan
    scaled: npt.NDArray[np.float64] = (numbers - spec.low) / (spec.high - spec.low)
    return scaled.astype(np.float32)


def _decode_classes(target: npt.NDArray[Any], spec: TargetSpec) -> npt.NDArray[np.int32]:
    values: npt.NDArray[np.int32] = np.full(256, _UNKNOWN, np.int32)
    values[[INCONSISTENT, VOID]] = classless_value(spec)
    first = spec.first_index
    values[first : first + len(spec.values)] = spec.values
    decoded: npt.NDArray[np.int32] = values[target]
    if (decoded == _UNKNOWN).any():
        raise ValueError(f"the target holds numbers beyond its {len(spec.values)} classes")
    return decoded


def _decode_numbers(target: npt.NDArray[Any], spec: TargetSpec) -> npt.NDArray[Any]:
    numbers = spec.low + target.astype(np.float64) * (spec.high - spec.low)
    kind = np.dtype(spec.stored)
    if kind.kind == "f":
        return numbers.astype(np.float32)
    ends = np.iinfo(kind)
    empty = spec.void if spec.void is not None else 0
    whole = np.rint(np.where(np.isfinite(numbers), numbers, empty))
    return np.clip(whole, ends.min, ends.max).astype(kind)
