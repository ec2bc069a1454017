"""Skin lesions: the ISIC challenge of 2018, task 1, or of 2017, part 1, as downloaded.

The images are JPEG files named ``<id>.jpg``; each mask is ``<id>_segmentation.png``, 0 skin and 255
lesion. Whatever else lies in the folders (superpixels, licenses, attributions) is not looked at.

Source: https://challenge.isic-archive.com/data/
"""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from imseg.data.new_folder import new_folder
from imseg.errors import ImsegError, and_more

Pairs = Mapping[str, tuple[Path, Path]]
"""Image and mask of each id, in the order of the ids."""

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

_IMAGE = re.compile(r"(ISIC_\d+)\.jpe?g", re.IGNORECASE)

_TOML = """\
task = "binary"

[classes]
0 = "skin"
255 = "lesion"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedCounts:
    """What a prepared data folder holds, in images."""

    source: str
    """The release it was made from, for example ``ISIC 2017``."""
    labeled: int
    """Images with a mask to learn from."""
    unlabeled: int
    """Images whose masks are in ``hidden/masks``."""
    val: int
    """Images to choose by."""
    test: int
    """Images for the final score."""
    test_from_validation: bool
    """Whether the test images were split off the official validation images."""


def prepare_isic2018(
    raw: Path,
    out: Path,
    *,
    labeled: float = 0.1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> PreparedCounts:
    """Copy an ISIC download into the layout of a data folder.

    A seeded share of the official training images is labeled; the others are not, and their masks
    go to ``hidden/masks``. A larger share contains the images of a smaller one. Without an official
    test folder a third of the validation images stays for validation, and two thirds are for test.
    The same seed chooses the same images on every machine.

    Args:
        raw: Holds the unpacked folders of ISIC 2018 or of ISIC 2017.
        out: Must not exist yet, or be empty. It appears when everything is in it.
        labeled: Share of the training images that keep their masks, between 0 and 1; rounded down.
        seed: Chooses the labeled images, and the test images where there is no official folder.
        progress: Called with (pairs copied so far, pairs in all) after each pair.

    Raises:
        ImsegError: If ``raw`` is not such a download, an image has no mask, ``labeled`` leaves no
            labeled image, or ``out`` holds something or cannot be written.
    """
    raw, out = Path(raw), Path(out)
    if not 0 < labeled < 1:
        raise ImsegError(
            "The labeled share of the training images is out of range.",
            expected="a number between 0 and 1, both excluded.",
            got=f"{labeled}.",
            hint="--labeled 0.1 for one image in ten.",
        )
    source, parts = _read_release(raw)
    with new_folder(out) as part:
        splits = _split(parts, labeled=labeled, seed=seed)
        _copy_pairs(splits, part, progress=progress)
        (part / "imseg.toml").write_text(_TOML, encoding="utf-8")
        record = {
            "source": source,
            "seed": seed,
            "labeled_share": labeled,
            "splits": {split: list(pairs) for split, pairs in splits.items()},
        }
        (part / "splits.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return PreparedCounts(
        source=source,
        **{split: len(pairs) for split, pairs in splits.items()},
        test_from_validation="test" not in parts,
    )


def _read_release(raw: Path) -> tuple[str, dict[str, Pairs]]:
    """Return which release ``raw`` is, and the pairs of its official parts."""
    found = sorted(child.name for child in raw.iterdir()) if raw.is_dir() else []
    started = [
        release
        for release, parts in _RELEASES.items()
        if any(folder in found for folders in parts.values() for folder in folders)
    ]
    if len(started) != 1:
        raise _not_a_download(raw, found, started)
    parts = _RELEASES[started[0]]
    present = [part for part, folders in parts.items() if any(name in found for name in folders)]
    wanted = [part for part in parts if part != "test" or part in present]
    missing = [name for part in wanted for name in parts[part] if name not in found]
    if missing:
        raise ImsegError(
            f"The {started[0]} download in {raw} is not complete.",
            expected="the folders " + ", ".join(name for part in wanted for name in parts[part]),
            got=f"no {', no '.join(missing)}.",
            hint="unpack the missing parts beside the others. Only the test part may be left out,"
            " and then both of its folders.",
        )
    return started[0], {
        part: _read_pairs(raw / parts[part][0], raw / parts[part][1]) for part in wanted
    }


def _not_a_download(raw: Path, found: list[str], started: list[str]) -> ImsegError:
    """Return the error for a folder that holds no release, or two."""
    expected = "either of\n" + "\n".join(
        f"{release}: " + ", ".join(folder for folders in parts.values() for folder in folders)
        for release, parts in _RELEASES.items()
    )
    if started:
        return ImsegError(
            f"{raw} holds more than one release: {' and '.join(started)}.",
            expected=expected,
            got=and_more(found, 6) + ".",
            hint="move one of them to a folder of its own.",
        )
    if not raw.is_dir():
        return ImsegError(
            f"There is no folder {raw}.",
            expected="the folder into which the ISIC download was unpacked.",
            hint="download it from https://challenge.isic-archive.com/data/ and unpack it.",
        )
    hint = "name the folder that holds these folders."
    known = {name for parts in _RELEASES.values() for names in parts.values() for name in names}
    nearer = [name for name in found if any((raw / name / folder).is_dir() for folder in known)]
    if nearer:
        hint = f"imseg prepare isic2018 {raw / nearer[0]}"
    elif any(name.lower().endswith(".zip") for name in found):
        hint = "unpack the zip files first."
    return ImsegError(
        f"{raw} is not an ISIC download.",
        expected=expected,
        got=(and_more(found, 6) or "an empty folder") + ".",
        hint=hint,
    )


def _read_pairs(images: Path, masks: Path) -> Pairs:
    """Return the pairs of one official part."""
    pairs: dict[str, tuple[Path, Path]] = {}
    for image in sorted(images.iterdir()):
        match = _IMAGE.fullmatch(image.name)
        if match:
            pairs[match[1]] = image, masks / f"{match[1]}_segmentation.png"
    if not pairs:
        raise ImsegError(
            f"{images} holds no images.",
            expected="files named like ISIC_0000000.jpg.",
            got=(and_more(sorted(child.name for child in images.iterdir())) or "nothing") + ".",
            hint="unpack the part again, without a folder of its own name inside.",
        )
    alone = [image.name for image, mask in pairs.values() if not mask.is_file()]
    if alone:
        count = "1 image has" if len(alone) == 1 else f"{len(alone)} images have"
        raise ImsegError(
            f"{count} no mask in {masks}.",
            expected=f"{Path(alone[0]).stem}_segmentation.png for {alone[0]}, and so on.",
            got=f"no mask for {and_more(alone)}.",
            hint="unpack the masks again, or remove these images.",
        )
    return {name: pairs[name] for name in sorted(pairs)}


def _split(parts: Mapping[str, Pairs], *, labeled: float, seed: int) -> dict[str, Pairs]:
    """Return the pairs of each split of the data folder."""
    training, validation = parts["training"], parts["validation"]
    # The share as it is written: in binary 0.29 of 100 would be 28.
    count = int(Fraction(str(labeled)) * len(training))
    if count < 1:
        raise ImsegError(
            "The labeled share leaves no labeled image.",
            expected=f"at least 1 of the {len(training)} training images.",
            got=f"{labeled} of {len(training)}, rounded down to 0.",
            hint=f"--labeled {min(0.5, 2 / len(training)):.2g}",
        )
    first, rest = _divide(training, count, key=f"{seed}/training")
    if "test" in parts:
        return {"labeled": first, "unlabeled": rest, "val": validation, "test": parts["test"]}
    if len(validation) < 2:
        raise ImsegError(
            "One validation image cannot be split into validation and test.",
            expected="at least 2 validation images, or the official test folders.",
            got=f"{and_more(list(validation))}.",
        )
    val, test = _divide(validation, max(1, len(validation) // 3), key=f"{seed}/validation")
    return {"labeled": first, "unlabeled": rest, "val": val, "test": test}


def _divide(pairs: Pairs, count: int, *, key: str) -> tuple[Pairs, Pairs]:
    """Return ``count`` pairs drawn by ``key``, and the others, both in the order of their ids."""
    # Of the random module only random() is promised to stay the same in later versions of Python.
    numbers = random.Random(key)
    drawn = {name: numbers.random() for name in sorted(pairs)}
    first = set(sorted(drawn, key=drawn.__getitem__)[:count])
    return (
        {name: pair for name, pair in pairs.items() if name in first},
        {name: pair for name, pair in pairs.items() if name not in first},
    )


def _copy_pairs(
    splits: Mapping[str, Pairs], folder: Path, *, progress: Callable[[int, int], None] | None
) -> None:
    """Copy every pair to its place in ``folder``; masks of unlabeled images go to ``hidden``."""
    done, total = 0, sum(len(pairs) for pairs in splits.values())
    for split, pairs in splits.items():
        images = folder / split / "images"
        masks = folder / ("hidden" if split == "unlabeled" else split) / "masks"
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for name, (image, mask) in pairs.items():
            _copy(image, images / f"{name}.jpg")
            _copy(mask, masks / f"{name}.png")
            done += 1
            if progress is not None:
                progress(done, total)


def _copy(source: Path, target: Path) -> None:
    """Copy one file's content."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise ImsegError(
            f"{source} could not be copied.",
            expected="a readable file, and room for its copy.",
            got=f"{error.strerror or error}.",
            hint="free some disk space, or unpack the download again.",
        ) from error
