"""Findings about pictures that look unlike those they are used with, or show nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imseg.data.doctor.diagnosis import Diagnosis
from imseg.data.doctor.unlike import Unlike, find_unlike, traits_of
from imseg.data.facts import Facts, Survey
from imseg.data.listing import counted
from imseg.errors import Finding, and_more

_SHOWN = 5


def find_odd_pictures(survey: Survey) -> list[Diagnosis]:
    """Return what to say about blank pictures and about such as look unlike the others.

    Args:
        survey: The facts about all pictures.
    """
    splits = {
        name: [facts for facts in members if not is_blank(facts)]
        for name, members in survey.splits().items()
    }
    blank = [facts for facts in survey.every() if is_blank(facts)]
    labeled = splits["labeled"]
    # The unit of brightness differs with the depth; what is rarer has findings of its own.
    deep = sum(facts.depth != "uint8" for facts in labeled) > len(labeled) / 2
    alike = {
        name: [facts for facts in members if (facts.depth != "uint8") == deep]
        for name, members in splits.items()
    }
    traits = {
        name: traits_of(
            [facts.look for facts in members if facts.look], [facts.size for facts in members]
        )
        for name, members in alike.items()
    }
    findings = [_blank(blank)] if blank else []
    for name in ("unlabeled", "val", "test"):
        found = find_unlike(traits[name], traits["labeled"], deep=deep)
        if found:
            findings.append(_unlike_labeled(name, alike[name], found))
    every = np.concatenate([traits[name] for name in ("labeled", "unlabeled", "val", "test")])
    alone = find_unlike(traits["labeled"], every, deep=deep, among=True)
    if alone:
        findings.append(_unlike_all(alike["labeled"], alone))
    return [Diagnosis(finding) for finding in findings]


def is_blank(facts: Facts) -> bool:
    """Return whether a picture has one value everywhere, or no look was taken of it."""
    return facts.look is None or facts.look.contrast == 0


def _blank(blank: Sequence[Facts]) -> Finding:
    names = tuple(facts.name for facts in blank)
    one = len(names) == 1
    return Finding(
        severity="warning",
        what=f"{counted(len(names), 'image')} {'is' if one else 'are'} blank: one value "
        "everywhere.",
        why="there is nothing to learn on them, and a failed exposure may hide behind them.",
        got=and_more(names) + ".",
        hint="look at them, and remove them if nothing is meant to be there.",
        files=names,
    )


def _unlike_labeled(split: str, members: Sequence[Facts], found: Sequence[Unlike]) -> Finding:
    one = len(found) == 1
    why = {
        "unlabeled": "what networks say about such images is least reliable, and they learn from "
        "it.",
        "val": "choosing by such images says little about the labeled kind.",
        "test": "the score mixes how well networks segment with how well they adapt.",
    }[split]
    share = f" of {len(members)}" if len(found) > 1 else ""
    return Finding(
        severity="warning",
        what=f"{len(found)}{share} {split} image{'' if one else 's'} "
        f"look{'s' if one else ''} unlike every labeled one.",
        why=why,
        got=_described(members, found),
        hint="look at them; label one of each kind, or remove what does not belong.",
        files=tuple(members[each.index].name for each in found),
    )


def _unlike_all(members: Sequence[Facts], found: Sequence[Unlike]) -> Finding:
    one = len(found) == 1
    return Finding(
        severity="warning",
        what=f"{counted(len(found), 'labeled image')} look{'s' if one else ''} unlike every "
        "other image.",
        why="a label spent on a wrong file teaches what is never needed.",
        got=_described(members, found),
        hint="look at them; add more images of their kind, or remove what does not belong.",
        files=tuple(members[each.index].name for each in found),
    )


def _described(members: Sequence[Facts], found: Sequence[Unlike]) -> str:
    """Return names with what is odd about them; compared with the picture most like each."""
    texts = [f"{members[each.index].name} ({each.words})" for each in found]
    return and_more(texts, most=_SHOWN) + "."
