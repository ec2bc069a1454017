"""Skin lesions: the ISIC challenge of 2018, task 1, or of 2017, part 1, as downloaded.

The images are JPEG files named ``<id>.jpg``; each mask is ``<id>_segmentation.png``, 0 skin and 255
lesion. Whatever else lies in the folders (superpixels, licenses, attributions) is not looked at.

Source: https://challenge.isic-archive.com/data/
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from imseg.data.datasets.download import Download, Source, open_download
from imseg.data.datasets.pairs import Pairs, read_pairs
from imseg.data.datasets.splitting import (
    PreparedCounts,
    Progress,
    copy_pair,
    fill,
    refuse_bad_share,
    split_parts,
    write_config,
    write_summary,
)
from imseg.data.files.atomic import new_folder
from imseg.data.images.decoding import SUFFIXES
from imseg.errors import ImsegError, and_more

_RELEASES = {
    "ISIC 2018": {
        "training": ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
        "validation": (
            "ISIC2018_Task1-2_Validation_Input",
            "ISIC2018_Task1_Validation_GroundTruth",
        ),
        "test": ("ISIC2018_Task1-2_Test_Input", "ISIC2018_Task1_Test_GroundTruth"),
    },
    "ISIC 2017": {
        "training": ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
        "validation": ("ISIC-2017_Validation_Data", "ISIC-2017_Validation_Part1_GroundTruth"),
        "test": ("ISIC-2017_Test_v2_Data", "ISIC-2017_Test_v2_Part1_GroundTruth"),
    },
}
"""Folder of images and folder of masks of each part, as the organizers publish them."""

_FOLDERS = frozenset(
    name for parts in _RELEASES.values() for names in parts.values() for name in names
)
_IMAGE = re.compile(r"(ISIC_\d+)", re.IGNORECASE)
_MASK = re.compile(r"(ISIC_\d+)_segmentation", re.IGNORECASE)
_EXAMPLE = ("ISIC_0000000.jpg", "ISIC_0000000_segmentation.png")
_CLASSES = {0: ("skin", (0, 0, 0)), 255: ("lesion", (255, 160, 0))}


def _is_wanted(path: PurePosixPath) -> bool:
    return path.suffix.lower() in SUFFIXES and not _FOLDERS.isdisjoint(path.parts)


SOURCE = Source(
    name="isic2018",
    title="ISIC",
    page="https://challenge.isic-archive.com/data/",
    tree="either of\n"
    + "\n".join(
        f"{release}: " + ", ".join(folder for folders in parts.values() for folder in folders)
        for release, parts in _RELEASES.items()
    ),
    wanted=_is_wanted,
)


def prepare_isic2018(
    raw: Path,
    out: Path,
    *,
    labeled: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> PreparedCounts:
    """Copy an ISIC download into the layout of a data folder.

    A seeded share of the official training images is labeled; the others are not, and their masks
    go to ``hidden/masks``. A larger share contains the images of a smaller one. Without an official
    test folder a third of the validation images stays for validation, and two thirds are for test.
    The same seed chooses the same images on every machine.

    Args:
        raw: ISIC 2018 or ISIC 2017: a folder that holds the unpacked folders or the zip files.
        out: Must not exist yet, or be empty. It appears when everything is in it.
        labeled: Share of the training images that keep their masks, between 0 and 1; rounded down.
        seed: Chooses the labeled images, and the test images where there is no official folder.
        progress: Called after each file unpacked and each pair copied.

    Raises:
        ImsegError: If ``raw`` is not such a download, an image has no mask, ``labeled`` leaves no
            labeled image, or ``out`` holds something or cannot be written.
    """
    refuse_bad_share(labeled)
    with (
        new_folder(out) as folder,
        open_download(raw, source=SOURCE, beside=out, progress=progress) as download,
    ):
        release, parts = _read_release(download)
        splits, notes = split_parts(parts, labeled=labeled, seed=seed)
        filled = fill(folder, splits, copy_pair, progress=progress)
        write_config(folder, task="binary", classes=_CLASSES)
        return write_summary(
            folder,
            source=release,
            options={"seed": seed, "labeled_share": labeled},
            splits=filled.splits,
            notes=notes,
        )


def _read_release(download: Download) -> tuple[str, dict[str, Pairs]]:
    """Return which release this is, and the pairs of its official parts."""
    found = {name for name in _FOLDERS if download.find(name)}
    started = [
        release
        for release, parts in _RELEASES.items()
        if any(name in found for names in parts.values() for name in names)
    ]
    if not started:
        raise download.wrong_tree(sorted(_FOLDERS), found_some=False)
    if len(started) > 1:
        raise ImsegError(
            f"{download.raw} holds more than one release: {' and '.join(started)}.",
            expected=SOURCE.tree,
            got=and_more(sorted(found), 6) + ".",
            hint="move one of them to a folder of its own.",
        )
    parts = _RELEASES[started[0]]
    # The test part may be left out, and then both of its folders.
    wanted = [part for part, names in parts.items() if part != "test" or found & set(names)]
    folders = iter(download.need(*(name for part in wanted for name in parts[part])))
    return started[0], {
        part: read_pairs(next(folders), next(folders), image=_IMAGE, mask=_MASK, example=_EXAMPLE)
        for part in wanted
    }
