"""Which images are labeled, unlabeled, for validation and for test: the same on every machine."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from fractions import Fraction
from typing import TypeVar

from imseg.errors import ImsegError, and_more

Item = TypeVar("Item")
"""Whatever belongs to an image: its files, or where to find it."""


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


def divide(
    items: Mapping[str, Item], count: int, *, key: str
) -> tuple[dict[str, Item], dict[str, Item]]:
    """Return ``count`` items drawn by ``key``, and the others, both sorted by name.

    A larger count draws the items of a smaller one and more.
    """
    # Of the random module only random() is promised to stay the same in later versions of Python.
    numbers = random.Random(key)
    drawn = {name: numbers.random() for name in sorted(items)}
    first = set(sorted(drawn, key=drawn.__getitem__)[:count])
    return (
        {name: items[name] for name in sorted(items) if name in first},
        {name: items[name] for name in sorted(items) if name not in first},
    )


def split_parts(
    parts: Mapping[str, Mapping[str, Item]], *, labeled: float, seed: int, round_up: bool = False
) -> tuple[dict[str, dict[str, Item]], list[str]]:
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
    training: Mapping[str, Item] = parts["training"]
    validation = parts.get("validation")
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
    return {
        split: {name: images[name] for name in sorted(images)} for split, images in splits.items()
    }, notes


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


def _refuse_fewer(
    images: Mapping[str, Item], least: int, splits: str, *, noun: str = "image"
) -> None:
    if len(images) < least:
        some = f"{len(images)} {noun}{'' if len(images) == 1 else 's'}"
        raise ImsegError(
            f"{some} cannot be split into {splits}.",
            expected=f"at least {least} {noun}s.",
            got=f"{and_more(list(images)) or 'none'}.",
            hint="name the folder that holds the whole download.",
        )
