"""A training while it goes on: what it says, and where its time goes."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn


class Listener:
    """Hears the training of one network; this one lets everything pass.

    Whoever wants to hear something overrides a method. Methods return quickly and do not raise.
    """

    def stepped(self, steps: int, loss: float) -> None:
        """Take note of optimizer steps.

        Args:
            steps: How many since the last call.
            loss: Their mean loss.
        """

    def alive(self) -> None:
        """Take note that the work goes on; called often, so most calls should do nothing."""

    def note(self, text: str, *, warning: bool = False) -> None:
        """Take note of something the user should know.

        Args:
            text: A sentence without the name of the network, which is put before it.
            warning: Whether it deserves attention.
        """


def hear(network: nn.Module, listener: Listener) -> None:
    """Let every forward pass of a network be a sign of life, in training and in validation.

    Only the thread that does the work can give it: a thread beside it would still say that all is
    well when the work hangs. A compiled network is given as it was compiled, not what is in it.
    """

    # A function and no bound method: copies of the network are to share the listener.
    def passed(*_: object) -> None:
        listener.alive()

    network.register_forward_hook(passed)


REPORT_EVERY = 0.5
"""Seconds between two reports of steps."""


class Reporter:
    """Passes steps and their mean loss on.

    A loss on a GPU is copied beside the work and told when it has arrived, at the next report.

    Args:
        listener: Told.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._losses: list[Tensor] = []
        self._coming: tuple[int, Tensor, torch.Event | None] | None = None
        self._last = time.monotonic()

    def step(self, loss: Tensor) -> None:
        """Take note of a step."""
        self._losses.append(loss)
        if time.monotonic() - self._last >= REPORT_EVERY:
            self._tell(wait=False)
            if self._coming is None:
                self._send()
                self._tell(wait=False)
            self._last = time.monotonic()

    def flush(self) -> None:
        """Tell about all steps."""
        self._tell(wait=True)
        self._send()
        self._tell(wait=True)

    def _send(self) -> None:
        """Begin to copy the mean of the losses since the last time."""
        if not self._losses:
            return
        mean, arrived = torch.stack(self._losses).mean(), None
        if mean.is_cuda:
            there = torch.empty((), pin_memory=True).copy_(mean, non_blocking=True)
            arrived = torch.Event(mean.device)
            arrived.record(torch.cuda.current_stream(mean.device))
            mean = there
        self._coming = (len(self._losses), mean, arrived)
        self._losses = []

    def _tell(self, *, wait: bool) -> None:
        """Tell about the steps whose losses have arrived."""
        if self._coming is None:
            return
        steps, mean, arrived = self._coming
        if arrived is not None:
            if wait:
                arrived.synchronize()
            elif not arrived.query():
                return
        self._coming = None
        self._listener.stepped(steps, mean.item())


BATCHES, STEPS, VALIDATION, OTHER = "batches", "steps", "validation", "other"
"""What one training does: gather and augment images; forward, backward and optimizer; look at the
validation images; all the rest."""

Item = TypeVar("Item")


class Clock:
    """Adds up seconds by activity, while something is done.

    A GPU works on while Python goes ahead, so there seconds belong to whatever waits for it.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seconds: dict[str, float] = {}

    def resume(self, passed: float, seconds: Mapping[str, float]) -> None:
        """Go on from what another clock had counted."""
        self._began = time.monotonic() - passed
        self._seconds = dict(seconds)

    @contextmanager
    def on(self, activity: str) -> Iterator[None]:
        """Count the time of a block as an activity's."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.add(activity, time.monotonic() - began)

    def each(self, items: Iterator[Item], activity: str) -> Iterator[Item]:
        """Yield items, none of which is None; the time it takes to make them is an activity's."""
        while True:
            with self.on(activity):
                item = next(items, None)
            if item is None:
                return
            yield item

    def add(self, activity: str, seconds: float) -> None:
        """Add seconds to an activity."""
        self._seconds[activity] = self._seconds.get(activity, 0.0) + seconds

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each activity so far."""
        return dict(self._seconds)

    @property
    def passed(self) -> float:
        """Seconds since the clock was made."""
        return time.monotonic() - self._began


def with_rest(seconds: Mapping[str, float], whole: float, rest: str = OTHER) -> dict[str, float]:
    """Return the activities of some work, with what of all its time is none of theirs."""
    missing = max(0.0, whole - sum(seconds.values()))
    return {**seconds, rest: seconds.get(rest, 0.0) + missing}
