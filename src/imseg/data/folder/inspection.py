"""The facts about pictures and masks: each file is decoded once, and not again until it changes."""

import base64
import json
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter

from imseg.data.checks.appearance import look_and_sketch
from imseg.data.files import listing
from imseg.data.folder import large_files
from imseg.data.folder.config import FolderConfig
from imseg.data.folder.facts import ImageFacts, MaskFacts
from imseg.data.folder.mask_facts import mask_facts
from imseg.data.images import by_rows, image_files, picture_file
from imseg.data.images.decoding import UnreadablePicture, hash_pixels, resize_image
from imseg.data.images.pixel_size import may_say_pixel_size
from imseg.data.masks.io import MaskFile, read_mask, resize_mask
from imseg.data.masks.regions import has_regions
from imseg.types import POSITION, Image, LabeledImage, Pixels, Region

_MOST_SAMPLES = 1 << 23

Inspected = ImageFacts | list[tuple[str, UnreadablePicture]]
"""The facts about a picture and its masks, or for each unreadable file its name and why."""

DECODING = 4
"""Raised when equal files become other pixels or facts than before, so that both are made anew."""

_MOST_TEXT = 48 << 20  # in a file of 64 MiB, the largest that is read
_MOST_UNPACKED = 1 << 30

_Facts = TypeVar("_Facts", ImageFacts, MaskFacts)
_Decoded = Pixels | MaskFile


@dataclass(frozen=True, slots=True)
class _Known:
    """Facts by what was looked for, each with the fingerprint of its file."""

    decoding: int = DECODING
    images: dict[str, list[tuple[listing.Fingerprint, ImageFacts]]] = field(default_factory=dict)
    masks: dict[str, list[tuple[listing.Fingerprint, MaskFacts]]] = field(default_factory=dict)


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
        self._by_stamps: dict[
            tuple[str, tuple[listing.Stamp, ...]], tuple[listing.Fingerprint, Any]
        ] = {}
        self._by_content: dict[tuple[str, str], tuple[listing.Fingerprint, Any]] = {}
        self._seen: dict[tuple[str, Path], tuple[listing.Fingerprint, Any]] = {}
        self._contents: dict[Path, str] = {}
        self._decoded: dict[Path, tuple[tuple[listing.Stamp, ...], _Decoded]] = {}
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
        every: list[tuple[str, list[Any]]] = [*known.images.items(), *known.masks.items()]
        for looked_for, entries in every:
            for entry in entries:
                self._by_stamps.setdefault((looked_for, entry[0].stamps), entry)
                self._by_content.setdefault((looked_for, entry[0].content), entry)

    def pack(self) -> str | None:
        """Return all about the files that were looked at, as text; None if it is too much."""
        known = _Known()
        # In an order of their own: several threads look at files at once.
        for looked_for, path in sorted(self._seen, key=lambda seen: (seen[0], str(seen[1]))):
            entry = self._seen[looked_for, path]
            kind: Any = known.images if isinstance(entry[1], ImageFacts) else known.masks
            kind.setdefault(looked_for, []).append(entry)
        # Not as JSON at once: names may hold bytes that are no text.
        text = json.dumps(TypeAdapter(_Known).dump_python(known, mode="json")).encode("ascii")
        packed = base64.b85encode(zlib.compress(text, 1)).decode()
        return packed if len(packed) <= _MOST_TEXT else None

    def facts_of(
        self,
        path: Path,
        looked_for: str,
        find: Callable[[], tuple[_Facts, _Decoded | None]],
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
        stamps = listing.stamps_of(path)
        known = self._by_stamps.get((looked_for, stamps))
        content = known[0].content if known else listing.content_of(path)
        if known is None:
            self.has_news = True
            known = self._by_content.get((looked_for, content)) if content else None
        if known is not None and fits(known[1]):
            facts: _Facts = known[1]
            steady = True
        else:
            facts, decoded = find()
            steady = listing.stamps_of(path) == stamps
            if keep and steady and decoded is not None:
                self._keep(path, stamps, decoded, whole=whole)
        if steady and content:
            self._seen[looked_for, path] = listing.fingerprint(stamps, content), facts
            self._contents[path] = content
        return facts

    def content_of(self, source: listing.PixelSource) -> str:
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
        return decoded if stamps and listing.stamps_of(path) == stamps else None

    def release(self) -> None:
        """Forget all pixels."""
        self._decoded.clear()

    def _keep(
        self, path: Path, stamps: tuple[listing.Stamp, ...], decoded: _Decoded, *, whole: bool
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What to look for."""

    config: FolderConfig
    """What the user says about the masks."""
    regions: bool = True
    """Whether to count connected regions where a mask may number objects."""
    pictures: int = 1
    """How many pictures there are, so that the samples of all stay small."""
    files: KnownFiles | None = None
    """What is known already; None: every file is decoded."""


def inspect(
    entry: Image | LabeledImage,
    root: Path,
    scope: Scope,
    *,
    keep: bool,
    closely: bool = False,
    turned: int = 1,
) -> Inspected:
    """Return the facts about one entry, or what of it cannot be read.

    Args:
        entry: A picture, perhaps with its mask.
        root: The data folder, to which names are relative.
        scope: What to look for.
        keep: Whether what is decoded will be stored.
        closely: Whether to look closely at the masks, as at those of every image that is turned.
        turned: The EXIF number that the picture had before it was saved upright.
    """
    masks: dict[str | None, Path] = {}
    regions = None
    if isinstance(entry, LabeledImage):
        masks, regions, entry = mask_files(entry), entry.regions, entry.image
    problems: list[tuple[str, UnreadablePicture]] = []
    picture, found = None, dict[str | None, MaskFacts]()
    closely = bool(masks) and (closely or turned != 1)
    try:
        picture = _facts_of_image(entry, scope, keep=keep, closely=closely, paired=bool(masks))
        closely |= picture.orientation != 1
    except UnreadablePicture as error:
        problems.append((entry.name, error))
    for label, path in masks.items():
        name = relative_name(path, root)
        try:
            facts = facts_of_mask(
                path,
                scope,
                label=label,
                keep=keep,
                whole=POSITION in masks,
                closely=closely,
                parts=regions,
            )
            found[label] = replace(facts, name=name)
        except UnreadablePicture as error:
            problems.append((name, error))
    if picture is None or problems:
        return problems
    orientation = max(turned, picture.orientation)  # what was saved upright is not turned again
    size = scope.config.pixel_size_of(entry.name) or picture.pixel_size
    picture = replace(picture, name=entry.name, orientation=orientation, pixel_size=size)
    return with_masks(picture, found)


def mask_files(pair: LabeledImage) -> dict[str | None, Path]:
    """Return the mask files of a pair by label; the label is None where there is one mask."""
    masks = pair.mask if isinstance(pair.mask, Mapping) else {None: pair.mask}
    return {label: path for label, path in masks.items() if isinstance(path, Path)}


def with_masks(picture: ImageFacts, masks: Mapping[str | None, MaskFacts]) -> ImageFacts:
    """Return the facts about a picture with those about its masks by label; see ``mask_files``."""
    planes = {label: plane for label, plane in masks.items() if label is not None}
    return replace(picture, mask=masks.get(None), planes=planes)


def _facts_of_image(
    image: Image, scope: Scope, *, keep: bool, closely: bool, paired: bool
) -> ImageFacts:
    pages, path = scope.config.pages, image.pixels
    if not isinstance(path, Path):
        return image_facts(image.name, path, scope=scope)

    in_rows = not keep and by_rows.only_by_rows(path, pages=pages)

    def find() -> tuple[ImageFacts, Pixels]:
        if in_rows:
            content, pixels = large_files.shrunk(path, pages=pages)
            facts = image_facts(image.name, pixels, scope=scope, sketch=closely)
            return replace(facts, **content), pixels
        found = picture_file.read_upright(path, pages=pages)
        sketch = closely or (paired and found.orientation != 1)
        facts = image_facts(image.name, found.pixels, scope=scope, sketch=sketch)
        facts = replace(
            facts,
            inverting=found.inverting,
            orientation=found.orientation,
            pixel_size=found.pixel_size,
        )
        return facts, found.pixels

    def fits(facts: ImageFacts) -> bool:
        height, width = facts.size
        wanted = min(height * width, _samples(facts.channels, scope))
        return facts.sample is None or len(facts.sample) == wanted

    if scope.files is None:
        return find()[0]
    looked_for = {"refuse": "one page", "channels": "pages as channels"}.get(
        str(pages), f"plane {pages}"
    )
    looked_for += ", of a pair" * paired + ", closely" * closely + ", in rows" * in_rows
    looked_for += ", pixel size" * may_say_pixel_size(path)  # earlier versions did not look for it
    return scope.files.facts_of(path, looked_for, find, fits=fits, keep=keep)


def facts_of_mask(
    path: Path,
    scope: Scope,
    *,
    label: str | None,
    keep: bool,
    whole: bool,
    closely: bool = False,
    parts: Sequence[Region] | None = None,
) -> MaskFacts:
    """Return the facts about a mask file.

    Args:
        path: The file.
        scope: What to look for.
        label: The label that it is the mask of, where there is one per label.
        keep: Whether the mask will be stored.
        whole: Whether its full size is needed for that: discs around cell centers are drawn anew
            at the working size.
        closely: Whether to keep enough to see if it fits, and count its regions by their width.
        parts: Boxes outside of which nothing counts; None: all of it does.

    Raises:
        ImsegError: If the file cannot be read.
    """
    pages = scope.config.pages
    in_rows = not keep and by_rows.only_by_rows(path, pages=pages)

    def find() -> tuple[MaskFacts, MaskFile | None]:
        if in_rows:
            return large_files.large_mask_facts(path, scope.config, parts=parts), None
        mask = read_mask(path, pages=pages)
        facts = mask_facts(str(path), mask, scope=scope, label=label, closely=closely, parts=parts)
        return facts, mask

    if scope.files is None:
        return find()[0]
    counting = label == POSITION or (label is None and scope.regions)
    regions = label or "values" if counting and has_regions() else "nothing"
    looked_for = f"void {scope.config.void!r}, regions of {regions}" + ", closely" * closely
    looked_for += "" if parts is None else f", in {parts}"
    looked_for += "" if pages in ("refuse", "channels") else f", plane {pages}"
    looked_for += ", in rows" * in_rows
    return scope.files.facts_of(path, looked_for, find, keep=keep, whole=whole)


def image_facts(name: str, pixels: Pixels, *, scope: Scope, sketch: bool = False) -> ImageFacts:
    """Return the facts about ``h w c`` pixels.

    Args:
        name: What the user calls the picture.
        pixels: Bytes, 16 bits or floats.
        scope: What to look for.
        sketch: Whether to keep enough to see if a mask fits.
    """
    height, width, channels = pixels.shape
    look, sketched = look_and_sketch(pixels, sketch=sketch)
    plain = pixels.dtype == np.uint8 and channels in (1, 3)
    some = None if plain else image_files.sample_pixels(pixels, _samples(channels, scope))
    return ImageFacts(
        name=name,
        size=(height, width),
        channels=channels,
        depth=pixels.dtype.name,
        digest=hash_pixels(pixels),
        look=look,
        sketch=sketched,
        # A copy, so that the picture is not kept alive.
        sample=None if some is None else some.copy(),
    )


def relative_name(path: Path, root: Path) -> str:
    """Return a path relative to the data folder, with slashes, if it is inside it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _samples(channels: int, scope: Scope) -> int:
    """Return how many pixels of a picture are kept, unless it has fewer."""
    return min(image_files.SAMPLES, max(1, _MOST_SAMPLES // max(1, scope.pictures * channels)))
