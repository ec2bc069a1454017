"""Which file a name in the annotations means, on whatever computer it was written."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from imseg.data.files.listing import composed, folded, subject
from imseg.data.folder.config import FILE_NAME
from imseg.data.images.decoding import SUFFIXES
from imseg.data.polygons.drawings import AnnotatedPicture
from imseg.errors import Finding, and_more

IMAGE_FOLDERS = ("images", "image", "img", "imgs", "JPEGImages")
"""Folders of pictures, as tools and public data sets call them."""

_GENERAL = frozenset(map(folded, IMAGE_FOLDERS))
_SURE = 1000  # folders that agree if a picture lies beside its annotations: more than paths have

WAYS = {
    "shortened": "without the first folders of",
    "beside": "beside the annotations by the last part of",
    "path": "by the last folders of",
    "last": "in other folders by the last part of",
    "stem": "by the name of the file of annotations in place of",
    "letters": "in spite of upper and lower case in",
    "uploaded": "without what Label Studio put before",
    "version": "without what Roboflow added to",
}
"""How pictures are found that are not where the annotations say, before "their names"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What was found for a picture."""

    path: Path | None = None
    """The file; None: there is none, or several may be meant."""
    way: str = ""
    """How it was found, a key of ``WAYS``; empty: it is where the annotations say."""
    telling: int = 0
    """Folders above the file that the annotations name too; those of any project do not count."""
    rivals: tuple[Path, ...] = ()
    """Files of which each may be meant, so that none is taken."""

    @property
    def beside(self) -> bool:
        """Whether the file lies beside the annotations, or where an absolute name says."""
        return self.telling >= _SURE

    @property
    def sure(self) -> bool:
        """Whether the file is where the annotations say, or beside them."""
        return self.path is not None and (not self.way or self.beside)


@dataclass(frozen=True, slots=True)
class WrittenName:
    """A name as annotations have it, taken apart."""

    parts: tuple[str, ...]
    """Folders and file, from the drive, the server or the last ``..`` on."""
    relative: str | None
    """The whole name with slashes, if it leads from a folder to the picture; None: absolute."""

    @property
    def leads_out(self) -> bool:
        """Whether the name is absolute or goes up."""
        return self.relative is None or ".." in self.relative.split("/")


def read_name(text: str) -> WrittenName:
    """Return the parts of a path of any system, or of an address."""
    address = re.match(r"[A-Za-z][\w+.-]+://", text) is not None
    if address or "?d=" in text:
        split = urlsplit(text)
        # Label Studio names files on its own disk as ?d=folder/name.
        text = parse_qs(split.query).get("d", [unquote(split.path)])[0]
    slashed = text.replace("\\", "/")
    parts = [part for part in slashed.split("/") if part not in ("", ".")]
    drive = len(parts) > 1 and re.fullmatch(r"[A-Za-z]:", parts[0]) is not None
    absolute = address or drive or slashed.startswith("/")
    start = max([index + 1 for index, part in enumerate(parts) if part == ".."], default=drive)
    return WrittenName(tuple(parts[start:]), None if absolute else "/".join(parts))


@dataclass(kw_only=True)
class PictureIndex:
    """All files in a folder and the folders in it, by name.

    Hidden folders, data folders that were made before, and folders behind links are left out.
    """

    root: Path
    """The folder, absolute."""
    most: int | None = None
    """Files after which to stop; None: never."""
    whole: bool = True
    """Whether it was not stopped."""
    by_name: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    """Files by name, in lower case."""
    by_stem: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    """Pictures by stem, in lower case."""
    by_place: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    """Files by path, in composed letters."""
    by_folder: dict[tuple[Path, str], list[Path]] = field(default_factory=lambda: defaultdict(list))
    """Pictures by folder and stem, this in lower case."""

    def __post_init__(self) -> None:
        """Look through the folder."""
        count = 0
        for folder, inner, names in os.walk(self.root):
            inner[:] = sorted(each for each in inner if not each.startswith((".", "__MACOSX")))
            if FILE_NAME in names and Path(folder) != self.root:
                inner.clear()
                continue
            for name in sorted(name for name in names if not name.startswith(".")):
                path = Path(folder, name)
                # Label Studio writes names of uploads without spaces and brackets.
                plain = re.sub(r"[^-\w.]", "", name.replace(" ", "_"))
                for known in {folded(name), folded(plain)}:
                    self.by_name[known].append(path)
                self.by_place[composed(str(path))].append(path)
                if path.suffix.lower() in SUFFIXES:
                    self.by_stem[folded(path.stem)].append(path)
                    self.by_folder[path.parent, folded(path.stem)].append(path)
            count += len(names)
            if self.most is not None and count > self.most:
                self.whole = False
                break

    def find(self, picture: AnnotatedPicture, home: Path) -> Match:
        """Return the file of a picture.

        First where the name leads; then the file of that name beside the annotations; then the one
        whose path agrees with the name in the most last parts, if no other agrees in so many.

        Args:
            picture: What the annotations say.
            home: The folder of annotations that the user named.
        """
        written = read_name(picture.name)
        for parts, way in _spellings(written.parts):
            found = self._named(picture, replace_name(written, parts), home)
            if found is None:
                found = self._alike(picture, parts, absent=written.leads_out)
            if found is not None:
                return replace(found, way=way or found.way)
        return self._of_own_stem(picture) or Match()

    def _named(self, picture: AnnotatedPicture, written: WrittenName, home: Path) -> Match | None:
        """Return what lies where the name leads."""
        root, beside = self.root, absolute(picture.file.parent)
        if written.relative is None:
            found = self._files_in([Path(os.sep)], "/".join(written.parts), picture)
            return _one_of(found, _SURE)
        name, per_picture = written.relative, picture.start is not None
        own = self._files_in([beside], name, picture)
        astray = self._of_own_stem(picture)
        if own and astray and astray.path not in own:
            own += [astray.path] if astray.path else astray.rivals  # which of them is stale?
        if written.leads_out or (own and per_picture):
            return _one_of(own, _SURE)
        ups = [root, *(up for up in (beside, beside.parent) if not per_picture)]
        near = [up / folder for up in ups for folder in IMAGE_FOLDERS]
        named = [part for part in written.parts[:-1] if folded(part) not in _GENERAL]
        if picture.subset:
            places = [place / picture.subset for place in (*near, *ups)]
            found = self._files_in(places, name, picture)
            if found:
                return _one_of(found, len(named) + 1)
        inner = os.path.relpath(beside, home)
        if per_picture and inner != os.curdir:
            # Folders of annotations that mirror those of the pictures.
            found = self._files_in([place / inner for place in (root, *near)], name, picture)
            if found:
                return _one_of(found, len(named) + 1)
        first = own or self._files_in([root], name, picture)
        found = [*first, *self._files_in(near, name, picture)]
        if per_picture and found:  # what the name says of a folder may be of another computer
            found += self._files_in([beside], written.parts[-1], picture)
        return _one_of(found, _SURE if own else len(named))

    def _files_in(
        self, folders: Iterable[Path], name: str, picture: AnnotatedPicture
    ) -> list[Path]:
        """Return the files of a name in folders, if they are below the folder of the pictures."""
        found: dict[Path, None] = {}
        for folder in folders:
            # Lexically: what counts is what the name says, not where links in the folder lead.
            path = Path(os.path.normpath(folder / name))
            if not path.is_relative_to(self.root):
                continue
            if picture.by_stem:
                found |= dict.fromkeys(self.by_folder.get((path.parent, folded(path.name)), ()))
            elif is_file(path):
                found[path] = None
            else:
                found |= dict.fromkeys(self.by_place.get(composed(str(path)), ()))
        return list(found)

    def _alike(
        self, picture: AnnotatedPicture, parts: Sequence[str], *, absent: bool
    ) -> Match | None:
        """Return the file whose last parts agree most with a name.

        Args:
            picture: What the annotations say.
            parts: Folders and file.
            absent: Whether the name is that of another place or computer.
        """
        known = self.by_stem if picture.by_stem else self.by_name
        found = known.get(folded(parts[-1]), [])
        exact = [path for path in found if composed(path.name).startswith(composed(parts[-1]))]
        found, way = exact or found, "" if exact else "letters"
        if not found:
            return None
        folders = (picture.subset, *parts) if picture.subset else parts
        agreeing = {path: _agreeing(path, folders) for path in found}
        most = max(agreeing.values())
        best = [path for path in found if agreeing[path] == most]
        beside = [path for path in found if path.parent == absolute(picture.file.parent)]
        own = [path for path in beside if folded(path.stem) == folded(picture.file.stem)]
        if len(own) != 1 or picture.start is None:
            own = beside if len(beside) == 1 and (beside[0] in best or most == 1) else []
        if own:
            way = way or ("beside" if absent else "shortened")
            return Match(path=own[0], way=way, telling=_SURE)
        astray = self._of_own_stem(picture)
        if len(best) > 1 or beside or astray:
            others = [astray.path] if astray and astray.path else []
            return Match(rivals=tuple(dict.fromkeys([*beside, *best, *others])))
        telling = sum(folded(part) not in _GENERAL for part in folders[-most:-1])
        if not absent and best[0] == self.root.joinpath(*folders[-most:]):
            way = way or ("" if most >= len(parts) else "shortened")
        else:
            way = way or ("path" if most > 1 else "last")
        return Match(path=best[0], way=way, telling=telling)

    def _of_own_stem(self, picture: AnnotatedPicture) -> Match | None:
        """Return the picture beside a file of annotations that has the stem of this file."""
        if picture.start is None:
            return None
        own = absolute(picture.file.parent), folded(picture.file.stem)
        return _one_of(self.by_folder.get(own, ()), _SURE, way="stem")


def replace_name(written: WrittenName, parts: Sequence[str]) -> WrittenName:
    """Return a name with other words for its last parts."""
    if written.relative is None or tuple(parts) == written.parts:
        return WrittenName(tuple(parts), written.relative)
    before = written.relative.split("/")[: -len(parts)]
    return WrittenName(tuple(parts), "/".join([*before, *parts]))


def _spellings(parts: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield folders and file as written, then as they may have been before tools changed them."""
    if not parts:
        return
    yield parts, ""
    plain = tuple(map(unquote, parts))
    if plain != parts and not any("/" in part or "\0" in part for part in plain):
        yield plain, ""
    if uploaded := re.fullmatch(r"[0-9a-f]{8}-(.+)", plain[-1]):
        yield (*plain[:-1], uploaded[1]), "uploaded"
    if version := re.fullmatch(r"(.+)_([a-zA-Z]{3,4})\.rf\.\w{8,}\.\w+", plain[-1]):
        yield (*plain[:-1], f"{version[1]}.{version[2]}"), "version"


def _one_of(found: Sequence[Path], telling: int, *, way: str = "") -> Match | None:
    """Return the one file that was found, or that several were, or None."""
    found = list(dict.fromkeys(found))
    if len(found) > 1:
        return Match(rivals=tuple(found))
    return Match(path=found[0], telling=telling, way=way) if found else None


def _agreeing(path: Path, parts: Sequence[str]) -> int:
    """Return how many last parts of a path are those of a name; the file itself is known to be."""
    count = 1
    for one, other in zip(path.parts[-2::-1], parts[-2::-1], strict=False):
        if folded(one) != folded(other):
            break
        count += 1
    return count


def absolute(path: Path) -> Path:
    """Return a path from the root on, without ``..``; links stay as they are."""
    return Path(os.path.normpath(path.absolute()))


def is_file(path: Path) -> bool:
    """Return whether a path is that of a file; names that no file can have are none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name longer than any file has
        return False


Found = list[tuple[AnnotatedPicture, Match]]
"""Pictures and what was found for each."""


def find_all(pictures: Sequence[AnnotatedPicture], index: PictureIndex, home: Path) -> Found:
    """Return the file of each picture; what contradicts the rest is not taken.

    A folder that some names lead to, or that has annotations beside its pictures, holds no pictures
    of names that say nothing of it: those are missing, and the folder has others of their name.

    Args:
        pictures: What the annotations say.
        index: The files.
        home: The folder of annotations that the user named.
    """
    found = [(picture, index.find(picture, home)) for picture in pictures]
    named = {match.path.parent for _, match in found if match.path and match.telling}
    kept: Found = []
    for picture, match in found:
        if match.path and not match.telling and match.path.parent in named:
            match = Match()
        sure = match.sure and match.telling and match.way != "stem"
        if picture.embedded and not sure:
            match = Match()  # it is certain that the picture inside is the right one
        kept.append((picture, match))
    return kept


def describe(found: Found, names: Sequence[str]) -> list[Finding]:
    """Return warnings about pictures that are not where the annotations say.

    Args:
        found: Pictures that were found.
        names: Their paths below the folder of the pictures, for messages.
    """
    by_way: dict[str, list[str]] = defaultdict(list)
    whole = any(match.telling and not match.way for _, match in found)
    for (picture, match), name in zip(found, names, strict=True):
        # Names that all have the same folders too many are those of another folder of pictures.
        if match.way and (match.way != "shortened" or whole):
            by_way[match.way].append(f"{picture.name} is {name}")
    return [
        Finding(
            severity="warning",
            what=f"{subject(len(texts), 'picture', 'was', 'were')} found {WAYS[way]}"
            f" {'its name' if len(texts) == 1 else 'their names'}.",
            why="the annotations name files that are not there, so the outlines lie on the right"
            " pictures only if these are the same.",
            got=f"{and_more(texts)}.",
            hint="look at some masks; if they do not fit, name the folder of the right pictures:"
            " --images FOLDER.",
            files=tuple(texts),
        )
        for way, texts in by_way.items()
    ]
