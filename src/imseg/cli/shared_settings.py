"""The options of ``imseg train`` that other commands take too, written down once."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Collection
from typing import Any

from imseg.cli.train import NOT_SETTINGS, train


def takes_settings(*, without: Collection[str]) -> Callable[[Callable[..., int]], Any]:
    """Give a command that ends with ``**settings`` the options of ``imseg train`` for settings.

    They come before ``--json``, with which all commands end.

    Args:
        without: Settings that the command has other words for.
    """

    def add(command: Callable[..., int]) -> Callable[..., int]:
        own, hints = inspect.signature(command), _hints(command)
        theirs = _hints(train)
        mine = [
            each.replace(annotation=hints[name])
            for name, each in own.parameters.items()
            if each.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        taken = {each.name for each in mine} | set(without) | set(NOT_SETTINGS)
        settings = [
            each.replace(annotation=theirs[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, each in inspect.signature(train).parameters.items()
            if name not in taken
        ]
        last = [each for each in mine if each.name == "json"]
        first = [each for each in mine if each.name != "json"]
        parameters = [
            each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*first, *settings, *last)
        ]

        @functools.wraps(command)
        def wrapped(**given: Any) -> int:
            return command(**given)

        del wrapped.__wrapped__  # or its signature would be looked at
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
        return wrapped

    return add


def _hints(command: Callable[..., int]) -> dict[str, Any]:
    return typing.get_type_hints(command, include_extras=True)
