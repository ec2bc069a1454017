"""What a check is and looks at, and what makes a data set unfit, for files and arrays alike."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from imseg.data.files.listing import subject
from imseg.data.folder.config import FILE_NAME, FolderConfig, TaskWord
from imseg.data.folder.facts import ImageFacts, MaskFacts, Survey
from imseg.data.folder.folder_layout import FolderLayout
from imseg.data.images import decoding
from imseg.data.masks import io
from imseg.data.masks.classes import MINUS_ONE
from imseg.data.masks.recoding import Recode
from imseg.data.masks.recognize import palette_of
from imseg.errors import Finding, ImsegError, and_more, parts_of
from imseg.types import Coding, Color, Reading, TargetSpec

Mending = Literal["unreadable", "sizes", "turns", "values", "copies"]
"""What a program does about a finding; see ``MENDERS`` in ``repair``."""

ANY_CODING: tuple[Coding, ...] = get_args(Coding)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderScan:
    """What one look at every file of a data folder, or at arrays, gave."""

    layout: FolderLayout
    """The files or arrays, by split."""
    config: FolderConfig
    """``imseg.toml``; the defaults if it is missing or wrong."""
    task: TaskWord | None
    """The task that the caller or ``imseg.toml`` asks for; None: recognized from the masks."""
    survey: Survey
    """The facts about everything that can be read."""
    spec: TargetSpec | None
    """What masks mean; None if that could not be found out."""
    reading: Reading | None
    """How pictures become bytes; None if they are too different."""
    failures: tuple[Finding, ...]
    """Errors: what could not be read or understood."""
    working_size: tuple[int, int] | float | None = None
    """Height and width at which networks will see every image, or the scale at which they will see
    windows of images; None: that is not decided yet."""

    @property
    def redundant(self) -> frozenset[str]:
        """Names of unlabeled pictures that are also labeled or in val; they are left out."""
        known = {facts.digest for facts in (*self.survey.labeled, *self.survey.val)}
        return frozenset(facts.name for facts in self.survey.unlabeled if facts.digest in known)


class Check(NamedTuple):
    """One thing to look for in data whose files were all looked at."""

    find: Callable[..., Iterable[Finding]]
    """Yields the findings about a scan; with ``codings`` it is called with the spec, too."""
    codings: tuple[Coding, ...] = ()
    """The codings of masks for which to look; empty: always, even if there is no spec."""
    mends: Mending | None = None
    """What a program can do about its findings; None: a person must."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskValueFinding(Finding):
    """A finding about the values of masks."""

    recode: Recode | None = None
    """What mends the values of each of the files; None: a person must."""
    doubt: Finding | None = None
    """What is to be said about the mended files; None: nothing."""
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


def run_checks(checks: Iterable[Check], found: FolderScan) -> Iterator[Finding]:
    """Yield all findings, in the order of the checks."""
    for check in checks:
        if not check.codings:
            yield from check.find(found)
        elif found.spec is not None and found.spec.coding in check.codings:
            yield from check.find(found, found.spec)


def error(
    what: str, *, expected: str = "", got: str = "", hint: str = "", files: Iterable[str] = ()
) -> Finding:
    """Return a finding without which nothing can be trained."""
    return Finding(
        severity="error", what=what, expected=expected, got=got, hint=hint, files=tuple(files)
    )


def warning(
    what: str, *, why: str = "", got: str = "", hint: str = "", files: Iterable[str] = ()
) -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(severity="warning", what=what, why=why, got=got, hint=hint, files=tuple(files))


MIN_SIDE = 16
"""Fewest pixels a picture may have on a side."""

_WANTED = {
    "values": "whole numbers, as in labeled/masks.",
    "colors": "colors, as in labeled/masks.",
    "planes": "whole numbers: 0, and one other where the label is.",
    "objects": "whole numbers: 0, and one for each object.",
    "numbers": "numbers, as in labeled/masks.",
}


def errors_of(found: FolderScan) -> list[Finding]:
    """Return everything that keeps a scan from becoming a data set."""
    return [*found.failures, *run_checks(FITNESS, found)]


def unreadable(problems: Sequence[tuple[str, decoding.UnreadablePicture]]) -> list[Finding]:
    """Return one error for all files that cannot be read."""
    if not problems:
        return []
    reasons = [f"{name} {problem.reason}" for name, problem in problems]
    what, got = f"{reasons[0]}.", ""
    if len(problems) > 1:
        what, got = f"{len(problems)} files cannot be read.", and_more(reasons) + "."
    hint = "\n".join(dict.fromkeys(problem.hint for _, problem in problems if problem.hint))
    expected, files = problems[0][1].expected or "", [name for name, _ in problems]
    return [error(what, expected=expected, got=got, hint=hint, files=files)]


def as_findings(raised: ImsegError, files: tuple[str, ...] = ()) -> list[Finding]:
    """Return what an error, or each of several errors, says as findings."""
    return [
        error(files=files, **{name: text or "" for name, text in parts.items()})
        for parts in parts_of(raised)
    ]


def mask_problem(mask: MaskFacts, spec: TargetSpec) -> ImsegError | None:
    """Return what is wrong with one mask, if anything is."""
    if not _has_form(mask, spec):
        return ImsegError(
            f"{mask.name} holds {_holds(mask)}.",
            expected=_WANTED[spec.coding],
            hint=MINUS_ONE if mask.least == -1 else "save it as the labeled masks are saved.",
        )
    if spec.coding == "planes" and mask.objects > 1:
        return ImsegError(
            f"{mask.name} holds {mask.distinct} different values.",
            expected="at most two: 0, and one other where the label is.",
            got=_values_of(mask, spec) + ".",
            hint="threshold it at half, and save it as PNG.",
        )
    if strange := io.unknown_values(mask.counted_as(spec.coding), spec):
        what = f"{mask.name} holds values that no labeled mask has."
        return io.UnknownMaskValues(strange, spec, what)
    return None


def _has_form(mask: MaskFacts, spec: TargetSpec) -> bool:
    if spec.coding in ("colors", "numbers"):
        return mask.form in (spec.coding, "values")
    return mask.whole


def _holds(mask: MaskFacts) -> str:
    below = mask.form == "values" and mask.least < 0
    return io.HOLDS[mask.form] + " below 0" * below


def _too_few(found: FolderScan) -> Iterator[Finding]:
    if len(found.layout.labeled) == 1:
        yield error(
            "There is one labeled image only.",
            expected="at least 2, better 10 or more: some to learn from, some to choose by.",
            got="1.",
            hint="label more images.",
        )


def _sizes_differ(found: FolderScan) -> Iterator[Finding]:
    every = found.survey.every()
    wrong = [(facts, mask) for facts in every for mask in facts.masks if mask.size != facts.size]
    found_as: dict[str, list[tuple[ImageFacts, MaskFacts]]] = defaultdict(list)
    for facts, mask in wrong:
        lies = mask.size == facts.size[::-1]
        way = "stored" if facts.orientation in decoding.ON_THEIR_SIDE else "lying"
        found_as[way if lies else "other"].append((facts, mask))
    if stored := found_as["stored"]:
        turns = sorted({facts.orientation for facts, _ in stored})
        ways = decoding.ways_of_turning(turns)
        exif = f"EXIF orientation {' or '.join(map(str, turns))}"
        yield _of_other_size(
            stored,
            got=f"\nBy its {exif} the image is {ways} on reading; the mask was drawn on the "
            "picture as it is stored.",
            hint=f"turn the masks in the same way, so that they are {ways}; imseg check DATA "
            "--fix DIR writes a copy in which they are. Or",
        )
    if rest := found_as["other"] + found_as["lying"]:
        hint = (
            "export the masks at full size" if found_as["other"] else "turn the masks by 90 degrees"
        )
        yield _of_other_size(rest, hint=f"{hint}, or")


def _of_other_size(
    wrong: Sequence[tuple[ImageFacts, MaskFacts]], *, got: str = "", hint: str
) -> Finding:
    """Return a finding about masks that have not the size of their images."""
    (facts, mask), more = wrong[0], len(wrong) - 1
    return error(
        subject(len(wrong), "mask", "does not fit its image.", "do not fit their images."),
        expected="a mask of the same height and width as its image.",
        got=f"{mask.name} is {size_in_words(mask.size)}, {facts.name} is "
        + size_in_words(facts.size)
        + (f" (and {more} more)." if more else ".")
        + got,
        hint=hint + (f" remove the {len(wrong)} pairs." if more else " remove the pair."),
        files=(mask.name for _, mask in wrong),
    )


def _too_small(found: FolderScan) -> Iterator[Finding]:
    if small := [facts for facts in found.survey.every() if min(facts.size) < MIN_SIDE]:
        yield error(
            f"{subject(len(small), 'image')} too small.",
            expected=f"at least {MIN_SIDE} pixels on each side.",
            got=and_more([f"{facts.name} is {size_in_words(facts.size)}" for facts in small]) + ".",
            hint="remove them, or use larger pictures.",
            files=(facts.name for facts in small),
        )


_LEAKS = (
    ("labeled", "test", "test pictures must never be trained on"),
    ("unlabeled", "test", "test pictures must never be trained on"),
    ("val", "test", "test pictures must never be trained on"),
    ("labeled", "val", "what is learned from cannot be chosen by"),
)


def _leaks(found: FolderScan) -> Iterator[Finding]:
    """Yield an error for each pair of splits that share pictures and must not."""
    splits = found.survey.splits()
    for one, other, why in _LEAKS:
        names = {facts.digest: facts.name for facts in splits[other]}
        if shared := [(f.name, names[f.digest]) for f in splits[one] if f.digest in names]:
            yield error(
                f"{subject(len(shared), 'image')} in {one} and in {other}.",
                expected="different images, compared by content.",
                got=and_more([f"{left} = {right}" for left, right in shared]) + ".",
                hint=f"remove them from one of the two; {why}.",
                files=(name for pair in shared for name in pair),
            )


def _masks(found: FolderScan) -> list[MaskFacts]:
    """Return all masks, split by split."""
    return [mask for facts in found.survey.every() for mask in facts.masks]


def _of_other_form(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    if wrong := [mask for mask in _masks(found) if not _has_form(mask, spec)]:
        verb = "is" if len(wrong) == 1 else "are"
        yield error(
            f"{subject(len(wrong), 'mask')} not of the kind that {verb} needed.",
            expected=_WANTED[spec.coding],
            got=and_more([f"{mask.name} holds {_holds(mask)}" for mask in wrong]) + ".",
            hint=MINUS_ONE if wrong[0].least == -1 else "save all masks in the same way.",
            files=(mask.name for mask in wrong),
        )


def _smeared_planes(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    if wrong := [mask for mask in _masks(found) if mask.whole and mask.objects > 1]:
        yield error(
            f"{subject(len(wrong), 'mask', 'holds', 'hold')} more than two values, so where the "
            "label is cannot be told.",
            expected=f"at most two{'' if spec.void is None else ' beside void'}: 0, and one other "
            "where the label is.",
            got=and_more([f"{mask.name} holds {_values_of(mask, spec)}" for mask in wrong]) + ".",
            hint="threshold them at half (imseg check DATA --fix DIR writes a repaired copy), or "
            f"set void in {FILE_NAME} if one value marks undecided pixels.",
            files=(mask.name for mask in wrong),
        )


def _unknown_values(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    """Yield an error for each of val and test whose masks hold values that no labeled mask has."""
    for name, split in (("val", found.survey.val), ("test", found.survey.test)):
        masks = [facts.mask for facts in split if facts.mask is not None]
        known = [(mask, io.unknown_values(mask.counted_as(spec.coding), spec)) for mask in masks]
        strange = [(mask, values) for mask, values in known if values and _has_form(mask, spec)]
        shown = []
        for mask, values in strange:
            texts = [io.value_text(value, spec.coding) for value in values]
            shown.append(f"{mask.name} has {and_more(texts, most=5)}")
        if strange:
            yield error(
                f"{subject(len(strange), 'mask', f'in {name} holds', f'in {name} hold')} values "
                "that no labeled mask has.",
                expected=io.describe_values(spec),
                got=and_more(shown) + ".",
                hint=f"list the values under [classes] in {FILE_NAME}, set void there, or label "
                "an image that has them.",
                files=(mask.name for mask, _ in strange),
            )


def _other_palettes(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    """Yield an error if a value has different colors in different indexed files."""
    if not spec.indexed or found.config.listed:
        return
    usual: dict[int, tuple[Color, MaskFacts]] = {}
    strange: dict[str, str] = {}
    for mask in _masks(found):
        for value, color in palette_of([mask]).items():
            first, source = usual.setdefault(value, (color, mask))
            if color != first and value != spec.void:
                text = f"{value} is {_hex(first)} in {source.name}, {_hex(color)} in {mask.name}"
                strange.setdefault(mask.name, text)
    if strange:
        yield error(
            f"{subject(len(strange), 'indexed mask', 'has', 'have')} other colors for the same "
            "values, so the values may mean different things.",
            expected="one palette in all masks.",
            got=and_more(list(strange.values()), most=2) + ".",
            hint="convert the masks to RGB, so that colors count; or list the values under "
            f"[classes] in {FILE_NAME}, if they are right.",
            files=strange,
        )


def _values_of(mask: MaskFacts, spec: TargetSpec) -> str:
    values = [str(value) for value in mask.counts if value != spec.void]
    return and_more(values, most=6)


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def size_in_words(size: tuple[int, int]) -> str:
    """Return height and width in words."""
    return f"{size[0]}x{size[1]}"


FITNESS = (
    Check(_too_few),
    Check(_sizes_differ, mends="sizes"),
    Check(_too_small),
    Check(_leaks, mends="copies"),
    Check(_of_other_form, ANY_CODING),
    Check(_smeared_planes, ("planes",)),
    Check(_unknown_values, ANY_CODING),
    Check(_other_palettes, ANY_CODING),
)
"""All checks of this kind, in the order in which they are told."""
