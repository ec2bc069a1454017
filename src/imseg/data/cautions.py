"""What is worth knowing about a data set, though it can be trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from imseg.data.config import FILE_NAME
from imseg.data.facts import Facts, Survey, total_counts
from imseg.data.folder import FolderScan
from imseg.data.layout import counted
from imseg.errors import Finding, and_more
from imseg.types import TargetSpec

RARE = 0.01
"""A class on a smaller share of the pixels is called rare."""

FEW = 10
"""Fewer labeled images are called few."""

_TINY_MASK_CLASSES = 20


def find_cautions(found: FolderScan) -> list[Finding]:
    """Return every warning about a folder that was looked at."""
    survey = found.survey
    cautions = [note for note in found.layout.findings if note.severity == "warning"]
    cautions += _doubled(survey) + _left_out(found) + _mixed_channels(survey)
    cautions += _what_is_missing(found)
    if found.spec is not None:
        cautions += _mask_files(found, found.spec)
        cautions += _empty_masks(survey, found.spec) + _imbalance(survey, found.spec)
        cautions += _classes_not_chosen_by(survey, found.spec)
    return cautions


def class_shares(counts: Mapping[int, int], spec: TargetSpec) -> dict[int, float]:
    """Return the share (0..1) that each class value has of the pixels that are not void."""
    total = sum(counts.get(value, 0) for value in spec.values)
    return {value: counts.get(value, 0) / total if total else 0.0 for value in spec.values}


def _warning(what: str, *, got: str = "", hint: str = "", files: tuple[str, ...] = ()) -> Finding:
    return Finding(severity="warning", what=what, got=got, hint=hint, files=files)


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
            if one.mask and other.mask and one.mask.counts != other.mask.counts
        ]
        got = and_more([f"{one.name} = {other.name}" for one, other in again]) + "."
        if masks_differ:
            got += f" {counted(len(masks_differ), 'pair')} with masks that differ."
        cautions.append(
            _warning(
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
        _warning(
            f"{counted(len(names), 'unlabeled image')} "
            f"{'is' if len(names) == 1 else 'are'} in labeled or val too, and left out.",
            got=and_more(names) + ".",
            files=names,
        )
    ]


def _mixed_channels(survey: Survey) -> list[Finding]:
    every = [facts for split in survey.splits().values() for facts in split]
    gray = [facts for facts in every if facts.channels == 1]
    if not gray or len(gray) == len(every):
        return []
    colored = [facts for facts in every if facts.channels != 1]
    fewer = min(gray, colored, key=len)
    kind = "gray" if fewer is gray else "color"
    return [
        _warning(
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
        cautions.append(_warning("There are no unlabeled images to gain from.", hint=hint))
    if not layout.val:
        hint = "put pairs into val/images and val/masks if you have them."
        text = "There is no val; a fifth of the labeled images will be used to choose by."
        cautions.append(_warning(text, hint=hint))
    if not layout.test:
        hint = "put pairs into test/images and test/masks to get an honest final score."
        cautions.append(_warning("There is no test.", hint=hint))
    if 1 < len(layout.labeled) < FEW:
        text = f"There are only {len(layout.labeled)} labeled images; results will vary a lot."
        cautions.append(_warning(text, hint=f"label at least {FEW}."))
    return cautions


def _mask_files(found: FolderScan, spec: TargetSpec) -> list[Finding]:
    """Return what is odd about the mask files themselves."""
    cautions = []
    masks = [pair.mask for pair in found.layout.labeled if isinstance(pair.mask, Path)]
    lossy = [mask.name for mask in masks if mask.suffix.lower() in (".jpg", ".jpeg")]
    if lossy and len(spec.values) > 2:
        text = "Masks are JPEG files, which invent values; each value became a class."
        got = f"{len(spec.values)} classes; {and_more(lossy)}."
        cautions.append(_warning(text, got=got, hint="save masks as PNG."))
    elif len(spec.values) > _TINY_MASK_CLASSES and not found.config.values:
        text = f"The masks hold {len(spec.values)} values, and each became a class."
        hint = f"if they number objects, give them one value; if not, name them in {FILE_NAME}."
        cautions.append(_warning(text, hint=hint))
    if 255 in spec.values and spec.void is None and len(spec.values) > 2 and spec.values[-2] < 64:
        text = "Value 255 became a class, but beside small numbers it often marks undecided pixels."
        cautions.append(_warning(text, hint=f"set void = 255 in {FILE_NAME} if it does."))
    listed = found.config.values
    if listed:
        unnamed = [str(value) for value in spec.values if value not in listed]
        if unnamed:
            text = f"Values that {FILE_NAME} does not list became classes."
            cautions.append(_warning(text, got=and_more(unnamed, shown=8) + "."))
        counts = found.survey.label_counts()
        unseen = [f"{value} ({name})" for value, name in _classes(spec) if value not in counts]
        if unseen:
            text = "No labeled mask shows some of the listed classes; they cannot be learned."
            cautions.append(_warning(text, got=and_more(unseen, shown=8) + "."))
    return cautions


def _empty_masks(survey: Survey, spec: TargetSpec) -> list[Finding]:
    cautions = []
    known = set(spec.values)
    for name, split in survey.splits().items():
        seen = [(facts, known & set(facts.mask.counts)) for facts in split if facts.mask]
        void = [facts.name for facts, values in seen if not values]
        empty = [facts.name for facts, values in seen if values == {spec.values[0]}]
        if spec.kind == "binary" and empty:
            cautions.append(
                _warning(
                    f"{counted(len(empty), 'mask')} in {name} "
                    f"{'shows' if len(empty) == 1 else 'show'} only background.",
                    got=and_more(empty) + ".",
                    hint="check that nothing was forgotten on them.",
                    files=tuple(empty),
                )
            )
        if void:
            cautions.append(
                _warning(
                    f"{counted(len(void), 'mask')} in {name} "
                    f"{'shows' if len(void) == 1 else 'show'} only void.",
                    got=and_more(void) + ".",
                    hint="nothing can be learned or scored there; remove them.",
                    files=tuple(void),
                )
            )
    return cautions


def _imbalance(survey: Survey, spec: TargetSpec) -> list[Finding]:
    shares = class_shares(survey.label_counts(), spec)
    rare = [
        f"{value} ({name}) has {100 * shares[value]:.2g} % of the pixels"
        for value, name in _classes(spec)
        if 0 < shares[value] < RARE
    ]
    if not rare:
        return []
    text = "The labeled classes are far from balanced; rare ones are hard to learn."
    return [_warning(text, got=and_more(rare, shown=8) + ".", hint="label images that show them.")]


def _classes_not_chosen_by(survey: Survey, spec: TargetSpec) -> list[Finding]:
    cautions = []
    for name, split in (("val", survey.val), ("test", survey.test)):
        counts = total_counts(split)
        missing = [f"{value} ({text})" for value, text in _classes(spec) if value not in counts]
        if split and missing:
            cautions.append(
                _warning(
                    f"{counted(len(missing), 'class', 'classes')} "
                    f"{'does' if len(missing) == 1 else 'do'} not occur in {name}.",
                    got=and_more(missing, shown=8) + ".",
                    hint=f"add images to {name} that show them.",
                )
            )
    return cautions


def _classes(spec: TargetSpec) -> list[tuple[int, str]]:
    return list(zip(spec.values, spec.names, strict=True))
