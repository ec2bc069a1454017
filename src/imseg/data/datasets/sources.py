"""What is declared about a public data set, how its files are checked, copied and split."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imseg.data.files.atomic import copy_file
from imseg.data.files.listing import counted
from imseg.data.images.decoding import SUFFIXES
from imseg.data.images.picture_file import probe
from imseg.data.masks.io import read_mask
from imseg.errors import ImsegError, and_more
from imseg.types import Color

if TYPE_CHECKING:
    from imseg.data.datasets.download import Download

Files = tuple[Path, ...]
"""The file of an image, and those of its masks."""

Images = dict[str, Files]
"""The files of each image, by its name; sorted by name."""

Parts = dict[str, Images]
"""The images of each official part: ``training``, and perhaps ``validation`` and ``test``."""

SPLITS = ("labeled", "unlabeled", "val", "test")
"""The splits of a data folder, in the order in which they are written and counted."""

PreparationProgress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

ANY_STEM = re.compile(r"(.+)")
"""Fits every stem; all of it is the name."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the images of one split are written."""

    images: Path
    """Folder of the images."""
    masks: Path
    """Folder of the masks; for unlabeled images in ``hidden``."""
    seed: int
    """For what is drawn while an image is written."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one source image."""

    stems: tuple[str, ...]
    """Stems of the images written."""
    figures: Mapping[str, int] = field(default_factory=dict)
    """Counts; they are added up over all source images."""
    boxes: Mapping[str, Any] = field(default_factory=dict)
    """Where each stem was cut out of its source; empty: ``splits.json`` does not say."""


@dataclass(frozen=True, slots=True)
class SourceLayout:
    """One way in which the files of a data set lie in a download."""

    source: str
    """What ``splits.json`` calls the source, such as ``ISIC 2017``."""
    parts: Mapping[str, tuple[str, ...]]
    """For each part the folder of its images, then those of its masks; see ``Download.find``."""
    optional: frozenset[str] = frozenset()
    """Parts of which all folders may be missing."""

    @property
    def folders(self) -> list[str]:
        """The folders of all parts."""
        return [folder for folders in self.parts.values() for folder in folders]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicDataset:
    """A public data set; everything that differs from others when it is prepared."""

    name: str
    """Its name on the command line."""
    title: str
    """Its name in sentences."""
    page: str
    """The address at which people download it."""
    tree: str
    """What the unpacked download looks like, for errors."""
    layouts: tuple[SourceLayout, ...]
    """How the files may lie; of several that fit the first is read."""
    one_layout: bool = False
    """Whether a download in which several layouts fit is refused."""
    image: re.Pattern[str] = ANY_STEM
    """What stems of images look like; the group is the name. Other files are not looked at."""
    mask: re.Pattern[str] = ANY_STEM
    """What stems of masks look like; the group is the name of the image."""
    example: tuple[str, str] = ("a.png", "a.png")
    """File names of an image and of its mask, for errors."""
    wanted: Callable[[PurePosixPath], bool] | None = None
    """Whether a file of an archive is needed, by a path that begins with the archive's own name;
    None: pictures that lie directly in one of the folders of the layouts are."""
    read: Callable[[Download, int], tuple[str, Parts]] | None = None
    """Returns the source and its parts, for a download and a seed; None: by the layouts."""
    split: Callable[..., tuple[Parts, list[str], Mapping[str, int]]] | None = None
    """Returns the images of each split, notes and counts, for parts, ``labeled`` (the share) and
    ``seed``; None: see ``split_parts``."""
    round_up: bool = False
    """Whether the labeled share is rounded up, and not down."""
    write: Callable[[str, Files, Destination], Made]
    """Writes one image and its masks, for its name, its files and where to."""
    task: str
    """What a pixel is, in the words of ``imseg.toml``."""
    classes: Mapping[Any, tuple[str, Color]] = field(default_factory=dict)
    """Name and color of each mask value or label, for ``imseg.toml``; empty: none is named."""
    void: int | None = None
    """The mask value of pixels that do not count."""
    is_cut: bool = False
    """Whether several images are cut out of one, so that ``splits.json`` names the sources too."""
    describe: Callable[[Mapping[str, int]], list[str]] = lambda figures: []
    """Returns notes for the user about what was counted."""
    with_options: Callable[..., PublicDataset] | None = None
    """Returns the data set as options of its own ask for; None: it has no options."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options of its own and their values, for ``splits.json``."""

    def wants(self, path: PurePosixPath) -> bool:
        """Return whether a file of an archive is needed."""
        if self.wanted is not None:
            return self.wanted(path)
        folders = [folder for layout in self.layouts for folder in layout.folders]
        names = "|".join(folder.rpartition("/")[2] for folder in folders).lower().split("|")
        return path.suffix.lower() in SUFFIXES and path.parent.name.lower() in names


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
    if mask.form != "values" or mask.values.min(initial=0) < 0:
        raise ImsegError(
            f"{path} is not the kind of mask that this data set has.",
            expected="whole numbers, one for each class or object.",
            got="numbers below 0." if mask.form == "values" else f"{mask.form}.",
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


def refuse_bad_share(labeled: float) -> None:
    """Refuse a labeled share that is no share.

    Raises:
        ImsegError: If it is not between 0 and 1.
    """
    if not 0 < labeled < 1:
        raise ImsegError(
            "The labeled share of the training images is out of range.",
            expected="a number between 0 and 1, both excluded.",
            got=f"{labeled}.",
            hint="--labeled 0.1 for one image in ten.",
        )


def share_of(share: float, total: int, *, round_up: bool = False) -> int:
    """Return how many of ``total`` images a share is, rounded down or up.

    The share counts as it is written: in binary, 0.29 of 100 would be 28. Rounded up, at least one
    image stays outside the share.
    """
    exact = Fraction(str(share)) * total
    return min(math.ceil(exact), total - 1) if round_up else math.floor(exact)


def divide(images: Images, count: int, *, key: str) -> tuple[Images, Images]:
    """Return ``count`` images drawn by ``key``, and the others, both sorted by name.

    A larger count draws the images of a smaller one and more.
    """
    # Of the random module only random() is promised to stay the same in later versions of Python.
    numbers = random.Random(key)
    drawn = {name: numbers.random() for name in sorted(images)}
    return take_out(images, sorted(drawn, key=drawn.__getitem__)[:count])


def take_out(images: Images, names: Iterable[str]) -> tuple[Images, Images]:
    """Return the images of these names, and the others, both sorted by name."""
    rest = dict(sorted(images.items()))
    return {name: rest.pop(name) for name in sorted(names)}, rest


def split_parts(
    parts: Parts, *, labeled: float, seed: int, round_up: bool = False
) -> tuple[Parts, list[str]]:
    """Return the images of each split of a data folder, and notes on what the source did not split.

    Official validation and test parts stay what they are. Without a test part a third of the
    validation images is for validation and two thirds are for test; without a validation part a
    tenth of the training images, rounded up, is for validation; without either, a fifth of the
    training images, rounded down, is for test first. A seeded share of the training images that
    remain is labeled; a larger share contains the images of a smaller one.

    Args:
        parts: The images of ``training`` and, where the source has them, ``validation`` and
            ``test``, by name.
        labeled: Share of the training images that keep their masks, between 0 and 1.
        seed: Chooses among the images.
        round_up: Whether the share is rounded up, and not down.

    Raises:
        ImsegError: If there are too few images.
    """
    notes: list[str] = []
    training, validation = parts["training"], parts.get("validation")
    if "test" in parts:
        test = parts["test"]
    elif validation is None:
        _refuse_fewer(training, 4, "labeled, unlabeled, validation and test")
        test, training = divide(training, max(1, len(training) // 5), key=f"{seed}/test")
        notes.append("No test images come with the data: a fifth of all images is for test.")
    else:
        _refuse_fewer(validation, 2, "validation and test", noun="validation image")
        third = max(1, len(validation) // 3)
        validation, test = divide(validation, third, key=f"{seed}/validation")
        notes.append(
            "No test images come with the data: of the official validation images a third is for"
            " validation, and two thirds are for test."
        )
    if validation is None:
        _refuse_fewer(training, 3, "labeled, unlabeled and validation")
        tenth = -(-len(training) // 10)
        validation, training = divide(training, tenth, key=f"{seed}/validation")
        notes.append(
            "No validation images come with the data: a tenth of the training images is for"
            " validation."
        )
    _refuse_fewer(training, 2, "labeled and unlabeled")
    count = labeled_count(labeled, len(training), round_up=round_up)
    first, rest = divide(training, count, key=f"{seed}/training")
    splits = {"labeled": first, "unlabeled": rest, "val": validation, "test": test}
    return {split: dict(sorted(images.items())) for split, images in splits.items()}, notes


def labeled_count(labeled: float, total: int, *, round_up: bool = False) -> int:
    """Return how many of ``total`` training images keep their masks; see ``share_of``.

    Raises:
        ImsegError: If there is none.
    """
    count = share_of(labeled, total, round_up=round_up)
    if count < 1:
        raise ImsegError(
            "The labeled share leaves no labeled image.",
            expected=f"at least 1 of the {total} training images.",
            got=f"{labeled} of {total}, rounded down to 0.",
            hint=f"--labeled {min(0.5, 2 / max(1, total)):.2g}",
        )
    return count


def _refuse_fewer(images: Images, least: int, splits: str, *, noun: str = "image") -> None:
    if len(images) < least:
        raise ImsegError(
            f"{counted(len(images), noun)} cannot be split into {splits}.",
            expected=f"at least {least} {noun}s.",
            got=f"{and_more(list(images)) or 'none'}.",
            hint="name the folder that holds the whole download.",
        )
