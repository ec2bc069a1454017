"""Where the time goes: seconds by activity, added up while something is done.

A GPU works on while Python goes ahead, so there seconds belong to whatever waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

BATCHES, STEPS, VALIDATION, OTHER = "batches", "steps", "validation", "other"
"""What one training does: gather and disturb images; forward, backward and optimizer; look at the
validation images; all the rest."""

Item = TypeVar("Item")


class Clock:
    """Adds up seconds by activity."""

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
        """Yield items; the time it takes to make them is an activity's."""
        while True:
            began = time.monotonic()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.add(activity, time.monotonic() - began)
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
