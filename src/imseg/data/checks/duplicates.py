"""Pictures that show nearly the same: recompressed, resized, retouched copies, frames of a video.

The perceptual hash is the thumbnail of a look, 16 x 16 gray levels, of which offset and gain are
taken out; two pictures are as far apart as one minus the correlation of their thumbnails. On
skin lesions, road scenes, nuclei and drawn cells this told copies from other pictures better than
a difference hash of 64 bits, and costs no more: all pairs of 50,000 pictures take seconds.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imseg.data.checks.appearance import THUMBNAIL, Look
from imseg.data.files.listing import counted, subject
from imseg.data.folder.facts import ImageFacts, Survey
from imseg.errors import Finding, and_more

NEAR = 0.02
"""Farthest apart that two thumbnails of one scene are.

Measured: of 1,718 skin lesions the nine closest pairs up to here show the same lesion, and so does
the tenth at 0.025; the first pair of different ones is 0.028 apart. Different pictures of drawn
cells are 0.035 apart and more, of nuclei 0.45. Copies (JPEG of quality 50, half and quarter size,
squeezed, 15 % darker, 10 % brighter, gamma 1.2) stay below it in 98 % (drawn cells) to 100 % (road
scenes) of the cases.
"""

MIN_RELIEF = 1.0
"""Thumbnails of less contrast (gray levels) show noise, and are like none."""

_ALIKE = 0.1
_ENOUGH = 10
_SAMPLED = 2000
_ROWS = 128
_AT_ONCE = 1024
_MOST = 16

Vectors = npt.NDArray[np.float32]
"""One row per picture, of mean 0 and length 1; all 0 for a flat picture."""


class NearPair(NamedTuple):
    """Two pictures that show nearly the same."""

    one: int
    """Index into the first list."""
    other: int
    """Index into the second list; into the same one, and larger, where there is one list."""
    distance: float
    """How far apart they are, 0 (equal up to brightness and contrast) to ``NEAR``."""


def vectors_of(looks: Sequence[Look]) -> Vectors:
    """Return the thumbnails as vectors whose dot products are correlations."""
    vectors = np.empty((len(looks), THUMBNAIL * THUMBNAIL), np.float32)
    # Some at a time: what is computed on the way takes several times the memory of the result.
    for start in range(0, len(looks), _AT_ONCE):
        some = looks[start : start + _AT_ONCE]
        levels = np.frombuffer(b"".join(look.thumbnail for look in some), np.uint8)
        rows = levels.reshape(len(some), -1).astype(np.float32)
        rows -= rows.mean(axis=1, keepdims=True)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
        rows[[look.relief < MIN_RELIEF for look in some]] = 0
        vectors[start : start + _AT_ONCE] = rows
    return vectors


def tolerance_for(vectors: Vectors) -> float:
    """Return how far apart copies may be among these pictures, at most ``NEAR``.

    Where all pictures look alike (one microscope's uneven light, a camera that stands still),
    copies must be much closer to each other than any two pictures are.

    Args:
        vectors: Of every picture of a data set.
    """
    seen = np.flatnonzero(vectors.any(axis=1))
    if len(seen) < _ENOUGH:
        return NEAR
    generator = np.random.default_rng(0)
    one = generator.integers(0, len(seen), _SAMPLED)
    other = (one + generator.integers(1, len(seen), _SAMPLED)) % len(seen)
    typical = float(np.median(1 - (vectors[seen[one]] * vectors[seen[other]]).sum(axis=1)))
    return min(NEAR, _ALIKE * typical)


def near_pairs(
    one: Vectors, other: Vectors | None = None, *, tolerance: float = NEAR
) -> list[NearPair]:
    """Return the pairs that are no farther apart than ``tolerance``, the closest first.

    Of each picture at most its 16 nearest are listed, so that an unmoving video stays small.

    Args:
        one: Of some pictures.
        other: Of other pictures; None looks among ``one``.
        tolerance: See ``tolerance_for``.
    """
    columns = one if other is None else other
    if not len(one) or not len(columns):
        return []
    rough_columns = _rough(columns, turned=True)
    found: list[NearPair] = []
    for start in range(0, len(one), _ROWS):
        first = start if other is None else 0
        rough_rows = _rough(one[start : start + _ROWS])
        # Without a name the products are gone before the next ones are made.
        rows, places = _candidates(rough_rows @ rough_columns[:, first:], -2 * tolerance)
        rows, places = rows + start, places + first
        if other is None:
            rows, places = rows[places > rows], places[places > rows]
        apart = 1 - np.einsum("ij,ij->i", one[rows], columns[places])
        near = apart <= tolerance
        triples = zip(rows[near], places[near], np.maximum(apart[near], 0), strict=True)
        found += [NearPair(int(row), int(place), float(gap)) for row, place, gap in triples]
    return sorted(found, key=lambda pair: (pair.distance, pair.one, pair.other))


def groups_of(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return what hangs together through pairs, each group ascending, the largest first."""
    group_of: dict[int, list[int]] = {}
    for pair in pairs:
        small, large = sorted((group_of.setdefault(i, [i]) for i in pair), key=len)
        if small is not large:
            large += small
            group_of.update(dict.fromkeys(small, large))
    groups = {id(group): sorted(group) for group in group_of.values()}
    return sorted(groups.values(), key=lambda group: (-len(group), group[0]))


def _rough(vectors: Vectors, *, turned: bool = False) -> Vectors:
    """Return few numbers per picture whose products are minus the square of a distance.

    The distance of thumbnails at half their size is never more than that of the thumbnails
    themselves, so what it rules out need not be looked at: a fourth of the work is left.
    """
    half = THUMBNAIL // 2
    cells = vectors.reshape(-1, half, 2, half, 2).sum(axis=(2, 4)).reshape(-1, half * half) / 2
    squares = (cells**2).sum(axis=1, keepdims=True)
    # Flat pictures are put far away from everything, from each other too.
    squares[~vectors.any(axis=1)] = 1e6
    ones = np.ones_like(squares)
    if turned:
        return np.ascontiguousarray(np.hstack([2 * cells, -ones, -squares]).T, np.float32)
    return np.hstack([cells, squares, ones]).astype(np.float32)


def _candidates(
    closeness: Vectors, least: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return row and column of what is close enough, at most ``_MOST`` per row."""
    # Rounding must not lose a pair; the exact distance is computed afterwards.
    close = closeness >= least - 1e-5
    if np.count_nonzero(close) > _MOST:
        for row in np.flatnonzero(np.count_nonzero(close, axis=1) > _MOST):
            farthest = np.argpartition(closeness[row], -_MOST)[:-_MOST]
            close[row, farthest] = False
    # Several times faster than asking for rows and columns at once.
    rows, columns = np.divmod(np.flatnonzero(close), close.shape[1])
    return rows, columns


_ACROSS = (
    ("labeled", "test", "warning"),
    ("unlabeled", "test", "warning"),
    ("val", "test", "warning"),
    ("labeled", "val", "warning"),
    ("unlabeled", "val", "note"),
    ("labeled", "unlabeled", "note"),
)
_WHY = {
    "test": "the score would tell how well they are remembered, not how well new images are "
    "segmented.",
    "val": "networks would be chosen by how well they remember, not by how well they segment.",
    "unlabeled": "such unlabeled images add little to the labeled ones.",
}
_KEEP_APART = (
    "look at some pairs; if they show the same scene (one patient, one well, one video), keep "
    "each scene in one split."
)


def find_near_duplicates(survey: Survey) -> Iterator[Finding]:
    """Yield what to say about near duplicates; exact ones are reported by their content.

    Args:
        survey: The facts about all pictures.
    """
    splits = {
        name: [facts for facts in members if facts.look is not None]
        for name, members in survey.splits().items()
    }
    every = vectors_of([f.look for members in splits.values() for f in members if f.look])
    ends = np.cumsum([len(members) for members in splits.values()])
    vectors = dict(zip(splits, np.split(every, ends[:-1]), strict=True))
    tolerance = tolerance_for(every)
    for one, other, severity in _ACROSS:
        nearest: dict[int, tuple[str, str]] = {}
        for pair in near_pairs(vectors[other], vectors[one], tolerance=tolerance):
            here, there = splits[other][pair.one], splits[one][pair.other]
            if here.digest != there.digest:
                nearest.setdefault(pair.one, (here.name, there.name))
        if nearest:
            yield Finding(
                severity=severity,
                what=subject(len(nearest), "image", f"in {other} is", f"in {other} are")
                + f" nearly the same as an image in {one}.",
                why=_WHY[other],
                got=and_more([" ~ ".join(names) for names in nearest.values()]) + ".",
                hint=_KEEP_APART,
                files=tuple(name for names in nearest.values() for name in names),
            )
    for name, members in splits.items():
        pairs = near_pairs(vectors[name], tolerance=tolerance)
        yield from _within(name, members, pairs, val=bool(survey.val))


_TEACHES_LITTLE = "a group teaches little more than one image of it."
_WHY_IN = {
    "labeled": _TEACHES_LITTLE,
    "unlabeled": _TEACHES_LITTLE,
    "val": "a group counts several times in the choice.",
    "test": "a group counts several times in the score.",
}


def _within(
    split: str, members: Sequence[ImageFacts], pairs: Sequence[NearPair], *, val: bool
) -> Iterator[Finding]:
    """Yield a finding about groups of pictures of one split that show nearly the same."""
    near = [(pair.one, pair.other) for pair in pairs]
    crossing = split == "labeled" and not val
    if crossing:
        # A fifth of them is set aside to choose by, and exact copies cross that border, too.
        near += exact_pairs(members)
    else:
        near = [(one, other) for one, other in near if members[one].digest != members[other].digest]
    groups = [[members[index].name for index in group] for group in groups_of(near)]
    if not groups:
        return
    count = sum(len(group) for group in groups)
    shown = "; ".join(and_more(group, most=2) for group in groups[:3])
    rest = f" (and {len(groups) - 3} more groups)" if len(groups) > 3 else ""
    why = _WHY_IN[split]
    hint = "look at some; thin out frames of a video, and spend the next labels on other scenes."
    if crossing:
        why = (
            "there is no val, so a fifth of labeled will be set aside to choose by, and a group "
            "may lie on both sides: networks would be chosen by how well they remember."
        )
        hint = "put pairs of other scenes into val/images and val/masks, or remove the copies."
    yield Finding(
        severity="warning" if crossing else "note",
        what=f"{counted(count, 'image')} in {split} form {counted(len(groups), 'group')} that "
        f"{'shows' if len(groups) == 1 else 'show'} nearly the same.",
        why=why,
        got=f"{shown}{rest}.",
        hint=hint,
        files=tuple(name for group in groups for name in group),
    )


def exact_pairs(members: Sequence[ImageFacts]) -> list[tuple[int, int]]:
    """Return for each picture that is there already the index of the first one, and its own."""
    first: dict[str, int] = {}
    places = [(first.setdefault(facts.digest, index), index) for index, facts in enumerate(members)]
    return [(one, other) for one, other in places if one != other]
