"""Who takes part in a comparison, in which order, and under which settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imseg.approaches.methods.approach import Approach
from imseg.approaches.methods.catalog import APPROACHES, find_approach
from imseg.approaches.planning.settings import Settings, declared, problems_of, settings_from
from imseg.errors import ImsegError, raise_all

RowKind = Literal["labels", "bound", "method", "matched"]
"""``labels``: labeled images alone. ``bound``: hidden masks are used too, no method. ``method``:
learns from unlabeled images. ``matched``: labeled images alone, with the steps and the width of a
method's final network."""

SETTLED = ("approach", "seed", "match", "reuse")
"""Settings that a comparison chooses for each run by itself."""

TAKEN_OVER = (
    "rotate", "strength_schedule", "fresh_copies", "networks", "device", "precision", "compile",
    "workers", "validate_every", "task", "network", "weights", "learning_rate", "weight_decay",
    "learning_rate_schedule", "warm_up_steps", "average_weights", "keep_weights",
)  # fmt: skip
"""Settings that a matched baseline is given too; its matched run settles the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """One row of a comparison."""

    name: str
    """What it is called, and its folder below that of a seed."""
    approach: str
    """What it trains."""
    kind: RowKind
    """What it is in the comparison for."""
    matched_to: str | None = None
    """The row whose final network's steps and width it gets."""
    baseline: str | None = None
    """The row that it is compared with: labeled images alone, trained as long."""
    asked: bool = True
    """Whether it was asked for, or added for a fair comparison."""


def participants_of(names: Sequence[str], *, matched: bool = True) -> tuple[Participant, ...]:
    """Return the rows of a comparison in the order in which they are trained.

    What a method starts from comes before it: its networks are taken over, so it costs nothing.
    Each method gets a matched baseline: the one that learns from labeled images as its start does,
    and those that were asked for.

    Args:
        names: Approaches as they were asked for.
        matched: Whether each method gets a baseline that trains as long, asked for or not.

    Raises:
        ImsegError: If there is no such approach, none at all, or a matched baseline has nothing to
            be matched to.
    """
    if not names:
        raise ImsegError(
            "Nothing is compared.",
            expected="names from `imseg approaches`, such as --approaches ldt,im.",
            got="none.",
        )
    asked = [find_approach(name) for name in dict.fromkeys(names)]
    methods = [each for each in asked if kind_of(each) == "method"]
    fitting = [each for each in asked if each.matched or (each.matchable and methods)]
    if not methods and any(each.matched for each in asked):
        raise _nothing_to_match(next(each.name for each in asked if each.matched))
    starts = [each.start.name for each in (*asked, *methods) if each.start is not None]
    alone = [each for each in asked if each not in methods and each not in fitting]
    first = dict.fromkeys([*starts, *(each.name for each in alone)])
    wanted = {each.name for each in asked}
    rows = [
        Participant(
            name=name, approach=name, kind=kind_of(find_approach(name)), asked=name in wanted
        )
        for name in first
        if find_approach(name) not in methods
    ]
    rows += [
        Participant(
            name=each.name,
            approach=each.name,
            kind="method",
            baseline=_matched_name(_own_baseline(each), each) if matched else None,
        )
        for each in methods
    ]
    for each in methods:
        own = _own_baseline(each)
        rows += [
            Participant(
                name=_matched_name(kind, each),
                approach=kind,
                kind="matched",
                matched_to=each.name,
                asked=kind in wanted,
            )
            for kind in dict.fromkeys([*([own] * matched), *(one.name for one in fitting)])
        ]
    return tuple(rows)


def kind_of(approach: Approach) -> RowKind:
    """Return what an approach is in a comparison for."""
    if approach.matched:
        return "matched"
    if approach.sees_truth:
        return "bound"
    return "method" if approach.learns_from_unlabeled else "labels"


def settings_for(
    participant: Participant, common: Mapping[str, Any], *, seed: int, runs: Path | None
) -> Settings:
    """Return the settings of one run: the common ones as far as they say something about it.

    Args:
        participant: Whose.
        common: Names and values of ``Settings``.
        seed: Root of its randomness.
        runs: The folder with all runs of this seed, from which networks are taken over; None where
            there is none yet.

    Raises:
        ImsegError: With every problem at once.
    """
    approach = find_approach(participant.approach)
    given = {name: value for name, value in common.items() if name not in SETTLED}
    if participant.matched_to is not None:
        given = {name: value for name, value in given.items() if name in TAKEN_OVER}
        given["match"] = (runs or Path()) / participant.matched_to
    given |= {"approach": approach.name, "seed": seed}
    for name in _unused(given, approach):
        del given[name]
    if runs is not None and runs.is_dir():
        given["reuse"] = runs
    return settings_from(given)


def check_options(participants: Sequence[Participant], common: Mapping[str, Any]) -> None:
    """Check that every option says something about at least one row, and that all values fit.

    Args:
        participants: All rows.
        common: Names and values of ``Settings``, each of its type.

    Raises:
        ImsegError: With every problem at once.
    """
    problems: dict[str, ImsegError] = {}
    used: set[str] = set()
    for name in [name for name in common if name in SETTLED]:
        problems[name] = ImsegError(
            f"A comparison chooses {name} for each of its runs by itself.",
            expected="settings that all runs share.",
            got=f"{name} = {common[name]}",
            hint="leave it out; --approaches and --seeds say what is compared.",
        )
    shared = {name: value for name, value in common.items() if name not in SETTLED}
    for participant in participants:
        approach = find_approach(participant.approach)
        given = shared | {"approach": approach.name}
        if participant.kind == "matched":
            given = {name: given[name] for name in given if name in (*TAKEN_OVER, "approach")}
            used |= set(given) - set(_unused(given, approach))
            continue
        idle = _unused(given, approach)
        used |= set(given) - set(idle)
        settings = Settings(**{name: value for name, value in given.items() if name not in idle})
        problems |= {str(error): error for error in problems_of(settings)}
    useless = [name for name in shared if name not in used]
    if useless:
        options = ", ".join(declared()[name].flag for name in useless)
        names = ",".join(participant.approach for participant in participants if participant.asked)
        problems["useless"] = ImsegError(
            f"No approach here has a use for {options}.",
            expected="options that change something.",
            got=f"--approaches {names}",
            hint="leave them out.",
        )
    raise_all(problems.values())


def _unused(given: Mapping[str, Any], approach: Approach) -> list[str]:
    """Return the given settings that an approach has no use for."""
    settings = Settings(**given)
    sees = approach.sees_truth or approach.pseudo_label is not None
    hidden = settings.unlabeled_masks is not None and not sees
    return [*settings.unused, *(["unlabeled_masks"] if hidden else [])]


def _own_baseline(method: Approach) -> str:
    """Return the matched baseline that learns from labeled images as a method does."""
    return next(
        each.name for each in APPROACHES.values() if each.matched and each.labeled == method.labeled
    )


def _matched_name(baseline: str, method: Approach) -> str:
    return f"{baseline}-to-{method.name}"


def _nothing_to_match(name: str) -> ImsegError:
    return ImsegError(
        f"{name} has nothing to be matched to.",
        expected="a method beside it, whose steps and width it gets.",
        got="approaches that learn from labels alone.",
        hint=f"--approaches im,{name}; a method brings its matched baseline along by itself.",
    )
