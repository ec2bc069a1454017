"""ImageJ and Fiji: regions of interest (ROIs) in .roi files, or many in a zip file per picture."""

import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imseg.data.files.archives import ArchiveLimits, open_archive, read_files
from imseg.data.files.atomic import read_bounded
from imseg.data.files.listing import list_pictures
from imseg.data.polygons import drawings
from imseg.errors import ImsegError, and_more, import_extra

OBJECT, NO_GROUP = "object", "no group"
"""The label of all ROIs where none has a group, and of those without one where some have."""
NAMES = "words in names of ROIs (names give no classes: give the ROIs a group in ImageJ for that)"
"""What is noted where ROIs seem to be named by their class."""
UNGROUPED = f"ROIs without a group beside others with one (taken for {NO_GROUP!r})"
"""What is noted where some ROIs have a group."""
CURVED = "smoothed outlines or rounded corners (taken as straight lines)"
"""What is noted for splines and rounded rectangles."""
LATER = "ROIs on a later slice of a stack (the picture must be that slice)"
"""What is noted for ROIs that were drawn on another slice than the first."""

_START, _ZIP = b"Iout", b"PK\x03\x04"
_LIMITS = ArchiveLimits(entry_bytes=64 << 20, total_bytes=1 << 30)
_AUTOMATIC = re.compile(r"\d+(-\d{4,})*(-\d+)?")  # slice, middle of the ROI, or a number
_CODE = re.compile(  # UUIDs, with marks or without, and other long hexadecimal numbers
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![^\W_])(?=[a-f]*[0-9]+[a-f])[0-9a-f]{7,}(?![^\W_])"
)
_SET = re.compile(r"^roi(set|s)?[ _-]+|[ _-]+roi(set|s)?$|^roi(set|s)?$", re.IGNORECASE)
_BROKEN = (ValueError, TypeError, IndexError, RuntimeError, OverflowError, struct.error)


def is_imagej(file: drawings.AnnotationFile) -> bool:
    """Return whether a file is a ROI, or a zip file of nothing but ROIs."""
    return file.start.startswith(_START) or (
        file.start.startswith(_ZIP) and holds_rois_only(file.path)
    )


def holds_rois_only(path: Path) -> bool:
    """Return whether a file is a zip file of ROIs, as ImageJ's ROI Manager saves it."""
    if path.suffix.lower() != ".zip":
        return False
    try:
        with open_archive(path, most_read=_LIMITS.header_bytes) as entries:
            names = [Path(each.name) for each in entries if not each.is_folder]
    except ImsegError:
        return False
    shown = [name for name in names if not name.name.startswith((".", "__MACOSX"))]
    return bool(shown) and all(name.suffix.lower() == ".roi" for name in shown)


def read_imagej(files: Sequence[drawings.AnnotationFile], source: Path) -> drawings.Annotations:
    """Return what files of ROIs say: objects of one class, or a class for each group.

    Args:
        files: At least one.
        source: The file or folder that the user named.

    Raises:
        ImsegError: If a file is damaged, or its ROIs lie on several slices of a stack.
    """
    tally = drawings.Tally(list)
    rois: dict[Path, list[tuple[str, Any]]] = {}
    first: dict[Path, Path] = {}
    for path, picture in _pictures_of([file.path for file in files]).items():
        first.setdefault(picture, path)
        rois.setdefault(picture, []).extend(_read(path))
    every = [roi for found in rois.values() for _, roi in found]
    grouped = any(roi.group > 0 for roi in every)
    names = (_CODE.sub(" ", roi.name.lower()) for roi in every)
    words = {re.sub(r"[\W\d_]+", " ", name).strip() for name in names} - {""}
    if len(words) > 1 and not grouped:
        tally[NAMES] += sorted(words)
    pictures = []
    for picture, found in rois.items():
        _check_slices(found, first[picture], tally)
        pictures.append(
            drawings.AnnotatedPicture(
                name=picture.name,
                size=None,
                regions=tuple(_regions(found, grouped=grouped, tally=tally)),
                file=first[picture],
                start=picture.parent,
                by_stem=not picture.is_file(),
            )
        )
    labels = {region.label for picture in pictures for region in picture.regions}
    return drawings.Annotations(
        format="ImageJ",
        source=source,
        labels=tuple(sorted(labels, key=lambda label: (label == NO_GROUP, len(label), label))),
        pictures=tuple(pictures),
        tally=tally,
    )


def _pictures_of(paths: Sequence[Path]) -> dict[Path, Path]:
    """Return the picture of each file of ROIs, without its suffix where it is not beside them.

    ``cell_01_RoiSet.zip`` and ``cell_01.roi`` mean ``cell_01``. ``RoiSet.zip``, and ROIs with
    ImageJ's own names (0012-0345.roi) or numbers, mean the one picture beside them, or what has
    the name of their folder.
    """
    found: dict[Path, Path] = {}
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        folders[path.parent].append(path)
    for folder, files in folders.items():
        beside = list_pictures(folder)[0]
        stems = {
            path: path.stem if path.stem in beside else _SET.sub("", path.stem) for path in files
        }
        named = any(stem in beside for stem in stems.values())
        pictures = [path for each in beside.values() for path in each]
        whole = pictures[0] if len(pictures) == 1 else folder / folder.absolute().name
        for path, stem in stems.items():
            own = path.suffix.lower() == ".zip" or not _AUTOMATIC.fullmatch(stem)
            # Where pictures have numbers for names, that of a ROI is likely to be that of another.
            own |= stem.isdigit() and len(pictures) == 1 and whole.stem.isdigit()
            found[path] = folder / stem if named or (stem and own) else whole
    return found


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the ROIs of a file, and where each stands."""
    library = import_extra("roifile", extra="polygons", purpose="to read ROIs of ImageJ")
    if path.suffix.lower() == ".zip":
        contents = [
            (f"{path}: {name}", name.stem, data) for name, data in read_files(path, limits=_LIMITS)
        ]
    else:
        contents = [(str(path), path.stem, read_bounded(path, _LIMITS.entry_bytes))]
    for place, name, data in contents:
        try:
            roi = library.ImagejRoi.frombytes(data)
        except _BROKEN as error:
            raise _damaged(place, error) from error
        roi.name = roi.name or name
        yield place, roi


def _damaged(place: str, error: Exception) -> ImsegError:
    return ImsegError(
        f"{place} cannot be read.",
        expected="a whole ROI, as ImageJ saves it.",
        got=f"{error or type(error).__name__}.",
        hint="save it again with ImageJ's ROI Manager.",
    )


def _check_slices(rois: Sequence[tuple[str, Any]], path: Path, tally: drawings.Tally) -> None:
    """Refuse ROIs on several slices or frames; those of several channels lie on one picture."""
    places = {
        place: (roi.z_position, roi.t_position)
        if roi.z_position or roi.t_position
        else (roi.position, 0)
        for place, roi in rois
    }
    slices = set(places.values()) - {(0, 0)}
    if len(slices) > 1:
        words = [f"slice {z}" + (f", frame {t}" if t else "") for z, t in sorted(slices)]
        raise ImsegError(
            f"{path} has ROIs on several slices of a stack.",
            expected="the ROIs of one slice, drawn on a picture of this slice.",
            got=f"{and_more(words)}.",
            hint="save each slice as a picture, and its ROIs as a zip file of that name.",
        )
    if any(max(each) > 1 for each in slices):
        ((z, t),) = slices
        which = f"slice {z}" + (f", frame {t}" if t else "")
        tally[LATER] += [f"{place} ({which})" for place, found in places.items() if max(found) > 1]


def _regions(
    rois: Sequence[tuple[str, Any]], *, grouped: bool, tally: drawings.Tally
) -> Iterator[drawings.Region]:
    """Yield the regions of a picture; lines and points are noted."""
    for place, roi in rois:
        try:
            drawn = _drawn(roi)
        except (*_BROKEN, NotImplementedError) as error:
            raise _damaged(place, error) from error
        if isinstance(drawn, str):
            tally[drawings.NO_AREA.format(drawn)].append(place)
            continue
        area = drawings.as_area(drawn, place, tally)
        if area is None:
            continue
        if roi.options & 1 or (roi.rounded_rect_arc_size and roi.roitype == 1):
            tally[CURVED].append(place)
        label = f"group {roi.group}" if roi.group > 0 else NO_GROUP if grouped else OBJECT
        if label == NO_GROUP:
            tally[UNGROUPED].append(place)
        yield drawings.Region(label=label, area=area, place=place)


def _drawn(roi: Any) -> list[drawings.Corners] | str:
    """Return where a ROI is, or its kind if it has no area."""
    kind, variant = str(roi.roitype.name).lower(), str(roi.subtype.name).lower()
    if variant in ("text", "arrow", "image"):
        return variant
    if kind in ("rect", "oval") and not roi.composite:
        left, top, right, bottom = roi.left, roi.top, roi.right, roi.bottom
        if roi.subpixelrect:
            left, top, right, bottom = roi.xd, roi.yd, roi.xd + roi.widthd, roi.yd + roi.heightd
        if kind == "rect":
            return [drawings.ring(drawings.rectangle(left, top, right, bottom))]
        middle, radii = (
            ((left + right) / 2, (top + bottom) / 2),
            ((right - left) / 2, (bottom - top) / 2),
        )
        return [drawings.ellipse(middle, radii)]
    if kind == "rect":
        parts = [drawings.ring(part) for part in roi.coordinates(multi=True) if len(part) >= 3]
        return [drawings.merge_rings(parts)] if parts else []
    if kind in ("polygon", "freehand", "traced"):
        return [drawings.ring(roi.coordinates())]
    if kind == "unknown":
        raise ValueError(f"a ROI of the unknown type {int(roi.roitype)}")
    return kind
