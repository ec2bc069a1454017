"""Arguments and options that several commands share."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from imseg.data.folder.config import TaskWord
from imseg.errors import ImsegError, near_miss

Data = Annotated[Path, typer.Argument(help="The data folder.", show_default=False)]
RunPath = Annotated[Path, typer.Argument(help="The folder of a finished run.", show_default=False)]
TASK_HELP = "binary, multiclass, multilabel, instances or regression.  [default: from the masks]"
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:0 ...")]
Ensemble = Annotated[
    int, typer.Option(help="Average the probabilities of so many of the run's best networks.")
]
Network = Annotated[
    str | None, typer.Option(help="Another network of the run, such as start/network-0.")
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


def every_setting(
    approach: Annotated[
        str | None, typer.Option(help="See `imseg approaches`.  [default: im]")
    ] = None,
    effort: Annotated[
        str | None,
        typer.Option(
            help="Of each run: quick (minutes), standard (about an hour), paper (its schedule)."
            "  [default: standard]"
        ),
    ] = None,
    paper: Annotated[
        str | None,
        typer.Option(
            help="The published settings: isic2018, hela, suim or cityscapes.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Root of all randomness.  [default: 0]")] = None,
    task: Annotated[str | None, typer.Option(help=TASK_HELP)] = None,
    generations: Annotated[
        int | None, typer.Option(help="How often teachers teach students.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="End after so many generations without a rise on validation; 0: never."
            "  [default: 2]"
        ),
    ] = None,
    teachers: Annotated[int | None, typer.Option(help="Networks that must agree: 2 to 4.")] = None,
    networks: Annotated[
        int | None, typer.Option(help="Networks of every stage, the start included.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Most optimizer steps of any one network.")
    ] = None,
    image_size: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Height and width at which networks work.", metavar="H W"),
    ] = None,
    width: Annotated[
        float | None, typer.Option(help="Filters of every layer; the paper's alpha.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images an optimizer step.")] = None,
    limit_unlabeled: Annotated[
        int | None, typer.Option(help="Use at most so many unlabeled images.")
    ] = None,
    erode: Annotated[
        int | None, typer.Option(help="Erode inconsistency masks by 0, 3 or 5 px.")
    ] = None,
    dilate: Annotated[
        int | None, typer.Option(help="Dilate inconsistency masks by 0, 3 or 5 px.")
    ] = None,
    grow_labels: Annotated[
        bool | None,
        typer.Option("--grow-labels/--no-grow-labels", help="Dilate class labels by 3 px too."),
    ] = None,
    blocking: Annotated[
        str | None,
        typer.Option(
            help="Zero inconsistent pixels in image and label: both (as in the paper), input,"
            " output, none.  [default: none, or both with --erode, --block-color, --reblock]"
        ),
    ] = None,
    ignore: Annotated[
        bool | None,
        typer.Option(
            "--ignore/--no-ignore",
            help="Leave inconsistent pixels out of the loss.  [default: where --blocking is not"
            " given and not implied]",
        ),
    ] = None,
    block_color: Annotated[
        str | None,
        typer.Option(
            help="What blocked pixels of the image become: black, mean (the image's own) or noise"
            " (always the same for an image).  [default: black]"
        ),
    ] = None,
    reblock: Annotated[
        bool | None,
        typer.Option(
            "--reblock/--no-reblock",
            help="Give them that color again when a copy was disturbed.  [default: not in the"
            " paper's schedule]",
        ),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(
            help="Which pseudo-labeled images are used: paper (its rule), same-classes, all."
        ),
    ] = None,
    vote: Annotated[
        str | None,
        typer.Option(help="How votes become a label: paper (its rule), mean, majority, unanimous."),
    ] = None,
    views: Annotated[int | None, typer.Option(help="Disturbed views that vote: 3, 5 or 7.")] = None,
    plain_view: Annotated[
        bool | None,
        typer.Option("--plain-view/--no-plain-view", help="Let the plain image vote too."),
    ] = None,
    judges: Annotated[
        int | None, typer.Option(help="Judges of masks that are asked together: 1 to 4.")
    ] = None,
    thresholds: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Scores from which on a mask is good, and very good."
            "  [default: from validation images]",
            metavar="LOW HIGH",
        ),
    ] = None,
    consistency_weight: Annotated[
        float | None,
        typer.Option(help="Weight of the difference between two views.  [default: 1]"),
    ] = None,
    consistency_ramp: Annotated[
        int | None, typer.Option(help="Epochs in which that weight rises.  [default: 0]")
    ] = None,
    consistency_level: Annotated[
        str | None,
        typer.Option(help="How strongly views are disturbed: low, mid, high.  [default: mid]"),
    ] = None,
    ladder: Annotated[
        str | None,
        typer.Option(
            help="How strongly images are disturbed: default, hela, cityscapes (the"
            " paper's strengths)."
        ),
    ] = None,
    rung: Annotated[
        int | None,
        typer.Option(
            help="The ladder's rung, 1 to 5, of copies in every generation.  [default: one higher"
            " in each]"
        ),
    ] = None,
    fresh_copies: Annotated[
        bool | None,
        typer.Option(
            "--fresh-copies/--no-fresh-copies",
            help="Draw disturbed copies anew at every look, not once a run.",
        ),
    ] = None,
    rotate: Annotated[
        bool | None,
        typer.Option(
            "--rotate/--no-rotate",
            help="Turn disturbed images too.  [default: not for multiclass and regression]",
        ),
    ] = None,
    match: Annotated[
        Path | None, typer.Option(help="The run that a matched baseline is matched to.")
    ] = None,
    unlabeled_masks: Annotated[
        Path | None,
        typer.Option(
            help="Hidden masks of the unlabeled images: for the upper bounds fdt and gt-im++, and"
            " to compare the pseudo-labels of others with them."
        ),
    ] = None,
    reuse: Annotated[
        Path | None,
        typer.Option(help="A run, or folder of runs, whose equal networks are taken over."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:0 ...")] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32 (exact) or bfloat16.")
    ] = None,
    compile: Annotated[
        str | None,
        typer.Option(
            help="Compile training steps: on, off, or auto, where it pays for itself in the run."
            "  [default: auto]"
        ),
    ] = None,
    validate_every: Annotated[
        int | None,
        typer.Option(
            help="Epochs between two looks at the validation images; students of consistency are"
            " looked at after every pass.  [default: so that they take at most a tenth of the time]"
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Networks trained side by side.  [default: one a core]")
    ] = None,
) -> None:
    """Hold the options of all settings; its signature is read by ``takes_settings``, no more."""


def takes_settings(*, without: Collection[str] = ()) -> Callable[[Callable[..., int]], Any]:
    """Give a command that ends with ``**settings`` the options of all settings.

    They come after ``--config``, whose file holds the same ones.

    Args:
        without: Settings that the command has other words for.
    """

    def add(command: Callable[..., int]) -> Callable[..., int]:
        own, hints = inspect.signature(command), _hints(command)
        theirs = _hints(every_setting)
        mine = [
            each.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, each in own.parameters.items()
            if each.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        settings = [
            each.replace(annotation=theirs[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, each in inspect.signature(every_setting).parameters.items()
            if name not in without
        ]
        place = 1 + [each.name for each in mine].index("config")
        parameters = [*mine[:place], *settings, *mine[place:]]

        @functools.wraps(command)
        def wrapped(**given: Any) -> int:
            return command(**given)

        del wrapped.__wrapped__  # or its signature would be looked at
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
        return wrapped

    return add


def _hints(command: Callable[..., object]) -> dict[str, Any]:
    return typing.get_type_hints(command, include_extras=True)
