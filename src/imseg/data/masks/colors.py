"""Colors for classes that have none: far apart from each other, for color-blind eyes too."""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from imseg.ops.objects import WHOLE, count_cells
from imseg.types import INCONSISTENT, VOID, Bytes, Color, Target, TargetSpec

BLACK: Color = (0, 0, 0)
"""Shown for pixels on which teachers disagree."""
GRAY: Color = (128, 128, 128)
"""Shown for void pixels."""

_Key = TypeVar("_Key")
_LEVELS = (0, 48, 96, 160, 208, 255)
_FIRST: Color = (255, 160, 0)  # orange stands out on most pictures, dark or bright
_RESERVED: tuple[Color, ...] = (BLACK, GRAY, (255, 255, 255))


@functools.cache
def distinct_colors(count: int) -> tuple[Color, ...]:
    """Return that many different colors; a longer list begins with the shorter one.

    The first is orange; each other is the candidate farthest from all before it and from black,
    gray and white. Distance counts lightness and blue against yellow in full and red against green
    at a quarter, because that is what the most frequent kinds of color blindness cannot tell apart.
    """
    grid: list[Color] = [(r, g, b) for r in _LEVELS for g in _LEVELS for b in _LEVELS]
    candidates = [color for color in grid if color not in _RESERVED]
    places = _opponent(candidates)
    nearest = np.min([_distance(places, place) for place in _opponent(list(_RESERVED))], axis=0)
    chosen: list[Color] = []
    for number in range(min(count, len(candidates))):
        best = int(np.argmax(nearest)) if number else candidates.index(_FIRST)
        chosen.append(candidates[best])
        nearest = np.minimum(nearest, _distance(places, places[best]))
    # People cannot tell more than two hundred colors apart; beyond that they repeat.
    return tuple(itertools.islice(itertools.cycle(chosen), count))


def fill_colors(keys: Sequence[_Key], given: Mapping[_Key, Color]) -> tuple[Color, ...]:
    """Return the color of each key: the given one, else one that is given to no other."""
    palette = distinct_colors(len(keys) + len(given))
    free = (color for color in palette if color not in given.values())
    return tuple(given[key] if key in given else next(free) for key in keys)


def _opponent(colors: list[Color]) -> npt.NDArray[np.float64]:
    red, green, blue = np.asarray(colors, np.float64).T
    lightness = (red + 2 * green + blue / 2) / 3.5
    return np.stack([lightness, (red + green) / 2 - blue, (red - green) / 4], axis=1)


def _distance(
    places: npt.NDArray[np.float64], place: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = ((places - place) ** 2).sum(axis=1)
    return squares


_SCALE = np.array(
    [(28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122), (229, 80, 100), (251, 135, 97),
     (254, 194, 135), (252, 253, 191)],
    np.float32,
)  # fmt: skip
"""Colors from low to high numbers; lightness rises all the way, for gray prints too."""


def colorize(target: npt.NDArray[Any], spec: TargetSpec) -> Bytes:
    """Return a ``t h w`` target as ``h w 3`` colors.

    "Inconsistent" and "none of the labels" are black, void is gray. Where labels overlap, the later
    one is seen. Numbers run from dark violet (``spec.low``) to pale yellow (``spec.high``).
    """
    match spec.kind:
        case "multilabel":
            painted = np.zeros((*target.shape[1:], 3), np.uint8)
            for plane, color in zip(target, spec.colors, strict=True):
                painted[plane == VOID] = GRAY
                painted[plane == 1] = color
            return painted
        case "regression":
            return _paint_numbers(target[0])
        case _:
            colors = np.zeros((256, 3), np.uint8)
            colors[INCONSISTENT] = BLACK
            colors[VOID] = GRAY
            first = spec.first_index
            colors[first : first + len(spec.values)] = spec.colors
            shown: Bytes = colors[target[0]]
            return shown


def covered(target: npt.NDArray[Any], spec: TargetSpec) -> npt.NDArray[np.bool_]:
    """Return where a ``t h w`` target shows something (``h w``): not background, not void."""
    shown = np.isfinite(target) if spec.kind == "regression" else target != INCONSISTENT
    found: npt.NDArray[np.bool_] = shown.any(axis=0)
    return found


def ends_of_scale(spec: TargetSpec) -> tuple[str, str] | None:
    """Return what the darkest and the lightest color mean; None where colors stand for names."""
    if spec.kind != "regression":
        return None
    return f"{spec.low:.4g}", f"{spec.high:.4g} {spec.unit}".rstrip()


def scale_bar(height: int, width: int) -> Bytes:
    """Return the colors of numbers from low (left) to high (right), ``height width 3``."""
    return _paint_numbers(np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1)))


def colorize_objects(labels: npt.NDArray[Any]) -> Bytes:
    """Return an ``h w`` label image as ``h w 3``: neighbors in numbering differ in color."""
    colors = np.array((BLACK, *distinct_colors(40)), np.uint8)
    painted: Bytes = colors[np.where(labels > 0, (labels - 1) % 40 + 1, 0)]
    return painted


def _paint_numbers(numbers: npt.NDArray[Any]) -> Bytes:
    known = np.isfinite(numbers)
    places = np.clip(np.where(known, numbers, 0), 0, 1) * (len(_SCALE) - 1)
    below = np.minimum(places.astype(np.int64), len(_SCALE) - 2)
    share = (places - below)[..., None]
    mixed = _SCALE[below] * (1 - share) + _SCALE[below + 1] * share
    return np.where(known[..., None], np.rint(mixed), np.array(GRAY)).astype(np.uint8)


def areas_of(target: Target, spec: TargetSpec) -> dict[str, int]:
    """Return the pixels of each class or label of a ``t h w`` target by its name.

    A map of numbers has no areas: nothing is returned.
    """
    if spec.kind == "regression":
        return {}
    if spec.kind == "multilabel":
        planes = (target == 1).sum(axis=(1, 2)).tolist()
        return {name: planes[i] for i, name in enumerate(spec.names) if i != spec.position}
    counts = np.bincount(target.reshape(-1), minlength=256).tolist()
    return {name: counts[index + spec.first_index] for index, name in enumerate(spec.names)}


def counts_of(target: Target, spec: TargetSpec, *, rows: slice = WHOLE) -> dict[str, int]:
    """Return the cells of each label of a ``t h w`` target, where a plane marks their centers.

    Args:
        target: In inside numbering.
        spec: What it means.
        rows: Cells count whose centers lie in these rows.
    """
    if spec.position is None:
        return {}
    shown = (target == 1).astype(np.uint8)
    counts = count_cells(shown[list(spec.areas)], shown[spec.position], rows)
    return {spec.names[i]: int(n) for i, n in zip(spec.areas, counts, strict=True)}


def numbers_of(target: Target, spec: TargetSpec) -> dict[str, float]:
    """Return the mean, least and greatest number of a target in the user's unit.

    Nothing is returned for other kinds of targets, or where no pixel is known.
    """
    known = target[np.isfinite(target)] if spec.kind == "regression" else np.zeros(0)
    if not known.size:
        return {}
    numbers = known.astype(np.float64) * (spec.high - spec.low) + spec.low
    return {"mean": numbers.mean(), "least": numbers.min(), "greatest": numbers.max()}


def in_words(target: Target, spec: TargetSpec) -> str:
    """Return what a ``t h w`` target shows, in a few words."""
    if spec.kind == "regression":
        numbers = numbers_of(target, spec)
        if not numbers:
            return "nothing known"
        return f"{numbers['least']:.4g} to {numbers['greatest']:.4g} {spec.unit}".rstrip()
    names = [name for name, pixels in areas_of(target, spec).items() if pixels]
    return (", ".join(names) or "none") if len(names) <= 3 else f"{len(names)} classes"
