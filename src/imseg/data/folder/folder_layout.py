"""Which files of a data folder belong to what; nothing is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imseg.data.files.listing import has_odd_name, leads_out, list_pictures, note_refused
from imseg.data.folder.pairing import (
    EXAMPLE,
    Files,
    find_labels,
    note_doubled,
    note_folders,
    note_other_labels,
    note_strange,
    pair_with_masks,
    pair_with_planes,
)
from imseg.errors import Finding, and_more, near_miss, shown
from imseg.types import Image, LabeledImage

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
    """Names of the folders in ``labeled/masks``, "position" last; empty: one mask an image."""
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
        layout.findings.append(note_other_labels(folder.name, labels, layout.labels))
        return ()
    if isinstance(masks, Files):
        pairs, findings = pair_with_masks(images, masks, layout.root)
    else:
        pairs, findings = pair_with_planes(images, masks, place, layout.root)
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
        names = tuple(_relative(layout, path) for paths in outside.values() for path in paths)
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
    return tuple(Image(_relative(layout, path), path) for path in files.by_stem.values())


def _single_files(layout: Layout, folder: Path) -> Files:
    """Return the picture of each stem; list what else there is, and what is refused."""
    if _is_refused(layout, folder):
        return Files({})
    pictures, strange, folders = list_pictures(folder)
    layout.findings += note_doubled(pictures, folder, layout.root)
    layout.findings += note_strange(strange, folder, layout.root)
    layout.findings += note_folders(folders, folder, layout.root)
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
    layout.refused[reason][_relative(layout, path)] = None
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


def _relative(layout: Layout, path: Path) -> str:
    return path.relative_to(layout.root).as_posix()
