"""Values of masks that look wrong (smeared, mixed or shifted), and what mends them."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from imseg.data.checks.fitness import FolderScan, MaskValueFinding, SplitMask
from imseg.data.checks.mask_colors import MOST_BLURRED, find_impure
from imseg.data.files.listing import counted, subject
from imseg.data.folder.config import FILE_NAME, FolderConfig, as_color, as_number
from imseg.data.folder.facts import MaskFacts
from imseg.data.images.decoding import lossy_suffix
from imseg.data.masks.classes import numbers_not_held
from imseg.data.masks.recoding import Exchange, Paint, Threshold
from imseg.errors import and_more


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
    colors = [
        color for key in (*config.listed, config.void) if (color := as_color(key)) is not None
    ]
    unlike = _paint_surely(list(find_other_kinds(masks, listed=colors, void=void)), config)
    yield from unlike
    ill = {name for finding in (*smeared, *unlike) for name in finding.files}
    clean = [mask for mask in masks if mask.facts.name not in ill]
    yield from find_mixed_ones(clean, void=void, listed=config.listed)
    yield from find_shifted(clean, void=void, listed=config.listed)
    ill = {name for finding in unlike for name in finding.files}
    rest = [mask for mask in masks if mask.facts.name not in ill]
    held = Counter[int]()
    for mask in rest:
        held.update(mask.facts.counted_as("colors"))
    # What is listed as numbers is no color that may stay.
    if not (numbers_not_held(config, held) and any(m.facts.form == "colors" for m in rest)):
        yield from find_impure(rest, listed=colors)


def _paint_surely(
    findings: Sequence[MaskValueFinding], config: FolderConfig
) -> list[MaskValueFinding]:
    """Return findings whose palettes are no cure if it is not clear what listed numbers become."""
    palettes = [each.recode.colors for each in findings if isinstance(each.recode, Paint)]
    numbers = [key for key in (*config.listed, config.void) if isinstance(key, int)]
    become = {
        number: {palette[number] for palette in palettes if 0 <= number < len(palette)}
        for number in numbers
    }
    known = [color for colors in become.values() for color in colors]
    unclear = [number for number in numbers if len(become[number]) != 1]
    unclear += [n for n in numbers if any(known.count(c) > 1 for c in become[n])]
    if not palettes or not unclear:
        return list(findings)
    hint = (
        f"{FILE_NAME} lists numbers, and the palettes do not give each a color of its own: "
        f"{and_more(list(map(str, dict.fromkeys(unclear))), most=8)}. So --fix leaves these masks "
        "as they are; save all masks in the same way, or list colors."
    )
    return [
        replace(each, recode=None, hint=hint) if isinstance(each.recode, Paint) else each
        for each in findings
    ]


_FEW_SHARED = 2
_CLASS_NUMBERS = 64


def find_other_kinds(
    masks: Sequence[SplitMask], *, listed: Collection[int], void: int | None
) -> Iterator[MaskValueFinding]:
    """Yield findings if some files say in another way than others what a pixel is.

    Numbers of indexed files become the colors of their palette where other files hold these colors.
    There is no cure for gray levels beside colors that no colored mask has, nor for masks of 0 and
    255 beside masks of class numbers.

    Args:
        masks: Every mask.
        listed: The packed colors that the user names, void among them.
        void: A value that counts as no class.
    """
    single = [mask.facts for mask in masks if mask.label is None]
    painted = {c for facts in single if facts.form == "colors" for c in facts.counts}
    if not painted:
        yield from _full_beside_numbers(single, void)
        return
    known = {*painted, *listed}
    indexed: dict[tuple[int, ...], list[str]] = {}
    strange: list[tuple[str, list[int]]] = []
    for facts in single:
        if facts.form != "values":
            continue
        palette = tuple(red << 16 | green << 8 | blue for red, green, blue in facts.palette or ())
        if len({palette[value] for value in facts.counts if palette} & painted) >= _FEW_SHARED:
            indexed.setdefault(palette, []).append(facts.name)
        elif not (facts.blurred > MOST_BLURRED or lossy_suffix(facts.name)):
            odd = [v for v in facts.counts if v and v != void and 0x010101 * v not in known]
            strange += [(facts.name, odd)] if odd else []
    for palette, names in indexed.items():
        yield MaskValueFinding(
            severity="error",
            what=f"{subject(len(names), 'mask', 'holds', 'hold')} numbers with a palette, where "
            "others hold the colors themselves.",
            why="the numbers would be taken for dark gray colors, each a class of its own.",
            expected="colors in all masks, or numbers in all.",
            got=and_more(names) + ".",
            hint="--fix writes a copy in which every number has become its color in the palette, "
            f"those in {FILE_NAME} too.",
            files=tuple(names),
            recode=Paint(palette),
            reason="a palette beside masks of colors",
        )
    colored = [facts.name for facts in single if facts.form == "colors"]
    # A single mask may well show black and white only.
    if len(strange) > 1 or any(v != 255 for _, odd in strange for v in odd):
        yield MaskValueFinding(
            severity="error",
            what=f"{subject(len(strange), 'mask', 'holds', 'hold')} gray levels that no colored "
            "mask has.",
            why="a level such as 1 is a number of a class, or a mask of black and white says where "
            "something is: among colors, each would be a class of its own.",
            expected="masks of one kind: colors in all, or numbers in all.",
            got=and_more([f"{name} has {and_more(list(map(str, odd)))}" for name, odd in strange])
            + f"; colors in {and_more(colored)}.",
            hint="save all masks in the same way; if these gray levels are classes, name all "
            f'classes by color under [classes] in {FILE_NAME}, such as "#ffffff" for 255.',
            files=tuple(name for name, _ in strange),
        )


def _full_beside_numbers(
    masks: Sequence[MaskFacts], void: int | None
) -> Iterator[MaskValueFinding]:
    """Yield a finding if some masks are 0 and 255 where others hold numbers of several classes."""
    values = {facts.name: {*facts.counts} - {0, void} for facts in masks if facts.form == "values"}
    full = [name for name, shown in values.items() if shown == {255}]
    numbers = {value for shown in values.values() if shown != {255} for value in shown}
    if len(full) < _FEW_SHARED or len(numbers) < _FEW_SHARED or max(numbers) >= _CLASS_NUMBERS:
        return
    yield MaskValueFinding(
        severity="error",
        what=f"{subject(len(full), 'mask', 'holds', 'hold')} only 0 and 255, where others hold "
        f"numbers of classes and never 255.",
        why="255 would be a class of its own, though it says only where something is.",
        expected=f"numbers of classes in all masks: {_span(numbers | {0})}.",
        got=and_more(full) + ".",
        hint=f"draw the classes in these masks, too; if 255 is a class or undecided, name it under "
        f"[classes] or as void in {FILE_NAME}.",
        files=tuple(full),
    )


_AROUND = 16  # JPEG moves flat areas by a few gray levels; more is an edge
_APART = 64
_MOST_BETWEEN = 0.5
_PEAK = 5
_FEWEST_SMEARED = 5
_LEVELS = 256
_ON_EDGES = 0.2


def find_smeared(masks: Sequence[SplitMask], void: int | None) -> Iterator[MaskValueFinding]:
    """Yield one finding about all smeared masks, if there are any.

    Masks whose values have areas of their own in other masks are not smeared. Where others hold
    classes between the two ends, it would be wrong to cut at half, so there is no cure.

    Args:
        masks: Every mask.
        void: A value that counts as no class.
    """
    suspects = {m.facts.name: ends for m in masks if (ends := smeared_between(m.facts, void))}
    if not suspects:
        return
    classes = {
        value
        for mask in masks
        if mask.facts.form == "values" and mask.facts.name not in suspects
        if 2 < mask.facts.distinct <= _LEVELS and mask.facts.blurred <= MOST_BLURRED
        for value, pixels in mask.facts.counts.items()
        if 2 * mask.facts.edges.get(value, 0) <= pixels
    }
    smeared = [
        (mask.facts, suspects[mask.facts.name])
        for mask in masks
        if mask.facts.name in suspects and not set(mask.facts.counts) <= classes | {void}
    ]
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
    others = sorted(classes - {low, high, void})
    yield MaskValueFinding(
        severity="error",
        what=f"{subject(len(names), 'mask')} smeared: nearly all values are close to {low} or "
        f"{high}, but not equal.",
        why="each value in between is taken for a class of its own, or for foreground.",
        expected=f"{and_more([str(value) for value in others])} and the like, as in other masks."
        if others
        else f"{low} and {high} only.",
        got=f"{first.distinct} values in {first.name}{more}",
        hint="export these masks anew as PNG; --fix cannot tell which class each value was."
        if others
        else f"--fix writes a copy cut at half. For next time: {cause} smears masks; "
        "save them as PNG, resize them by nearest neighbor.",
        files=names,
        recode=None if others else Threshold(low, high, void),
        reason=f"smeared by {cause}, cut at half",
    )


def smeared_between(facts: MaskFacts, void: int | None = None) -> tuple[int, int] | None:
    """Return the two values that a mask had before it was smeared; None if it is not smeared.

    Most pixels of a smeared mask are within a few gray levels of two values far apart, which are
    several times as frequent as any value between them. The others lie on edges, close to both
    ends; objects and classes have areas of their own.
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
    if high - low < _APART:
        return None
    # Smearing mixes two values and hardly leaves them behind; classes go on.
    beyond = [n for v, n in counts.items() if not low - 2 * _AROUND <= v <= high + 2 * _AROUND]
    between = [n for v, n in counts.items() if low + _AROUND < v < high - _AROUND]
    if sum(between) > _MOST_BETWEEN * sum(counts.values()):
        return None
    if _PEAK * max(sum(beyond), *between, 0) > min(counts[low], counts[high]):
        return None
    rest = counts.keys() - {low, high}
    if sum(facts.edges.get(value, 0) for value in rest) < _ON_EDGES * sum(counts[v] for v in rest):
        return None
    # Thin lines of a few classes lie on edges, too, but have no values beside both ends.
    close = all(min(abs(value - end) for value in rest) <= _AROUND for end in (low, high))
    return (low, high) if close or _are_mirrored({v: counts[v] for v in rest}, low + high) else None


def _are_mirrored(rest: Mapping[int, int], ends: int) -> bool:
    """Return whether values are as frequent as those as far from the other end.

    Straight edges that were enlarged are so. Corners are rare, and do not count.
    """
    sides = {value: n for value, n in rest.items() if 4 * n >= max(rest.values())}
    partners = [max(rest.get(ends - value + step, 0) for step in (-1, 0, 1)) for value in sides]
    pairs = zip(sides.values(), partners, strict=True)
    return all(abs(one - other) <= max(one, other) / 4 for one, other in pairs)


def _most_frequent(part: Mapping[int, int]) -> int:
    return max(part, key=lambda value: part[value])


def find_mixed_ones(
    masks: Sequence[SplitMask], *, void: int | None, listed: Collection[object]
) -> Iterator[MaskValueFinding]:
    """Yield a finding if some masks are 0 and 1 where others are 0 and 255, or 0 and 65535.

    There is no finding if any mask holds anything else, for example both 1 and 255, or if two of
    them are classes by the user's own words.

    Args:
        masks: Every mask, smeared ones left out.
        void: A value that counts as no class.
        listed: The classes that the user names.
    """
    ways: dict[int, list[SplitMask]] = {1: [], 255: [], 65535: []}
    if len(ways.keys() & set(listed)) > 1:
        return
    for mask in masks:
        if mask.label is not None or mask.facts.form != "values":
            return
        shown = {value for value in mask.facts.counts if value not in (0, void)}
        if len(shown) > 1 or not shown <= ways.keys():
            return
        if shown:
            ways[shown.pop()].append(mask)
    splits = {value: Counter(mask.split for mask in found) for value, found in ways.items()}
    # The value that is named, else the one of most labeled masks.
    kept = max(
        (255, 1, 65535),
        key=lambda value: (value in listed, splits[value]["labeled"], len(ways[value])),
    )
    for other, found in ways.items():
        if other == kept or not found:
            continue
        names = tuple(mask.facts.name for mask in found)
        low, high = sorted((other, kept))
        yield MaskValueFinding(
            severity="error",
            what=f"{subject(len(names), 'mask', 'writes', 'write')} the foreground as {other}, "
            f"where the others write {kept}.",
            why=f"{low} and {high} are taken for two classes, or one of them for an unknown value.",
            expected=f"0 and {kept} in all masks, as in {_by_split(splits[kept])}.",
            got=f"0 and {other} in {_by_split(splits[other])}: {and_more(names)}.",
            hint=f"--fix writes a copy in which all are equal. If {low} and {high} do mean "
            "different things, name both under [classes] in imseg.toml, or set void.",
            files=names,
            recode=Exchange({other: kept}),
            reason=f"{other} and {kept} meant the same",
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
