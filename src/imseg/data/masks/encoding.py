"""The one place that knows mask file values: how they are numbered inside, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.folder.config import FILE_NAME, MAX_VALUE
from imseg.errors import ImsegError, and_more
from imseg.ops.objects import object_planes
from imseg.types import INCONSISTENT, VOID, Bytes, Target, TargetSpec

_UNKNOWN = -1
_SHOWN = 255


class UnknownMaskValues(ImsegError):
    """A mask holds values that are no class of the data set.

    Args:
        values: The unknown values.
        spec: What values there may be.
    """

    def __init__(self, values: Iterable[int], spec: TargetSpec) -> None:
        self.values = tuple(values)
        super().__init__(
            "A mask holds unknown values.",
            expected=describe_values(spec),
            got=and_more([value_text(value, spec) for value in self.values], most=8) + ".",
            hint=f"list them under [classes] in {FILE_NAME}, or set void there.",
        )


def describe_values(spec: TargetSpec) -> str:
    """Return what masks may hold, in words."""
    void = "" if spec.void is None else f", {value_text(spec.void, spec)} (void)"
    match spec.coding:
        case "planes":
            return f"in each of {', '.join(spec.names)}: 0, and one other value{void}."
        case "objects":
            return f"0 (background) and a whole number for each object{void}."
        case "numbers":
            return f"numbers{void}."
        case _:
            pairs = zip(spec.values, spec.names, strict=True)
            texts = [
                name if name == (text := value_text(value, spec)) else f"{text} ({name})"
                for value, name in pairs
            ]
            return and_more(texts, most=12) + f"{void}."


def value_text(value: int, spec: TargetSpec) -> str:
    """Return a file value as the user knows it: a number, or a color such as ``#00ff00``."""
    return f"#{value:06x}" if spec.coding == "colors" else str(value)


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
            planes: Bytes = (mask != 0).astype(np.uint8)
            if spec.void is not None:
                planes[mask == spec.void] = VOID
            return planes
        case "objects":
            return object_planes(mask, void=spec.void)
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
            shown = np.where(target == 1, np.uint8(_SHOWN), np.uint8(0))
            return shown
        case "numbers":
            return _decode_numbers(target[0], spec)
        case "colors":
            return unpack_colors(_decode_classes(target[0], spec))
        case _:
            small = max((*spec.values, spec.void or 0)) <= 255
            return _decode_classes(target[0], spec).astype(np.uint8 if small else np.uint16)


def classless_value(spec: TargetSpec) -> int:
    """Return the file value for pixels of no class: void, else the highest value in no use."""
    if spec.void is not None:
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


def unpack_colors(packed: npt.NDArray[Any]) -> Bytes:
    """Return whole numbers as ``... 3`` colors."""
    return np.stack([(packed >> shift) & 255 for shift in (16, 8, 0)], axis=-1).astype(np.uint8)


def _encode_classes(mask: npt.NDArray[Any], spec: TargetSpec) -> Bytes:
    pairs = [(value, number) for number, value in enumerate(spec.values, spec.first_index)]
    pairs += [(spec.void, VOID)] if spec.void is not None else []
    known = np.array([value for value, _ in sorted(pairs)], np.int64)
    codes = np.array([number for _, number in sorted(pairs)], np.uint8)
    if mask.dtype == np.uint8 and known[-1] <= 255:
        return _look_up_bytes(mask, known, codes, spec)
    places = np.minimum(np.searchsorted(known, mask), len(known) - 1)
    if not np.array_equal(known[places], mask):
        raise UnknownMaskValues(unknown_values(np.unique(mask).tolist(), spec), spec)
    encoded: Bytes = codes[places]
    return encoded


def _look_up_bytes(
    mask: npt.NDArray[Any], known: npt.NDArray[np.int64], codes: Bytes, spec: TargetSpec
) -> Bytes:
    """Return the codes of a mask of bytes: by table, several times faster than by search."""
    table: npt.NDArray[np.int16] = np.full(256, _UNKNOWN, np.int16)
    table[known] = codes
    found = table[mask]
    if (found == _UNKNOWN).any():
        raise UnknownMaskValues(unknown_values(np.unique(mask).tolist(), spec), spec)
    encoded: Bytes = found.astype(np.uint8)
    return encoded


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
