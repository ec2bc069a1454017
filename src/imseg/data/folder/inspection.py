"""The facts about pictures and masks: each file is decoded once, and not again until it changes."""

import base64
import functools
import hashlib
import json
import sys
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from imseg.data.checks.appearance import count_widths, look_and_sketch, sketch_mask
from imseg.data.files import listing
from imseg.data.folder.config import FolderConfig, as_color, as_number
from imseg.data.folder.facts import Counts, ImageFacts, MaskFacts
from imseg.data.images.decoding import UnreadablePicture, hash_pixels, resize_image
from imseg.data.images.image_files import SAMPLES, sample_pixels
from imseg.data.images.picture_file import read_upright
from imseg.data.masks.edges import count_on_edges, solid_colors
from imseg.data.masks.io import MaskFile, are_whole, read_mask, resize_mask
from imseg.data.masks.regions import abruptness, count_regions, has_regions
from imseg.types import POSITION, Color, Image, LabeledImage, Pixels

MAX_COUNTED = 512
"""Most values that are kept of a mask, unless they number objects."""

FEW_VALUES = 64
"""With more values than this, gaps do not speak against numbers of objects: crops have them."""

ABRUPT = 0.4
"""Least share of abrupt steps (see ``MaskFacts.abrupt``) in masks that number objects."""

SMALLEST_OBJECT = 4.0
"""Least mean area of objects in pixels; the values of noisy measurements have less."""

_CODES = (-1, -99, -999, -9999, -32768, -99999, np.finfo(np.float32).min)
"""Numbers that programs write where nothing was measured."""

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
            if keep and steady:
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
    if isinstance(entry, LabeledImage):
        masks, entry = mask_files(entry), entry.image
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
                path, scope, label=label, keep=keep, whole=POSITION in masks, closely=closely
            )
            found[label] = replace(facts, name=name)
        except UnreadablePicture as error:
            problems.append((name, error))
    if picture is None or problems:
        return problems
    orientation = max(turned, picture.orientation)  # what was saved upright is not turned again
    return with_masks(replace(picture, name=entry.name, orientation=orientation), found)


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

    def find() -> tuple[ImageFacts, Pixels]:
        pixels, inverting, orientation = read_upright(path, pages=pages)
        sketch = closely or (paired and orientation != 1)
        facts = image_facts(image.name, pixels, scope=scope, sketch=sketch)
        return replace(facts, inverting=inverting, orientation=orientation), pixels

    def fits(facts: ImageFacts) -> bool:
        height, width = facts.size
        wanted = min(height * width, _samples(facts.channels, scope))
        return facts.sample is None or len(facts.sample) == wanted

    if scope.files is None:
        return find()[0]
    looked_for = {"refuse": "one page", "channels": "pages as channels"}.get(
        str(pages), f"plane {pages}"
    )
    looked_for += ", of a pair" * paired + ", closely" * closely
    return scope.files.facts_of(path, looked_for, find, fits=fits, keep=keep)


def facts_of_mask(
    path: Path, scope: Scope, *, label: str | None, keep: bool, whole: bool, closely: bool = False
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

    Raises:
        ImsegError: If the file cannot be read.
    """
    pages = scope.config.pages

    def find() -> tuple[MaskFacts, MaskFile]:
        mask = read_mask(path, pages=pages)
        return mask_facts(str(path), mask, scope=scope, label=label, closely=closely), mask

    if scope.files is None:
        return find()[0]
    counting = label == POSITION or (label is None and scope.regions)
    regions = label or "values" if counting and has_regions() else "nothing"
    looked_for = f"void {scope.config.void!r}, regions of {regions}" + ", closely" * closely
    looked_for += "" if pages in ("refuse", "channels") else f", plane {pages}"
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
    return ImageFacts(
        name=name,
        size=(height, width),
        channels=channels,
        depth=pixels.dtype.name,
        digest=hash_pixels(pixels),
        look=look,
        sketch=sketched,
        # A copy, so that the picture is not kept alive.
        sample=None if plain else sample_pixels(pixels, _samples(channels, scope)).copy(),
    )


def mask_facts(
    name: str, mask: MaskFile, *, scope: Scope, label: str | None = None, closely: bool = False
) -> MaskFacts:
    """Return the facts about a mask.

    Args:
        name: What the user calls it.
        mask: What its file holds.
        scope: What to look for.
        label: The label that it is the mask of, where there is one per label.
        closely: Whether to keep enough to see if it fits, and count its regions by their width.
    """
    values = mask.values
    whole = mask.form == "values"
    if mask.form == "numbers" and are_whole(values):
        values, whole = values.astype(np.int32), True
    void = (as_color if mask.form == "colors" else as_number)(scope.config.void)
    height, width = values.shape
    facts = MaskFacts(
        name=name,
        size=(height, width),
        form=mask.form,
        whole=whole,
        dtype=sys.intern(mask.values.dtype.name),
        digest=_digest(mask),
        inverting=mask.inverting,
        alpha=mask.alpha,
    )
    if mask.form == "numbers" and not whole:
        return _with_fractions(facts, values, void)
    found, pixels = _count(values)
    clear = found != void if void is not None else np.ones(len(found), bool)
    kept, known = found[clear], int(pixels[clear].sum())
    whole = whole and (not len(kept) or int(kept[0]) >= 0)
    above = kept[kept > 0]
    gapless = len(above) > 0 and int(above[-1]) == len(above) and int(kept[0]) >= 0
    may_number = len(above) > 1 and (gapless or len(above) > FEW_VALUES)
    clean = np.where(values == void, 0, values) if void else values
    regions = abrupt = None
    if label == POSITION:
        regions = count_regions(clean != 0)
    elif label is None and scope.regions and whole and may_number:
        regions, abrupt = count_regions(clean), abruptness(clean)
    marked = int(pixels[clear][kept > 0].sum())
    objects = regions is not None and regions <= 2 * len(above) and (abrupt or 0) >= ABRUPT
    shown: Any = slice(None)
    if len(found) > MAX_COUNTED and not (objects and marked >= SMALLEST_OBJECT * len(above)):
        shown = np.sort(np.argsort(-pixels, kind="stable")[:MAX_COUNTED])
    if len(found) > 2 and (mask.form == "colors" or (whole and found[-1] < 256)):
        edges = count_on_edges(values, found)
        counted = Counts(found[shown][edges[shown] > 0], edges[shown][edges[shown] > 0])
        facts = replace(facts, edges=counted, blurred=float((2 * edges > pixels).mean()))
    if mask.form == "colors" and len(found) > FEW_VALUES:
        facts = replace(facts, solid=solid_colors(values))
    return replace(
        facts,
        whole=whole,
        counts=Counts(found[shown], pixels[shown]),
        distinct=len(kept),
        gapless=gapless,
        regions=regions,
        abrupt=abrupt,
        least=float(kept[0]) if known else np.nan,
        greatest=float(kept[-1]) if known else np.nan,
        mean=float(kept.astype(np.float64) @ pixels[clear]) / known if known else np.nan,
        has_code=known > 0 and _is_code(kept),
        known=known,
        palette=_shared(mask.palette[: int(found[-1]) + 1]) if mask.palette else None,
        sketch=sketch_mask(values, found) if closely else None,
        # Discs around cell centers are drawn anew at the working size.
        widths=count_widths(clean) if closely and label != POSITION else None,
    )


def relative_name(path: Path, root: Path) -> str:
    """Return a path relative to the data folder, with slashes, if it is inside it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _with_fractions(facts: MaskFacts, values: npt.NDArray[Any], void: int | None) -> MaskFacts:
    """Return the facts with what is known of measurements."""
    clear = np.isfinite(values)
    numbers = values[clear if void is None else clear & (values != void)]
    if not numbers.size:
        return facts
    return replace(
        facts,
        least=float(numbers.min()),
        greatest=float(numbers.max()),
        has_code=_is_code(numbers),
        mean=float(numbers.mean(dtype=np.float64)),
        known=numbers.size,
    )


def _is_code(numbers: npt.NDArray[Any]) -> bool:
    """Return whether the only number below 0 is one that often stands for missing ones."""
    least = numbers.min()
    return bool(least < 0 and least in _CODES and (numbers[numbers != least] >= 0).all())


def _samples(channels: int, scope: Scope) -> int:
    """Return how many pixels of a picture are kept, unless it has fewer."""
    return min(SAMPLES, max(1, _MOST_SAMPLES // max(1, scope.pictures * channels)))


def _count(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the different values, ascending, and how many pixels have each."""
    if values.dtype == np.uint8:
        histogram = np.bincount(values.ravel(), minlength=256)
        found = np.flatnonzero(histogram)
        return found, histogram[found]
    return np.unique(values, return_counts=True)


def _digest(mask: MaskFile) -> str:
    """Return a hash of the content, the same for values of 8 and of 16 bits."""
    values = mask.values
    if values.size and values.dtype.kind in "iu":
        lowest, highest = int(values.min()), int(values.max())
        values = values.astype(np.result_type(*map(np.min_scalar_type, (lowest, highest))))
    digest = hashlib.sha256(f"{mask.form} {values.dtype.kind} {values.shape}".encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


@functools.lru_cache(maxsize=256)
def _shared(palette: tuple[Color, ...]) -> tuple[Color, ...]:
    """Return the palette: the same object for all files that have the same."""
    return palette
