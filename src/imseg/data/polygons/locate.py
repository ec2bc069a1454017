"""The files of the pictures that annotations name, and the pictures that lie beside them."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from imseg.data.checks.fitness import size_in_words, unreadable
from imseg.data.files import listing
from imseg.data.folder import config, facts
from imseg.data.images.decoding import SUFFIXES, UnreadablePicture
from imseg.data.images.foreign_formats import how_to_convert
from imseg.data.images.picture_file import probe
from imseg.data.polygons import lookup
from imseg.data.polygons.drawings import AnnotatedPicture, Annotations, Tally
from imseg.data.polygons.entries import Located, Size, assign_splits, merge_entries
from imseg.data.polygons.lookup import PictureIndex
from imseg.errors import Finding, ImsegError, and_more, raise_all
from imseg.types import Pages

_LOOKED_AT = 300
_SAMPLE = 50
_MOST_SEARCHED = 20_000
_SHOWN = 10

_PAGES_HINT = (
    "repeat the command with --pages max if the pages are planes (Z) of which the maximum over all"
    " is the picture, with --pages first or the number of one plane (--pages 3) if the outlines"
    " were drawn on it, or with --pages channels if they are the channels of one picture."
)

ALIKE = "pictures that have the stem of an annotated one beside them (masks or copies; left out)"
"""What is noted for pictures that are not taken for unlabeled ones."""

_STARTS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"BM": ".bmp"}
_STARTS |= {b"II*\x00": ".tif", b"MM\x00*": ".tif"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The pictures of one source of annotations."""

    pictures: list[Located]
    """Those that are listed, then those beside them."""
    folder: Path
    """The folder that holds all of them."""
    findings: list[Finding]
    """Warnings about how they were found."""


def locate(
    annotations: Annotations,
    images: Path | None,
    spare: Path,
    *,
    around: Path | None = None,
    several: bool = False,
    pages: Pages = "refuse",
) -> Gathered:
    """Return the file of each picture, and the pictures beside those that are not listed.

    No name is ever followed out of the folder of the pictures; see ``lookup`` for what is done.

    Args:
        annotations: What to find; pictures that are left out are noted in their tally.
        images: The folder of the pictures; None: the one near the annotations that has most.
        spare: A folder for pictures that stand in the annotations.
        around: Where to look if there are none in the folder of the annotations; None: around it.
        several: Whether there are other sources, so that the name of this one may mean something.
        pages: What several pages in one picture file are.

    Raises:
        ImsegError: If ``images`` is not a folder, or everything that is wrong with the pictures.
    """
    home = lookup.absolute(home_of(annotations))
    if images is None:
        index = _choose_index(annotations, home, around)
        index = index if index.whole else PictureIndex(root=index.root)
    elif images.is_dir():
        index = PictureIndex(root=lookup.absolute(images))
    else:
        raise ImsegError(
            f"There is no folder {images}.",
            expected="the folder that holds the annotated pictures.",
            hint="check the path after --images.",
        )
    matches = lookup.find_all(annotations.pictures, index, home)
    folder = images or _folder_of(matches, home)
    found: list[Located] = []
    lost: dict[str, list[str]] = {"outside": [], "missing": [], "rivals": []}
    outside: list[Path] = []
    damaged: list[ImsegError] = []
    for picture, match in matches:
        if match.path is not None and listing.leads_out(match.path, index.root):
            lost["outside"].append(f"{picture.name} (a link)")
            outside.append(match.path.resolve())
        elif match.path is not None:
            name = Path(os.path.relpath(match.path, folder)).as_posix()
            found.append(Located(path=match.path, name=name, picture=picture, match=match))
        elif picture.embedded is not None:
            name = Path(os.path.relpath(picture.file, home)).as_posix()
            try:
                path = _take_out(picture.embedded(), spare / f"{len(found)}")
                found.append(Located(path=path, name=name, picture=picture, inside=True))
            except ImsegError as error:
                damaged.append(error)
        elif match.rivals:
            rivals = [os.path.relpath(path, index.root) for path in match.rivals]
            lost["rivals"].append(f"{_called(picture)} may be {' or '.join(rivals[:4])}")
        elif there := _elsewhere(picture, index.root):
            lost["outside"].append(_called(picture))
            outside.append(there)
        else:
            lost["missing"].append(_called(picture))
    sized, wrong = _read_sizes(found, pages)
    merged, shared = merge_entries(assign_splits(sized, home, named=several))
    misplaced = _misplaced(lost, outside, folder if found else index.root)
    raise_all([*misplaced, *shared, *damaged, *wrong])
    found = [
        each for each in merged if each.match and not (images and _is_where_named(each, index.root))
    ]
    taken = [(each.picture, each.match) for each in found if each.match]
    names = [each.name for each in found]
    return Gathered(
        pictures=[*merged, *_unlisted(merged, index.root, folder, annotations.tally)],
        folder=folder,
        findings=[
            *lookup.describe(taken, names),
            *([] if images else _neighbor(index, (home, around or home.parent))),
        ],
    )


def _is_where_named(each: Located, root: Path) -> bool:
    """Return whether a picture that is known by its stem is in the folder that the user named.

    The annotations name no file then (YOLO): that ``images/train/7`` is meant is only likely.
    """
    if not each.picture.by_stem or each.match is None or each.match.way == "letters":
        return False
    folders, inner = lookup.read_name(each.picture.name).parts[:-1], each.path.parent
    return inner == root or bool(folders and inner.parts[-len(folders) :] == folders)


def _neighbor(index: PictureIndex, near: Sequence[Path]) -> Iterator[Finding]:
    """Yield a warning if the pictures were found beside annotations of their own.

    Args:
        index: Where they were found.
        near: Folders that belong to the annotations for certain.
    """
    own = [name for name in index.by_name if name.endswith((".json", ".geojson", ".xml"))]
    if own and index.root not in near and index.root.name not in lookup.IMAGE_FOLDERS:
        yield Finding(
            severity="warning",
            what=f"The pictures were taken from {index.root}, which has annotations of its own.",
            why="it may be another project with pictures of the same names.",
            got=f"{and_more(own)} in it.",
            hint="look at some masks; --images FOLDER names the right pictures.",
        )


def _elsewhere(picture: AnnotatedPicture, root: Path) -> Path | None:
    """Return the file to which a name leads that leads out of the folder of the pictures."""
    name = picture.name.replace("\\", "/")
    places = (lookup.absolute(folder / name) for folder in (picture.file.parent, root))
    there = (each for each in places if not each.is_relative_to(root) and lookup.is_file(each))
    return next(there, None) if lookup.read_name(picture.name).leads_out else None


def _called(picture: AnnotatedPicture) -> str:
    """Return what a picture is called in errors."""
    per_file = picture.start is not None and picture.file.stem not in picture.name
    return f"{picture.name} ({picture.file.name})" if per_file else picture.name


def home_of(annotations: Annotations) -> Path:
    """Return the folder that holds the annotations."""
    source = annotations.source
    return source if source.is_dir() else source.parent


def _folder_of(matches: lookup.Found, home: Path) -> Path:
    """Return the innermost folder that holds all pictures."""
    parents = {match.path.parent for _, match in matches if match.path is not None}
    return Path(os.path.commonpath(parents)) if parents else home


def _choose_index(annotations: Annotations, home: Path, outside: Path | None) -> PictureIndex:
    """Return the files of the folder near the annotations in which most of the pictures are.

    Looked at are the annotations' folder, the one around it, and the folders in that; around a
    zip file only if pictures are not in it.

    Args:
        annotations: What to find.
        home: The folder of the annotations.
        outside: The folder of the zip file that they were unpacked from; None: it was none.

    Raises:
        ImsegError: If no picture is in any of them, or two have other pictures of the same names.
    """
    pictures, around = annotations.pictures, outside or home.parent
    sample = pictures[:: max(1, len(pictures) // _SAMPLE)]
    per_picture = all(picture.start is not None for picture in pictures)
    looked_at: list[tuple[tuple[int, int], PictureIndex, lookup.Found]] = []

    def look(folder: Path, most: int = _MOST_SEARCHED) -> bool:
        index = PictureIndex(root=folder, most=most)
        found = lookup.find_all(sample, index, home)
        matches = [match for _, match in found if match.path is not None]
        score = len({match.path for match in matches}), sum(match.sure for match in matches)
        looked_at.append((score, index, found))
        return len(matches) == len(sample)

    complete = look(home, 10 * _MOST_SEARCHED)
    if not complete and any(match.beside or match.rivals for _, match in looked_at[0][2]):
        return looked_at[0][1]  # what is not found there is missing, whatever lies elsewhere
    some = looked_at[0][0][0] > 0
    near = [around / name for name in lookup.IMAGE_FOLDERS if (around / name).is_dir()]
    if not complete:
        near += [*([] if some else [around]), *listing.folders_in(around)]
    elif per_picture or outside:
        near = []
    for folder in list(dict.fromkeys(near))[:_LOOKED_AT]:
        # The pictures of a data folder are copies, and part of them may be taken out.
        if folder != home and not (folder / config.FILE_NAME).exists():
            look(folder)
    best, index, found = max(looked_at, key=lambda each: each[0])
    if some and best[0] < len(sample):
        return looked_at[0][1]  # other folders hold other pictures, some of which share a name
    if not best[0]:
        rivals = [index for _, index, found in looked_at if any(m.rivals for _, m in found)]
        if rivals or any(picture.embedded for picture in pictures):
            return [*rivals, looked_at[0][1]][0]
        raise ImsegError(
            f"The pictures of {annotations.source} are not beside it.",
            expected=f"files such as {and_more([picture.name for picture in pictures])}.",
            got=f"none of them in {home_of(annotations)} and the folders around it.",
            hint="name their folder: --images FOLDER.",
        )
    for score, other, files in looked_at:
        differ = {match.path for _, match in found} != {match.path for _, match in files}
        if score == best and differ and not _is_preferred(index.root, other.root, home):
            names = [match.path.name for _, match in found if match.path is not None]
            raise ImsegError(
                f"The pictures of {annotations.source} may be those in {index.root} or those in"
                f" {other.root}.",
                expected="one folder near the annotations with pictures of these names.",
                got=f"{and_more(names)} in both.",
                hint=f"name the right one: --images {index.root}",
            )
    return index


def _is_preferred(one: Path, other: Path, home: Path) -> bool:
    """Return whether pictures of one folder are meant rather than those of another."""
    general, rival = (folder.name in lookup.IMAGE_FOLDERS for folder in (one, other))
    return not rival and (general or one == home)


def _take_out(content: bytes, place: Path) -> Path:
    """Write the picture that stands in a file of annotations to a place, and add its suffix."""
    # What is none of these is found out when it is opened.
    fitting = [suffix for start, suffix in _STARTS.items() if content.startswith(start)]
    path = place.with_suffix((fitting or [".png"])[0])
    path.write_bytes(content)
    return path


def _unlisted(
    located: Sequence[Located], root: Path, folder: Path, tally: Tally
) -> Iterator[Located]:
    """Yield the pictures that lie beside annotated ones and have no annotations.

    What has the stem of a listed picture in the same folder is noted instead: it is its mask, most
    likely, or the same picture in another format.
    """
    listed = {each.path for each in located}
    stems = {(path.parent, path.stem) for path in listed}
    for inner in sorted({each.path.parent for each in located if not each.inside} or {root}):
        for path in itertools.chain(*listing.list_pictures(inner)[0].values()):
            if path in listed or listing.has_odd_name(path) or listing.leads_out(path, root):
                continue
            if (path.parent, path.stem) in stems:
                tally[ALIKE].append(path.name)
            else:
                name = Path(os.path.relpath(path, folder)).as_posix()
                picture = AnnotatedPicture(name=name, size=None, regions=(), file=path)
                yield Located(path=path, name=name, picture=picture, listed=False)


def _misplaced(
    lost: Mapping[str, list[str]], outside: Sequence[Path], images: Path
) -> Iterator[ImsegError]:
    """Yield the errors about files that are elsewhere or missing, and about names of several.

    Args:
        lost: What the pictures are called, by what is wrong.
        outside: The files that are elsewhere.
        images: The folder of the pictures.
    """
    missing, rivals = lost["missing"], lost["rivals"]
    if outside:
        above = Path(os.path.commonpath([lookup.absolute(images), *(p.parent for p in outside)]))
        yield ImsegError(
            f"{listing.subject(len(outside), 'file name', 'leads', 'lead')} out of {images}.",
            expected="files in the folder of the pictures; others are not read unless you say so.",
            got=f"{and_more(lost['outside'])}.",
            hint=f"copy the pictures into it, or name the folder that holds all: --images {above}",
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
    if rivals:
        yield ImsegError(
            f"{listing.subject(len(rivals), 'picture')} in {images} not named clearly enough.",
            expected="a name that leads to one file, or that one file alone has.",
            got=f"{and_more(rivals)}.",
            hint="name the folder of the right pictures: --images FOLDER; or move the others away,"
            " or mend the names in the annotations.",
        )


def _with_guesses(names: Sequence[str], images: Path) -> list[str]:
    """Return names, the first of them with a file that may be meant."""
    there: dict[str, Path] = {}
    for path in itertools.islice(images.rglob("*"), _MOST_SEARCHED):
        if path.suffix.lower() in SUFFIXES:
            there.setdefault(path.stem, path)
    shown = list(names)
    for index, name in enumerate(names[:_SHOWN]):
        guess = listing.nearest_stem(Path(lookup.read_name(name).parts[-1]).stem, there)
        if guess:
            shown[index] += f" (is it {there[guess].relative_to(images).as_posix()}?)"
    return shown


def _read_sizes(located: Sequence[Located], pages: Pages) -> tuple[list[Located], list[ImsegError]]:
    """Return the pictures with their sizes as they are displayed, and all that does not fit."""
    found = list(facts.map_in_threads(partial(_probe, pages=pages), located))
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


def _probe(each: Located, *, pages: Pages) -> Size | UnreadablePicture:
    path = each.path
    if path.suffix.lower() not in SUFFIXES:
        reason = f"has the suffix {path.suffix or 'of no file type'}, which is not read"
        expected = ", ".join(sorted(SUFFIXES)) + " (upper case too)."
        known = how_to_convert([path])
        hint = known[1] if known else "convert the picture."
        return UnreadablePicture(path, reason, expected=expected, hint=hint)
    try:
        return probe(path, pages=pages, hint=_PAGES_HINT).size
    except UnreadablePicture as error:
        if not each.inside:
            return error
        return UnreadablePicture(
            each.picture.file,
            f"holds a picture (imageData) that {error.reason}",
            expected=error.expected or "",
            hint="put the picture file beside it.",
        )
