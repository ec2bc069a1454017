"""What is known about trained networks, in files beside their weights: written, read, verified."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from imseg.engine.storage.sealed import read_json, write_json
from imseg.engine.training.job import Trained
from imseg.errors import ImsegError

Tell = Callable[[str], None]
"""Called with what is wrong with a file, in words that name it."""


def write_trained(weights: Path, trained: Trained) -> None:
    """Write what is known about a network beside its weights.

    Raises:
        ImsegError: If it cannot be written.
    """
    write_json(weights.with_suffix(".json"), json.loads(trained.as_json()))


def read_trained(weights: Path, *, tell: Tell = lambda _: None) -> Trained | None:
    """Return what is known about a network, or None if it is not there whole.

    Args:
        weights: Its weights, every byte of which is looked at.
        tell: Called where something is there and damaged.
    """
    known = read_known(weights, tell=tell)
    if known is None or known.sha256 == hash_of(weights):
        return known
    tell(f"{weights} is damaged: it does not have the checksum it was written with.")
    return None


def read_known(weights: Path, *, tell: Tell = lambda _: None) -> Trained | None:
    """Return what is known about a network without a look into its weights, or None."""
    place = weights.with_suffix(".json")
    if not weights.is_file() or not place.exists():
        return None
    try:
        return Trained.from_json(json.dumps(read_json(place)))
    except (ImsegError, ValueError) as error:
        tell(f"{place} is damaged." if isinstance(error, ValueError) else error.what)
        return None


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
