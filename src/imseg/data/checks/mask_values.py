"""Values of masks that look wrong (impure, smeared, mixed or shifted), and how they are mended."""

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from imseg.data.checks.fitness import FolderScan
from imseg.data.files.listing import counted, subject
from imseg.data.folder.config import as_color, as_number
from imseg.data.folder.facts import MaskFacts
from imseg.data.images.decoding import lossy_suffix
from imseg.data.masks.io import pack_colors, unpack_colors, value_text
from imseg.errors import Finding, and_more


@dataclass(frozen=True, slots=True)
class Threshold:
    """Two values again where smearing made many: at half, up or down."""

    low: int
    """What values below the middle become."""
    high: int
    """What the middle and all values above it become."""
    void: int | None = None
    """A value that stays as it is."""

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return mended ``h w`` values."""
        above = values >= (self.low + self.high) / 2
        mended = np.where(above, self.high, self.low)
        return mended if self.void is None else np.where(values == self.void, self.void, mended)

    def __str__(self) -> str:
        return f"every value became {self.low} or {self.high}, whichever is nearer"


@dataclass(frozen=True, slots=True)
class Exchange:
    """Other numbers for the same classes."""

    new: Mapping[int, int]
    """The new value of each value that changes; all others stay."""

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return mended ``h w`` values."""
        mended = values.astype(np.int64)
        for old, new in self.new.items():
            mended[values == old] = new
        return mended

    def __str__(self) -> str:
        steps = {new - old for old, new in self.new.items()}
        if len(self.new) > 2 and len(steps) == 1:
            return f"every class number was moved by {steps.pop():+d}"
        return ", ".join(f"{old} became {new}" for old, new in self.new.items())


@dataclass(frozen=True, slots=True)
class Snap:
    """The nearest main color for each pixel."""

    colors: tuple[int, ...]
    """The main colors, packed."""

    def __call__(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return mended ``h w`` packed colors."""
        found, places = np.unique(values, return_inverse=True)
        main = np.array(self.colors, np.int64)
        # Whole numbers: a byte's square would not fit a byte.
        apart = unpack_colors(found)[:, None].astype(np.int64) - unpack_colors(main)[None]
        nearest = main[(apart**2).sum(axis=2).argmin(axis=1)]
        mended: npt.NDArray[Any] = nearest[places].reshape(values.shape)
        return mended

    def __str__(self) -> str:
        return f"every color became the nearest of {len(self.colors)} main ones"


Recode = Threshold | Exchange | Snap
"""What is done to the values of a mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskValueFinding(Finding):
    """A finding about the values of masks."""

    recode: Recode | None = None
    """What mends the values of each of the files; None: a person must."""
    reason: str = ""
    """Why, for the list of repairs."""


class SplitMask(NamedTuple):
    """A mask and where it belongs."""

    split: str
    """The name of its split."""
    facts: MaskFacts
    """What it turned out to be."""
    label: str | None
    """The label it is the mask of; None: it is the only mask of its image."""


def find_odd_values(found: FolderScan) -> Iterator[MaskValueFinding]:
    """Yield what looks wrong with the values of masks.

    Measurements and numbers of objects may be anything, so there is no finding where the user says
    that the masks hold such.
    """
    config, spec = found.config, found.spec
    if found.task in ("regression", "instances") or (spec and spec.coding == "numbers"):
        return
    masks = [
        SplitMask(split, mask, label)
        for split, members in found.survey.splits().items()
        for facts in members
        for label, mask in ((None, facts.mask), *facts.planes.items())
        if mask is not None
    ]
    void = as_number(config.void)
    smeared = list(find_smeared(masks, void))
    yield from smeared
    if spec is not None and spec.coding == "objects":
        return
    ill = {name for finding in smeared for name in finding.files}
    clean = [mask for mask in masks if mask.facts.name not in ill]
    yield from find_mixed_ones(clean, void=void, listed=config.listed)
    yield from find_shifted(clean, void=void, listed=config.listed)
    keys = (*config.listed, config.void)
    yield from find_impure(masks, listed=[c for key in keys if (c := as_color(key)) is not None])


_MAIN = 0.001
_MAIN_IN_MASK = 0.002
_SAME = 24  # classes are not painted in colors that are less apart
_SCATTERED = 8
_MIXED = 0.1
_OFF_THE_LINE = 8
_HARDLY = 4
_SHOWN = 6


def find_impure(
    masks: Sequence[SplitMask], *, listed: Collection[int]
) -> Iterator[MaskValueFinding]:
    """Yield a finding if color masks hold colors that are no class.

    Main colors are those that the user names (and void), and those on a thousandth of all pixels
    or a five-hundredth of one mask that are not nearly a more frequent one, nor a mixture of two
    ten times as frequent. A few rare colors far from the main ones may be classes: there is no cure
    for them until they are named.

    Args:
        masks: Every mask.
        listed: The packed colors that the user names.
    """
    if not any(mask.facts.form == "colors" and mask.label is None for mask in masks):
        return
    counts = {mask.facts.name: mask.facts.counted_as("colors") for mask in masks}
    main = main_colors(list(counts.values()), listed)
    total: Counter[int] = Counter()
    for found in counts.values():
        total.update(found)
    strange = {color: pixels for color, pixels in total.items() if color not in main}
    if not strange or len(main) < 2:
        return
    names = tuple(name for name, found in counts.items() if not set(found) <= set(main))
    near = all(_gap(color, main) <= _SAME for color in strange)
    sure = near or len(strange) > _SCATTERED
    frequent = sorted(strange, key=lambda color: (-strange[color], color))
    texts = [value_text(color, "colors") for color in frequent]
    share = sum(strange.values()) / sum(total.values())
    colors = counted(len(strange), "impure color" if sure else "rare color")
    yield MaskValueFinding(
        severity="error" if sure else "warning",
        what=f"{subject(len(names), 'mask', 'holds', 'hold')} {colors}, on {100 * share:.2g} % of "
        "the pixels.",
        why="each color is taken for a class of its own.",
        expected=f"the main colors: {and_more([value_text(c, 'colors') for c in main], most=12)}.",
        got=f"{and_more(texts, most=_SHOWN)}.",
        hint="--fix writes a copy in which every color is the nearest main one. For next time: "
        "save masks as PNG, without smooth edges."
        if sure
        else "name all classes by color under [classes] in imseg.toml if these are some.",
        files=names,
        recode=Snap(main) if sure else None,
        reason="colors beside or between the main ones",
    )


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


_AROUND = 16  # JPEG moves flat areas by a few gray levels; more is an edge
_APART = 64
_MOST_BETWEEN = 0.5
_PEAK = 5
_FEWEST_SMEARED = 5
_LEVELS = 256


def find_smeared(masks: Sequence[SplitMask], void: int | None) -> Iterator[MaskValueFinding]:
    """Yield one finding about all smeared masks, if there are any.

    Args:
        masks: Every mask.
        void: A value that counts as no class.
    """
    smeared = [(m.facts, ends) for m in masks if (ends := smeared_between(m.facts, void))]
    if not smeared:
        return
    # The two values that most of these masks were made of.
    middle = len(smeared) // 2
    low, high = (sorted(ends[place] for _, ends in smeared)[middle] for place in (0, 1))
    low, high = 0 if low <= _AROUND else low, 255 if high >= 255 - _AROUND else high
    names = tuple(facts.name for facts, _ in smeared)
    lossy = {lossy_suffix(name) for name in names}
    cause = " or ".join(sorted(filter(None, lossy)) or ["JPEG"])
    cause = f"smooth resizing or {cause}" if None in lossy else cause
    first = smeared[0][0]
    more = f" (and {len(names) - 1} more masks)." if len(names) > 1 else "."
    yield MaskValueFinding(
        severity="error",
        what=f"{subject(len(names), 'mask')} smeared: nearly all values are close to {low} or "
        f"{high}, but not equal.",
        why="each value in between is taken for a class of its own, or for foreground.",
        expected=f"{low} and {high} only.",
        got=f"{first.distinct} values in {first.name}{more}",
        hint=f"--fix writes a copy cut at half. For next time: {cause} smears masks; "
        "save them as PNG, resize them by nearest neighbor.",
        files=names,
        recode=Threshold(low, high, void),
        reason=f"smeared by {cause}, cut at half",
    )


def smeared_between(facts: MaskFacts, void: int | None = None) -> tuple[int, int] | None:
    """Return the two values that a mask had before it was smeared; None if it is not smeared.

    Most pixels of a smeared mask are within a few gray levels of two values far apart, which are
    several times as frequent as any value between them; objects and classes are not.
    """
    if facts.form != "values" or facts.distinct > _LEVELS:
        return None
    counts = {value: pixels for value, pixels in facts.counts.items() if value != void}
    # One or two other values are more likely classes than a smear.
    if len(counts) < _FEWEST_SMEARED or max(counts) >= _LEVELS:
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


def find_mixed_ones(
    masks: Sequence[SplitMask], *, void: int | None, listed: Collection[object]
) -> Iterator[MaskValueFinding]:
    """Yield a finding if some masks are 0 and 1 where others are 0 and 255.

    There is no finding if any mask holds anything else, for example both 1 and 255, or if 1 and 255
    are classes by the user's own words.

    Args:
        masks: Every mask, smeared ones left out.
        void: A value that counts as no class.
        listed: The classes that the user names.
    """
    if {1, 255} <= set(listed):
        return
    ways: dict[int, list[SplitMask]] = {1: [], 255: []}
    for mask in masks:
        if mask.label is not None or mask.facts.form != "values":
            return
        shown = {value for value in mask.facts.counts if value not in (0, void)}
        if shown and shown not in ({1}, {255}):
            return
        if shown:
            ways[shown.pop()].append(mask)
    if not ways[1] or not ways[255]:
        return
    splits = {value: Counter(mask.split for mask in found) for value, found in ways.items()}
    # The value that is named, else the one of most labeled masks.
    kept = max(
        (255, 1), key=lambda value: (value in listed, splits[value]["labeled"], len(ways[value]))
    )
    names = tuple(mask.facts.name for mask in ways[256 - kept])
    yield MaskValueFinding(
        severity="error",
        what=f"{subject(len(names), 'mask', 'writes', 'write')} the foreground as {256 - kept}, "
        f"where the others write {kept}.",
        why="1 and 255 are taken for two classes, or one of them for an unknown value.",
        expected=f"0 and {kept} in all masks, as in {_by_split(splits[kept])}.",
        got=f"0 and {256 - kept} in {_by_split(splits[256 - kept])}: {and_more(names)}.",
        hint="--fix writes a copy in which all are equal. If 1 and 255 do mean different things, "
        "name both under [classes] in imseg.toml, or set void.",
        files=names,
        recode=Exchange({256 - kept: kept}),
        reason=f"{256 - kept} and {kept} meant the same",
    )


def _by_split(counts: Counter[str]) -> str:
    return ", ".join(f"{number} of {split}" for split, number in counts.items())


_FEWEST = 2


def find_shifted(
    masks: Sequence[SplitMask], *, void: int | None, listed: Collection[object]
) -> Iterator[MaskValueFinding]:
    """Yield findings about class numbers that seem to be off by one.

    Only what is unambiguous gets a cure: all masks against the classes that the user names, or all
    masks of val or test against the labeled ones. Within one split it can only be guessed.

    Args:
        masks: Every mask, smeared ones left out.
        void: A value that counts as no class.
        listed: The classes that the user names.
    """
    if any(mask.label is not None or mask.facts.form != "values" for mask in masks):
        return
    known = [(mask, frozenset(mask.facts.counts) - {void}) for mask in masks]
    known = [(mask, values) for mask, values in known if values]
    named = {value for value in listed if isinstance(value, int)}
    if named:
        if len(named) > 1 and (step := _step_to(_union(known), named)):
            what = "The class numbers in the masks are off by one from those in imseg.toml."
            expected = f"{_span(named)}, the classes that imseg.toml names."
            yield _shifted(known, step=step, what=what, expected=expected)
        return
    labeled = [(mask, values) for mask, values in known if mask.split == "labeled"]
    usual = _union(labeled)
    gapless = bool(usual) and len(usual) == max(usual) - min(usual) + 1
    for split in ("val", "test"):
        others = [(mask, values) for mask, values in known if mask.split == split]
        every = _union(others)
        enough = gapless and len(others) >= _FEWEST and len(every) > 1
        if enough and (step := _step_to(every, usual)):
            what = f"The class numbers in {split} are off by one from those in labeled."
            expected = f"{_span(usual)}, as in labeled."
            yield _shifted(others, step=step, what=what, expected=expected)
    yield from _within(labeled)


_Known = Sequence[tuple[SplitMask, frozenset[int]]]


def _union(known: _Known) -> frozenset[int]:
    return frozenset[int]().union(*(values for _, values in known))


def _within(labeled: _Known) -> Iterator[MaskValueFinding]:
    """Yield a finding if some labeled masks seem to count from 0, and others from 1."""
    every = _union(labeled)
    last = len(every) - 1
    if last < 2 or (min(every), max(every)) != (0, last):
        return
    if any({0, last} <= values for _, values in labeled):
        return
    from_one = [mask.facts.name for mask, values in labeled if last in values]
    from_zero = [mask.facts.name for mask, values in labeled if 0 in values]
    if min(len(from_one), len(from_zero)) < _FEWEST:
        return
    fewer = min(from_one, from_zero, key=len)
    yield MaskValueFinding(
        severity="warning",
        what=f"Some labeled masks may count classes from 1 and others from 0: none has both 0 "
        f"and {last}.",
        why="the same number would mean different classes in different masks.",
        got=f"{counted(len(from_one), 'mask')} with {last}, {len(from_zero)} with 0; "
        f"look at {and_more(fewer)}.",
        hint="draw both kinds side by side (the contact sheet does), and renumber those that are "
        "wrong; --fix does not guess here.",
        files=tuple(fewer),
    )


def _step_to(every: Collection[int], usual: Collection[int]) -> int:
    """Return by how much (1 or -1) values must move to be the usual ones; 0: they need not."""
    if not every or set(every) <= set(usual):
        return 0
    for step in (-1, 1):
        ends = min(every) + step == min(usual) and max(every) + step == max(usual)
        if ends and {value + step for value in every} <= set(usual):
            return step
    return 0


def _shifted(known: _Known, *, step: int, what: str, expected: str) -> MaskValueFinding:
    """Return the finding that the numbers of these masks must be moved by ``step``."""
    names = tuple(mask.facts.name for mask, _ in known)
    every = _union(known)
    return MaskValueFinding(
        severity="error",
        what=what,
        why="every pixel would be learned or scored as the class next to its own.",
        expected=expected,
        got=f"{_span(every)} in {and_more(names)}.",
        hint=f"--fix writes a copy with every number moved by {step:+d}.",
        files=names,
        recode=Exchange({value: value + step for value in sorted(every)}),
        reason=f"class numbers were off by {-step:+d}",
    )


def _span(values: Collection[int]) -> str:
    ordered = sorted(values)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]} to {ordered[-1]}"
    return and_more([str(value) for value in ordered], most=8)
