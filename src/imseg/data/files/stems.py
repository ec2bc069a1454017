"""One rule that tells which mask belongs to which image, where stems differ: ``cell_3_mask``."""

import itertools
from collections import Counter
from collections.abc import Collection, Mapping
from typing import NamedTuple

_FEWEST = 2
_CLEAR = 4  # letters: shorter words are no words of their own right after another letter
_LONGEST = 100
_LOOKED_AT = 200
_LIKELY = 50


class StemRule(NamedTuple):
    """What stands around the part that the stems of an image and of its mask have in common."""

    image: tuple[str, str]
    """Before and after it in the stem of an image."""
    mask: tuple[str, str]
    """Before and after it in the stem of a mask."""

    def __str__(self) -> str:
        image, mask = ("STEM".join(affixes) for affixes in self)
        return f"{mask} is the mask of {image}"


def join_stems(
    images: Collection[str], masks: Collection[str], known: Collection[StemRule] = ()
) -> tuple[StemRule, Mapping[str, str]] | None:
    """Return a rule and the image that it gives each mask, by stem; None if none is certain.

    The rule joins at least two masks, and more than half of the images or of the masks, each with
    one image. No number is taken apart: ``a10`` is never the mask of ``a1``. There is none if
    another rule joins any of these files in another way, unless the first alone joins all.

    Args:
        images: Stems of images that have no mask of their stem.
        masks: Stems of masks that have no image of their stem.
        known: Rules that join others of the same data; these may join a single mask.
    """
    found: dict[StemRule, dict[str, str]] = {}
    for rule in {*known, *_contained(images, masks), *_common(images, masks)}:
        pairs = _joined_by(rule, images, masks)
        if len(pairs) >= (1 if rule in known else _FEWEST) and _is_plain(rule, pairs):
            found[rule] = pairs
    if not found:
        return None
    best = max(found, key=lambda rule: (len(found[rule]), rule))
    pairs = found[best]
    if 2 * len(pairs) <= min(len(images), len(masks)):
        return None
    masks_of = {image: mask for mask, image in pairs.items()}
    all_joined = len(pairs) == len(images) == len(masks)
    for others in found.values():
        if all_joined and len(others) < len(pairs):
            continue
        for mask, image in others.items():
            if pairs.get(mask, image) != image or masks_of.get(image, mask) != mask:
                return None
    return best, pairs


def _contained(images: Collection[str], masks: Collection[str]) -> list[StemRule]:
    """Return the rules by which stems of one kind are parts of those of the other."""
    rules: Counter[StemRule] = Counter()
    for parts, wholes, swapped in ((images, masks, False), (masks, images, True)):
        known = {part for part in parts if part}
        for whole in [stem for stem in wholes if len(stem) <= _LONGEST][:_LOOKED_AT]:
            for start in range(len(whole)):
                for end in range(start + 1, len(whole) + 1):
                    if whole[start:end] in known:
                        around = whole[:start], whole[end:]
                        none = ("", "")
                        rules[StemRule(around, none) if swapped else StemRule(none, around)] += 1
    return [rule for rule, votes in rules.most_common(_LIKELY) if votes >= _FEWEST]


def _common(images: Collection[str], masks: Collection[str]) -> list[StemRule]:
    """Return the rules by what all stems of a kind have in common at their start and end."""
    if min(len(images), len(masks)) < _FEWEST:
        return []
    rules = []
    for suffix_first in (False, True):
        (start, end), (other_start, other_end) = (
            _ends(stems, suffix_first=suffix_first) for stems in (images, masks)
        )
        # What both have next to the middle belongs to the middle.
        shared = len(_common_end([start, other_start]))
        begun = len(_common_start([end, other_end]))
        image = start[: len(start) - shared], end[begun:]
        mask = other_start[: len(other_start) - shared], other_end[begun:]
        rules.append(StemRule(image, mask))
    return rules


def _ends(stems: Collection[str], *, suffix_first: bool) -> tuple[str, str]:
    """Return what all stems start and end with, without counting a letter twice."""
    if suffix_first:
        end = _common_end(stems)
        return _common_start([stem[: len(stem) - len(end)] for stem in stems]), end
    start = _common_start([*stems])
    return start, _common_end([stem[len(start) :] for stem in stems])


def _common_start(stems: Collection[str]) -> str:
    first, last = min(stems), max(stems)
    same = (one == other for one, other in zip(first, last, strict=False))
    return first[: sum(itertools.takewhile(bool, same))]


def _common_end(stems: Collection[str]) -> str:
    return _common_start([stem[::-1] for stem in stems])[::-1]


def _joined_by(rule: StemRule, images: Collection[str], masks: Collection[str]) -> dict[str, str]:
    """Return the image of each mask that a rule joins, by stem."""
    by_middle = {_middle(image, rule.image): image for image in images}
    middles = {mask: _middle(mask, rule.mask) for mask in masks}
    return {mask: by_middle[part] for mask, part in middles.items() if part and part in by_middle}


def _middle(stem: str, around: tuple[str, str]) -> str:
    """Return a stem without what stands around its middle; empty if that is not there."""
    before, after = around
    fits = stem.startswith(before) and stem.endswith(after)
    return stem[len(before) : len(stem) - len(after)] if fits else ""


def _is_plain(rule: StemRule, pairs: Mapping[str, str]) -> bool:
    """Return whether a rule takes off words or marks only, and splits no number or word."""
    for one, other, place in (
        (rule.image[0], rule.mask[0], "before"),
        (rule.image[1], rule.mask[1], "after"),
    ):
        if one and other:
            start = _common_start([one, other])
            rests = one[len(start) :], other[len(start) :]
            if all(sum(map(str.isalpha, rest)) < _FEWEST for rest in rests):
                return False
        # Only a channel, as in case_003_0000, is a number of its own.
        words = [any(map(str.isalpha, affix)) for affix in (one, other) if affix]
        if place == "before" and not all(words):
            return False
    for mask, image in pairs.items():
        for stem, (before, after) in ((image, rule.image), (mask, rule.mask)):
            middle = _middle(stem, (before, after))
            if not (
                _is_clear(before, middle, len(before)) and _is_clear(middle, after, len(after))
            ):
                return False
    return True


def _is_clear(left: str, right: str, letters: int) -> bool:
    """Return whether it is clear that a word ends between two parts of a stem."""
    if not left or not right:
        return True
    one, other = left[-1], right[0]
    if not (one.isalnum() and other.isalnum()):
        return True
    if one.isdigit() or other.isdigit():
        return one.isdigit() != other.isdigit()
    return letters >= _CLEAR or (one.islower() and other.isupper())
