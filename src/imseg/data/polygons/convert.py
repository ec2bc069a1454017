"""From annotations of any known format, in a file, a folder or a zip file, to a data folder."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from imseg.data.files import atomic
from imseg.data.files.listing import counted
from imseg.data.folder.config import FILE_NAME
from imseg.data.folder.facts import Progress, map_in_threads
from imseg.data.images.image_files import write_png
from imseg.data.polygons import locate, rasterize, readers
from imseg.errors import ImsegError, and_more


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
        readers.opened(source, spare / "archive") as inner,
    ):
        annotations = readers.read_annotations(inner)
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
