"""What is worth knowing about a data set, though it can be trained on."""

from __future__ import annotations

from imseg.data.facts import Facts, Survey
from imseg.data.folder import FolderScan
from imseg.data.listing import counted
from imseg.data.mask_cautions import find_mask_cautions, warning
from imseg.errors import Finding, and_more

FEW = 10
"""Fewer labeled images are called few."""


def find_cautions(found: FolderScan) -> list[Finding]:
    """Return every warning about a folder that was looked at."""
    survey = found.survey
    cautions = [note for note in found.layout.findings if note.severity == "warning"]
    cautions += _doubled(survey) + _left_out(found) + _mixed_channels(survey)
    cautions += _what_is_missing(found)
    if found.spec is not None:
        cautions += find_mask_cautions(found, found.spec)
    return cautions


def _doubled(survey: Survey) -> list[Finding]:
    cautions = []
    for name, split in survey.splits().items():
        first: dict[str, Facts] = {}
        again = []
        for facts in split:
            if first.setdefault(facts.digest, facts) is not facts:
                again.append((first[facts.digest], facts))
        if not again:
            continue
        masks_differ = [
            (one, other)
            for one, other in again
            if [mask.digest for mask in one.masks] != [mask.digest for mask in other.masks]
        ]
        got = and_more([f"{one.name} = {other.name}" for one, other in again]) + "."
        if masks_differ:
            got += f" {counted(len(masks_differ), 'pair')} with masks that differ."
        cautions.append(
            warning(
                f"{counted(len(again), 'image')} in {name} "
                f"{'is' if len(again) == 1 else 'are'} there more than once.",
                got=got,
                hint="remove the copies, unless they are meant to count more.",
                files=tuple(other.name for _, other in again),
            )
        )
    return cautions


def _left_out(found: FolderScan) -> list[Finding]:
    names = tuple(sorted(found.redundant))
    if not names:
        return []
    return [
        warning(
            f"{counted(len(names), 'unlabeled image')} "
            f"{'is' if len(names) == 1 else 'are'} in labeled or val too, and left out.",
            got=and_more(names) + ".",
            files=names,
        )
    ]


def _mixed_channels(survey: Survey) -> list[Finding]:
    every = survey.every()
    gray = [facts for facts in every if facts.channels == 1]
    # Where others are among them, they are errors.
    if not gray or len(gray) == len(every) or not all(facts.plain for facts in every):
        return []
    colored = [facts for facts in every if facts.channels != 1]
    fewer = min(gray, colored, key=len)
    kind = "gray" if fewer is gray else "color"
    return [
        warning(
            f"{len(gray)} images are gray and {len(colored)} are color; all are read as color.",
            got=f"{kind}: {and_more([facts.name for facts in fewer])}.",
            hint="convert all to gray if color means nothing here.",
        )
    ]


def _what_is_missing(found: FolderScan) -> list[Finding]:
    layout = found.layout
    cautions = []
    if not layout.labeled:
        return []
    if not layout.unlabeled:
        hint = "put more images of the same kind into unlabeled/."
        cautions.append(warning("There are no unlabeled images to gain from.", hint=hint))
    if not layout.val:
        hint = "put pairs into val/images and val/masks if you have them."
        text = "There is no val; a fifth of the labeled images will be used to choose by."
        cautions.append(warning(text, hint=hint))
    if not layout.test:
        hint = "put pairs into test/images and test/masks to get an honest final score."
        cautions.append(warning("There is no test.", hint=hint))
    if 1 < len(layout.labeled) < FEW:
        text = f"There are only {len(layout.labeled)} labeled images; results will vary a lot."
        cautions.append(warning(text, hint=f"label at least {FEW}."))
    return cautions
