"""How the pictures of a data set become bytes, found out from their facts."""

from __future__ import annotations

from collections import Counter

from imseg.data.facts import Facts, Survey
from imseg.data.listing import counted
from imseg.data.ranges import estimate_ranges
from imseg.errors import Finding, and_more
from imseg.types import Reading

_DEPTHS = {"uint8": "8-bit", "uint16": "16-bit", "float32": "float"}


def find_reading(survey: Survey, *, pages: bool) -> tuple[Reading | None, list[Finding]]:
    """Return how pictures become bytes, or an error about those that are unlike the others.

    8-bit pictures, gray and color, stay as they are; where both are there, all are read as color.
    Everything else must have one depth and the same channels; each channel is scaled by the range
    that it has over the labeled and unlabeled pictures, never those of val and test.

    Args:
        survey: The facts about all readable pictures.
        pages: Whether the pages of TIFF files are channels.
    """
    every = survey.every()
    if not every:
        return None, []
    if all(facts.plain for facts in every):
        channels = max(facts.channels for facts in every)
        return Reading(channels=channels, pages=pages), []
    kinds = Counter(_kind(facts) for facts in every)
    (usual, _), *others = kinds.most_common()
    if others:
        return None, [_unlike(every, usual)]
    samples = [
        facts.sample for facts in (*survey.labeled, *survey.unlabeled) if facts.sample is not None
    ]
    if not samples:
        return None, []
    low, high = estimate_ranges(samples)
    depth, channels = usual
    return Reading(channels=channels, depth=depth, pages=pages, low=low, high=high), []


def kind_in_words(facts: Facts) -> str:
    """Return depth and channels of a picture: ``8-bit gray``, ``16-bit with 5 channels``."""
    channels = {1: "gray", 3: "color"}.get(facts.channels, f"with {facts.channels} channels")
    return f"{_DEPTHS.get(facts.depth, facts.depth)} {channels}"


def _kind(facts: Facts) -> tuple[str, int]:
    return facts.depth, facts.channels


def _unlike(every: list[Facts], usual: tuple[str, int]) -> Finding:
    typical = next(facts for facts in every if _kind(facts) == usual)
    odd = [
        facts for facts in every if _kind(facts) != usual and not (facts.plain and typical.plain)
    ]
    shown = [f"{facts.name} is {kind_in_words(facts)}" for facts in odd]
    return Finding(
        severity="error",
        what=f"{counted(len(odd), 'image')} {'is' if len(odd) == 1 else 'are'} not of the kind "
        f"that the other {len(every) - len(odd)} are.",
        expected=f"{kind_in_words(typical)}, as {typical.name}: only 8-bit gray and color mix.",
        got=and_more(shown) + ".",
        hint="save all images with the same depth and channels, or remove those.",
        files=tuple(facts.name for facts in odd),
    )
