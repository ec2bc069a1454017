"""From annotations of any known format, in a file, a folder or a zip file, to a data folder."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from imseg.data.files import atomic
from imseg.data.files.archives import errors_naming, unpack
from imseg.data.files.listing import counted, folder_names, subject
from imseg.data.folder.config import FILE_NAME
from imseg.data.folder.facts import Progress, map_in_threads
from imseg.data.images.image_files import write_png
from imseg.data.polygons import drawings, entries, lookup, rasterize, readers
from imseg.data.polygons.crowds import Crowds, settle_crowds, without_crowds
from imseg.data.polygons.locate import home_of, locate
from imseg.errors import Finding, ImsegError, and_more
from imseg.types import Pages

Sources = Path | Sequence[Path]
"""A file or folder of annotations, a zip file of them, or several of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What was made of annotations."""

    format: str
    """What users call the format, or several of them."""
    images: str
    """The folder in which the pictures were found, or several of them."""
    mode: rasterize.Mode
    """How masks were written."""
    reason: str
    """Why so."""
    labeled: int
    """Pictures with a mask."""
    unlabeled: int
    """Pictures without one."""
    val: int
    """Pictures with a mask that the annotations put aside for validation."""
    test: int
    """Pictures with a mask that the annotations put aside for the test."""
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
    findings: Sequence[Finding]
    """Warnings: what was decided that may be wrong."""


def convert_polygons(
    source: Sources,
    out: Path,
    *,
    images: Path | None = None,
    mode: rasterize.Mode | None = None,
    crowds: Crowds | None = None,
    encoding: str | None = None,
    pages: Pages = "refuse",
    progress: Progress | None = None,
) -> Conversion:
    """Write a data folder with masks for annotated pictures.

    Pictures with regions go to ``labeled``; those that are listed without regions, or lie in the
    folders of listed ones, to ``unlabeled``. Parts for validation and test stay apart. Picture
    files are copied byte for byte.

    Args:
        source: Files or folders of annotations, or zip files that hold such.
        out: Must not exist yet, or be empty. It appears when everything is in it.
        images: The folder of the pictures; None: looked for near ``source``.
        mode: How masks are written; None: chosen by what was drawn.
        crowds: What regions with COCO's ``iscrowd`` are; None: told by what they look like.
        encoding: The encoding of texts that are not UTF-8.
        pages: What several pages in one picture file are; goes to ``imseg.toml``.
        progress: Called after each picture.

    Raises:
        ImsegError: If the annotations cannot be read, pictures are missing or of another size, or
            ``out`` holds something or cannot be written.
    """
    out = Path(out)
    given = [source] if isinstance(source, str | Path) else source
    with (
        atomic.new_folder(out) as part,
        atomic.scratch_beside(out) as spare,
        _opened(list(dict.fromkeys(map(Path, given))), spare, encoding=encoding) as groups,
    ):
        parts = [readers.read_annotations(group.paths, encoding=encoding) for group in groups]
        annotations = drawings.join(parts)
        unread = [finding for group in groups for finding in _unread_archives(group, given)]
        objects, findings = settle_crowds(annotations, crowds)
        if objects:
            parts = [without_crowds(each) for each in parts]
            annotations = drawings.join(parts)
        plan = rasterize.choose_plan(annotations, mode)
        folder = Path(images) if images else None
        pictures, remarks, shown = _gather(groups, parts, folder, spare, pages=pages)
        located = entries.settle_splits(pictures)
        stems = entries.choose_stems(each.name for each in located)
        located = [replace(each, stem=stems[each.name]) for each in located]
        done = _write_all(located, part, plan, pages=pages, progress=progress)
    findings += [*remarks, *unread]
    masks = [each.mask for each in done if each.mask is not None]
    objects_seen = sum((mask.objects for mask in masks), Counter[str]())
    for each in done:
        for what, places in each.tally.items():
            parts[0].tally[what] += places
    splits = Counter(
        each.split for each, one in zip(located, done, strict=True) if one.mask is not None
    )
    unlisted = sum(not each.listed and each.split == "labeled" for each in located)
    unlabeled = sum(each.split == "labeled" for each in located) - splits["labeled"]
    return Conversion(
        format=annotations.format,
        images=shown,
        mode=plan.mode,
        reason=plan.reason,
        labeled=splits["labeled"],
        unlabeled=unlabeled,
        val=splits["val"],
        test=splits["test"],
        listed_empty=unlabeled - unlisted,
        unlisted=unlisted,
        objects={label: objects_seen[label] for label in plan.numbers},
        unused=tuple(label for label in annotations.objects if label not in plan.numbers),
        overlap_pixels=sum(mask.overlap for mask in masks),
        overlap_pictures=sum(mask.overlap > 0 for mask in masks),
        void_pixels=sum(mask.void for mask in masks),
        noted=dict(drawings.join(parts).tally),
        renamed={
            each.name: each.stem for each in located if each.stem != PurePosixPath(each.name).stem
        },
        findings=findings,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Annotations that share a folder."""

    paths: list[Path]
    """Files in one folder, or one folder."""
    named: Path
    """What the user named: the first file, the folder, or the zip file that was unpacked."""
    around: Path | None = None
    """Where pictures may be that are not in a zip file; None: it is no zip file."""

    @property
    def label(self) -> str:
        """What tells its pictures from those of other sources."""
        place = self.paths[0] if self.paths[0].is_dir() else lookup.absolute(self.paths[0]).parent
        return place.name


@contextmanager
def _opened(
    sources: Sequence[Path], spare: Path, *, encoding: str | None
) -> Iterator[list[_Group]]:
    """Yield annotations by the folder that they are in, zip files unpacked.

    What goes wrong inside the block names a zip file, not where it was unpacked.
    """
    groups: dict[Path, _Group] = {}
    archives: dict[Path, Path] = {}
    for number, path in enumerate(sources):
        if readers.is_archive_of_annotations(path):
            inner = archives[path] = spare / f"{number}" / path.stem
            around = lookup.absolute(path).parent
            groups[inner] = _Group(paths=[inner], named=path, around=around)
        elif path.is_dir():
            groups[lookup.absolute(path)] = _Group(paths=[path], named=path)
        else:
            # Those of one folder are read together, as if the folder had been named.
            key = lookup.absolute(path).parent / "*"
            groups.setdefault(key, _Group(paths=[], named=path)).paths.append(path)
    for path, inner in archives.items():
        unpack(path, inner, encoding=encoding)
    with errors_naming(archives):
        yield list(groups.values())


def _unread_archives(group: _Group, given: Sequence[Path | str]) -> Iterator[Finding]:
    """Yield a warning about zip files that lie in a folder of annotations and were not read."""
    (folder, *_), named = group.paths, {lookup.absolute(Path(path)) for path in given}
    found = readers.find_unread_archives(folder) if folder.is_dir() else []
    paths = [path for path in found if lookup.absolute(path) not in named]
    if paths:
        names = [str(group.named / path.relative_to(folder)) for path in paths]
        again = "unpack them, and repeat the command."
        if group.around is None:
            again = f"imseg polygons {readers.name_archives(paths)} --out DATA"
        yield Finding(
            severity="warning",
            what=f"{subject(len(paths), 'zip file', 'was', 'were')} not read.",
            why="what is in it is not in the masks; a zip file is read only if it is named.",
            got=f"{and_more(names)}.",
            hint=f"if they hold other annotations than the rest of the folder: {again}",
            files=tuple(names),
        )


def _gather(
    groups: Sequence[_Group],
    parts: Sequence[drawings.Annotations],
    images: Path | None,
    spare: Path,
    *,
    pages: Pages,
) -> tuple[list[entries.Located], list[Finding], str]:
    """Return the pictures of all annotations, how they were found, and their folders in words."""
    found: list[entries.Located] = []
    findings: list[Finding] = []
    folders: list[str] = []
    labels = folder_names([group.label for group in groups])
    for number, (group, part) in enumerate(zip(groups, parts, strict=True)):
        home = lookup.absolute(home_of(part))
        inner = spare / f"inside {number}"
        inner.mkdir()
        several = len(groups) > 1
        one = locate(part, images, inner, around=group.around, several=several, pages=pages)
        unpacked = group.around is not None and one.folder.is_relative_to(home)
        shown = group.named if unpacked else one.folder
        if shown.is_absolute() and not group.named.is_absolute():
            shown = Path(os.path.relpath(shown))
        folders.append(str(shown))
        # Names are those below a folder that all share, if there is one.
        prefix = "" if images or len(groups) == 1 else f"{labels[number]}/"
        found += [replace(each, name=f"{prefix}{each.name}") for each in one.pictures]
        findings += one.findings
    found = entries.merge_copies(found, parts[0].tally, several=len(groups) > 1)
    return found, findings, and_more(list(dict.fromkeys(folders)))


def _write_all(
    located: Sequence[entries.Located],
    folder: Path,
    plan: rasterize.MaskPlan,
    *,
    pages: Pages,
    progress: Progress | None,
) -> list[rasterize.Drawn]:
    """Write all pictures, masks and settings; return what was drawn."""
    (folder / "unlabeled/images").mkdir(parents=True)
    for split in {"labeled": None} | {each.split: None for each in located}:
        (folder / split / "images").mkdir(parents=True)
        for name in plan.folders.values() if plan.mode == "labels" else ("",):
            (folder / split / "masks" / name).mkdir(parents=True)
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
    settings = rasterize.settings_text(plan, void=void, pages=pages)
    (folder / FILE_NAME).write_text(settings, encoding="utf-8")
    if not any((folder / "unlabeled/images").iterdir()):
        shutil.rmtree(folder / "unlabeled")
    return done


def _write(each: entries.Located, *, folder: Path, plan: rasterize.MaskPlan) -> rasterize.Drawn:
    """Copy one picture, and write its mask if something is drawn on it."""
    drawn = rasterize.draw(each.picture, each.size, plan)
    if drawn.errors:
        return drawn
    if drawn.mask is not None:
        for label, pixels in drawn.mask.pixels.items():
            inner = folder / each.split / "masks" / (plan.folders[label] if label else "")
            write_png(inner / f"{each.stem}.png", pixels, palette=plan.palette)
        # The pixels are written; keeping them would fill the memory.
        drawn.mask = replace(drawn.mask, pixels={})
    elif each.split != "labeled":
        drawn.tally[entries.LEFT_OUT].append(each.name)
        return drawn
    split = each.split if drawn.mask is not None else "unlabeled"
    atomic.copy_file(each.path, folder / split / "images" / f"{each.stem}{each.path.suffix}")
    return drawn
