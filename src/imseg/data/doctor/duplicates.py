"""Findings about pictures that show nearly the same, within and across splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imseg.data.doctor.diagnosis import Diagnosis
from imseg.data.doctor.near import (
    NearPair,
    Vectors,
    groups_of,
    near_pairs,
    tolerance_for,
    vectors_of,
)
from imseg.data.facts import Facts, Survey
from imseg.data.listing import counted
from imseg.errors import Finding, and_more

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


def find_near_duplicates(survey: Survey) -> list[Diagnosis]:
    """Return what to say about near duplicates; exact ones are reported by their content.

    Args:
        survey: The facts about all pictures.
    """
    splits = {
        name: [facts for facts in members if facts.look is not None]
        for name, members in survey.splits().items()
    }
    looks = [facts.look for members in splits.values() for facts in members]
    every = vectors_of([look for look in looks if look is not None])
    ends = np.cumsum([len(members) for members in splits.values()])
    vectors = dict(zip(splits, np.split(every, ends[:-1]), strict=True))
    tolerance = tolerance_for(every)
    diagnoses = []
    for one, other, severity in _ACROSS:
        pairs = near_pairs(vectors[other], vectors[one], tolerance=tolerance)
        finding = _across(pairs, splits, one, other=other, severity=severity)
        diagnoses += [Diagnosis(finding)] if finding else []
    for name, members in splits.items():
        finding = _within(name, members, vectors[name], tolerance=tolerance, val=bool(survey.val))
        diagnoses += [Diagnosis(finding)] if finding else []
    return diagnoses


def _across(
    pairs: Sequence[NearPair],
    splits: dict[str, list[Facts]],
    one: str,
    *,
    other: str,
    severity: str,
) -> Finding | None:
    """Return a finding about pictures of ``other`` that are nearly in ``one``, too."""
    nearest: dict[int, tuple[Facts, Facts]] = {}
    for pair in pairs:
        here, there = splits[other][pair.one], splits[one][pair.other]
        if here.digest != there.digest:
            nearest.setdefault(pair.one, (here, there))
    if not nearest:
        return None
    shown = [f"{here.name} ~ {there.name}" for here, there in nearest.values()]
    count = len(nearest)
    return Finding(
        severity=severity,
        what=f"{counted(count, 'image')} in {other} {'is' if count == 1 else 'are'} nearly the "
        f"same as an image in {one}.",
        why=_WHY[other],
        got=and_more(shown) + ".",
        hint=_KEEP_APART,
        files=tuple(name for pair in nearest.values() for name in (pair[0].name, pair[1].name)),
    )


def _within(
    split: str, members: Sequence[Facts], vectors: Vectors, *, tolerance: float, val: bool
) -> Finding | None:
    """Return a finding about groups of pictures of one split that show nearly the same."""
    near = [(pair.one, pair.other) for pair in near_pairs(vectors, tolerance=tolerance)]
    crossing = split == "labeled" and not val
    if crossing:
        # A fifth of them is set aside to choose by, and exact copies cross that border, too.
        near += _exact_pairs(members)
    else:
        near = [(one, other) for one, other in near if members[one].digest != members[other].digest]
    groups = groups_of(near)
    if not groups:
        return None
    count = sum(len(group) for group in groups)
    shown = [and_more([members[index].name for index in group], most=2) for group in groups]
    why = {
        "labeled": "a group teaches little more than one image of it.",
        "unlabeled": "a group teaches little more than one image of it.",
        "val": "a group counts several times in the choice.",
        "test": "a group counts several times in the score.",
    }[split]
    hint = "look at some; thin out frames of a video, and spend the next labels on other scenes."
    if crossing:
        why = (
            "there is no val, so a fifth of labeled will be set aside to choose by, and a group "
            "may lie on both sides: networks would be chosen by how well they remember."
        )
        hint = "put pairs of other scenes into val/images and val/masks, or remove the copies."
    return Finding(
        severity="warning" if crossing else "note",
        what=f"{counted(count, 'image')} in {split} form {counted(len(groups), 'group')} that "
        f"{'shows' if len(groups) == 1 else 'show'} nearly the same.",
        why=why,
        got="; ".join(shown[:3])
        + (f" (and {len(groups) - 3} more groups)" * (len(groups) > 3))
        + ".",
        hint=hint,
        files=tuple(members[index].name for group in groups for index in group),
    )


def _exact_pairs(members: Sequence[Facts]) -> list[tuple[int, int]]:
    first: dict[str, int] = {}
    places = [(first.setdefault(facts.digest, index), index) for index, facts in enumerate(members)]
    return [(one, other) for one, other in places if one != other]
