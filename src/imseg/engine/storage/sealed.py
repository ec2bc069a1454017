"""Sealed files: JSON and TOML with a checksum of all their bytes, checked when they are read.

A sealed file begins with two entries of its own: ``written_by``, the version of imseg and of its
files, and ``checksum``. Files of another version are refused.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from imseg.data.files.atomic import read_bounded, write_whole
from imseg.errors import ImsegError
from imseg.types import VERSION

FORMAT = 2
"""Raised when the same content is written in another way: other files are not read then."""
WRITER = "written_by"
CHECKSUM = "checksum"
_WRITTEN_BY = f"imseg {VERSION}, format {FORMAT}"
_BLANK = "0" * 64
# The first one in a file: nothing of the content can stand before it.
_SEAL = re.compile(rb'"?checksum"?(?:: | = )"([0-9a-f]{64})"')
_SHOWN = 5


class OtherVersion(ImsegError):
    """A file that an earlier or later version of imseg wrote."""


class StrictModel(BaseModel):
    """Values of exactly these types, all of them and no others."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, ser_json_inf_nan="constants"
    )

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Return what plain values, as JSON has them, stand for.

        Raises:
            ValueError: If they are not of this form.
        """
        return cls.model_validate_json(json.dumps(content, default=str))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return self.model_dump(mode="json")


class SealedFile(StrictModel):
    """The content of a sealed file, JSON or TOML by its name: written and checked by one model."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the content of a file.

        Raises:
            ImsegError: If it is missing, damaged, or holds anything else; all problems at once.
        """
        try:
            return cls.of(read_sealed(path))
        except ValueError as error:
            raise unlike(path, in_words(error)) from error

    def write(self, path: Path) -> None:
        """Write the file, whole.

        Raises:
            ImsegError: If it cannot be written.
        """
        write_sealed(path, self.as_dict())


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write sealed TOML or indented JSON, by the name of the file, as one whole file.

    Raises:
        ImsegError: If it cannot be written.
    """
    whole = {WRITER: _WRITTEN_BY, CHECKSUM: _BLANK, **content}
    toml = path.suffix == ".toml"
    text = tomli_w.dumps(whole) if toml else json.dumps(whole, indent=1) + "\n"
    write_whole(path, _sealed(text.encode()))


def read_sealed(path: Path) -> dict[str, Any]:
    """Return the content of a file that ``write_sealed`` wrote, without its seal.

    Raises:
        OtherVersion: If another version of imseg wrote it.
        ImsegError: If it is missing or damaged.
    """
    toml = path.suffix == ".toml"
    expected = f"whole {'TOML' if toml else 'JSON'}, as imseg wrote it."
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
        content = (tomllib.loads if toml else json.loads)(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, expected, str(error)) from error
    if not isinstance(content, dict):
        raise _unreadable(path, expected, "no table of values.")
    writer = content.pop(WRITER, None)
    if seal is None or writer is None or content.pop(CHECKSUM, None) is None:
        raise _damaged(path, expected)
    if not str(writer).endswith(f", format {FORMAT}"):
        raise OtherVersion(
            f"{path} was written by another version of imseg.",
            expected=f"{_WRITTEN_BY}.",
            got=f"{writer}.",
            hint="use the version that wrote it, or train again into another folder with --out.",
        )
    return content


def in_words(error: Exception) -> str:
    """Return what is wrong with the content of a file: the first problems, with their places."""
    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {error}."
    found = error.errors()
    told = [f"{'.'.join(map(str, each['loc'])) or 'all'}: {each['msg']}" for each in found[:_SHOWN]]
    more = f" (and {len(found) - _SHOWN} more)" if len(found) > _SHOWN else ""
    return "; ".join(told) + more + "."


def unlike(path: Path, wrong: str) -> ImsegError:
    """Return the error about a whole file that does not hold what it must."""
    return ImsegError(
        f"{path} does not hold what it must.",
        expected="a file of a run, as imseg writes it.",
        got=wrong,
        hint="copy the run again, or repeat its train command; do not trust it if it is not yours.",
    )


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
