"""Pictures to predict: a file, or those of a folder, with everything in it that is passed over."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from imseg.data.files import listing
from imseg.data.folder.config import FILE_NAME, FolderConfig, read_config
from imseg.data.images.decoding import SUFFIXES
from imseg.data.images.foreign_formats import how_to_convert
from imseg.data.images.pixel_size import read_pixel_size
from imseg.errors import ImsegError, and_more, shown
from imseg.types import Image

MOST_COUNTED = 100_000
"""Files in a folder that is passed over, after which pictures in it are no longer counted."""

PREDICTED = "measurements.csv"
"""The table that lies beside predicted masks; its first column is ``image``."""

_MOST_NAMED = 6
_MOST_OPENED = 100
_LINK = "a link to a folder"
_OF_PREDICTION = "masks of a prediction"


@dataclass(frozen=True, slots=True)
class PassedFolder:
    """A folder that was not looked into."""

    name: str
    """Its path below the folder that was."""
    pictures: int
    """Pictures in it and its subfolders."""
    why: str = ""
    """Why, even where subfolders are asked for; empty: because they were not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureList:
    """What lies at a place; hidden files (``.a``, Thumbs.db ...) are not spoken of."""

    place: Path
    """The file or folder."""
    recursive: bool = False
    """Whether subfolders were looked into too."""
    images: list[Image] = field(default_factory=list)
    """Pictures, sorted; named by their paths below the folder. Each knows the size of its pixels as
    ``imseg.toml`` says it, in the folder or up to two above, or else its file."""
    others: list[str] = field(default_factory=list)
    """Files that are not pictures that can be read."""
    folders: list[PassedFolder] = field(default_factory=list)
    """Folders that were not looked into."""
    unusable: dict[str, str] = field(default_factory=dict)
    """Pictures that cannot be used whatever they hold, and why; only where those are skipped."""

    def with_pixel_size(self, size: float | None) -> "PictureList":
        """Return the same with one size of pixels for all pictures, in micrometers.

        Args:
            size: Of a side; None: each picture keeps its own.
        """
        if size is None:
            return self
        return replace(self, images=[replace(each, pixel_size=size) for each in self.images])

    def passed_over(self) -> dict[str, Any]:
        """Return what was passed over, as plain values for JSON."""
        folders = [{"name": f.name, "pictures": f.pictures, "why": f.why} for f in self.folders]
        return {"files": self.others, "folders": folders}

    def passed_over_text(self) -> list[str]:
        """Return a sentence for each way in which something was passed over."""
        told = []
        if self.others:
            kinds = Counter(Path(name).suffix.lower() or "without suffix" for name in self.others)
            counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
            one = len(self.others) == 1
            text = (
                f"{listing.subject(len(self.others), 'file')} passed over, because"
                f" {'it is not a picture' if one else 'they are not pictures'} that can be read"
                f" ({shown(counts)}): {and_more(self.others, _MOST_NAMED)}"
            )
            if known := how_to_convert(self.place / name for name in self.others[:_MOST_OPENED]):
                text += f". How to convert {known[0]}: {' '.join(known[1].splitlines())}"
            told.append(text)
        named = [
            f"{f.name}/ ({f.why or listing.counted(f.pictures, 'picture')})" for f in self.folders
        ]
        if named:
            count = listing.subject(len(named), "folder", "was", "were")
            asked = any(f.pictures and not f.why for f in self.folders)
            hint = "; --recursive goes into subfolders" if asked else ""
            if linked := [f.name for f in self.folders if f.why == _LINK]:
                hint += f"; name a link itself to look into it: {shown(self.place / linked[0])}"
            told.append(f"{count} not looked into: {and_more(named, _MOST_NAMED)}{hint}")
        return told


def find_pictures(
    place: Path,
    *,
    recursive: bool = False,
    out: Path | None = None,
    skip_bad: bool = False,
    ask_files: bool = True,
) -> PictureList:
    """Return a picture, or the pictures of a folder, sorted by name, and what was passed over.

    Args:
        place: A file or a folder.
        recursive: Whether to go into subfolders too. Links to folders are not followed, and
            folders of predicted masks are passed over.
        out: Where masks will go; it is not looked into.
        skip_bad: Whether pictures that cannot be used whatever they hold are listed as such: names
            with control characters, links to nothing, pipes.
        ask_files: Whether files are asked how large their pixels are, where ``imseg.toml`` beside
            them does not say it.

    Raises:
        ImsegError: If there is none, if one cannot be used, if masks of two pictures would get the
            same name, or if ``imseg.toml`` has problems.
    """
    try:
        return _find(place, recursive=recursive, out=out, skip_bad=skip_bad, ask_files=ask_files)
    except OSError as error:
        raise ImsegError(
            f"{error.filename or place} cannot be looked into.",
            expected="a picture, or a folder of pictures, that you may read.",
            got=f"{error.strerror or error}.",
            hint="check the name, and the permissions.",
        ) from error


def _find(
    place: Path, *, recursive: bool, out: Path | None, skip_bad: bool, ask_files: bool
) -> PictureList:
    found = PictureList(place=place, recursive=recursive and place.is_dir())
    if place.is_file():
        files = [place]
    elif place.is_dir():
        goal = None if out is None else listing.real_path(out)
        files = list(_walk(place, found, recursive=recursive, goal=goal))
    else:
        raise ImsegError(
            f"There is no picture or folder {place}.",
            expected="a picture, or a folder of pictures.",
            hint="check the name.",
        )
    bad = _unusable(files, refuse=not skip_bad)
    found.unusable.update({_name(path, place): why for path, why in bad.items()})
    said = _said_about(place)
    for path in files:
        if path not in bad:
            size = said.pixel_size_of(path.name)
            if size is None and ask_files:
                size = read_pixel_size(path)
            found.images.append(Image(_name(path, place), path, size))
    if not found.images and not found.unusable:
        raise _no_pictures(found)
    _check_stems(found)
    return found


def _said_about(place: Path) -> FolderConfig:
    """Return what ``imseg.toml`` says where pictures lie, as in ``DATA/unlabeled/images``."""
    folder = place.absolute() if place.is_dir() else place.absolute().parent
    levels = {"images": 2, "unlabeled": 1}.get(folder.name, 0)  # as data folders have them
    above = (folder, *folder.parents[:levels])
    return read_config(next((each for each in above if (each / FILE_NAME).is_file()), folder))


def _name(path: Path, place: Path) -> str:
    return path.name if path == place else path.relative_to(place).as_posix()


def _walk(
    folder: Path, found: PictureList, *, recursive: bool, goal: Path | None
) -> Iterator[Path]:
    """Yield the files of a folder that may be pictures; note what is passed over."""
    for path in sorted(folder.iterdir()):
        name = _name(path, found.place)
        if listing.is_hidden(path):
            continue
        if not path.is_dir():
            if path.suffix.lower() in SUFFIXES:
                yield path
            else:
                found.others.append(name)
            continue
        # A link is not followed with --recursive either, so that is not offered.
        why = _why_passed(path, goal) if recursive or path.is_symlink() else ""
        if recursive and not why:
            yield from _walk(path, found, recursive=True, goal=goal)
        else:
            found.folders.append(PassedFolder(name, _count_pictures(path), why))


def _why_passed(folder: Path, goal: Path | None) -> str:
    """Return why a subfolder is passed over where subfolders are asked for; empty if it is not."""
    if folder.is_symlink():
        return _LINK
    if listing.real_path(folder) == goal:
        return "where masks go"
    try:
        with (folder / PREDICTED).open("rb") as file:
            return _OF_PREDICTION if file.read(6) == b"image," else ""
    except OSError:
        return ""


def _count_pictures(folder: Path) -> int:
    names = (name for _, _, names in os.walk(folder) for name in names)
    return sum(
        Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        for name in islice(names, MOST_COUNTED)
    )


def _no_pictures(found: PictureList) -> ImsegError:
    full = [each for each in found.folders if each.pictures and each.why in ("", _LINK)]
    got = [f"folders: {and_more([each.name for each in found.folders])}"] * bool(found.folders)
    if found.others:
        count = listing.counted(len(found.others), "file of another kind", "files of other kinds")
        got.append(f"{count}: {and_more(found.others)}")
    hint = "convert them to PNG or TIFF." if found.others else "name the folder that holds them."
    if known := how_to_convert(found.place / name for name in found.others):
        hint = f"{known[0]} files are not read here; convert them:\n{known[1]}"
    if full:
        first = shown(found.place / full[0].name)
        asked = any(not each.why for each in full)
        hint = f"name one of the folders: {first}" + "; --recursive goes into all of them" * asked
        hint += "."
    return ImsegError(
        f"{found.place} holds no pictures.",
        expected="files that end in " + ", ".join(sorted(SUFFIXES)) + ".",
        got=(", ".join(got) or "no such file") + ".",
        hint=hint,
    )


def _check_stems(found: PictureList) -> None:
    """Check that no two masks get one name, on systems that see no case or composition too."""

    def stem(name: str) -> str:
        return listing.folded(Path(name).with_suffix("").as_posix())

    names: dict[str, list[str]] = {}
    for image in found.images:
        names.setdefault(stem(image.name), []).append(image.name)
    alike = [each for each in names.values() if len(each) > 1]
    doubled = [" and ".join(listing.told_apart(each)) for each in alike]
    if doubled:
        raise ImsegError(
            f"Pictures in {found.place} would get masks of the same name.",
            expected="one picture per stem; upper and lower case count as equal.",
            got=and_more(doubled) + ".",
            hint="rename or move one of each.",
        )


def _unusable(files: list[Path], *, refuse: bool) -> dict[Path, str]:
    """Return names that garble, links that lead nowhere, and pipes, which might never end.

    Raises:
        ImsegError: If there are some, where those are refused.
    """
    odd = [path for path in files if listing.has_odd_name(path)]
    broken = [path for path in files if not path.is_file()]
    if odd and refuse:
        count = listing.counted(len(odd), "picture")
        raise ImsegError(
            f"{count} would get a mask with control characters in its name.",
            expected="names of printable characters.",
            got=and_more([path.name for path in odd]) + ".",
            hint="rename them; --skip-bad goes on without them.",
        )
    if broken and refuse:
        raise ImsegError(
            f"{listing.counted(len(broken), 'picture')} cannot be opened.",
            expected="files, or links to files.",
            got=and_more([str(path) for path in broken]) + ".",
            hint="mend the links, or remove them; --skip-bad goes on without them.",
        )
    found = dict.fromkeys(broken, "cannot be opened: a link to nothing, or not a file")
    return found | dict.fromkeys(odd, "has a name with control characters")
