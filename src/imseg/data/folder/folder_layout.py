"""Which files of a data folder belong to what: stems join images and masks; none is opened."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from imseg.data.files import listing
from imseg.data.files.listing import counted, list_pictures, stem_of, subject
from imseg.data.files.stems import join_stems
from imseg.data.folder.label_folders import equal_labels, find_labels, note_other_labels
from imseg.data.folder.missing_folders import note_no_labeled
from imseg.data.folder.object_folders import note_object_folders, note_several_masks, object_folders
from imseg.data.images.decoding import READABLE, SUFFIXES
from imseg.data.images.foreign_formats import how_to_convert
from imseg.errors import Finding, and_more, near_miss, shown
from imseg.types import Image, LabeledImage

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
    """Stems of files that are there but not read, because they are refused or no pictures; their
    partners are not blamed."""

    @property
    def is_empty(self) -> bool:
        """Whether there is no file, not even one that is not read."""
        return not (self.by_stem or self.refused)


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
    strange: list[Path] = field(default_factory=list)
    """Files that are not pictures that can be read."""
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
    _note_strange(layout)
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
            found = note_no_labeled(root, labeled, _KNOWN_FOLDERS, example=EXAMPLE)
            layout.findings.append(found)
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
    if [label for label, path in labels.items() if layout.refuses(path)]:
        return ()
    if twins := equal_labels(labels):
        layout.note(
            f"Labels in {layout.name_of(place)} differ in how accents are stored alone.",
            expected="a folder for each label.",
            got=" and ".join(listing.told_apart(twins)) + ".",
            hint="rename one of the folders, or move its masks to the other.",
            files=[layout.name_of(labels[label]) for label in twins],
        )
        return ()
    places = labels or {"": place}
    masks = {label: _single_files(layout, path) for label, path in places.items()}
    masks = {label: _named_as(images, files, layout) for label, files in masks.items()}
    missing = {"images": images.is_empty, "masks": all(files.is_empty for files in masks.values())}
    for kind in [kind for kind, nothing in missing.items() if nothing]:
        layout.note(
            f"{folder.name}/{kind} holds no {kind}.",
            expected=f"{READABLE} files, such as {EXAMPLE}.",
            got="no such files." if (folder / kind).is_dir() else "no such folder.",
            hint=f"put the {kind} there; stems must be equal.",
            files=(f"{folder.name}/{kind}",),
        )
    if not images.by_stem or not any(files.by_stem for files in masks.values()):
        return ()
    if folder.name in ("labeled", "labelled"):
        layout.labels = tuple(labels)
    elif layout.labeled and tuple(labels) != layout.labels:
        layout.findings.append(note_other_labels(folder.name, layout.labels, tuple(labels)))
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
    layout.strange += strange
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
    usable = {stem: path for stem, path in files.items() if stem not in refused}
    # Twice, because of a.nii.gz.
    unread = {stem for path in strange for stem in (stem_of(path), stem_of(Path(path.stem)))}
    return Files(usable, refused | unread)


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
    return replace(masks, by_stem=dict(sorted(named.items())))


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


def _note_unknown_folders(layout: FolderLayout) -> None:
    known = {*_KNOWN_FOLDERS, *(name for found in layout.findings for name in found.files)}
    for path in sorted(layout.root.iterdir()):
        if not path.is_dir() or path.name in known or listing.has_odd_name(path):
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
    found = join_stems(_alone(images, masks), _alone(masks, images))
    return str(found[0]) if found else ""


def _alone(files: Files, others: Files) -> list[str]:
    """Return the stems that none of the others has."""
    known = {*others.by_stem, *others.refused}
    return [stem for stem in files.by_stem if stem not in known]


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


def _note_strange(layout: FolderLayout) -> None:
    """Note files that are not pictures, those of all folders together."""
    strange = layout.strange
    if not strange:
        return
    names = [shown(layout.name_of(path)) for path in strange]
    folders = {layout.name_of(path.parent) for path in strange}
    place = f" in {folders.pop()}" if len(folders) == 1 else ""
    # Of a file whose suffix is right, the suffix says nothing about what is wrong.
    odd = [path.suffix.lower() in SUFFIXES for path in strange]
    told = [n + " (a pipe or the like)" * special for n, special in zip(names, odd, strict=True)]
    one = len(strange) == 1
    known = how_to_convert(strange)
    layout.note(
        f"{counted(len(strange), 'file')}{place} "
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
    alone = _alone(files, others)
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
