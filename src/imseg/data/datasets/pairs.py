"""Images and their masks in the folders of a download: joined by stems, checked and copied."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.datasets.sources import ANY_STEM, Destination, Files, Images, Made
from imseg.data.files.atomic import copy_file
from imseg.data.files.listing import list_pictures, subject
from imseg.data.images.picture_file import probe
from imseg.data.masks.io import read_mask
from imseg.errors import ImsegError, and_more


def read_pairs(
    images: Path,
    masks: Path,
    *,
    image: re.Pattern[str] = ANY_STEM,
    mask: re.Pattern[str] = ANY_STEM,
    example: tuple[str, str] = ("a.png", "a.png"),
) -> Images:
    """Return the pairs of two folders.

    Args:
        images: Folder of images.
        masks: Folder of masks.
        image: What stems of images look like; its group is the name. Other files are not looked at.
        mask: What stems of masks look like; its group is the name of the image.
        example: File names of an image and of its mask, for errors.

    Raises:
        ImsegError: If there are no images, or an image or mask has no partner.
    """
    found = pictures_by_name(images, image, noun="images", example=example[0])
    truth = pictures_by_name(masks, mask, noun="masks", example=example[1])
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
    folder: Path, pattern: re.Pattern[str] = ANY_STEM, *, noun: str, example: str
) -> dict[str, Path]:
    """Return the pictures of a folder whose stems fit a pattern, by the name in its group.

    Raises:
        ImsegError: If there is none, or two have one name.
    """
    listed, _, folders = list_pictures(folder)
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
        there += [each.name for paths in listed.values() for each in paths]
        raise ImsegError(
            f"{folder} holds no {noun}.",
            expected=f"files named like {example}.",
            got=(and_more(there) or "nothing") + ".",
            hint="unpack this part again.",
        )
    return {name: found[name] for name in sorted(found)}


def refuse_other_sizes(name: str, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Refuse pictures that belong together but have different sizes.

    Args:
        name: The source image.
        sizes: Height and width of each picture, by its file.

    Raises:
        ImsegError: If not all are equal.
    """
    if len(set(sizes.values())) > 1:
        shown = [f"{file} is {width}x{height}" for file, (height, width) in sizes.items()]
        raise ImsegError(
            f"The pictures of {name} have different sizes.",
            expected="an image and masks of the same width and height.",
            got=", ".join(shown) + ".",
            hint="download this part again.",
        )


def class_numbers(path: Path, known: Collection[int] | None = None) -> npt.NDArray[Any]:
    """Return the whole numbers in a mask file, ``h w``.

    Args:
        path: The file.
        known: The values that it may hold; None: any.

    Raises:
        ImsegError: If the file cannot be read, or holds colors, fractions or other values.
    """
    mask = read_mask(path)
    if mask.form != "values":
        raise ImsegError(
            f"{path} is not the kind of mask that this data set has.",
            expected="whole numbers, one for each class or object.",
            got=f"{mask.form}.",
            hint="docs/datasets.md says which download is read.",
        )
    if known and (strange := set(np.unique(mask.values).tolist()) - set(known)):
        raise ImsegError(
            f"{path} holds values that are no class of this data set.",
            expected=f"{min(known)} to {max(known)}.",
            got=and_more([str(value) for value in sorted(strange)]) + ".",
            hint="docs/datasets.md says which download is read.",
        )
    return mask.values


def copy_picture(source: Path, target: Path) -> None:
    """Copy a picture file as it is, after a look at its header.

    Raises:
        ImsegError: If it is no picture, has too many pixels, or cannot be copied.
    """
    probe(source)
    copy_file(source, target)


def copy_files(
    name: str, files: Files, place: Destination, *, known: Collection[int] | None = None
) -> Made:
    """Copy an image and its mask under the name ``name``; their formats stay.

    Args:
        name: The stem of both copies.
        files: The image and the mask.
        place: Where to.
        known: The values that the mask may hold; None: it is not looked at.

    Raises:
        ImsegError: If the mask holds other values, or a file is no picture or cannot be copied.
    """
    if known is not None:
        class_numbers(files[1], known)
    for source, folder in zip(files, (place.images, place.masks), strict=True):
        copy_picture(source, folder / f"{name}{source.suffix.lower()}")
    return Made((name,))
