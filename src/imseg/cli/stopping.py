"""Ctrl-C and requests to end: the command stops within seconds, the second time at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

GRACE = 4.0
"""Seconds that a command has to stop by itself; it is ended then. What is written is whole."""
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
CONTINUED = ("train", "compare", "reproduce", "demo")
"""Commands that go on where they were stopped."""


class Stop:
    """What a command was asked to stop by, if it was.

    Args:
        arguments: The command, without the name of the program.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = list(arguments)
        self.signal: int | None = None
        self._last: threading.Timer | None = None

    @property
    def status(self) -> int:
        """The exit status of a command that was stopped, as shells have it."""
        return 128 + (self.signal or signal.SIGINT)

    @property
    def words(self) -> str:
        """What the user is told."""
        why = "interrupted" if self.signal in (None, signal.SIGINT) else "asked to end"
        typed = shlex.join(["imseg", *self._arguments])
        if self._arguments and self._arguments[0] in CONTINUED:
            return f"imseg: {why}. What is done is saved. To continue:\n  {typed}"
        return f"imseg: {why}. To start again:\n  {typed}"

    def hear(self, number: int, _frame: FrameType | None) -> None:
        """Interrupt the command, or end it if that was done before."""
        if self.signal is not None:
            _end(self.status)
        self.signal = number
        self._last = threading.Timer(GRACE, self._give_up)
        self._last.daemon = True
        self._last.start()
        raise KeyboardInterrupt

    def over(self) -> None:
        """Take note that the command has come to its end."""
        if self._last is not None:
            self._last.cancel()

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
        stop.over()
        for each, handler in before.items():
            signal.signal(each, signal.SIG_DFL if handler is None else handler)


def _end(status: int) -> None:
    """End the process at once; its workers notice."""
    if sys.stderr.isatty():
        os.write(2, b"\x1b[?25h")  # a progress bar may have hidden the cursor
    os._exit(status)
