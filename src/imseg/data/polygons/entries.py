"""Pictures with their files: which part of the data each is in, and several entries for one."""

import filecmp
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath

import numpy as np

from imseg.data.files import listing
from imseg.data.polygons.drawings import AnnotatedPicture, Area, Outline, Region, Tally
from imseg.data.polygons.lookup import Match, absolute, read_name
from imseg.errors import ImsegError, and_more

_LONGEST = 100  # characters of a joined name; file systems end at 255 bytes

LEFT_OUT = "pictures for validation or test without a region (left out)"
"""What is noted for pictures that can neither be scored nor trained on."""
COPIES = "pictures that are listed elsewhere, too (copies; left out)"
"""What is noted for pictures beside annotated ones that another file of annotations lists."""

_SUBSETS = {"val": "val(id(ation)?)?|dev", "test": "test(ing)?", "labeled": "train(ing)?"}

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
    match: Match | None = None
    """How the file was found; None: it stands in the annotations, or they do not list it."""
    size: Size = (0, 0)
    """Its size; zeros if the annotations do not list it."""
    listed: bool = True
    """Whether the annotations list it."""
    inside: bool = False
    """Whether the picture stands in the annotations."""
    stem: str = ""
    """Under which it is copied; see ``choose_stems``."""
    split: str = ""
    """The part of the data set: ``labeled``, ``val`` or ``test``; empty: nothing says so."""


def split_of(name: str) -> str:
    """Return which part of a data set a name such as ``train2017`` stands for, or nothing.

    One of its words is enough, as in ``job_3_test``; the first that stands for a part counts.
    """
    return next(filter(None, map(_split_of_word, re.split(r"[-_. ]+", name))), "")


def _split_of_word(word: str) -> str:
    for split, pattern in _SUBSETS.items():
        if re.fullmatch(f"({pattern})[-_ ]?(set)?[-_ ]?[0-9]{{0,4}}", word.strip().lower()):
            return split
    return ""


def assign_splits(pictures: Sequence[Located], home: Path, *, named: bool) -> list[Located]:
    """Return pictures with the part of the data set that the annotations put each in.

    The annotations say so themselves (CVAT), or by the name of a file or folder of theirs, or by
    a folder of the picture's name. The name of a file that is of one picture says nothing.

    Args:
        pictures: Of one source.
        home: The folder of annotations that the user named.
        named: Whether the name of this folder counts, too.
    """
    found = []
    for each in pictures:
        picture = each.picture
        inner = absolute(picture.file.parent)
        near = inner.relative_to(home).parts if inner.is_relative_to(home) else ()
        own = [] if picture.start or picture.by_stem else [picture.file.stem]
        # Folders of names may be those of a computer, so that a word in them means little.
        folders = map(_split_of_word, read_name(picture.name).parts[-2::-1])
        said = [*map(split_of, [picture.subset, *own, *near[::-1]]), *folders]
        split = next(filter(None, [*said, split_of(home.name) if named else ""]), "")
        found.append(replace(each, split=split))
    return found


def settle_splits(pictures: Sequence[Located]) -> list[Located]:
    """Return pictures with the part of the data set that each goes to.

    Parts are kept if there are several, and one of them to learn from. A single part is simply the
    data. Pictures that are not listed belong to the part of those around them.

    Args:
        pictures: Of all sources.
    """
    folders: dict[Path, set[str]] = defaultdict(set)
    for each in pictures:
        if each.listed:
            folders[each.path.parent].add(each.split)
    splits = [
        each.split if each.listed else min(folders[each.path.parent], default="")
        for each in pictures
    ]
    if all(split in ("val", "test") for split in splits):
        # There is nothing to learn from but these.
        learned = "val" if "val" in splits else "test"
        splits = ["" if split == learned else split for split in splits]
    return [
        replace(each, split=split or "labeled")
        for each, split in zip(pictures, splits, strict=True)
    ]


def merge_entries(found: Sequence[Located]) -> tuple[list[Located], list[ImsegError]]:
    """Return one entry per file, and the error about files that have several that differ.

    Files of annotations that share pictures, as the jobs of one task do, say the same of them, or
    one of them nothing.
    """
    entries: dict[Path, list[Located]] = defaultdict(list)
    for each in found:
        entries[each.path].append(each)
    return _merge(entries.values())


def merge_copies(found: Sequence[Located], tally: Tally, *, several: bool) -> list[Located]:
    """Return pictures without those that are there twice: with one name and equal content.

    Args:
        found: Of all sources.
        tally: What is left out is noted here.
        several: Whether there are several sources. One that lists a picture twice means both.

    Raises:
        ImsegError: If sources say different things about one picture.
    """
    entries: list[list[Located]] = []
    by_name: dict[str, list[list[Located]]] = defaultdict(list)
    for each in sorted(found, key=lambda each: not each.listed):
        alike = by_name[listing.folded(PurePosixPath(each.name).name)]
        group = next((one for one in alike if _same_file(one[0].path, each.path)), None)
        if group and not each.listed and (several or group[0].listed):
            if group[0].listed:
                tally[COPIES].append(each.name)
            continue
        if group is None or not several:
            alike.append(group := [])
            entries.append(group)
        group.append(each)
    merged, errors = _merge(entries)
    if errors:
        raise errors[0]
    return merged


def _same_file(one: Path, other: Path) -> bool:
    return one == other or filecmp.cmp(one, other, shallow=False)


def _merge(entries: Iterable[list[Located]]) -> tuple[list[Located], list[ImsegError]]:
    kept, texts = [], []
    for several in entries:
        first, *rest = [each for each in several if each.picture.regions] or several
        apart = len({each.picture.file for each in several}) == len(several)
        agree = len({each.split for each in (first, *rest)}) == 1
        whole = all(each.picture.start is None for each in several)
        if len(several) == 1 or (apart and agree and whole and all(_equal(first, r) for r in rest)):
            kept.append(first)
            continue
        names = [
            each.picture.file.name
            if not whole
            else f"{each.picture.name} in {each.picture.file.name}"
            if apart
            else each.picture.name
            for each in several
        ]
        texts.append(f"{first.path.name} from {' and '.join(names[:3])}")
    error = ImsegError(
        f"{listing.subject(len(texts), 'file', 'has', 'have')} more than one entry in the"
        " annotations.",
        expected="one entry per picture, or entries that are equal.",
        got=f"{and_more(texts)}.",
        hint="merge or remove the entries; if they mean pictures of one name in different"
        " folders, name the folder above those with --images; if in different tasks of CVAT, export"
        " each task with its pictures, and name these zip files together.",
    )
    return kept, [error] if texts else []


def _equal(one: Located, other: Located) -> bool:
    """Return whether two entries have the same regions."""
    pairs = (one.picture.regions, other.picture.regions)
    return len(pairs[0]) == len(pairs[1]) and all(map(_equal_regions, *pairs))


def _equal_regions(one: Region, other: Region) -> bool:
    said = [(each.label, each.role, each.order, each.crowd) for each in (one, other)]
    return said[0] == said[1] and _equal_areas(one.area, other.area)


def _equal_areas(one: Area, other: Area) -> bool:
    if isinstance(one, Outline) and isinstance(other, Outline):
        rings = (one.rings, other.rings)
        same = len(rings[0]) == len(rings[1]) and one.shares == other.shares
        return same and all(map(np.array_equal, *rings))
    if type(one) is not type(other):
        return False
    return all(
        np.array_equal(getattr(one, each.name), getattr(other, each.name)) for each in fields(one)
    )


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
            numbered = (f"{joined}_{number}" for number in itertools.count(2))
            wanted = itertools.chain([joined, f"{joined}_{suffix}"], numbered)
            stem = next(each for each in wanted if each.lower() not in taken)
            taken.add(stem.lower())
        chosen[name] = stem
    return chosen
