"""What types alone do not rule out: options out of range, or of no use to the approach."""

from __future__ import annotations

import math

from imseg.approaches.methods.approach import Approach
from imseg.approaches.methods.catalog import find_approach
from imseg.approaches.planning.settings import LARGEST_SIDE, SMALLEST_SIDE, Settings
from imseg.data.files.listing import counted
from imseg.errors import ImsegError

STAGE_OPTIONS = {
    "teachers": "teachers",
    "erode": "erode",
    "dilate": "dilate",
    "grow_labels": "grow_labels",
    "blocking": "block",
    "ignore": "block",
    "vote": "vote",
    "views": "views",
    "plain_view": "plain_view",
    "judges": "judges",
    "consistency_weight": "consistency_weight",
    "consistency_ramp": "consistency_ramp",
    "consistency_level": "consistency_level",
}
"""Settings that a stage has a use for, and the option of the stage that they set."""


def problems_of(settings: Settings) -> list[ImsegError]:
    """Return everything that types alone do not rule out."""
    problems: list[ImsegError] = []

    def refuse(option: str, expected: str, got: object, hint: str | None = None) -> None:
        problems.append(
            ImsegError(f"{option} cannot be {got}.", expected=expected, got=str(got), hint=hint)
        )

    for name in (
        "generations", "networks", "epochs", "max_steps", "batch_size", "limit_unlabeled",
        "validate_every", "workers",
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
    sides = settings.image_size
    if sides is not None and not SMALLEST_SIDE <= min(sides) <= max(sides) <= LARGEST_SIDE:
        refuse("--image-size", f"{SMALLEST_SIDE} pixels or more a side (at most 8192).", sides)
    if settings.views is not None and settings.views not in (3, 5, 7):
        refuse("--views", "3, 5 or 7.", settings.views)
    if settings.judges is not None and settings.judges not in (1, 2, 3, 4):
        refuse("--judges", "1, 2, 3 or 4.", settings.judges)
    if settings.rung is not None and settings.rung not in range(1, 6):
        refuse("--rung", "1 to 5.", settings.rung)
    if settings.patience is not None and settings.patience < 0:
        refuse("--patience", "0 (never stop early) or more.", settings.patience)
    if settings.consistency_ramp is not None and settings.consistency_ramp < 0:
        refuse("--consistency-ramp", "0 epochs or more.", settings.consistency_ramp)
    weight = settings.consistency_weight
    if weight is not None and not (0 <= weight < math.inf):
        refuse("--consistency-weight", "a number that is not negative.", weight)
    if settings.thresholds is not None and not _rising(settings.thresholds):
        refuse(
            "--thresholds", "two rising scores from 0 to 1, such as 0.72 0.75.", settings.thresholds
        )
    problems += _contradictions(settings)
    try:
        approach = find_approach(settings.approach)
    except ImsegError as error:
        return [*problems, error]
    return problems + _misfits(settings, approach)


def _contradictions(settings: Settings) -> list[ImsegError]:
    """Return options that make no sense together."""
    found: list[ImsegError] = []
    if settings.ignore and settings.erode and not settings.dilate:
        found.append(
            ImsegError(
                f"--erode cannot be joined with --ignore (erode = {settings.erode}).",
                expected="it where inconsistent pixels are blocked: what erosion takes off the mask"
                " has no weight either.",
                hint="leave one of them out.",
            )
        )
    if settings.paper is not None and settings.effort != "paper":
        found.append(
            ImsegError(
                f"--paper cannot be joined with --effort {settings.effort}.",
                expected="it alone, or with --effort paper.",
                got=f"joined with --effort {settings.effort}",
            )
        )
    return found


def _misfits(settings: Settings, approach: Approach) -> list[ImsegError]:
    """Return options that the approach has no use for, or lacks."""
    rules = (_idle_options, _match_misfit, _hidden_masks_misfit, _too_many_teachers)
    found = [rule(settings, approach) for rule in rules]
    return [error for error in found if error is not None]


def idle_settings(settings: Settings, approach: Approach) -> list[str]:
    """Return the names of settings that are given and change nothing about an approach."""
    names: list[str] = []
    if _is_settled(settings, approach):
        names += ["epochs", "max_steps", "width", "image_size", "batch_size", "paper"]
    if approach.generations < 2:
        names += ["generations", "patience"]
    names += [name for name, option in STAGE_OPTIONS.items() if option not in approach.options]
    if approach.pseudo_label is None:
        names.append("select")
    elif approach.pseudo_label.teachers == 1 and (settings.teachers or 1) == 1:
        # One alone is always of one opinion with itself.
        names += [] if "views" in approach.options else ["vote"]
        names += ["select"] if settings.select == "same-classes" else []
    if not approach.has_thresholds:
        names.append("thresholds")
    if not approach.needs_unlabeled:
        names.append("limit_unlabeled")
    if not approach.augments:
        names += ["ladder", "rotate"]
    elif settings.paper is not None:
        names += ["ladder"]
    names += _idle_for_copies(settings, approach)
    return [name for name in dict.fromkeys(names) if getattr(settings, name) is not None]


def _is_settled(settings: Settings, approach: Approach) -> bool:
    """Return whether another run settles steps, width and sizes."""
    return approach.matched or (settings.match is not None and approach.matchable)


def _idle_options(settings: Settings, approach: Approach) -> ImsegError | None:
    idle = [_option(name) for name in idle_settings(settings, approach)]
    if not idle:
        return None
    unblocked = "block" in approach.options and settings.blocking in ("output", "none")
    if _is_settled(settings, approach):
        why = "; its matched run settles steps, width and sizes"
    elif unblocked and {"--block-color", "--reblock"} & {*idle}:
        why = f"; --blocking {settings.blocking} leaves images as they are"
    else:
        why = "; --paper settles the strengths" if settings.paper and approach.augments else ""
    return ImsegError(
        f"{approach.name} has no use for {', '.join(idle)}.",
        expected="options that change something.",
        got=f"{approach.name}{why}.",
        hint=f"leave them out, or see imseg explain {approach.name}.",
    )


def _idle_for_copies(settings: Settings, approach: Approach) -> list[str]:
    """Return options of copies, and of what blocked pixels become in them, that change nothing."""
    blocks = "block" in approach.options and settings.blocking not in ("output", "none")
    copied = approach.augment is not None
    uses = {
        "block_color": blocks,
        "reblock": blocks and copied,
        "rung": copied and settings.paper is None,
        "fresh_copies": approach.has_copies,
    }
    return [name for name, used in uses.items() if not used]


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
    if approach.sees_truth and settings.unlabeled_masks is None:
        return ImsegError(
            f"{approach.name} needs the hidden masks of the unlabeled images.",
            expected="--unlabeled-masks FOLDER with one mask an unlabeled image.",
            hint="--unlabeled-masks DATA/hidden/masks, where `imseg prepare` puts them.",
        )
    audited = approach.pseudo_label is not None
    if settings.unlabeled_masks is not None and not (approach.sees_truth or audited):
        return ImsegError(
            f"{approach.name} may not see the hidden masks of the unlabeled images.",
            expected="--unlabeled-masks with an upper bound (fdt, gt-im++), or with an approach"
            " whose pseudo-labels can be compared with them.",
            got=f"{approach.name}, which makes no pseudo-labels.",
            hint="leave --unlabeled-masks out.",
        )
    return None


def _too_many_teachers(settings: Settings, approach: Approach) -> ImsegError | None:
    if not settings.networks or settings.networks < 1:
        return None
    labeler = approach.pseudo_label
    wanted = {
        "teachers": settings.teachers or (labeler.teachers if labeler else None),
        "judges": settings.judges or getattr(labeler, "judges", None),
    }
    found = [(name, count) for name, count in wanted.items() if count and count > settings.networks]
    if not found:
        return None
    name, count = found[0]
    fewest = {"teachers": 2, "judges": 1}
    instead = f", or fewer {name}." if count > fewest[name] else " or more."
    return ImsegError(
        f"There are more {name} than networks.",
        expected=f"--{name} at most --networks.",
        got=f"{count} {name}, {counted(settings.networks, 'network')}.",
        hint=f"--networks {count}{instead}",
    )


def _rising(pair: tuple[float, float]) -> bool:
    low, high = pair
    return 0 <= low < high <= 1


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
