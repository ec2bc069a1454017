"""What to say about masks that fit when they are turned, moved, or laid on other images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imseg.data.checks.appearance import SKETCH
from imseg.data.checks.fitness import FolderScan, warning
from imseg.data.doubts import alignment
from imseg.data.files.listing import by_number, subject
from imseg.data.folder.facts import ImageFacts, sampled
from imseg.data.images.decoding import ON_THEIR_SIDE, TURNS, turned, ways_of_turning
from imseg.errors import Finding, and_more
from imseg.types import TargetSpec

_NEIGHBORS = {
    1: "the image before its own",
    -1: "the image after its own",
    2: "the second image before its own",
    -2: "the second image after its own",
}


def _orders(names: Sequence[str]) -> Iterator[tuple[str, dict[int, int]]]:
    """Yield to which image masks may belong, in words, and the place of the mask of each image.

    Args:
        names: Of the images of a split, in their order.
    """
    count = len(names)
    for step, words in _NEIGHBORS.items():
        yield words, {place: (place + step) % count for place in range(count)}
    plain = sorted(range(count), key=lambda place: names[place])
    numbered = sorted(range(count), key=lambda place: by_number(names[place]))
    if plain != numbered:
        words = "the image of the same rank where names are sorted as text (1, 10, 2, ...)"
        yield words, dict(zip(plain, numbered, strict=True))
        yield words, dict(zip(numbered, plain, strict=True))
    yield "the image of the same rank from the end", dict(enumerate(reversed(range(count))))


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnedMasksFinding(Finding):
    """A finding about masks that were drawn on pictures as they are stored."""

    turns: Mapping[str, int]
    """How each mask must be turned, the EXIF number of its picture; empty: it is not clear."""
    reason: str
    """Why they must be turned."""


_LOOK = "look at them on the contact sheet"
_WHY = "networks would learn what is not there."
_SHOWN = 4
_AT_ONCE = 1000


def find_misplaced(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    """Yield what to say about masks that fit their images when they are turned, moved or exchanged.

    Args:
        found: What is known of the data.
        spec: What the masks mean.
    """
    splits = found.survey.splits()
    turned_back = list(
        _drawn_before_turn([facts for split in splits.values() for facts in split], spec)
    )
    yield from turned_back
    told = {name for finding in turned_back for name in finding.files}
    for name, split in splits.items():
        pairs = alignment.pairs_of(sampled(split), spec)
        other = [i for i, facts in enumerate(pairs.facts) if facts.masks[0].name not in told]
        if len(other) >= alignment.FEWEST:
            some = pairs.of(other)
            among = _among(len(some.facts), f"masks in {name}", len(sampled(split)) < len(split))
            yield from _in_split(among, [facts.name for facts in split], some)


def _among(count: int, masks: str, chosen: bool) -> str:
    """Return how many masks were compared, in words that tell if others were not."""
    return f"the {count} {masks} that were compared" if chosen else f"{count} {masks}"


class _Claim(NamedTuple):
    """Something that would make masks fit better."""

    better: alignment.Better
    finding: Finding


def _in_split(among: str, names: Sequence[str], pairs: alignment.Pairs) -> Iterator[Finding]:
    """Yield at most one finding about the masks of a split: what concerns most of them."""
    compare = alignment.MaskFits(pairs)
    claims = [
        *_exchanged(among, names, compare),
        *_turned(among, compare),
        *_shifted(among, compare),
    ]
    if claims:
        yield max(claims, key=lambda claim: (len(claim.better.places), claim.better.gain)).finding


def _exchanged(among: str, names: Sequence[str], compare: alignment.MaskFits) -> Iterator[_Claim]:
    """Yield whether masks fit other images better than their own."""
    facts = compare.pairs.facts
    places = {each.name: place for place, each in enumerate(facts)}
    for words, order in _orders(names):
        rows = {
            places[names[image]]: places[names[mask]]
            for image, mask in order.items()
            if names[image] in places and names[mask] in places and image != mask
        }
        images, masks = list(rows), list(rows.values())
        better = compare.better(images, compare.pairs.classes[masks])
        # Of a few, the matches below tell more certainly to which images they belong.
        if better is not None and better.whole:
            wrong = [(image, rows[image]) for image in better.places]
            yield _Claim(better, _exchange(among, compare, wrong, f"they fit {words}"))
    if matches := alignment.matches(compare.pairs):
        better = alignment.Better(tuple(image for image, _ in matches), False, 0.0)
        yield _Claim(better, _exchange(among, compare, matches, "they fit other images"))


def _exchange(
    among: str, compare: alignment.MaskFits, wrong: Sequence[tuple[int, int]], words: str
) -> Finding:
    names = compare.masks([mask for _, mask in wrong])
    shown = [
        f"{name} fits {compare.pairs.facts[image].name}"
        for name, (image, _) in zip(names, wrong, strict=True)
    ]
    return warning(
        f"{len(wrong)} of {among} do not fit their images; {words}.",
        why=_WHY,
        got=f"{and_more(shown, most=_SHOWN)}.",
        hint=f"{_LOOK}, and at how masks were numbered or sorted; then rename the masks.",
        files=names,
    )


def _turned(among: str, compare: alignment.MaskFits) -> Iterator[_Claim]:
    """Yield whether masks fit better when they are mirrored or turned."""
    pairs = compare.pairs
    square = [i for i, facts in enumerate(pairs.facts) if facts.size[0] == facts.size[1]]
    for orientation, words in TURNS.items():
        rows = square if orientation in ON_THEIR_SIDE else list(range(len(pairs.facts)))
        classes = [turned(pairs.classes[row], orientation) for row in rows]
        if (better := compare.better(rows, classes)) is not None:
            yield _Claim(better, _moved_finding(among, compare, better, f"are {words}"))


def _shifted(among: str, compare: alignment.MaskFits) -> Iterator[_Claim]:
    """Yield whether masks fit better when they are moved."""
    pairs = compare.pairs
    for down, right in alignment.likely_shifts(pairs):
        rows = list(range(len(pairs.facts)))
        better = compare.better(rows, alignment.moved(pairs.classes, (down, right)))
        if better is not None:
            height, width = np.median([pairs.facts[i].size for i in better.places], axis=0)
            steps = (
                (down * height / SKETCH, "down" if down > 0 else "up"),
                (right * width / SKETCH, "to the right" if right > 0 else "to the left"),
            )
            words = " and ".join(f"about {abs(n):.0f} px {way}" for n, way in steps if n)
            text = f"are moved {words}: they lie shifted"
            yield _Claim(better, _moved_finding(among, compare, better, text))


def _moved_finding(
    among: str, compare: alignment.MaskFits, better: alignment.Better, words: str
) -> Finding:
    names = compare.masks(better.places)
    return warning(
        f"{len(names)} of {among} do not fit their images; they fit when they {words}.",
        why=_WHY,
        got=f"{and_more(names, most=_SHOWN)}.",
        hint=f"{_LOOK}, and at how the masks were exported; then export them again.",
        files=names,
    )


def _drawn_before_turn(every: Sequence[ImageFacts], spec: TargetSpec) -> Iterator[Finding]:
    """Yield whether masks were drawn on pictures as they are stored, before their EXIF turn."""
    concerned: list[ImageFacts] = []
    gains: list[alignment.Scores] = []
    # Some at a time, so that any number of pictures fits in memory.
    blocks = -(-len(every) // _AT_ONCE) if any(_may_be_turned(facts) for facts in every) else 0
    for block in range(blocks):
        pairs = alignment.pairs_of(every[block::blocks], spec)
        rows = [place for place, facts in enumerate(pairs.facts) if _may_be_turned(facts)]
        concerned += [pairs.facts[row] for row in rows]
        if rows and len(pairs.facts) >= alignment.FEWEST:
            classes = [turned(pairs.classes[row], pairs.facts[row].orientation) for row in rows]
            gains.append(alignment.MaskFits(pairs).gains(rows, classes))
    if not concerned:
        return
    stored, total = None, np.zeros(len(concerned))
    if sum(map(len, gains)) == len(concerned):
        stored, total = _drawn_as_stored(np.concatenate(gains)), np.concatenate(gains).sum(axis=1)
    unclear, by_size = [*range(len(concerned))], _sizes_tell(every)
    if stored is not None:
        # Where masks of both kinds are certain, the others may be of either.
        unclear = [i for i in unclear if stored and i not in stored and total[i] > -alignment.SURE]
        yield from _turned_back([concerned[place] for place in stored])
    elif by_size == {True} and (total > -alignment.SURE).all():
        yield from _turned_back(concerned, inferred=True)
        return
    elif by_size == {False} and (total < alignment.SURE).all():
        return
    if unclear:
        yield _unclear([concerned[place] for place in unclear])


def _sizes_tell(every: Sequence[ImageFacts]) -> set[bool]:
    """Return whether the sizes of masks prove that they were drawn on pictures as these are stored.

    It is False of masks on their upright pictures; where there are masks of both kinds, both.
    """
    return {
        size == facts.size[::-1]
        for facts in every
        if facts.orientation in ON_THEIR_SIDE and facts.size[0] != facts.size[1]
        for size in (mask.size for mask in facts.masks)
        if size in (facts.size, facts.size[::-1])
    }


def _exif(concerned: Sequence[ImageFacts]) -> str:
    numbers = sorted({facts.orientation for facts in concerned})
    return f"EXIF orientation {', '.join(map(str, numbers))}"


def _unclear(concerned: Sequence[ImageFacts]) -> TurnedMasksFinding:
    """Return a finding about pictures whose masks may have been drawn before or after the turn."""
    names = tuple(facts.name for facts in concerned)
    return TurnedMasksFinding(
        severity="warning",
        what=f"{subject(len(names), 'image', 'has', 'have')} an {_exif(concerned)} and "
        f"{'is' if len(names) == 1 else 'are'} turned on reading; whether the masks were drawn "
        "on the turned pictures cannot be seen from them.",
        why="some programs ignore EXIF data, and their masks are upside down or mirrored.",
        got=f"{and_more(names, most=_SHOWN)}.",
        hint=f"{_LOOK}; if masks lie wrong there, turn them, or remove the turn: exiftool "
        "-Orientation= FILE.",
        files=names,
        turns={},
        reason="",
    )


def still_unclear(finding: TurnedMasksFinding) -> Finding:
    """Return what to say about the same pictures after they were saved upright."""
    what = (
        f"{subject(len(finding.files), 'image', 'was', 'were')} turned upright by the EXIF data; "
        "whether the masks were drawn on the turned pictures cannot be seen from them, so the masks"
        " were left as they are."
    )
    return replace(finding, what=what, hint=f"{_LOOK}; if masks lie wrong there, turn them.")


def _turned_back(concerned: Sequence[ImageFacts], *, inferred: bool = False) -> Iterator[Finding]:
    """Yield a finding about masks that were drawn on pictures as they are stored, if there are any.

    Args:
        concerned: The pictures.
        inferred: Whether only the other masks of the folder show it.
    """
    if not concerned:
        return
    masks = {mask.name: facts.orientation for facts in concerned for mask in facts.masks}
    ways = ways_of_turning(sorted(set(masks.values())))
    fits = "the mask fits the picture as it is stored"
    reason = "the mask was drawn on the picture as it was stored, before its EXIF turn"
    if inferred:
        fits = (
            "the sizes of other masks show that they were drawn on pictures as these are stored. "
            "These masks do not show it themselves, but were most likely drawn in the same way"
        )
        reason = (
            "the sizes of other masks show that they were drawn on pictures as these were stored, "
            "before their EXIF turn, so most likely this one was, too"
        )
    yield TurnedMasksFinding(
        severity="warning",
        what=f"{subject(len(masks), 'mask')} not turned as the image is: by its "
        f"{_exif(concerned)}, each image is turned on reading, but {fits}.",
        why=_WHY,
        got=f"{and_more(list(masks), most=len(masks) if inferred else _SHOWN)}.",
        hint=f"--fix writes a copy with these masks {ways}. For next time: draw on pictures "
        "without EXIF orientation, or with a program that heeds it.",
        files=tuple(masks),
        turns=masks,
        reason=reason,
    )


def _may_be_turned(facts: ImageFacts) -> bool:
    """Return whether a picture is turned on reading, and its mask's size does not tell if it is."""
    lies = facts.orientation in ON_THEIR_SIDE and facts.size[0] != facts.size[1]
    return facts.orientation in TURNS and not lies


def _drawn_as_stored(gains: alignment.Scores) -> list[int] | None:
    """Return which masks fit their pictures as these are stored; None if that is not clear.

    Args:
        gains: How much better each mask fits when it is turned as its picture, ``n 3``, in spreads.
    """
    total = gains.sum(axis=1)
    better = alignment.find_better(gains)
    if better is not None:
        return (
            np.flatnonzero(total > -alignment.SURE).tolist()
            if better.whole
            else list(better.places)
        )
    if alignment.find_better(-gains) is not None or (total <= -alignment.EACH).all():
        odd: list[int] = np.flatnonzero(total >= alignment.SURE).tolist()
        return odd
    return list(range(len(total))) if (total >= alignment.EACH).all() else None


_CONSISTENT = 0.9
_FLIPPED = 0.5
_ON_BORDER = 0.3


def find_inverted(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    """Yield whether some masks of one foreground mark the background.

    Where the images of a set are alike, the foreground is brighter, or darker, or rougher than the
    background in nearly all of them, and seldom reaches their borders. Masks that are the other way
    round in all of that are inverted.

    Args:
        found: What is known of the data.
        spec: What the masks mean.
    """
    if spec.kind != "binary":
        return
    splits = found.survey.splits().values()
    chosen = [facts for split in splits for facts in sampled(split)]
    pairs = alignment.pairs_of(chosen, spec)
    if len(pairs.facts) < alignment.FEWEST:
        return
    odd = np.flatnonzero(_are_inverted(pairs)).tolist()
    if not odd:
        return
    names = [mask.name for place in odd for mask in pairs.facts[place].masks]
    paired = sum(bool(facts.masks) for split in splits for facts in split)
    among = _among(len(pairs.facts), "masks", sum(bool(f.masks) for f in chosen) < paired)
    yield warning(
        f"{len(names)} of {among} seem to be inverted: what they mark is background in the others.",
        why="networks would learn the opposite from them.",
        got=f"{and_more(names, most=_SHOWN)}.",
        hint=f"{_LOOK}; if it is so, exchange the two values in these masks.",
        files=names,
    )


def _are_inverted(pairs: alignment.Pairs) -> npt.NDArray[np.bool_]:
    """Return which masks are inverted, compared with most of the others."""
    one, other = ((pairs.classes == value).astype(np.float32) for value in (1, 0))
    border = np.ones(one.shape[1:], bool)
    border[1:-1, 1:-1] = False
    on_border = one[:, border].sum(axis=1), other[:, border].sum(axis=1)
    share = on_border[0] / np.maximum(sum(on_border), 1)
    outside = np.median(share)
    far = share > 1 - _ON_BORDER if outside <= _ON_BORDER else share < _ON_BORDER
    if _ON_BORDER < outside < 1 - _ON_BORDER or far.all():
        return np.zeros(len(share), bool)
    flipped = np.zeros((0, len(share)), bool)
    for planes in (pairs.gray, pairs.steep):
        means = [
            (planes * marks).sum(axis=(1, 2)) / np.maximum(marks.sum(axis=(1, 2)), 1)
            for marks in (one, other)
        ]
        contrast = means[0] - means[1]
        usual = np.median(contrast[~far])
        if (contrast[~far] * usual > 0).mean() >= _CONSISTENT:
            strange = contrast * np.sign(usual) < -_FLIPPED * abs(usual)
            flipped = np.vstack([flipped, strange])
    return far & flipped.all(axis=0) if len(flipped) else np.zeros(len(share), bool)
