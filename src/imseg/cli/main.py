"""Ctrl-C and requests to end: the command stops within seconds, the second time at once."""

import errno
import os
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from types import FrameType
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from imseg.cli.arguments import HEADINGS, MOST_USED
from imseg.cli.commands import approaches, data_folders, predict, status, train
from imseg.errors import ImsegError, ImsegErrors, TrainingFailed, near_miss, raise_all, shown

GRACE = 4.0
"""Seconds that a command has to stop by itself; it is ended then. What is written is whole."""
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
CONTINUED = ("train", "compare", "reproduce", "demo", "predict")
"""Commands that go on where they were stopped, unless they overwrite what is there."""


class Stop:
    """What a command was asked to stop by, if it was.

    Args:
        arguments: The command, without the name of the program.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = list(arguments)
        self.signal: int | None = None
        self.last_resort = threading.Timer(GRACE, self._give_up)
        self.last_resort.daemon = True

    @property
    def status(self) -> int:
        """The exit status of a command that was stopped, as shells have it."""
        return 128 + (self.signal or signal.SIGINT)

    @property
    def words(self) -> str:
        """What the user is told."""
        why = "interrupted" if self.signal in (None, signal.SIGINT) else "asked to end"
        typed = shlex.join(["imseg", *self._arguments])
        anew = "--overwrite" in self._arguments
        if self._arguments and self._arguments[0] in CONTINUED and not anew:
            return f"imseg: {why}. What is done is saved. To continue:\n  {typed}"
        return f"imseg: {why}. To start again:\n  {typed}"

    def hear(self, number: int, _frame: FrameType | None) -> None:
        """Interrupt the command, or end it if that was done before."""
        if self.signal is not None:
            _end(self.status)
        self.signal = number
        self.last_resort.start()
        raise KeyboardInterrupt

    def _give_up(self) -> None:
        print(f"\n{self.words}", file=sys.stderr, flush=True)
        _end(self.status)


@contextmanager
def stoppable(arguments: Sequence[str]) -> Iterator[Stop]:
    """Let a command be stopped by signals while it goes on.

    Args:
        arguments: The command, without the name of the program.
    """
    stop = Stop(arguments)
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only there signals are heard
        return
    # Who starts us with signals ignored, such as nohup, wants it so.
    heard = [each for each in SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, stop.hear) for each in heard}
    try:
        yield stop
    finally:
        stop.last_resort.cancel()
        for each, handler in before.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)


def _end(exit_status: int) -> None:
    """End the process at once; its workers notice."""
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h")  # a progress bar may have hidden the cursor
    os._exit(exit_status)


class StrictCommand(TyperCommand):
    """A command that names every unknown option before it looks at anything else."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse, but only if every option is known."""
        known = {
            name for each in self.get_params(ctx) for name in (*each.opts, *each.secondary_opts)
        }
        options = sorted(name for name in known if name.startswith("--"))
        written = args[: args.index("--")] if "--" in args else args
        names = dict.fromkeys(word.partition("=")[0] for word in written if word.startswith("--"))
        raise_all(self._refuse(name, options) for name in names if name not in known)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then options under the headings they are declared with."""
        headings = ("Arguments", MOST_USED, "Options", *HEADINGS.values())
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in headings}
        for each in self.get_params(ctx):
            panel = getattr(each, "rich_help_panel", None) or "Options"
            record = each.get_help_record(ctx)
            if record is not None:
                sections["Arguments" if each.param_type_name == "argument" else panel] += [record]
        for heading, records in sections.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def _refuse(self, name: str, options: list[str]) -> ImsegError:
        guess, all_of_them = near_miss(name, options), f"imseg {self.name} --help"
        return ImsegError(
            f"imseg {self.name} has no option {name}.",
            expected=None if guess else ", ".join(options),
            hint=f"{guess}; {all_of_them} lists all." if guess else all_of_them,
        )


class SettingsCommand(StrictCommand):
    """A command with all declared options, which are made when it is used: they need PyTorch."""

    @cached_property
    def complete(self) -> Any:
        """The command with its options."""
        function = self.callback.complete()  # type: ignore[union-attr]
        alone = typer.Typer(
            add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
        )
        alone.command(self.name, cls=StrictCommand)(function)
        return typer.main.get_command(alone)

    @property
    def params(self) -> Any:
        """Its arguments and options."""
        return self.complete.params

    @params.setter
    def params(self, _: Any) -> None:
        """Leave aside what it has before it is complete."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse a command line with all options."""
        return self.complete.make_context(*args, **kwargs)


class StrictGroup(TyperGroup):
    """The list of commands; a misspelt one is answered with the nearest."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is meant."""
        commands = self.list_commands(ctx)
        if args and args[0] not in commands and not args[0].startswith("-"):
            guess = near_miss(args[0], commands)
            raise ImsegError(
                f"imseg has no command {args[0]!r}.",
                expected=", ".join(commands),
                got=shown(args[0]),
                hint=f"imseg {guess}" if guess else "imseg --help",
            )
        return super().resolve_command(ctx, args)


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
for function in (
    data_folders.check, train.train, predict.evaluate, predict.predict, approaches.compare,
    approaches.reproduce, status.status, status.verify, predict.report, data_folders.prepare,
    data_folders.polygons, approaches.approaches, approaches.explain, approaches.demo,
):  # fmt: skip
    kind = SettingsCommand if hasattr(function, "complete") else StrictCommand
    app.command(function.__name__, cls=kind)(function)


def _version(asked: bool) -> None:
    if asked:
        from imseg.types import VERSION

        print(VERSION)
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
    typed = sys.argv[1:] if arguments is None else arguments
    with stoppable(typed) as stop, warnings.catch_warnings():
        # Without what Pillow says about damaged files: our errors name them.
        warnings.filterwarnings("ignore", module="PIL")
        try:
            exit_status = app(args=typed, prog_name="imseg", standalone_mode=False)
        except (KeyboardInterrupt, typer.Abort):
            exit_status = INTERRUPTED
        except Exception as error:
            if stop.signal is None:  # else something came apart because it was stopped
                return _failed(error, typed)
            exit_status = INTERRUPTED
        if exit_status == INTERRUPTED:  # some versions of typer catch Ctrl-C themselves
            print(f"\n{stop.words}", file=sys.stderr)
            return stop.status
    return exit_status if isinstance(exit_status, int) else 0


def _failed(error: Exception, typed: list[str]) -> int:
    """Say what went wrong and return the exit status; raise what is none of the user's business."""
    told: Sequence[object] = [error]
    exit_status = 2
    if isinstance(error, ImsegErrors):
        told = error.errors
    elif isinstance(error, UsageError):
        told = [_usage(error, typed)]
    elif isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        told = [_too_long(str(error.filename))]
    elif isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        told, exit_status = [f"{shown(error.strerror or error)}{shown(place)}"], 1
    elif isinstance(error, TrainingFailed):
        told, exit_status = [shown(error, lines=True)], 1
    elif not isinstance(error, ImsegError):
        raise error
    print("\n\n".join(f"imseg: {each}" for each in told), file=sys.stderr)
    return exit_status


def _too_long(name: str) -> ImsegError:
    """Return what is wrong with a name that is none of a file on this system."""
    return ImsegError(
        f"A name is longer than files have: {name[:60]}...",
        expected="names of at most 255 bytes, and 4095 with all folders.",
        got=f"{len(os.fsencode(name))} bytes.",
        hint="check what was typed, and what stands in the settings.",
    )


def _usage(error: Exception, typed: list[str]) -> ImsegError:
    """Return what is wrong with a command line in our words."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    command = context.command_path if context is not None else " ".join(["imseg", *typed[:1]])
    what = got = str(getattr(error, "message", "") or error)
    expected = None
    if parameter is not None:
        flag = parameter.opts[-1]
        what = f"{flag} is missing or wrong."
        if flag in typed and "Input should be " in got:
            place = typed.index(flag)
            expected = got.rpartition("Input should be ")[2].partition(", unable")[0]
            if parameter.nargs > 1:
                expected = f"{parameter.nargs} values, each {expected}"
            expected, got = (
                f"{expected}.",
                f"{' '.join(typed[place : place + 1 + parameter.nargs])}.",
            )
    return ImsegError(
        f"{command}: {what}".removeprefix("imseg "),
        expected=expected,
        got=got if parameter else None,
        hint=f"{command} --help",
    )


def main() -> None:
    """Run the command that was typed."""
    exit_status = run()
    if exit_status >= 128:  # it was stopped: no thread of a library is waited for
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_status)
    sys.exit(exit_status)
