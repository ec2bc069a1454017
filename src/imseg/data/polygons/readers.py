"""The format of annotations in a file, a folder or a zip file; each has an entry in ``FORMATS``."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imseg.data.files import atomic
from imseg.data.files.archives import errors_naming, unpack
from imseg.data.polygons.drawings import AnnotationFile, Annotations
from imseg.data.polygons.formats import coco, cvat, geojson, imagej, label_studio, labelme, yolo
from imseg.data.polygons.text_files import read_json
from imseg.errors import ImsegError, and_more, near_miss, raise_all, shown


@dataclass(frozen=True, slots=True, kw_only=True)
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
    Format(
        name="LabelMe",
        suffixes=(".json",),
        recognizes=labelme.is_labelme,
        read=labelme.read_labelme,
    ),
    Format(name="COCO", suffixes=(".json",), recognizes=coco.is_coco, read=coco.read_coco),
    Format(name="CVAT", suffixes=(".xml",), recognizes=cvat.is_xml, read=cvat.read_cvat),
    Format(
        name="Label Studio",
        suffixes=(".json",),
        recognizes=label_studio.is_label_studio,
        read=label_studio.read_label_studio,
    ),
    Format(
        name="GeoJSON",
        suffixes=(".geojson", ".json"),
        recognizes=geojson.is_geojson,
        read=geojson.read_geojson,
    ),
    Format(
        name="YOLO",
        suffixes=(".txt", ".yaml", ".yml"),
        recognizes=yolo.is_yolo,
        read=yolo.read_yolo,
    ),
    Format(
        name="ImageJ",
        suffixes=(".roi", ".zip"),
        recognizes=imagej.is_imagej,
        read=imagej.read_imagej,
    ),
)
"""All formats; the first that recognizes a file reads it."""

OTHER_JSON = "JSON files of another kind"
"""What is noted for files that lie among the annotations (LabelMe)."""


@contextmanager
def opened(source: Path, spare: Path) -> Iterator[Path]:
    """Yield the annotations: ``source`` itself, or what is in it if it is a zip file.

    What goes wrong inside the block names the zip file, not where it was unpacked.

    Args:
        source: A file or folder of annotations, or a zip file of them.
        spare: A folder to unpack to; the caller removes it.

    Raises:
        ImsegError: If the zip file cannot be trusted, or holds no annotations or several.
    """
    zipped = not source.is_dir() and _start(source).startswith(b"PK\x03\x04")
    if not zipped or imagej.holds_rois_only(source):
        yield source
        return
    unpack(source, spare)
    with errors_naming({source: spare}):
        yield _annotations_in(spare)


def _annotations_in(folder: Path) -> Path:
    """Return the file or folder of annotations in an unpacked archive."""
    for suffix in (".xml", ".json"):
        files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() == suffix]
        if len(files) == 1:
            return files[0]
        if suffix == ".json" and len({path.parent for path in files}) == 1:
            return files[0].parent
        if files:
            raise ImsegError(
                f"{folder} holds more than one file of annotations.",
                expected="one, such as annotations.xml.",
                got=f"{and_more([path.relative_to(folder).as_posix() for path in files])}.",
                hint="unpack it, and name one of them.",
            )
    return folder


_EXPECTED = (
    "a COCO instances .json, a folder of LabelMe .json files (or one), or a CVAT for images .xml"
    " (or a .zip of them)."
)
_SHOWN_ERRORS = 5


def read_annotations(path: Path) -> Annotations:
    """Return what annotations say, whichever of the known formats they have.

    Args:
        path: A file of annotations, or a folder of files of one format.

    Raises:
        ImsegError: If there is nothing, it is of another kind, or it is damaged.
    """
    if path.is_dir():
        return _read_folder(path)
    file = _look_into(path)
    known = _recognize(file)
    if known is not None:
        return known.read([file], path)
    if file.plain is not None:
        raise _unknown(path, *_guess(file.plain))
    shown = file.start[:20].decode("utf-8", "replace").split("\n")[0]
    hint = "export as COCO, LabelMe or CVAT for images 1.1."
    raise _unknown(path, f"{shown!r} at its start." if file.start else "an empty file.", hint)


def _look_into(path: Path) -> AnnotationFile:
    """Return what is needed to recognize the format of a file."""
    start = _start(path)
    plain = read_json(path) if start.startswith((b"{", b"[")) else None
    if isinstance(plain, dict) and plain.get("imageData"):
        # The pictures inside would fill the memory; their files are read again if needed.
        plain["imageData"] = True
    return AnnotationFile(path=path, start=start, plain=plain)


def _recognize(file: AnnotationFile) -> Format | None:
    return next((known for known in FORMATS if known.recognizes(file)), None)


def _read_folder(folder: Path) -> Annotations:
    """Return what the LabelMe files in a folder and the folders in it say."""
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() == ".json" and path.is_file() and not path.name.startswith(".")
    ]
    if not paths:
        there = sorted(path.name for path in folder.iterdir())
        near = [name for name in there if name.lower().endswith((".xml", ".zip"))]
        hint = "name the file or folder of the annotations."
        if near:
            hint = f"imseg polygons {folder / near[0]}"
        raise _unknown(folder, f"{and_more(there) or 'an empty folder'}.", hint)
    found: list[AnnotationFile] = []
    others: list[AnnotationFile] = []
    errors: list[ImsegError] = []
    for path in paths:
        try:
            file = _look_into(path)
        except ImsegError as error:
            errors.append(error)
            continue
        (found if labelme.is_labelme(file) else others).append(file)
    if len(errors) > _SHOWN_ERRORS:
        rest = f"{len(errors) - _SHOWN_ERRORS} more files in {folder} cannot be read."
        errors = [*errors[:_SHOWN_ERRORS], ImsegError(rest, hint="export them again.")]
    raise_all(errors)
    if not found:
        if coco.is_coco(others[0]):
            path = others[0].path
            raise _unknown(folder, f"{path.name}, a COCO file.", f"imseg polygons {path}")
        raise _unknown(others[0].path, *_guess(others[0].plain))
    annotations = labelme.read_labelme(found, folder)
    for file in others:
        annotations.tally[OTHER_JSON].append(str(file.path.relative_to(folder)))
    return annotations


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
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        start = start.decode("utf-16", "ignore").encode()
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
