"""The ``imseg`` command: its list of commands, and what exit statuses mean.

0 done, 1 failed, 2 the user can mend it, 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from imseg.cli import (
    approaches,
    check,
    compare,
    demo,
    evaluate,
    polygons,
    predict,
    prepare,
    report,
    reproduce,
    train,
)
from imseg.cli.strict import StrictCommand, StrictGroup
from imseg.errors import ImsegError, ImsegErrors, TrainingFailed, shown

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

app = typer.Typer(
    cls=StrictGroup,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="From a handful of labeled images and a pile of unlabeled ones to a segmentation model.",
)
for name, function in (
    ("check", check.check),
    ("train", train.train),
    ("evaluate", evaluate.evaluate),
    ("predict", predict.predict),
    ("compare", compare.compare),
    ("reproduce", reproduce.reproduce),
    ("report", report.report),
    ("prepare", prepare.prepare),
    ("polygons", polygons.polygons),
    ("approaches", approaches.approaches),
    ("explain", approaches.explain),
    ("demo", demo.demo),
):
    app.command(name, cls=StrictCommand)(function)


def _version(asked: bool) -> None:
    if asked:
        from imseg import __version__

        print(__version__)
        raise typer.Exit


# typer brings a copy of click of its own in some versions and not in others.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


@app.callback()
def _options(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def run(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status; never raises for anything a user can cause.

    Args:
        arguments: What stands after ``imseg``; None: what was typed.
    """
    try:
        status = app(args=arguments, prog_name="imseg", standalone_mode=False)
    except ImsegErrors as several:
        print("\n\n".join(f"imseg: {error}" for error in several.errors), file=sys.stderr)
        return 2
    except ImsegError as error:
        print(f"imseg: {error}", file=sys.stderr)
        return 2
    except UsageError as error:
        print(f"imseg: {_usage(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        print(f"imseg: {shown(error.strerror or error)}{shown(place)}", file=sys.stderr)
        return 1
    except TrainingFailed as error:
        print(f"imseg: {shown(error, lines=True)}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:  # some versions of typer catch Ctrl-C themselves
        print("\nimseg: interrupted. Repeat the command to continue.", file=sys.stderr)
    return status if isinstance(status, int) else 0


def _usage(error: Exception) -> ImsegError:
    """Return what is wrong with a command line in our words."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "imseg"
    parameter = getattr(error, "param", None)
    said = str(getattr(error, "message", "") or error)
    what = (
        f"{command}: {parameter.opts[-1]} is missing or wrong."
        if parameter
        else f"{command}: {said}"
    )
    what = what.removeprefix("imseg ")
    return ImsegError(what, got=said if parameter else None, hint=f"{command} --help")


def main() -> None:
    """Run the command that was typed."""
    sys.exit(run())


if __name__ == "__main__":
    main()
