"""The one place that knows mask file values: what they mean and how they are numbered inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.config import FILE_NAME, MAX_VALUE, FolderConfig
from imseg.data.palette import BLACK, GRAY, Color, distinct_colors
from imseg.errors import ImsegError, and_more
from imseg.types import INCONSISTENT, MAX_CLASSES, VOID, Bytes, Kind, TargetSpec

MAX_DISTINCT = 64
"""More different values than this in a set of masks are taken for a mistake."""

_SMEARED = 8  # with fewer values, those between 0 and 255 may well be classes
_UNKNOWN = -1


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
            got=and_more([str(value) for value in self.values], shown=8) + ".",
            hint=f"list them under [classes] in {FILE_NAME}, or set void there.",
        )


def describe_values(spec: TargetSpec) -> str:
    """Return the values that masks may hold, in words."""
    text = and_more([f"{v} ({n})" for v, n in zip(spec.values, spec.names, strict=True)], shown=12)
    return text + (f", {spec.void} (void)." if spec.void is not None else ".")


def find_spec(values: Mapping[int, int], *, task: Kind | None, config: FolderConfig) -> TargetSpec:
    """Return what the values of a set of masks mean.

    Two values (void aside) are background (the lower) and foreground; more are one class each.
    Values that ``config`` lists are classes even if no mask has them.

    Args:
        values: How many pixels have each value, over all labeled masks.
        task: Overrides what ``config`` says and what would be recognized.
        config: Class names, colors and the void value, where the user gives them.

    Raises:
        ImsegError: If the values do not look like classes, or do not fit the task.
    """
    found = {value: count for value, count in values.items() if value != config.void}
    classes = tuple(sorted({*found, *config.values}))
    if len(found) > MAX_DISTINCT:
        raise _too_many_values(found)
    if classes and not 0 <= classes[0] <= classes[-1] <= MAX_VALUE:
        raise ImsegError(
            "The labeled masks hold values that cannot be class values.",
            expected=f"whole numbers from 0 to {MAX_VALUE}.",
            got=f"{classes[0]} to {classes[-1]}.",
            hint="save the masks as 8-bit PNG with one small number a class.",
        )
    if len(found) < 2:
        only = f"only {next(iter(found))}" if found else "no pixel that is not void"
        raise ImsegError(
            "The labeled masks show one class only, so there is nothing to learn.",
            expected="at least two different values, such as 0 (background) and 255 (foreground).",
            got=f"{only}, in all labeled masks.",
            hint="label images on which something is marked.",
        )
    kind = task or config.task or ("binary" if len(classes) == 2 else "multiclass")
    if kind == "binary" and len(classes) != 2:
        raise _not_binary(classes, found)
    if len(classes) > MAX_CLASSES:
        raise ImsegError(
            f"{FILE_NAME} and the masks together name {len(classes)} classes.",
            expected=f"at most {MAX_CLASSES}.",
            hint="merge classes.",
        )
    return _build_spec(kind, classes, config)


def unknown_values(counts: Iterable[int], spec: TargetSpec) -> tuple[int, ...]:
    """Return the values that are neither a class nor void, ascending."""
    known = {*spec.values, spec.void}
    return tuple(sorted(int(value) for value in counts if value not in known))


def encode(mask: npt.NDArray[Any], spec: TargetSpec) -> Bytes:
    """Return an ``h w`` mask of file values in the numbering inside.

    Binary: 0 and 1. Multiclass: 1 for the lowest value, 2 for the next. Void is 255 in both.

    Raises:
        UnknownMaskValues: If the mask holds a value that is neither a class nor void.
    """
    codes: npt.NDArray[np.int16] = np.full(MAX_VALUE + 1, _UNKNOWN, np.int16)
    codes[list(spec.values)] = np.arange(len(spec.values)) + spec.first_index
    if spec.void is not None:
        codes[spec.void] = VOID
    outside = mask.size > 0 and (int(mask.min()) < 0 or int(mask.max()) > MAX_VALUE)
    target: npt.NDArray[np.int16] = codes[np.clip(mask, 0, MAX_VALUE).astype(np.int64)]
    if outside or (target == _UNKNOWN).any():
        raise UnknownMaskValues(unknown_values(np.unique(mask).tolist(), spec), spec)
    return target.astype(np.uint8)


def decode(target: npt.NDArray[Any], spec: TargetSpec) -> npt.NDArray[np.uint8 | np.uint16]:
    """Return an ``h w`` target in the user's own values.

    The type depends on the spec alone: 8 bits if all values fit, else 16. Pixels of no class (void,
    or "inconsistent" in a multiclass target) get ``classless_value``.

    Raises:
        ValueError: If the target holds numbers that are no class of the spec.
    """
    small = max((*spec.values, spec.void or 0)) <= 255
    classless = classless_value(spec)
    values: npt.NDArray[np.int32] = np.full(256, _UNKNOWN, np.int32)
    values[[INCONSISTENT, VOID]] = classless
    first = spec.first_index
    values[first : first + len(spec.values)] = spec.values
    decoded: npt.NDArray[np.int32] = values[target]
    if (decoded == _UNKNOWN).any():
        raise ValueError(f"the target holds numbers beyond its {len(spec.values)} classes")
    return decoded.astype(np.uint8) if small else decoded.astype(np.uint16)


def classless_value(spec: TargetSpec) -> int:
    """Return the file value for pixels of no class: void, else the highest value in no use."""
    if spec.void is not None:
        return spec.void
    highest = 255 if max(spec.values) <= 255 else MAX_VALUE
    return max(set(range(highest + 1)) - set(spec.values))


def colorize(target: npt.NDArray[Any], spec: TargetSpec) -> Bytes:
    """Return an ``h w`` target as ``h w 3`` colors; "inconsistent" is black, void is gray."""
    colors = np.zeros((256, 3), np.uint8)
    colors[INCONSISTENT] = BLACK
    colors[VOID] = GRAY
    colors[spec.first_index : spec.first_index + len(spec.values)] = spec.colors
    painted: Bytes = colors[target]
    return painted


def _build_spec(kind: Kind, classes: tuple[int, ...], config: FolderConfig) -> TargetSpec:
    names = {value: f"class {value}" for value in classes}
    palette = iter(distinct_colors(len(classes) + len(config.colors)))
    taken = set(config.colors.values())
    free = (color for color in palette if color not in taken)
    colors: dict[int, Color] = {}
    if kind == "binary":
        names = dict(zip(classes, ("background", "foreground"), strict=True))
        # Background is left unpainted in overlays; black says so in plain colored masks too.
        colors[classes[0]] = BLACK
    for value in classes:
        if value in config.colors:
            colors[value] = config.colors[value]
        elif value not in colors:
            colors[value] = next(free)
    names.update(config.names)
    return TargetSpec(
        kind=kind,
        values=classes,
        names=tuple(names[value] for value in classes),
        colors=tuple(colors[value] for value in classes),
        void=config.void,
    )


def _not_binary(classes: tuple[int, ...], found: Mapping[int, int]) -> ImsegError:
    hint = "drop the task to learn one class a value"
    if _is_smeared(found):
        hint = "the masks look smeared; save them as PNG, not JPEG, and threshold them at half"
    elif len(classes) == 3:
        hint += f", or set void = {classes[-1]} in {FILE_NAME} if that marks undecided pixels"
    return ImsegError(
        "The task is binary, but the masks hold more than two values.",
        expected="two values: background and foreground.",
        got=and_more([str(value) for value in classes], shown=8) + ".",
        hint=hint + ".",
    )


def _too_many_values(found: Mapping[int, int]) -> ImsegError:
    """Return an error that guesses from the values what was taken for class masks."""
    lowest, highest = min(found), max(found)
    background = found.get(0, 0) / sum(found.values())
    crowded = len(found) >= 0.9 * (highest - lowest + 1)
    guess = "this looks like a map of measurements, such as a depth map or a photograph"
    hint = "only class masks can be learned yet; save one small number a class as 8-bit PNG"
    if highest <= 255 and _is_smeared(found):
        guess = "nearly all are 0 or 255, so JPEG or smooth resizing smeared the masks"
        hint = "threshold the masks at half, save them as PNG, resize them with nearest neighbor"
    elif 0 <= lowest <= 1 and crowded and (highest > 255 or background >= 0.3):
        guess = "without gaps, so this looks like one number for each object (instances)"
        hint = "set every number above 0 to the value of its class, for example 255"
    return ImsegError(
        f"The labeled masks hold {len(found)} different values.",
        expected=f"at most {MAX_DISTINCT}, one for each class.",
        got=f"values from {lowest} to {highest}; {guess}.",
        hint=hint + ".",
    )


def _is_smeared(found: Mapping[int, int]) -> bool:
    # JPEG moves flat areas by a few gray levels as well.
    extremes = sum(count for value, count in found.items() if value <= 16 or value >= 239)
    return len(found) > _SMEARED and extremes > 0.9 * sum(found.values())
