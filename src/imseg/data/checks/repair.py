"""A repaired copy of a data folder, with a list of everything that was changed."""

import filecmp
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from imseg.data.checks import fitness, folder_check, repaired_files
from imseg.data.checks.fitness import MaskValueFinding
from imseg.data.checks.repaired_files import write_record
from imseg.data.doubts import misplaced
from imseg.data.doubts.turns import Pair, find_turn
from imseg.data.files.atomic import new_folder
from imseg.data.files.listing import Links, counted
from imseg.data.folder.config import FolderConfig, TaskWord, read_config
from imseg.data.folder.facts import ImageFacts, Progress
from imseg.data.folder.folder_layout import find_layout
from imseg.data.folder.inspection import relative_name
from imseg.data.folder.scan import scan
from imseg.data.images.decoding import ON_THEIR_SIDE, UnreadablePicture
from imseg.data.images.picture_file import read_image
from imseg.data.masks.io import read_mask, value_text
from imseg.data.masks.losses import find_losses, shown_values
from imseg.errors import Finding, ImsegError, and_more, shown
from imseg.types import Image, LabeledImage, Pages

PRECEDENCE = ("test", "val", "labeled", "unlabeled")
"""Which split keeps a picture that several have: what is measured on stays whole."""

_MOST_COMPARED = 40
_MOST_ROUNDS = 5


@dataclass(kw_only=True)
class RepairRound:
    """What is to be done to a copy after one look at it."""

    found: fitness.FolderScan
    """What a look at every file of the copy gave."""
    orientations: dict[str, int]
    """The EXIF orientation that pictures had before they were turned upright."""
    left_out: dict[Path, tuple[str, str]] = field(default_factory=dict)
    """Files to remove from the copy, why, and what that refers to."""
    rewrites: dict[Path, list[repaired_files.Rewrite]] = field(default_factory=dict)
    """Masks to rewrite."""
    unclear: list[Finding] = field(default_factory=list)
    """What only a person can tell, and another look at the copy would not say any more."""

    def __post_init__(self) -> None:
        layout = self.found.layout
        self.entries: dict[str, Image | LabeledImage] = {
            entry.name: entry for split in PRECEDENCE for entry in getattr(layout, split)
        }

    def leave(self, entry: Image | LabeledImage, why: str, about: str = "") -> None:
        """Remove a picture with all of its masks."""
        for path in files_of(entry):
            self.left_out.setdefault(path, (why, about))

    def rewrite(self, names: Sequence[str], rewrite: repaired_files.Rewrite) -> None:
        """Rewrite masks, which are named relative to the data folder."""
        for name in names:
            self.rewrites.setdefault(self.found.layout.root / name, []).append(rewrite)


def files_of(entry: Image | LabeledImage) -> list[Path]:
    """Return the files of a picture and its masks."""
    if isinstance(entry, Image):
        return [entry.pixels] if isinstance(entry.pixels, Path) else []
    masks = entry.mask.values() if isinstance(entry.mask, Mapping) else [entry.mask]
    return files_of(entry.image) + [mask for mask in masks if isinstance(mask, Path)]


def leave_unreadable(plan: RepairRound, finding: Finding) -> None:
    """Leave out what cannot be read, with its partners."""
    known = {facts.name for facts in plan.found.survey.every()}
    for name, entry in plan.entries.items():
        if name not in known:
            why = "it or its partner cannot be read"
            plan.leave(entry, why, _what_is_broken(entry, plan.found))


def _what_is_broken(entry: Image | LabeledImage, found: fitness.FolderScan) -> str:
    for path in files_of(entry):
        name = relative_name(path, found.layout.root)
        try:
            if "/masks/" in name:
                read_mask(path, pages=found.config.pages)
            else:
                read_image(path, pages=found.config.pages)
        except UnreadablePicture as error:
            return f"{name} {error.reason}"
    return ""


def fit_masks(plan: RepairRound, finding: Finding) -> None:
    """Turn, resize or leave out what does not have the size of its image."""
    wrong = [
        facts
        for facts in plan.found.survey.every()
        if any(mask.size != facts.size for mask in facts.masks)
    ]
    turn = _common_turn([facts for facts in wrong if _lies(facts)], plan)
    for facts in wrong:
        entry, names = plan.entries[facts.name], [mask.name for mask in facts.masks]
        if _lies(facts):
            own = plan.orientations.pop(facts.name, 1)
            back, reason = turn, "the mask lay on its side"
            if own in ON_THEIR_SIDE:
                back = own
                reason += ": drawn on the picture as it was stored, before its EXIF turn"
            if back is None:
                text = "the mask lies on its side, and it is not clear which way it must be turned"
                plan.leave(entry, text)
            else:
                plan.rewrite(names, repaired_files.Rewrite(turn=back, reasons=(reason,)))
        elif all(repaired_files.same_shape(mask.size, facts.size) for mask in facts.masks):
            names = [mask.name for mask in facts.masks if mask.size != facts.size]
            reason = "the mask was not of the size of its image"
            plan.rewrite(names, repaired_files.Rewrite(size=facts.size, reasons=(reason,)))
        else:
            plan.leave(entry, "the mask has another size and another shape than its image")


def _lies(facts: ImageFacts) -> bool:
    """Return whether the masks of an image have its height as width, and its width as height."""
    return all(mask.size == facts.size[::-1] for mask in facts.masks)


def _common_turn(lying: Sequence[ImageFacts], plan: RepairRound) -> int | None:
    """Return how masks on their side must be turned, as their images show; None: not clear."""
    if not lying:
        return None
    fitting = [
        facts
        for facts in plan.found.survey.every()
        if facts.masks and all(mask.size == facts.size for mask in facts.masks)
    ]
    lying_pairs, known_pairs = (
        [
            _pair(plan.entries[facts.name], pages=plan.found.config.pages)
            for facts in some[:_MOST_COMPARED]
        ]
        for some in (lying, fitting)
    )
    return find_turn(lying_pairs, known_pairs)


def _pair(entry: Image | LabeledImage, *, pages: Pages) -> Pair:
    """Return a picture and its mask; of several masks, a number for each mixture of labels."""
    image, *paths = files_of(entry)
    masks = [read_mask(path, pages=pages).values for path in paths]
    # Of a single mask the values count, of several where each is set.
    mixture: Any = masks[0]
    if len(masks) > 1:
        mixture = sum((mask != 0) * (1 << place) for place, mask in enumerate(masks))
    return read_image(image, pages=pages), mixture


def turn_masks(plan: RepairRound, finding: Finding) -> None:
    """Turn masks as their pictures, on which they were drawn before the EXIF turn."""
    if isinstance(finding, misplaced.TurnedMasksFinding):
        for name, turn in finding.turns.items():
            plan.rewrite([name], repaired_files.Rewrite(turn=turn, reasons=(finding.reason,)))
        if not finding.turns:
            plan.unclear.append(misplaced.still_unclear(finding))


def recode_masks(plan: RepairRound, finding: Finding) -> None:
    """Mend the values of masks."""
    if isinstance(finding, MaskValueFinding) and finding.recode is not None:
        rewrite = repaired_files.Rewrite(recodes=(finding.recode,), reasons=(finding.reason,))
        plan.rewrite(finding.files, rewrite)
        plan.unclear += [finding.doubt] if finding.doubt else []


def drop_copies(plan: RepairRound, finding: Finding) -> None:
    """Leave out pictures that are there already, in the order of ``PRECEDENCE``."""
    splits = plan.found.survey.splits()
    kept: dict[str, tuple[str, ImageFacts]] = {}
    for split in PRECEDENCE:
        for facts in splits[split]:
            entry = plan.entries[facts.name]
            if any(path in plan.left_out for path in files_of(entry)):
                continue
            place, first = kept.setdefault(facts.digest, (split, facts))
            if first is facts:
                continue
            same = [mask.digest for mask in first.masks] == [mask.digest for mask in facts.masks]
            # Whose mask is right, only a person can say.
            if place != split or same:
                plan.leave(entry, "an exact copy", f"the same picture as {first.name}")


MENDERS: Mapping[fitness.Mending, Callable[[RepairRound, Finding], None]] = {
    "unreadable": leave_unreadable,
    "sizes": fit_masks,
    "turns": turn_masks,
    "values": recode_masks,
    "copies": drop_copies,
}
"""What adds the repair for a finding to a round, by what its check ``mends``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What became of a data folder."""

    folder: Path
    """The copy."""
    repairs: tuple[repaired_files.Repair, ...]
    """Everything that was changed, in order."""
    report: folder_check.CheckReport
    """What there is to say about the copy."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "folder": str(self.folder),
            "repairs": [asdict(repair) for repair in self.repairs],
            "report": self.report.as_dict(),
        }


def repair_folder(
    data: str | Path,
    out: str | Path,
    *,
    task: TaskWord | None = None,
    follow_links: bool = False,
    progress: Progress | None = None,
) -> Repaired:
    """Write a repaired copy of a data folder, and look at it again.

    Left out are: files that cannot be read, with their partners; images without a mask and masks
    without an image; files that are no pictures; masks of another shape than their image; exact
    copies of pictures (test keeps a picture before val, val before labeled, labeled before
    unlabeled; of copies in one split the first stays, unless their masks differ, which only a
    person can decide). Rewritten are: smeared masks (cut at half), 1 and 255 for the same class,
    class numbers that are off by one where that is unambiguous, impure colors, palettes among
    masks of colors, masks of another size but equal shape (by nearest neighbor), masks on their
    side where it is clear how, pictures with an EXIF turn. Renamed are unlabeled pictures of one
    stem, and masks that one rule joins with images. Made are the all-black masks of labels that an
    image does not show. All else is the same, byte for byte. ``hidden/`` is copied as it is; near
    duplicates and pictures that look odd stay. What was written is compared with the original.

    Args:
        data: The data folder; nothing in it is changed.
        out: Must not exist yet, or be empty; appears whole or not at all.
        task: What the masks are; None: what ``imseg.toml`` says, or recognized from them.
        follow_links: Whether what links out of the folder lead to is copied; else they are left
            out.
        progress: Called with (done, total) after each picture of each look at the copy.

    Raises:
        ImsegError: If there is no data folder, ``out`` is inside of it, holds something or cannot
            be written, all pairs are links that may not be followed, no labeled pair can be kept,
            or what was written has lost labels.
    """
    data, out = Path(data), Path(out)
    if not data.is_dir():
        raise ImsegError(
            f"There is no folder {data} to mend.",
            expected="a data folder with labeled/images and labeled/masks.",
            hint="check the path.",
        )
    if out.resolve().is_relative_to(data.resolve()):
        raise ImsegError(
            f"{out} is inside of {data}, which is never changed.",
            expected="a folder somewhere else.",
            hint=f"--fix {shown(data.resolve())}-repaired",
        )
    if not follow_links:
        repaired_files.check_links(data)
    with new_folder(out) as part:
        copied, turned, told = repaired_files.copy_usable(data, part, follow_links=follow_links)
        mended: list[repaired_files.Repair] = []
        unclear: list[Finding] = []
        for _ in range(_MOST_ROUNDS):
            done = _mend(part, turned, unclear, task=task, progress=progress)
            if not done:
                break
            mended += done
        mended += repaired_files.shorten_tables(part)
        fates = refuse_losses(data, part, copied, mended, follow_links=follow_links)
        repaired_files.check_pairs(data, part, [*copied, *mended])
        write_record(part, [*copied, *mended], source=str(data))
    found = scan(out, task=task, progress=progress)
    report = folder_check.report_of(found)
    said = (*unclear, *_gone_classes(data, fates, found), *told)
    report = replace(report, findings=(*report.findings, *said))
    return Repaired(folder=out, repairs=(*copied, *mended), report=report)


@dataclass(kw_only=True)
class Fate:
    """What the list of changes says about a file of the original."""

    name: str
    """Its name in the copy; empty if it is not there."""
    repairs: list[repaired_files.Repair] = field(default_factory=list)
    """What was done to it, in order."""


def refuse_losses(
    data: Path,
    copy: Path,
    copied: Sequence[repaired_files.Repair],
    mended: Sequence[repaired_files.Repair],
    *,
    follow_links: bool = False,
) -> dict[str, Fate]:
    """Compare what was written with the original, whatever the list of changes intended.

    Every file must be in the copy or in the list; it is the same, or the list says that it is not.
    A mask that was rewritten still shows every class and every object, but for those that the list
    names because they vanish at another size. Every pair is still a pair.

    Args:
        data: The original.
        copy: What was written.
        copied: What the list says about files by their names in the original.
        mended: What it says about files by their names in the copy.
        follow_links: Whether links that lead out of the original were copied, too.

    Returns:
        What became of each file of the original, by its name.

    Raises:
        ImsegError: If anything is lost that the list does not report.
    """
    names = [
        path.relative_to(data).as_posix()
        for path in repaired_files.files_below(data, follow_links=follow_links)
    ]
    fates = _fates(names, copied, mended)
    pages, losses = _pages_of(data), []
    for name, fate in fates.items():
        if fate.name and (lost := _losses_of(data / name, copy / fate.name, fate, pages)):
            losses.append(f"{name}: {and_more(lost)}")
    links_are: Links = "follow" if follow_links else "refuse"
    kept = {image: {*masks} for image, *masks in _pairs_of(copy, "refuse")}
    for image, *masks in _pairs_of(data, links_are):
        now = [fates[name].name if name in fates else "" for name in (image, *masks)]
        if all(now) and not {*now[1:]} <= kept.get(now[0], set()):
            losses.append(f"{image} and {masks[0]} are no pair any more")
    if losses:
        raise ImsegError(
            f"A repaired copy would lose labels of {counted(len(losses), 'file')}, so none is "
            "written.",
            expected="every class, object and pair in the copy, or a reason why one is not.",
            got=and_more(losses) + ".",
            hint="mend what the check names by hand; this is a mistake in imseg, so please report "
            "it.",
        )
    return fates


def _gone_classes(
    data: Path, fates: Mapping[str, Fate], found: fitness.FolderScan
) -> Iterator[Finding]:
    """Yield a warning about classes that only masks show which were left out."""
    spec = found.spec
    if spec is None or spec.coding not in ("values", "colors"):
        return
    gone: dict[str, str] = {}
    for name, fate in fates.items():
        if fate.name or "masks" not in name.split("/")[1:2]:
            continue
        try:
            mask = read_mask(data / name)
        except ImsegError:
            continue
        for value in shown_values(mask.values, mask.form) if mask.form != "numbers" else ():
            if spec.coding == "colors" and mask.form == "values":
                value *= 0x010101
            gone.setdefault(value_text(value, spec.coding), name)
    kept = {
        value_text(value, spec.coding)
        for facts in found.survey.every()
        if facts.mask is not None
        for value in facts.mask.counted_as(spec.coding)
    }
    if lost := [f"{text} was in {name}" for text, name in gone.items() if text not in kept]:
        yield fitness.warning(
            f"{counted(len(lost), 'class is', 'classes are')} in no mask of the copy any more.",
            why="the masks that show them were left out.",
            got=and_more(lost) + ".",
            hint=f"see {repaired_files.CSV} for the reasons, and mend these masks by hand.",
        )


def _fates(
    names: Sequence[str],
    copied: Sequence[repaired_files.Repair],
    mended: Sequence[repaired_files.Repair],
) -> dict[str, Fate]:
    """Return what the list of changes says about each file of the original, by its name."""
    fates = {name: Fate(name=name) for name in names if name.isprintable()}
    for repair in copied:
        folder = repair.file + "/"
        inside = (
            [repair.file] if repair.file in fates else [n for n in fates if n.startswith(folder)]
        )
        for fate in (fates[name] for name in inside):
            fate.name = repair.became
            fate.repairs.append(repair)
    # Several files may have become one.
    now: dict[str, list[Fate]] = {}
    for fate in fates.values():
        now.setdefault(fate.name, []).append(fate)
    for repair in mended:
        moved = now.pop(repair.file, [])
        for fate in moved:
            fate.name = repair.became
            fate.repairs.append(repair)
        now.setdefault(repair.became, []).extend(moved)
    return fates


def _pages_of(data: Path) -> Pages:
    """Return what the settings of a data folder say about pages; the default if they are wrong."""
    try:
        return read_config(data).pages
    except ImsegError:
        return FolderConfig().pages


def _losses_of(before: Path, after: Path, fate: Fate, pages: Pages) -> list[str]:
    """Return what a file of the copy has lost, in words."""
    if not after.is_file():
        return ["it is missing"]
    if filecmp.cmp(before, after, shallow=False):
        return []
    if not any(repair.change == "rewritten" for repair in fate.repairs):
        return ["it was changed without a word"]
    if "masks" not in fate.name.split("/"):
        return []
    told = " ".join(repair.about for repair in fate.repairs)
    lost = find_losses(read_mask(before, pages=pages), read_mask(after))
    return [each for each in lost if f"value {each.removesuffix(' is gone')} vanished" not in told]


def _pairs_of(folder: Path, links_are: Links) -> Iterator[list[str]]:
    """Yield the names of each image with masks, and of its masks."""
    layout = find_layout(folder, links_are=links_are)
    for entry in (*layout.labeled, *layout.val, *layout.test):
        yield [relative_name(path, folder) for path in files_of(entry)]


def _mend(
    folder: Path,
    orientations: dict[str, int],
    unclear: list[Finding],
    *,
    task: TaskWord | None,
    progress: Progress | None,
) -> list[repaired_files.Repair]:
    """Mend the copy as far as one look at it allows; return what was done."""
    found = scan(folder, task=task, turned=orientations, progress=progress)
    plan = RepairRound(found=found, orientations=orientations)
    for check in folder_check.CHECKS:
        if check.mends is not None:
            for finding in fitness.run_checks([check], plan.found):
                MENDERS[check.mends](plan, finding)
    if found.spec is not None:
        orientations.clear()  # who drew before a turn is told once: then masks that were turned fit
    unclear += plan.unclear
    done = []
    for path, (why, about) in plan.left_out.items():
        path.unlink(missing_ok=True)
        name = path.relative_to(folder).as_posix()
        done.append(repaired_files.Repair(name, "left out", "", "", why, about))
    recodes = [r for steps in plan.rewrites.values() for step in steps for r in step.recodes]
    return [*done, *repaired_files.translate_numbers(folder, recodes)] + [
        repaired_files.rewrite_mask(
            path, repaired_files.merged(steps), folder, pages=plan.found.config.pages
        )
        for path, steps in sorted(plan.rewrites.items())
        if path not in plan.left_out
    ]
