"""Masks of two values that JPEG or smooth resizing turned into many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imseg.data.doctor.diagnosis import Cure, Diagnosis, SplitMask
from imseg.data.doctor.recode import Threshold
from imseg.data.facts import MaskFacts
from imseg.data.listing import counted
from imseg.errors import Finding

_AROUND = 16  # JPEG moves flat areas by a few gray levels; more is an edge
_APART = 64
_MOST_BETWEEN = 0.5
_PEAK = 5
_FEWEST = 5
_LEVELS = 256
_LOSSY = (".jpg", ".jpeg")


def find_smeared(masks: Sequence[SplitMask], void: int | None) -> list[Diagnosis]:
    """Return one diagnosis about all smeared masks, if there are any.

    Args:
        masks: Every mask.
        void: A value that counts as no class.
    """
    smeared = [
        (mask.facts, ends)
        for mask in masks
        if (ends := smeared_between(mask.facts, void)) is not None
    ]
    if not smeared:
        return []
    low, high = _common_ends(smeared)
    names = tuple(facts.name for facts, _ in smeared)
    lossy = sum(name.lower().endswith(_LOSSY) for name in names)
    cause = "JPEG" if lossy == len(names) else "smooth resizing or JPEG"
    first = smeared[0][0]
    one = len(names) == 1
    finding = Finding(
        severity="error",
        what=f"{counted(len(names), 'mask')} {'is' if one else 'are'} smeared: nearly all values "
        f"are close to {low} or {high}, but not equal.",
        why="each value in between is taken for a class of its own, or for foreground.",
        expected=f"{low} and {high} only.",
        got=f"{first.distinct} values in {first.name}"
        + (f" (and {len(names) - 1} more masks)." if not one else "."),
        hint=f"--fix writes a copy cut at half. For next time: {cause} smears masks; "
        "save them as PNG, resize them by nearest neighbor.",
        files=names,
    )
    cures = tuple(
        Cure(name, Threshold(low, high, void), f"smeared by {cause}, cut at half") for name in names
    )
    return [Diagnosis(finding, cures)]


def smeared_between(facts: MaskFacts, void: int | None = None) -> tuple[int, int] | None:
    """Return the two values that a mask had before it was smeared; None if it is not smeared.

    Most pixels of a smeared mask are within a few gray levels of two values far apart, which are
    several times as frequent as any value between them; objects and classes are not.
    """
    if facts.form != "values" or facts.distinct > _LEVELS:
        return None
    counts = {value: pixels for value, pixels in facts.counts.items() if value != void}
    # One or two other values are more likely classes than a smear.
    if len(counts) < _FEWEST or max(counts) >= _LEVELS:
        return None
    middle = (min(counts) + max(counts)) / 2
    low = _most_frequent({value: n for value, n in counts.items() if value < middle})
    high = _most_frequent({value: n for value, n in counts.items() if value >= middle})
    # Smearing mixes two values and hardly leaves them behind; classes go on.
    if high - low < _APART or max(counts) > high + 2 * _AROUND or min(counts) < low - 2 * _AROUND:
        return None
    between = {v: n for v, n in counts.items() if low + _AROUND < v < high - _AROUND}
    if sum(between.values()) > _MOST_BETWEEN * sum(counts.values()):
        return None
    if _PEAK * max(between.values(), default=0) > min(counts[low], counts[high]):
        return None
    return low, high


def _most_frequent(part: Mapping[int, int]) -> int:
    return max(part, key=lambda value: part[value])


def _common_ends(smeared: Sequence[tuple[MaskFacts, tuple[int, int]]]) -> tuple[int, int]:
    """Return the two values that most smeared masks were made of; 0 and 255 where close."""
    low, high = (sorted(ends[place] for _, ends in smeared)[len(smeared) // 2] for place in (0, 1))
    return (0 if low <= _AROUND else low), (255 if high >= 255 - _AROUND else high)
