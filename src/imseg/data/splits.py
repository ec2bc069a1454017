"""Which labeled images are kept from training to choose epochs and networks by."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

_SHARE = 5


def held_out(count: int) -> int:
    """Return how many labeled images are for choosing: a fifth, at least 2; of 2 or 3 it is 1."""
    return 1 if count < 4 else max(2, (count + _SHARE // 2) // _SHARE)


def split_validation(labels: Sequence[frozenset[int]], *, seed: int) -> tuple[list[int], list[int]]:
    """Return the indices of images to learn from and of images to choose by, both ascending.

    A fifth of the images, at least 2, is for choosing; of 2 or 3 images it is 1. Each label is
    spread over both sides in proportion, the rarest first; an image with a label that no other has
    stays in training while there is room. The result depends on the labels, their order and the
    seed alone, and is the same on every machine.

    Args:
        labels: What is to be seen on each image; see ``Task.strata``.
        seed: Which of the equally good splits to take.

    Raises:
        ValueError: If there are fewer than two images.
    """
    count = len(labels)
    if count < 2:
        raise ValueError(f"{count} labeled images cannot be split")
    number_held_out = held_out(count)
    # Hashes instead of a generator: no library promises the same shuffle for all of its versions.
    order = sorted(range(count), key=lambda index: _shuffle_key(seed, index))
    frequency = Counter(label for each in labels for label in each)
    share = number_held_out / count
    chosen_by = {label: n * share if n > 1 else 0.0 for label, n in frequency.items()}
    wanted = [{label: n - chosen_by[label] for label, n in frequency.items()}, chosen_by]
    room = [count - number_held_out, number_held_out]
    sides: tuple[list[int], list[int]] = ([], [])
    rarest_first = sorted(frequency, key=lambda label: (frequency[label], label))
    waiting = set(range(count))

    def place(index: int, label: int | None) -> None:
        def need(side: int) -> tuple[bool, float, float]:
            missing = 0.0 if label is None else wanted[side][label]
            return room[side] > 0, missing, room[side] / count

        # Training is named first, so it wins a tie.
        side = max((0, 1), key=need)
        sides[side].append(index)
        room[side] -= 1
        waiting.discard(index)
        for each in labels[index]:
            wanted[side][each] -= 1

    for label in rarest_first:
        for index in order:
            if index in waiting and label in labels[index]:
                place(index, label)
    for index in order:
        if index in waiting:
            place(index, None)
    return sorted(sides[0]), sorted(sides[1])


def _shuffle_key(seed: int, index: int) -> bytes:
    return hashlib.sha256(f"validation {seed} {index}".encode()).digest()
