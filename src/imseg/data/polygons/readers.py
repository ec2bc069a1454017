"""The format of annotations in a file, a folder or a zip file; each has an entry in ``FORMATS``."""

import json
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imseg.data.files import atomic
from imseg.data.files.archives import ArchiveLimits, open_archive
from imseg.data.images.decoding import SUFFIXES
from imseg.data.polygons.drawings import AnnotationFile, Annotations, join
from imseg.data.polygons.formats import coco, cvat, geojson, imagej, label_studio, labelme, yolo
from imseg.data.polygons.text_files import read_json
from imseg.errors import ImsegError, and_more, near_miss, raise_all, shown


@dataclass(frozen=True, slots=True)
class Format:
    """How files of one format are recognized and read."""

    name: str
    """What users call it."""
    suffixes: tuple[str, ...]
    """How the names of its files end, in lower case; by these they are found in folders."""
    recognizes: Callable[[AnnotationFile], bool]
    """Whether a file has this format, by its content."""
    read: Callable[[Sequence[AnnotationFile], Path], Annotations]
    """Returns what files say; the path is the file or folder that the user named."""


FORMATS = (
    Format("LabelMe", (".json",), labelme.is_labelme, labelme.read_labelme),
    Format("COCO", (".json",), coco.is_coco, coco.read_coco),
    Format("CVAT", (".xml",), cvat.is_cvat, cvat.read_cvat),
    Format(
        "Label Studio", (".json",), label_studio.is_label_studio, label_studio.read_label_studio
    ),
    Format("GeoJSON", (".geojson", ".json"), geojson.is_geojson, geojson.read_geojson),
    Format("YOLO", (".txt", ".yaml", ".yml"), yolo.is_yolo, yolo.read_yolo),
    Format("ImageJ", (".roi", ".zip"), imagej.is_imagej, imagej.read_imagej),
)
"""All formats; the first that recognizes a file reads it."""

UNKNOWN_KIND = "JSON and XML files of another kind (not read)"
"""What is noted for files that lie among the annotations and are none of a known format."""


def is_archive_of_annotations(path: Path) -> bool:
    """Return whether a path is that of a zip file to unpack, not itself a file of annotations.

    Raises:
        ImsegError: If there is no such file or folder.
    """
    if path.is_dir() or not _start(path).startswith(b"PK\x03\x04"):
        return False
    return _recognize(_look_into(path)) is None


def find_unread_archives(folder: Path) -> list[Path]:
    """Return the zip files in a folder that seem to hold annotations, or that cannot be opened.

    They are read only if they are named, because they may say again what lies beside them.
    """
    return [
        path
        for path in _files_in(folder, {".zip"})
        if not imagej.holds_rois_only(path) and _may_hold_annotations(path)
    ]


def _may_hold_annotations(path: Path) -> bool:
    # Any program writes texts, so those count only where YOLO has them.
    suffixes = {suffix for known in FORMATS for suffix in known.suffixes} - {".txt"}
    try:
        with open_archive(path, most_read=ArchiveLimits().header_bytes) as entries:
            names = [PurePosixPath(entry.name) for entry in entries if not entry.is_folder]
    except ImsegError:
        return True
    return any(
        name.suffix.lower() in suffixes or not _TEXT_FOLDERS.isdisjoint(name.parts)
        for name in names
    )


def _files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Return the files of some suffixes in a folder and those in it, without hidden ones."""
    inside = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    return [path for path in inside if path.is_file() and _is_shown(path.relative_to(folder))]


_EXPECTED = (
    "COCO, LabelMe, Label Studio (.json), CVAT for images (.xml), GeoJSON, YOLO (.txt) or ImageJ"
    " (.roi), a folder of these or a .zip."
)
_SHOWN_ERRORS = 5
_NAMED_ARCHIVES = 8
_TEXT_FOLDERS = {"labels", "obj_train_data"}


def read_annotations(source: Path | Sequence[Path], *, encoding: str | None = None) -> Annotations:
    """Return what annotations say, whichever of the known formats they have.

    Args:
        source: A file of annotations, a folder of files of one format, or files in one folder.
        encoding: The encoding of texts that are not UTF-8.

    Raises:
        ImsegError: If there is nothing, it is of another kind, or it is damaged.
    """
    paths = [source] if isinstance(source, Path) else list(source)
    if paths[0].is_dir():
        return _read_folder(paths[0], encoding)
    groups: dict[Format, list[AnnotationFile]] = {}
    for path in paths:
        file = _look_into(path, encoding)
        known = _recognize(file)
        if known is None:
            raise _not_recognized(file)
        groups.setdefault(known, []).append(file)
    named = paths[0] if len(paths) == 1 else paths[0].parent
    parts = [known.read(groups[known], named) for known in FORMATS if known in groups]
    return join(parts, named)


def _look_into(path: Path, encoding: str | None = None) -> AnnotationFile:
    """Return what is needed to recognize the format of a file."""
    start = _start(path)
    plain = read_json(path, encoding) if start.startswith((b"{", b"[")) else None
    if isinstance(plain, dict) and plain.get("imageData"):
        # The pictures inside would fill the memory; their files are read again if needed.
        plain["imageData"] = True
    return AnnotationFile(path=path, start=start, plain=plain, encoding=encoding)


def _recognize(file: AnnotationFile) -> Format | None:
    return next((known for known in FORMATS if known.recognizes(file)), None)


def _not_recognized(file: AnnotationFile) -> ImsegError:
    """Return the error about a file of no known format."""
    if file.plain is not None:
        return _unknown(file.path, *_guess(file.plain))
    if file.start.startswith(b"<"):
        return cvat.other_xml(file)
    text = file.start[:20].decode("utf-8", "replace").split("\n")[0]
    hint, suffix = "export as COCO, LabelMe or CVAT for images 1.1.", file.path.suffix.lower()
    if not text:
        return _unknown(file.path, "an empty file.", "export or copy it again.")
    if suffix == ".zip":
        got = f"a file that is no whole zip file, with {text!r} at its start."
        return _unknown(file.path, got, "export, download or copy it again.")
    if suffix in (".csv", ".tsv"):
        hint = "export as JSON (of Label Studio: JSON or JSON-MIN; of other tools: COCO)."
        return _unknown(file.path, f"a table that begins with {text!r}.", hint)
    if suffix in SUFFIXES:
        hint = "name the file or folder of the annotations; --images FOLDER names the pictures."
        return _unknown(file.path, "a picture.", hint)
    return _unknown(file.path, f"{text!r} at its start.", hint)


def _read_folder(folder: Path, encoding: str | None) -> Annotations:
    """Return what the files of one format in a folder and the folders in it say."""
    suffixes = {suffix for known in FORMATS for suffix in known.suffixes}
    paths = _files_in(folder, suffixes)
    found: dict[Format, list[AnnotationFile]] = {}
    others: list[AnnotationFile] = []
    errors: list[ImsegError] = []
    for path in paths:
        try:
            file = _look_into(path, encoding)
        except ImsegError as error:
            errors.append(error)
            continue
        known = _recognize(file)
        (found.setdefault(known, []) if known else others).append(file)
    if len(errors) > _SHOWN_ERRORS:
        rest = f"{len(errors) - _SHOWN_ERRORS} more files in {folder} cannot be read."
        errors = [*errors[:_SHOWN_ERRORS], ImsegError(rest, hint="export them again.")]
    raise_all(errors)
    if not found:
        raise _nothing_in(folder, others)
    if len(found) > 1:
        counts = [
            f"{len(files)} of {each.name} ({files[0].path.name})" for each, files in found.items()
        ]
        raise ImsegError(
            f"{folder} holds annotations of several formats.",
            expected="one format, so that no outline is read twice.",
            got=f"{', '.join(counts)}.",
            hint="name the files of one format instead of the folder.",
        )
    ((known, files),) = found.items()
    annotations = known.read(files, folder)
    for file in others:
        if file.path.suffix.lower() in (".json", ".geojson", ".xml"):
            annotations.tally[UNKNOWN_KIND].append(str(file.path.relative_to(folder)))
    return annotations


def _is_shown(path: Path) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _nothing_in(folder: Path, others: Sequence[AnnotationFile]) -> ImsegError:
    """Return the error about a folder without annotations of a known format."""
    for file in others:
        if file.plain is not None or file.start.startswith(b"<"):
            return _not_recognized(file)
    there = sorted(path.name for path in folder.iterdir())
    zips = [folder / name for name in there if name.lower().endswith(".zip")]
    hint = "name the file or folder of the annotations."
    if zips:
        hint = f"imseg polygons {name_archives(zips)} --out DATA"
    return _unknown(folder, f"{and_more(there) or 'an empty folder'}.", hint)


def name_archives(paths: Sequence[Path]) -> str:
    """Return how to name files on the command line: each, or many by a pattern per folder."""
    if len(paths) <= _NAMED_ARCHIVES:
        return " ".join(shlex.quote(str(path)) for path in paths)
    folders = dict.fromkeys((path.parent, path.suffix) for path in paths)
    return " ".join(
        f"{'' if folder == Path() else shlex.quote(str(folder)) + '/'}*{suffix}"
        for folder, suffix in folders
    )


def _start(path: Path) -> bytes:
    """Return the first bytes of a file that are not blank."""
    try:
        with atomic.open_plain(path) as file:
            start = file.read(512)
    except FileNotFoundError:
        near = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = near_miss(path.name, near)
        raise ImsegError(
            f"There is no {path}.",
            expected=_EXPECTED,
            hint=f"did you mean {shown(path.parent / guess)}?" if guess else "check the path.",
        ) from None
    except OSError as error:
        raise ImsegError(f"{path} cannot be read.", got=f"{error.strerror or error}.") from error
    if start.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        start = start.decode(json.detect_encoding(start), "ignore").encode()
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()


def _guess(plain: object) -> tuple[str, str]:
    """Return what JSON of another kind seems to be, and what to do about it."""
    coco = "export as COCO instances."
    if isinstance(plain, list):
        first = plain[0] if plain and isinstance(plain[0], Mapping) else {}
        if "segmentation" in first or "bbox" in first:
            return (
                "a list of annotations: COCO results, without images and categories.",
                'put it into {"images": ..., "annotations": ..., "categories": ...}.',
            )
        return "a list.", coco
    if not isinstance(plain, Mapping):
        return f"{plain!r:.40}.", coco
    values = [value for value in plain.values() if isinstance(value, Mapping)]
    known = (
        ("_via_img_metadata" in plain, "a VGG Image Annotator (VIA) project."),
        (any("regions" in value for value in values), "VGG Image Annotator (VIA) annotations."),
        ("objects" in plain and "size" in plain, "Supervisely annotations."),
        ("imgHeight" in plain and "objects" in plain, "Cityscapes polygons."),
        ("log" in plain or "_via_settings" in plain, "a project file."),
    )
    for matches, name in known:
        if matches:
            return name, coco
    missing = [key for key in ("images", "annotations", "categories") if key not in plain]
    if len(missing) < 3:
        return f"COCO without {' and '.join(missing)}.", "export the whole file again."
    if "imagePath" in plain:
        return "LabelMe without a list of shapes.", "save it again with LabelMe."
    return f"an object with {and_more([repr(str(key)) for key in plain], 5) or 'nothing'}.", coco


def _unknown(path: Path, got: str, hint: str) -> ImsegError:
    what = f"{path} holds no annotations that can be read."
    return ImsegError(what, expected=_EXPECTED, got=got, hint=hint)
