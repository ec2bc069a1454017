"""What is in a data folder, and everything that is wrong with it or worth knowing."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from imseg.data.checks import duplicates, mask_values, stored_values, unlike
from imseg.data.checks.fitness import ANY_CODING, FITNESS, Check, FolderScan, run_checks, warning
from imseg.data.doubts import misplaced, pixel_sizes, small_objects
from imseg.data.files.listing import Links, counted, subject
from imseg.data.folder import facts
from imseg.data.folder.config import FILE_NAME, TaskWord
from imseg.data.folder.scan import scan
from imseg.data.images.picture_file import lossy_coding
from imseg.data.masks.classes import MAX_DISTINCT, MINUS_ONE, listed_values
from imseg.data.masks.labeled_regions import LABELED, labeled_in_part
from imseg.data.masks.recognize import follow_through, weigh_objects, word_of
from imseg.errors import Finding, and_more, near_miss
from imseg.types import POSITION, LabeledImage, Reading, TargetSpec

RARE = 0.01
"""A class on a smaller share of the pixels is called rare."""

FEW = 10
"""Fewer labeled images are called few."""

_MANY_CLASSES = 20
_IN_PIECES = 0.8
_OF_SETTINGS = (".toml", ".txt", ".tml", ".ini", ".cfg", ".yaml", ".yml", ".json")
_CENTERS = ("centers", "centres", "center", "centre", "centroids", "positions", "markers", "seeds")


def _layout_warnings(found: FolderScan) -> Iterator[Finding]:
    return (note for note in found.layout.findings if note.severity != "error")


def _doubled(found: FolderScan) -> Iterator[Finding]:
    for name, split in found.survey.splits().items():
        again = [(split[one], split[other]) for one, other in duplicates.exact_pairs(split)]
        if not again:
            continue
        differ = sum(
            [mask.digest for mask in one.masks] != [mask.digest for mask in other.masks]
            for one, other in again
        )
        got = and_more([f"{one.name} = {other.name}" for one, other in again]) + "."
        if differ:
            got += f" {counted(differ, 'pair')} with masks that differ."
        yield warning(
            subject(len(again), "image", f"in {name} is", f"in {name} are")
            + " there more than once.",
            got=got,
            hint="remove the copies, unless they are meant to count more.",
            files=(other.name for _, other in again),
        )


def _left_out(found: FolderScan) -> Iterator[Finding]:
    if names := sorted(found.redundant):
        text = f"{subject(len(names), 'unlabeled image')} in labeled or val too, and left out."
        yield warning(text, got=and_more(names) + ".", files=names)


def _mixed_channels(found: FolderScan) -> Iterator[Finding]:
    every = found.survey.every()
    gray = [picture.name for picture in every if picture.channels == 1]
    colored = [picture.name for picture in every if picture.channels != 1]
    # Where pictures of other kinds are among them, they are errors.
    if gray and colored and all(picture.plain for picture in every):
        kind, fewer = ("gray", gray) if len(gray) <= len(colored) else ("color", colored)
        yield warning(
            f"{len(gray)} images are gray and {len(colored)} are color; all are read as color.",
            got=f"{kind}: {and_more(fewer)}.",
            hint="convert all to gray if color means nothing here.",
        )


def _what_is_missing(found: FolderScan) -> Iterator[Finding]:
    layout = found.layout
    if not layout.labeled:
        return
    if not layout.unlabeled:
        hint = "put more images of the same kind into unlabeled/."
        yield warning("There are no unlabeled images to gain from.", hint=hint)
    if not layout.val:
        hint = "put pairs into val/images and val/masks if you have them."
        text = "There is no val; a fifth of the labeled images will be used to choose by."
        yield warning(text, hint=hint)
    if not layout.test:
        hint = "put pairs into test/images and test/masks to get an honest final score."
        yield warning("There is no test.", hint=hint)
    if 1 < len(layout.labeled) < FEW:
        text = f"There are only {len(layout.labeled)} labeled images; results will vary a lot."
        yield warning(text, hint=f"label at least {FEW}.")


def _recognized(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    """Yield what was taken for granted where masks can be read in two ways."""
    if found.task is not None:
        return
    masks = [picture.mask for picture in found.survey.labeled if picture.mask is not None]
    evidence = weigh_objects(masks)
    distinct = {value for mask in masks for value in mask.counts}
    if spec.coding == "objects":
        yield warning(
            "The masks were taken for label images, in which every object has a number.",
            got=f"up to {evidence.most} numbers in a mask, nearly all of them one connected "
            "region.",
            hint=f'if they are classes, set task = "multiclass" in {FILE_NAME}; if they are '
            'objects, task = "instances" says so.',
        )
    elif spec.coding == "values" and spec.kind == "multiclass" and evidence.is_weak:
        yield warning(
            "The masks were taken for class masks, but their values may number objects.",
            got=f"up to {evidence.most} values above 0 in a mask, without gaps, each of them "
            "one connected region.",
            hint=f'if they are objects, set task = "instances" in {FILE_NAME}; if they are '
            'classes, task = "multiclass" says so.',
        )
    elif (
        spec.coding == "values"
        and spec.kind == "multiclass"
        and (followed := follow_through(masks))
    ):
        yield warning(
            "The masks were taken for class masks, but their values may number objects.",
            got=f"{followed} values, each in some masks that follow one another, as numbers do "
            "that follow objects through a film.",
            hint=f'if they are objects, set task = "instances" in {FILE_NAME}; if they are '
            'classes, task = "multiclass" says so.',
        )
    elif (
        spec.coding == "numbers"
        and len(distinct) <= MAX_DISTINCT
        and all(mask.whole or mask.counts for mask in masks)
    ):
        yield warning(
            "The masks were taken for measurements, because they are floats.",
            got=f"only {len(distinct)} different values, all whole numbers.",
            hint=f'if they are classes, set task = "multiclass" or "binary" in {FILE_NAME}; '
            'if they are measurements, task = "regression" says so.'
            + f"\n{MINUS_ONE}"
            * (-1 in distinct),
        )


def _useless_settings(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    if found.config.unit and spec.kind != "regression":
        text = f"unit in {FILE_NAME} has no use, because the task is {word_of(spec)}."
        yield warning(text, got=f'"{found.config.unit}".', hint="remove the line.")


def _misnamed_settings(found: FolderScan) -> Iterator[Finding]:
    """Yield that settings are not read, because their file is called otherwise."""
    root = found.layout.root
    if not root.is_dir() or (root / FILE_NAME).exists():
        return
    like = [
        path.name
        for path in sorted(root.iterdir())
        if path.name.lower().startswith("imseg") and path.suffix.lower() in _OF_SETTINGS
    ]
    if like:
        yield warning(
            f"There is no {FILE_NAME}, but a file with a name like it, which is not read.",
            got=and_more(like) + ".",
            hint=f"rename it to {FILE_NAME}; Windows may hide the last ending of a name.",
            files=like,
        )


def _class_files(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    """Yield what is odd about the files of class masks."""
    masks = [pair.mask for pair in found.layout.labeled if isinstance(pair.mask, Path)]
    lossy = {mask.name: how for mask in masks if (how := lossy_coding(mask)) is not None}
    noun = "colors" if spec.coding == "colors" else "values"
    count = len(spec.values)
    if lossy and count > 2:
        how = " or ".join(dict.fromkeys(lossy.values()))
        text = f"Masks are {how} files, which invent {noun}; each {noun[:-1]} became a class."
        got = f"{count} classes; {and_more(list(lossy))}."
        yield warning(text, got=got, hint="save masks as PNG.")
    elif count > _MANY_CLASSES and not found.config.listed:
        text = f"The masks hold {count} {noun}, and each became a class."
        hint = f"name them in {FILE_NAME}" + (
            ', or set task = "instances" there if they number objects.' if noun == "values" else "."
        )
        yield warning(text, hint=hint)
    may_be_void = spec.coding == "values" and spec.void is None and count > 2
    last = spec.values[-1]
    # Both are what -1 becomes where numbers have no sign.
    if may_be_void and last in (255, 65535) and spec.values[-2] < 64:
        text = f"Value {last} became a class, but beside small numbers it often marks undecided"
        yield warning(f"{text} pixels.", hint=f"set void = {last} in {FILE_NAME} if it does.")


def _listed(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    """Yield where the classes that are listed are not those of the masks."""
    if not found.config.listed:
        return
    listed = listed_values(found.config, spec.coding)
    classes = facts.summarize_classes(found.survey.labeled, spec)
    pairs = zip(spec.values, classes, strict=True)
    noun = "Colors" if spec.coding == "colors" else "Values"
    if unnamed := [each.key for value, each in pairs if value not in listed.names]:
        text = f"{noun} that {FILE_NAME} does not list became classes."
        yield warning(text, got=and_more(unnamed, most=8) + ".")
    if unseen := [each.text for each in classes if not each.images]:
        text = "No labeled mask shows some of the listed classes; they cannot be learned."
        yield warning(text, got=and_more(unseen, most=8) + ".")


def _in_pieces(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    labeled = found.survey.labeled
    whole = weigh_objects(picture.mask for picture in labeled if picture.mask is not None).whole
    if whole is not None and whole < _IN_PIECES:
        text = "Many numbers in the labeled masks lie in several pieces, which objects seldom do."
        got = f"{1 / whole:.1f} connected regions per number, on average."
        hint = f'if the numbers are classes, set task = "multiclass" in {FILE_NAME}.'
        yield warning(text, got=got, hint=hint)


def _labels(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    summaries = facts.summarize_classes(found.survey.labeled, spec)
    if unseen := [each.name for each in summaries if not each.images]:
        text = "No labeled mask shows some of the labels; they cannot be learned."
        yield warning(text, got=and_more(unseen, most=8) + ".")
    if POSITION in spec.names:
        return
    names = {name.lower(): name for name in spec.names}
    like = [name for lower, name in names.items() if lower == POSITION or lower in _CENTERS]
    like = like or [names[close]] if (close := near_miss(POSITION, names)) else like
    if like:
        hint = f"if it marks the middle of cells, rename its folders to {POSITION}/."
        yield warning(f'The label "{like[0]}" is learned as an area.', hint=hint)


def _beyond_the_range(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    for name, split in (("val", found.survey.val), ("test", found.survey.test)):
        beyond = [
            picture.name
            for picture in split
            if picture.mask and (picture.mask.least < spec.low or picture.mask.greatest > spec.high)
        ]
        if beyond:
            yield warning(
                subject(len(beyond), "mask", f"in {name} goes", f"in {name} go")
                + " beyond the numbers of the labeled ones, which are all that can be predicted.",
                got=f"{and_more(beyond)}; labeled: {spec.low:g} to {spec.high:g}.",
                hint="label images with the least and the greatest numbers.",
                files=beyond,
            )


def _empty(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    """Yield which masks show nothing, or only void."""
    shows = {"planes": "none of the labels", "objects": "no object"}.get(spec.coding)
    nothing = "no number" if spec.coding == "numbers" else "only void"
    for name, split in found.survey.splits().items():
        masked = [picture for picture in split if picture.masks]
        void = [each.name for each in masked if not any(mask.known for mask in each.masks)]
        empty = [each.name for each in masked if each.name not in void and _is_empty(each, spec)]
        for names, what, hint in (
            (empty, shows or "only background", "check that nothing was forgotten on them."),
            (void, nothing, "nothing can be learned or scored there; remove them."),
        ):
            if names:
                text = subject(len(names), "mask", f"in {name} shows", f"in {name} show")
                yield warning(f"{text} {what}.", got=and_more(names) + ".", hint=hint, files=names)


def _is_empty(picture: facts.ImageFacts, spec: TargetSpec) -> bool:
    """Return whether a mask that is not all void shows background alone."""
    if spec.coding in ("planes", "objects"):
        return not any(mask.objects for mask in picture.masks)
    if spec.kind != "binary" or picture.mask is None:
        return False
    known = set(picture.mask.counted_as(spec.coding)) - {spec.void}
    return known == {spec.values[0]}


def _imbalance(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    rare = [
        f"{each.text} has {100 * each.share:.2g} % of the pixels"
        for each in facts.summarize_classes(found.survey.labeled, spec)
        if 0 < each.share < RARE and not (spec.kind == "multilabel" and each.name == POSITION)
    ]
    if rare:
        text = "The labeled classes are far from balanced; rare ones are hard to learn."
        yield warning(text, got=and_more(rare, most=8) + ".", hint="label images that show them.")


def _missing(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    """Yield the classes that cannot be chosen by, or scored."""
    noun, plural = ("label", "labels") if spec.coding == "planes" else ("class", "classes")
    for name, split in (("val", found.survey.val), ("test", found.survey.test)):
        missing = [each.text for each in facts.summarize_classes(split, spec) if not each.images]
        if split and missing:
            yield warning(
                f"{counted(len(missing), noun, plural)} "
                f"{'does' if len(missing) == 1 else 'do'} not occur in {name}.",
                got=and_more(missing, most=8) + ".",
                hint=f"add images to {name} that show them.",
            )
        objects = any(mask.objects for picture in split for mask in picture.masks)
        if split and spec.coding == "objects" and not objects:
            text = f"No mask in {name} shows an object."
            yield warning(text, hint=f"add images to {name} that show some.")


def _labeled_in_part(found: FolderScan) -> Iterator[Finding]:
    for split in LABELED:
        sizes = {each.name: each.size for each in getattr(found.survey, split)}
        yield from labeled_in_part(getattr(found.layout, split), sizes, split)


CAUTIONS = (
    Check(_layout_warnings),
    Check(_doubled, mends="copies"),
    Check(_left_out, mends="copies"),
    Check(_mixed_channels),
    Check(stored_values.find_inverted_pictures),
    Check(_what_is_missing),
    Check(_recognized, ANY_CODING),
    Check(_misnamed_settings),
    Check(_useless_settings, ANY_CODING),
    Check(stored_values.find_doubtful_storage, ANY_CODING),
    Check(_class_files, ("values", "colors")),
    Check(_listed, ("values", "colors")),
    Check(_in_pieces, ("objects",)),
    Check(_labels, ("planes",)),
    Check(_beyond_the_range, ("numbers",)),
    Check(_empty, ANY_CODING),
    Check(_imbalance, ANY_CODING),
    Check(_labeled_in_part),
    Check(pixel_sizes.find_pixel_sizes_far_apart),
    Check(pixel_sizes.find_idle_patterns),
    Check(small_objects.find_small_objects, ("values", "colors", "planes", "objects")),
    Check(small_objects.find_differing_scales, ("values", "colors", "planes", "objects")),
    Check(_missing, ANY_CODING),
)
"""All checks of this kind, in the order in which they are told."""

CHECKS: tuple[Check, ...] = (
    Check(mask_values.find_odd_values, mends="values"),
    Check(lambda found: duplicates.find_near_duplicates(found.survey)),
    Check(lambda found: unlike.find_odd_pictures(found.survey)),
    Check(misplaced.find_misplaced, ("values", "colors", "planes", "objects"), mends="turns"),
    Check(misplaced.find_inverted, ("values", "colors")),
    Check(lambda found: found.failures, mends="unreadable"),
    *FITNESS,
    *CAUTIONS,
)
"""Everything that is looked for, in the order in which it is told within each severity."""

_SEVERITIES = ("error", "warning", "note")
_PARTS = tuple(part.name for part in fields(Finding))


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a look at a data folder found."""

    folder: str
    """The folder, as it was named."""
    counts: Mapping[str, int]
    """Pictures by split (pairs where the split has masks), unreadable ones included."""
    channels: Mapping[str, int]
    """Readable pictures that are ``gray`` and ``color``, and, say, ``5 channels``."""
    depths: Mapping[str, int]
    """Readable pictures by the type of their pixels: uint8, uint16, float32."""
    sizes: facts.SizeSummary | None
    """How large the readable pictures are; None if there is none."""
    reading: Reading | None
    """How pictures become bytes; None if they are too different."""
    spec: TargetSpec | None
    """What masks mean; None if that could not be found out."""
    task: TaskWord | None
    """The user's word for the task; None where ``spec`` is."""
    asked: bool
    """Whether the user named the task; otherwise it was recognized."""
    classes: tuple[facts.ClassSummary, ...]
    """The classes of the labeled masks, in the order of their values, or the labels."""
    objects: facts.ObjectSummary | None
    """The objects in the labeled masks (task instances)."""
    numbers: facts.NumberSummary | None
    """The numbers in the labeled masks (task regression)."""
    seen: small_objects.SeenImages | None
    """What networks see of the images, if nothing else is asked for."""
    findings: tuple[Finding, ...]
    """Errors first, then warnings, then notes."""
    links: int = 0
    """Links that lead out of the folder."""
    labeled: tuple[LabeledImage, ...] = field(default=(), repr=False)
    """The labeled pairs that can be read and drawn, for a contact sheet."""

    def of_severity(self, severity: str) -> tuple[Finding, ...]:
        """Return the findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What must be mended before training."""
        return self.of_severity("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is worth mending."""
        return self.of_severity("warning")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the pairs of the contact sheet are left out."""
        plain = asdict(replace(self, labeled=(), findings=(), spec=None))
        del plain["labeled"], plain["spec"]
        return {
            **plain,
            "ok": not self.errors,
            "reading": self.reading.as_dict() if self.reading else None,
            "target": self.spec.as_dict() if self.spec else None,
            "findings": [
                {part: getattr(finding, part) for part in _PARTS} for finding in self.findings
            ],
        }


def check_folder(
    path: str | Path,
    *,
    task: TaskWord | None = None,
    links_are: Links = "read",
    progress: facts.Progress | None = None,
) -> CheckReport:
    """Decode every file of a data folder once and report; problems are listed, never raised.

    Args:
        path: The data folder.
        task: What the masks are; None: what ``imseg.toml`` says, or recognized from them.
        links_are: What is done with links that lead out of the folder; a check writes nothing, so
            that they can be read.
        progress: Called with (done, total) after each picture.
    """
    return report_of(scan(path, task=task, links_are=links_are, progress=progress))


def report_of(found: FolderScan) -> CheckReport:
    """Return the report about a folder that was looked at."""
    layout, survey, spec = found.layout, found.survey, found.spec
    every = survey.every()
    # Planes of different sizes cannot be laid upon one another.
    drawable = {f.name for f in survey.labeled if len({mask.size for mask in f.masks}) < 2}
    words = {1: "gray", 3: "color"}
    channels = Counter(words.get(each.channels, f"{each.channels} channels") for each in every)
    return CheckReport(
        folder=str(layout.root),
        counts={split: len(getattr(layout, split)) for split in survey.splits()},
        channels={"gray": 0, "color": 0, **channels},
        depths=dict(Counter(each.depth for each in every)),
        sizes=facts.summarize_sizes(every),
        reading=found.reading,
        spec=spec,
        task=word_of(spec) if spec else None,
        asked=found.task is not None,
        classes=facts.summarize_classes(survey.labeled, spec) if spec else (),
        objects=facts.summarize_objects(survey.labeled, spec) if spec else None,
        numbers=facts.summarize_numbers(survey.labeled, spec) if spec else None,
        seen=small_objects.seen_by_default(
            survey.labeled if spec else (), channels=found.reading.channels if found.reading else 3
        ),
        findings=tuple(
            sorted(run_checks(CHECKS, found), key=lambda each: _SEVERITIES.index(each.severity))
        ),
        links=len(layout.refused["links"]),
        labeled=tuple(pair for pair in layout.labeled if pair.name in drawable),
    )
