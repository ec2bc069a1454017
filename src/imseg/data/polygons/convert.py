"""How masks are written: in which way, with which numbers, and what ``imseg.toml`` says of them."""

from __future__ import annotations

import re
import shutil
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from imseg.data.files.atomic import copy_file, new_folder, scratch_beside
from imseg.data.files.listing import counted
from imseg.data.folder.config import FILE_NAME, config_text
from imseg.data.folder.facts import Progress, map_in_threads
from imseg.data.images.image_files import write_png
from imseg.data.masks.colors import BLACK, GRAY, distinct_colors
from imseg.data.polygons import locate, rasterize
from imseg.data.polygons.drawings import Annotations
from imseg.data.polygons.formats import opened, read_annotations
from imseg.errors import ImsegError, and_more
from imseg.types import MAX_CLASSES, POSITION, Color

BACKGROUND = "background"
"""The name of class 0."""

_SEVERAL = 2
_LONGEST = 50  # characters; file systems end at 255 bytes
_SPECIAL = re.compile("[0-9]+|#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskPlan:
    """How the masks of a data set are written."""

    mode: rasterize.Mode
    """One class number per pixel, one number per object, or one file per label."""
    reason: str
    """Why so, in words."""
    numbers: Mapping[str, int]
    """The number of each label that is drawn somewhere, from 1."""
    folders: Mapping[str, str]
    """The folder of each label's masks (way ``labels``)."""
    colors: Mapping[str, Color]
    """A color for each label."""

    @property
    def palette(self) -> tuple[Color, ...] | None:
        """The color of each byte of a class mask, so that any viewer shows it; None: no bytes."""
        if rasterize.void_value(self.mode, self.numbers) != rasterize.BYTE_VOID:
            return None
        shown = {number: self.colors[label] for label, number in self.numbers.items()}
        return (BLACK, *(shown.get(value, GRAY) for value in range(1, 256)))


def choose_plan(annotations: Annotations, mode: rasterize.Mode | None = None) -> MaskPlan:
    """Return how to write masks.

    Numbers follow all labels that are declared, so that two exports of one project agree; those
    that are drawn nowhere leave gaps.

    Args:
        annotations: What was drawn.
        mode: The way that was asked for; None: ``instances`` if there is one label, and half of
            the annotated pictures or more have several objects; else ``classes``.

    Raises:
        ImsegError: If nothing is drawn, or there are more classes than a network can tell apart.
    """
    used = annotations.used
    if not used:
        noted = [f"{len(places)} {what}" for what, places in annotations.tally.items()]
        listed = f"{len(annotations.pictures)} pictures listed"
        raise ImsegError(
            f"{annotations.source} has no region that gives a mask.",
            expected="polygons or masks with a label.",
            got="; ".join([listed, *noted]) + ".",
            hint="draw outlines with the annotation tool; boxes of COCO, points and lines have"
            " none.",
        )
    reason = "as asked for"
    if mode is None:
        mode, reason = _choose_mode(annotations)
    if mode == "classes" and len(used) + 1 > MAX_CLASSES:
        raise ImsegError(
            f"{annotations.source} has {len(used)} labels, too many for one mask.",
            expected=f"at most {MAX_CLASSES - 1} labels beside the background.",
            got=f"{and_more(used)}.",
            hint="--as labels, or merge labels in the annotation tool.",
        )
    ranks = {label: rank for rank, label in enumerate(annotations.objects, start=1)}
    return MaskPlan(
        mode=mode,
        reason=reason,
        numbers={label: ranks[label] for label in used},
        folders=name_folders(used),
        colors=dict(zip(used, distinct_colors(len(used)), strict=True)),
    )


def settings_text(plan: MaskPlan, *, void: bool) -> str:
    """Return what ``imseg.toml`` says: the task, the value of void pixels, names and colors.

    Objects are learned without their labels, so for them no names are listed.

    Args:
        plan: How the masks are written.
        void: Whether some mask has void pixels.
    """
    value = rasterize.void_value(plan.mode, plan.numbers) if void else None
    named = {label: (label, plan.colors[label]) for label in plan.numbers}
    if plan.mode == "instances":
        return config_text("instances", classes={}, void=value)
    if plan.mode == "labels":
        planes = {plan.folders[label]: each for label, each in named.items()}
        return config_text("multilabel", classes=planes, void=value)
    values = {number: named[label] for label, number in plan.numbers.items()}
    task = "binary" if len(values) == 1 else "multiclass"
    return config_text(task, classes={0: (BACKGROUND, BLACK), **values}, void=value)


def name_folders(labels: tuple[str, ...]) -> dict[str, str]:
    """Return a folder name for each label: safe on every system, and none twice.

    Whatever is not a letter, a digit, a space, "-", "_" or "." becomes "_". Names that mean
    something else as a folder of masks (a number, ``position``) get ``label_`` before them.
    """
    chosen: dict[str, str] = {}
    taken: set[str] = set()
    for label in labels:
        safe = re.sub(r"[^\w .-]", "_", label)[:_LONGEST].strip(". ") or "label"
        if safe.lower() == POSITION or _SPECIAL.fullmatch(safe):
            safe = f"label_{safe}"
        name, number = safe, 2
        while name.lower() in taken:
            name, number = f"{safe}_{number}", number + 1
        taken.add(name.lower())
        chosen[label] = name
    return chosen


def _choose_mode(annotations: Annotations) -> tuple[rasterize.Mode, str]:
    """Return the way that fits what was drawn, and why."""
    used = annotations.used
    if len(used) > 1:
        return "classes", f"{len(used)} labels"
    objects = [
        {rasterize.object_key(region) for region in picture.regions if region.role == "object"}
        for picture in annotations.pictures
    ]
    counts = [len(keys) for keys in objects if keys]
    typical = statistics.median(counts) if counts else 0
    if typical >= _SEVERAL:
        return "instances", f"one label, typically {typical:g} objects per picture"
    return "classes", "one label, typically one object per picture"


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
        new_folder(out) as part,
        scratch_beside(out) as spare,
        opened(source, spare / "archive") as inner,
    ):
        annotations = read_annotations(inner)
        plan = choose_plan(annotations, mode)
        folder = Path(images) if images else locate.find_images_folder(annotations, beside)
        located = locate.locate(annotations, folder, spare)
        done = _write_all(located, part, plan, progress=progress)
        inside = folder.is_relative_to(spare)
    objects: Counter[str] = Counter()
    masks = [each.mask for each in done if each.mask is not None]
    for mask in masks:
        objects.update(mask.objects)
    for each in done:
        for what, places in each.tally.items():
            annotations.tally[what] += places
    unlabeled, unlisted = len(done) - len(masks), sum(not each.listed for each in located)
    return Conversion(
        format=annotations.format,
        images=str(source if inside else folder),
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
    located: Sequence[locate.Located], folder: Path, plan: MaskPlan, *, progress: Progress | None
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
    (folder / FILE_NAME).write_text(settings_text(plan, void=void), encoding="utf-8")
    if not any((folder / "unlabeled/images").iterdir()):
        shutil.rmtree(folder / "unlabeled")
    return done


def _write(each: locate.Located, *, folder: Path, plan: MaskPlan) -> rasterize.Drawn:
    """Copy one picture, and write its mask if something is drawn on it."""
    drawn = rasterize.draw(each.picture, each.size, mode=plan.mode, numbers=plan.numbers)
    if drawn.errors:
        return drawn
    if drawn.mask is not None:
        for label, pixels in drawn.mask.pixels.items():
            inner = folder / "labeled/masks" / (plan.folders[label] if label else "")
            write_png(inner / f"{each.stem}.png", pixels, palette=plan.palette)
        # The pixels are written; keeping them would fill the memory.
        drawn.mask = replace(drawn.mask, pixels={})
    split = "unlabeled" if drawn.mask is None else "labeled"
    copy_file(each.path, folder / split / "images" / f"{each.stem}{each.path.suffix}")
    return drawn
