"""Which cases of a test ``make test`` runs, and which it leaves to ``make test-rest``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest


def rest_but(cases: Iterable[Any], fast: Callable[..., bool]) -> list[Any]:
    """Return cases for ``parametrize``; those that are not fast are marked ``rest``.

    Args:
        cases: Values of one argument, or tuples of the values of several arguments.
        fast: Takes the values of a case and returns whether ``make test`` runs it.
    """
    every = [case if isinstance(case, tuple) else (case,) for case in cases]
    marks: dict[bool, Any] = {True: (), False: pytest.mark.rest}
    return [pytest.param(*case, marks=marks[bool(fast(*case))]) for case in every]
