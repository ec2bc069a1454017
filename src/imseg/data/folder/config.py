"""What masks know a class by, and how users write it: a value, a color, or a label."""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args

from pydantic import AfterValidator, BaseModel, Field, PlainValidator, ValidationError

from imseg.data.files import atomic, listing
from imseg.errors import ImsegError, near_miss, raise_all, shown
from imseg.types import Color, Pages

Key = int | str
"""A mask value, a color as ``#rrggbb`` in lower case, or the name of a label's folder."""

_COLOR = re.compile("#[0-9a-fA-F]{6}")


def parse_key(text: str) -> Key:
    """Return what masks know a class by, from how it is written in ``[classes]`` or as a folder."""
    if re.fullmatch("[0-9]{1,18}", text):
        return int(text)
    return text.lower() if _COLOR.fullmatch(text) else listing.composed(text)


def is_color(key: Key | None) -> bool:
    """Return whether this is a color such as ``#00ff00``."""
    return isinstance(key, str) and _COLOR.fullmatch(key) is not None


def packed_color(key: str) -> int:
    """Return ``#rrggbb`` as a whole number: 65536 red + 256 green + blue."""
    return int(key[1:], 16)


def color_of(packed: int) -> Color:
    """Return red, green and blue of a packed color."""
    return packed >> 16, packed >> 8 & 255, packed & 255


def as_number(key: Key | None) -> int | None:
    """Return a mask value or a gray color as a number; None for everything else."""
    if isinstance(key, str) and is_color(key):
        red, green, blue = color_of(packed_color(key))
        return red if red == green == blue else None
    return key if isinstance(key, int) else None


def as_color(key: Key | None) -> int | None:
    """Return a color or a gray level as a packed color; None for everything else."""
    if isinstance(key, str):
        return packed_color(key) if is_color(key) else None
    return key * 0x010101 if key is not None and 0 <= key <= 255 else None


FILE_NAME = "imseg.toml"
"""Name of the settings file in a data folder."""

MAX_VALUE = 65535
"""Largest value of a class; predictions are written with at most 16 bits."""

LARGEST_PIXEL = 1e12
"""Most micrometers on a side of a pixel: a thousand kilometers, so that areas stay numbers."""

TaskWord = Literal["binary", "multiclass", "multilabel", "instances", "regression"]
"""The users' words for tasks; "instances" are objects, each with a number of its own."""

TASK_WORDS: tuple[TaskWord, ...] = get_args(TaskWord)
"""All of them."""

PAGE_WORDS = ("channels", "first", "max", "refuse")
"""What ``pages`` may be, beside the number of a plane."""

_LAST_PAGE = 65535
_FARTHEST_VOID = 2**31 - 1
_MOST_SHOWN = 100


def _as_void(entry: object) -> Key:
    if isinstance(entry, str) and is_color(entry):
        return entry.lower()
    if type(entry) is int and abs(entry) <= _FARTHEST_VOID:  # ``true`` is an int in Python only
        return entry
    raise ValueError("neither a number nor a color")


def _as_pages(entry: object) -> Pages:
    if entry in PAGE_WORDS or (type(entry) is int and 1 <= entry <= _LAST_PAGE):
        return cast("Pages", entry)
    raise ValueError("neither a word nor a number from 1")


def parse_pages(text: str) -> Pages:
    """Return what a text of the command line says about several pages in one file.

    Raises:
        ImsegError: If it is no word and no number that ``pages`` may be.
    """
    try:
        return _as_pages(int(text) if text.isdecimal() else text)
    except ValueError:
        raise ImsegError(
            f"--pages {text} means nothing.",
            expected=f"{', '.join(PAGE_WORDS)} or the number of a plane (1 is the first).",
            got=text,
            hint=f"--pages {near_miss(text.lower(), PAGE_WORDS) or 'max'}",
        ) from None


def _as_rgb(entry: object) -> Color:
    if isinstance(entry, str) and is_color(entry):
        return color_of(packed_color(entry))
    if isinstance(entry, list) and [type(part) for part in entry] == [int] * 3:
        red, green, blue = entry
        if 0 <= min(entry) <= max(entry) <= 255:
            return red, green, blue
    raise ValueError("no color")


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable")
    return text


_PixelSize = Annotated[float, Field(gt=0, le=LARGEST_PIXEL)]


class _Settings(BaseModel, extra="forbid", strict=True):
    """The entries of ``imseg.toml``."""

    task: TaskWord | None = None
    void: Annotated[Key | None, PlainValidator(_as_void)] = None
    pixel_size: _PixelSize | dict[str, _PixelSize] | None = None
    pages: Annotated[Pages, PlainValidator(_as_pages)] = "refuse"
    unit: Annotated[str, AfterValidator(_one_line)] = ""
    classes: dict[str, Any] = {}


class _Class(BaseModel, extra="forbid", strict=True):
    """What is said about a class."""

    name: Annotated[str, Field(pattern=r"\S"), AfterValidator(_one_line)] = ""
    color: Annotated[Color | None, PlainValidator(_as_rgb)] = None


_EXPECTED = {
    "task": "one of " + ", ".join(f'"{word}"' for word in TASK_WORDS),
    "void": 'a whole number, or a color "#rrggbb"',
    "pixel_size": "micrometers on a side of a pixel, above 0, such as 0.65; or a table of such"
    ' numbers by patterns of file names: [pixel_size], then "*_40x*" = 0.16',
    "pages": '"channels", "first", "max", the number of a plane (1 is the first) or "refuse"',
    "unit": 'a text of one line, such as "m"',
    "classes": 'a table: [classes], then 0 = "sky"',
    "name": "a text that is not empty",
    "color": '"#rrggbb" or [red, green, blue] with 0..255 each',
}
_WORDS = {"task": TASK_WORDS, "pages": PAGE_WORDS}
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderConfig:
    """What a user says about a data folder; nothing needs to be said."""

    task: TaskWord | None = None
    """What the masks are; None: recognized from them."""
    void: Key | None = None
    """The number or color of pixels that are never trained on nor scored."""
    names: Mapping[Key, str] = field(default_factory=dict)
    """Class names by what masks know the class by."""
    colors: Mapping[Key, Color] = field(default_factory=dict)
    """Colors of overlays (red, green, blue; 0..255) by what masks know the class by."""
    pixel_size: float | None = None
    """Side of a pixel in micrometers, of all images, whatever their files say."""
    pixel_sizes: Mapping[str, float] = field(default_factory=dict)
    """The same by patterns of file names, of which the first that matches counts."""
    pages: Pages = "refuse"
    """What several pages in one file are; a plane is chosen for masks too."""
    unit: str = ""
    """Unit of the numbers that a regression learns."""

    def pattern_of(self, name: str) -> str | None:
        """Return the first pattern of sizes of pixels that an image matches; None: there is none.

        Args:
            name: Of the image; folders before its file name do not count, nor do capitals.
        """
        plain = name.rpartition("/")[2].lower()
        return next((each for each in self.pixel_sizes if fnmatchcase(plain, each.lower())), None)

    def pixel_size_of(self, name: str) -> float | None:
        """Return the micrometers that are said for an image; None: nothing is said.

        Args:
            name: As in ``pattern_of``.
        """
        pattern = self.pattern_of(name)
        return self.pixel_size if pattern is None else self.pixel_sizes[pattern]

    @property
    def listed(self) -> tuple[Key, ...]:
        """What is listed under ``[classes]``; these are classes even if no mask has them."""
        numbers = sorted(key for key in {*self.names, *self.colors} if isinstance(key, int))
        return (*numbers, *dict.fromkeys(key for key in self.names if isinstance(key, str)))


def config_text(
    task: str,
    *,
    classes: Mapping[Any, tuple[str, Color]],
    void: int | None = None,
    pages: Pages = "refuse",
) -> str:
    """Return the text of an ``imseg.toml``.

    Args:
        task: What the masks are.
        classes: Name and color of each mask value, or of each label; empty: they are not listed.
        void: The mask value of pixels that do not count; None: there are none.
        pages: What several pages in one file are.
    """
    lines = [f'task = "{task}"']
    if void is not None:
        lines.append(f"void = {void}")
    if pages != "refuse":
        lines.append(f"pages = {json.dumps(pages)}")
    lines += ["", "[classes]"] * bool(classes)
    for key, (name, color) in classes.items():
        # JSON escapes quotes and backslashes as TOML does.
        bare = re.fullmatch("[A-Za-z0-9_-]+", str(key))
        plain = str(key) if bare else json.dumps(key, ensure_ascii=False)
        code = "#" + "".join(f"{part:02x}" for part in color)
        text = json.dumps(name, ensure_ascii=False)
        lines.append(f'{plain} = {{ name = {text}, color = "{code}" }}')
    return "\n".join(lines) + "\n"


def read_config(folder: Path) -> FolderConfig:
    """Return the settings of a data folder; without ``imseg.toml`` the defaults.

    Raises:
        ImsegError: If the file has problems; all of them at once.
    """
    path, text = folder / FILE_NAME, ""
    try:
        text = atomic.read_text(path)
        plain = tomllib.loads(text)
    except FileNotFoundError:
        if path.is_symlink():
            hint = "mend the link, or remove it."
            raise ImsegError(f"{path} is a link to nothing.", hint=hint) from None
        return FolderConfig()
    except OSError as error:
        got, hint = str(error.strerror or error), "mend its permissions, or remove it."
        raise ImsegError(f"{path} cannot be read.", got=got, hint=hint) from error
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, deep brackets
        hint = 'text stands in quotes, as in  0 = "sky"; see https://toml.io.'
        if comma := re.search(r"^\s*([\w-]+)\s*=\s*(\d+),(\d+)\s*(#.*)?$", text, re.MULTILINE):
            hint = "numbers have a decimal point: {} = {}.{}".format(*comma.groups()[:3])
        raise ImsegError(f"{path} is not valid TOML.", got=str(error), hint=hint) from error
    return parse_config(plain, str(path))


def parse_config(plain: Mapping[str, Any], source: str) -> FolderConfig:
    """Return the settings that parsed TOML holds.

    Args:
        plain: What the TOML reader returned.
        source: Where it comes from, for errors.

    Raises:
        ImsegError: If there are problems; all of them at once.
    """
    said, errors = _checked(_Settings, plain, source)
    names: dict[Key, str] = {}
    colors: dict[Key, Color] = {}
    for text, entry in said.classes.items():
        errors += _read_class(text, entry, source, names=names, colors=colors)
    errors += _mixed_keys(names, source)
    if said.void is not None and said.void in {*names, *colors}:
        errors.append(
            ImsegError(
                f"{source}: {said.void} is both void and a class.",
                expected="void pixels belong to no class.",
                hint=f"remove the line with void, or {said.void} from [classes].",
            )
        )
    raise_all(errors)
    plain = dict(said) | {"names": names, "colors": colors}
    del plain["classes"]
    if isinstance(said.pixel_size, dict):
        plain |= {"pixel_size": None, "pixel_sizes": said.pixel_size}
    return FolderConfig(**plain)


def _checked(
    model: type[_Model], plain: Mapping[str, Any], source: str, where: str = ""
) -> tuple[_Model, list[ImsegError]]:
    """Return the entries that are right, and errors about the others.

    Args:
        model: What entries there may be.
        plain: What the TOML reader returned.
        source: The file, for errors.
        where: The table that the entries are in, with a dot at its end.
    """
    try:
        return model.model_validate(plain), []
    except ValidationError as error:
        wrong = dict.fromkeys(str(each["loc"][0]) for each in error.errors(include_input=False))
    known = tuple(model.model_fields)
    errors = [
        _wrong(source, where + key, _EXPECTED[key], plain[key], _WORDS.get(key, ()))
        if key in known
        else _unknown_key(key, known, source, where=where)
        for key in wrong
    ]
    return model.model_validate({key: plain[key] for key in plain.keys() - wrong}), errors


def _read_class(
    text: str, entry: object, source: str, *, names: dict[Key, str], colors: dict[Key, Color]
) -> list[ImsegError]:
    """Add one line of ``[classes]`` to ``names`` and ``colors``; return its problems."""
    place, key = f"classes.{text}", parse_key(text)
    if isinstance(key, int) and key > MAX_VALUE:
        expected = f'a mask value (0..{MAX_VALUE}) before the equals sign, as in  3 = "road"'
        return [_wrong(source, place, expected, text)]
    if isinstance(entry, str):
        if isinstance(key, str) and isinstance(parse_key(entry), int):
            expected = f'a mask value before the equals sign, as in  {entry} = "{text}"'
            return [_wrong(source, place, expected, entry)]
        entry = {"name": entry}
    if not isinstance(entry, Mapping):
        expected = 'a name, or { name = "...", color = "#rrggbb" }'
        return [_wrong(source, place, expected, entry)]
    found, errors = _checked(_Class, entry, source, f"{place}.")
    if found.color is not None:
        colors[key] = found.color
    if "name" in entry and "name" not in found.model_fields_set:
        return errors
    name = found.name or (f"class {key}" if isinstance(key, int) else key)
    if key in names:
        errors.append(_wrong(source, place, f"each class once, but {key} is there twice", text))
    elif name in names.values():
        errors.append(
            ImsegError(
                f'{source}: two classes are called "{name}".',
                expected="a different name for each class.",
                hint="give one of them another name.",
            )
        )
    else:
        names[key] = name
    return errors


def _mixed_keys(keys: Iterable[Key], source: str) -> list[ImsegError]:
    """Return an error if some classes are numbers, and others colors or labels."""
    first: dict[str, Key] = {}
    for key in keys:
        kind = "mask values" if isinstance(key, int) else "colors" if is_color(key) else "labels"
        first.setdefault(kind, key)
    if len(first) < 2:
        return []
    mixed = ImsegError(
        f"{source}: [classes] mixes {' and '.join(first)}.",
        expected="mask values, or colors, or names of folders with one mask per label each.",
        got=" and ".join(shown(key) for key in first.values()) + ".",
        hint="keep those that the masks have.",
    )
    return [mixed]


def _unknown_key(key: str, known: tuple[str, ...], source: str, *, where: str = "") -> ImsegError:
    guess = near_miss(key, known)
    return ImsegError(
        f'{source}: unknown key "{where}{key}".',
        expected=", ".join(known) + ".",
        hint=f'did you mean "{guess}"?' if guess else f'remove "{shown(where + key)}".',
    )


def _wrong(
    source: str, key: str, expected: str, got: object, known: tuple[str, ...] = ()
) -> ImsegError:
    guess = near_miss(got, known) if isinstance(got, str) else None
    return ImsegError(
        f'{source}: "{key}" is wrong.',
        expected=expected + ".",
        got=f"{_in_short(got)}.",
        hint=f'did you mean "{guess}"?' if guess else "mend it, or remove the line.",
    )


def _in_short(value: object) -> str:
    """Return a value as it may be shown; TOML knows whole numbers too long to be written here."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]} ..."
