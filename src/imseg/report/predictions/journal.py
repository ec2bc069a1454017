"""What a prediction has finished, so that the same command goes on after an interruption."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

from imseg.data.files.atomic import make_folder, open_plain, writing_into
from imseg.errors import ImsegError
from imseg.types import Image

UNFINISHED = "unfinished.jsonl"
"""Beside masks while they are written: what was asked for, and a line for each finished picture."""


class Journal:
    """Lines of JSON: a picture is begun, and all its files are written; read again afterwards.

    Threads may call its methods at once.

    Args:
        out: The folder of the masks.
        asked: What was asked for, as plain values; another prediction is not continued.
        note: What else holds for all pictures, as plain values.
        anew: Whether what is there is not continued.

    Attributes:
        continues: Whether a prediction that was interrupted is continued.
        note: What else holds for all pictures: if it continues, as it was noted when it began.
    """

    def __init__(
        self, out: Path, asked: Mapping[str, Any], note: Mapping[str, Any], *, anew: bool = False
    ) -> None:
        self._path, self._asked = out / UNFINISHED, json.loads(json.dumps(asked))
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()
        self._begun: set[str] = set()
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0
        self.note = dict(note)
        self.continues = not anew and self._read()

    def __contains__(self, name: str) -> bool:
        """Return whether the files of a picture are written."""
        return name in self._places

    def __enter__(self) -> Self:
        make_folder(self._path.parent)
        with writing_into(self._path):
            self._file = self._path.open("r+b" if self.continues else "wb")
            self._file.truncate(self._end)  # a line that was cut short goes
        if not self.continues:
            self._add({"asked": self._asked, "note": self.note})
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if kind is not None and not self._begun:  # there is nothing to go on with
            with writing_into(self._path):
                self._path.unlink(missing_ok=True)
                if not any(self._path.parent.iterdir()):
                    self._path.parent.rmdir()

    def begin(self, image: Image) -> None:
        """Note that files of a picture will be written."""
        self._begun.add(image.name)
        self._add({"begun": image.name})

    def add(self, image: Image, wrote: Sequence[Path], content: Mapping[str, Any]) -> None:
        """Note that all files of a picture are written.

        Args:
            image: The picture.
            wrote: Its files.
            content: What is to be known about it later, as plain values.
        """
        files = {str(each): _stamp(each) for each in wrote}
        line = {"image": image.name, "stamp": _stamp_of(image), "wrote": files, **content}
        self._places[image.name] = self._add(line)

    def is_finished(self, image: Image) -> bool:
        """Return whether a picture and all files written for it are as they were then."""
        if image.name not in self:
            return False
        if self._are_ours(image.name) and self.entry(image.name)["stamp"] == _stamp_of(image):
            return True
        del self._places[image.name]
        return False

    def may_replace(self, name: str) -> bool:
        """Return whether what lies at the places of a picture's files is of this prediction."""
        return self._are_ours(name) if name in self else name in self._begun

    def entry(self, name: str) -> dict[str, Any]:
        """Return what was noted about a finished picture."""
        start, end = self._places[name]
        with open_plain(self._path) as file:
            file.seek(start)
            found: dict[str, Any] = json.loads(file.read(end - start))
        return found

    def finish(self) -> None:
        """Remove the file: everything is done."""
        with writing_into(self._path):
            self._path.unlink(missing_ok=True)

    def _are_ours(self, name: str) -> bool:
        wrote = self.entry(name)["wrote"]
        return all(_stamp(Path(place)) == stamp for place, stamp in wrote.items())

    def _add(self, line: Mapping[str, Any]) -> tuple[int, int]:
        assert self._file is not None
        with writing_into(self._path), self._lock:
            start = self._end
            self._file.seek(start)
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            self._end = self._file.tell()
            return start, self._end

    def _read(self) -> bool:
        """Find the lines of an earlier prediction; return whether it was the same one."""
        try:
            lines = self._whole_lines()
            self._end, first = next(lines, (0, {}))
            if first.get("asked") != self._asked:
                self._end = 0
                return False
            self.note = dict(first["note"])
            for end, line in lines:
                if "begun" in line:
                    self._begun.add(line["begun"])
                else:
                    self._places[line["image"]] = (self._end, end)
                self._end = end
        except (OSError, ImsegError, ValueError, KeyError, TypeError, AttributeError):
            self._begun.clear()
            self._places.clear()
            self._end = 0
            return False
        return True

    def _whole_lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield where each line ends, and what it says; the last one may be cut short."""
        if not self._path.is_file():
            return
        end = 0
        with open_plain(self._path) as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                end += len(line)
                yield end, json.loads(line)


def _stamp_of(image: Image) -> list[Any] | None:
    """Return what tells whether a picture is the same, the size of its pixels included."""
    stamp = _stamp(image.pixels)
    return stamp if stamp is None or image.pixel_size is None else [*stamp, image.pixel_size]


def _stamp(place: object) -> list[int] | None:
    """Return what tells whether a file is the same, its size and time; None if it is not there."""
    if not isinstance(place, Path):
        return []
    try:
        found = place.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]
