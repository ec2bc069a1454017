"""Which files of a data folder belong to what: stems join images and masks; none is opened."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imseg.data.files import listing
from imseg.data.files.listing import counted, list_pictures, subject
from imseg.data.files.stems import join_stems
from imseg.data.folder.object_folders import note_object_folders, note_several_masks, object_folders
from imseg.data.images.decoding import READABLE, SUFFIXES
from imseg.data.images.foreign_formats import how_to_convert
from imseg.errors import Finding, and_more, near_miss, shown
from imseg.types import POSITION, Image, LabeledImage

EXAMPLE = "labeled/images/cell_07.png with labeled/masks/cell_07.png"
"""What a pair looks like, for errors."""

SPLITS = ("labeled", "unlabeled", "val", "test")
"""The folders that are read."""

_KNOWN_FOLDERS = (*SPLITS, "labelled", "unlabelled", "hidden")


@dataclass(frozen=True, slots=True)
class Files:
    """The picture files of a folder."""

    by_stem: Mapping[str, Path]
    """Sorted by stem."""
    refused: frozenset[str] = frozenset()
    """Stems of files that are there but not looked at; their partners are not blamed."""


@dataclass(kw_only=True)
class FolderLayout:
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
    object_folders: dict[Path, tuple[Path, ...]] = field(default_factory=dict)
    """Folders with a file for each object of an image, by the folder of masks that they are in."""
    links_are: listing.Links = "refuse"
    """What is done with links that lead out; unless they are refused, they are looked at too."""

    def note(
        self, what: str, *, severity: str = "error", files: Iterable[str] = (), **parts: str
    ) -> None:
        """Add a finding; ``parts`` are its ``expected``, ``got`` and ``hint``."""
        self.findings.append(Finding(severity=severity, what=what, files=tuple(files), **parts))

    def name_of(self, path: Path) -> str:
        """Return a path relative to the data folder, with slashes."""
        return path.relative_to(self.root).as_posix()

    def refuses(self, path: Path) -> bool:
        """Return whether a file or folder is not looked at; note why."""
        if listing.has_odd_name(path):
            reason = "names"
        elif (path.is_symlink() or path.is_dir()) and listing.leads_out(path, self.root):
            reason = "links"
        else:
            return False
        self.refused[reason][self.name_of(path)] = None
        return reason == "names" or self.links_are == "refuse"


def find_layout(root: Path, *, links_are: listing.Links = "refuse") -> FolderLayout:
    """Return the files of a data folder; problems are listed, not raised.

    Args:
        root: The data folder.
        links_are: What is done with links that lead out of it.
    """
    layout = FolderLayout(root=root, links_are=links_are)
    try:
        _look(layout, root)
    except OSError as error:
        place = str(error.filename) if error.filename else "a folder"
        layout.note(
            f"{place} cannot be looked into.",
            expected="folders and files that you may read.",
            got=f"{error.strerror or error}.",
            hint="mend the permissions.",
            files=(place,),
        )
    layout.findings += listing.note_refused(layout.refused, links_are)
    return layout


def _look(layout: FolderLayout, root: Path) -> None:
    """Fill a layout.

    Raises:
        OSError: If a folder cannot be looked into.
    """
    if not root.is_dir():
        _note_no_folder(layout)
        return
    labeled = _choose_folder(layout, "labeled", "labelled")
    if not layout.refuses(labeled / "images"):
        if (labeled / "images").is_dir():
            layout.labeled = _pairs(layout, labeled)
        else:
            _note_no_labeled(layout, labeled)
    unlabeled = _choose_folder(layout, "unlabeled", "unlabelled")
    layout.unlabeled = _pictures_alone(layout, unlabeled)
    layout.val = _optional_pairs(layout, root / "val")
    layout.test = _optional_pairs(layout, root / "test")
    _note_unknown_folders(layout)
    if layout.object_folders:
        layout.findings.append(note_object_folders(layout.object_folders, root))


def _choose_folder(layout: FolderLayout, american: str, british: str) -> Path:
    """Return the folder under whichever spelling is there."""
    if not (layout.root / british).is_dir():
        return layout.root / american
    if not (layout.root / american).is_dir():
        return layout.root / british
    layout.note(
        f"{layout.root} holds both {american}/ and {british}/.",
        expected="one of them.",
        hint=f"move everything to {american}/.",
        files=(american, british),
    )
    return layout.root / american


def _optional_pairs(layout: FolderLayout, folder: Path) -> tuple[LabeledImage, ...]:
    if not folder.is_dir() or layout.refuses(folder / "images"):
        return ()
    if (folder / "images").is_dir():
        return _pairs(layout, folder)
    layout.note(
        f"{folder.name}/ has no folder images.",
        expected=f"{folder.name}/images and {folder.name}/masks, or no {folder.name}/.",
        hint=f"move the pictures to {folder.name}/images.",
        files=(folder.name,),
    )
    return ()


def _pairs(layout: FolderLayout, folder: Path) -> tuple[LabeledImage, ...]:
    """Return the images of a split with their masks; list those that have no partner."""
    images = _single_files(layout, folder / "images")
    place = folder / "masks"
    if layout.refuses(place):
        return ()
    if objects := object_folders(images.by_stem, place):
        layout.object_folders[place] = tuple(objects.values())
        return ()
    labels = find_labels(place)
    # Every one of them is looked at, so that all are named.
    if [label for label in labels if layout.refuses(place / label)]:
        return ()
    masks = {label: _single_files(layout, place / label) for label in labels or ("",)}
    masks = {label: _named_as(images, files, layout) for label, files in masks.items()}
    empty = {"images": not images.by_stem, "masks": not labels and not masks[""].by_stem}
    for kind in [kind for kind, nothing in empty.items() if nothing]:
        layout.note(
            f"{folder.name}/{kind} holds no {kind}.",
            expected=f"{READABLE} files, such as {EXAMPLE}.",
            got="no such files." if (folder / kind).is_dir() else "no such folder.",
            hint=f"put the {kind} there; stems must be equal.",
            files=(f"{folder.name}/{kind}",),
        )
    if any(empty.values()):
        return ()
    if folder.name in ("labeled", "labelled"):
        layout.labels = labels
    elif layout.labeled and labels != layout.labels:
        _note_other_labels(layout, folder.name, labels)
        return ()
    return _joined(layout, images, masks, place)


def _pictures_alone(layout: FolderLayout, folder: Path) -> tuple[Image, ...]:
    if not folder.is_dir() or layout.refuses(folder):
        return ()
    inner = folder / "images"
    if inner.is_dir():
        if layout.refuses(inner):
            return ()
        outside = list_pictures(folder)[0].values()
        if names := [layout.name_of(path) for paths in outside for path in paths]:
            layout.note(
                f"{folder.name}/ holds pictures beside its folder images.",
                expected=f"all pictures in {folder.name}/images, or all in {folder.name}/.",
                got=and_more(names) + ".",
                hint=f"move them to {folder.name}/images.",
                files=names,
            )
    files = _single_files(layout, inner if inner.is_dir() else folder)
    return tuple(Image(layout.name_of(path), path) for path in files.by_stem.values())


def _single_files(layout: FolderLayout, folder: Path) -> Files:
    """Return the picture of each stem; list what else there is, and what is refused."""
    if not folder.is_dir() or layout.refuses(folder):
        return Files({})
    pictures, strange, folders = list_pictures(folder)
    _note_doubled(layout, pictures, folder)
    _note_strange(layout, strange, folder)
    if folders:
        names = [shown(layout.name_of(path)) + "/" for path in folders]
        layout.note(
            f"{counted(len(folders), 'folder')} inside {layout.name_of(folder)} will not be read.",
            severity="warning",
            got=and_more(names) + ".",
            hint="move the pictures up if they are meant to be used.",
            files=names,
        )
    files = {stem: paths[0] for stem, paths in pictures.items()}
    refused = frozenset(stem for stem, path in files.items() if layout.refuses(path))
    return Files({stem: path for stem, path in files.items() if stem not in refused}, refused)


def _named_as(images: Files, masks: Files, layout: FolderLayout) -> Files:
    """Return masks by the stems of their images, where these differ in case alone; note it."""
    stems = listing.stems_by_case(masks.by_stem, images.by_stem)
    if not stems:
        return masks
    files = [(masks.by_stem[stem], images.by_stem[other]) for stem, other in stems.items()]
    names = [f"{layout.name_of(mask)} for {layout.name_of(image)}" for mask, image in sorted(files)]
    differing = "1 mask differs from its image"
    if len(names) > 1:
        differing = f"{len(names)} masks differ from their images"
    layout.note(
        f"{differing} in upper and lower case of the name; they are taken for pairs.",
        severity="warning",
        got=and_more(names) + ".",
        hint="rename them: other programs may take such names for different ones.",
        files=[layout.name_of(mask) for mask, _ in sorted(files)],
    )
    named = {stems.get(stem, stem): path for stem, path in masks.by_stem.items()}
    return Files(dict(sorted(named.items())), masks.refused)


def _note_no_folder(layout: FolderLayout) -> None:
    root = layout.root
    siblings = []
    if root.parent.is_dir():
        siblings = [path.name for path in root.parent.iterdir() if path.is_dir()]
    guess = None if root.exists() else near_miss(root.name, siblings)
    layout.note(
        f"{root} is not a folder." if root.exists() else f"There is no folder {root}.",
        expected="a data folder with labeled/images and labeled/masks.",
        hint=f"did you mean {shown(root.parent / guess)}?" if guess else "check the path.",
    )


def _note_no_labeled(layout: FolderLayout, labeled: Path) -> None:
    there = sorted(path.name for path in layout.root.iterdir() if path.is_dir())
    others = [name for name in there if name not in _KNOWN_FOLDERS]
    pairs = [
        name
        for name in others
        if all((layout.root / name / kind).is_dir() for kind in ("images", "masks"))
    ]
    guess = near_miss("labeled", others) or (pairs[0] if len(pairs) == 1 else None)
    hint = "imseg prepare, or move your pictures there."
    singles = [place for place in (layout.root, labeled) if _of_single_images(place)]
    if singles:
        hint = (
            f"if each file in a folder masks is one object: imseg prepare nuclei"
            f" {shown(singles[0])} --out NEW"
        )
    elif guess:
        hint = f"rename {guess}/ to labeled/, if that is what it holds."
    elif labeled.is_dir() and list_pictures(labeled)[0]:
        hint = f"move the pictures from {labeled.name}/ to {labeled.name}/images."
    layout.note(
        f"{layout.root} has no folder labeled/images.",
        expected=f"images and masks with equal stems, such as {EXAMPLE}.",
        got=("folders " + and_more(there, most=6) if there else "no folders at all") + ".",
        hint=hint,
        files=("labeled/images",),
    )


def _of_single_images(place: Path) -> bool:
    """Return whether a folder holds ``<image>/images``, with one picture each, and ``masks``."""
    inside = [*listing.folders_in(place), *listing.folders_in(place / "stage1_train")]
    return any(
        len(list_pictures(each / "images")[0]) == 1
        for each in inside
        if (each / "images").is_dir() and (each / "masks").is_dir()
    )


def _note_unknown_folders(layout: FolderLayout) -> None:
    for path in sorted(layout.root.iterdir()):
        if not path.is_dir() or path.name in _KNOWN_FOLDERS or listing.has_odd_name(path):
            continue
        guess = "val" if path.name.lower().startswith("val") else near_miss(path.name, SPLITS)
        if guess:
            layout.note(
                f"The folder {path.name}/ is not read.",
                severity="warning",
                expected=", ".join(f"{name}/" for name in SPLITS) + ".",
                hint=f"rename it to {guess}/ if that is what it holds.",
                files=(path.name,),
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
    names = [folder.name for folder in folders]
    return tuple(sorted(names, key=lambda label: (label == POSITION, label)))


def _joined(
    layout: FolderLayout, images: Files, masks: Mapping[str, Files], place: Path
) -> tuple[LabeledImage, ...]:
    """Return the images that have a mask of every label; note what has no partner.

    Args:
        layout: Gets the findings.
        images: The images of a split.
        masks: The masks of each label; of "" where an image has one mask.
        place: The folder that holds the masks, or the folders of the labels.
    """
    for files in masks.values():
        if several := note_several_masks(images.by_stem, files.by_stem, layout.root):
            layout.findings.append(several)
            return ()
    first: dict[str, Path] = {}
    for files in masks.values():
        first |= {stem: path for stem, path in files.by_stem.items() if stem not in first}
    refused = frozenset[str]().union(*(files.refused for files in masks.values()))
    rules = [rule for files in masks.values() if (rule := _rule_for(images, files))]
    rule = rules[0] if rules else ""
    _note_partnerless(
        layout, images, Files(first, refused), kind="image", partner="mask", rule=rule
    )
    for files in masks.values():
        rule = _rule_for(images, files)
        _note_partnerless(layout, files, images, kind="mask", partner="image", rule=rule)
    loose = any(not images.by_stem.keys() >= files.by_stem.keys() for files in masks.values())
    missing = [
        f"{layout.name_of(place / label)}/{stem}"
        for label, files in masks.items()
        for stem in images.by_stem
        if stem in first and stem not in files.by_stem and stem not in files.refused
    ]
    if missing:
        folder = layout.name_of(place)
        layout.note(
            f"{subject(len(missing), 'mask')} missing in {folder}.",
            expected="a mask for every image in the folder of every label: "
            + and_more([f"{folder}/{label}/cell_07.png" for label in masks])
            + ".",
            got="no " + and_more(missing) + ".",
            hint="where a label does not occur on an image, save an all-black mask"
            + ("." if loose else "; imseg check DATA --fix DIR makes them in a copy."),
            files=missing,
        )
    pairs = []
    for stem, path in images.by_stem.items():
        if all(stem in files.by_stem for files in masks.values()):
            found = {label: files.by_stem[stem] for label, files in masks.items()}
            image = Image(layout.name_of(path), path)
            pairs.append(LabeledImage(image, found.get("", found)))
    return tuple(pairs)


def _rule_for(images: Files, masks: Files) -> str:
    """Return how the masks that have no image would be joined with one; empty: it is not clear."""
    alone = [
        sorted(files.by_stem.keys() - others.by_stem.keys() - others.refused)
        for files, others in ((images, masks), (masks, images))
    ]
    found = join_stems(alone[0], alone[1])
    return str(found[0]) if found else ""


def _note_other_labels(layout: FolderLayout, split: str, labels: tuple[str, ...]) -> None:
    """Note that the masks of a split are of other labels than the labeled ones."""
    wanted = layout.labels
    folders, files = "a folder for each label: {}.", "one mask for each image, in no folders."
    hint = f"arrange {split}/masks as labeled/masks."
    if wanted and labels:
        free = [label for label in wanted if label not in labels]
        strange = [label for label in labels if label not in wanted]
        guesses = [(label, near_miss(label, free)) for label in strange]
        renamed = [f"rename {label}/ to {guess}/" for label, guess in guesses if guess]
        hint = "add the missing folders; where a label does not occur, save all-black masks"
        hint += "." if strange else " (imseg check DATA --fix DIR makes them in a copy)."
        if renamed:
            hint = ", ".join(renamed) + "."
    layout.note(
        f"{split}/masks has other labels than labeled/masks.",
        expected=folders.format(", ".join(wanted)) if wanted else files,
        got=folders.format(", ".join(labels)) if labels else files,
        hint=hint,
        files=(f"{split}/masks",),
    )


def _note_doubled(layout: FolderLayout, pictures: Mapping[str, list[Path]], folder: Path) -> None:
    """Note stems that stand for several files."""
    doubled = [
        listing.told_apart(list(map(layout.name_of, paths)))
        for paths in pictures.values()
        if len(paths) > 1
    ]
    if doubled:
        layout.note(
            f"{counted(len(doubled), 'stem')} in {layout.name_of(folder)} "
            f"{'stands' if len(doubled) == 1 else 'stand'} for more than one file.",
            expected="one file for each stem, because stems join images and masks.",
            got=and_more([" and ".join(names) for names in doubled]) + ".",
            hint="rename or remove one of them.",
            files=(name for names in doubled for name in names),
        )


def _note_strange(layout: FolderLayout, strange: list[Path], folder: Path) -> None:
    """Note files that are not pictures."""
    if not strange:
        return
    names = [shown(layout.name_of(path)) for path in strange]
    # Of a file whose suffix is right, the suffix says nothing about what is wrong.
    odd = [path.suffix.lower() in SUFFIXES for path in strange]
    told = [n + " (a pipe or the like)" * special for n, special in zip(names, odd, strict=True)]
    one = len(strange) == 1
    known = how_to_convert(strange)
    layout.note(
        f"{counted(len(strange), 'file')} in {layout.name_of(folder)} "
        f"{'is not a picture' if one else 'are not pictures'} that can be read.",
        expected=", ".join(sorted(SUFFIXES)) + " (upper case too).",
        got=and_more(told) + ".",
        hint=f"{known[0]} files are not read here; convert them:\n{known[1]}"
        if known
        else "convert or remove " + ("it." if one else "them."),
        files=names,
    )


def _note_partnerless(
    layout: FolderLayout, files: Files, others: Files, *, kind: str, partner: str, rule: str
) -> None:
    """Note files whose stem none of the others has, with what may be meant.

    Args:
        layout: Gets the finding.
        files: The files that may lack a partner.
        others: Their partners.
        kind: What the files are.
        partner: What the others are.
        rule: How stems would be joined, if that is clear.
    """
    known = {*others.by_stem, *others.refused}
    alone = [stem for stem in files.by_stem if stem not in known]
    if not alone:
        return
    free = [stem for stem in others.by_stem if stem not in files.by_stem]
    names = [layout.name_of(files.by_stem[stem]) for stem in alone]
    told = list(names)
    for place, stem in enumerate(alone[:3]):
        if guess := listing.nearest_stem(stem, free):
            told[place] += f" (is it {layout.name_of(others.by_stem[guess])}?)"
    lacks = f"{'has' if len(alone) == 1 else 'have'} no {partner}"
    layout.note(
        f"{counted(len(alone), kind)} in {names[0].rpartition('/')[0]} {lacks}.",
        expected=f"equal stems, such as {EXAMPLE}.",
        got=and_more(told) + ".",
        hint=f"imseg check DATA --fix DIR renames the masks in a copy: {rule}."
        if rule
        else f"rename the {partner}s so that stems are equal, or remove what has none.",
        files=names,
    )
