"""Masks as lengths of runs: COCO's compressed text, and whether runs fill their window."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def decode_counts(text: str) -> npt.NDArray[np.int64]:
    """Return the run lengths of COCO's compressed text.

    Each number is a chain of characters: ``"0"`` plus five bits, lowest first, and 32 if another
    follows; the last one's bit of 16 is the sign. From the fourth number on it is the difference
    to the last but one. The library's own decoder reads past the end of damaged texts.

    Raises:
        ValueError: If the text has other characters or ends inside a number.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"the character {character!r} cannot stand there")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        counts.append(number + counts[-2] if len(counts) > 2 else number)
        number = shift = 0
    if shift:
        raise ValueError("the text ends inside a number")
    return np.asarray(counts, np.int64)


def check_counts(counts: npt.NDArray[np.int64], pixels: int) -> npt.NDArray[np.int64]:
    """Return run lengths that fill a window of so many pixels.

    Raises:
        ValueError: If one is negative, or their sum is another.
    """
    if len(counts) and (counts.min() < 0 or counts.max() > pixels):
        raise ValueError("a run is negative or longer than the picture")
    if int(counts.sum()) != pixels:
        raise ValueError(f"the runs are {int(counts.sum())} pixels long, not {pixels}")
    return counts
