"""Which files of a data folder belong to what: stems join images and masks; none is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imseg.data.files.listing import (
    counted,
    has_odd_name,
    leads_out,
    list_pictures,
    nearest_stem,
    note_refused,
)
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


_SPLITS = ("labeled", "unlabeled", "val", "test")
_KNOWN_FOLDERS = (*_SPLITS, "labelled", "unlabelled", "hidden")


@dataclass(kw_only=True)
class Layout:
    """The files of a data folder, sorted by stem, and what is wrong with their names."""

    root: Path
    """The data folder."""
    labeled: tuple[LabeledImage, ...] = ()
    """Pairs to learn from."""
    unlabeled: tuple[Image, ...] = ()
    """Pictures alone."""
    val: tuple[LabeledImage, ...] = ()
    """Pairs to choose by."""
    test: tuple[LabeledImage, ...] = ()
    """Pairs for the final score."""
    labels: tuple[str, ...] = ()
    """Names of the folders in ``labeled/masks``, "position" last; empty: one mask per image."""
    findings: list[Finding] = field(default_factory=list)
    """Problems seen so far."""
    refused: dict[str, dict[str, None]] = field(default_factory=lambda: {"names": {}, "links": {}})
    """Files that are not looked at: names with control characters, and links that lead out."""


def find_layout(root: Path) -> Layout:
    """Return the files of a data folder; problems are listed, not raised."""
    layout = Layout(root=root)
    try:
        _look(layout, root)
    except OSError as error:
        layout.findings.append(_closed(error))
    layout.findings += note_refused(layout.refused)
    return layout


def _look(layout: Layout, root: Path) -> None:
    """Fill a layout.

    Raises:
        OSError: If a folder cannot be looked into.
    """
    if not root.is_dir():
        layout.findings.append(_no_folder(root))
        return
    labeled = _choose_folder(layout, "labeled", "labelled")
    if not _is_refused(layout, labeled / "images"):
        if (labeled / "images").is_dir():
            layout.labeled = _pairs(layout, labeled)
        else:
            layout.findings.append(_no_labeled(layout, labeled))
    unlabeled = _choose_folder(layout, "unlabeled", "unlabelled")
    layout.unlabeled = _pictures_alone(layout, unlabeled)
    layout.val = _optional_pairs(layout, root / "val")
    layout.test = _optional_pairs(layout, root / "test")
    _note_unknown_folders(layout)


def _choose_folder(layout: Layout, american: str, british: str) -> Path:
    """Return the folder under whichever spelling is there."""
    if not (layout.root / british).is_dir():
        return layout.root / american
    if (layout.root / american).is_dir():
        layout.findings.append(
            Finding(
                severity="error",
                what=f"{layout.root} holds both {american}/ and {british}/.",
                expected="one of them.",
                hint=f"move everything to {american}/.",
                files=(american, british),
            )
        )
        return layout.root / american
    return layout.root / british


def _optional_pairs(layout: Layout, folder: Path) -> tuple[LabeledImage, ...]:
    if not folder.is_dir() or _is_refused(layout, folder / "images"):
        return ()
    if not (folder / "images").is_dir():
        layout.findings.append(
            Finding(
                severity="error",
                what=f"{folder.name}/ has no folder images.",
                expected=f"{folder.name}/images and {folder.name}/masks, or no {folder.name}/.",
                hint=f"move the pictures to {folder.name}/images.",
                files=(folder.name,),
            )
        )
        return ()
    return _pairs(layout, folder)


def _pairs(layout: Layout, folder: Path) -> tuple[LabeledImage, ...]:
    """Return the images of a split with their masks; list those that have no partner."""
    images = _single_files(layout, folder / "images")
    place = folder / "masks"
    if _is_refused(layout, place):
        return ()
    labels = find_labels(place)
    # Every one of them is looked at, so that all are named.
    if [label for label in labels if _is_refused(layout, place / label)]:
        return ()
    masks: Files | Mapping[str, Files]
    if labels:
        masks = {label: _single_files(layout, place / label) for label in labels}
    else:
        masks = _single_files(layout, place) if place.is_dir() else Files({})
    without_masks = isinstance(masks, Files) and not masks.by_stem
    for kind, nothing in (("images", not images.by_stem), ("masks", without_masks)):
        if nothing:
            layout.findings.append(_nothing_in(folder, kind))
    if without_masks or not images.by_stem:
        return ()
    if folder.name in ("labeled", "labelled"):
        layout.labels = labels
    elif layout.labeled and labels != layout.labels:
        layout.findings.append(_note_other_labels(folder.name, labels, layout.labels))
        return ()
    if isinstance(masks, Files):
        pairs, findings = _pair_with_masks(images, masks, layout.root)
    else:
        pairs, findings = _pair_with_planes(images, masks, place, layout.root)
    layout.findings += findings
    return pairs


def _nothing_in(folder: Path, kind: str) -> Finding:
    there = (folder / kind).is_dir()
    return Finding(
        severity="error",
        what=f"{folder.name}/{kind} holds no {kind}.",
        expected=f"PNG, JPEG, BMP or TIFF files, such as {EXAMPLE}.",
        got="no such files." if there else "no such folder.",
        hint=f"put the {kind} there; stems must be equal.",
        files=(f"{folder.name}/{kind}",),
    )


def _pictures_alone(layout: Layout, folder: Path) -> tuple[Image, ...]:
    if not folder.is_dir() or _is_refused(layout, folder):
        return ()
    inner = folder / "images"
    if inner.is_dir():
        if _is_refused(layout, inner):
            return ()
        outside, _, _ = list_pictures(folder)
        names = tuple(_relative(path, layout.root) for paths in outside.values() for path in paths)
        if names:
            layout.findings.append(
                Finding(
                    severity="error",
                    what=f"{folder.name}/ holds pictures beside its folder images.",
                    expected=f"all pictures in {folder.name}/images, or all in {folder.name}/.",
                    got=and_more(names) + ".",
                    hint=f"move them to {folder.name}/images.",
                    files=names,
                )
            )
    files = _single_files(layout, inner if inner.is_dir() else folder)
    return tuple(Image(_relative(path, layout.root), path) for path in files.by_stem.values())


def _single_files(layout: Layout, folder: Path) -> Files:
    """Return the picture of each stem; list what else there is, and what is refused."""
    if _is_refused(layout, folder):
        return Files({})
    pictures, strange, folders = list_pictures(folder)
    layout.findings += _note_doubled(pictures, folder, layout.root)
    layout.findings += _note_strange(strange, folder, layout.root)
    layout.findings += _note_folders(folders, folder, layout.root)
    files = {stem: paths[0] for stem, paths in pictures.items()}
    refused = frozenset(stem for stem, path in files.items() if _is_refused(layout, path))
    kept = {stem: path for stem, path in files.items() if stem not in refused}
    return Files(kept, refused)


def _is_refused(layout: Layout, path: Path) -> bool:
    """Return whether a file or folder is not looked at; note why."""
    if has_odd_name(path):
        reason = "names"
    elif (path.is_symlink() or path.is_dir()) and leads_out(path, layout.root):
        reason = "links"
    else:
        return False
    layout.refused[reason][_relative(path, layout.root)] = None
    return True


def _closed(error: OSError) -> Finding:
    place = str(error.filename) if error.filename else "a folder"
    return Finding(
        severity="error",
        what=f"{place} cannot be looked into.",
        expected="folders and files that you may read.",
        got=f"{error.strerror or error}.",
        hint="mend the permissions.",
        files=(place,),
    )


def _no_folder(root: Path) -> Finding:
    siblings = []
    if root.parent.is_dir():
        siblings = [path.name for path in root.parent.iterdir() if path.is_dir()]
    guess = None if root.exists() else near_miss(root.name, siblings)
    return Finding(
        severity="error",
        what=f"{root} is not a folder." if root.exists() else f"There is no folder {root}.",
        expected="a data folder with labeled/images and labeled/masks.",
        hint=f"did you mean {shown(root.parent / guess)}?" if guess else "check the path.",
    )


def _no_labeled(layout: Layout, labeled: Path) -> Finding:
    there = sorted(path.name for path in layout.root.iterdir() if path.is_dir())
    guess = near_miss("labeled", [name for name in there if name not in _KNOWN_FOLDERS])
    hint = "imseg prepare, or move your pictures there."
    if guess:
        hint = f"rename {guess}/ to labeled/, if that is what it holds."
    elif labeled.is_dir() and list_pictures(labeled)[0]:
        hint = f"move the pictures from {labeled.name}/ to {labeled.name}/images."
    return Finding(
        severity="error",
        what=f"{layout.root} has no folder labeled/images.",
        expected=f"images and masks with equal stems, such as {EXAMPLE}.",
        got=("folders " + and_more(there, most=6) if there else "no folders at all") + ".",
        hint=hint,
        files=("labeled/images",),
    )


def _note_unknown_folders(layout: Layout) -> None:
    for path in sorted(layout.root.iterdir()):
        if not path.is_dir() or path.name in _KNOWN_FOLDERS or has_odd_name(path):
            continue
        guess = "val" if path.name.lower().startswith("val") else near_miss(path.name, _SPLITS)
        if guess:
            layout.findings.append(
                Finding(
                    severity="warning",
                    what=f"The folder {path.name}/ is not read.",
                    expected=", ".join(f"{name}/" for name in _SPLITS) + ".",
                    hint=f"rename it to {guess}/ if that is what it holds.",
                    files=(path.name,),
                )
            )


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


def _pair_with_masks(
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


def _pair_with_planes(
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


def _note_other_labels(split: str, labels: tuple[str, ...], wanted: tuple[str, ...]) -> Finding:
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


def _note_doubled(pictures: Mapping[str, list[Path]], folder: Path, root: Path) -> list[Finding]:
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


def _note_strange(strange: list[Path], folder: Path, root: Path) -> list[Finding]:
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


def _note_folders(folders: list[Path], folder: Path, root: Path) -> list[Finding]:
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
