"""Which image belongs to which mask, or to which masks, one a label: stems join them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from imseg.data.files.listing import counted, list_pictures, nearest_stem
from imseg.data.images.decoding import SUFFIXES
from imseg.errors import Finding, and_more, near_miss, shown
from imseg.types import POSITION, Image, LabeledImage

EXAMPLE = "labeled/images/cell_07.png with labeled/masks/cell_07.png"
"""What a pair looks like, for errors."""

_STEM = "cell_07"


@dataclass(frozen=True, slots=True)
class Files:
    """The picture files of a folder."""

    by_stem: Mapping[str, Path]
    """Sorted by stem."""
    refused: frozenset[str] = frozenset()
    """Stems of files that are there but not looked at; their partners are not blamed."""


def find_labels(masks: Path) -> tuple[str, ...]:
    """Return the names of the folders in a folder of masks, the one of cell centers last.

    Nothing if there are masks beside them (then the folders are not read), or if none of them holds
    any.
    """
    if not masks.is_dir():
        return ()
    pictures, _, folders = list_pictures(masks)
    if pictures or not any(list_pictures(folder)[0] for folder in folders):
        return ()
    return sort_labels(tuple(folder.name for folder in folders))


def sort_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return labels in the order of planes: by name, the one of cell centers last."""
    return tuple(sorted(labels, key=lambda label: (label == POSITION, label)))


def pair_with_masks(
    images: Files, masks: Files, root: Path
) -> tuple[tuple[LabeledImage, ...], list[Finding]]:
    """Return the images that have a mask, and findings about those that have no partner."""
    findings = [
        *_note_partnerless(images, masks, root, kind="image", partner="mask"),
        *_note_partnerless(masks, images, root, kind="mask", partner="image"),
    ]
    pairs = tuple(
        LabeledImage(Image(_relative(path, root), path), masks.by_stem[stem])
        for stem, path in images.by_stem.items()
        if stem in masks.by_stem
    )
    return pairs, findings


def pair_with_planes(
    images: Files, planes: Mapping[str, Files], masks: Path, root: Path
) -> tuple[tuple[LabeledImage, ...], list[Finding]]:
    """Return the images that have a mask of every label, and findings about the others.

    Args:
        images: The images of a split.
        planes: The masks of each label.
        masks: The folder that holds the folders of the labels.
        root: The data folder.
    """
    first: dict[str, Path] = {}
    refused: set[str] = set()
    for files in planes.values():
        refused |= files.refused
        for stem, path in files.by_stem.items():
            first.setdefault(stem, path)
    every = Files(first, frozenset(refused))
    findings = _note_partnerless(images, every, root, kind="image", partner="mask")
    for files in planes.values():
        findings += _note_partnerless(files, images, root, kind="mask", partner="image")
    missing = [
        f"{_relative(masks / label, root)}/{stem}"
        for label, files in planes.items()
        for stem in images.by_stem
        if stem in first and stem not in files.by_stem and stem not in files.refused
    ]
    if missing:
        findings.append(_missing_planes(missing, masks, root, tuple(planes)))
    pairs = tuple(
        LabeledImage(
            Image(_relative(path, root), path),
            {label: files.by_stem[stem] for label, files in planes.items()},
        )
        for stem, path in images.by_stem.items()
        if all(stem in files.by_stem for files in planes.values())
    )
    return pairs, findings


def note_other_labels(split: str, labels: tuple[str, ...], wanted: tuple[str, ...]) -> Finding:
    """Return an error about a split whose masks are of other labels than the labeled ones."""
    folders, files = "a folder for each label: {}.", "one mask for each image, in no folders."
    strange = [label for label in labels if label not in wanted]
    hint = f"arrange {split}/masks as labeled/masks."
    if wanted and labels:
        free = [label for label in wanted if label not in labels]
        guesses = [(label, near_miss(label, free)) for label in strange]
        renamed = [f"rename {label}/ to {guess}/" for label, guess in guesses if guess]
        hint = (
            ", ".join(renamed) + "."
            if renamed
            else "add the missing folders; where a label does not occur, save all-black masks."
        )
    return Finding(
        severity="error",
        what=f"{split}/masks has other labels than labeled/masks.",
        expected=folders.format(", ".join(wanted)) if wanted else files,
        got=folders.format(", ".join(labels)) if labels else files,
        hint=hint,
        files=(f"{split}/masks",),
    )


def note_doubled(pictures: Mapping[str, list[Path]], folder: Path, root: Path) -> list[Finding]:
    """Return an error about stems that stand for several files."""
    doubled = [paths for paths in pictures.values() if len(paths) > 1]
    if not doubled:
        return []
    names = [" and ".join(_relative(path, root) for path in paths) for paths in doubled]
    return [
        Finding(
            severity="error",
            what=f"{counted(len(doubled), 'stem')} in {_relative(folder, root)} "
            f"{'stands' if len(doubled) == 1 else 'stand'} for more than one file.",
            expected="one file for each stem, because stems join images and masks.",
            got=and_more(names) + ".",
            hint="rename or remove one of them.",
            files=tuple(_relative(path, root) for paths in doubled for path in paths),
        )
    ]


def note_strange(strange: list[Path], folder: Path, root: Path) -> list[Finding]:
    """Return an error about files that are not pictures."""
    if not strange:
        return []
    names = tuple(shown(_relative(path, root)) for path in strange)
    # Of a file whose suffix is right, the suffix says nothing about what is wrong.
    odd = [path.suffix.lower() in SUFFIXES for path in strange]
    told = [n + " (a pipe or the like)" * special for n, special in zip(names, odd, strict=True)]
    one = len(strange) == 1
    return [
        Finding(
            severity="error",
            what=f"{counted(len(strange), 'file')} in {_relative(folder, root)} "
            f"{'is not a picture' if one else 'are not pictures'} that can be read.",
            expected=", ".join(sorted(SUFFIXES)) + " (upper case too).",
            got=and_more(told) + ".",
            hint="convert or remove " + ("it." if one else "them."),
            files=names,
        )
    ]


def note_folders(folders: list[Path], folder: Path, root: Path) -> list[Finding]:
    """Return a warning about folders where files are meant to be."""
    if not folders:
        return []
    names = [shown(_relative(path, root)) + "/" for path in folders]
    return [
        Finding(
            severity="warning",
            what=f"{counted(len(folders), 'folder')} inside {_relative(folder, root)} "
            "will not be read.",
            got=and_more(names) + ".",
            hint="move the pictures up if they are meant to be used.",
            files=tuple(names),
        )
    ]


def _note_partnerless(
    files: Files, others: Files, root: Path, *, kind: str, partner: str
) -> list[Finding]:
    """Return an error about files whose stem none of the others has, with what may be meant."""
    known = {*others.by_stem, *others.refused}
    alone = [stem for stem in files.by_stem if stem not in known]
    if not alone:
        return []
    free = [stem for stem in others.by_stem if stem not in files.by_stem]
    shown = []
    for stem in alone[:3]:
        guess = nearest_stem(stem, free)
        near = f" (is it {_relative(others.by_stem[guess], root)}?)" if guess else ""
        shown.append(_relative(files.by_stem[stem], root) + near)
    names = tuple(_relative(files.by_stem[stem], root) for stem in alone)
    lacks = f"{'has' if len(alone) == 1 else 'have'} no {partner}"
    return [
        Finding(
            severity="error",
            what=f"{counted(len(alone), kind)} in {names[0].rpartition('/')[0]} {lacks}.",
            expected=f"equal stems, such as {EXAMPLE}.",
            got=and_more([*shown, *names[3:]]) + ".",
            hint=f"rename the {partner}s so that stems are equal, or remove what has none.",
            files=names,
        )
    ]


def _missing_planes(
    missing: list[str], masks: Path, root: Path, labels: tuple[str, ...]
) -> Finding:
    place = _relative(masks, root)
    one = len(missing) == 1
    return Finding(
        severity="error",
        what=f"{counted(len(missing), 'mask')} {'is' if one else 'are'} missing in {place}.",
        expected="a mask for every image in the folder of every label: "
        + and_more([f"{place}/{label}/{_STEM}.png" for label in labels])
        + ".",
        got="no " + and_more(missing) + ".",
        hint="where a label does not occur on an image, save an all-black mask.",
        files=tuple(missing),
    )


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
