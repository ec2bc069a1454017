"""Arguments and options that several commands share."""

import functools
import inspect
import typing
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_args

import typer

from imseg.data.folder.config import TaskWord
from imseg.errors import ImsegError, near_miss
from imseg.options import Group, Option

MOST_USED = "Most used"
HEADINGS = {group: group.capitalize() for group in get_args(Group)}
"""How the groups of declared options are headed in ``--help``."""
Data = Annotated[Path, typer.Argument(help="The data folder.")]
RunPath = Annotated[Path, typer.Argument(help="The folder of a finished run.")]
TASK_HELP = "binary, multiclass, multilabel, instances or regression.  [default: from the masks]"
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout.")]
Config = Annotated[
    Path | None, typer.Option(help="Settings as TOML; options given here win over it.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0 ...")]
FollowLinks = Annotated[
    bool,
    typer.Option(
        "--follow-links",
        help="Read links in the data folder that lead out of it, if you trust the folder.",
    ),
]
Ensemble = Annotated[
    int, typer.Option(help="Average the probabilities of so many of the run's best networks.")
]
Tta = Annotated[
    bool | None,
    typer.Option(
        "--tta/--no-tta",
        help="Average what networks say about the image in up to 8 orientations (flipped, turned)."
        "  [default: as the run was trained]",
    ),
]
TrustNetwork = Annotated[
    bool,
    typer.Option(
        "--trust-network",
        help="Import the network of your own that the run names (module:callable), which runs that"
        " module; only for runs you trust.",
    ),
]
Network = Annotated[
    str | None, typer.Option(help="Another network of the run, such as start/network-0.")
]
Executor = Annotated[
    Literal["auto", "ray"],
    typer.Option(help="Who does it: auto (this machine), or ray (the nodes of a Ray cluster)."),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of the Ray cluster: auto (the one of this machine), or HOST:PORT of its head."
        "  [default: one is started on this machine]"
    ),
]


def parse_task(word: str | None) -> TaskWord | None:
    """Return the kind of target that is meant.

    Raises:
        ImsegError: If there is none of this name.
    """
    known = get_args(TaskWord)
    if word is None or word in known:
        return cast("TaskWord | None", word)
    guess = near_miss(word, known)
    raise ImsegError(
        f"There is no task {word!r}.",
        expected=", ".join(known),
        got=word,
        hint=f"--task {guess}" if guess else None,
    )


def takes_settings(*, without: Collection[str] = ()) -> Callable[[Callable[..., int]], Any]:
    """Give a command that ends with ``**settings`` all declared options.

    They come after ``--config``, whose file holds the same ones. What is declared stands on the
    components, which need PyTorch; so what this returns takes no arguments, and the command with
    all its options is made by its ``complete`` when it is used.

    Args:
        without: Options that the command has other words for.
    """

    def add(command: Callable[..., int]) -> Callable[..., int]:
        def waiting() -> int:
            raise AssertionError("made complete before it is called")

        waiting.__name__, waiting.__doc__ = command.__name__, command.__doc__
        waiting.complete = functools.cache(  # type: ignore[attr-defined]
            functools.partial(_complete, command, without)
        )
        return waiting

    return add


def _complete(command: Callable[..., int], without: Collection[str]) -> Callable[..., int]:
    """Return a command with the declared options in its signature."""
    from imseg.approaches.planning.settings import declared

    hints = typing.get_type_hints(command, include_extras=True)
    mine = [
        each.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, each in inspect.signature(command).parameters.items()
        if each.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    settings = [_parameter(one) for name, one in declared().items() if name not in without]
    place = 1 + [each.name for each in mine].index("config")
    parameters = [*mine[:place], *settings, *mine[place:]]

    @functools.wraps(command)
    def complete(**given: Any) -> int:
        return command(**given)

    del complete.__wrapped__  # or its signature would be looked at
    complete.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    complete.__annotations__ = {each.name: each.annotation for each in parameters}
    return complete


def _parameter(one: Option) -> inspect.Parameter:
    """Return a declared option as typer wants it; None is "not given"."""
    kind = next((each for each in get_args(one.type) if each is not type(None)), one.type)
    if typing.get_origin(one.type) in (tuple, Literal):
        kind = one.type
    if typing.get_origin(kind) is Literal:
        kind = str  # settings are checked together, and all that is wrong with them is told at once
    names = [f"{one.flag}/--no-{one.flag.removeprefix('--')}"] if kind is bool else [one.flag]
    default = "" if "[default:" in one.help else _default(one, kind)
    panel = MOST_USED if one.essential else HEADINGS[one.group]
    declaration = typer.Option(
        *names, help=one.help + default, metavar=one.metavar, rich_help_panel=panel
    )
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, declaration],
    )


def _default(one: Option, kind: Any) -> str:
    """Return what an option is if it is not given, where that is the same everywhere."""
    from imseg.approaches.planning.settings import default_of

    value = default_of(one.name)
    if value is None:
        return ""
    if kind is bool:
        value = one.flag if value else f"--no-{one.flag.removeprefix('--')}"
    return f"  [default: {value:g}]" if isinstance(value, float) else f"  [default: {value}]"
