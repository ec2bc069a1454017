"""What a user asks for: values for declared options, checked all at once."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from imseg.approaches.methods.approach import Approach
from imseg.approaches.methods.catalog import APPROACHES, find_approach
from imseg.approaches.planning.run_options import MINUTES, RunOptions
from imseg.data.files.atomic import read_text
from imseg.data.files.listing import counted
from imseg.engine.training.recipe import RECIPES, RecipeName
from imseg.errors import ImsegError, and_more, near_miss, raise_all, shown
from imseg.networks.registry import SEGMENTING, Network, network_named
from imseg.options import Option, options_in, options_of, walk, with_options

MATCHED = (
    *("epochs", "max_steps", "minutes", "width", "image_size", "batch_size", "paper"),
    *("scale", "patch", "whole_image", "object_size"),
)
"""Options that a matched run settles."""
LENGTHS = (
    *("approach", "effort", "minutes", "max_steps", "epochs", "generations"),
    *("paper", "recipe", "match"),
)
"""Options of which each says something about how long a training is."""
CHOSEN = (
    *("networks", "generations", "patience", "epochs", "max_steps", "width"),
    *("validate_every", "plain_view", "grow_labels", "blocking", "ignore", "rotate"),
)
"""Options of components that the plan chooses from data, effort and other options."""


@cache
def declared() -> dict[str, Option]:
    """Return all options, by name, in the order in which they are shown."""
    found = options_in(RunOptions())
    for approach in APPROACHES.values():
        found |= {name: one for name, one in options_in(approach).items() if name not in found}
    for kind in _networks():
        known = options_of(kind).values()
        found |= {one.name: one for one in known if one.name not in found}
    return found


@cache
def default_of(name: str) -> Any:
    """Return the value of an option that is not given, where it is the same in all that have it.

    Returns:
        The value; None where approaches differ in it, or where the plan chooses it.
    """
    if name in CHOSEN:
        return None
    values = [
        getattr(component, field)
        for each in (RunOptions(), *_all_approaches(), *(kind() for kind in _networks()))
        for component in walk(each)
        for field, one in options_of(type(component)).items()
        if one.name == name
    ]
    return values[0] if all(value == values[0] for value in values) else None


def _all_approaches() -> list[Approach]:
    """Return all approaches with the recipe that they have if nothing else is asked for."""
    return [Settings(approach=name).composition for name in APPROACHES]


def _networks() -> list[type[Network]]:
    return [Network.alternatives()[kind] for kind in SEGMENTING]


@cache
def _of_run() -> dict[str, Any]:
    """Return the options of a run as a whole with their defaults."""
    run = RunOptions()
    return {one.name: getattr(run, field) for field, one in options_of(RunOptions).items()}


WHO = ("reuse", "executor", "address")
"""Settings that say where networks come from and who trains them, which changes nothing in them."""


class Settings:
    """What is asked for: checked values by the names of options; others are left to the plan.

    An option that was not given reads as its default if it is one of the run as a whole
    (``effort``, ``seed`` ...), and as None if it is one of a component. For ``approach`` the
    default depends on the recipe.

    Args:
        given: Values, each of its option's type. None is "not given".
    """

    __slots__ = ("given",)

    def __init__(self, **given: Any) -> None:
        self.given: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        if "paper" in self.given and self.effort == "standard":
            # The published settings come with the published schedule.
            self.given["effort"] = "paper"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in declared():
            raise AttributeError(f"there is no option {name!r}")
        return self.given.get(name, _of_run().get(name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and self.given == other.given

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.given)))

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{k}={v!r}' for k, v in self.given.items())})"

    @property
    def approach(self) -> str:
        """The approach that is named, or else the default: ``auto``, and ``im`` as in the paper."""
        default = "im" if "paper" in (self.effort, self.recipe) else "auto"
        return str(self.given.get("approach", default))

    @property
    def with_length(self) -> "Settings":
        """Settings that say how long the training is: if nothing was said, a few minutes."""
        if any(name in self.given for name in LENGTHS) or self.but(approach="ldt").unused:
            return self
        return self.but(minutes=MINUTES)

    def but(self, **changes: Any) -> "Settings":
        """Return settings with some values changed; None takes a value away."""
        return Settings(**{**self.given, **changes})

    @property
    def composition(self) -> Approach:
        """The approach with the given options in its components, and the chosen network.

        Raises:
            ImsegError: If there is no such approach or network.
        """
        approach = self._named
        fitting = "unet-plus" if self.recipe_name == "modern" else "unet"
        if self.effort == "paper":
            fitting = "paper-unet"
        chosen = network_named(self.network or fitting)
        approach = approach.throughout(lambda each: replace(each, network=chosen))
        if self.recipe_name == "modern":
            modern = RECIPES["modern"]
            approach = approach.throughout(lambda each: replace(each, recipe=modern))
        return with_options(approach, self.given)

    @property
    def _named(self) -> Approach:
        """The approach as the catalog has it, with the start that was asked for."""
        approach = find_approach(self.approach)
        if self.start_with is None or approach.pseudo_label is None:
            return approach
        start = find_approach(self.start_with, "--start-with {}")
        if start.start is not None or start.matched or start.sees_truth:
            raise ImsegError(
                f"{start.name} cannot train the first teachers.",
                expected="an approach of one stage that sees no hidden masks, such as ldt, aldt,"
                " unimatch or online-im.",
                got=f"--start-with {start.name}.",
                hint="--start-with unimatch",
            )
        return replace(approach, start=start)

    @property
    def recipe_name(self) -> RecipeName:
        """The recipe: that asked for, or that of the effort."""
        fitting: RecipeName = "paper" if self.effort == "paper" else "modern"
        return self.recipe or fitting

    @property
    def unused(self) -> list[str]:
        """The names of options that are given and change nothing about the approach."""
        approach = self.composition
        # --generations 1 is of use where the catalog has several: what it leaves has one.
        catalog = self._named
        of_network = {one.name for kind in _networks() for one in options_of(kind).values()}
        further = [name for name in catalog.options if name not in of_network]
        known = (options_in(RunOptions()), approach.options, further)
        names = dict.fromkeys(name for options in known for name in options)
        if approach.matched or (self.match is not None and approach.matchable):
            names = {name: None for name in names if name not in MATCHED}
        if not approach.needs_unlabeled:
            names.pop("limit_unlabeled", None)
        if approach.at_cost:
            names.pop("networks", None)
        given = [name for name in declared() if name in self.given]
        return [name for name in given if name not in names or _says_nothing(name, self, approach)]

    def plain(self) -> dict[str, Any]:
        """Return what was given as TOML and JSON know it; who trains is left out."""
        given = {name: value for name, value in self.given.items() if name not in WHO}
        return plain_values({"effort": self.effort, "seed": self.seed} | given)


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as TOML and JSON know them: paths whole and as text, tuples as lists."""
    kept: dict[str, Any] = {}
    for name, value in values.items():
        value = str(value.resolve()) if isinstance(value, Path) else value
        kept[name] = list(value) if isinstance(value, tuple) else value
    return kept


def settings_from(options: Mapping[str, Any], *, config: Path | None = None) -> Settings:
    """Return checked settings from options and, below them, a TOML file.

    Args:
        options: Names and values; None means "not given".
        config: A TOML file with the same names.

    Raises:
        ImsegError: With every problem at once.
    """
    settings, problems = _typed(options, config)
    problems += problems_of(settings)
    if settings.reuse is not None and not settings.reuse.is_dir():
        what = f"There is no run to reuse at {settings.reuse}."
        expected = "the folder of a run, or a folder of runs."
        problems.append(ImsegError(what, expected=expected, hint="check --reuse."))
    raise_all(problems)
    return settings


def values_from(options: Mapping[str, Any], *, config: Path | None = None) -> dict[str, Any]:
    """Return the values that are given, by name: known ones, each of its type.

    Whether they fit an approach, and lie in range, is not looked at.

    Args:
        options: As in ``settings_from``.
        config: As in ``settings_from``.

    Raises:
        ImsegError: With every problem at once.
    """
    settings, problems = _typed(options, config)
    raise_all(problems)
    return settings.given


def _typed(options: Mapping[str, Any], config: Path | None) -> tuple[Settings, list[ImsegError]]:
    """Return settings, and what is wrong with names and types."""
    given = {name: value for name, value in options.items() if value is not None}
    merged = {**(_read_toml(config) if config else {}), **given}
    problems, values = [], {}
    for name, value in merged.items():
        one = declared().get(name)
        if one is None:
            problems.append(_unknown(name, config))
            continue
        try:
            values[name] = TypeAdapter(one.type).validate_python(value)
        except ValidationError as error:
            detail, what = error.errors()[0], f"The setting {name} cannot have this value."
            expected = detail["msg"].removeprefix("Input should be ")
            guess = near_miss(str(detail["input"]), re.findall("'([^']*)'", expected))
            hint = guess and (f'{name} = "{guess}"' if config else f"{one.flag} {guess}")
            problems.append(
                ImsegError(what, expected=expected, got=repr(detail["input"]), hint=hint)
            )
    return Settings(**values), problems


def _unknown(name: str, config: Path | None) -> ImsegError:
    """Return that there is no such option, the nearest one, and who has a use for that."""
    guess = near_miss(name.replace("-", "_"), declared())
    hint = f"{guess} = ..." if guess else None
    if guess and guess not in options_in(RunOptions()):
        users = [each.name for each in APPROACHES.values() if guess in each.options]
        if len(users) < len(APPROACHES):
            hint = f"{hint} (of use to {and_more(users, 6)})"
    return ImsegError(
        f"There is no setting named {name!r}" + (f" ({config})." if config else "."),
        expected=", ".join(sorted(declared())),
        got=shown(name),
        hint=hint,
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except OSError as error:
        raise ImsegError(
            f"The settings file {path} cannot be read.",
            expected="a TOML file such as `epochs = 20`.",
            got=str(error.strerror or error),
            hint="check --config.",
        ) from error
    except (ValueError, RecursionError) as error:  # no TOML, or deeper than can be read
        raise ImsegError(
            f"The settings file {path} is not TOML.",
            expected='lines such as `epochs = 20` and `approach = "im"`.',
            got=str(error),
            hint="mend the line that is named; text stands in quotes.",
        ) from error


def problems_of(settings: Settings) -> list[ImsegError]:
    """Return everything that types alone do not rule out."""
    problems = [
        ImsegError(f"{one.flag} cannot be {value}.", expected=expected, got=str(value))
        for name, value in settings.given.items()
        if (expected := (one := declared()[name]).problem(value))
    ]
    scores = settings.thresholds
    if scores is not None and scores[0] >= scores[1]:
        what, expected = f"--thresholds cannot be {scores}.", declared()["thresholds"].expected
        problems.append(ImsegError(what, expected=expected, got=str(scores)))
    problems += _contradictions(settings)
    try:
        approach = settings.composition
    except ImsegError as error:
        return [*problems, error]
    except ValueError:
        return problems  # a value out of range, which is told already
    unused, crowd = _unused(settings, approach), _too_many_teachers(settings, approach)
    found = (unused, *_misused(settings, approach), crowd)
    return problems + [error for error in found if error is not None]


def _contradictions(settings: Settings) -> Iterable[ImsegError]:
    """Yield options that make no sense together."""
    if settings.ignore and settings.erode and not settings.dilate:
        yield ImsegError(
            f"--erode cannot be joined with --ignore (erode = {settings.erode}).",
            expected="it where inconsistent pixels are blocked: what erosion takes off the mask"
            " has no weight either.",
            hint="leave one of them out.",
        )
    if settings.minutes is not None:
        others = [name for name in ("effort", "max_steps", "epochs") if name in settings.given]
        if others:
            told = " and ".join(declared()[name].flag for name in others)
            yield ImsegError(
                f"--minutes cannot be joined with {told}.",
                expected="one of them: each says how long networks are trained.",
                hint="leave one of them out.",
            )
    yield from _conflicting_sizes(settings)
    if settings.paper is not None and settings.effort != "paper":
        yield ImsegError(
            f"--paper cannot be joined with --effort {settings.effort}.",
            expected="it alone, or with --effort paper.",
            got=f"joined with --effort {settings.effort}",
        )


def _conflicting_sizes(settings: Settings) -> Iterable[ImsegError]:
    """Yield options that say in two ways how networks see images."""
    sizes = ("scale", "image_size", "paper", "whole_image")
    chosen = [name for name in sizes if settings.given.get(name)]
    if settings.object_size is not None and chosen:
        yield ImsegError(
            f"--object-size cannot be joined with {declared()[chosen[0]].flag}.",
            expected="one of them: each says at which size networks see images.",
            hint="leave one of them out.",
        )
    windows = [name for name in ("scale", "patch") if name in settings.given]
    against = [name for name in ("image_size", "paper", "whole_image") if settings.given.get(name)]
    if windows and against:
        other = declared()[against[0]].flag
        yield ImsegError(
            f"{declared()[windows[0]].flag} cannot be joined with {other}.",
            expected="one of them: with the first, networks see windows of images, with the other"
            " whole images of one size.",
            hint="leave one of them out.",
        )


def _says_nothing(name: str, settings: Settings, approach: Approach) -> bool:
    """Return whether the value of an option that an approach has changes nothing about it."""
    one_teacher = approach.pseudo_label is not None and approach.pseudo_label.teachers == 1
    unblocked = settings.blocking in ("output", "none")
    objectives = [each.objective for each in (approach, approach.first)]
    users = [each.idle for each in objectives if name in options_in(each)]
    if users and all(name in idle for idle in users):
        return True
    return {
        # One alone always agrees with itself.
        "vote": one_teacher and "views" not in approach.options,
        "select": one_teacher and settings.select == "same-classes",
        "start_with": approach.pseudo_label is None,
        "address": str(settings.executor) != "ray",
        "strength_schedule": settings.paper is not None,
        "strength_level": settings.paper is not None,
        "block_color": unblocked,
        "reblock": unblocked or "blocking" not in approach.options,
        # A random encoder learns like the rest.
        "encoder_learning_rate": approach.network.begins_with is None,
    }.get(name, False)


def _unused(settings: Settings, approach: Approach) -> ImsegError | None:
    unused = settings.unused
    if not unused:
        return None
    told, level = [declared()[name].flag for name in unused], approach.recipe.augmentation.level
    matched = approach.matched or (settings.match is not None and approach.matchable)
    network = approach.network.name
    if matched and set(unused) & {*MATCHED, "networks"}:
        why = "; its matched run settles steps, width and sizes"
        why += ", and it is one network" if approach.at_cost else ""
    elif "address" in unused:
        why = "; only --executor ray has an address"
    elif {"block_color", "reblock"} & set(unused) and settings.blocking in ("output", "none"):
        why = f"; --blocking {settings.blocking} leaves images as they are"
    elif level != "paper" and not settings.but(augment="paper").unused:
        return ImsegError(
            f"{', '.join(told)} has no effect with --augment {level}.",
            expected="options that change something.",
            got=f"--augment {level}, by which images are augmented in another way.",
            hint="leave them out, or --augment paper.",
        )
    elif all(declared()[name].group == "network" for name in unused):
        why = f" with the network {network}, about which it changes nothing"
    else:
        why = "; --paper settles the strengths" if settings.paper and approach.augments else ""
    users = [] if why else [name for name in APPROACHES if _has_use(name, unused, settings)]
    users.sort(key=lambda name: name not in ("auto", "im"))  # the plainest of them first
    others = f", or --approach {and_more(users, 4)}" if users else ""
    if not why and "approach" not in settings.given:
        why = ", because no approach is named"
    return ImsegError(
        f"{approach.name} has no use for {', '.join(told)}.",
        expected="options that change something.",
        got=f"{approach.name}{why}.",
        hint=f"leave them out{others}, or see imseg explain {approach.name}.",
    )


def _has_use(approach: str, names: list[str], settings: Settings) -> bool:
    """Return whether options would change something about another approach."""
    try:
        return not set(names) & set(settings.but(approach=approach).unused)
    except ValueError:
        return False  # a value out of range, which is told already


def _misused(settings: Settings, approach: Approach) -> Iterable[ImsegError]:
    """Yield what an approach lacks, or must not have: a matched run and hidden masks."""
    if approach.matched and settings.match is None:
        yield ImsegError(
            f"{approach.name} does not know which run it is matched to.",
            expected="--match RUN, the folder of a finished run.",
            hint="imseg train DATA --approach im --out runs/a, then --match runs/a",
        )
    if settings.match is not None and not (approach.matched or approach.matchable):
        yield ImsegError(
            f"{approach.name} is not a matched baseline, so --match changes nothing.",
            expected="--match with ldt-matched, ldt-same-cost, aldt-matched or ldt-online.",
        )
    if approach.sees_truth and settings.unlabeled_masks is None:
        yield ImsegError(
            f"{approach.name} needs the hidden masks of the unlabeled images.",
            expected="--unlabeled-masks FOLDER with one mask per unlabeled image.",
            hint="--unlabeled-masks DATA/hidden/masks, where `imseg prepare` puts them.",
        )
    audited = approach.pseudo_label is not None
    if settings.unlabeled_masks is not None and not (approach.sees_truth or audited):
        yield ImsegError(
            f"{approach.name} may not see the hidden masks of the unlabeled images.",
            expected="--unlabeled-masks with an upper bound (fdt, gt-im++), or with an approach"
            " whose pseudo-labels can be compared with them.",
            got=f"{approach.name}, which makes no pseudo-labels.",
            hint="leave --unlabeled-masks out, or --approach im.",
        )


def _too_many_teachers(settings: Settings, approach: Approach) -> ImsegError | None:
    labeler = approach.pseudo_label
    if not settings.networks or settings.networks < 1 or labeler is None:
        return None
    wanted = {"teachers": labeler.teachers, "mask_scorers": getattr(labeler, "scorers", None)}
    found = [(name, count) for name, count in wanted.items() if count and count > settings.networks]
    if not found:
        return None
    name, count = found[0]
    words, flag = name.replace("_", " "), declared()[name].flag
    fewest = {"teachers": 2, "mask_scorers": 1}
    instead = f", or fewer {words}." if count > fewest[name] else " or more."
    return ImsegError(
        f"There are more {words} than networks.",
        expected=f"{flag} at most --networks.",
        got=f"{count} {words}, {counted(settings.networks, 'network')}.",
        hint=f"--networks {count}{instead}",
    )
