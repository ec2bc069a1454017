"""How the command line shows results (stdout) and progress (stderr)."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich.progress as drawing
from rich.console import Console

from imseg.errors import shown
from imseg.progress import Event, NetworkFinished, Note, Planned, StageFinished, Stepped, Working
from imseg.types import DataSet

LINE_EVERY = 60.0
"""Seconds between progress lines where no bar can be drawn (a log file)."""


def show_result(
    text: str, content: Mapping[str, Any], *, as_json: bool, failed: bool = False
) -> int:
    """Write a result to stdout and return the exit status: 0, or 1 if something failed.

    Args:
        text: What people read.
        content: The same as one JSON object.
        as_json: Whether that is wanted.
        failed: Whether a part of it failed, such as one run of several.
    """
    print(json.dumps(content, indent=1) if as_json else text)
    return int(failed)


def say(text: str) -> None:
    """Write a line to stderr."""
    print(shown(text), file=sys.stderr, flush=True)


class Bars:
    """Draws progress on stderr: a bar with an estimate, or a line a minute in a log file."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._progress = drawing.Progress(
            drawing.TextColumn("{task.description}", markup=False),
            drawing.BarColumn(bar_width=30),
            drawing.MofNCompleteColumn(),
            drawing.TimeElapsedColumn(),
            drawing.TextColumn("left:"),
            drawing.TimeRemainingColumn(elapsed_when_finished=False),
            console=self._console,
            transient=True,
        )
        self._training: drawing.TaskID | None = None
        self._working: drawing.TaskID | None = None
        self._began = self._last_line = time.monotonic()
        self._done = self._skipped = self._planned = 0
        self._counted: dict[str, int] = {}

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Planned():
                self._plan(event)
            case Working():
                self._work(event)
            case Stepped():
                self._step(event.network, event.steps)
            case NetworkFinished():
                self._finish(event)
            case StageFinished():
                self._line(f"{event.stage}: best is {event.best}, validation {event.score}")
            case Note():
                self._line(f"warning: {event.text}" if event.warning else event.text)

    def counted(self, what: str, done: int, total: int) -> None:
        """Show a countable piece of work."""
        self._work(Working(what=what, done=done, total=total))

    def _plan(self, event: Planned) -> None:
        if event.first:
            self._done = self._skipped = 0
            self._began = time.monotonic()
            if self._training is not None:
                self._progress.remove_task(self._training)
                self._training = None
        self._planned = event.steps
        if self._training is None:
            self._training = self._progress.add_task("training steps", total=event.steps)
        self._progress.update(self._training, total=event.steps)

    def _work(self, event: Working) -> None:
        if self._working is None:
            self._working = self._progress.add_task(event.what)
        self._progress.update(
            self._working,
            description=shown(event.what),
            completed=event.done,
            total=event.total,
            visible=event.done < event.total,
        )

    def _step(self, network: str, steps: int) -> None:
        self._counted[network] = self._counted.get(network, 0) + steps
        self._advance(steps)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line > LINE_EVERY and self._done:
            self._last_line = now
            trained = self._done - self._skipped
            left = (self._planned - self._done) * (now - self._began) / max(1, trained)
            share = f"{self._done} of {self._planned} training steps"
            self._line(f"{share}, about {max(1, round(left / 60))} min left")

    def _finish(self, event: NetworkFinished) -> None:
        missing = event.steps - self._counted.pop(event.network, 0)
        if event.reused:
            self._skipped += missing
        self._advance(missing)
        how = "already trained" if event.reused else f"{event.seconds:.0f} s"
        self._line(f"{event.network}: validation {event.score}, {event.steps} steps, {how}")

    def _advance(self, steps: int) -> None:
        self._done += steps
        if self._training is not None:
            self._progress.update(self._training, completed=self._done)

    def _line(self, text: str) -> None:
        self._console.print(shown(text, lines=True), markup=False, emoji=False)


def page_of(
    folder: Path,
    data: DataSet | Path,
    bars: Bars,
    *,
    test: bool = True,
    quick: bool = False,
    follow_links: bool = False,
) -> Path | None:
    """Write the report of a run or a comparison; a failure is told and loses nothing else.

    Args:
        folder: The run or the comparison.
        data: What it was made from.
        bars: Shows how it goes on.
        test: Whether a run is scored on the test images.
        quick: Whether few images are looked at.
        follow_links: Whether links that lead out of a data folder are read.
    """
    from imseg.report.html.make import make_report

    try:
        return make_report(
            folder, data, test=test, quick=quick, follow_links=follow_links, progress=bars
        )
    except Exception as error:  # whatever goes wrong here, what was trained stays
        reason = str(error).partition("\n")[0] or type(error).__name__
        name = data.name if isinstance(data, DataSet) else data
        say(f"warning: no report could be made ({reason}); imseg report {folder} {name}")
        return None
