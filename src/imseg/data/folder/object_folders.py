"""Masks as a folder for each image, with a file for each object: how that is told."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from imseg.data.files import listing
from imseg.data.masks.merging import Merged
from imseg.errors import Finding, and_more, shown

_FEWEST_FOLDERS = 2
_MOST_WORDS = 8


def object_folders(images: Collection[str], masks: Path) -> dict[str, Path]:
    """Return the folder with the objects of each image, if masks lie so; else nothing.

    That is so if most folders in ``masks`` are called as images are, and are not those of labels:
    these hold files that are called as images are too, all of them the same.

    Args:
        images: Stems of the images.
        masks: The folder of masks.

    Returns:
        Folders by the stem of the image; by their own name where no image has it.
    """
    if not masks.is_dir():
        return {}
    pictures, _, folders = listing.list_pictures(masks)
    names = {listing.composed(folder.name): folder for folder in folders}
    by_case = listing.stems_by_case(names, images)
    names = {by_case.get(name, name): folder for name, folder in names.items()}
    named = [folder for name, folder in names.items() if name in images]
    if pictures or 2 * len(named) <= len(folders):
        return {}
    held = [frozenset(listing.list_pictures(folder)[0]) for folder in named]
    if not any(held):
        return {}
    stems = set(images)
    all_named = len(named) == len(folders) >= _FEWEST_FOLDERS and len(set(held)) > 1
    like_labels = sum(2 * len(files & stems) >= len(images) for files in held)
    return names if all_named or 2 * like_labels < len(named) else {}


def flat_objects(
    images: Collection[str], masks: Mapping[str, Path | Sequence[Path]]
) -> dict[str, list[str]]:
    """Return the masks with the objects of each image, if they lie beside each other; else nothing.

    That is so if every mask is called as one image is, with a number behind ``_`` or ``-``, and
    some image has several. There must be no other image that it could be of: ``cell_1_1`` may be
    the first object of ``cell_1``, or an object of ``cell``.

    Args:
        images: Stems of the images.
        masks: Masks by stem.

    Returns:
        Stems of masks by the stem of the image, in the order of their numbers.
    """
    found: dict[str, list[str]] = {}
    numbers = {}
    for mask in masks:
        cuts = [match.start() for match in re.finditer(r"[_-](?=\d+([_-]\d+)*$)", mask)]
        known = [mask[:cut] for cut in cuts if mask[:cut] in images]
        if mask in images or len(known) != 1:
            return {}
        found.setdefault(known[0], []).append(mask)
        numbers[mask] = [int(each) for each in re.findall(r"\d+", mask.removeprefix(known[0]))]
    if not any(len(each) > 1 for each in found.values()):
        return {}
    return {image: sorted(each, key=lambda mask: numbers[mask]) for image, each in found.items()}


def note_object_folders(found: Mapping[Path, Sequence[Path]], root: Path) -> Finding:
    """Return the error that masks lie as a folder for each image, with a file for each object.

    Args:
        found: The folders of images, by the folder of masks that they are in.
        root: The data folder.
    """
    places = [place.relative_to(root).as_posix() for place in found]
    folders = [folder for each in found.values() for folder in each]
    inside = {
        each.with_name(f"{each.name}.png"): [
            paths[0] for paths in listing.list_pictures(each)[0].values()
        ]
        for each in folders
    }
    files = [path for each in inside.values() for path in each]
    words = words_in_names(inside)
    first = f", such as {shown(files[0].relative_to(root).as_posix())}" if files else ""
    return Finding(
        severity="error",
        what=f"{' and '.join(places)} {'has' if len(places) == 1 else 'have'} a folder for each"
        " image, with a file for each object.",
        expected="one mask for each image, in which each object has a number of its own.",
        got=f"{listing.counted(len(folders), 'folder')} with"
        f" {listing.counted(len(files), 'file')}{first}.",
        hint=f"imseg check {shown(root)} --fix NEW merges the files of each image into one mask"
        + (f"; it drops what names of files say: {words}." if words else "."),
        files=tuple(folder.relative_to(root).as_posix() for folder in folders),
    )


def words_in_names(merged: Mapping[Path, Sequence[Path]]) -> str:
    """Return the groups of words in the names of files with an object each; empty: there are none.

    Numbers, single letters and the name of the image do not count, and neither do names that
    hardly any other file has, as those made by chance.

    Args:
        merged: The files of each image, by the mask that they become.
    """
    words: Counter[str] = Counter()
    for mask, files in merged.items():
        for path in files:
            own = path.stem.lower().removeprefix(mask.stem.lower()).replace(path.suffix, "")
            words[" ".join(re.findall(r"[^\W\d_]{2,}", own))] += 1
    del words["background"]
    if not 2 <= len(words) <= _MOST_WORDS or 2 * len(words) > words.total():
        return ""
    told = [
        f"{word or 'no word'} ({listing.counted(count, 'file')})"
        for word, count in words.most_common()
    ]
    return " and ".join([", ".join(told[:-1]), told[-1]])


def notes_on_merging(
    merged: Mapping[Path, Sequence[Path]], results: Mapping[Path, Merged], root: Path
) -> Iterator[Finding]:
    """Yield warnings about what files with an object each say, and the masks made of them do not.

    Args:
        merged: The files of each image, by the mask that they become.
        results: The masks that were made of them.
        root: The data folder.
    """
    if words := words_in_names({mask: merged[mask] for mask in results}):
        yield Finding(
            severity="warning",
            what=f"The names of the merged files say {words}; the merged masks do not.",
            why="a merged mask numbers the objects, whatever they are.",
            hint="if these words are classes, make a folder for each of them in labeled/masks, and"
            " in each one mask for each image, named as the image: imseg then learns every class.",
        )
    ends = {
        tuple(path.stem.removeprefix(mask.stem) for path in merged[mask])
        for mask in results
        if merged[mask] and merged[mask][0].parent == mask.parent
    }
    if len(ends) == 1 and len(results) > 1:
        (same,) = ends
        yield Finding(
            severity="warning",
            what=f"Every image had the same {listing.counted(len(same), 'mask')}, which were merged"
            " as objects.",
            why="numbers of objects differ as a rule; these may be numbers of classes.",
            got=and_more([f"STEM{end}" for end in same]) + ".",
            hint="if they are, make a folder for each class in labeled/masks, and name the masks in"
            " it as the images are.",
        )
    covered = {mask: result for mask, result in results.items() if result.covered}
    if covered:
        number = sum(result.covered for result in covered.values())
        yield Finding(
            severity="warning",
            what=f"{listing.subject(number, 'object')} lost in the merged masks.",
            why="other objects of the same image cover them wholly.",
            got=and_more([f"{_name(mask, root)}: {result}" for mask, result in covered.items()])
            + ".",
            hint="look at the files of these images: remove copies, and files that show several"
            " objects at once.",
            files=tuple(_name(mask, root) for mask in covered),
        )
    if files := [_name(path, root) for each in results.values() for path in each.backgrounds]:
        yield Finding(
            severity="warning",
            what=f"{listing.counted(len(files), 'merged file')} may show the background, not an"
            " object.",
            why="it is called background, or covers more than 90 % of its image; the merged mask"
            " counts it as an object.",
            got=and_more(files) + ".",
            hint="if so, remove such files and let --fix write the copy again.",
            files=tuple(files),
        )


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def note_several_masks(
    images: Collection[str], masks: Mapping[str, Path], root: Path
) -> Finding | None:
    """Return the error that most images have several masks beside each other; else None.

    Args:
        images: Stems of images.
        masks: Masks by stem.
        root: The data folder.
    """
    lacking = [stem for stem in images if stem not in masks]
    alone = [stem for stem in masks if stem not in images]
    ends: dict[str, list[str]] = {}
    for mask in alone:
        cuts = (place for place in range(len(mask) - 1, 0, -1) if not mask[place].isalnum())
        image = next((mask[:cut] for cut in cuts if mask[:cut] in images), None)
        if image is not None:
            ends.setdefault(image, []).append(mask[len(image) :])
    several = [stem for stem in lacking if len(ends.get(stem, ())) > 1]
    flat = flat_objects(images, masks)
    if not several or (2 * len(several) < len(lacking) and not flat):
        return None
    place = masks[alone[0]].parent.relative_to(root).as_posix()
    names = [f"{several[0]}{end}" for end in ends[several[0]]]
    kinds = sorted({end.strip("_-. ") for each in ends.values() for end in each})
    hint = (
        f"if each is one object, move the masks of an image into a folder of its name, such as"
        f" {shown(place)}/{shown(several[0])}/; imseg check DATA --fix NEW then merges them."
    )
    if flat:
        hint = (
            f"if each is one object: imseg check {shown(root)} --fix NEW merges the masks of each"
            " image into one."
        )
    elif not any(map(str.isdigit, "".join(kinds))):
        hint = (
            f"if {and_more(kinds)} are labels, make a folder for each of them, and name masks as"
            f" images: {shown(place)}/{shown(kinds[0])}/{shown(several[0])}.png."
        )
    return Finding(
        severity="error",
        what=f"{listing.subject(len(several), 'image', 'has', 'have')} several masks in {place}.",
        expected="one mask for each image, with an equal stem; or a folder for each label.",
        got=f"{and_more(names)} for {shown(several[0])}.",
        hint=hint,
        files=tuple(masks[stem].relative_to(root).as_posix() for stem in alone),
    )
