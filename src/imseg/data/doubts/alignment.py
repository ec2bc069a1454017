"""Masks that do not lie where their images show something: of other images, turned, or shifted.

Sketches of 64 x 64 pixels are compared. Three measures tell how well a mask fits an image: how much
of the variance of the brightness lies between its classes, how much of that of the steepness, and
how steep the image is at its edges. Each is divided by its spread over wrong pairs of an image and
a mask, and their sum is the score. Whether they can tell anything differs from data set to data
set, so a fault is only stated where the set itself proves that right masks fit better than others.
What this found, and what it never said about right masks, is in decision 36.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from imseg.data.checks.appearance import SKETCH, unpack_sketch
from imseg.data.folder.facts import ImageFacts
from imseg.types import TargetSpec

FEWEST = 6
"""With fewer pairs nothing is said."""

SURE = 5.0  # standard errors of a mean over the set, or spreads of a single pair
_MOSTLY = 0.8
EACH = 3.0
_MOST_CLASSES = 8
_MOST_PLANES = 3
_AT_ONCE = 128  # pairs that are compared with each other
_FARTHEST_SHIFT = 8
_LEAST_SHIFT = 2.0
_LEAST_CHAIN = 3
_TINY = 1e-6

Planes = npt.NDArray[np.float32]
"""``n h w`` of numbers, one plane per image."""
Classes = npt.NDArray[np.uint8]
"""``n h w`` of class numbers from 0, one plane per mask."""
Scores = npt.NDArray[np.float64]


class Pairs(NamedTuple):
    """Sketches of images and their masks, flat images and masks of one class left out."""

    facts: tuple[ImageFacts, ...]
    """The pairs, in the order of their names."""
    gray: Planes
    """Brightness, of mean 0 and spread 1."""
    steep: Planes
    """Steepness of the brightness, likewise."""
    classes: Classes
    """The masks."""

    def of(self, places: npt.ArrayLike) -> "Pairs":
        """Return some of the pairs."""
        rows = np.asarray(places, np.intp)
        facts = tuple(self.facts[row] for row in rows)
        return Pairs(facts, self.gray[rows], self.steep[rows], self.classes[rows])


def pairs_of(split: Sequence[ImageFacts], spec: TargetSpec) -> Pairs:
    """Return what can be compared of a split."""
    known = [each for each in split if each.sketch is not None]
    fit = [each for each in known if all(mask.size == each.size for mask in each.masks)]
    frequent = Counter[int]()
    for facts in fit:
        frequent.update(facts.mask.counts if facts.mask is not None else {})
    ranks = {value: rank for rank, (value, _) in enumerate(frequent.most_common(_MOST_CLASSES - 1))}
    kept, grays, masks = [], [], []
    for facts in fit:
        classes = _classes_of(facts, spec, ranks)
        if facts.sketch is None or classes is None:
            continue
        levels = np.frombuffer(facts.sketch, np.uint8).reshape(SKETCH, SKETCH)
        if levels.min() < levels.max() and classes.min() < classes.max():
            kept.append(facts)
            grays.append(levels)
            masks.append(classes)
    shape = (len(kept), SKETCH, SKETCH)
    gray: Planes = np.array(grays, np.float32).reshape(shape)
    steep: Planes = np.hypot(*np.gradient(gray, axis=(1, 2))) if kept else gray
    every: Classes = np.array(masks, np.uint8).reshape(shape)
    return Pairs(tuple(kept), _standard(gray), _standard(steep), every)


def _classes_of(facts: ImageFacts, spec: TargetSpec, ranks: Mapping[int, int]) -> Classes | None:
    """Return what the mask of an image shows, ``h w``; None if that is not known.

    Args:
        facts: The image with its masks.
        spec: What the masks mean.
        ranks: The class of each of the most frequent values; all others are one more.
    """
    sketches = [(mask.sketch, list(mask.counts)) for mask in facts.masks[:_MOST_PLANES]]
    classes = np.zeros((SKETCH, SKETCH), np.uint8)
    for place, (sketch, values) in enumerate(sketches):
        if sketch is None:
            return None
        if len(values) > 1 << 8:  # then the sketch says what is above 0
            values = [0, 1]
        if spec.coding in ("planes", "objects"):
            table = [(value != 0) << place for value in values]
        else:
            table = [ranks.get(value, len(ranks)) for value in values]
        classes |= np.array(table, np.uint8)[unpack_sketch(sketch)]
    return classes if sketches else None


def _standard(planes: Planes) -> Planes:
    centered = planes - planes.mean(axis=(1, 2), keepdims=True)
    spread = centered.std(axis=(1, 2), keepdims=True)
    standard: Planes = (centered / np.maximum(spread, _TINY)).astype(np.float32)
    return standard


def _edges(classes: Classes) -> Planes:
    """Return 1 at the edges between classes, two pixels wide, and 0 elsewhere."""
    edges = np.zeros(classes.shape, bool)
    edges[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    edges[:, :, 1:] |= classes[:, :, 1:] != classes[:, :, :-1]
    edges[:, :-1] |= edges[:, 1:]
    edges[:, :, :-1] |= edges[:, :, 1:]
    return edges.astype(np.float32)


def _measured(pairs: Pairs, classes: Classes, *, all_pairs: bool = False) -> Scores:
    """Return the three measures, ``n 3``, or of every image with every mask, ``n k 3``."""
    how = "ip,jp->ij" if all_pairs else "ip,ip->i"

    def sums(planes: Planes, marks: Planes) -> npt.NDArray[Any]:
        one, other = planes.reshape(len(planes), -1), marks.reshape(len(marks), -1)
        return one @ other.T if all_pairs else np.einsum(how, one, other)

    shape = (len(pairs.gray), len(classes)) if all_pairs else (len(classes),)
    found = np.zeros((*shape, 3))
    rest, left = [np.zeros(shape), np.zeros(shape)], np.full(len(classes), float(SKETCH**2))
    for value in range(1, int(classes.max(initial=0)) + 1):
        marks = (classes == value).astype(np.float32)
        area = marks.sum(axis=(1, 2))
        left -= area
        for measure, planes in enumerate((pairs.gray, pairs.steep)):
            within = sums(planes, marks)
            rest[measure] -= within
            found[..., measure] += within**2 / np.maximum(area, 1) / SKETCH**2
    # All sums together are 0, so that of the first class is known.
    for measure in range(2):
        found[..., measure] += rest[measure] ** 2 / np.maximum(left, 1) / SKETCH**2
    edges = _edges(classes)
    found[..., 2] = sums(pairs.steep, edges) / np.sqrt(np.maximum(edges.sum(axis=(1, 2)), 1))
    return found


def _spreads(pairs: Pairs) -> Scores:
    """Return the spread of each measure over wrong pairs of an image and a mask."""
    some = pairs.of(np.arange(min(len(pairs.facts), _AT_ONCE)))
    every = _measured(some, some.classes, all_pairs=True)
    wrong = every[~np.eye(len(some.facts), dtype=bool)]
    spreads: Scores = np.maximum(wrong.std(axis=0), _TINY)
    return spreads


@dataclass(frozen=True, slots=True)
class Better:
    """Masks that fit better when something is done to them."""

    places: tuple[int, ...]
    """Which pairs."""
    whole: bool
    """Whether that holds for the set as a whole, which single pairs need not show."""
    gain: float
    """How much better, in spreads, on average."""


def find_better(gains: Scores) -> Better | None:
    """Return the pairs to which an alternative fits better, if that is certain.

    Args:
        gains: How much better the alternative fits than the mask as it is, ``n 3``, in spreads.
    """
    total = gains.sum(axis=1)
    if len(total) < FEWEST:
        return None
    errors = gains.std(axis=0) / np.sqrt(len(gains)) + _TINY
    certain = gains.mean(axis=0) / errors
    sure = total.mean() / (total.std() / np.sqrt(len(total)) + _TINY)
    agreed = (certain >= EACH).sum() >= 2 and (certain > -EACH).all()
    if sure >= SURE and (total > 0).mean() >= _MOSTLY and agreed:
        return Better(tuple(np.flatnonzero(total > 0).tolist()), True, float(total.mean()))
    odd = total >= SURE
    rest = -total[~odd]
    # Only where masks as they are fit the other images clearly, single ones can be told.
    if odd.sum() < 2 or not len(rest) or np.median(rest) < SURE:
        return None
    return Better(tuple(np.flatnonzero(odd).tolist()), False, float(total[odd].mean()))


class MaskFits:
    """How well the masks of some pairs fit, as they are and otherwise.

    Args:
        pairs: At least ``FEWEST``.
    """

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs
        self._spreads = _spreads(pairs)
        self._own = _measured(pairs, pairs.classes)
        self._last: tuple[list[int], Pairs] = [], pairs

    def better(self, rows: Sequence[int], classes: Iterable[Classes]) -> Better | None:
        """Return which of some images other masks fit better, if that is certain."""
        classes = list(classes)
        if len(rows) < FEWEST:
            return None
        if len(rows) > _AT_ONCE:
            # Where an even choice has nothing to say, the others are spared.
            some = _evenly(len(rows))
            if find_better(self.gains([rows[i] for i in some], [classes[i] for i in some])) is None:
                return None
        found = find_better(self.gains(rows, classes))
        return found and replace(found, places=tuple(rows[place] for place in found.places))

    def gains(self, rows: Sequence[int], classes: Iterable[Classes]) -> Scores:
        """Return how much better other masks fit some images, ``n 3``, in spreads."""
        rows = list(rows)
        if rows != self._last[0]:
            self._last = rows, self.pairs.of(rows)
        gains = _measured(self._last[1], np.stack(list(classes))) - self._own[rows]
        # A few that fit extremely well must not hide how sure the others are.
        return np.clip(gains / self._spreads, -2 * SURE, 2 * SURE)

    def masks(self, places: Sequence[int]) -> tuple[str, ...]:
        """Return the names of masks."""
        return tuple(mask.name for place in places for mask in self.pairs.facts[place].masks[:1])


def moved(classes: Classes, shift: tuple[int, int]) -> Classes:
    """Return masks moved by rows and columns; what leaves on one side comes in at the other."""
    return np.roll(classes, shift, axis=(1, 2))


def _evenly(count: int) -> npt.NDArray[np.intp]:
    """Return an even choice of places, which are not more than can be compared at once."""
    return np.linspace(0, count - 1, min(count, _AT_ONCE)).astype(np.intp)


def likely_shifts(pairs: Pairs) -> list[tuple[int, int]]:
    """Return by how many rows and columns all masks, and most single ones, would fit best."""
    some = pairs.of(_evenly(len(pairs.facts)))
    steep, edges = (np.fft.rfft2(planes) for planes in (some.steep, _edges(some.classes)))
    fits = np.fft.irfft2(steep * np.conj(edges), s=(SKETCH, SKETCH))
    steps = np.arange(-_FARTHEST_SHIFT, _FARTHEST_SHIFT + 1)
    gains = fits[:, steps][:, :, steps].reshape(len(fits), -1) - fits[:, 0, :1]
    gains[:, np.hypot(*np.meshgrid(steps, steps)).ravel() < _LEAST_SHIFT] = -np.inf
    # Of single masks those that fit better somewhere else than where they are count.
    single = np.bincount(gains.argmax(axis=1), np.maximum(gains.max(axis=1), 0))
    best = [int(gains.mean(axis=0).argmax()), int(single.argmax())]
    side = len(steps)
    return [(int(steps[one // side]), int(steps[one % side])) for one in dict.fromkeys(best)]


def matches(pairs: Pairs) -> list[tuple[int, int]]:
    """Return which images fit the masks of which other images, if that is certain.

    An image and a mask of another one are matched if each fits the other better than all else, and
    both better than their own partners by far. Alone this may be chance; but where the mask of one
    image is that of another, that other image misses its own, so matches come in chains.
    """
    found: list[tuple[int, int]] = []
    for start in range(0, len(pairs.facts), _AT_ONCE):
        # Not a few at the end, which could not be told from chance.
        start = max(0, min(start, len(pairs.facts) - _AT_ONCE))
        some = pairs.of(np.arange(start, min(start + _AT_ONCE, len(pairs.facts))))
        every = _measured(some, some.classes, all_pairs=True)
        # What makes an image or a mask fit everything says nothing.
        every = every - every.mean(axis=0) - every.mean(axis=1, keepdims=True)
        every += -every.mean(axis=(0, 1))
        spread = np.maximum(every[~np.eye(len(every), dtype=bool)].std(axis=0), _TINY)
        score = np.clip(every / spread, -2 * SURE, 2 * SURE).sum(axis=2)
        found += [(start + image, start + mask) for image, mask in _chained(score)]
    return list(dict.fromkeys(found))


def _chained(score: Scores) -> list[tuple[int, int]]:
    """Return the matches of a table of images and masks that hang together, if they are certain."""
    own, best = score.diagonal(), score.argmax(axis=1)
    mutual = score.argmax(axis=0)[best] == np.arange(len(best))
    gain = score.max(axis=1) - np.maximum(own, own[best])
    matched = {
        int(image): int(best[image])
        for image in np.flatnonzero(mutual & (gain >= SURE))
        if best[image] != image
    }
    chained = [pair for chain in _chains(matched) for pair in chain]
    rest = np.setdiff1d(np.arange(len(own)), [image for image, _ in chained])
    proven = len(rest) > 0 and np.median(own[rest]) >= SURE
    return chained if proven or 2 * len(chained) >= len(own) else []


def _chains(matched: Mapping[int, int]) -> Iterator[list[tuple[int, int]]]:
    """Yield matches that go on from one to the next, if there are three or they close a circle.

    Args:
        matched: The place of the mask that fits each image; no mask is there twice.
    """
    left = dict(matched)
    # Open chains are followed from their first image, circles from any.
    for first in [*(matched.keys() - matched.values()), *matched]:
        chain, image = [], first
        while image in left:
            chain.append((image, left.pop(image)))
            image = chain[-1][1]
        if len(chain) >= _LEAST_CHAIN or (len(chain) > 1 and image == first):
            yield chain
