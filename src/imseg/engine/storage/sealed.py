"""Sealed files: JSON and TOML with a checksum of all their bytes, checked when they are read.

A sealed file begins with two entries of its own, ``written_by`` and ``checksum``. Files with
neither are from before there were seals and are read as they are; no flipped byte makes a file look
like that.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from imseg.data.files.atomic import read_bounded, write_whole
from imseg.errors import ImsegError

FORMAT = "imseg, format 1"
"""Raised when the same content is written in another way."""
WRITER = "written_by"
CHECKSUM = "checksum"
_BLANK = "0" * 64
# The first one in a file: nothing of the content can stand before it.
_SEAL = re.compile(rb'"?checksum"?(?:: | = )"([0-9a-f]{64})"')


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write sealed, indented JSON as one whole file.

    Raises:
        ImsegError: If it cannot be written.
    """
    text = json.dumps({WRITER: FORMAT, CHECKSUM: _BLANK, **content}, indent=1)
    write_whole(path, _sealed(text.encode() + b"\n"))


def write_toml(path: Path, content: Mapping[str, Any]) -> None:
    """Write sealed TOML as one whole file.

    Raises:
        ImsegError: If it cannot be written.
    """
    text = tomli_w.dumps({WRITER: FORMAT, CHECKSUM: _BLANK, **content})
    write_whole(path, _sealed(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file that ``write_json`` wrote, without its seal.

    Raises:
        ImsegError: If it is missing or damaged.
    """
    return _read(path, json.loads, "whole JSON, as imseg wrote it.")


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file that ``write_toml`` wrote, without its seal.

    Raises:
        ImsegError: If it is missing or damaged.
    """
    return _read(path, tomllib.loads, "whole TOML, as imseg wrote it.")


def is_sealed(path: Path) -> bool:
    """Return whether a file has a checksum; early versions wrote none."""
    return _SEAL.search(read_bounded(path)) is not None


def _read(path: Path, parse: Callable[[str], Any], expected: str) -> dict[str, Any]:
    try:
        raw = read_bounded(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImsegError(
            f"{path} is missing.",
            expected="the folder of a run, as `imseg train --out` makes it.",
            hint="check the folder's name; an unfinished run is continued by its train command.",
        ) from error
    except OSError as error:
        raise _unreadable(path, expected, str(error.strerror or error)) from error
    seal = _SEAL.search(raw)
    if seal is not None and _sealed(raw) != raw:
        raise _damaged(path, expected)
    try:
        content = parse(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, expected, str(error)) from error
    if not isinstance(content, dict):
        raise _unreadable(path, expected, "no table of values.")
    if seal is None and (WRITER in content or CHECKSUM in content):
        raise _damaged(path, expected)
    return {name: value for name, value in content.items() if name not in (WRITER, CHECKSUM)}


def _sealed(raw: bytes) -> bytes:
    """Return the bytes of a file with the checksum that they have while it is blank."""
    seal = _SEAL.search(raw)
    if seal is None:
        raise ValueError("there is no place for a checksum")
    before, after = raw[: seal.start(1)], raw[seal.end(1) :]
    checksum = hashlib.sha256(before + _BLANK.encode() + after).hexdigest()
    return before + checksum.encode() + after


def _unreadable(path: Path, expected: str, why: str) -> ImsegError:
    return ImsegError(f"{path} cannot be read.", expected=expected, got=why)


def _damaged(path: Path, expected: str) -> ImsegError:
    return ImsegError(
        f"{path} is damaged: it does not have the checksum it was written with.",
        expected=expected,
        hint="repeat the command that made it; only what is damaged is made again.",
    )
