"""What is known of files that have not changed, so that each is decoded once."""

from __future__ import annotations

import base64
import itertools
import json
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter

from imseg.data.files.listing import (
    Fingerprint,
    PixelSource,
    Stamp,
    content_of,
    fingerprint,
    stamps_of,
)
from imseg.data.folder.facts import ImageFacts, MaskFacts
from imseg.data.images.decoding import resize_image
from imseg.data.masks.io import MaskFile, resize_mask
from imseg.types import Pixels

DECODING = 1
"""Raised when equal files become other pixels or facts than before, so that both are made anew."""

_MOST_TEXT = 48 << 20  # in a file of 64 MiB, the largest that is read
_MOST_UNPACKED = 1 << 30

_Facts = TypeVar("_Facts", ImageFacts, MaskFacts)
_Decoded = Pixels | MaskFile


@dataclass(frozen=True, slots=True)
class _Known:
    """Facts by what was looked for, each with the fingerprint of its file."""

    decoding: int = DECODING
    images: dict[str, list[tuple[Fingerprint, ImageFacts]]] = field(default_factory=dict)
    masks: dict[str, list[tuple[Fingerprint, MaskFacts]]] = field(default_factory=dict)


class KnownFiles:
    """Facts about files, by fingerprint, and pixels that wait to be stored.

    The checks ask here before they decode a file. What they had to decode stays here at the
    working size, as far as there is room, until the store takes it.

    Args:
        working_size: Returns the height and width at which a run stores pictures, from those that
            are typical of its labeled pictures; None: no pixels are kept.
        room: Most bytes of pixels that are kept; what does not fit is decoded again.
    """

    def __init__(
        self,
        *,
        working_size: Callable[[tuple[int, int]], tuple[int, int]] | None = None,
        room: int = 2 << 30,
    ) -> None:
        self.working_size = working_size
        self.size: tuple[int, int] | None = None
        """Height and width of pixels that are kept; None: none are."""
        self.has_news = False
        """Whether something was found out that is not in what was learned."""
        self._room = room
        self._by_stamps: dict[tuple[str, tuple[Stamp, ...]], tuple[Fingerprint, Any]] = {}
        self._by_content: dict[tuple[str, str], tuple[Fingerprint, Any]] = {}
        self._seen: dict[tuple[str, Path], tuple[Fingerprint, Any]] = {}
        self._contents: dict[Path, str] = {}
        self._decoded: dict[Path, tuple[tuple[Stamp, ...], _Decoded]] = {}
        self._lock = threading.Lock()

    def learn(self, packed: object) -> None:
        """Take over what an earlier look found out; what cannot be understood is passed over.

        Args:
            packed: What ``pack`` returned.
        """
        try:
            unpacker = zlib.decompressobj()
            text = unpacker.decompress(base64.b85decode(str(packed)), _MOST_UNPACKED)
            known = TypeAdapter(_Known).validate_python(json.loads(text))
        except (ValueError, TypeError, OverflowError, RecursionError, zlib.error):
            return
        if known.decoding != DECODING:
            return
        kinds: tuple[dict[str, list[Any]], ...] = (known.images, known.masks)
        for looked_for, entries in itertools.chain(*(kind.items() for kind in kinds)):
            for entry in entries:
                self._by_stamps.setdefault((looked_for, entry[0].stamps), entry)
                self._by_content.setdefault((looked_for, entry[0].content), entry)

    def pack(self) -> str | None:
        """Return all about the files that were looked at, as text; None if it is too much."""
        known = _Known()
        # In an order of their own: several threads look at files at once.
        for (looked_for, _), entry in sorted(
            self._seen.items(), key=lambda each: (each[0][0], str(each[0][1]))
        ):
            kind: dict[str, list[Any]] = (
                known.images if isinstance(entry[1], ImageFacts) else known.masks
            )
            kind.setdefault(looked_for, []).append(entry)
        # Not as JSON at once: names may hold bytes that are no text.
        text = json.dumps(TypeAdapter(_Known).dump_python(known, mode="json")).encode("ascii")
        packed = base64.b85encode(zlib.compress(text, 1)).decode()
        return packed if len(packed) <= _MOST_TEXT else None

    def facts_of(
        self,
        path: Path,
        looked_for: str,
        find: Callable[[], tuple[_Facts, _Decoded]],
        *,
        fits: Callable[[_Facts], bool] = lambda _: True,
        keep: bool,
        whole: bool = False,
    ) -> _Facts:
        """Return what is known about a file, or else what is found by decoding it.

        Args:
            path: The file.
            looked_for: What the facts depend on beside the content of the file.
            find: Decodes the file; returns the facts and what it holds.
            fits: Whether known facts can be used.
            keep: Whether the store will need what the file holds.
            whole: Whether the store will need it at full size.

        Raises:
            UnreadablePicture: If ``find`` does.
        """
        stamps = stamps_of(path)
        known = self._by_stamps.get((looked_for, stamps))
        content = known[0].content if known else content_of(path)
        if known is None:
            self.has_news = True
            known = self._by_content.get((looked_for, content)) if content else None
        if known is not None and fits(known[1]):
            facts: _Facts = known[1]
            steady = True
        else:
            facts, decoded = find()
            steady = stamps_of(path) == stamps
            if keep and steady:
                self._keep(path, stamps, decoded, whole=whole)
        if steady and content:
            self._seen[looked_for, path] = fingerprint(stamps, content), facts
            self._contents[path] = content
        return facts

    def content_of(self, source: PixelSource) -> str:
        """Return the hashes of files that were looked at; empty if one of them is not known."""
        paths = source.values() if isinstance(source, Mapping) else [source]
        found = [self._contents.get(path, "") for path in paths if isinstance(path, Path)]
        return " ".join(found) if all(found) else ""

    def take(self, path: object) -> _Decoded | None:
        """Return what a file holds, once; None if it is not here, or has changed since."""
        if not isinstance(path, Path):
            return None
        with self._lock:
            stamps, decoded = self._decoded.pop(path, ((), None))
        return decoded if stamps and stamps_of(path) == stamps else None

    def release(self) -> None:
        """Forget all pixels."""
        self._decoded.clear()

    def _keep(
        self, path: Path, stamps: tuple[Stamp, ...], decoded: _Decoded, *, whole: bool
    ) -> None:
        if self.size is None:
            return
        if isinstance(decoded, MaskFile):
            values = decoded.values if whole else resize_mask(decoded.values, self.size)
            decoded = replace(decoded, values=np.ascontiguousarray(values))
        elif decoded.dtype == np.uint8 and decoded.shape[2] in (1, 3):
            decoded = resize_image(decoded, self.size)
        else:
            decoded = np.ascontiguousarray(decoded)
        needed = (decoded.values if isinstance(decoded, MaskFile) else decoded).nbytes
        with self._lock:
            if needed <= self._room:
                self._room -= needed
                self._decoded[path] = stamps, decoded
