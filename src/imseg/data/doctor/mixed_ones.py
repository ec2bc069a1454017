"""The same class written as 1 in some masks and as 255 in others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from imseg.data.doctor.diagnosis import Cure, Diagnosis, SplitMask
from imseg.data.doctor.recode import Exchange
from imseg.data.listing import counted
from imseg.errors import Finding, and_more

_WAYS = {frozenset({0, 1}): 1, frozenset({1}): 1, frozenset({0, 255}): 255, frozenset({255}): 255}
_NOTHING = (frozenset({0}), frozenset[int]())


def find_mixed_ones(
    masks: Sequence[SplitMask], *, void: int | None, listed: Collection[object]
) -> list[Diagnosis]:
    """Return a diagnosis if some masks are 0 and 1 where others are 0 and 255.

    Nothing is said if any mask holds anything else, for example both 1 and 255, or if 1 and 255
    are classes by the user's own words.

    Args:
        masks: Every mask, smeared ones left out.
        void: A value that counts as no class.
        listed: The classes that the user names.
    """
    if {1, 255} <= set(listed):
        return []
    ways: dict[int, list[SplitMask]] = {1: [], 255: []}
    for mask in masks:
        if mask.label is not None or mask.facts.form != "values":
            return []
        found = frozenset(value for value in mask.facts.counts if value != void)
        if found in _NOTHING:
            continue
        if found not in _WAYS:
            return []
        ways[_WAYS[found]].append(mask)
    if not ways[1] or not ways[255]:
        return []
    kept = _usual(ways, listed)
    strange = ways[256 - kept]
    names = tuple(mask.facts.name for mask in strange)
    usual = Counter(mask.split for mask in ways[kept])
    places = Counter(mask.split for mask in strange)
    finding = Finding(
        severity="error",
        what=f"{counted(len(names), 'mask')} {'writes' if len(names) == 1 else 'write'} the "
        f"foreground as {256 - kept}, where the others write {kept}.",
        why="1 and 255 are taken for two classes, or one of them for an unknown value.",
        expected=f"0 and {kept} in all masks, as in {_by_split(usual)}.",
        got=f"0 and {256 - kept} in {_by_split(places)}: {and_more(names)}.",
        hint="--fix writes a copy in which all are equal. If 1 and 255 do mean different things, "
        "name both under [classes] in imseg.toml, or set void.",
        files=names,
    )
    why = f"{256 - kept} and {kept} meant the same"
    cures = tuple(Cure(name, Exchange({256 - kept: kept}), why) for name in names)
    return [Diagnosis(finding, cures)]


def _usual(ways: dict[int, list[SplitMask]], listed: Collection[object]) -> int:
    """Return the value to keep: the one that is named, else the one of most labeled masks."""
    for value in (1, 255):
        if value in listed:
            return value
    labeled = {
        value: (sum(mask.split == "labeled" for mask in found), len(found))
        for value, found in ways.items()
    }
    return max((255, 1), key=lambda value: labeled[value])


def _by_split(counts: Counter[str]) -> str:
    return ", ".join(f"{number} of {split}" for split, number in counts.items())
