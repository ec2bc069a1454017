"""From words on the command line to values."""

from __future__ import annotations

from typing import cast, get_args

from imseg.data.config import TaskWord
from imseg.errors import ImsegError, near_miss


def parse_task(word: str | None) -> TaskWord | None:
    """Return the kind of target that is meant.

    Raises:
        ImsegError: If there is none of this name.
    """
    known = get_args(TaskWord)
    if word is None or word in known:
        return cast("TaskWord | None", word)
    guess = near_miss(word, known)
    raise ImsegError(
        f"There is no task {word!r}.",
        expected=", ".join(known),
        got=word,
        hint=f"--task {guess}" if guess else None,
    )
