"""What a user may ask for, and how TOML and the command line are checked against it."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from imseg.approaches.methods.paper import Published
from imseg.components.consistency import Level
from imseg.data.files.atomic import read_bounded
from imseg.data.folder.config import TaskWord
from imseg.errors import ImsegError, near_miss, raise_all, shown
from imseg.ops.inconsistency import BlockColor
from imseg.tasks.base import Pool

Effort = Literal["quick", "standard", "paper"]
Blocking = Literal["both", "input", "output", "none"]
Selection = Literal["paper", "same-classes", "all"]
Ladder = Literal["default", "hela", "cityscapes"]

SMALLEST_SIDE = 32
"""Pixels a side below which a network that halves four times has too little left to normalize."""
LARGEST_SIDE = 8192
"""Pixels a side beyond which no machine has the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything about a training that can be asked for; None leaves the choice to ``effort``."""

    approach: str = "im"
    """A name from ``imseg approaches``."""
    effort: Effort = "standard"
    """The budget: a few minutes, about an hour, or the paper's schedule."""
    paper: Published | None = None
    """The published settings for one of the paper's data sets, with the paper's schedule."""
    seed: int = 0
    """The root of all randomness."""
    task: TaskWord | None = None
    """What masks hold; None recognizes it from them."""
    generations: int | None = None
    """How often teachers teach students."""
    patience: int | None = None
    """Generations without a rise on validation after which a run ends; 0: never."""
    teachers: int | None = None
    """How many networks must agree: 2, 3 or 4."""
    networks: int | None = None
    """Networks of every stage, the start included."""
    epochs: int | None = None
    """Passes over the training images."""
    max_steps: int | None = None
    """Most optimizer steps of any one network."""
    image_size: tuple[int, int] | None = None
    """Height and width in pixels at which networks work."""
    width: float | None = None
    """The paper's alpha: filters of every layer, as a share of 16 to 256."""
    batch_size: int | None = None
    """Images an optimizer step."""
    limit_unlabeled: int | None = None
    """Use at most so many unlabeled images, chosen by seed."""
    erode: int | None = None
    """Side in pixels of the square that erodes inconsistency masks: 0, 3 or 5."""
    dilate: int | None = None
    """Side in pixels of the square that dilates them afterwards: 0, 3 or 5."""
    grow_labels: bool | None = None
    """Whether class labels are dilated by 3x3 too; None: under the paper's schedule, where masks
    are eroded."""
    blocking: Blocking | None = None
    """Whether inconsistent pixels are made 0 in the image, the label, both or neither; None:
    neither, but both in the paper's schedule and where a color or an erosion is asked for."""
    ignore: bool | None = None
    """Whether inconsistent pixels have no weight in the loss; None: where they are not blocked,
    unless that was asked for."""
    block_color: BlockColor | None = None
    """What blocked pixels of the image become: black, the image's mean, or noise of its own."""
    reblock: bool | None = None
    """Whether blocked pixels get that color again after a copy was disturbed; None: except in the
    paper's schedule."""
    select: Selection | None = None
    """Which pseudo-labeled images are used: the paper's rule, same classes found, or all."""
    vote: Pool | None = None
    """How the votes of teachers or views become a label."""
    views: int | None = None
    """Disturbed views that the best teacher labels: 3, 5 or 7."""
    plain_view: bool | None = None
    """Whether the image as it is is among the views."""
    judges: int | None = None
    """How many of the best judges say together which proposal is best: 1 to 4."""
    thresholds: tuple[float, float] | None = None
    """The scores from which on a mask is good, and very good; None: from validation images."""
    consistency_weight: float | None = None
    """How much the difference of two views counts, beside 1 for labeled images."""
    consistency_ramp: int | None = None
    """Epochs in which that weight rises to what it is."""
    consistency_level: Level | None = None
    """How strongly the two views are disturbed: low, mid or high."""
    ladder: Ladder | None = None
    """How strongly images are disturbed: the paper's strengths for its data sets."""
    rung: int | None = None
    """The ladder's rung, 1 to 5, of copies of pseudo-labeled images in every generation; None: one
    higher in each."""
    fresh_copies: bool | None = None
    """Whether copies are drawn anew at every look instead of once a run."""
    rotate: bool | None = None
    """Whether disturbed images are also turned and flipped upside down; None: where there is no
    above (binary, multilabel, instances)."""
    match: Path | None = None
    """The run whose final network's steps and width a matched baseline gets."""
    unlabeled_masks: Path | None = None
    """Hidden masks of the unlabeled images: fdt and gt-im++ learn from them, for all others
    pseudo-labels are compared with them (the audit)."""
    reuse: Path | None = None
    """A run, or a folder of runs, whose networks are taken over where their jobs are equal."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:0 ..."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of activations; float32 is the exact mode."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether training steps are compiled: auto measures whether it pays for itself in the run."""
    validate_every: int | None = None
    """Epochs between two looks at the validation images; None: as few as let them take a tenth of
    the time."""
    workers: int | None = None
    """Networks trained side by side; None: as many as there are cores."""

    def __post_init__(self) -> None:
        if self.paper is not None and self.effort == "standard":
            # The published settings come with the published schedule.
            object.__setattr__(self, "effort", "paper")


def settings_from(options: Mapping[str, Any], *, config: Path | None = None) -> Settings:
    """Return checked settings from options and, below them, a TOML file.

    Args:
        options: Names and values; None means "not given".
        config: A TOML file with the same names.

    Raises:
        ImsegError: With every problem at once.
    """
    from imseg.approaches.planning.setting_checks import problems_of

    settings, _, problems = _typed(options, config)
    problems += problems_of(settings)
    if settings.reuse is not None and not settings.reuse.is_dir():
        problems.append(_no_reuse(settings.reuse))
    raise_all(problems)
    return settings


def values_from(options: Mapping[str, Any], *, config: Path | None = None) -> dict[str, Any]:
    """Return the settings that are given, by name: known ones, each of its type.

    Whether they fit an approach, and lie in range, is not looked at.

    Args:
        options: As in ``settings_from``.
        config: As in ``settings_from``.

    Raises:
        ImsegError: With every problem at once.
    """
    settings, given, problems = _typed(options, config)
    raise_all(problems)
    return {name: getattr(settings, name) for name in given}


def _typed(
    options: Mapping[str, Any], config: Path | None
) -> tuple[Settings, list[str], list[ImsegError]]:
    """Return settings, the names of those given, and what is wrong with names and types."""
    given = {name: value for name, value in options.items() if value is not None}
    merged = {**(_read_toml(config) if config else {}), **given}
    problems: list[ImsegError] = []
    known = {field.name for field in dataclasses.fields(Settings)}
    for name in [name for name in merged if name not in known]:
        guess = near_miss(name.replace("-", "_"), known)
        problems.append(
            ImsegError(
                f"There is no setting named {name!r}" + (f" ({config})." if config else "."),
                expected=", ".join(sorted(known)),
                got=shown(name),
                hint=f"{guess} = ..." if guess else None,
            )
        )
        del merged[name]
    try:
        settings = TypeAdapter(Settings).validate_python(merged)
    except ValidationError as error:
        for detail in error.errors():
            name = ".".join(str(part) for part in detail["loc"])
            merged.pop(str(detail["loc"][0]), None)
            problems.append(
                ImsegError(
                    f"The setting {name.split('.')[0]} cannot have this value.",
                    expected=detail["msg"].removeprefix("Input should be "),
                    got=repr(detail["input"]),
                )
            )
        settings = TypeAdapter(Settings).validate_python(merged)
    return settings, list(merged), problems


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_bounded(path).decode("utf-8"))
    except OSError as error:
        raise ImsegError(
            f"The settings file {path} cannot be read.",
            expected="a TOML file such as `epochs = 20`.",
            got=str(error.strerror or error),
        ) from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, or deeper than can be read
        raise ImsegError(
            f"The settings file {path} is not TOML.",
            expected='lines such as `epochs = 20` and `approach = "im"`.',
            got=str(error),
        ) from error


def _no_reuse(folder: Path) -> ImsegError:
    return ImsegError(
        f"There is no run to reuse at {folder}.",
        expected="the folder of a run, or a folder of runs.",
        hint="check --reuse.",
    )


BLOCKING_CHOICES: tuple[str, ...] = get_args(Blocking)
