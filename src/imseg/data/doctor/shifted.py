"""Class numbers that are one too high or one too low."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from imseg.data.doctor.diagnosis import Cure, Diagnosis, SplitMask
from imseg.data.doctor.recode import Exchange
from imseg.data.listing import counted
from imseg.errors import Finding, and_more

_FEWEST = 2


def find_shifted(
    masks: Sequence[SplitMask], *, void: int | None, listed: Collection[object]
) -> list[Diagnosis]:
    """Return diagnoses of class numbers that seem to be off by one.

    Only what is unambiguous gets a cure: all masks against the classes that the user names, or all
    masks of val or test against the labeled ones. Within one split it can only be guessed.

    Args:
        masks: Every mask, smeared ones left out.
        void: A value that counts as no class.
        listed: The classes that the user names.
    """
    known = [
        (mask, frozenset(value for value in mask.facts.counts if value != void)) for mask in masks
    ]
    if any(mask.label is not None or mask.facts.form != "values" for mask, _ in known):
        return []
    known = [(mask, values) for mask, values in known if values]
    named = {value for value in listed if isinstance(value, int)}
    if named:
        return _against_names(known, named)
    labeled = [(mask, values) for mask, values in known if mask.split == "labeled"]
    usual = frozenset[int]().union(*(values for _, values in labeled))
    diagnoses = []
    for split in ("val", "test"):
        others = [(mask, values) for mask, values in known if mask.split == split]
        diagnoses += _against_labeled(others, usual, split)
    return diagnoses + _within(labeled)


_Known = Sequence[tuple[SplitMask, frozenset[int]]]


def _against_names(known: _Known, named: set[int]) -> list[Diagnosis]:
    """Return a diagnosis if all masks are off by one from the classes that are named."""
    every = frozenset[int]().union(*(values for _, values in known))
    step = _step_to(every, named) if len(named) > 1 else 0
    if not step:
        return []
    names = tuple(mask.facts.name for mask, _ in known)
    return [
        _diagnosis(
            names,
            every,
            step=step,
            what="The class numbers in the masks are off by one from those in imseg.toml.",
            expected=f"{_span(named)}, the classes that imseg.toml names.",
        )
    ]


def _against_labeled(others: _Known, usual: frozenset[int], split: str) -> list[Diagnosis]:
    """Return a diagnosis if the masks of a split are off by one from the labeled ones."""
    every = frozenset[int]().union(*(values for _, values in others))
    if len(others) < _FEWEST or len(every) < 2 or not usual:
        return []
    step = _step_to(every, usual) if len(usual) == max(usual) - min(usual) + 1 else 0
    if not step:
        return []
    return [
        _diagnosis(
            tuple(mask.facts.name for mask, _ in others),
            every,
            step=step,
            what=f"The class numbers in {split} are off by one from those in labeled.",
            expected=f"{_span(usual)}, as in labeled.",
        )
    ]


def _within(labeled: _Known) -> list[Diagnosis]:
    """Return a diagnosis if some labeled masks seem to count from 0, and others from 1."""
    every = frozenset[int]().union(*(values for _, values in labeled))
    if len(every) < 3 or (min(every), max(every)) != (0, len(every) - 1):
        return []
    last = max(every)
    if any({0, last} <= values for _, values in labeled):
        return []
    from_one = [mask.facts.name for mask, values in labeled if last in values]
    from_zero = [mask.facts.name for mask, values in labeled if 0 in values]
    if min(len(from_one), len(from_zero)) < _FEWEST:
        return []
    fewer = min(from_one, from_zero, key=len)
    finding = Finding(
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
    return [Diagnosis(finding)]


def _step_to(every: Collection[int], usual: Collection[int]) -> int:
    """Return by how much (1 or -1) values must move to be the usual ones; 0: they need not."""
    if not every or set(every) <= set(usual):
        return 0
    for step in (-1, 1):
        ends = min(every) + step == min(usual) and max(every) + step == max(usual)
        if ends and {value + step for value in every} <= set(usual):
            return step
    return 0


def _diagnosis(
    names: tuple[str, ...], every: Collection[int], *, step: int, what: str, expected: str
) -> Diagnosis:
    finding = Finding(
        severity="error",
        what=what,
        why="every pixel would be learned or scored as the class next to its own.",
        expected=expected,
        got=f"{_span(every)} in {and_more(names)}.",
        hint=f"--fix writes a copy with every number moved by {step:+d}.",
        files=names,
    )
    moved = Exchange({value: value + step for value in sorted(every)})
    cures = tuple(Cure(name, moved, f"class numbers were off by {-step:+d}") for name in names)
    return Diagnosis(finding, cures)


def _span(values: Collection[int]) -> str:
    ordered = sorted(values)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]} to {ordered[-1]}"
    return and_more([str(value) for value in ordered], most=8)
