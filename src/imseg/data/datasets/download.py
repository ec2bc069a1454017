"""The folders of a download, wherever they lie, and the pairs of images and masks in them."""

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from imseg.data.datasets import sources
from imseg.data.files.archives import ArchiveLimits, archive_stem, errors_naming, is_archive, unpack
from imseg.data.files.atomic import scratch_beside
from imseg.data.files.listing import files_in, folders_in, list_pictures, subject
from imseg.data.images.decoding import SUFFIXES
from imseg.data.images.foreign_formats import how_to_convert
from imseg.errors import ImsegError, and_more, near_miss, shown

_SHOWN = 8


def descend(root: Path, path: str) -> Path | None:
    """Return the folder ``path`` in ``root``, or None.

    Args:
        root: Where to begin.
        path: Folder names joined by ``/``; alternatives for one folder are joined by ``|``.
            Capitals do not matter. A folder that was unpacked into itself is looked through.
    """
    here, missing = _follow(root, path)
    while folders_in(here) == [here / here.name]:
        here = here / here.name
    return None if missing else here


def _follow(root: Path, path: str) -> tuple[Path, str]:
    """Return how far a path leads, and the first part of it that is missing; empty: none is."""
    here = root
    for part in path.split("/"):
        inside = {child.name: child for child in folders_in(here)}
        lower = {name.lower(): child for name, child in sorted(inside.items(), reverse=True)}
        hits = (inside.get(name) or lower.get(name.lower()) for name in part.split("|"))
        found = next((hit for hit in hits if hit is not None), None)
        if found is None:
            return here, part
        here = found
    return here, ""


def looked_through(folder: Path) -> list[Path]:
    """Return the folders below that are each the only folder in one without pictures."""
    chain: list[Path] = []
    while len(chain) < 4:
        inside = folders_in(folder)
        if len(inside) != 1 or any(path.suffix.lower() in SUFFIXES for path in files_in(folder)):
            break
        folder = inside[0]
        chain.append(folder)
    return chain


def folders_below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the folders in a folder, sorted, each before those in it, down to a depth."""
    for inside in folders_in(folder):
        yield inside
        if depth > 1:
            yield from folders_below(inside, depth - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """The folders of a download, wherever they lie."""

    source: sources.PublicDataset
    """What it should be."""
    raw: Path
    """What the user named."""
    roots: tuple[Path, ...]
    """Where folders are looked for, in this order."""
    seen: tuple[str, ...]
    """Folders and archives that are there, for errors."""
    progress: sources.PreparationProgress
    """Called with what is being done; see there."""

    def find(self, path: str) -> Path | None:
        """Return a folder, or None.

        Args:
            path: Folder names joined by ``/``; alternatives for one folder are joined by ``|``.
                Capitals do not matter. A folder that was unpacked into itself is looked through.
        """
        return next((hit for root in self.roots if (hit := descend(root, path))), None)

    def need(self, *paths: str) -> list[Path]:
        """Return folders that must be there.

        Raises:
            ImsegError: If one is missing; it shows what is expected and what was found.
        """
        found = {path: self.find(path) for path in paths}
        missing = [path for path, folder in found.items() if folder is None]
        if missing:
            raise self.wrong_tree(missing, found_some=len(missing) < len(paths))
        return [folder for folder in found.values() if folder is not None]

    def wrong_tree(self, missing: Sequence[str], *, found_some: bool) -> ImsegError:
        """Return the error for a download that lacks folders.

        Args:
            missing: The folders, as ``find`` takes them.
            found_some: Whether other folders of the data set are there.
        """
        title, seen = self.source.title, and_more(self.seen, _SHOWN) or "an empty folder"
        if found_some:
            lacks = ", ".join(f"no {_plain(path)}" for path in missing)
            what = f"The {title} download in {self.raw} is not complete."
            got = f"{lacks}. There are: {seen}."
        else:
            what, got = f"{self.raw} is no {title} download.", f"{seen}."
        return ImsegError(what, expected=self.source.tree, got=got, hint=self._guess(missing))

    def _guess(self, missing: Sequence[str]) -> str:
        """Return the most likely remedy."""
        for folder in folders_below(self.raw, 3):
            if any(descend(folder, path) for path in missing):
                return f"imseg prepare {self.source.name} {folder}"
        for root, path in itertools.product(self.roots, missing):
            here, part = _follow(root, path)
            names = [child.name for child in folders_in(here)]
            for name in part.split("|"):
                if guess := near_miss(name, names):
                    return f"is {guess} meant to be {name}? Rename it then."
        return f"name the folder that holds these folders. The data set's site: {self.source.page}"


@contextmanager
def open_download(
    raw: Path, *, source: sources.PublicDataset, beside: Path, progress: sources.PreparationProgress
) -> Iterator[Download]:
    """Yield a download; archives are unpacked to a folder that is removed when the block ends.

    What lies unpacked beside its archive is not unpacked again. Archives in an archive are
    unpacked, archives in those are not.

    Args:
        raw: A folder, or a zip or tar file.
        source: What it should be.
        beside: Archives are unpacked beside this folder, which need not exist.
        progress: Called while archives are unpacked.

    Raises:
        ImsegError: If there is no such folder or archive, or an archive is refused.
    """
    base = raw if raw.is_dir() else None
    if base is not None:
        archives = [path for path in sorted(raw.iterdir()) if path.is_file() and is_archive(path)]
    elif raw.is_file() and is_archive(raw):
        archives = [raw]
    else:
        raise _no_download(raw, source)
    roots: list[Path] = []
    seen: list[str] = []
    if base is not None:
        roots = [base, *looked_through(base)]
        seen = [path.relative_to(base).as_posix() + "/" for path in folders_below(base, 2)]
        seen += [path.name for path in files_in(base) if not is_archive(path)]
    with scratch_beside(beside) as scratch:
        places = {archive: scratch / archive_stem(archive) for archive in archives}
        limits = ArchiveLimits()
        with errors_naming(places):
            for archive, place in places.items():
                if place.exists():
                    raise ImsegError(
                        f"{archive} has the name of another archive beside it.",
                        expected="one archive of each name.",
                        hint="move one of them to a folder of its own.",
                    )
                limits, files = _unpack_tree(
                    archive, place, source=source, limits=limits, base=base, progress=progress
                )
                seen += [archive.name, *(f"{archive.name}/{top}" for top in _tops(files))]
                roots += [place, *looked_through(place)]
            yield Download(
                source=source, raw=raw, roots=(*roots, scratch), seen=tuple(seen), progress=progress
            )


def read_layouts(download: Download, seed: int) -> tuple[str, sources.Parts]:
    """Return the source and the images of its parts, by the layouts of the data set.

    Args:
        download: What is read.
        seed: Not used; every reader is called with it.

    Raises:
        ImsegError: If no layout fits, a folder that is needed is missing, or several layouts fit
            where only one may.
    """
    dataset = download.source
    found = [[each for each in layout.folders if download.find(each)] for layout in dataset.layouts]
    fitting = [layout for layout, folders in zip(dataset.layouts, found, strict=True) if folders]
    if not fitting:
        every = [folder for layout in dataset.layouts for folder in layout.folders]
        raise download.wrong_tree(every, found_some=False)
    if dataset.one_layout and len(fitting) > 1:
        there = sorted(set(itertools.chain(*found)))
        raise ImsegError(
            f"{download.raw} holds more than one release:"
            f" {' and '.join(layout.source for layout in fitting)}.",
            expected=dataset.tree,
            got=and_more(there, 6) + ".",
            hint="move one of them to a folder of its own.",
        )
    layout = fitting[0]
    parts = {
        part: folders
        for part, folders in layout.parts.items()
        if part not in layout.optional or any(map(download.find, folders))
    }
    places = iter(download.need(*itertools.chain(*parts.values())))
    wanted = {part: [next(places) for _ in folders] for part, folders in parts.items()}
    return layout.source, {part: _read_part(each, dataset) for part, each in wanted.items()}


def _read_part(folders: Sequence[Path], dataset: sources.PublicDataset) -> sources.Images:
    """Return the images in the first folder, with their masks in each of the others."""
    images, *masks = folders
    found: sources.Images = {}
    for folder in masks:
        pairs = read_pairs(images, folder, dataset)
        found = {name: (*found.get(name, (image,)), mask) for name, (image, mask) in pairs.items()}
    return found


def read_pairs(images: Path, masks: Path, dataset: sources.PublicDataset) -> sources.Images:
    """Return the pairs of two folders.

    Args:
        images: Folder of images.
        masks: Folder of masks.
        dataset: Says what their stems look like.

    Raises:
        ImsegError: If there are no images, or an image or mask has no partner.
    """
    example = dataset.example
    found = pictures_by_name(images, dataset.image, noun="images", example=example[0])
    truth = pictures_by_name(masks, dataset.mask, noun="masks", example=example[1])
    for one, other, noun, partner, place in (
        (found, truth, "image", "mask", masks),
        (truth, found, "mask", "image", images),
    ):
        alone = [path.name for name, path in one.items() if name not in other]
        if alone:
            raise ImsegError(
                f"{subject(len(alone), noun, 'has', 'have')} no {partner} in {place}.",
                expected=f"equal names, such as {example[0]} and {example[1]}.",
                got=f"no {partner} for {and_more(alone)}.",
                hint=f"unpack the {partner}s again, or remove these {noun}s.",
            )
    return {name: (found[name], truth[name]) for name in sorted(found)}


def pictures_by_name(
    folder: Path, pattern: re.Pattern[str] = sources.ANY_STEM, *, noun: str, example: str
) -> dict[str, Path]:
    """Return the pictures of a folder whose stems fit a pattern, by the name in its group.

    Raises:
        ImsegError: If there is none, or two have one name.
    """
    listed, strange, folders = list_pictures(folder)
    found: dict[str, Path] = {}
    for stem, paths in listed.items():
        match = pattern.fullmatch(stem)
        if match is None:
            continue
        path, *others = paths
        if others or match[1] in found:
            twins = [each.name for each in (found.get(match[1], path), *others, path)]
            raise ImsegError(
                f"{folder} holds two {noun} named {match[1]}.",
                expected="one file for each name.",
                got=f"{' and '.join(dict.fromkeys(twins))}.",
                hint="remove one of them.",
            )
        found[match[1]] = path
    if not found:
        there = [f"{each.name}/" for each in folders]
        there += [each.name for paths in (*listed.values(), strange) for each in paths]
        hint = "unpack this part again."
        if known := how_to_convert(strange):
            hint = f"{known[0]} files are not read here; convert them:\n{known[1]}"
        raise ImsegError(
            f"{folder} holds no {noun}.",
            expected=f"files named like {example}.",
            got=(and_more(there) or "nothing") + ".",
            hint=hint,
        )
    return {name: found[name] for name in sorted(found)}


def _unpack_tree(
    archive: Path,
    place: Path,
    *,
    source: sources.PublicDataset,
    limits: ArchiveLimits,
    base: Path | None,
    progress: sources.PreparationProgress,
    inside: bool = False,
) -> tuple[ArchiveLimits, list[PurePosixPath]]:
    """Unpack an archive and the archives in it; return what is left of the limits, and its files.

    Args:
        archive: The archive.
        place: Where to; must not exist.
        source: Says which files are needed.
        limits: What may still be unpacked.
        base: What is there already as a folder in this folder is left out.
        progress: Called for each file.
        inside: Whether the archive was in another one; archives in it are left alone.
    """

    def wanted(path: PurePosixPath) -> bool:
        tops = {path.parts[0], place.name} if len(path.parts) > 1 else {place.name}
        if base is not None and any((base / top).is_dir() for top in tops):
            return False
        return source.wants(place.name / path) or (not inside and is_archive(Path(path.name)))

    tell = partial(progress, f"unpacking {archive.name}")
    done = unpack(archive, place, wanted=wanted, limits=limits, progress=tell)
    limits = replace(limits, total_bytes=limits.total_bytes - done.written)
    files = list(done.files)
    if inside:
        return limits, files
    for inner in sorted(path for path in place.rglob("*") if path.is_file() and is_archive(path)):
        target = inner.parent / archive_stem(inner)
        if target.is_dir():
            continue
        limits, more = _unpack_tree(
            inner, target, source=source, limits=limits, base=None, progress=progress, inside=True
        )
        files += [target.name / path for path in more]
        inner.unlink()
    return limits, files


def _tops(files: Sequence[PurePosixPath]) -> list[str]:
    """Return the folders of an archive, two deep."""
    tops = {"/".join(path.parts[: min(2, len(path.parts) - 1)]) for path in files}
    return sorted(f"{top}/" for top in tops if top)


def _plain(path: str) -> str:
    """Return a path for people: the first of each alternative."""
    return "/".join(part.partition("|")[0] for part in path.split("/"))


def _no_download(raw: Path, source: sources.PublicDataset) -> ImsegError:
    what = f"{raw} is neither a folder nor a zip or tar file."
    hint = f"download it from {source.page}"
    if not raw.exists():
        what = f"There is no folder or archive {raw}."
        near = [path.name for path in raw.parent.iterdir()] if raw.parent.is_dir() else []
        if guess := near_miss(raw.name, near):
            hint = f"imseg prepare {source.name} {shown(raw.parent / guess)}"
    expected = f"the {source.title} download, unpacked or not:\n{source.tree}"
    return ImsegError(what, expected=expected, hint=hint)
