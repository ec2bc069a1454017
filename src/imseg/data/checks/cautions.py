"""What is worth knowing about masks, though they can be trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imseg.data.files.listing import counted
from imseg.data.folder.config import FILE_NAME
from imseg.data.folder.facts import ImageFacts, Survey, summarize_classes
from imseg.data.folder.scan import FolderScan
from imseg.data.masks.classes import MAX_DISTINCT, listed_values
from imseg.data.masks.recognize import weigh_objects, word_of
from imseg.errors import Finding, and_more, near_miss
from imseg.types import POSITION, TargetSpec

RARE = 0.01
"""A class on a smaller share of the pixels is called rare."""

_MANY_CLASSES = 20
_IN_PIECES = 0.8
_CENTERS = ("centers", "centres", "center", "centre", "centroids", "positions", "markers", "seeds")


def find_mask_cautions(found: FolderScan, spec: TargetSpec) -> list[Finding]:
    """Return every warning about the masks of a folder."""
    survey = found.survey
    cautions = [*_recognized(found, spec), *_useless_settings(found, spec)]
    match spec.coding:
        case "values" | "colors":
            cautions += _class_files(found, spec) + _listed(found, spec)
        case "objects":
            cautions += _in_pieces(survey)
        case "planes":
            cautions += _labels(survey, spec)
        case "numbers":
            cautions += _beyond_the_range(survey, spec)
    return cautions + _empty(survey, spec) + _imbalance(survey, spec) + _missing(survey, spec)


def warning(what: str, *, got: str = "", hint: str = "", files: tuple[str, ...] = ()) -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(severity="warning", what=what, got=got, hint=hint, files=files)


def _recognized(found: FolderScan, spec: TargetSpec) -> list[Finding]:
    """Return what was taken for granted where masks can be read in two ways."""
    if found.task is not None:
        return []
    masks = [facts.mask for facts in found.survey.labeled if facts.mask is not None]
    evidence = weigh_objects(masks)
    if spec.coding == "objects":
        return [
            warning(
                "The masks were taken for label images, in which every object has a number.",
                got=f"up to {evidence.most} numbers in a mask, nearly all of them one connected "
                "region.",
                hint=f'if they are classes, set task = "multiclass" in {FILE_NAME}; if they are '
                'objects, task = "instances" says so.',
            )
        ]
    if spec.coding == "values" and spec.kind == "multiclass" and evidence.is_weak:
        return [
            warning(
                "The masks were taken for class masks, but their values may number objects.",
                got=f"up to {evidence.most} values above 0 in a mask, without gaps, each of them "
                "one connected region.",
                hint=f'if they are objects, set task = "instances" in {FILE_NAME}; if they are '
                'classes, task = "multiclass" says so.',
            )
        ]
    distinct = {value for mask in masks for value in mask.counts}
    few = len(distinct) <= MAX_DISTINCT and all(mask.whole for mask in masks)
    if spec.coding == "numbers" and few:
        return [
            warning(
                "The masks were taken for measurements, because they are floats.",
                got=f"only {len(distinct)} different values, all whole numbers.",
                hint=f'if they are classes, set task = "multiclass" or "binary" in {FILE_NAME}; '
                'if they are measurements, task = "regression" says so.',
            )
        ]
    return []


def _useless_settings(found: FolderScan, spec: TargetSpec) -> list[Finding]:
    if not found.config.unit or spec.kind == "regression":
        return []
    text = f"unit in {FILE_NAME} has no use, because the task is {word_of(spec)}."
    return [warning(text, got=f'"{found.config.unit}".', hint="remove the line.")]


def _class_files(found: FolderScan, spec: TargetSpec) -> list[Finding]:
    """Return what is odd about the files of class masks."""
    masks = [pair.mask for pair in found.layout.labeled if isinstance(pair.mask, Path)]
    lossy = [mask.name for mask in masks if mask.suffix.lower() in (".jpg", ".jpeg")]
    noun = "colors" if spec.coding == "colors" else "values"
    count = len(spec.values)
    cautions = []
    if lossy and count > 2:
        text = f"Masks are JPEG files, which invent {noun}; each {noun[:-1]} became a class."
        got = f"{count} classes; {and_more(lossy)}."
        cautions.append(warning(text, got=got, hint="save masks as PNG."))
    elif count > _MANY_CLASSES and not found.config.listed:
        text = f"The masks hold {count} {noun}, and each became a class."
        hint = f"name them in {FILE_NAME}" + (
            ', or set task = "instances" there if they number objects.' if noun == "values" else "."
        )
        cautions.append(warning(text, hint=hint))
    may_be_void = spec.coding == "values" and spec.void is None and count > 2
    if may_be_void and 255 in spec.values and spec.values[-2] < 64:
        text = "Value 255 became a class, but beside small numbers it often marks undecided pixels."
        cautions.append(warning(text, hint=f"set void = 255 in {FILE_NAME} if it does."))
    return cautions


def _listed(found: FolderScan, spec: TargetSpec) -> list[Finding]:
    """Return where the classes that are listed are not those of the masks."""
    if not found.config.listed:
        return []
    cautions = []
    listed = listed_values(found.config, spec.coding)
    classes = list(zip(spec.values, summarize_classes(found.survey.labeled, spec), strict=True))
    noun = "Colors" if spec.coding == "colors" else "Values"
    unnamed = [each.key for value, each in classes if value not in listed.names]
    if unnamed:
        text = f"{noun} that {FILE_NAME} does not list became classes."
        cautions.append(warning(text, got=and_more(unnamed, most=8) + "."))
    unseen = [each.text for _, each in classes if not each.images]
    if unseen:
        text = "No labeled mask shows some of the listed classes; they cannot be learned."
        cautions.append(warning(text, got=and_more(unseen, most=8) + "."))
    return cautions


def _in_pieces(survey: Survey) -> list[Finding]:
    whole = weigh_objects(facts.mask for facts in survey.labeled if facts.mask is not None).whole
    if whole is None or whole >= _IN_PIECES:
        return []
    text = "Many numbers in the labeled masks lie in several pieces, which objects seldom do."
    got = f"{1 / whole:.1f} connected regions a number, on average."
    hint = f'if the numbers are classes, set task = "multiclass" in {FILE_NAME}.'
    return [warning(text, got=got, hint=hint)]


def _labels(survey: Survey, spec: TargetSpec) -> list[Finding]:
    cautions = []
    unseen = [each.name for each in summarize_classes(survey.labeled, spec) if not each.images]
    if unseen:
        text = "No labeled mask shows some of the labels; they cannot be learned."
        cautions.append(warning(text, got=and_more(unseen, most=8) + "."))
    if POSITION not in spec.names:
        names = {name.lower(): name for name in spec.names}
        like = [name for lower, name in names.items() if lower == POSITION or lower in _CENTERS]
        like = like or [names[close]] if (close := near_miss(POSITION, names)) else like
        if like:
            text = f'The label "{like[0]}" is learned as an area.'
            hint = f"if it marks the middle of cells, rename its folders to {POSITION}/."
            cautions.append(warning(text, hint=hint))
    return cautions


def _beyond_the_range(survey: Survey, spec: TargetSpec) -> list[Finding]:
    cautions = []
    for name, split in (("val", survey.val), ("test", survey.test)):
        beyond = [
            facts.name
            for facts in split
            if facts.mask and (facts.mask.least < spec.low or facts.mask.greatest > spec.high)
        ]
        if beyond:
            text = (
                f"{counted(len(beyond), 'mask')} in {name} "
                f"{'goes' if len(beyond) == 1 else 'go'} beyond the numbers of the labeled ones, "
                "which are all that can be predicted."
            )
            hint = "label images with the least and the greatest numbers."
            got = f"{and_more(beyond)}; labeled: {spec.low:g} to {spec.high:g}."
            cautions.append(warning(text, got=got, hint=hint, files=tuple(beyond)))
    return cautions


def _empty(survey: Survey, spec: TargetSpec) -> list[Finding]:
    """Return which masks show nothing, or only void."""
    shows = {"planes": "none of the labels", "objects": "no object"}.get(spec.coding)
    nothing = "no number" if spec.coding == "numbers" else "only void"
    cautions = []
    for name, split in survey.splits().items():
        masked = [facts for facts in split if facts.masks]
        void = [facts.name for facts in masked if not any(mask.known for mask in facts.masks)]
        empty = [
            facts.name for facts in masked if facts.name not in void and _is_empty(facts, spec)
        ]
        for names, what, hint in (
            (empty, shows or "only background", "check that nothing was forgotten on them."),
            (void, nothing, "nothing can be learned or scored there; remove them."),
        ):
            if names:
                verb = "shows" if len(names) == 1 else "show"
                text = f"{counted(len(names), 'mask')} in {name} {verb} {what}."
                cautions.append(
                    warning(text, got=and_more(names) + ".", hint=hint, files=tuple(names))
                )
    return cautions


def _is_empty(facts: ImageFacts, spec: TargetSpec) -> bool:
    """Return whether a mask that is not all void shows background alone."""
    if spec.coding in ("planes", "objects"):
        return not any(mask.objects for mask in facts.masks)
    if spec.kind != "binary" or facts.mask is None:
        return False
    known = set(facts.mask.counted_as(spec.coding)) - {spec.void}
    return known == {spec.values[0]}


def _imbalance(survey: Survey, spec: TargetSpec) -> list[Finding]:
    rare = [
        f"{each.text} has {100 * each.share:.2g} % of the pixels"
        for each in summarize_classes(survey.labeled, spec)
        if 0 < each.share < RARE and not (spec.kind == "multilabel" and each.name == POSITION)
    ]
    if not rare:
        return []
    text = "The labeled classes are far from balanced; rare ones are hard to learn."
    return [warning(text, got=and_more(rare, most=8) + ".", hint="label images that show them.")]


def _missing(survey: Survey, spec: TargetSpec) -> list[Finding]:
    """Return the classes that cannot be chosen by, or scored."""
    noun, plural = ("label", "labels") if spec.coding == "planes" else ("class", "classes")
    cautions = []
    for name, split in (("val", survey.val), ("test", survey.test)):
        missing = [each.text for each in summarize_classes(split, spec) if not each.images]
        if split and missing:
            cautions.append(
                warning(
                    f"{counted(len(missing), noun, plural)} "
                    f"{'does' if len(missing) == 1 else 'do'} not occur in {name}.",
                    got=and_more(missing, most=8) + ".",
                    hint=f"add images to {name} that show them.",
                )
            )
        if split and spec.coding == "objects" and not _any_objects(split):
            text = f"No mask in {name} shows an object."
            cautions.append(warning(text, hint=f"add images to {name} that show some."))
    return cautions


def _any_objects(split: Sequence[ImageFacts]) -> bool:
    return any(mask.objects for facts in split for mask in facts.masks)


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
        first: dict[str, ImageFacts] = {}
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
