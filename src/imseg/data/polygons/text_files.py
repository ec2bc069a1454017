"""Files of annotations as text: UTF-8, UTF-16, or the code page of the computer that wrote them."""

import json
from pathlib import Path
from typing import Any

from imseg.data.files.atomic import read_bounded
from imseg.errors import ImsegError

MOST_BYTES = 2 << 30
"""Bytes that a file of annotations may have; those of all of COCO have a quarter of it."""

_CODE_PAGES = ("gb18030", "cp932", "big5", "euc_kr", "cp1251", "cp1252", "cp1250")
"""Encodings that are suggested: Chinese, Japanese, Korean, Cyrillic, West and Central European."""
_SHOWN = 12  # characters of a text in another encoding


def read_text(path: Path, encoding: str | None = None) -> str:
    """Return the text of a file of annotations.

    Args:
        path: The file. UTF-8 and UTF-16, also with a byte order mark, are recognized.
        encoding: The encoding of a file that has none of these, such as ``gb18030``.

    Raises:
        ImsegError: If it cannot be read, or has another encoding.
    """
    try:
        content = read_bounded(path, MOST_BYTES)
    except OSError as error:
        raise ImsegError(f"{path} cannot be read.", got=f"{error.strerror or error}.") from error
    return decode(content, path, encoding)


def decode(content: bytes, path: Path, encoding: str | None = None) -> str:
    """Return the text that bytes of a file stand for; see ``read_text``."""
    try:
        return content.decode(json.detect_encoding(content), "surrogatepass")
    except UnicodeDecodeError as error:
        place = error.start
    try:
        if encoding is not None:
            return content.decode(encoding)
    except LookupError:
        raise ImsegError(
            f"There is no encoding named {encoding!r}.",
            expected=f"one that Python knows, such as {', '.join(_CODE_PAGES)}.",
            hint="check the word after --encoding.",
        ) from None
    except UnicodeDecodeError:
        pass
    readings = _readings(content, place)
    likely = next(iter(readings), "gb18030")
    read_as = [f"{name} reads {text!r}" for name, text in readings.items()]
    raise ImsegError(
        f"{path} is not UTF-8" + (f", and not {encoding}." if encoding else "."),
        expected="a text in UTF-8; older Windows programs write the code page of their computer.",
        got=f"byte 0x{content[place]:02x} at place {place}"
        + (f"; {', '.join(read_as)}." if read_as else "."),
        hint=f"name the encoding in which the words make sense: --encoding {likely}\n"
        f"or convert the file: iconv -f {likely} -t UTF-8 FILE > NEW",
    )


def _readings(content: bytes, place: int) -> dict[str, str]:
    """Return what the first text that is not ASCII says, by each code page that fits the file."""
    before = content[:place]
    start = max(before.rfind(mark) for mark in b'"/\\,;>') + 1
    found = {}
    for name in _CODE_PAGES:
        try:
            rest = content.decode(name)[len(content[:start].decode(name)) :]
        except UnicodeDecodeError:
            continue
        word = rest[:_SHOWN].split('"')[0].split("<")[0]
        if word and all(each.isalnum() or each in " _-.()" for each in word):
            found[name] = word
    return found


def read_json(path: Path, encoding: str | None = None) -> Any:
    """Return what a JSON file holds.

    Args:
        path: The file.
        encoding: See ``read_text``.

    Raises:
        ImsegError: If it cannot be read, is cut short, is not JSON or is nested too deeply.
    """
    text = read_text(path, encoding)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        rest = error.doc[error.pos : error.pos + 9].strip()
        ends = error.msg.startswith("Unterminated") or any(
            word.startswith(rest) for word in ("true", "false", "null", "-")
        )
        raise ImsegError(
            f"{path} {'ends in the middle' if ends else 'is not valid JSON'}.",
            expected="a whole JSON file, as the annotation tool writes it.",
            got=f"{error.msg} (line {error.lineno}, column {error.colno}).",
            hint="export or copy the file again.",
        ) from error
    except (RecursionError, ValueError) as error:
        deep = isinstance(error, RecursionError)
        raise ImsegError(
            f"{path} is not a usable JSON file.",
            expected="a JSON file, as the annotation tool writes it.",
            got="lists nested more deeply than any tool writes." if deep else f"{error}.",
            hint="export the file again.",
        ) from error
