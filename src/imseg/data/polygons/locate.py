"""Which file each picture of the annotations is, and under which name it is copied."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imseg.data.checks.fitness import size_in_words, unreadable
from imseg.data.files.listing import has_odd_name, leads_out, list_pictures, nearest_stem, subject
from imseg.data.folder.facts import map_in_threads
from imseg.data.images.decoding import SUFFIXES, UnreadablePicture
from imseg.data.images.picture_file import probe
from imseg.data.polygons.drawings import AnnotatedPicture, Annotations
from imseg.errors import ImsegError, and_more

_LOOKED_AT = 300
_SAMPLE = 50
_MOST_SEARCHED = 20_000
_SHOWN = 10
_LONGEST = 100  # characters of a joined name; file systems end at 255 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A picture and the file that it is."""

    picture: AnnotatedPicture
    """What the annotations say."""
    path: Path | None
    """The file; None if the picture stands in the annotations and was not taken out yet."""
    name: str
    """The path below the images folder; what the picture is called in messages."""
    inside: bool = False
    """Whether the picture stands in the annotations."""


def find_images_folder(annotations: Annotations, beside: Path | None = None) -> Path:
    """Return the folder near the annotations in which most of the pictures are.

    Looked at are the annotations' folder, the folders in it, its parent and the folders in that.

    Args:
        annotations: What was read.
        beside: Another folder to look at, with the folders in it.

    Raises:
        ImsegError: If no picture is in any of them.
    """
    source, home = annotations.source, home_of(annotations)
    near = [home, *_folders(home), *_folders(home / "images")]
    for other in (home.absolute().parent, beside):
        near += [other, *_folders(other)] if other is not None else []
    pictures = annotations.pictures
    sample = pictures[:: max(1, len(pictures) // _SAMPLE)]
    best, found = home, 0
    for folder in near[:_LOOKED_AT]:
        count = sum(_find(picture, folder) is not None for picture in sample)
        if count > found:
            best, found = folder, count
    if not found and not any(picture.embedded for picture in pictures):
        raise ImsegError(
            f"The pictures of {source} are not beside it.",
            expected=f"files such as {and_more([picture.name for picture in pictures])}.",
            got=f"none of them in {home} and the folders around it.",
            hint="name their folder: --images FOLDER.",
        )
    return best


def home_of(annotations: Annotations) -> Path:
    """Return the folder that holds the annotations."""
    source = annotations.source
    return source if source.is_dir() else source.parent


def locate(annotations: Annotations, images: Path) -> tuple[list[Located], list[ImsegError]]:
    """Return the file of each picture, and what is wrong with the names.

    A name is looked up below ``images``; where nothing is there, without its first folders.
    Names that lead out of the folder are refused; LabelMe writes such names when a file is saved
    elsewhere, so there the last part alone is looked up. No name is ever followed out.

    Args:
        annotations: What to find.
        images: The folder of the pictures.

    Raises:
        ImsegError: If ``images`` is not a folder.
    """
    if not images.is_dir():
        raise ImsegError(
            f"There is no folder {images}.",
            expected="the folder that holds the annotated pictures.",
            hint="check the path after --images.",
        )
    found: list[Located] = []
    outside: list[str] = []
    missing: list[AnnotatedPicture] = []
    for picture in annotations.pictures:
        path = _find(picture, images)
        if path is not None and leads_out(path, images):
            outside.append(f"{picture.name} (a link)")
        elif path is not None:
            name = Path(os.path.relpath(path, images)).as_posix()
            found.append(Located(picture=picture, path=path, name=name))
        elif picture.embedded:
            name = picture.file.relative_to(home_of(annotations)).as_posix()
            found.append(Located(picture=picture, path=None, name=name, inside=True))
        elif _leads_out(picture.name):
            outside.append(picture.name)
        else:
            missing.append(picture)
    errors = [_outside(outside, images)] if outside else []
    errors += [_missing(missing, images)] if missing else []
    return found, errors + _one_file_twice(found)


def unlisted(located: Sequence[Located], images: Path) -> tuple[list[Path], list[Path]]:
    """Return pictures that lie beside annotated ones and have no annotations, and look-alikes.

    A look-alike has the stem of a listed picture in the same folder: its mask, most likely, or the
    same picture in another format.
    """
    listed = {each.path.absolute() for each in located if each.path is not None}
    stems = {(path.parent, path.stem) for path in listed}
    alone: list[Path] = []
    alike: list[Path] = []
    for folder in sorted({path.parent for path in listed} or {images.absolute()}):
        for paths in list_pictures(folder)[0].values():
            for path in paths:
                refused = has_odd_name(path) or leads_out(path, images)
                if path.absolute() not in listed and not refused:
                    again = (path.absolute().parent, path.stem) in stems
                    (alike if again else alone).append(path)
    return alone, alike


def choose_stems(names: Iterable[str]) -> dict[str, str]:
    """Return a stem for each picture; no two are equal, in upper or lower case.

    A stem that one picture has stays. Pictures that share one get their folders before it
    (``a/1.jpg`` becomes ``a_1``), then their suffix after it, then a number.

    Args:
        names: Paths below the images folder; the order does not matter.
    """
    ordered = sorted(names)
    plain = {name: PurePosixPath(name).stem.lstrip(".") or "image" for name in ordered}
    chosen: dict[str, str] = {}
    shared = Counter(stem.lower() for stem in plain.values())
    taken = {stem for stem, count in shared.items() if count == 1}
    for name in ordered:
        stem = plain[name]
        if shared[stem.lower()] > 1:
            folders = PurePosixPath(name).parts[:-1]
            suffix = PurePosixPath(name).suffix.lstrip(".").lower()
            joined = "_".join((*folders, stem))[-_LONGEST:].lstrip(".") or stem
            wanted = [joined, f"{joined}_{suffix}"]
            wanted += [f"{joined}_{number}" for number in range(2, len(ordered) + 3)]
            stem = next(each for each in wanted if each.lower() not in taken)
            taken.add(stem.lower())
        chosen[name] = stem
    return chosen


def _find(picture: AnnotatedPicture, images: Path) -> Path | None:
    """Return the file of a picture below a folder, or None."""
    parts = _parts(picture.name)
    if picture.start is not None:
        home = Path(os.path.normpath(images.absolute()))
        # Lexically: what counts is what the name says, not where links in the folder lead.
        path = Path(os.path.normpath(picture.start.absolute().joinpath(*parts)))
        if not _is_absolute(picture.name) and path.is_relative_to(home) and _is_file(path):
            return images / path.relative_to(home)
    if _leads_out(picture.name):
        parts = parts[-1:] if picture.start is not None else []
    for first in range(len(parts)):
        path = images.joinpath(*parts[first:])
        if parts[-1] != ".." and _is_file(path):
            return path
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than any file has
        return False


def _parts(name: str) -> list[str]:
    """Return the folders and the file that a name consists of, whichever system wrote it."""
    return [part for part in re.split(r"[/\\]", name) if part not in ("", ".")] or [name]


def _is_absolute(name: str) -> bool:
    return name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name) is not None


def _leads_out(name: str) -> bool:
    return _is_absolute(name) or ".." in _parts(name)


def _outside(names: list[str], images: Path) -> ImsegError:
    return ImsegError(
        f"{subject(len(names), 'file name', 'leads', 'lead')} out of {images}.",
        expected="names below the images folder, without .. and without a drive or / at the start.",
        got=f"{and_more(names)}.",
        hint="name the folder that holds all pictures after --images, and shorten the names to"
        " what is below it.",
    )


def _missing(pictures: list[AnnotatedPicture], images: Path) -> ImsegError:
    """Return the error that lists every picture that was not found, with what may be meant."""
    there: dict[str, Path] = {}
    for path in itertools.islice(images.rglob("*"), _MOST_SEARCHED):
        if path.suffix.lower() in SUFFIXES:
            there.setdefault(path.stem, path)
    shown: list[str] = []
    for picture in pictures:
        guess = None
        if len(shown) < _SHOWN:
            guess = nearest_stem(PurePosixPath(_parts(picture.name)[-1]).stem, there)
        near = f" (is it {there[guess].relative_to(images).as_posix()}?)" if guess else ""
        shown.append(picture.name + near)
    return ImsegError(
        subject(len(pictures), "picture", "of the annotations is", "of the annotations are")
        + f" not in {images}.",
        expected="a file for every picture that is listed, annotated or not.",
        got="no " + and_more(shown, _SHOWN) + ".",
        hint="name another folder with --images, add the files, or remove them from the"
        " annotations.",
    )


def _one_file_twice(found: Sequence[Located]) -> list[ImsegError]:
    """Return an error if two pictures of the annotations are one file."""
    entries: dict[Path, list[str]] = {}
    for each in found:
        if each.path is not None:
            entries.setdefault(each.path, []).append(_entry(each.picture))
    shared = {path: names for path, names in entries.items() if len(names) > 1}
    if not shared:
        return []
    texts = [f"{path.name} from {' and '.join(names[:3])}" for path, names in shared.items()]
    return [
        ImsegError(
            subject(len(shared), "file", "has", "have")
            + " more than one entry in the annotations.",
            expected="one entry per picture.",
            got=f"{and_more(texts)}.",
            hint="merge or remove the entries; if they mean pictures of one name in different"
            " folders, name the folder above those with --images.",
        )
    ]


def _entry(picture: AnnotatedPicture) -> str:
    return picture.name if picture.start is None else picture.file.name


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    inner = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(path for path in inner if path.is_dir())


Size = tuple[int, int]
"""Height and width in pixels, as the picture is displayed."""


_TURNED = tuple(f"{verb} on the side compared to the annotations." for verb in ("lies", "lie"))
_DIFFERENT = tuple(f"{verb} another size than the annotations say." for verb in ("has", "have"))
_TURN = (
    "the tool that drew the outlines ignored the EXIF rotation of the file, so ignore it here, "
    "too:\nexiftool -Orientation= FILE, and repeat the command. Or turn the annotations."
)
_RESCALE = "use the original pictures, or scale the annotations together with them."


def read_sizes(located: Sequence[Located]) -> tuple[list[Size], list[ImsegError]]:
    """Return the size of each picture as it is displayed, and everything that does not fit.

    Args:
        located: Pictures with files.
    """
    found = list(map_in_threads(_probe, located))
    problems = [(str(each.path), each) for each in found if isinstance(each, UnreadablePicture)]
    errors = [finding.as_error() for finding in unreadable(problems)]
    turned: list[str] = []
    different: list[str] = []
    sizes: list[Size] = []
    for each, size in zip(located, found, strict=True):
        wanted = each.picture.size
        sizes.append(size if isinstance(size, tuple) else (0, 0))
        if not isinstance(size, tuple) or wanted is None or size == wanted:
            continue
        text = f"{each.name} is {size_in_words(size)}, the annotations say {size_in_words(wanted)}"
        (turned if size == wanted[::-1] else different).append(text)
    for texts, what, expected, hint in (
        (turned, _TURNED, "outlines drawn on the picture as it is displayed, upright.", _TURN),
        (different, _DIFFERENT, "the very files on which the outlines were drawn.", _RESCALE),
    ):
        if texts:
            text = subject(len(texts), "picture", *what)
            got = f"{and_more(texts)} (height x width)."
            errors.append(ImsegError(text, expected=expected, got=got, hint=hint))
    return sizes, errors


def _probe(each: Located) -> Size | UnreadablePicture:
    path = each.path
    if path is None:
        raise RuntimeError("every picture has a file by now")
    if path.suffix.lower() not in SUFFIXES:
        reason = f"has the suffix {path.suffix or 'of no file type'}, which is not read"
        expected = ", ".join(sorted(SUFFIXES)) + " (upper case too)."
        return UnreadablePicture(path, reason, expected=expected, hint="convert the picture.")
    try:
        return probe(path).size
    except UnreadablePicture as error:
        if not each.inside:
            return error
        return UnreadablePicture(
            each.picture.file,
            f"holds a picture (imageData) that {error.reason}",
            expected=error.expected or "",
            hint="put the picture file beside it.",
        )
