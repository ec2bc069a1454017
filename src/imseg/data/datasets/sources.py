"""What is declared about a public data set: its source, its folders, its masks and its splits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from imseg.data.images.decoding import SUFFIXES
from imseg.types import Color

if TYPE_CHECKING:
    from imseg.data.datasets.download import Download

Files = tuple[Path, ...]
"""The file of an image, and those of its masks."""

Images = dict[str, Files]
"""The files of each image, by its name; sorted by name."""

Parts = dict[str, Images]
"""The images of each official part: ``training``, and perhaps ``validation`` and ``test``."""

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
