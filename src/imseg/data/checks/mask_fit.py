"""Whether mask files are of the kind that a spec describes."""

from __future__ import annotations

from collections.abc import Iterator

from imseg.data.files.listing import counted
from imseg.data.folder.config import FILE_NAME
from imseg.data.folder.facts import ImageFacts, MaskFacts, Survey
from imseg.data.masks.encoding import describe_values, unknown_values, value_text
from imseg.data.masks.recognize import palette_of
from imseg.errors import Finding, ImsegError, and_more
from imseg.types import Color, TargetSpec

_HOLDS = {"values": "whole numbers", "colors": "colors", "numbers": "fractions"}
_WANTED = {
    "values": "whole numbers, as in labeled/masks.",
    "colors": "colors, as in labeled/masks.",
    "planes": "whole numbers: 0, and one other where the label is.",
    "objects": "whole numbers: 0, and one for each object.",
    "numbers": "numbers, as in labeled/masks.",
}
_LIST_THEM = f"list the values under [classes] in {FILE_NAME}, set void there, "


def find_misfits(survey: Survey, spec: TargetSpec, *, listed: bool) -> list[Finding]:
    """Return an error for each way in which masks are not what the spec describes.

    Args:
        survey: The facts about all readable pictures.
        spec: What masks mean.
        listed: Whether the user listed the classes, so that palettes need not say which is which.
    """
    findings = [*_of_other_form(survey, spec)]
    if spec.coding == "planes":
        findings += _smeared_planes(survey, spec)
    findings += _unknown_values(survey, spec)
    if spec.indexed and not listed:
        findings += _other_palettes(survey, spec)
    return findings


def mask_problem(mask: MaskFacts, spec: TargetSpec) -> ImsegError | None:
    """Return what is wrong with one mask, if anything is."""
    if not _has_form(mask, spec):
        return ImsegError(
            f"{mask.name} holds {_HOLDS[mask.form]}.",
            expected=_WANTED[spec.coding],
            hint="save it as the labeled masks are saved.",
        )
    if spec.coding == "planes" and mask.objects > 1:
        return ImsegError(
            f"{mask.name} holds {mask.distinct} different values.",
            expected="at most two: 0, and one other where the label is.",
            got=_values_of(mask, spec) + ".",
            hint="threshold it at half, and save it as PNG.",
        )
    strange = unknown_values(mask.counted_as(spec.coding), spec)
    if strange:
        return ImsegError(
            f"{mask.name} holds values that no labeled mask has.",
            expected=describe_values(spec),
            got=and_more([value_text(value, spec) for value in strange], most=8) + ".",
            hint=f"list them under [classes] in {FILE_NAME}, or set void there.",
        )
    return None


def _has_form(mask: MaskFacts, spec: TargetSpec) -> bool:
    match spec.coding:
        case "colors":
            return mask.form in ("colors", "values")
        case "numbers":
            return mask.form in ("numbers", "values")
        case _:
            return mask.whole


def _masks(survey: Survey) -> Iterator[tuple[str, ImageFacts, MaskFacts]]:
    """Yield every mask with the name of its split and its picture."""
    for name, split in survey.splits().items():
        for facts in split:
            for mask in facts.masks:
                yield name, facts, mask


def _of_other_form(survey: Survey, spec: TargetSpec) -> list[Finding]:
    wrong = [mask for _, _, mask in _masks(survey) if not _has_form(mask, spec)]
    if not wrong:
        return []
    one = len(wrong) == 1
    return [
        Finding(
            severity="error",
            what=f"{counted(len(wrong), 'mask')} {'is' if one else 'are'} not of the kind that "
            f"{'is' if one else 'are'} needed.",
            expected=_WANTED[spec.coding],
            got=and_more([f"{mask.name} holds {_HOLDS[mask.form]}" for mask in wrong]) + ".",
            hint="save all masks in the same way.",
            files=tuple(mask.name for mask in wrong),
        )
    ]


def _smeared_planes(survey: Survey, spec: TargetSpec) -> list[Finding]:
    wrong = [mask for _, _, mask in _masks(survey) if mask.whole and mask.objects > 1]
    if not wrong:
        return []
    one = len(wrong) == 1
    shown = [f"{mask.name} holds {_values_of(mask, spec)}" for mask in wrong]
    return [
        Finding(
            severity="error",
            what=f"{counted(len(wrong), 'mask')} {'holds' if one else 'hold'} more than two "
            "values, so where the label is cannot be told.",
            expected=f"at most two{'' if spec.void is None else ' beside void'}: 0, and one other "
            "where the label is.",
            got=and_more(shown) + ".",
            hint="threshold them at half (imseg check DATA --fix DIR writes a repaired copy), or "
            f"set void in {FILE_NAME} if one value marks undecided pixels.",
            files=tuple(mask.name for mask in wrong),
        )
    ]


def _unknown_values(survey: Survey, spec: TargetSpec) -> list[Finding]:
    """Return an error for each of val and test whose masks hold values that no labeled mask has."""
    findings = []
    for name, split in (("val", survey.val), ("test", survey.test)):
        masks = [facts.mask for facts in split if facts.mask is not None]
        known = [(mask, unknown_values(mask.counted_as(spec.coding), spec)) for mask in masks]
        strange = [(mask, values) for mask, values in known if values and _has_form(mask, spec)]
        if not strange:
            continue
        shown = [
            f"{mask.name} has {and_more([value_text(value, spec) for value in values], most=5)}"
            for mask, values in strange
        ]
        findings.append(
            Finding(
                severity="error",
                what=f"{counted(len(strange), 'mask')} in {name} "
                f"{'holds' if len(strange) == 1 else 'hold'} values that no labeled mask has.",
                expected=describe_values(spec),
                got=and_more(shown) + ".",
                hint=_LIST_THEM + "or label an image that has them.",
                files=tuple(mask.name for mask, _ in strange),
            )
        )
    return findings


def _other_palettes(survey: Survey, spec: TargetSpec) -> list[Finding]:
    """Return an error if a value has different colors in different indexed files."""
    usual: dict[int, tuple[Color, MaskFacts]] = {}
    strange: dict[str, str] = {}
    for _, _, mask in _masks(survey):
        for value, color in palette_of([mask]).items():
            first, source = usual.setdefault(value, (color, mask))
            if color != first and value != spec.void:
                text = f"{value} is {_hex(first)} in {source.name}, {_hex(color)} in {mask.name}"
                strange.setdefault(mask.name, text)
    if not strange:
        return []
    return [
        Finding(
            severity="error",
            what=f"{counted(len(strange), 'indexed mask')} "
            f"{'has' if len(strange) == 1 else 'have'} other colors for the same values, so the "
            "values may mean different things.",
            expected="one palette in all masks.",
            got=and_more(list(strange.values()), most=2) + ".",
            hint="convert the masks to RGB, so that colors count; or list the values under "
            f"[classes] in {FILE_NAME}, if they are right.",
            files=tuple(strange),
        )
    ]


def _values_of(mask: MaskFacts, spec: TargetSpec) -> str:
    values = [str(value) for value in mask.counts if value != spec.void]
    return and_more(values, most=6)


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
