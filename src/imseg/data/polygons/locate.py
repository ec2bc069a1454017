"""Which file each picture of the annotations is, and under which name it is copied."""

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

from imseg.data.checks.fitness import size_in_words, unreadable
from imseg.data.files import listing
from imseg.data.folder.facts import map_in_threads
from imseg.data.images.decoding import SUFFIXES, UnreadablePicture
from imseg.data.images.picture_file import probe
from imseg.data.polygons.drawings import AnnotatedPicture, Annotations, Tally
from imseg.errors import ImsegError, and_more, raise_all

_LOOKED_AT = 300
_SAMPLE = 50
_MOST_SEARCHED = 20_000
_SHOWN = 10
_LONGEST = 100  # characters of a joined name; file systems end at 255 bytes


ALIKE = "pictures that have the stem of an annotated one beside them (masks or copies; left out)"
"""What is noted for pictures that are not taken for unlabeled ones."""

_STARTS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"BM": ".bmp"}
_STARTS |= {b"II*\x00": ".tif", b"MM\x00*": ".tif"}

Size = tuple[int, int]
"""Height and width in pixels, as the picture is displayed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A picture and the file that it is."""

    path: Path
    """The file."""
    name: str
    """The path below the images folder; what the picture is called in messages."""
    picture: AnnotatedPicture
    """What the annotations say; of a picture that they do not list, no more than its name."""
    size: Size = (0, 0)
    """Its size; zeros if the annotations do not list it."""
    listed: bool = True
    """Whether the annotations list it."""
    inside: bool = False
    """Whether the picture stands in the annotations."""
    stem: str = ""
    """Under which it is copied; see ``choose_stems``."""


def find_images_folder(annotations: Annotations, beside: Path) -> Path:
    """Return the folder near the annotations in which most of the pictures are.

    Looked at are the annotations' folder, the folders in it, its parent and the folders in that.

    Args:
        annotations: What was read.
        beside: Another folder to look at, with the folders in it.

    Raises:
        ImsegError: If no picture is in any of them.
    """
    home = home_of(annotations)
    near = [home, *listing.folders_in(home), *listing.folders_in(home / "images")]
    for other in (home.absolute().parent, beside):
        near += [other, *listing.folders_in(other)]
    pictures = annotations.pictures
    sample = pictures[:: max(1, len(pictures) // _SAMPLE)]
    found = {
        folder: sum(_find(picture, folder) is not None for picture in sample)
        for folder in near[:_LOOKED_AT]
    }
    best = max(found, key=found.__getitem__)
    if not found[best] and not any(picture.embedded for picture in pictures):
        raise ImsegError(
            f"The pictures of {annotations.source} are not beside it.",
            expected=f"files such as {and_more([picture.name for picture in pictures])}.",
            got=f"none of them in {home} and the folders around it.",
            hint="name their folder: --images FOLDER.",
        )
    return best


def home_of(annotations: Annotations) -> Path:
    """Return the folder that holds the annotations."""
    source = annotations.source
    return source if source.is_dir() else source.parent


def locate(annotations: Annotations, images: Path, spare: Path) -> list[Located]:
    """Return the file of each picture, and the pictures beside those that are not listed.

    A name is looked up below ``images``; where nothing is there, without its first folders.
    Names that lead out of the folder are refused; LabelMe writes such names when a file is saved
    elsewhere, so there the last part alone is looked up. No name is ever followed out.

    Args:
        annotations: What to find; pictures that are left out are noted in their tally.
        images: The folder of the pictures.
        spare: A folder for pictures that stand in the annotations.

    Raises:
        ImsegError: If ``images`` is not a folder, or everything that is wrong with the pictures.
    """
    if not images.is_dir():
        raise ImsegError(
            f"There is no folder {images}.",
            expected="the folder that holds the annotated pictures.",
            hint="check the path after --images.",
        )
    found: list[Located] = []
    outside: list[str] = []
    missing: list[str] = []
    damaged: list[ImsegError] = []
    several: list[str] = []
    for picture in annotations.pictures:
        path = _find(picture, images)
        if path is not None and listing.leads_out(path, images):
            outside.append(f"{picture.name} (a link)")
        elif path is not None:
            alike = _files_at(path.with_suffix(""), picture) if picture.by_stem else []
            if len(alike) > 1:
                several.append(f"{picture.name}: {' and '.join(each.name for each in alike[:3])}")
            name = Path(os.path.relpath(path, images)).as_posix()
            found.append(Located(path=path, name=name, picture=picture))
        elif picture.embedded is not None:
            name = picture.file.relative_to(home_of(annotations)).as_posix()
            try:
                path = _take_out(picture.embedded(), spare / f"{len(found)}")
                found.append(Located(path=path, name=name, picture=picture, inside=True))
            except ImsegError as error:
                damaged.append(error)
        elif _leads_out(picture.name):
            outside.append(picture.name)
        else:
            missing.append(picture.name)
    located, wrong = _read_sizes(found)
    raise_all([*_misplaced(outside, missing, found, images), *_twins(several), *damaged, *wrong])
    located += _unlisted(located, images, annotations.tally)
    stems = choose_stems(each.name for each in located)
    return [replace(each, stem=stems[each.name]) for each in located]


def _take_out(content: bytes, place: Path) -> Path:
    """Write the picture that stands in a file of annotations to a place, and add its suffix."""
    # What is none of these is found out when it is opened.
    fitting = [suffix for start, suffix in _STARTS.items() if content.startswith(start)]
    path = place.with_suffix((fitting or [".png"])[0])
    path.write_bytes(content)
    return path


def _unlisted(located: Sequence[Located], images: Path, tally: Tally) -> Iterator[Located]:
    """Yield the pictures that lie beside annotated ones and have no annotations.

    What has the stem of a listed picture in the same folder is noted instead: it is its mask, most
    likely, or the same picture in another format.
    """
    listed = {each.path.absolute() for each in located}
    stems = {(path.parent, path.stem) for path in listed}
    for folder in sorted({path.parent for path in listed} or {images.absolute()}):
        for path in itertools.chain(*listing.list_pictures(folder)[0].values()):
            if (
                path.absolute() in listed
                or listing.has_odd_name(path)
                or listing.leads_out(path, images)
            ):
                continue
            if (path.absolute().parent, path.stem) in stems:
                tally[ALIKE].append(path.name)
            else:
                name = os.path.relpath(path, images).replace(os.sep, "/")
                picture = AnnotatedPicture(name=name, size=None, regions=(), file=path)
                yield Located(path=path, name=name, picture=picture, listed=False)


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
        anchored = PureWindowsPath(picture.name).anchor
        if not anchored and path.is_relative_to(home):
            there = _files_at(images / path.relative_to(home), picture)
            if there:
                return there[0]
    if _leads_out(picture.name):
        parts = parts[-1:] if picture.start is not None else ()
    for first in range(len(parts)):
        there = _files_at(images.joinpath(*parts[first:]), picture)
        if parts[-1] != ".." and there:
            return there[0]
    return None


def _files_at(path: Path, picture: AnnotatedPicture) -> list[Path]:
    """Return the file at a path, or the picture files of its stem if the name has no suffix."""
    if not picture.by_stem:
        return [path] if _is_file(path) else []
    suffixes = [each for suffix in sorted(SUFFIXES) for each in (suffix, suffix.upper())]
    there = filter(_is_file, [path.with_name(path.name + suffix) for suffix in suffixes])
    # Where upper and lower case are one, a file is found twice.
    return list({each.name.lower(): each for each in there}.values())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than any file has
        return False


def _parts(name: str) -> tuple[str, ...]:
    """Return the folders and the file that a name consists of, whichever system wrote it."""
    return PureWindowsPath(name).parts or (name,)


def _leads_out(name: str) -> bool:
    return bool(PureWindowsPath(name).anchor) or ".." in _parts(name)


def _misplaced(
    outside: Sequence[str], missing: Sequence[str], found: Sequence[Located], images: Path
) -> Iterator[ImsegError]:
    """Yield the errors about names that lead out, about missing files, and about shared ones."""
    if outside:
        yield ImsegError(
            f"{listing.subject(len(outside), 'file name', 'leads', 'lead')} out of {images}.",
            expected="names below the images folder, without .. and without a drive or / at the"
            " start.",
            got=f"{and_more(outside)}.",
            hint="name the folder that holds all pictures after --images, and shorten the names to"
            " what is below it.",
        )
    if missing:
        one, many = (f"of the annotations {verb}" for verb in ("is", "are"))
        yield ImsegError(
            f"{listing.subject(len(missing), 'picture', one, many)} not in {images}.",
            expected="a file for every picture that is listed, annotated or not.",
            got="no " + and_more(_with_guesses(missing, images), _SHOWN) + ".",
            hint="name another folder with --images, add the files, or remove them from the"
            " annotations.",
        )
    entries: dict[Path, list[str]] = {}
    for each in found:
        picture = each.picture
        name = picture.name if picture.start is None else picture.file.name
        entries.setdefault(each.path, []).append(name)
    shared = {path: names for path, names in entries.items() if len(names) > 1}
    texts = [f"{path.name} from {' and '.join(names[:3])}" for path, names in shared.items()]
    if texts:
        yield ImsegError(
            f"{listing.subject(len(texts), 'file', 'has', 'have')} more than one entry in the"
            " annotations.",
            expected="one entry per picture.",
            got=f"{and_more(texts)}.",
            hint="merge or remove the entries; if they mean pictures of one name in different"
            " folders, name the folder above those with --images.",
        )


def _twins(several: Sequence[str]) -> Iterator[ImsegError]:
    """Yield the error about pictures of one stem, where annotations name no more than the stem."""
    if several:
        yield ImsegError(
            f"{listing.subject(len(several), 'picture', 'is', 'are')} there in several file types.",
            expected="one picture for each file of annotations, which names it without its type.",
            got=f"{and_more(several)}.",
            hint="move the pictures that were not annotated to another folder.",
        )


def _with_guesses(names: Sequence[str], images: Path) -> list[str]:
    """Return names, the first of them with a file that may be meant."""
    there: dict[str, Path] = {}
    for path in itertools.islice(images.rglob("*"), _MOST_SEARCHED):
        if path.suffix.lower() in SUFFIXES:
            there.setdefault(path.stem, path)
    shown = list(names)
    for index, name in enumerate(names[:_SHOWN]):
        guess = listing.nearest_stem(PurePosixPath(_parts(name)[-1]).stem, there)
        if guess:
            shown[index] += f" (is it {there[guess].relative_to(images).as_posix()}?)"
    return shown


def _read_sizes(located: Sequence[Located]) -> tuple[list[Located], list[ImsegError]]:
    """Return the pictures with their sizes as they are displayed, and all that does not fit."""
    found = list(map_in_threads(_probe, located))
    problems = [(str(each.path), each) for each in found if isinstance(each, UnreadablePicture)]
    errors = [finding.as_error() for finding in unreadable(problems)]
    turned: list[str] = []
    different: list[str] = []
    sized: list[Located] = []
    for each, size in zip(located, found, strict=True):
        if isinstance(size, UnreadablePicture):
            continue
        sized.append(replace(each, size=size))
        wanted = each.picture.size
        if wanted is not None and size != wanted:
            sizes = f"{size_in_words(size)}, the annotations say {size_in_words(wanted)}"
            (turned if size == wanted[::-1] else different).append(f"{each.name} is {sizes}")
    if turned:
        lies = listing.subject(len(turned), "picture", "lies", "lie")
        error = ImsegError(
            f"{lies} on the side compared to the annotations.",
            expected="outlines drawn on the picture as it is displayed, upright.",
            got=f"{and_more(turned)} (height x width).",
            hint="the tool that drew the outlines ignored the EXIF rotation of the file, so ignore"
            " it here, too:\nexiftool -Orientation= FILE, and repeat the command. Or turn the"
            " annotations.",
        )
        errors.append(error)
    if different:
        error = ImsegError(
            f"{listing.subject(len(different), 'picture', 'has', 'have')} another size than the"
            " annotations say.",
            expected="the very files on which the outlines were drawn.",
            got=f"{and_more(different)} (height x width).",
            hint="use the original pictures, or scale the annotations together with them.",
        )
        errors.append(error)
    return sized, errors


def _probe(each: Located) -> Size | UnreadablePicture:
    path = each.path
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
