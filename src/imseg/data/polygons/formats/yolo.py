"""YOLO for segmentation: a text file per picture, corners as shares of its width and height."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.files.listing import files_in
from imseg.data.images.decoding import SUFFIXES
from imseg.data.polygons import drawings
from imseg.data.polygons.lookup import read_name
from imseg.data.polygons.text_files import read_text
from imseg.errors import ImsegError, and_more, import_extra

BOXES = "lines of five numbers: boxes (YOLO for detection), which have no outline"
"""What is noted for lines that were not made for segmentation."""
NO_NAMES = "folders without a data.yaml or classes.txt: classes have their numbers for names"
"""What is noted where nothing names the classes."""
EMPTY = "text files without a line: nothing is on these pictures (masks of background)"
"""What is noted for pictures without a region."""

_LABELS, _IMAGES = "labels", "images"
_SPLITS = ("train", "val", "valid", "test")
_SETTINGS = (".yaml", ".yml")
_LISTS = ("classes.txt", "predefined_classes.txt", "_darknet.labels")
_TOLERANCE = 0.01  # of the picture; YOLO's own reader lets corners lie so far out
_MOST_CLASSES = 65536
_BOX, _FEWEST = 4, 6  # numbers after the class


def is_yolo(file: drawings.AnnotationFile) -> bool:
    """Return whether a file has lines of YOLO, or is the settings file of such a data set."""
    path, suffix = file.path, file.path.suffix.lower()
    if suffix in _SETTINGS:
        folders = [path.parent / split / _LABELS for split in ("", *_SPLITS)]
        return any(next(folder.rglob("*.txt"), None) for folder in folders)
    if suffix != ".txt" or path.name.lower() in _LISTS or path.stem.lower().startswith("readme"):
        return False
    words = file.start.partition(b"\n")[0].split()
    if _LABELS in path.parts[-3:-1]:
        return True  # what is wrong in it is said
    try:
        numbers = np.array(words[: _BOX + 1], np.float64)  # later ones may be cut short
    except ValueError:
        return False
    beside = any(path.with_suffix(each).is_file() for each in SUFFIXES)
    if not words:
        return beside
    return len(words) > _BOX and (beside or bool(_are_shares(numbers[1:]).all()))


def _are_shares(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.abs(numbers - 0.5) <= 0.5 + _TOLERANCE


@dataclass(frozen=True, slots=True)
class ClassNames:
    """The names of classes, and where they stand."""

    path: Path
    """The file that names them; a folder: there is none."""
    names: Mapping[int, str]
    """By number; empty if nothing names them."""
    parts: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    """``train``, ``val`` or ``test``, by the last parts of the paths of folders and pictures."""

    def part_of(self, picture: str) -> str:
        """Return the part that a picture is of; empty: the settings do not say."""
        steps = tuple(picture.split("/"))
        ends = [each[at:] for each in (steps, steps[:-1]) for at in range(len(each))]
        return next((self.parts[end] for end in ends if end in self.parts), "")


@dataclass(frozen=True, slots=True)
class YoloLine:
    """A line of numbers."""

    place: str
    """The file and the line."""
    kind: int
    """The number of the class."""
    numbers: npt.NDArray[np.float64]
    """What follows it."""


def read_yolo(files: Sequence[drawings.AnnotationFile], source: Path) -> drawings.Annotations:
    """Return what YOLO files say. Labels come in the order of the data set's list of names.

    Args:
        files: Text files, or the settings of a data set that these are below.
        source: The file or folder that the user named.

    Raises:
        ImsegError: If a line is not as YOLO has it, or has a class that is not named.
    """
    top = source if source.is_dir() else source.parent
    paths = [each.path for each in files if each.path.suffix.lower() == ".txt"]
    if not paths:
        paths = [path for path in sorted(top.rglob("*.txt")) if _LABELS in path.parts[-3:-1]]
    if not paths:
        raise ImsegError(
            f"{source} is beside no labels of YOLO.",
            expected=f"a text file per picture in {top / _LABELS}.",
            hint="name the folder of the data set.",
        )
    base = _base_of(top)
    tally = drawings.Tally(list)
    known: dict[Path, ClassNames] = {}
    pictures, kinds, labels = [], [0], dict[str, None]()
    for path in paths:
        if path.parent not in known:
            known[path.parent] = named = _names_for(path.parent, base, files[0].encoding)
            labels |= dict.fromkeys(named.names.values())
            if not named.names:
                tally[NO_NAMES].append(str(path.parent))
        place = path.relative_to(base)
        lines = list(_lines(path))
        if not lines:
            tally[EMPTY].append(place.as_posix())
        if not known[path.parent].names:
            kinds += [1 + line.kind for line in lines]
        regions = tuple(_regions(lines, known[path.parent], tally))
        pictures.append(
            drawings.AnnotatedPicture(
                name=_picture_name(place),
                size=None,
                regions=regions,
                file=path,
                by_stem=True,
                finished=not lines,
                subset=known[path.parent].part_of(_picture_name(place)),
            )
        )
    return drawings.Annotations(
        format="YOLO",
        source=base,
        labels=tuple(labels | dict.fromkeys(str(kind) for kind in range(max(kinds)))),
        pictures=tuple(pictures),
        tally=tally,
    )


def _base_of(top: Path) -> Path:
    """Return the folder in which pictures and labels are: that above ``labels``, or ``top``."""
    labels = next((folder for folder in (top, top.parent) if folder.name == _LABELS), None)
    return top if labels is None else labels.parent


def _picture_name(place: Path) -> str:
    """Return where the picture of a text file is: the last ``labels`` of the path is ``images``."""
    parts = list(place.with_suffix("").parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == _LABELS:
            parts[index] = _IMAGES
            break
    return "/".join(parts)


def _lines(path: Path) -> Iterator[YoloLine]:
    """Yield the lines of a text file."""
    text = read_text(path)
    for index, line in enumerate(text.splitlines(), start=1):
        words, place = line.split(), f"{path}, line {index}"
        if not words:
            continue
        expected = "a class number and numbers of 0 to 1: class x y x y x y ..."
        try:
            numbers = np.array(words, np.float64)
        except ValueError:
            reason = drawings.wrong("is no line of numbers.", expected, line)
            raise drawings.entry_error(place, reason) from None
        kind, corners = float(numbers[0]), numbers[1:]
        if not (kind.is_integer() and 0 <= kind < _MOST_CLASSES):
            raise drawings.entry_error(place, drawings.wrong("has no class.", expected, words[0]))
        if len(corners) != _BOX and (len(corners) < _FEWEST or len(corners) % 2):
            what = f"has {len(corners)} numbers after the class, which are no pairs of 3 corners."
            raise drawings.entry_error(place, drawings.wrong(what, expected, line))
        strange = corners[~_are_shares(corners)]
        if len(strange):
            what = "has a number that is no share of the picture."
            raise drawings.entry_error(place, drawings.wrong(what, expected, float(strange[0])))
        yield YoloLine(place, int(kind), corners)


def _regions(
    lines: Sequence[YoloLine], named: ClassNames, tally: drawings.Tally
) -> Iterator[drawings.Region]:
    """Yield the regions of a picture; boxes are noted."""
    for line in lines:
        label = named.names.get(line.kind, "" if named.names else str(line.kind))
        if not label:
            numbered = [f"{number} ({name})" for number, name in named.names.items()]
            expected = f"a class that {named.path} names: {and_more(numbered, 8)}."
            reason = drawings.wrong("has a class without a name.", expected, line.kind)
            raise drawings.entry_error(line.place, reason)
        if len(line.numbers) == _BOX:
            tally[BOXES].append(line.place)
            continue
        area = drawings.Outline((drawings.ring(line.numbers),), shares=True)
        yield drawings.Region(label=label, area=area, place=line.place)


def _names_for(folder: Path, base: Path, encoding: str | None) -> ClassNames:
    """Return the names for a folder of text files: the nearest ones, up to the top of the data."""
    # The settings of a data set lie beside train, valid and test, one of which may be the base.
    top = base.parent if base.name in _SPLITS else base
    for each in (folder, *folder.parents):
        if not each.is_relative_to(top):
            break
        found = [found for path in files_in(each) if (found := _names_in(path, encoding)).names]
        if len({tuple(named.names.items()) for named in found}) > 1:
            raise ImsegError(
                f"{each} has several lists of classes that differ.",
                expected="one, such as data.yaml.",
                got=f"{and_more([named.path.name for named in found])}.",
                hint="remove those that do not belong to the labels.",
            )
        if found:
            return found[0]
    return ClassNames(folder, {})


def _names_in(path: Path, encoding: str | None) -> ClassNames:
    """Return the names of classes in a file; none if it is another kind of file."""
    settings = path.suffix.lower() in _SETTINGS
    if not settings and path.name.lower() not in _LISTS and path.suffix.lower() != ".names":
        return ClassNames(path, {})
    text = read_text(path, encoding)
    content = _parse_settings(text, path) if settings else {}
    plain: Any = content.get("names") if settings else text.rstrip().splitlines()
    if isinstance(plain, Mapping):
        pairs = list(plain.items())
    else:
        pairs = list(enumerate(plain if isinstance(plain, list) else []))
    try:
        names = {int(number): " ".join(name.split()) for number, name in pairs}
    except (ValueError, AttributeError) as error:
        expected = "texts, in a list or by number (0: cell)."
        reason = drawings.wrong("has wrong names.", expected, error)
        raise drawings.entry_error(str(path), reason) from error
    return ClassNames(path, dict(sorted(names.items())), _parts_in(content, path.parent))


def _parts_in(content: Mapping[str, Any], folder: Path) -> dict[tuple[str, ...], str]:
    """Return which part folders and pictures are of, as settings say it, by all ends of paths."""
    found: dict[tuple[str, ...], str] = {}
    for part in ("train", "val", "test"):
        named = content.get(part)
        for place in named if isinstance(named, list) else [named]:
            if not isinstance(place, str):
                continue
            # A text file lists the paths of pictures.
            lists = folder.joinpath(*read_name(place).parts)
            listed = lists.suffix.lower() == ".txt" and lists.is_file()
            paths = read_text(lists).splitlines() if listed else [place]
            for path in filter(None, map(str.strip, paths)):
                steps = read_name(path.rsplit(".", 1)[0] if listed else path).parts
                for at in range(len(steps)):
                    if at == 0 or steps[at:] != (_IMAGES,):  # other parts have such a folder, too
                        found.setdefault(steps[at:], part)
    return found


def _parse_settings(text: str, path: Path) -> Mapping[str, Any]:
    """Return the settings of a data set; nothing if they are of another kind."""
    library = import_extra("yaml", extra="polygons", purpose=f"to read {path.name}")
    try:
        # Texts, lists and mappings alone: tags make nothing, and "no" and 012 stay as written.
        plain = library.load(text, Loader=library.BaseLoader)
    except (library.YAMLError, RecursionError) as error:
        raise ImsegError(
            f"{path} is not valid YAML.",
            expected="the settings of a data set for YOLO, with names.",
            got=f"{' '.join(str(error).split())}.",
            hint="export the data set again, or mend the file.",
        ) from error
    if not isinstance(plain, Mapping):
        return {}
    if "kpt_shape" in plain:
        raise ImsegError(
            f"{path} describes key points (kpt_shape), not outlines.",
            expected="a data set for segmentation.",
            hint="export the data set for segmentation.",
        )
    return plain
