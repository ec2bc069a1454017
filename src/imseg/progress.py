"""What long work says while it goes on: one callback, a few kinds of events."""

import logging
import math
from dataclasses import dataclass
from typing import Protocol

logger = logging.getLogger("imseg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """How much there will be to do, as far as is known; sent again when that changes."""

    steps: int
    """Optimizer steps of all networks together, finished ones included."""
    first: bool = False
    """Whether a new experiment begins with this, so that counting starts anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """A countable piece of work other than training moves on (decoding, pseudo-labels)."""

    what: str
    """What is done, for the user."""
    done: int
    """Finished items."""
    total: int
    """All items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """A network has made optimizer steps since its last event."""

    network: str
    """Which network, such as ``generation-1/network-0``."""
    steps: int
    """How many steps since the last event."""
    loss: float
    """Mean loss over these steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFinished:
    """A network is trained (or was found already trained)."""

    network: str
    """Which network."""
    steps: int
    """Its optimizer steps."""
    score: str
    """The mean over validation images by which it is ranked, in words: ``IoU 0.712``."""
    seconds: float
    """Wall time of its training; 0 if it was reused."""
    reused: bool = False
    """Whether it was trained earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFinished:
    """All networks of the start or of a generation are trained and ranked."""

    stage: str
    """``start`` or ``generation-K``."""
    best: str
    """The network ranked first."""
    score: str
    """Its mean over validation images, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something the user should know."""

    text: str
    """One or two sentences."""
    warning: bool = False
    """Whether it deserves attention."""


Event = Planned | Working | Stepped | NetworkFinished | StageFinished | Note


class Progress(Protocol):
    """Anything that can be told how work goes on."""

    def __call__(self, event: Event) -> None:
        """Take note of an event; must return quickly and must not raise."""


def log_progress(event: Event) -> None:
    """Write the events worth keeping to the ``imseg`` logger: Python's default."""
    match event:
        case NetworkFinished():
            logger.info("%s: validation %s, %d steps", event.network, event.score, event.steps)
        case StageFinished():
            logger.info("%s finished, best network: %s", event.stage, event.best)
        case Note(warning=True):
            logger.warning("%s", event.text)
        case Note():
            logger.info("%s", event.text)


def in_minutes(seconds: float) -> int:
    """Return whole minutes, at least one."""
    return max(1, math.ceil(seconds / 60 - 0.5))


def in_time(seconds: float) -> str:
    """Return a duration in the unit that fits, such as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
