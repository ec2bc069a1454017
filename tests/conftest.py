"""What all tests share: reproducible random examples, and tasks to try things on."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import settings

from imseg.tasks import Binary, Multiclass, Multilabel, Regression
from imseg.types import VOID, TargetSpec

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
if WORKER and hasattr(os, "sched_setaffinity"):
    # Several test processes side by side: one core each, instead of all fighting over all of them.
    CORES = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {CORES[int(WORKER.removeprefix("gw")) % len(CORES)]})

# ``make test-rest`` and ``make test-all`` ask for the other profile: ``--hypothesis-profile full``.
for profile, examples in {"fast": 15, "full": 100}.items():
    settings.register_profile(
        profile, derandomize=True, deadline=None, database=None, max_examples=examples
    )
settings.load_profile("fast")


@pytest.fixture(scope="session")
def binary() -> Callable[..., Binary]:
    """A function that returns the binary task; ``paper`` and ``void`` can be switched on."""

    def make(*, paper: bool = False, void: bool = False) -> Binary:
        spec = TargetSpec(
            kind="binary",
            values=(0, 1),
            names=("background", "cell"),
            colors=((0, 0, 0), (255, 255, 255)),
            void=VOID if void else None,
        )
        return Binary(spec=spec, paper=paper)

    return make


@pytest.fixture(scope="session")
def multiclass() -> Callable[..., Multiclass]:
    """A function that returns the task with so many user classes (one output more)."""

    def make(classes: int, *, paper: bool = False, void: bool = False) -> Multiclass:
        spec = TargetSpec(
            kind="multiclass",
            values=tuple(range(classes)),
            names=tuple(f"class {index}" for index in range(classes)),
            colors=tuple((index, 0, 0) for index in range(classes)),
            void=VOID if void else None,
        )
        return Multiclass(spec=spec, paper=paper)

    return make


@pytest.fixture(scope="session")
def multilabel() -> Callable[..., Multilabel]:
    """A function that returns the task with planes of these names."""

    def make(
        *names: str, paper: bool = False, void: bool = False, coding: str = "planes"
    ) -> Multilabel:
        spec = TargetSpec(
            kind="multilabel",
            coding=coding,
            names=names or ("alive", "dead", "position"),
            colors=tuple((index, 0, 0) for index in range(len(names) or 3)),
            void=VOID if void else None,
        )
        return Multilabel(spec=spec, paper=paper)

    return make


@pytest.fixture(scope="session")
def regression() -> Callable[..., Regression]:
    """A function that returns the task of numbers from ``low`` to ``high`` meters."""

    def make(low: float = 0.0, high: float = 1.0) -> Regression:
        spec = TargetSpec(
            kind="regression",
            coding="numbers",
            names=("depth",),
            colors=((0, 0, 0),),
            low=low,
            high=high,
            stored="float32",
            unit="m",
        )
        return Regression(spec=spec)

    return make
