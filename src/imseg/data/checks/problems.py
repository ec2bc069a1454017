"""Everything that makes a data set unfit for training, for files and arrays alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imseg.data.checks.mask_fit import find_misfits
from imseg.data.files.listing import counted
from imseg.data.folder.facts import ImageFacts, Survey
from imseg.data.images.decoding import UnreadablePicture
from imseg.errors import Finding, ImsegError, ImsegErrors, and_more
from imseg.types import TargetSpec

MIN_SIDE = 16
"""Fewest pixels a picture may have on a side."""


def find_problems(
    survey: Survey, spec: TargetSpec | None, *, labeled: int, listed: bool = False
) -> list[Finding]:
    """Return every error that shows in the facts.

    Args:
        survey: The facts about all readable pictures.
        spec: What mask values mean; None if that could not be found out.
        labeled: Labeled pairs, unreadable ones included.
        listed: Whether the user listed the classes.
    """
    findings = [*_too_few(labeled), *_sizes_differ(survey), *_too_small(survey), *_leaks(survey)]
    if spec is not None:
        findings += find_misfits(survey, spec, listed=listed)
    return findings


def unreadable(problems: Sequence[tuple[str, UnreadablePicture]]) -> list[Finding]:
    """Return one error for all files that cannot be read."""
    if not problems:
        return []
    names = tuple(name for name, _ in problems)
    first = problems[0][1]
    if len(problems) == 1:
        what, got = f"{names[0]} {first.reason}.", ""
    else:
        what = f"{len(problems)} files cannot be read."
        got = and_more([f"{name} {error.reason}" for name, error in problems]) + "."
    hints = list(dict.fromkeys(error.hint for _, error in problems if error.hint))
    return [
        Finding(
            severity="error",
            what=what,
            expected=first.expected or "",
            got=got,
            hint="\n".join(hints),
            files=names,
        )
    ]


def as_findings(error: ImsegError, files: tuple[str, ...] = ()) -> list[Finding]:
    """Return what an error, or each of several errors, says as findings."""
    errors = error.errors if isinstance(error, ImsegErrors) else (error,)
    return [
        Finding(
            severity="error",
            what=one.what,
            expected=one.expected or "",
            got=one.got or "",
            hint=one.hint or "",
            files=files,
        )
        for one in errors
    ]


def redundant(survey: Survey) -> frozenset[str]:
    """Return the names of unlabeled pictures that are also labeled or in val; they are left out."""
    known = {facts.digest for facts in (*survey.labeled, *survey.val)}
    return frozenset(facts.name for facts in survey.unlabeled if facts.digest in known)


def same_pictures(
    one: Iterable[ImageFacts], other: Iterable[ImageFacts]
) -> list[tuple[ImageFacts, ImageFacts]]:
    """Return the pairs of pictures of equal content, in the order of ``one``."""
    by_digest = {facts.digest: facts for facts in other}
    return [(facts, by_digest[facts.digest]) for facts in one if facts.digest in by_digest]


def _too_few(labeled: int) -> list[Finding]:
    if labeled != 1:
        return []
    return [
        Finding(
            severity="error",
            what="There is one labeled image only.",
            expected="at least 2, better 10 or more: some to learn from, some to choose by.",
            got="1.",
            hint="label more images.",
        )
    ]


def _sizes_differ(survey: Survey) -> list[Finding]:
    wrong = [
        (facts, mask) for facts in survey.every() for mask in facts.masks if mask.size != facts.size
    ]
    if not wrong:
        return []
    facts, mask = wrong[0]
    got = f"{mask.name} is {size_in_words(mask.size)}, {facts.name} is {size_in_words(facts.size)}"
    one = len(wrong) == 1
    turned = all(mask.size == facts.size[::-1] for facts, mask in wrong)
    return [
        Finding(
            severity="error",
            what=f"{counted(len(wrong), 'mask')} "
            + ("does not fit its image." if one else "do not fit their images."),
            expected="a mask of the same height and width as its image.",
            got=got + (f" (and {len(wrong) - 1} more)." if not one else "."),
            hint=("turn the masks by 90 degrees" if turned else "export the masks at full size")
            + (", or remove the pair." if one else f", or remove the {len(wrong)} pairs."),
            files=tuple(mask.name for _, mask in wrong),
        )
    ]


def _too_small(survey: Survey) -> list[Finding]:
    small = [facts for facts in survey.every() if min(facts.size) < MIN_SIDE]
    if not small:
        return []
    return [
        Finding(
            severity="error",
            what=f"{counted(len(small), 'image')} {'is' if len(small) == 1 else 'are'} too small.",
            expected=f"at least {MIN_SIDE} pixels on each side.",
            got=and_more([f"{facts.name} is {size_in_words(facts.size)}" for facts in small]) + ".",
            hint="remove them, or use larger pictures.",
            files=tuple(facts.name for facts in small),
        )
    ]


def _leaks(survey: Survey) -> list[Finding]:
    """Return an error for each pair of splits that share pictures and must not."""
    test_hint = "remove them from one of the two; test pictures must never be trained on"
    val_hint = "remove them from one of the two; what is learned from cannot be chosen by"
    pairs = (
        ("labeled", survey.labeled, "test", survey.test, test_hint),
        ("unlabeled", survey.unlabeled, "test", survey.test, test_hint),
        ("val", survey.val, "test", survey.test, test_hint),
        ("labeled", survey.labeled, "val", survey.val, val_hint),
    )
    findings = []
    for one, first, other, second, hint in pairs:
        shared = same_pictures(first, second)
        if not shared:
            continue
        names = [f"{left.name} = {right.name}" for left, right in shared]
        findings.append(
            Finding(
                severity="error",
                what=f"{counted(len(shared), 'image')} {'is' if len(shared) == 1 else 'are'} "
                f"in {one} and in {other}.",
                expected="different images, compared by content.",
                got=and_more(names) + ".",
                hint=hint + ".",
                files=tuple(facts.name for pair in shared for facts in pair),
            )
        )
    return findings


def size_in_words(size: tuple[int, int]) -> str:
    """Return height and width in words."""
    return f"{size[0]}x{size[1]}"
