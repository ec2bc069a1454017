"""Where it is not certain that the numbers stored in files are what their makers mean."""

from collections.abc import Iterator

from imseg.data.checks.fitness import FolderScan, warning
from imseg.data.files.listing import subject
from imseg.data.folder.config import FILE_NAME
from imseg.data.folder.facts import MaskFacts
from imseg.errors import Finding, and_more
from imseg.types import TargetSpec

_SHOWN = "shown by viewers with 0 as white (an inverting table), and the others are not"
_FARTHEST = -(2**31)
"""Void is a number of 32 bits."""


def find_inverted_pictures(found: FolderScan) -> Iterator[Finding]:
    """Yield which images are shown with 0 as white where others are not."""
    every = found.survey.every()
    inverting = [picture for picture in every if picture.inverting]
    if inverting and len(inverting) < len(every):
        eight = all(picture.depth == "uint8" for picture in inverting)
        yield warning(
            subject(len(inverting), "image") + f" {_SHOWN}; "
            f"they were read {'as viewers show them' if eight else 'as stored'}.",
            got=and_more([picture.name for picture in inverting]) + ".",
            hint="look at the contact sheet; if what is dark on the others is bright on these, "
            "save them again without an inverting table (in Fiji: Image > Lookup Tables > Grays).",
            files=(picture.name for picture in inverting),
        )


def find_doubtful_storage(found: FolderScan, spec: TargetSpec) -> Iterator[Finding]:
    """Yield which masks may mean something else than the numbers that were read."""
    masks = [mask for picture in found.survey.every() for mask in picture.masks]
    yield from _inverting(masks)
    yield from _in_alpha(masks)
    if spec.coding == "numbers":
        yield from _undecided(masks)
        if found.task == "regression":
            yield from _two_values(masks, spec.void)


def _inverting(masks: list[MaskFacts]) -> Iterator[Finding]:
    inverting = [mask for mask in masks if mask.inverting]
    bilevel = [mask for mask in inverting if mask.inverting == 1]
    if len(inverting) < len(masks) and inverting:
        yield warning(
            subject(len(inverting), "mask") + f" {_SHOWN}; all were read as stored.",
            got=and_more([mask.name for mask in inverting]) + ".",
            hint="look at the contact sheet; if background and foreground are "
            "swapped on these, invert them and save them without an inverting table.",
            files=(mask.name for mask in inverting),
        )
    elif bilevel:
        yield warning(
            subject(len(bilevel), "mask") + " stored with 1 bit and shown with 0 as white; "
            "the numbers were read as stored, so what viewers show as black is foreground.",
            got=and_more([mask.name for mask in bilevel]) + ".",
            hint="if white is foreground, save the masks as 8-bit PNG.",
            files=(mask.name for mask in bilevel),
        )


def _in_alpha(masks: list[MaskFacts]) -> Iterator[Finding]:
    alone = [mask for mask in masks if mask.alpha == "mask"]
    full = [mask for mask in masks if mask.alpha == "opaque"]
    if alone:
        yield warning(
            subject(len(alone), "mask") + " of one color everywhere; the alpha channel (how "
            "opaque a pixel is) was read as the mask.",
            got=and_more([mask.name for mask in alone]) + ".",
            hint="save masks without transparency to be sure.",
            files=(mask.name for mask in alone),
        )
    if hidden := [mask for mask in masks if mask.alpha == "hidden"]:
        yield warning(
            subject(len(hidden), "mask") + " transparent everywhere, with one color below; "
            "they were read as background only.",
            got=and_more([mask.name for mask in hidden]) + ".",
            hint="save masks without transparency to be sure.",
            files=(mask.name for mask in hidden),
        )
    if alone and full:
        yield warning(
            subject(len(full), "mask") + " black and opaque everywhere, where others have "
            "their mask in the alpha channel; they were read as background only.",
            got=and_more([mask.name for mask in full]) + ".",
            hint="if all of these images is foreground, save their masks as white pictures.",
            files=(mask.name for mask in full),
        )


def _two_values(masks: list[MaskFacts], void: int | None) -> Iterator[Finding]:
    """Yield a finding if what is to be learned as measurements says only where something is."""
    values = sorted({value for mask in masks for value in mask.counts} - {void})
    if len(values) == 2 and all(mask.counts for mask in masks):
        low, high = values
        yield warning(
            f"The task is regression, but all masks hold only two values: {low} and {high}.",
            why="measurements take many values; these look like background and foreground.",
            got=and_more([mask.name for mask in masks]) + ".",
            hint='set task = "binary" to learn where something is, or leave the task out.',
        )


def _undecided(masks: list[MaskFacts]) -> Iterator[Finding]:
    """Yield a finding if one number below 0 stands apart from all measurements."""
    below = [mask for mask in masks if mask.least < 0]
    if not below or len({mask.least for mask in below}) > 1 or not all(m.has_code for m in below):
        return
    code = f"{below[0].least:g}"
    hint = f"set void = {code} in {FILE_NAME}."
    if below[0].least < _FARTHEST:
        hint = "save it as not a number (NaN)."
    yield warning(
        f"{code} was taken for a measurement, in {len(below)} of {len(masks)} masks.",
        got=f"no other number below 0 in {and_more([mask.name for mask in below])}.",
        hint=f"if it marks pixels without a measurement, {hint}",
        files=(mask.name for mask in below),
    )
