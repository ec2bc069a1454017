"""Which files of a data folder belong to what; nothing is opened here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imseg.data.image_io import SUFFIXES
from imseg.errors import Finding, and_more, near_miss
from imseg.types import Image, LabeledImage

_JUNK = frozenset({"thumbs.db", "desktop.ini"})
_SPLITS = ("labeled", "unlabeled", "val", "test")
_KNOWN_FOLDERS = (*_SPLITS, "labelled", "unlabelled", "hidden")
_EXAMPLE = "labeled/images/cell_07.png with labeled/masks/cell_07.png"


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
    findings: list[Finding] = field(default_factory=list)
    """Problems seen so far."""


def find_layout(root: Path) -> Layout:
    """Return the files of a data folder; problems are listed, not raised."""
    layout = Layout(root=root)
    if not root.is_dir():
        layout.findings.append(_no_folder(root))
        return layout
    labeled = _choose_folder(layout, "labeled", "labelled")
    if not (labeled / "images").is_dir():
        layout.findings.append(_no_labeled(layout, labeled))
    else:
        layout.labeled = _pairs(layout, labeled)
    unlabeled = _choose_folder(layout, "unlabeled", "unlabelled")
    layout.unlabeled = _pictures_alone(layout, unlabeled)
    layout.val = _optional_pairs(layout, root / "val")
    layout.test = _optional_pairs(layout, root / "test")
    _note_unknown_folders(layout)
    return layout


def list_pictures(folder: Path) -> tuple[dict[str, list[Path]], list[Path], list[Path]]:
    """Return the picture files of a folder by stem (sorted), other files, and folders in it."""
    pictures: dict[str, list[Path]] = {}
    strange: list[Path] = []
    folders: list[Path] = []
    # By name, so that nothing depends on the order in which a file system lists its files.
    for path in sorted(folder.iterdir(), key=lambda path: (path.stem, path.name)):
        if path.name.startswith(".") or path.name.lower() in _JUNK:
            continue
        if path.is_dir():
            folders.append(path)
        elif path.suffix.lower() in SUFFIXES:
            pictures.setdefault(path.stem, []).append(path)
        else:
            strange.append(path)
    return pictures, strange, folders


def nearest_stem(stem: str, known: Iterable[str]) -> str | None:
    """Return the stem most likely meant: one that contains the other, else one that looks alike."""
    stems = list(known)
    around = [other for other in stems if stem in other or other in stem]
    return min(around, key=len) if around else near_miss(stem, stems)


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number and its noun: ``1 mask``, ``3 masks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


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
    if not folder.is_dir():
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
    masks = _single_files(layout, folder / "masks") if (folder / "masks").is_dir() else {}
    for kind, files in (("images", images), ("masks", masks)):
        if not files:
            layout.findings.append(
                Finding(
                    severity="error",
                    what=f"{folder.name}/{kind} holds no {kind}.",
                    expected=f"PNG, JPEG, BMP or TIFF files, such as {_EXAMPLE}.",
                    got="no such folder." if not (folder / kind).is_dir() else "no such files.",
                    hint=f"put the {kind} there; stems must be equal.",
                    files=(f"{folder.name}/{kind}",),
                )
            )
    if images and masks:
        _note_partnerless(layout, images, masks, kind="image", partner="mask")
        _note_partnerless(layout, masks, images, kind="mask", partner="image")
    return tuple(
        LabeledImage(Image(_relative(layout, path), path), masks[stem])
        for stem, path in images.items()
        if stem in masks
    )


def _pictures_alone(layout: Layout, folder: Path) -> tuple[Image, ...]:
    if not folder.is_dir():
        return ()
    inner = folder / "images"
    if inner.is_dir():
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
    return tuple(Image(_relative(layout, path), path) for path in files.values())


def _single_files(layout: Layout, folder: Path) -> dict[str, Path]:
    """Return the picture of each stem; list stems with several files, and files of other kinds."""
    pictures, strange, folders = list_pictures(folder)
    doubled = [paths for paths in pictures.values() if len(paths) > 1]
    if doubled:
        names = [" and ".join(_relative(layout, path) for path in paths) for paths in doubled]
        layout.findings.append(
            Finding(
                severity="error",
                what=f"{counted(len(doubled), 'stem')} in {_relative(layout, folder)} "
                f"{'stands' if len(doubled) == 1 else 'stand'} for more than one file.",
                expected="one file for each stem, because stems join images and masks.",
                got=and_more(names) + ".",
                hint="rename or remove one of them.",
                files=tuple(_relative(layout, path) for paths in doubled for path in paths),
            )
        )
    if strange:
        layout.findings.append(_strange_files(layout, folder, strange))
    if folders:
        names = [_relative(layout, path) + "/" for path in folders]
        layout.findings.append(
            Finding(
                severity="warning",
                what=f"{counted(len(folders), 'folder')} inside {_relative(layout, folder)} "
                "will not be read.",
                got=and_more(names) + ".",
                hint="move the pictures up if they are meant to be used.",
                files=tuple(names),
            )
        )
    return {stem: paths[0] for stem, paths in pictures.items()}


def _strange_files(layout: Layout, folder: Path, strange: list[Path]) -> Finding:
    names = tuple(_relative(layout, path) for path in strange)
    one = len(strange) == 1
    return Finding(
        severity="error",
        what=f"{counted(len(strange), 'file')} in {_relative(layout, folder)} "
        f"{'is not a picture' if one else 'are not pictures'} that can be read.",
        expected=", ".join(sorted(SUFFIXES)) + " (upper case too).",
        got=and_more(names) + ".",
        hint="convert or remove " + ("it." if one else "them."),
        files=names,
    )


def _note_partnerless(
    layout: Layout,
    files: Mapping[str, Path],
    others: Mapping[str, Path],
    *,
    kind: str,
    partner: str,
) -> None:
    """List the files whose stem none of the others has, with what may be meant."""
    alone = [stem for stem in files if stem not in others]
    if not alone:
        return
    free = [stem for stem in others if stem not in files]
    shown = []
    for stem in alone[:3]:
        guess = nearest_stem(stem, free)
        near = f" (is it {_relative(layout, others[guess])}?)" if guess else ""
        shown.append(_relative(layout, files[stem]) + near)
    names = tuple(_relative(layout, files[stem]) for stem in alone)
    lacks = f"{'has' if len(alone) == 1 else 'have'} no {partner}"
    layout.findings.append(
        Finding(
            severity="error",
            what=f"{counted(len(alone), kind)} in {names[0].rpartition('/')[0]} {lacks}.",
            expected=f"equal stems, such as {_EXAMPLE}.",
            got=and_more([*shown, *names[3:]]) + ".",
            hint=f"rename the {partner}s so that stems are equal, or remove what has none.",
            files=names,
        )
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
        hint=f"did you mean {root.parent / guess}?" if guess else "check the path.",
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
        expected=f"images and masks with equal stems, such as {_EXAMPLE}.",
        got=("folders " + and_more(there, shown=6) if there else "no folders at all") + ".",
        hint=hint,
        files=("labeled/images",),
    )


def _note_unknown_folders(layout: Layout) -> None:
    for path in sorted(layout.root.iterdir()):
        if not path.is_dir() or path.name in _KNOWN_FOLDERS:
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
