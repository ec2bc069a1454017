"""``imseg.toml`` of a data folder: what the mask values mean, where the masks cannot say it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from imseg.errors import ImsegError, near_miss, raise_all
from imseg.types import Kind

FILE_NAME = "imseg.toml"
"""Name of the settings file in a data folder."""

MAX_VALUE = 65535
"""Largest mask value; predictions are written with at most 16 bits."""

_KEYS = ("task", "void", "classes")
_CLASS_KEYS = ("name", "color")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderConfig:
    """What a user says about the masks of a data folder; nothing needs to be said."""

    task: Kind | None = None
    """What a pixel is; None: recognized from the masks."""
    void: int | None = None
    """The mask value of pixels that are never trained on nor scored."""
    names: Mapping[int, str] = field(default_factory=dict)
    """Class names by mask value."""
    colors: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)
    """Colors (red, green, blue; 0..255) by mask value."""

    @property
    def values(self) -> tuple[int, ...]:
        """The mask values that are listed, ascending; they are classes even if no mask has them."""
        return tuple(sorted({*self.names, *self.colors}))


def read_config(folder: Path) -> FolderConfig:
    """Return the settings of a data folder; without ``imseg.toml`` the defaults.

    Raises:
        ImsegError: If the file has problems; all of them at once.
    """
    path = folder / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return FolderConfig()
    except (OSError, UnicodeDecodeError) as error:
        raise ImsegError(f"{path} cannot be read.", got=str(error)) from error
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ImsegError(
            f"{path} is not valid TOML.",
            got=str(error),
            hint='text stands in quotes, as in  0 = "sky"; see https://toml.io.',
        ) from error
    return parse_config(plain, str(path))


def parse_config(plain: Mapping[str, Any], source: str) -> FolderConfig:
    """Return the settings that parsed TOML holds.

    Args:
        plain: What the TOML reader returned.
        source: Where it comes from, for errors.

    Raises:
        ImsegError: If there are problems; all of them at once.
    """
    errors = [_unknown_key(key, _KEYS, source) for key in plain if key not in _KEYS]
    task = plain.get("task")
    if task is not None and task not in get_args(Kind):
        errors.append(_wrong(source, "task", '"binary" or "multiclass"', task, get_args(Kind)))
    void = plain.get("void")
    if void is not None and not _is_value(void):
        errors.append(_wrong(source, "void", f"a mask value, 0..{MAX_VALUE}", void))
    classes = plain.get("classes", {})
    names: dict[int, str] = {}
    colors: dict[int, tuple[int, int, int]] = {}
    if isinstance(classes, Mapping):
        for key, entry in classes.items():
            errors += _read_class(key, entry, source, names=names, colors=colors)
    else:
        errors.append(_wrong(source, "classes", 'a table: [classes], then 0 = "sky"', classes))
    if _is_value(void) and void in {*names, *colors}:
        errors.append(
            ImsegError(
                f"{source}: value {void} is both void and a class.",
                expected="void pixels belong to no class.",
                hint=f"remove void = {void}, or {void} from [classes].",
            )
        )
    raise_all(errors)
    return FolderConfig(task=task, void=void, names=names, colors=colors)


def _read_class(
    key: str,
    entry: object,
    source: str,
    *,
    names: dict[int, str],
    colors: dict[int, tuple[int, int, int]],
) -> list[ImsegError]:
    """Add one line of ``[classes]`` to ``names`` and ``colors``; return its problems."""
    place = f"classes.{key}"
    if not re.fullmatch("[0-9]+", key) or int(key) > MAX_VALUE:
        expected = f'a mask value (0..{MAX_VALUE}) before the equals sign, as in  3 = "road"'
        return [_wrong(source, place, expected, key)]
    value = int(key)
    if isinstance(entry, str):
        entry = {"name": entry}
    if not isinstance(entry, Mapping):
        expected = 'a name, or { name = "...", color = "#rrggbb" }'
        return [_wrong(source, place, expected, entry)]
    errors = [
        _unknown_key(inner, _CLASS_KEYS, source, where=place + ".")
        for inner in entry
        if inner not in _CLASS_KEYS
    ]
    name = entry.get("name", f"class {value}")
    if not isinstance(name, str) or not name.strip():
        errors.append(_wrong(source, f"{place}.name", "a text that is not empty", name))
    elif name in names.values():
        errors.append(
            ImsegError(
                f'{source}: two classes are called "{name}".',
                expected="a different name for each value.",
                hint="give one of them another name.",
            )
        )
    elif value in names:
        errors.append(_wrong(source, place, f"each value once, but {value} is there twice", key))
    else:
        names[value] = name
    if "color" in entry:
        color = _parse_color(entry["color"])
        if color is None:
            expected = '"#rrggbb" or [red, green, blue] with 0..255 each'
            errors.append(_wrong(source, f"{place}.color", expected, entry["color"]))
        else:
            colors[value] = color
    return errors


def _parse_color(entry: object) -> tuple[int, int, int] | None:
    if isinstance(entry, str) and re.fullmatch("#[0-9a-fA-F]{6}", entry):
        red, green, blue = bytes.fromhex(entry[1:])
        return red, green, blue
    whole = isinstance(entry, list) and len(entry) == 3 and all(type(part) is int for part in entry)
    if isinstance(entry, list) and whole and all(0 <= part <= 255 for part in entry):
        return entry[0], entry[1], entry[2]
    return None


def _is_value(entry: object) -> bool:
    """Return whether this is a mask value (``true`` is an int in Python, but none here)."""
    return type(entry) is int and 0 <= entry <= MAX_VALUE


def _unknown_key(key: str, known: tuple[str, ...], source: str, *, where: str = "") -> ImsegError:
    guess = near_miss(key, known)
    return ImsegError(
        f'{source}: unknown key "{where}{key}".',
        expected=", ".join(known) + ".",
        hint=f'did you mean "{guess}"?' if guess else f'remove "{where}{key}".',
    )


def _wrong(
    source: str, key: str, expected: str, got: object, known: tuple[str, ...] = ()
) -> ImsegError:
    guess = near_miss(got, known) if isinstance(got, str) else None
    return ImsegError(
        f'{source}: "{key}" is wrong.',
        expected=expected + ".",
        got=f"{got!r}.",
        hint=f'did you mean "{guess}"?' if guess else None,
    )
