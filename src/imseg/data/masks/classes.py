"""What ``imseg.toml`` lists, put into the values or colors that the masks have."""

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from imseg.data.folder.config import FILE_NAME, MAX_VALUE, FolderConfig, Key, TaskWord, color_of
from imseg.data.masks.colors import BLACK, fill_colors
from imseg.data.masks.io import as_value, value_text
from imseg.errors import ImsegError, and_more
from imseg.types import MAX_CLASSES, Coding, Color, Kind, TargetSpec

_Meaning = TypeVar("_Meaning")
_ANY = 2**31
_NOT_BACKGROUND = f"a whole number below 0, or from 1 to {MAX_VALUE}; 0 is background."
_VOIDS: Mapping[Coding, tuple[int, int, str]] = {
    "values": (-_ANY, MAX_VALUE, f"a whole number from 0 to {MAX_VALUE}, or below 0."),
    "colors": (0, _ANY, 'a color, such as "#ffffff".'),
    "planes": (-_ANY, MAX_VALUE, _NOT_BACKGROUND),
    "objects": (-_ANY, MAX_VALUE, _NOT_BACKGROUND),
    "numbers": (-_ANY, _ANY, "a whole number."),
}
"""The least and the greatest value of void by coding, and both in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What ``imseg.toml`` says about classes, by mask value or packed color."""

    names: Mapping[int, str] = field(default_factory=dict)
    """Names by value."""
    colors: Mapping[int, Color] = field(default_factory=dict)
    """Colors of overlays by value."""
    void: int | None = None
    """The value of void."""


def listed_values(config: FolderConfig, coding: Coding) -> Listed:
    """Return what is listed, as masks of values or of colors know it.

    Raises:
        ImsegError: If something listed cannot be in such masks.
    """
    holds = "colors" if coding == "colors" else "whole numbers"
    example = '"#00ff00" = "plant"' if coding == "colors" else '1 = "cell"'
    if strange := [key for key in config.listed if as_value(key, coding) is None]:
        raise ImsegError(
            f"{FILE_NAME} lists classes that the masks cannot have: they hold {holds}.",
            expected=f"lines such as  {example}.",
            got=and_more([f'"{key}"' for key in strange]) + ".",
            hint=f"list what the masks hold under [classes] in {FILE_NAME}.",
        )
    return Listed(
        names=dict(_by_value(config.names, coding)),
        colors=dict(_by_value(config.colors, coding)),
        void=void_value(config.void, coding),
    )


def _by_value(by_key: Mapping[Key, _Meaning], coding: Coding) -> Iterator[tuple[int, _Meaning]]:
    for key, meaning in by_key.items():
        if (value := as_value(key, coding)) is not None:
            yield value, meaning


def void_value(void: Key | None, coding: Coding) -> int | None:
    """Return the void value or color as masks of a coding know it.

    Raises:
        ImsegError: If such masks cannot have it.
    """
    if void is None:
        return None
    value = as_value(void, coding)
    least, greatest, expected = _VOIDS[coding]
    background = value == 0 and coding in ("planes", "objects")
    if value is None or background or not least <= value <= greatest:
        raise ImsegError(
            "void does not fit the masks.",
            expected=expected,
            got=f"{void}.",
            hint=f"set void (in {FILE_NAME}) to what undecided pixels have, or leave it out.",
        )
    return value


MINUS_ONE = "if -1 marks undecided pixels, say so: void = -1 (in imseg.toml, or in the call)."
"""What to try where masks hold -1."""

_BELOW_ZERO = {
    -1: MINUS_ONE,
    2**32 - 1: "4294967295 is -1 saved without a sign: save the masks with signed numbers, and set "
    "void = -1 (in imseg.toml, or in the call) if it marks undecided pixels.",
}

MAX_DISTINCT = 64
"""More different values than this in a set of masks, beside those that ``imseg.toml`` lists, are
taken for a mistake."""

_SMEARED = 8  # with fewer values, those between 0 and 255 may well be classes
_MAIN = 0.01
_ALIKE = 24  # palettes whose colors differ by less are gray ramps, not meant to be looked at
_BACKGROUND = "background"


def find_spec(
    values: Mapping[int, int],
    *,
    task: TaskWord | None,
    config: FolderConfig,
    palette: Mapping[int, Color] | None = None,
    distinct: int = 0,
) -> TargetSpec:
    """Return what the values of a set of class masks mean.

    Two values (void aside) are background (the lower) and foreground; more are one class each.
    Values that ``config`` lists are classes even if no mask has them.

    Args:
        values: How many pixels have each value, over all labeled masks.
        task: Overrides what ``config`` says and what would be recognized.
        config: Class names, colors and the void value, where the user gives them.
        palette: The color of each value, if the masks are indexed files.
        distinct: Most different values in one mask, of which ``values`` may hold only the most
            frequent.

    Raises:
        ImsegError: If the values do not look like classes, or do not fit the task.
    """
    listed = listed_values(config, "values")
    found = {value: count for value, count in values.items() if value != listed.void}
    if len(found.keys() - listed.names.keys() - listed.colors.keys()) > MAX_DISTINCT:
        raise _too_many_values(found, distinct)
    classes = tuple(sorted({*found, *listed.names, *listed.colors}))
    if classes and not 0 <= classes[0] <= classes[-1] <= MAX_VALUE:
        raise ImsegError(
            "The labeled masks hold values that cannot be class values.",
            expected=f"whole numbers from 0 to {MAX_VALUE}.",
            got=f"{classes[0]} to {classes[-1]}.",
            hint=_BELOW_ZERO.get(
                classes[0] if classes[0] < 0 else classes[-1],
                "save the masks as 8-bit PNG with one small number per class.",
            ),
        )
    kind = _kind_of(classes, found, task or config.task, coding="values")
    return _build_spec(kind, classes, listed, config, coding="values", palette=palette)


def find_color_spec(
    colors: Mapping[int, int], *, task: TaskWord | None, config: FolderConfig, distinct: int = 0
) -> TargetSpec:
    """Return what the colors of a set of class masks mean.

    Two colors (void aside) are background and foreground; more are one class each. Background is
    the color that ``config`` calls "background", else black, else the more frequent one. Colors
    that ``config`` lists are classes even if no mask has them.

    Args:
        colors: How many pixels have each packed color, over all labeled masks.
        task: Overrides what ``config`` says and what would be recognized.
        config: Class names and the void color, where the user gives them.
        distinct: Most different colors in one mask, of which ``colors`` may hold only the most
            frequent.

    Raises:
        ImsegError: If there are too many colors, or they do not fit the task.
    """
    listed = listed_values(config, "colors")
    if numbers := numbers_not_held(config, colors):
        raise ImsegError(
            f"{FILE_NAME} lists numbers, the masks hold colors.",
            expected='colors, such as  "#800000" = "plant"  under [classes], or  void = "#ffffff".',
            got=f"{and_more([str(key) for key in numbers], most=8)}; the masks hold "
            f"{and_more(_main_texts(colors), most=12) or 'no color on 1 % of the pixels'}.",
            hint="write the color that each number has in the palette of the program that made "
            "the masks. imseg check DATA --fix DIR does so where some masks still have it.",
        )
    found = {color: count for color, count in colors.items() if color != listed.void}
    if beyond := [color for color in found if color >= 1 << 24]:
        raise ImsegError(
            "Some labeled masks hold colors, others gray values above 255.",
            expected="colors, or gray values from 0 to 255.",
            got=f"{max(beyond) - (1 << 24)} is the greatest value.",
            hint="save all masks in the same way.",
        )
    if len(found.keys() - listed.names.keys() - listed.colors.keys()) > MAX_DISTINCT:
        raise _too_many_colors(found, distinct)
    classes = tuple(sorted({*found, *listed.names, *listed.colors}))
    kind = _kind_of(classes, found, task or config.task, coding="colors")
    if kind == "binary":
        names = {name.lower(): color for color, name in listed.names.items()}
        frequent = max(classes, key=lambda color: found.get(color, 0))
        background = names.get(_BACKGROUND, 0 if 0 in classes else frequent)
        classes = (background, next(color for color in classes if color != background))
    return _build_spec(kind, classes, listed, config, coding="colors")


def numbers_not_held(config: FolderConfig, colors: Mapping[int, int]) -> list[int]:
    """Return the numbers above 0 that a user lists, void among them, but masks of colors lack.

    A number means a gray level there. One next to a color that is ten times as frequent is what
    JPEG made of that color.

    Args:
        config: What the user says.
        colors: How many pixels have each packed color.
    """
    numbers = [key for key in (*config.listed, config.void) if isinstance(key, int) and key > 0]
    lacking = []
    for number in numbers:
        gray = as_value(number, "colors")
        pixels = 0 if gray is None else colors.get(gray, 0)
        if not pixels or any(
            10 * pixels < more and _differ(color_of(color), (number,) * 3) <= _ALIKE
            for color, more in colors.items()
        ):
            lacking.append(number)
    return lacking


def _differ(one: Color, other: Color) -> int:
    """Return the largest difference of a channel, 0..255."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def _kind_of(
    classes: tuple[int, ...], found: Mapping[int, int], task: TaskWord | None, *, coding: Coding
) -> Kind:
    """Return whether classes are binary or multiclass.

    Raises:
        ImsegError: If there are too few or too many of them.
    """
    if len(found) < 2:
        only = "no pixel that is not void"
        if found:
            only = f"only {value_text(next(iter(found)), coding)}"
        raise ImsegError(
            "The labeled masks show one class only, so there is nothing to learn.",
            expected="at least two different values, such as 0 (background) and 255 (foreground).",
            got=f"{only}, in all labeled masks.",
            hint="label images on which something is marked.",
        )
    kind: Kind = "binary" if len(classes) == 2 else "multiclass"
    if task in ("binary", "multiclass"):
        kind = task
    if kind == "binary" and len(classes) != 2:
        raise _not_binary(classes, found, coding)
    if len(classes) > MAX_CLASSES:
        raise ImsegError(
            f"{FILE_NAME} and the masks together name {len(classes)} classes.",
            expected=f"at most {MAX_CLASSES}.",
            hint="merge classes.",
        )
    return kind


def _build_spec(
    kind: Kind,
    classes: tuple[int, ...],
    listed: Listed,
    config: FolderConfig,
    *,
    coding: Coding,
    palette: Mapping[int, Color] | None = None,
) -> TargetSpec:
    shown: Mapping[int, Color] = {}
    if coding == "colors":
        names = [value_text(color, coding) for color in classes]
        shown = {color: color_of(color) for color in classes}
    else:
        names = [f"class {value}" for value in classes]
        if palette and _can_be_told_apart(palette, classes):
            shown = palette
        elif kind == "binary":
            shown = {classes[0]: BLACK}
    if kind == "binary":
        names = [_BACKGROUND, "foreground"]
    return TargetSpec(
        kind=kind,
        coding=coding,
        values=classes,
        names=tuple(
            listed.names.get(value, name) for value, name in zip(classes, names, strict=True)
        ),
        colors=fill_colors(classes, {**shown, **listed.colors}),
        void=listed.void,
        pixel_size=config.pixel_size,
        indexed=palette is not None,
    )


def _can_be_told_apart(palette: Mapping[int, Color], classes: Collection[int]) -> bool:
    """Return whether a palette has a color for each class, other than shades next to each other."""
    known = [palette[value] for value in classes if value in palette]
    return len(known) == len(classes) and all(
        _differ(one, other) >= _ALIKE for one, other in itertools.combinations(known, 2)
    )


def _not_binary(classes: tuple[int, ...], found: Mapping[int, int], coding: Coding) -> ImsegError:
    hint = "drop the task to learn one class per value"
    if coding == "values" and _is_smeared(found):
        hint = "the masks look smeared; save them as PNG, not JPEG, and threshold them at half"
    elif len(classes) == 3:
        void = f'"{value_text(classes[-1], coding)}"' if coding == "colors" else classes[-1]
        hint += f", or set void = {void} in {FILE_NAME} if that marks undecided pixels"
    return ImsegError(
        "The task is binary, but the masks hold more than two values.",
        expected="two values: background and foreground.",
        got=and_more([value_text(value, coding) for value in classes], most=8) + ".",
        hint=hint + ".",
    )


def _too_many_values(found: Mapping[int, int], distinct: int) -> ImsegError:
    """Return an error that guesses from the values what was taken for class masks."""
    lowest, highest = min(found), max(found)
    guess = "these may be measurements, such as depth, or numbers of objects"
    hint = (
        f'task = "regression" in {FILE_NAME} if they are measurements, "instances" if each object '
        "has a number of its own; else save one small number per class as 8-bit PNG"
    )
    if highest <= 255 and _is_smeared(found):
        guess = "nearly all are 0 or 255, so JPEG or smooth resizing smeared the masks"
        hint = (
            "save masks as PNG, resize them with nearest neighbor; those of two values can "
            "be thresholded at half (imseg check DATA --fix DIR does so where it is certain)"
        )
    return ImsegError(
        f"The labeled masks hold {_at_least(found, distinct)} different values.",
        expected=f"at most {MAX_DISTINCT}, one for each class.",
        got=f"values from {lowest} to {highest}; {guess}.",
        hint=hint + ".",
    )


def _too_many_colors(found: Mapping[int, int], distinct: int) -> ImsegError:
    main = _main_texts(found)
    got = f"mainly {and_more(main, most=12)}" if main else "none of them on 1 % of the pixels"
    hint = "save masks as PNG, without smooth edges"
    if main:
        hint = "imseg check DATA --fix DIR writes a copy in which every color is one of the main"
    return ImsegError(
        f"The labeled masks hold {_at_least(found, distinct)} different colors"
        + (", most of them impure." if main else "."),
        expected=f"at most {MAX_DISTINCT}, one for each class.",
        got=got + ".",
        hint=hint + ".",
    )


def _main_texts(found: Mapping[int, int]) -> list[str]:
    """Return the colors on at least 1 % of the pixels, in words, the most frequent first."""
    total = sum(found.values())
    frequent = sorted(found, key=lambda color: (-found[color], color))
    return [
        f"{value_text(color, 'colors')} ({found[color] / total:.0%})"
        for color in frequent
        if found[color] >= _MAIN * total
    ]


def _at_least(found: Mapping[int, int], distinct: int) -> str:
    return f"{distinct} or more" if distinct > len(found) else str(len(found))


def _is_smeared(found: Mapping[int, int]) -> bool:
    # JPEG moves flat areas by a few gray levels as well.
    dark = sum(count for value, count in found.items() if value <= 16)
    bright = sum(count for value, count in found.items() if value >= 239)
    both = min(dark, bright) > 0.001 * sum(found.values())
    return len(found) > _SMEARED and both and dark + bright > 0.9 * sum(found.values())
