"""Sealed files: JSON and TOML with a checksum of their own content, checked when they are read.

A sealed file has two more entries, ``written_by`` and ``sha256``. Files with neither are from
before there were seals and are read as they are; no flipped byte makes a file look like that.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomli_w

from imseg.data.whole_files import write_whole
from imseg.errors import ImsegError

FORMAT = "imseg, format 1"
"""Raised when the same content is written in another way."""
WRITER = "written_by"
CHECKSUM = "sha256"
_UNFINISHED = "check the folder's name; an unfinished run is continued by its train command."


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write sealed, indented JSON as one whole file.

    Raises:
        ImsegError: If it cannot be written.
    """
    plain = json.loads(json.dumps(content))
    write_whole(path, json.dumps(_sealed(plain), indent=1).encode() + b"\n")


def write_toml(path: Path, content: Mapping[str, Any]) -> None:
    """Write sealed TOML as one whole file.

    Raises:
        ImsegError: If it cannot be written.
    """
    plain = tomllib.loads(tomli_w.dumps(content))
    write_whole(path, tomli_w.dumps(_sealed(plain)).encode())


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


def _read(path: Path, parse: Callable[[str], Any], expected: str) -> dict[str, Any]:
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImsegError(
            f"{path} is missing.",
            expected="the folder of a run, as `imseg train --out` makes it.",
            hint=_UNFINISHED,
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ImsegError(f"{path} cannot be read.", expected=expected, got=str(error)) from error
    if not isinstance(content, dict):
        raise ImsegError(f"{path} cannot be read.", expected=expected, got="no table of values.")
    writer, checksum = WRITER in content, content.pop(CHECKSUM, None)
    if (writer or checksum is not None) and checksum != _checksum(content):
        raise ImsegError(
            f"{path} is damaged: its content does not have the checksum it was written with.",
            expected=expected,
            hint="repeat the command that made it; only what is damaged is made again.",
        )
    content.pop(WRITER, None)
    return content


def _sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Return plain values with their seal; the checksum is of all else that a reader will parse."""
    named = {WRITER: FORMAT, **content}
    return {CHECKSUM: _checksum(named), **named}


def _checksum(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
