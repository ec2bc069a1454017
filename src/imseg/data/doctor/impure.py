"""Color masks with colors that are hardly different from the main ones, or between two of them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from imseg.data.doctor.diagnosis import Cure, Diagnosis, SplitMask
from imseg.data.doctor.recode import Snap
from imseg.data.encoding import pack_colors, unpack_colors
from imseg.data.listing import counted
from imseg.errors import Finding, and_more

_MAIN = 0.001
_MAIN_IN_MASK = 0.002
_SAME = 24  # nobody paints two classes in colors that are less apart
_SCATTERED = 8
_MIXED = 0.1
_OFF_THE_LINE = 8
_HARDLY = 4
_SHOWN = 6


def find_impure(masks: Sequence[SplitMask], *, listed: Collection[int]) -> list[Diagnosis]:
    """Return a diagnosis if color masks hold colors that are no class.

    Main colors are those that the user names (and void), and those on a thousandth of all pixels
    or a five-hundredth of one mask that are not nearly a more frequent one, nor a mixture of two
    ten times as frequent. A few rare colors far
    from the main ones may be classes: there is no cure for them until they are named.

    Args:
        masks: Every mask.
        listed: The packed colors that the user names.
    """
    if not any(mask.facts.form == "colors" and mask.label is None for mask in masks):
        return []
    counts = {mask.facts.name: mask.facts.counted_as("colors") for mask in masks}
    main = main_colors(list(counts.values()), listed)
    total: Counter[int] = Counter()
    for found in counts.values():
        total.update(found)
    strange = {color: pixels for color, pixels in total.items() if color not in main}
    if not strange or len(main) < 2:
        return []
    names = tuple(name for name, found in counts.items() if not set(found) <= set(main))
    near = all(_gap(color, main) <= _SAME for color in strange)
    sure = near or len(strange) > _SCATTERED
    frequent = sorted(strange, key=lambda color: (-strange[color], color))
    shown = and_more([_text(each) for each in frequent], most=_SHOWN)
    share = sum(strange.values()) / sum(total.values())
    one = len(names) == 1
    finding = Finding(
        severity="error" if sure else "warning",
        what=f"{counted(len(names), 'mask')} {'holds' if one else 'hold'} "
        f"{counted(len(strange), 'impure color') if sure else counted(len(strange), 'rare color')}"
        f", on {100 * share:.2g} % of the pixels.",
        why="each color is taken for a class of its own.",
        expected=f"the main colors: {and_more([_text(each) for each in main], most=12)}.",
        got=f"{shown}.",
        hint="--fix writes a copy in which every color is the nearest main one. For next time: "
        "save masks as PNG, without smooth edges."
        if sure
        else "name all classes by color under [classes] in imseg.toml if these are some.",
        files=names,
    )
    why = "colors beside or between the main ones"
    cures = tuple(Cure(name, Snap(main), why) for name in names) if sure else ()
    return [Diagnosis(finding, cures)]


def main_colors(
    masks: Sequence[Mapping[int, int]], listed: Collection[int] = ()
) -> tuple[int, ...]:
    """Return the packed colors that are classes, ascending.

    Args:
        masks: Pixels by packed color, of each mask.
        listed: Colors that are classes in any case.
    """
    total: Counter[int] = Counter()
    largest: dict[int, float] = {}
    for counts in masks:
        total.update(counts)
        pixels = sum(counts.values())
        for color, number in counts.items():
            largest[color] = max(largest.get(color, 0.0), number / pixels)
    least = _MAIN * sum(total.values())
    main = list(listed)
    for color, number in sorted(total.items(), key=lambda item: (-item[1], item[0])):
        frequent = number >= least or largest[color] >= _MAIN_IN_MASK
        if not frequent or color in main or (main and _gap(color, main) <= _SAME):
            continue
        if not _is_between(color, [each for each in main if number < _MIXED * total[each]]):
            main.append(color)
    return tuple(sorted({*listed, *(_full(each) for each in main if each not in listed)}))


def _full(color: int) -> int:
    """Return the color with its channels at 0 or 255 where JPEG moved them by a few levels."""
    parts = unpack_colors(np.array(color)).astype(np.int64)
    parts = np.where(parts <= _HARDLY, 0, np.where(parts >= 255 - _HARDLY, 255, parts))
    return int(pack_colors(parts))


def _gap(color: int, main: Sequence[int]) -> int:
    """Return how far the nearest main color is: the largest difference of a channel, 0..255."""
    here = unpack_colors(np.array(color)).astype(np.int64)
    there = unpack_colors(np.array(main)).astype(np.int64)
    return int(np.abs(there - here).max(axis=1).min())


def _is_between(color: int, main: Sequence[int]) -> bool:
    """Return whether a color is a mixture of two others, as smooth edges are."""
    here = unpack_colors(np.array(color)).astype(np.float64)
    for one, other in itertools.combinations(main, 2):
        start, end = (unpack_colors(np.array(each)).astype(np.float64) for each in (one, other))
        way = end - start
        part = float(np.clip((here - start) @ way / (way @ way), 0, 1))
        if np.abs(start + part * way - here).max() <= _OFF_THE_LINE:
            return True
    return False


def _text(color: int) -> str:
    return f"#{color:06x}"
