"""From words on the command line to values."""

from __future__ import annotations

from typing import cast, get_args

from imseg.errors import ImsegError, near_miss
from imseg.types import Kind


def parse_task(word: str | None) -> Kind | None:
    """Return the kind of target that is meant.

    Raises:
        ImsegError: If there is none of this name.
    """
    known = get_args(Kind)
    if word is None or word in known:
        return cast("Kind | None", word)
    guess = near_miss(word, known)
    raise ImsegError(
        f"There is no task {word!r}.",
        expected=", ".join(known),
        got=word,
        hint=f"--task {guess}" if guess else None,
    )
