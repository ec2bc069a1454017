"""How masks are written: in which way, with which numbers, and what ``imseg.toml`` says of them."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from imseg.data.palette import BLACK, GRAY, Color, distinct_colors
from imseg.data.polygons.annotations import Annotations, Picture
from imseg.data.polygons.masks import BYTE_VOID, Mode, object_key, void_value
from imseg.errors import ImsegError, and_more
from imseg.types import MAX_CLASSES, POSITION

BACKGROUND = "background"
"""The name of class 0."""

_SEVERAL = 2
_LONGEST = 50  # characters; file systems end at 255 bytes
_SPECIAL = re.compile("[0-9]+|#[0-9a-fA-F]{6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the masks of a data set are written."""

    mode: Mode
    """One class number a pixel, one number an object, or one file a label."""
    reason: str
    """Why so, in words."""
    numbers: Mapping[str, int]
    """The number of each label that is drawn somewhere, from 1."""
    folders: Mapping[str, str]
    """The folder of each label's masks (way ``labels``)."""
    colors: Mapping[str, Color]
    """A color for each label."""

    @property
    def palette(self) -> tuple[Color, ...] | None:
        """The color of each byte of a class mask, so that any viewer shows it; None: no bytes."""
        if self.mode != "classes" or void_value("classes", self.numbers) != BYTE_VOID:
            return None
        shown = {number: self.colors[label] for label, number in self.numbers.items()}
        return (BLACK, *(shown.get(value, GRAY) for value in range(1, 256)))


def choose_plan(annotations: Annotations, mode: Mode | None = None) -> Plan:
    """Return how to write masks.

    Numbers follow all labels that are declared, so that two exports of one project agree; those
    that are drawn nowhere leave gaps.

    Args:
        annotations: What was drawn.
        mode: The way that was asked for; None: ``instances`` if there is one label, and half of
            the annotated pictures or more have several objects; else ``classes``.

    Raises:
        ImsegError: If nothing is drawn, or there are more classes than a network can tell apart.
    """
    used = annotations.used
    if not used:
        raise _nothing_drawn(annotations)
    reason = "as asked for"
    if mode is None:
        mode, reason = _choose_mode(annotations)
    if mode == "classes" and len(used) + 1 > MAX_CLASSES:
        raise ImsegError(
            f"{annotations.source} has {len(used)} labels, too many for one mask.",
            expected=f"at most {MAX_CLASSES - 1} labels beside the background.",
            got=f"{and_more(used)}.",
            hint="--as labels, or merge labels in the annotation tool.",
        )
    ranks = {label: rank for rank, label in enumerate(annotations.objects, start=1)}
    return Plan(
        mode=mode,
        reason=reason,
        numbers={label: ranks[label] for label in used},
        folders=name_folders(used),
        colors=dict(zip(used, distinct_colors(len(used)), strict=True)),
    )


def settings_text(plan: Plan, *, void: bool) -> str:
    """Return what ``imseg.toml`` says: the task, the value of void pixels, names and colors.

    Objects are learned without their labels, so for them no names are listed.

    Args:
        plan: How the masks are written.
        void: Whether some mask has void pixels.
    """
    task = {"instances": "instances", "labels": "multilabel"}.get(plan.mode, "multiclass")
    if plan.mode == "classes" and len(plan.numbers) == 1:
        task = "binary"
    lines = [f'task = "{task}"']
    if void:
        lines.append(f"void = {void_value(plan.mode, plan.numbers)}")
    if plan.mode != "instances":
        lines += ["", "[classes]"]
        if plan.mode == "classes":
            lines.append(_class_line("0", BACKGROUND, BLACK))
        for label, number in plan.numbers.items():
            key = str(number) if plan.mode == "classes" else _quoted(plan.folders[label])
            lines.append(_class_line(key, label, plan.colors[label]))
    return "\n".join(lines) + "\n"


def name_folders(labels: tuple[str, ...]) -> dict[str, str]:
    """Return a folder name for each label: safe on every system, and none twice.

    Whatever is not a letter, a digit, a space, "-", "_" or "." becomes "_". Names that mean
    something else as a folder of masks (a number, ``position``) get ``label_`` before them.
    """
    chosen: dict[str, str] = {}
    taken: set[str] = set()
    for label in labels:
        safe = re.sub(r"[^\w .-]", "_", label)[:_LONGEST].strip(". ") or "label"
        if safe.lower() == POSITION or _SPECIAL.fullmatch(safe):
            safe = f"label_{safe}"
        name, number = safe, 2
        while name.lower() in taken:
            name, number = f"{safe}_{number}", number + 1
        taken.add(name.lower())
        chosen[label] = name
    return chosen


def _choose_mode(annotations: Annotations) -> tuple[Mode, str]:
    """Return the way that fits what was drawn, and why."""
    used = annotations.used
    if len(used) > 1:
        return "classes", f"{len(used)} labels"
    counts = [count for count in map(_objects, annotations.pictures) if count]
    typical = statistics.median(counts) if counts else 0
    if typical >= _SEVERAL:
        return "instances", f"one label, typically {typical:g} objects a picture"
    return "classes", "one label, typically one object a picture"


def _objects(picture: Picture) -> int:
    regions = (region for region in picture.regions if region.role == "object")
    return len({object_key(region) for region in regions})


def _class_line(key: str, name: str, color: Color) -> str:
    code = "#" + "".join(f"{part:02x}" for part in color)
    return f'{key} = {{ name = {_quoted(name)}, color = "{code}" }}'


def _quoted(text: str) -> str:
    """Return a TOML text; JSON escapes quotes and backslashes alike."""
    return json.dumps(text, ensure_ascii=False)


def _nothing_drawn(annotations: Annotations) -> ImsegError:
    noted = [f"{len(places)} {what}" for what, places in annotations.tally.places.items()]
    listed = f"{len(annotations.pictures)} pictures listed"
    return ImsegError(
        f"{annotations.source} has no region that gives a mask.",
        expected="polygons or masks with a label.",
        got="; ".join([listed, *noted]) + ".",
        hint="draw outlines with the annotation tool; boxes of COCO, points and lines have none.",
    )
