"""Pictures that look unlike those they are to be used with, and in what."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imseg.data.checks import appearance, fitness
from imseg.data.files.listing import subject
from imseg.data.folder.facts import ImageFacts, Survey
from imseg.errors import Finding, and_more

UNLIKE = 4.0
"""How far a picture must be from the one most like it, in spreads, to be called unlike.

Measured with a tenth of the pictures as examples, drawn eight times: of the other pictures this
names 0 to 0.3 % of the skin lesions, 0 to 5 % of the nuclei (whose stains differ), and none of the
road scenes and the drawn cells.
"""

FEWEST = 8
"""With fewer examples there is no finding."""

_MOST_EXAMPLES = 4096
_SPARSE = 5.0
_GRAY = 1.5
_JUMP = 4.0
_ROWS = 256
_NORMAL = 1.349
_SHOWN = 5

TraitTable = npt.NDArray[np.float64]


class _Trait(NamedTuple):
    """One way in which pictures differ."""

    more: str
    """What a picture with more of it is, compared with another."""
    less: str
    """What a picture with less of it is."""
    least: float
    """The smallest spread that is told from none, in the trait's own unit."""


_TRAITS = (
    _Trait("brighter", "darker", 15.0),
    _Trait("of more contrast", "of less contrast", 10.0),
    _Trait("more colorful", "paler", 12.0),
    _Trait("redder", "greener", 10.0),
    _Trait("bluer", "yellower", 10.0),
    _Trait("sharper or noisier", "blurrier", 0.5),
    _Trait("larger", "smaller", 0.4),
    _Trait("wider", "taller", 0.25),
    _Trait("in color among gray", "gray among color", 1.0),
)
_BRIGHTNESS, _CONTRAST, _SIZE, _COLOR = 0, 1, 6, 8
_MIDDLE_GRAY = 128.0


@dataclass(frozen=True, slots=True)
class Unlike:
    """A picture that is unlike its examples."""

    index: int
    """Which picture."""
    words: str
    """In what it differs from the example most like it, such as ``darker, 4x larger``."""


def traits_of(looks: Sequence[appearance.Look], sizes: Sequence[tuple[int, int]]) -> TraitTable:
    """Return one row of traits per picture.

    Args:
        looks: How the pictures look.
        sizes: Height and width of each in pixels.
    """
    rows = [
        (
            look.brightness,
            look.contrast,
            look.saturation,
            look.red,
            look.blue,
            np.log2(look.sharpness + 0.02),
            np.log2(max(1, height * width)) / 2,
            np.log2(max(1, width) / max(1, height)),
            _JUMP if look.saturation >= _GRAY else 0.0,
        )
        for look, (height, width) in zip(looks, sizes, strict=True)
    ]
    return np.array(rows, np.float64).reshape(len(rows), len(_TRAITS))


def find_unlike(
    traits: TraitTable, examples: TraitTable, *, deep: bool, among: bool = False
) -> list[Unlike]:
    """Return the pictures that are far from every example, the farthest first.

    Traits are compared in spreads of the examples (the range of their middle half, brought to
    standard deviations). Far is 4 spreads, or 5 times what lies between an example and the next
    one where examples are few and varied.

    Args:
        traits: Of the pictures in question.
        examples: Of the pictures they should be like.
        deep: Whether brightness is in the unit of files of 16 bits or floats.
        among: Whether the pictures are the first of the examples; each is compared with the others.
    """
    if len(examples) < FEWEST or not len(traits):
        return []
    spreads = _spreads(examples, deep=deep)
    # Of very many examples an even choice.
    kept = np.arange(0, len(examples), -(-len(examples) // _MOST_EXAMPLES))
    known = examples[kept] / spreads
    gap, _ = _nearest(known, known, itself=np.arange(len(known)))
    limit = max(UNLIKE, _SPARSE * float(np.median(gap)))
    itself = None
    if among:
        places = {int(index): place for place, index in enumerate(kept)}
        itself = np.array([places.get(index, -1) for index in range(len(traits))])
    distances, nearest = _nearest(traits / spreads, known, itself=itself)
    apart = traits - examples[kept[nearest]]
    order = np.argsort(-distances, kind="stable")
    return [Unlike(i, _words(apart[i], spreads)) for i in order.tolist() if distances[i] > limit]


def _spreads(examples: TraitTable, *, deep: bool) -> npt.NDArray[np.float64]:
    low, high = np.percentile(examples, [25, 75], axis=0)
    least = np.array([trait.least for trait in _TRAITS])
    if deep:
        # There is no fixed range; what matters is how much brighter than usual a picture is.
        usual = max(float(np.median(np.abs(examples[:, _BRIGHTNESS]))), 1e-6)
        least[[_BRIGHTNESS, _CONTRAST]] *= usual / _MIDDLE_GRAY
    spreads: npt.NDArray[np.float64] = np.maximum(least, (high - low) / _NORMAL)
    spreads[_COLOR] = least[_COLOR]
    return spreads


def _nearest(
    rows: TraitTable, known: TraitTable, *, itself: npt.NDArray[np.intp] | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """Return how far the nearest known row is from each row, and which it is.

    Args:
        rows: In spreads.
        known: In spreads.
        itself: The place of each row among the known ones, which does not count; -1: it has none.
    """
    nearest = np.empty(len(rows), np.intp)
    lengths = (known**2).sum(axis=1)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        squares = (part**2).sum(axis=1, keepdims=True) + lengths - 2 * (part @ known.T)
        if itself is not None:
            own = itself[start : start + _ROWS]
            squares[np.flatnonzero(own >= 0), own[own >= 0]] = np.inf
        nearest[start : start + _ROWS] = squares.argmin(axis=1)
    return np.sqrt(((rows - known[nearest]) ** 2).sum(axis=1)), nearest


def _words(difference: npt.NDArray[np.float64], spreads: npt.NDArray[np.float64]) -> str:
    """Return in what a picture differs, the largest difference first; small ones are left out."""
    steps = difference / spreads
    order = np.argsort(-np.abs(steps), kind="stable")
    large = [place for place in order if abs(steps[place]) >= abs(steps[order[0]]) / 2]
    words = []
    for place in large[:3]:
        trait = _TRAITS[place]
        word = trait.more if steps[place] > 0 else trait.less
        if place == _SIZE:
            word = f"{2 ** abs(difference[place]):.2g}x {word}"
        words.append(word)
    return ", ".join(words)


_WHY = {
    "unlabeled": "what networks say about such images is least reliable, and they learn from it.",
    "val": "choosing by such images says little about the labeled kind.",
    "test": "the score mixes how well networks segment with how well they adapt.",
}


def find_odd_pictures(survey: Survey) -> Iterator[Finding]:
    """Yield what to say about blank pictures and about such as look unlike the others.

    Args:
        survey: The facts about all pictures.
    """
    if blank := [facts.name for facts in survey.every() if _is_blank(facts)]:
        yield fitness.warning(
            f"{subject(len(blank), 'image')} blank: one value everywhere.",
            why="there is nothing to learn on them, and a failed exposure may hide behind them.",
            got=and_more(blank) + ".",
            hint="look at them, and remove them if nothing is meant to be there.",
            files=blank,
        )
    labeled = [facts.depth != "uint8" for facts in survey.labeled if not _is_blank(facts)]
    # The unit of brightness differs with the depth; what is rarer has findings of its own.
    deep = sum(labeled) > len(labeled) / 2
    names: dict[str, list[str]] = {}
    traits: dict[str, TraitTable] = {}
    for split, every in survey.splits().items():
        alike = [f for f in every if not _is_blank(f) and (f.depth != "uint8") == deep]
        names[split] = [facts.name for facts in alike]
        looks = [facts.look for facts in alike if facts.look]
        traits[split] = traits_of(looks, [facts.size for facts in alike])
    for split, why in _WHY.items():
        if found := find_unlike(traits[split], traits["labeled"], deep=deep):
            what = f"1 {split} image looks"
            if len(found) > 1:
                what = f"{len(found)} of {len(names[split])} {split} images look"
            hint = "look at them; label one of each kind, or remove what does not belong."
            what += " unlike every labeled one."
            yield _unlike(what, names[split], found, why=why, hint=hint)
    everywhere = np.concatenate(list(traits.values()))
    if found := find_unlike(traits["labeled"], everywhere, deep=deep, among=True):
        what = subject(len(found), "labeled image", "looks", "look") + " unlike every other image."
        why = "a label spent on a wrong file teaches what is never needed."
        hint = "look at them; add more images of their kind, or remove what does not belong."
        yield _unlike(what, names["labeled"], found, why=why, hint=hint)


def _is_blank(facts: ImageFacts) -> bool:
    """Return whether a picture has one value everywhere, or no look was taken of it."""
    return facts.look is None or facts.look.contrast == 0


def _unlike(
    what: str, names: Sequence[str], found: Sequence[Unlike], *, why: str, hint: str
) -> Finding:
    """Return a finding that names pictures, each with what tells it from the one most like it."""
    got = and_more([f"{names[each.index]} ({each.words})" for each in found], most=_SHOWN) + "."
    files = (names[each.index] for each in found)
    return fitness.warning(what, why=why, got=got, hint=hint, files=files)
