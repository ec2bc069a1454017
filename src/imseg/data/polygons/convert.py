"""From annotations of any known format, in a file, a folder or a zip file, to a data folder."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from imseg.data.files import atomic
from imseg.data.files.archives import errors_naming, unpack
from imseg.data.files.listing import counted
from imseg.data.folder.config import FILE_NAME
from imseg.data.folder.facts import Progress, map_in_threads
from imseg.data.images.image_files import write_png
from imseg.data.polygons import drawings, locate, rasterize, readers
from imseg.errors import ImsegError, and_more, near_miss, raise_all, shown


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
    if source.is_dir() or not _start(source).startswith(b"PK\x03\x04"):
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


def read_annotations(path: Path) -> drawings.Annotations:
    """Return what annotations say, whichever of the known formats they have.

    Args:
        path: A COCO file, a LabelMe file or a folder of them, or a CVAT for images file.

    Raises:
        ImsegError: If there is nothing, it is of another kind, or it is damaged.
    """
    if path.is_dir():
        return _read_folder(path)
    start = _start(path)
    if start.startswith(b"<"):
        return readers.read_cvat(path)
    if not start.startswith((b"{", b"[")):
        shown = start[:20].decode("utf-8", "replace").split("\n")[0]
        hint = "export as COCO, LabelMe or CVAT for images 1.1."
        raise _unknown(path, f"{shown!r} at its start." if start else "an empty file.", hint)
    plain = drawings.read_json(path)
    if readers.is_labelme(plain):
        return readers.read_labelme([(path, plain)], path)
    if readers.is_coco(plain):
        return readers.read_coco(plain, path)
    raise _unknown(path, *_guess(plain))


def _read_folder(folder: Path) -> drawings.Annotations:
    """Return what the LabelMe files in a folder and the folders in it say."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() == ".json" and path.is_file() and not path.name.startswith(".")
    ]
    if not files:
        there = sorted(path.name for path in folder.iterdir())
        near = [name for name in there if name.lower().endswith((".xml", ".zip"))]
        hint = "name the file or folder of the annotations."
        if near:
            hint = f"imseg polygons {folder / near[0]}"
        raise _unknown(folder, f"{and_more(there) or 'an empty folder'}.", hint)
    found: list[tuple[Path, Mapping[str, Any]]] = []
    others: list[tuple[Path, Any]] = []
    errors: list[ImsegError] = []
    for path in files:
        try:
            plain = drawings.read_json(path)
        except ImsegError as error:
            errors.append(error)
            continue
        if readers.is_labelme(plain):
            # The pictures inside would fill the memory; their files are read again if needed.
            found.append((path, {**plain, "imageData": bool(plain.get("imageData"))}))
        else:
            others.append((path, plain))
    if len(errors) > _SHOWN_ERRORS:
        rest = f"{len(errors) - _SHOWN_ERRORS} more files in {folder} cannot be read."
        errors = [*errors[:_SHOWN_ERRORS], ImsegError(rest, hint="export them again.")]
    raise_all(errors)
    if not found:
        path, plain = others[0]
        if readers.is_coco(plain):
            raise _unknown(folder, f"{path.name}, a COCO file.", f"imseg polygons {path}")
        raise _unknown(path, *_guess(plain))
    annotations = readers.read_labelme(found, folder)
    for path, _ in others:
        annotations.tally[readers.OTHER_JSON].append(str(path.relative_to(folder)))
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
        if "data" in first or "completions" in first:
            return "a list of tasks, as Label Studio writes it.", coco
        return "a list.", coco
    if not isinstance(plain, Mapping):
        return f"{plain!r:.40}.", coco
    values = [value for value in plain.values() if isinstance(value, Mapping)]
    known = (
        ("_via_img_metadata" in plain, "a VGG Image Annotator (VIA) project."),
        (any("regions" in value for value in values), "VGG Image Annotator (VIA) annotations."),
        (plain.get("type") == "FeatureCollection", "GeoJSON."),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What was made of annotations."""

    format: str
    """``COCO``, ``LabelMe`` or ``CVAT``."""
    images: str
    """The folder in which the pictures were found."""
    mode: rasterize.Mode
    """How masks were written."""
    reason: str
    """Why so."""
    labeled: int
    """Pictures with a mask."""
    unlabeled: int
    """Pictures without one."""
    listed_empty: int
    """Pictures among these that the annotations list, without a region that can be drawn."""
    unlisted: int
    """Pictures among these that the annotations do not list."""
    objects: Mapping[str, int]
    """Objects in the masks, by label."""
    unused: tuple[str, ...]
    """Labels that are declared and drawn nowhere."""
    overlap_pixels: int
    """Pixels that belong to two classes, or to two objects (instances)."""
    overlap_pictures: int
    """Pictures with such pixels."""
    void_pixels: int
    """Pixels that are neither trained on nor scored."""
    noted: Mapping[str, Sequence[str]]
    """What was left out or changed, and where."""
    renamed: Mapping[str, str]
    """New stems, by the paths of pictures that shared theirs with others."""


def convert_polygons(
    source: Path,
    out: Path,
    *,
    images: Path | None = None,
    mode: rasterize.Mode | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Write a data folder with masks for annotated pictures.

    Pictures with regions go to ``labeled``; those that are listed without regions, or lie in the
    folders of listed ones, to ``unlabeled``. Picture files are copied byte for byte.

    Args:
        source: A COCO file, a LabelMe file or a folder of them, a CVAT for images file, or a zip
            file that holds one of these.
        out: Must not exist yet, or be empty. It appears when everything is in it.
        images: The folder of the pictures; None: looked for near ``source``.
        mode: How masks are written; None: chosen by what was drawn.
        progress: Called after each picture.

    Raises:
        ImsegError: If the annotations cannot be read, pictures are missing or of another size, or
            ``out`` holds something or cannot be written.
    """
    source, out = Path(source), Path(out)
    # Pictures beside an archive are looked for where the archive is, not where it was unpacked.
    beside = source.absolute().parent
    with (
        atomic.new_folder(out) as part,
        atomic.scratch_beside(out) as spare,
        opened(source, spare / "archive") as inner,
    ):
        annotations = read_annotations(inner)
        plan = rasterize.choose_plan(annotations, mode)
        folder = Path(images) if images else locate.find_images_folder(annotations, beside)
        located = locate.locate(annotations, folder, spare)
        done = _write_all(located, part, plan, progress=progress)
    masks = [each.mask for each in done if each.mask is not None]
    objects = sum((mask.objects for mask in masks), Counter[str]())
    for each in done:
        for what, places in each.tally.items():
            annotations.tally[what] += places
    unlabeled, unlisted = len(done) - len(masks), sum(not each.listed for each in located)
    return Conversion(
        format=annotations.format,
        images=str(source if folder.is_relative_to(spare) else folder),
        mode=plan.mode,
        reason=plan.reason,
        labeled=len(masks),
        unlabeled=unlabeled,
        listed_empty=unlabeled - unlisted,
        unlisted=unlisted,
        objects={label: objects[label] for label in plan.numbers},
        unused=tuple(label for label in annotations.objects if label not in plan.numbers),
        overlap_pixels=sum(mask.overlap for mask in masks),
        overlap_pictures=sum(mask.overlap > 0 for mask in masks),
        void_pixels=sum(mask.void for mask in masks),
        noted=dict(annotations.tally),
        renamed={
            each.name: each.stem for each in located if each.stem != PurePosixPath(each.name).stem
        },
    )


def _write_all(
    located: Sequence[locate.Located],
    folder: Path,
    plan: rasterize.MaskPlan,
    *,
    progress: Progress | None,
) -> list[rasterize.Drawn]:
    """Write all pictures, masks and settings; return what was drawn."""
    for name in ("labeled/images", "labeled/masks", "unlabeled/images"):
        (folder / name).mkdir(parents=True)
    if plan.mode == "labels":
        for name in plan.folders.values():
            (folder / "labeled/masks" / name).mkdir()
    write = partial(_write, folder=folder, plan=plan)
    done = list(map_in_threads(write, located, progress=progress))
    errors = [error for each in done for error in each.errors]
    if errors:
        raise ImsegError(
            f"{counted(len(errors), 'region')} cannot be drawn.",
            expected="regions that were made for these pictures.",
            got=f"{and_more(errors)}.",
            hint="export the annotations again, or remove these regions.",
        )
    if not any(each.mask for each in done):
        noted = [what for each in done for what in each.tally]
        raise ImsegError(
            "No region covers a pixel of its picture.",
            expected="outlines in pixels, 0, 0 in the upper left corner.",
            got="; ".join(dict.fromkeys(noted)) + ".",
            hint="some tools write shares of 0 to 1, or percent; export in pixels.",
        )
    void = any(each.mask.void for each in done if each.mask)
    (folder / FILE_NAME).write_text(rasterize.settings_text(plan, void=void), encoding="utf-8")
    if not any((folder / "unlabeled/images").iterdir()):
        shutil.rmtree(folder / "unlabeled")
    return done


def _write(each: locate.Located, *, folder: Path, plan: rasterize.MaskPlan) -> rasterize.Drawn:
    """Copy one picture, and write its mask if something is drawn on it."""
    drawn = rasterize.draw(each.picture, each.size, plan)
    if drawn.errors:
        return drawn
    if drawn.mask is not None:
        for label, pixels in drawn.mask.pixels.items():
            inner = folder / "labeled/masks" / (plan.folders[label] if label else "")
            write_png(inner / f"{each.stem}.png", pixels, palette=plan.palette)
        # The pixels are written; keeping them would fill the memory.
        drawn.mask = replace(drawn.mask, pixels={})
    split = "unlabeled" if drawn.mask is None else "labeled"
    atomic.copy_file(each.path, folder / split / "images" / f"{each.stem}{each.path.suffix}")
    return drawn
