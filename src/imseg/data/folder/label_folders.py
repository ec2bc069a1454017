"""Masks as a folder for each label: which labels there are, and which do not fit the others."""

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from imseg.data.files import listing
from imseg.data.files.listing import list_pictures
from imseg.errors import Finding, near_miss
from imseg.types import POSITION


def find_labels(masks: Path) -> dict[str, Path]:
    """Return the folder of each label in a folder of masks, the one of cell centers last.

    Labels are composed (NFC), as stems are; those that would be equal then stay as they are.
    Nothing if there are masks beside the folders (then these are not read), or if no file is in any
    of them.
    """
    if not masks.is_dir():
        return {}
    pictures, _, folders = list_pictures(masks)
    if pictures or not any(any(list_pictures(folder)[:2]) for folder in folders):
        return {}
    alike = Counter(listing.composed(folder.name) for folder in folders)
    labels = {
        folder.name if alike[label] > 1 else label: folder
        for folder in folders
        if (label := listing.composed(folder.name))
    }
    return dict(sorted(labels.items(), key=lambda each: (each[0] == POSITION, each[0])))


def equal_labels(labels: Collection[str]) -> list[str]:
    """Return labels that are equal to another one once they are composed (NFC)."""
    counts = Counter(map(listing.composed, labels))
    return [label for label in labels if counts[listing.composed(label)] > 1]


def note_other_labels(split: str, wanted: Sequence[str], labels: Sequence[str]) -> Finding:
    """Return the error that the masks of a split are of other labels than the labeled ones.

    Args:
        split: Its name.
        wanted: The labels of the labeled masks; empty: one mask per image.
        labels: Those of the split.
    """
    folders, files = "a folder for each label: {}.", "one mask for each image, in no folders."
    hint = f"arrange {split}/masks as labeled/masks."
    if wanted and labels:
        free = [label for label in wanted if label not in labels]
        strange = [label for label in labels if label not in wanted]
        by_case = listing.stems_by_case(strange, free)
        guesses = [(label, by_case.get(label) or near_miss(label, free)) for label in strange]
        renamed = [f"rename {label}/ to {guess}/" for label, guess in guesses if guess]
        hint = "add the missing folders; where a label does not occur, save all-black masks"
        hint += "." if strange else " (imseg check DATA --fix DIR makes them in a copy)."
        if renamed:
            hint = ", ".join(renamed) + "."
    return Finding(
        severity="error",
        what=f"{split}/masks has other labels than labeled/masks.",
        expected=folders.format(", ".join(wanted)) if wanted else files,
        got=folders.format(", ".join(labels)) if labels else files,
        hint=hint,
        files=(f"{split}/masks",),
    )
