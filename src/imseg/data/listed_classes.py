"""What ``imseg.toml`` lists, put into the values or colors that the masks have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from imseg.data.class_keys import Key, as_color, as_number
from imseg.data.config import FILE_NAME, MAX_VALUE, FolderConfig
from imseg.errors import ImsegError, and_more
from imseg.types import Coding, Color

_Meaning = TypeVar("_Meaning")
_ANY = 2**31


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
    convert = as_color if coding == "colors" else as_number
    holds = "colors" if coding == "colors" else "whole numbers"
    example = '"#00ff00" = "plant"' if coding == "colors" else '1 = "cell"'
    strange = [key for key in config.listed if convert(key) is None]
    if strange:
        raise ImsegError(
            f"{FILE_NAME} lists classes that the masks cannot have: they hold {holds}.",
            expected=f"lines such as  {example}.",
            got=and_more([f'"{key}"' for key in strange]) + ".",
            hint=f"list what the masks hold under [classes] in {FILE_NAME}.",
        )
    return Listed(
        names=_converted(config.names, convert),
        colors=_converted(config.colors, convert),
        void=void_value(config.void, coding),
    )


def void_value(void: Key | None, coding: Coding) -> int | None:
    """Return the void value or color as masks of a coding know it.

    Raises:
        ImsegError: If such masks cannot have it.
    """
    if void is None:
        return None
    value = as_color(void) if coding == "colors" else as_number(void)
    least, expected = 0, f"a whole number from 0 to {MAX_VALUE}."
    match coding:
        case "colors":
            expected = 'a color, such as "#ffffff".'
        case "numbers":
            least, expected = -_ANY, "a whole number."
        case "planes" | "objects":
            least, expected = 1, f"a whole number from 1 to {MAX_VALUE}; 0 is background."
    greatest = MAX_VALUE if coding not in ("numbers", "colors") else _ANY
    if value is None or not least <= value <= greatest:
        raise ImsegError(
            "void does not fit the masks.",
            expected=expected,
            got=f"{void}.",
            hint=f"set void (in {FILE_NAME}) to what undecided pixels have, or leave it out.",
        )
    return value


def _converted(
    by_key: Mapping[Key, _Meaning], convert: Callable[[Key], int | None]
) -> dict[int, _Meaning]:
    found = {convert(key): meaning for key, meaning in by_key.items()}
    return {value: meaning for value, meaning in found.items() if value is not None}
