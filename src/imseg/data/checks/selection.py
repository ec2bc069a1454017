"""Which files go into a repaired copy, under which names, and which are made for it."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imseg.data.files import listing
from imseg.data.files.stems import StemRule, join_stems
from imseg.data.folder.label_folders import find_labels
from imseg.data.folder.object_folders import flat_objects, note_several_masks, object_folders
from imseg.data.images import decoding, picture_file
from imseg.data.masks.io import MaskFile, read_mask
from imseg.errors import ImsegError
from imseg.types import POSITION

PAIRED = ("labeled", "labelled", "val", "test")
"""Folders of images and masks."""

ALONE = ("unlabeled", "unlabelled")
"""Folders of images without masks."""

_FindOut = Callable[[Path], object]


@dataclass(kw_only=True)
class Selection:
    """What happens to the files in folders for images and masks; all others are copied."""

    left_out: dict[Path, tuple[str, str]] = field(default_factory=dict)
    """Files that stay behind, why, and what that refers to."""
    renamed: dict[Path, tuple[str, str]] = field(default_factory=dict)
    """The other name, with suffix, that files get, and why."""
    made: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """All-black masks that are made, and their height and width."""
    merged: dict[Path, tuple[Path, list[Path]]] = field(default_factory=dict)
    """Masks that are made of files with an object each: their image, and these files."""
    taken: dict[Path, set[str]] = field(default_factory=dict)
    """The stems, old and new ones, of folders in which files were renamed for want of one."""
    follow_links: bool = False
    """Whether links that lead out of the data folder are as good as files."""

    def leave(self, paths: Sequence[Path], why: str, about: str = "") -> None:
        """Leave files behind."""
        for path in paths:
            self.left_out.setdefault(path, (why, about))


def select_files(root: Path, *, follow_links: bool = False) -> Selection:
    """Return what happens to the files in the folders for images and masks.

    Files that are no pictures, pictures without a partner, names that are refused and links out of
    the folder stay behind. Where several files have one stem, unlabeled ones are renamed, and so
    are pairs with equal suffixes; of equal files one is kept, of masks the one that is no JPEG, of
    images the one that fits the mask; else it is not clear which is meant, and all stay behind.
    Masks whose stems one rule joins with those of images get those stems. A mask that only some
    labels of an image lack is made.

    Args:
        root: The data folder.
        follow_links: Whether links that lead out of the folder are as good as files.
    """
    selection = Selection(follow_links=follow_links)
    labels = next(filter(None, (find_labels(root / name / "masks") for name in PAIRED[:2])), {})
    splits = []
    for folder in (root / name for name in PAIRED):
        if not (folder / "images").is_dir():
            continue
        images = _usable(folder / "images", root, selection)
        place = folder / "masks"
        if objects := _objects_in(place, images, root, selection):
            _select_objects(images, objects, place, root=root, selection=selection)
        else:
            splits.append(_files_of(place, images, root, selection, labels))
    for split in splits:
        _leave_several(split, root, selection)
    # A rule that many pairs prove holds for a single one, too.
    found = [_joined(each.images, files) for each in splits for files in each.masks.values()]
    rules = {each[0] for each in found if each is not None}
    for split in splits:
        _join(split, rules, selection)
        _select_pairs(split, selection)
    for name in ALONE:
        folder = root / name / "images"
        folder = folder if folder.is_dir() else root / name
        for stem, paths in _usable(folder, root, selection).items():
            _rename(paths[1:], stem, selection)
    return selection


def _usable(folder: Path, root: Path, selection: Selection) -> dict[str, list[Path]]:
    """Return the picture files of a folder by stem; everything else stays behind."""
    if not folder.is_dir() or leads_out(folder, root, selection):
        return {}
    pictures, strange, _ = listing.list_pictures(folder)
    selection.leave(strange, "not a picture that can be read")
    usable: dict[str, list[Path]] = {}
    for stem, path in [(stem, path) for stem, paths in pictures.items() for path in paths]:
        if why := refusal(path, root, selection):
            selection.leave([path], why)
        else:
            usable.setdefault(stem, []).append(path)
    return usable


@dataclass(kw_only=True)
class SplitFiles:
    """The usable files of a split."""

    images: dict[str, list[Path]]
    """By stem."""
    masks: dict[Path, dict[str, list[Path]]]
    """By the folder of each label, or the folder of all masks, and by stem."""
    plain: bool
    """Whether masks may be made there: no link leads out, and no file has the name of a folder."""


def _leave_several(split: SplitFiles, root: Path, selection: Selection) -> None:
    """Leave the masks of images that have several; none of them is the mask of its image."""
    for files in split.masks.values():
        first = {stem: paths[0] for stem, paths in files.items()}
        if note_several_masks(split.images, first, root):
            for stem in files.keys() - split.images.keys():
                selection.leave(files.pop(stem), "an image has several masks beside each other")


def _files_of(
    place: Path,
    images: dict[str, list[Path]],
    root: Path,
    selection: Selection,
    labels: Mapping[str, Path],
) -> SplitFiles:
    """Return the files of a split; of a label that nothing there shows, there may be no folder."""
    own = find_labels(place)
    names = labels if own and own.keys() <= labels.keys() else own
    folders = [own.get(label, place / label) for label in names]
    taken = [each for each in folders if os.path.lexists(each) and not each.is_dir()]
    masks = {each: _usable(each, root, selection) for each in folders or [place]}
    for files in masks.values():
        for mask, image in listing.stems_by_case(files, images).items():
            files[image] = files.pop(mask)
    return SplitFiles(
        images=images,
        masks=masks,
        plain=not taken and not any(leads_out(each, root, selection) for each in (place, *folders)),
    )


def _select_pairs(split: SplitFiles, selection: Selection) -> None:
    if split.plain:
        _make_missing(split.images, split.masks, selection)
    for stem in sorted(set(split.images).union(*split.masks.values())):
        made = [folder for folder in split.masks if folder / f"{stem}.png" in selection.made]
        masks = [files.get(stem, []) for folder, files in split.masks.items() if folder not in made]
        found = [split.images.get(stem, []), *masks]
        suffixes = {tuple(sorted(path.suffix.lower() for path in paths)) for paths in found}
        if len(suffixes) == 1 and len(found[0]) > 1:
            for paths in found:
                _rename(sorted(paths, key=lambda path: path.suffix.lower())[1:], stem, selection)
        else:
            _select_one(found, selection)


def _objects_in(
    place: Path, images: Mapping[str, list[Path]], root: Path, selection: Selection
) -> dict[str, tuple[list[Path], list[Path]]]:
    """Return the masks of objects of each image, and what lies beside them, by the image's stem.

    There are none if masks are not one file for each object.
    """
    if folders := object_folders(images, place):
        return {
            stem: (
                [path for paths in listing.list_pictures(folder)[0].values() for path in paths],
                [path for path in sorted(folder.rglob("*")) if not path.is_dir()],
            )
            for stem, folder in folders.items()
        }
    if not place.is_dir() or leads_out(place, root, selection):
        return {}
    pictures, strange, folders_inside = listing.list_pictures(place)
    if folders_inside or any(len(paths) > 1 for paths in pictures.values()):
        return {}
    found = {
        stem: [pictures[mask][0] for mask in masks]
        for stem, masks in flat_objects(images, pictures).items()
    }
    if found:
        selection.leave(strange, "not a picture that can be read")
    return {stem: (files, files) for stem, files in found.items()}


def _select_objects(
    images: Mapping[str, list[Path]],
    objects: Mapping[str, tuple[list[Path], list[Path]]],
    place: Path,
    *,
    root: Path,
    selection: Selection,
) -> None:
    """Merge the files of each image with an object each; all of them, or none.

    Args:
        images: The images by stem.
        objects: The masks of objects and what lies beside them, by the stem of the image.
        place: The folder of masks.
        root: The data folder.
        selection: Gets what is merged, and what stays behind.
    """
    for stem in images.keys() - objects.keys():
        selection.leave(images[stem], "an image without a mask")
    for stem, (files, inside) in objects.items():
        found = images.get(stem, [])
        bad = [path for path in files if refusal(path, root, selection)]
        if len(found) == 1 and not bad:
            selection.merged[place / f"{stem}.png"] = found[0], files
            others = [path for path in inside if path not in files]
            selection.leave(others, "not a mask of an object")
        elif bad:
            about = bad[0].relative_to(root).as_posix()
            selection.leave([*found, *inside], "the mask of an object cannot be used", about)
        elif found:
            why = "several files with one stem, and nothing tells which is meant"
            selection.leave([*found, *inside], why)
        else:
            selection.leave(inside, "a mask without an image")


def _make_missing(
    images: Mapping[str, list[Path]],
    masks: Mapping[Path, Mapping[str, list[Path]]],
    selection: Selection,
) -> None:
    """Make an all-black mask where a label has none, but the image has one of another label.

    There must be no file that may be that mask: one of its stem, or one that belongs to no image.
    Cell centers are never made up: cells without one would contradict their area.

    Args:
        images: The images by stem.
        masks: The masks by stem, for the folder of each label.
        selection: Gets what is made.
    """
    for folder, files in masks.items():
        if folder.name == POSITION or not images.keys() >= files.keys():
            continue
        there = {listing.stem_of(path) for path in folder.iterdir()} if folder.is_dir() else set()
        for stem in images.keys() - files.keys() - there:
            others = [
                each[stem]
                for label, each in masks.items()
                if label.name != POSITION and stem in each
            ]
            shown = _try(read_mask, others[0][0]) if len(others[0] if others else ()) == 1 else None
            if len(images[stem]) == 1 and isinstance(shown, MaskFile):
                selection.made[folder / f"{stem}.png"] = shown.values.shape


def _join(split: SplitFiles, rules: set[StemRule], selection: Selection) -> None:
    """Give masks the stems of their images, where one rule tells which those are."""
    for files in split.masks.values():
        found = _joined(split.images, files, rules)
        rule, pairs = found or ("", {})
        for mask, image in pairs.items():
            files[image] = files.pop(mask)
            for path in files[image]:
                selection.renamed[path] = image + path.suffix, f"one rule joins stems: {rule}"


def _joined(
    images: Collection[str], masks: Collection[str], known: Collection[StemRule] = ()
) -> tuple[StemRule, Mapping[str, str]] | None:
    return join_stems(sorted({*images} - {*masks}), sorted({*masks} - {*images}), known)


def _select_one(found: Sequence[list[Path]], selection: Selection) -> None:
    """Keep one image and its masks, or none of them."""
    masks = [_choose(paths, _hash_mask, selection, fits=_is_lossless) for paths in found[1:]]
    single = masks[0] if len(masks) == 1 else None

    def fits(path: Path) -> bool:
        return single is None or read_mask(single).values.shape == picture_file.probe(path).size

    image = _choose(found[0], _hash_image, selection, fits=fits)
    kept = [path for path in (image, *masks) if path is not None]
    if len(kept) == len(found):
        return
    why = "the mask of another label is missing" if any(masks) else "an image without a mask"
    selection.leave(kept, "a mask without an image" if image is None else why)


def _choose(
    paths: list[Path], content: _FindOut, selection: Selection, *, fits: _FindOut
) -> Path | None:
    """Return the one file that is meant, or None; the others stay behind."""
    if len(paths) < 2:
        return paths[0] if paths else None
    hashes = {path: _try(content, path) for path in paths}
    readable = [path for path in paths if hashes[path] is not None]
    selection.leave([path for path in paths if path not in readable], "cannot be read")
    if not readable:
        return None
    if len({hashes[path] for path in readable}) == 1:
        selection.leave(readable[1:], "an exact copy with the same stem", readable[0].name)
        return readable[0]
    fitting = [path for path in readable if _try(fits, path)]
    if len(fitting) == 1:
        others = [path for path in readable if path not in fitting]
        why = "another file has the same stem and fits better"
        selection.leave(others, why, fitting[0].name)
        return fitting[0]
    selection.leave(readable, "several files with one stem, and nothing tells which is meant")
    return None


def _rename(paths: Sequence[Path], stem: str, selection: Selection) -> None:
    """Give files a stem of their own."""
    for path in paths:
        suffix = path.suffix.lower().removeprefix(".")
        name = f"{stem}-{suffix}"
        number = 2
        if (taken := selection.taken.get(path.parent)) is None:
            taken = {other.stem for other in path.parent.iterdir()}
            for old, (new, _) in selection.renamed.items():
                taken |= {Path(new).stem} if old.parent == path.parent else set()
            selection.taken[path.parent] = taken
        while name in taken:
            name, number = f"{stem}-{suffix}-{number}", number + 1
        taken.add(name)
        selection.renamed[path] = name + path.suffix, "another file has the same stem"


def _is_lossless(path: Path) -> bool:
    return picture_file.lossy_coding(path) is None


def _hash_image(path: Path) -> str:
    return decoding.hash_pixels(picture_file.read_image(path))


def _hash_mask(path: Path) -> str:
    values = read_mask(path).values
    return decoding.hash_pixels(np.ascontiguousarray(values)[..., None])


def _try(function: _FindOut, path: Path) -> object:
    """Return what a function finds out about a file; None if the file cannot be read."""
    try:
        return function(path)
    except ImsegError:
        return None


def leads_out(path: Path, root: Path, selection: Selection) -> bool:
    """Return whether a link leads out of the data folder and is not followed.

    Only what is read is followed: a link beside that may lead to a whole disk.
    """
    split, *below = path.relative_to(root).parts
    read = split in (*PAIRED, *ALONE)
    if path.is_dir():
        label = len(below) == 2 and below[0] == "masks"
        read = read and (label or below in ([], ["images"], ["masks"]))
    return not (selection.follow_links and read) and listing.leads_out(path, root)


def refusal(path: Path, root: Path, selection: Selection) -> str:
    """Return why a file cannot be in the copy whatever it is; empty if it can."""
    if listing.has_odd_name(path):
        return "its name has control characters"
    if path.is_symlink() and leads_out(path, root, selection):
        return "a link that leads out of the data folder"
    if not path.is_file():
        return "not a file, or a link that leads nowhere"
    return ""
