"""The facts about arrays, and what their user says about them, as for files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imseg.data.config import TASK_WORDS, FolderConfig, TaskWord
from imseg.data.facts import Facts, MaskFacts, Survey
from imseg.data.image_io import MaskFile
from imseg.data.inspection import Scope, image_facts, mask_facts
from imseg.errors import ImsegError, and_more, near_miss
from imseg.types import Image, LabeledImage

ClassNames = Sequence[str] | Mapping[int, str]
"""Names by mask value; a list names 0, 1, 2, ..., or else the values found, in ascending order.
Of planes, a name each."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the user says about masks in memory."""

    task: TaskWord | None
    """What the masks are; None: recognized from them."""
    class_names: ClassNames | None
    """Names for mask values, or planes."""
    void: int | None
    """The mask value of pixels that are never trained on nor scored."""
    pixel_size: float | None = None
    """Side of a pixel in micrometers."""
    unit: str = ""
    """The unit of the numbers."""

    def __post_init__(self) -> None:
        if self.task is not None and self.task not in TASK_WORDS:
            guess = near_miss(str(self.task), TASK_WORDS)
            raise ImsegError(
                f"There is no task {self.task!r}.",
                expected=", ".join(TASK_WORDS) + ".",
                hint=f'did you mean "{guess}"?' if guess else None,
            )
        size = self.pixel_size
        if size is not None and not (math.isfinite(size) and size > 0):
            raise ImsegError(
                "pixel_size is wrong.", expected="micrometers, above 0.", got=f"{size}."
            )
        if self.class_names is not None and self.task in ("instances", "regression"):
            raise ImsegError(
                f"class_names has no use, because the task is {self.task}.",
                expected="no class_names.",
                hint="leave it out, or choose another task.",
            )


def survey_arrays(
    pairs: Mapping[str, Sequence[LabeledImage]], unlabeled: Sequence[Image], meaning: Meaning
) -> tuple[Survey, FolderConfig]:
    """Return the facts about arrays, and what the user says in the words of ``imseg.toml``.

    Args:
        pairs: Images and masks of each split.
        unlabeled: Images alone.
        meaning: What the user says about the masks.

    Raises:
        ImsegError: If the names do not fit the masks.
    """
    config = FolderConfig(
        task=meaning.task, void=meaning.void, pixel_size=meaning.pixel_size, unit=meaning.unit
    )
    total = len(unlabeled) + sum(map(len, pairs.values()))
    scope = Scope(config=config, regions=meaning.task in (None, "instances"), pictures=total)
    every = [pair for members in pairs.values() for pair in members]
    labels = _labels(every, meaning) if meaning.task == "multilabel" else ()
    survey = Survey(
        unlabeled=tuple(
            image_facts(image.name, np.asarray(image.pixels), scope=scope) for image in unlabeled
        ),
        **{
            split: tuple(_facts(pair, labels, scope) for pair in members)
            for split, members in pairs.items()
        },
    )
    if meaning.class_names is None or labels:
        return survey, config
    values = [value for value in sorted(survey.label_counts()) if value != meaning.void]
    names = _names_by_value(meaning.class_names, values)
    return survey, FolderConfig(
        task=meaning.task,
        void=meaning.void,
        names=names,
        pixel_size=meaning.pixel_size,
        unit=meaning.unit,
    )


def _facts(pair: LabeledImage, labels: Sequence[str], scope: Scope) -> Facts:
    mask = np.asarray(pair.mask)
    name = f"mask of {pair.name}"
    found: MaskFacts | None = None
    planes: dict[str, MaskFacts] = {}
    if labels:
        planes = {
            label: mask_facts(f"{name} ({label})", _as_file(plane), scope=scope, label=label)
            for label, plane in zip(labels, mask, strict=True)
        }
    else:
        found = mask_facts(name, _as_file(mask), scope=scope)
    pixels = np.asarray(pair.image.pixels)
    return image_facts(pair.name, pixels, scope=scope, mask=found, planes=planes)


def _as_file(values: npt.NDArray[Any]) -> MaskFile:
    return MaskFile(values, "numbers" if values.dtype.kind == "f" else "values")


def _labels(pairs: Sequence[LabeledImage], meaning: Meaning) -> tuple[str, ...]:
    """Return the names of planes, in their order.

    Raises:
        ImsegError: If masks have different numbers of planes, or not as many as there are names.
    """
    shapes = {pair.name: np.asarray(pair.mask).shape for pair in pairs}
    flat = [name for name, shape in shapes.items() if len(shape) != 3]
    if flat:
        raise ImsegError(
            "The task is multilabel, but some masks have no axis of labels.",
            expected="arrays (t, h, w): a plane a label.",
            got=f"shape {shapes[flat[0]]} for {flat[0]}.",
            hint="put the labels first: np.stack([mask_of_a, mask_of_b]); for label images of "
            'objects, pass task="instances".',
        )
    counts = {shape[0]: name for name, shape in reversed(shapes.items())}
    if len(counts) > 1:
        shown = [f"{planes} for {name}" for planes, name in sorted(counts.items())]
        raise ImsegError(
            "The masks have different numbers of planes.",
            expected="a plane for every label in every mask, empty where it does not occur.",
            got=and_more(shown) + ".",
        )
    planes = next(iter(counts))
    names = meaning.class_names
    if isinstance(names, Mapping):
        names = [names.get(index, f"label {index}") for index in range(planes)]
    names = [f"label {index}" for index in range(planes)] if names is None else list(names)
    if len(names) != planes or len(set(names)) != planes:
        raise ImsegError(
            "The class names do not fit the planes of the masks.",
            expected=f"{planes} different names, in the order of the planes.",
            got=", ".join(names) + ".",
        )
    return tuple(names)


def _names_by_value(names: ClassNames, values: Sequence[int]) -> dict[int | str, str]:
    """Return class names by mask value; a list counts from 0, or names the values found."""
    if isinstance(names, Mapping):
        return dict(names.items())
    if not values or values[-1] < len(names):
        return dict(enumerate(names))
    if len(names) == len(values):
        return dict(zip(values, names, strict=True))
    raise ImsegError(
        "The class names do not fit the mask values.",
        expected=f"{len(values)} names, one for each value, or a dict from value to name.",
        got=f"{len(names)} names; values {and_more([str(value) for value in values], most=8)}.",
    )
