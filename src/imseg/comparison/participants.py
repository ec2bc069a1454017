"""Who takes part in a comparison, in which order, and under which settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from imseg.approaches.methods.approach import Approach
from imseg.approaches.methods.catalog import APPROACHES, find_approach
from imseg.approaches.planning.settings import Settings, declared, problems_of, settings_from
from imseg.errors import ImsegError, raise_all, shown

RowKind = Literal["labels", "bound", "method", "matched"]
"""``labels``: labeled images alone. ``bound``: hidden masks are used too, no method. ``method``:
learns from unlabeled images. ``matched``: labeled images alone, with the steps and the width of a
method's final network."""

SETTLED = ("approach", "start_with", "seed", "match", "reuse")
"""Settings that a comparison chooses for each run by itself."""

TAKEN_OVER = (
    "rotate", "strength_schedule", "fresh_copies", "networks", "device", "precision", "compile",
    "workers", "validate_every", "task", "network", "weights", "learning_rate", "weight_decay",
    "learning_rate_schedule", "warm_up_steps", "average_weights", "keep_weights",
    "follow_links", "tta", "executor", "address",
)  # fmt: skip
"""Settings that a matched baseline is given too; its matched run settles the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """One row of a comparison."""

    approach: str
    """What it trains."""
    matched_to: str | None = None
    """The row whose final network's steps and width it gets."""
    baseline: str | None = None
    """The row that it is compared with: labeled images alone, trained as long."""
    asked: bool = True
    """Whether it was asked for, or added for a fair comparison."""

    @property
    def at_cost(self) -> bool:
        """Whether it costs what all networks of the row cost that it is matched to."""
        return self.matched_to is not None and find_approach(self.approach).at_cost

    @property
    def starts_from(self) -> str | None:
        """The row whose networks it takes over to begin with, if there is one."""
        start = None if self.matched_to is not None else find_approach(self.approach).start
        return start.name if start is not None else None

    @property
    def name(self) -> str:
        """What it is called, and its folder below that of a seed."""
        return f"{self.approach}-to-{self.matched_to}" if self.matched_to else self.approach

    @property
    def kind(self) -> RowKind:
        """What it is in the comparison for."""
        return "matched" if self.matched_to else kind_of(find_approach(self.approach))


def command_for(name: str, names: Sequence[str]) -> str:
    """Return the option that asks for the approaches of a comparison, with ``{}`` for one name."""
    return f"--approaches {','.join('{}' if each == name else shown(each) for each in names)}"


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
            expected="names from `imseg approaches`.",
            got="none.",
            hint="--approaches ldt,im",
        )
    asked = {name: find_approach(name, command_for(name, names)) for name in names}
    methods = [each for each in asked.values() if kind_of(each) == "method"]
    fitting = [name for name, each in asked.items() if each.matched or (each.matchable and methods)]
    if fitting and not methods:
        raise ImsegError(
            f"{fitting[0]} has nothing to be matched to.",
            expected="a method beside it, whose steps and width it gets.",
            got="approaches that learn from labels alone.",
            hint=f"--approaches im,{fitting[0]}; a method brings its matched baseline along by"
            " itself.",
        )
    starts = [each.start.name for each in asked.values() if each.start is not None]
    first = dict.fromkeys([*starts, *(name for name in asked if name not in fitting)])
    rows = [
        Participant(approach=name, asked=name in asked)
        for name in first
        if find_approach(name) not in methods
    ]
    baselines: list[Participant] = []
    for method in methods:
        own = [_own_baseline(method)] if matched else []
        added = [
            Participant(approach=name, matched_to=method.name, asked=name in asked)
            for name in dict.fromkeys([*own, *fitting])
        ]
        rows.append(Participant(approach=method.name, baseline=added[0].name if own else None))
        baselines += added
    return (*rows, *baselines)


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
    given = {**_useful(participant, common), "seed": seed}
    if runs is not None and participant.matched_to is not None:
        given["match"] = runs / participant.matched_to
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
    problems = {
        name: ImsegError(
            f"A comparison chooses {name} for each of its runs by itself.",
            expected="settings that all runs share.",
            got=f"{name} = {value}",
            hint="leave it out; --approaches and --seeds say what is compared.",
        )
        for name, value in common.items()
        if name in SETTLED
    }
    if "minutes" in common:
        problems["minutes"] = ImsegError(
            "A comparison gives all its rows the same image size and the same number of steps.",
            expected="--max-steps, --effort, or neither.",
            got=f"minutes = {common['minutes']:g}",
            hint="leave --minutes out, or `imseg train` each approach with it.",
        )
    used = {*SETTLED, "minutes"}
    for participant in participants:
        given = _useful(participant, common)
        used |= given.keys()
        if participant.kind != "matched":
            problems |= {str(error): error for error in problems_of(Settings(**given))}
    useless = [declared()[name].flag for name in common if name not in used]
    if useless:
        names = ",".join(participant.approach for participant in participants if participant.asked)
        problems["useless"] = ImsegError(
            f"No approach here has a use for {', '.join(useless)}.",
            expected="options that change something.",
            got=f"--approaches {names}",
            hint="leave them out.",
        )
    raise_all(problems.values())


def _useful(participant: Participant, common: Mapping[str, Any]) -> dict[str, Any]:
    """Return the approach of a row and the common settings that say something about it."""
    approach = find_approach(participant.approach)
    given = {name: value for name, value in common.items() if name not in SETTLED}
    if participant.matched_to is not None:
        given = {name: value for name, value in given.items() if name in TAKEN_OVER}
        given["match"] = Path(participant.matched_to)
    given["approach"] = approach.name
    unused = Settings(**given).unused
    if not approach.sees_truth and approach.pseudo_label is None:
        unused.append("unlabeled_masks")
    return {name: value for name, value in given.items() if name not in unused}


def _own_baseline(method: Approach) -> str:
    """Return the baseline that can be matched and learns from labeled images as a method does."""
    fitting = (each for each in APPROACHES.values() if each.matched or each.matchable)
    return next(each.name for each in fitting if each.labeled == method.labeled)
