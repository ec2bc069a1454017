"""What a user may ask for, and how TOML and the command line are checked against it."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from imseg.approaches.approach import Approach
from imseg.approaches.catalog import find_approach
from imseg.data.config import TaskWord
from imseg.errors import ImsegError, near_miss, raise_all

Effort = Literal["quick", "standard", "paper"]
Blocking = Literal["both", "input", "output", "none"]
Selection = Literal["paper", "same-classes", "all"]
Ladder = Literal["default", "hela", "cityscapes"]

SMALLEST_SIDE = 32
"""Pixels a side below which a network that halves four times has too little left to normalize."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything about a training that can be asked for; None leaves the choice to ``effort``."""

    approach: str = "im"
    """A name from ``imseg approaches``."""
    effort: Effort = "standard"
    """The budget: a few minutes, about an hour, or the paper's schedule."""
    seed: int = 0
    """The root of all randomness."""
    task: TaskWord | None = None
    """What masks hold; None recognizes it from them."""
    generations: int | None = None
    """How often teachers teach students."""
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
    blocking: Blocking | None = None
    """Whether inconsistent pixels are made 0 in the image, the label, both or neither."""
    ignore: bool | None = None
    """Whether inconsistent pixels have no weight in the loss."""
    select: Selection | None = None
    """Which pseudo-labeled images are used: the paper's rule, same classes found, or all."""
    ladder: Ladder | None = None
    """How strongly labeled images are disturbed: the paper's strengths for its data sets."""
    rotate: bool | None = None
    """Whether disturbed images are also turned and flipped upside down; None: where there is no
    above (binary, multilabel, instances)."""
    match: Path | None = None
    """The run whose final network's steps and width a matched baseline gets."""
    unlabeled_masks: Path | None = None
    """Hidden masks of the unlabeled images; only fdt reads them."""
    reuse: Path | None = None
    """A run, or a folder of runs, whose networks are taken over where their jobs are equal."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:0 ..."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of activations; float32 is the exact mode."""
    workers: int | None = None
    """Networks trained side by side; None: as many as there are cores."""


def settings_from(options: Mapping[str, Any], *, config: Path | None = None) -> Settings:
    """Return checked settings from options and, below them, a TOML file.

    Args:
        options: Names and values; None means "not given".
        config: A TOML file with the same names.

    Raises:
        ImsegError: With every problem at once.
    """
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
                got=name,
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
    problems += _problems(settings)
    if settings.reuse is not None and not settings.reuse.is_dir():
        problems.append(_no_reuse(settings.reuse))
    raise_all(problems)
    return settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ImsegError(
            f"The settings file {path} cannot be read.",
            expected="a TOML file such as `epochs = 20`.",
            got=str(error.strerror or error),
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ImsegError(
            f"The settings file {path} is not TOML.",
            expected='lines such as `epochs = 20` and `approach = "im"`.',
            got=str(error),
        ) from error


def _problems(settings: Settings) -> list[ImsegError]:
    """Return everything that types alone do not rule out."""
    problems: list[ImsegError] = []

    def refuse(option: str, expected: str, got: object, hint: str | None = None) -> None:
        problems.append(
            ImsegError(f"{option} cannot be {got}.", expected=expected, got=str(got), hint=hint)
        )

    for name in (
        "generations", "networks", "epochs", "max_steps", "batch_size", "limit_unlabeled", "workers"
    ):  # fmt: skip
        value = getattr(settings, name)
        if value is not None and value < 1:
            refuse(_option(name), "1 or more.", value)
    if settings.seed < 0:
        refuse("--seed", "0 or more.", settings.seed)
    if settings.teachers is not None and settings.teachers not in (2, 3, 4):
        refuse("--teachers", "2, 3 or 4.", settings.teachers)
    for name in ("erode", "dilate"):
        value = getattr(settings, name)
        if value is not None and value not in (0, 3, 5):
            refuse(_option(name), "0, 3 or 5 pixels.", value)
    if settings.width is not None and not 0.0625 <= settings.width <= 16:
        refuse("--width", "a number from 0.0625 to 16; the paper uses 0.5 to 2.", settings.width)
    if settings.image_size is not None and min(settings.image_size) < SMALLEST_SIDE:
        refuse("--image-size", f"{SMALLEST_SIDE} pixels or more a side.", settings.image_size)
    try:
        approach = find_approach(settings.approach)
    except ImsegError as error:
        return [*problems, error]
    return problems + _misfits(settings, approach)


def _misfits(settings: Settings, approach: Approach) -> list[ImsegError]:
    """Return options that the approach has no use for, or lacks."""
    rules = (_idle_options, _match_misfit, _hidden_masks_misfit, _too_many_teachers)
    found = [rule(settings, approach) for rule in rules]
    return [error for error in found if error is not None]


def _idle_options(settings: Settings, approach: Approach) -> ImsegError | None:
    names: list[str] = []
    if settings.match is not None or approach.matched:
        names += ["epochs", "max_steps", "width", "image_size", "batch_size"]
    if approach.pseudo_label is None:
        names += ["generations", "teachers", "erode", "dilate", "blocking", "ignore", "select"]
    if not approach.needs_unlabeled:
        names.append("limit_unlabeled")
    if not approach.disturbs:
        names += ["ladder", "rotate"]
    idle = [_option(name) for name in names if getattr(settings, name) is not None]
    if not idle:
        return None
    settled = settings.match is not None or approach.matched
    matched = "; its matched run settles steps, width and sizes" if settled else ""
    return ImsegError(
        f"{approach.name} has no use for {', '.join(idle)}.",
        expected="options that change something.",
        got=f"{approach.name}{matched}.",
        hint=f"leave them out, or see imseg explain {approach.name}.",
    )


def _match_misfit(settings: Settings, approach: Approach) -> ImsegError | None:
    if approach.matched and settings.match is None:
        return ImsegError(
            f"{approach.name} does not know which run it is matched to.",
            expected="--match RUN, the folder of a finished run.",
            hint="imseg train DATA --approach im --out runs/a, then --match runs/a",
        )
    if settings.match is not None and not (approach.matched or approach.matchable):
        return ImsegError(
            f"{approach.name} is not a matched baseline, so --match changes nothing.",
            expected="--match with ldt-matched, aldt-matched or ldt-online.",
        )
    return None


def _hidden_masks_misfit(settings: Settings, approach: Approach) -> ImsegError | None:
    if approach.labeled.hidden_too and settings.unlabeled_masks is None:
        return ImsegError(
            f"{approach.name} needs the hidden masks of the unlabeled images.",
            expected="--unlabeled-masks FOLDER with one mask an unlabeled image.",
            hint="--unlabeled-masks DATA/hidden/masks, where `imseg prepare` puts them.",
        )
    if settings.unlabeled_masks is not None and not approach.labeled.hidden_too:
        return ImsegError(
            f"{approach.name} may not see the hidden masks of the unlabeled images.",
            expected="--unlabeled-masks with fdt only.",
            hint="leave --unlabeled-masks out.",
        )
    return None


def _too_many_teachers(settings: Settings, approach: Approach) -> ImsegError | None:
    if approach.pseudo_label is None or not settings.networks or settings.networks < 1:
        return None
    teachers = settings.teachers or approach.pseudo_label.teachers
    if teachers <= settings.networks:
        return None
    return ImsegError(
        "There are more teachers than networks.",
        expected="--teachers at most --networks.",
        got=f"{teachers} teachers, {settings.networks} networks.",
    )


def _no_reuse(folder: Path) -> ImsegError:
    return ImsegError(
        f"There is no run to reuse at {folder}.",
        expected="the folder of a run, or a folder of runs.",
        hint="check --reuse.",
    )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


BLOCKING_CHOICES: tuple[str, ...] = get_args(Blocking)
