"""Colors of masks that are no class, as smearing leaves them, or perhaps none, as rare ones."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from imseg.data.checks.fitness import MaskValueFinding, SplitMask, warning
from imseg.data.files.listing import counted, subject
from imseg.data.folder.facts import MaskFacts
from imseg.data.masks.edges import SAME
from imseg.data.masks.io import pack_colors, unpack_colors, value_text
from imseg.data.masks.recoding import Snap
from imseg.errors import Finding, and_more

_MAIN = 0.001
_MAIN_IN_MASK = 0.002
_MIXED = 0.1
_OFF_THE_LINE = 8
_HARDLY = 4
_SHOWN = 6
MOST_BLURRED = 0.5
"""Largest share of blurred values of a mask that is not smeared."""

_UNLIKE = 64  # JPEG leaves no six equal pixels as far from all main colors
_EQUAL_PIXELS = 6


def find_impure(
    masks: Sequence[SplitMask], *, listed: Collection[int]
) -> Iterator[MaskValueFinding]:
    """Yield findings if color masks hold colors that are no class, or may be none.

    Smearing spreads a mask over many colors that lie on edges only. Colors with areas of their own
    are classes, however rare: they stay, and are named. There is a cure for all others: the nearest
    main color.

    Args:
        masks: Every mask.
        listed: The packed colors that the user names.
    """
    masks = [mask for mask in masks if mask.facts.form != "numbers"]
    if not any(mask.facts.form == "colors" and mask.label is None for mask in masks):
        return
    counts = {mask.facts.name: mask.facts.counted_as("colors") for mask in masks}
    own = own_colors([mask.facts for mask in masks], listed)
    soft = _on_edges_only([mask.facts for mask in masks])
    main = main_colors(list(counts.values()), {*listed, *own}, soft=soft)
    total: Counter[int] = Counter()
    for found in counts.values():
        total.update(found)
    usual = set(main_colors(list(counts.values()), listed, soft=soft))
    usual |= {color for color in own if total[color] >= _MAIN * sum(total.values())}
    for sure, odd in ((True, set(total) - set(main)), (False, (own & set(total)) - usual)):
        if not odd or len(main) < 2:
            continue
        names = tuple(name for name, found in counts.items() if not odd.isdisjoint(found))
        frequent = sorted(odd, key=lambda color: (-total[color], color))
        clear = main if sure else [color for color in main if color not in odd]
        texts = and_more([value_text(color, "colors") for color in clear], most=12)
        share = sum(total[color] for color in odd) / sum(total.values())
        colors = counted(len(odd), "impure color" if sure else "rare color")
        maybe = _perhaps_lost([mask.facts for mask in masks], main) if sure else {}
        yield MaskValueFinding(
            severity="error" if sure else "warning",
            what=f"{subject(len(names), 'mask', 'holds', 'hold')} {colors}, on {100 * share:.2g} % "
            "of the pixels.",
            why="each color is taken for a class of its own.",
            expected=f"the main colors: {texts}.",
            got=and_more([value_text(color, "colors") for color in frequent], most=_SHOWN)
            + "."
            + (f"\nColors that may be a class: {_on_masks(maybe)}." if maybe else ""),
            hint=(f"{_LIST_THEM}Else " if maybe else "")
            + "--fix writes a copy in which every color is the nearest main one. For next time: "
            "save masks as PNG, without smooth edges."
            if sure
            else "name all classes by color under [classes] in imseg.toml if these are some, else "
            "paint them over; --fix leaves them as they are.",
            files=names,
            recode=Snap(main) if sure else None,
            reason="colors beside or between the main ones",
            doubt=_lost_colors(maybe, main) if maybe else None,
        )


_LIST_THEM = "list the colors that are classes under [classes] in imseg.toml. "
_FAR = 40
_INSIDE = 50
_STEP = 4


def _perhaps_lost(masks: Sequence[MaskFacts], main: Sequence[int]) -> dict[int, int]:
    """Return colors far from the main ones that form areas in smeared masks, and in how many masks.

    Measured on JPEG masks, what is left between classes forms such areas on a few pixels only.
    Where masks were enlarged smoothly, there are areas of many steps, each close to the next.
    """
    areas = [
        (number, color, facts.name)
        for facts in masks
        if facts.blurred > MOST_BLURRED
        for color, number in facts.solid.items()
    ]
    pixels, shown = Counter[int](), defaultdict[int, set[str]](set)
    # The largest area has the color as it was meant; in smaller ones it is less clear.
    for number, color, name in sorted(areas, reverse=True):
        same = next((each for each in pixels if _gap(color, [each]) <= SAME), color)
        pixels[same] += number
        shown[same].add(name)
    rare = [color for color in pixels if _gap(color, main) > SAME]
    return {
        color: len(shown[color])
        for color in rare
        if len(shown[color]) > 1
        and pixels[color] >= _INSIDE
        and _gap(color, main) > _FAR
        and all(
            _gap(color, [other]) > 2 * SAME or _STEP * pixels[other] < pixels[color]
            for other in rare
            if other != color
        )
    }


def _on_masks(colors: Mapping[int, int]) -> str:
    texts = [f"{value_text(c, 'colors')} on {counted(n, 'mask')}" for c, n in colors.items()]
    return and_more(texts, most=_SHOWN)


def _lost_colors(colors: Mapping[int, int], main: Collection[int]) -> Finding:
    """Return what to say about masks in which these colors became main ones."""
    return warning(
        f"{counted(len(colors), 'color that may be a class', 'colors that may be classes')} "
        f"became the nearest of {len(main)} main ones.",
        why="they form areas in several masks, but are too rare to be certain.",
        got=f"{_on_masks(colors)}.",
        hint=f"in the original, {_LIST_THEM}Then repeat --fix.",
    )


def _on_edges_only(masks: Sequence[MaskFacts]) -> set[int]:
    """Return the packed colors that only smeared masks hold, and mostly on edges."""
    pixels, edges, clear = Counter[int](), Counter[int](), set[int]()
    for mask in masks:
        pixels.update(mask.counted_as("colors"))
        edges.update(mask.edges_as("colors"))
        clear |= mask.counted_as("colors").keys() if mask.blurred <= MOST_BLURRED else set()
    return {color for color in pixels if color not in clear and 2 * edges[color] > pixels[color]}


def own_colors(masks: Sequence[MaskFacts], listed: Collection[int]) -> set[int]:
    """Return the packed colors that have areas of their own.

    Those are the colors of masks most of whose colors are not on edges only, and in a smeared mask
    those on at least six pixels, off the edges, far from all main ones. A rare color that is nearly
    a main one has none, unless more frequent ones are as close to each other.

    Args:
        masks: What is known about each mask.
        listed: Colors that are classes in any case.
    """
    clear: dict[int, bool] = {}
    smeared: list[tuple[Mapping[int, int], Mapping[int, int]]] = []
    for mask in masks:
        counts, edges = mask.counted_as("colors"), mask.edges_as("colors")
        if mask.blurred > MOST_BLURRED:
            smeared.append((counts, edges))
            continue
        least = _MAIN_IN_MASK * sum(counts.values())
        own = [color for color in counts if 2 * edges.get(color, 0) <= counts[color]]
        mixed = [
            c for c in counts if c not in own and not (_gap(c, own) <= SAME or _is_between(c, own))
        ]
        # A mask of one color says nothing about colors that are close to each other.
        for color in (*own, *mixed) if len(own) > 1 else ():
            clear[color] = clear.get(color, False) or counts[color] >= least
    main = {*listed, *(color for color, frequent in clear.items() if frequent)}
    close = any(_gap(color, [*(main - {color})]) <= SAME for color in main if len(main) > 1)
    kept = {c for c in clear if c in main or close or not main or _gap(c, [*main]) > SAME}
    usual = [*main_colors([mask.counted_as("colors") for mask in masks], {*listed, *kept})]
    for counts, edges in smeared:
        for color, pixels in counts.items():
            areas = pixels - edges.get(color, 0)
            if areas >= _EQUAL_PIXELS and 2 * areas >= pixels and _gap(color, usual) > _UNLIKE:
                kept.add(color)
    return kept


def main_colors(
    masks: Sequence[Mapping[int, int]], listed: Collection[int] = (), *, soft: Collection[int] = ()
) -> tuple[int, ...]:
    """Return the packed colors that are classes, ascending.

    Args:
        masks: Pixels by packed color, of each mask.
        listed: Colors that are classes in any case.
        soft: Colors on edges only, which are no classes if they are mixtures of others, however
            frequent.
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
        if not frequent or color in main or (main and _gap(color, main) <= SAME):
            continue
        if not _is_between(
            color, [each for each in main if color in soft or number < _MIXED * total[each]]
        ):
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
    if len(main) < 2:
        return False
    here, parts = (unpack_colors(np.array(each)).astype(np.float64) for each in (color, main))
    for place, start in enumerate(parts[:-1]):
        ways = parts[place + 1 :] - start
        share = (ways @ (here - start)) / (ways**2).sum(axis=1)
        apart = np.abs(start + np.clip(share, 0, 1)[:, None] * ways - here).max(axis=1)
        if apart.min() <= _OFF_THE_LINE:
            return True
    return False
