"""Folders without ``labeled/images``: what is there instead, and where it has to go."""

from collections.abc import Collection
from pathlib import Path

from imseg.data.files import listing
from imseg.data.files.listing import counted, list_pictures
from imseg.errors import Finding, and_more, near_miss, shown

_OF_IMAGES = ("images", "jpegimages", "image", "imgs", "img", "pictures")
_OF_MASKS = ("masks", "segmentationclass", "mask", "labels", "annotations", "segmentations")
_ENDS = ("mask", "masks", "segmentation", "seg", "label", "gt")


def note_no_labeled(root: Path, labeled: Path, known: Collection[str], *, example: str) -> Finding:
    """Return the error that a data folder has no folder of labeled images.

    Args:
        root: The data folder.
        labeled: The folder that should hold them, which need not exist.
        known: Names of folders that have a meaning.
        example: What a pair looks like.

    Returns:
        The error; its files include the folder that it says to rename, if any.
    """
    folders = [path.name for path in listing.folders_in(root)]
    others = [name for name in sorted(folders) if name not in known]
    pairs = [
        name
        for name in others
        if all((root / name / kind).is_dir() for kind in ("images", "masks"))
    ]
    guess = near_miss("labeled", others) or (pairs[0] if len(pairs) == 1 else None)
    singles = [place for place in (root, labeled) if _of_single_images(place)]
    pictures = len(list_pictures(root)[0])
    files = ["labeled/images"]
    if singles:
        hint = (
            f"if each file in a folder masks is one object: imseg prepare nuclei"
            f" {shown(singles[0])} --out NEW"
        )
    elif root.resolve().name in known and (root / "images").is_dir():
        hint = f"check the folder above: imseg check {shown(root.resolve().parent)}"
    elif moves := _moves(root, others):
        hint = moves
    elif guess:
        hint = f"rename {guess}/ to labeled/, if that is what it holds."
        files.append(guess)
    elif named := _masks_beside([root, labeled, *listing.folders_in(root)], root):
        hint = named
    elif labeled.is_dir() and list_pictures(labeled)[0]:
        hint = f"move the pictures from {labeled.name}/ to {labeled.name}/images."
    elif pictures:
        hint = (
            "move pictures that have masks to labeled/images, their masks to labeled/masks, and"
            " pictures without masks to unlabeled."
        )
    else:
        hint = "imseg prepare, or move your pictures there."
    got = ["folders " + and_more(sorted(folders), most=6)] if folders else []
    if pictures:
        got.append(counted(pictures, "picture"))
    return Finding(
        severity="error",
        what=f"{root} has no folder labeled/images.",
        expected=f"images and masks with equal stems, such as {example}.",
        got=(" and ".join(got) or "no folders at all") + ".",
        hint=hint,
        files=tuple(files),
    )


def _moves(root: Path, folders: Collection[str]) -> str:
    """Return where folders of images and masks have to go; empty if there are none."""
    by_name = {name.lower(): name for name in folders if list_pictures(root / name)[0]}
    images = next((by_name[name] for name in _OF_IMAGES if name in by_name), None)
    masks = next((by_name[name] for name in _OF_MASKS if name in by_name), None)
    if images is None or masks is None:
        return ""
    if (images, masks) == ("images", "masks"):
        return "move images/ and masks/ into a folder labeled/."
    return f"move {shown(images)} to labeled/images and {shown(masks)} to labeled/masks."


def _masks_beside(places: Collection[Path], root: Path) -> str:
    """Return where pictures and masks in one folder have to go; empty if there are none."""
    for place in places:
        stems = list_pictures(place)[0].keys() if place.is_dir() else set()
        for end in (f"{mark}{word}" for word in _ENDS for mark in "_-"):
            masks = [stem for stem in stems if stem.lower().endswith(end)]
            images = stems - set(masks)
            if masks and all(stem[: -len(end)] in images for stem in masks):
                where = "" if place == root else f" of {shown(place.relative_to(root))}/"
                return (
                    f"move the pictures{where} that end in {end} to labeled/masks, and the others"
                    " to labeled/images."
                )
    return ""


def _of_single_images(place: Path) -> bool:
    """Return whether a folder holds ``<image>/images``, with one picture each, and ``masks``."""
    inside = [*listing.folders_in(place), *listing.folders_in(place / "stage1_train")]
    return any(
        len(list_pictures(each / "images")[0]) == 1
        for each in inside
        if (each / "images").is_dir() and (each / "masks").is_dir()
    )
