"""What a prediction has finished, so that the same command goes on after an interruption."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

from imseg.data.files.atomic import open_plain, writing_into
from imseg.errors import ImsegError
from imseg.types import Image

UNFINISHED = "unfinished.jsonl"
"""Beside masks while they are written: what was asked for, and a line for each finished picture."""


class Journal:
    """One line of JSON for each picture whose files are written; read again after an interruption.

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
        self._places: dict[str, tuple[int, int]] = {}
        self._end = 0
        self.note = dict(note)
        self.continues = not anew and self._read()

    def __contains__(self, name: str) -> bool:
        """Return whether the files of a picture are written."""
        return name in self._places

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, image: Image, wrote: Sequence[Path], content: Mapping[str, Any]) -> None:
        """Note that all files of a picture are written; the first call makes the file.

        Args:
            image: The picture.
            wrote: Its files.
            content: What is to be known about it later, as plain values.
        """
        with writing_into(self._path):
            if self._file is None:
                self._file = self._path.open("r+b" if self.continues else "wb")
                self._file.truncate(self._end)  # a line that was cut short goes
                if not self.continues:
                    self._write(self._file, {"asked": self._asked, "note": self.note})
            start = self._end
            files = [str(each) for each in wrote]
            line = {"image": image.name, "stamp": _stamp(image), "wrote": files, **content}
            self._write(self._file, line)
        self._places[image.name] = (start, self._end)

    def is_finished(self, image: Image) -> bool:
        """Return whether the files of a picture are there, and it has not changed since."""
        if image.name not in self:
            return False
        entry = self.entry(image.name)
        there = all(Path(each).exists() for each in entry["wrote"])
        if there and entry["stamp"] == _stamp(image):
            return True
        del self._places[image.name]
        return False

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

    def _write(self, file: BinaryIO, line: Mapping[str, Any]) -> None:
        file.seek(self._end)
        file.write(json.dumps(line).encode() + b"\n")
        file.flush()
        self._end = file.tell()

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
                self._places[line["image"]] = (self._end, end)
                self._end = end
        except (OSError, ImsegError, ValueError, KeyError, TypeError, AttributeError):
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


def _stamp(image: Image) -> list[int]:
    """Return what tells whether the file of a picture is the same: its size and time."""
    if not isinstance(image.pixels, Path):
        return []
    found = image.pixels.stat()
    return [found.st_size, found.st_mtime_ns]
