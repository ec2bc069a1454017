"""What pictures and masks turn out to be: a few numbers about each, never its pixels."""

import base64
import hashlib
import itertools
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Base64Bytes, ConfigDict, PlainSerializer, PlainValidator

from imseg.data.checks.appearance import Look
from imseg.data.folder.config import as_color
from imseg.data.masks.io import MaskAlpha, MaskForm, value_text
from imseg.types import POSITION, Coding, Color, TargetSpec

Progress = Callable[[int, int], None]
"""Called with (done, total) after each file."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_QUEUED = 16


class Counts(Mapping[int, int]):
    """Pixels by value, in twelve bytes per entry: 50,000 masks of many values stay small.

    Args:
        values: Whole numbers, ascending, each once.
        pixels: How many pixels have each.
    """

    __slots__ = ("_pixels", "_values")

    def __init__(self, values: npt.NDArray[Any], pixels: npt.NDArray[Any]) -> None:
        self._values = np.asarray(values, np.int64)
        self._pixels = np.asarray(pixels, np.uint32)

    def __getitem__(self, value: int) -> int:
        place = int(np.searchsorted(self._values, value))
        if place < len(self._values) and self._values[place] == value:
            return int(self._pixels[place])
        raise KeyError(value)

    def __iter__(self) -> Iterator[int]:
        return iter(self._values.tolist())

    def __len__(self) -> int:
        return len(self._values)


_NONE = Counts(np.empty(0), np.empty(0))


def _plain_array(array: npt.NDArray[Any]) -> tuple[str, list[int], str]:
    return array.dtype.str, list(array.shape), base64.b64encode(array.tobytes()).decode()


def _array_from(plain: Any) -> npt.NDArray[Any]:
    kind, shape, content = plain
    return np.frombuffer(base64.b64decode(content), np.dtype(kind)).reshape(shape)


# As JSON: two lists of numbers; the type, the shape and the bytes of an array.
_JsonCounts = Annotated[
    Mapping[int, int],
    PlainValidator(lambda plain: Counts(*map(np.array, plain))),
    PlainSerializer(lambda counts: [list(counts), list(counts.values())]),
]
_JsonArray = Annotated[npt.NDArray[Any], PlainValidator(_array_from), PlainSerializer(_plain_array)]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFacts:
    """What a mask file turned out to be. Void pixels count in ``counts`` and nowhere else."""

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")

    name: str
    """A path relative to the data folder, or ``mask of labeled[3]``."""
    size: tuple[int, int]
    """Height and width in pixels."""
    form: MaskForm
    """What the file holds."""
    whole: bool
    """Whether it holds whole numbers from 0, though perhaps as floats; False for colors."""
    dtype: str
    """The type of the file's values."""
    digest: str
    """Equal for masks of equal content."""
    counts: _JsonCounts = field(default_factory=lambda: _NONE)
    """Pixels by value or packed color; empty for fractions. Of more than 512 values the most
    frequent, unless each is one connected region."""
    distinct: int = 0
    """Different values; 0 for fractions."""
    edges: _JsonCounts = field(default_factory=lambda: _NONE)
    """Of the pixels in ``counts``, those that lie on edges as smearing leaves them (``on_edges``);
    empty where there are no more than two values, or others than bytes and colors."""
    blurred: float = 0.0
    """Share of the different values that are found mostly on such edges, 0..1."""
    solid: _JsonCounts = field(default_factory=lambda: _NONE)
    """Of a mask of many colors: pixels inside of areas nearly of one color (``solid_colors``)."""
    gapless: bool = False
    """Whether the values above 0 are 1, 2, ... without gaps."""
    regions: int | None = None
    """Connected regions of one value above 0; None: not counted."""
    abrupt: float | None = None
    """Share of the steps between unequal neighbors that lead from or to 0, or jump by more than 1;
    None: not counted. Objects are abrupt, while measurements and layers change little by little."""
    least: float = np.nan
    """The least number; NaN if there is none."""
    greatest: float = np.nan
    """The greatest number; NaN if there is none."""
    mean: float = np.nan
    """The mean of the numbers; NaN if there is none."""
    has_code: bool = False
    """Whether the least number is one that often stands for missing ones, such as -1 or -9999, and
    no other is below 0."""
    known: int = 0
    """Pixels that hold a number and are not void."""
    palette: tuple[Color, ...] | None = None
    """The colors of the values of an indexed file."""
    inverting: int = 0
    """Bits per number of a TIFF file whose 0 is to be shown as white; 0: of any other file."""
    alpha: MaskAlpha = ""
    """What the alpha channel of the file was for."""
    sketch: Base64Bytes | None = None
    """A few of its pixels; see ``sketch_mask``. None: of measurements, and where not looked at."""
    widths: tuple[int, ...] | None = None
    """Its connected regions by width; see ``count_widths``. None: not counted."""

    @property
    def missing(self) -> float:
        """Share of the pixels that are void or not a number, 0..1."""
        return 1 - self.known / (self.size[0] * self.size[1])

    @property
    def objects(self) -> int:
        """Different values above 0."""
        return self.distinct - (self.least == 0)

    @property
    def zeros(self) -> int:
        """Pixels that are 0 and not void."""
        return self.counts.get(0, 0) if self.least == 0 else 0

    def counted_as(self, coding: Coding) -> Mapping[int, int]:
        """Return pixels by value as a coding knows values: among colors, gray levels are colors."""
        return self._recounted(self.counts, coding)

    def edges_as(self, coding: Coding) -> Mapping[int, int]:
        """Return the pixels on edges, by value as a coding knows values."""
        return self._recounted(self.edges, coding)

    def _recounted(self, counts: Mapping[int, int], coding: Coding) -> Mapping[int, int]:
        if coding != "colors" or self.form == "colors":
            return counts
        grays = {value: as_color(value) for value in counts}
        # What is no gray level is left beyond all colors.
        return {
            1 << 24 | value if gray is None else gray: counts[value]
            for value, gray in grays.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What a picture, and its mask if it has one, turned out to be."""

    __pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")

    name: str
    """A path relative to the data folder, or ``labeled[3]``."""
    size: tuple[int, int]
    """Height and width in pixels."""
    channels: int
    """1 (gray), 3 (color), or whatever else there is."""
    depth: str = "uint8"
    """The type of the pixels: uint8, uint16 or float32."""
    digest: str
    """Equal for pictures of equal content."""
    look: Look | None = None
    """What it looks like."""
    sketch: Base64Bytes | None = None
    """A few gray levels of it; see ``look_and_sketch``. None: nothing is asked about masks."""
    orientation: int = 1
    """The EXIF number by which it was turned, on reading or before; 1: it was not."""
    sample: _JsonArray | None = None
    """A few of its pixels (``n c``), where ranges must be estimated; never of 8-bit gray or color
    pictures."""
    inverting: bool = False
    """Whether the file says that 0 is to be shown as white."""
    pixel_size: float | None = None
    """Micrometers on a side of a pixel; None: not known."""
    mask: MaskFacts | None = None
    """The mask, where there is one in one file."""
    planes: Mapping[str, MaskFacts] = field(default_factory=dict)
    """The masks by label, where there is one file per label."""

    @property
    def masks(self) -> tuple[MaskFacts, ...]:
        """Every mask file."""
        return (self.mask, *self.planes.values()) if self.mask else tuple(self.planes.values())

    @property
    def content(self) -> str:
        """A hash of the picture and of its masks."""
        if not self.masks:
            return self.digest
        parts = [self.digest, self.mask.digest if self.mask else ""]
        parts += [f"{label}\0{plane.digest}" for label, plane in self.planes.items()]
        return hashlib.sha256("".join(parts).encode()).hexdigest()

    @property
    def plain(self) -> bool:
        """Whether the picture is stored as it is: 8 bits, gray or color."""
        return self.depth == "uint8" and self.channels in (1, 3)


_RUN = _RUNS = 16


def is_sampled(place: int, count: int) -> bool:
    """Return whether a pair is one of those that are looked at closely.

    They are at most 256 of a split: runs of 16 neighbors, whose masks may have been exchanged,
    spread evenly over all. Each takes a few kilobytes.

    Args:
        place: Where it is in its split, from 0.
        count: How many there are.
    """
    if count <= _RUN * _RUNS:
        return True
    apart = count - _RUN
    run = place * (_RUNS - 1) // apart
    return place - -(-run * apart // (_RUNS - 1)) < _RUN


def sampled(split: Sequence[ImageFacts]) -> list[ImageFacts]:
    """Return the facts of a split about the pairs that are looked at closely."""
    return [facts for place, facts in enumerate(split) if is_sampled(place, len(split))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The facts about every readable picture, by split."""

    labeled: tuple[ImageFacts, ...] = ()
    """Pairs to learn from."""
    unlabeled: tuple[ImageFacts, ...] = ()
    """Pictures alone."""
    val: tuple[ImageFacts, ...] = ()
    """Pairs to choose by."""
    test: tuple[ImageFacts, ...] = ()
    """Pairs for the final score."""

    def splits(self) -> dict[str, tuple[ImageFacts, ...]]:
        """Return the facts by the name of the split."""
        return {split.name: getattr(self, split.name) for split in fields(self)}

    def every(self) -> list[ImageFacts]:
        """Return the facts about all pictures."""
        return list(itertools.chain.from_iterable(self.splits().values()))

    def digests(self) -> dict[str, str]:
        """Return a hash of the content of each picture, and of its masks, by the picture's name."""
        return {facts.name: facts.content for facts in self.every()}

    def label_counts(self, coding: Coding = "values") -> Counter[int]:
        """Return the pixels of each mask value over all labeled masks."""
        total: Counter[int] = Counter()
        for mask in single_masks(self.labeled):
            total.update(mask.counted_as(coding))
        return total


def single_masks(split: Iterable[ImageFacts]) -> list[MaskFacts]:
    """Return the masks of a split where there is one per image."""
    return [facts.mask for facts in split if facts.mask is not None]


def map_in_threads(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Generator[_Result, None, None]:
    """Yield the results in the order of the items; decoding pictures runs side by side.

    Only a few items are under way at a time, so that memory does not grow with their number.

    Args:
        function: Called once for each item, in a thread.
        items: What to work on.
        workers: Threads; None: one per core, at most 8.
        progress: Called in the calling thread, once for each result.
    """
    threads = max(1, workers or min(8, os.cpu_count() or 1))
    with ThreadPoolExecutor(threads) as pool:
        rest = iter(items)
        first = itertools.islice(rest, _QUEUED * threads)
        under_way = deque(pool.submit(function, item) for item in first)
        try:
            for done in range(1, len(items) + 1):
                result = under_way.popleft().result()
                for item in itertools.islice(rest, 1):
                    under_way.append(pool.submit(function, item))
                if progress is not None:
                    progress(done, len(items))
                yield result
        finally:
            # Without this, an error or Ctrl-C would first wait for everything still queued.
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeSummary:
    """How large the pictures are, in pixels."""

    smallest: tuple[int, int]
    """Least height and least width."""
    median: tuple[int, int]
    """Median height and median width (the lower middle)."""
    largest: tuple[int, int]
    """Greatest height and greatest width."""
    all_equal: bool
    """Whether all pictures have one size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSummary:
    """How much of a class or label the masks show."""

    key: str
    """What the masks know it by: a value, a color such as ``#00ff00``, or the name of a label."""
    name: str
    """The name of the class."""
    color: Color
    """Red, green, blue; 0..255."""
    share: float
    """Share of the pixels that are not void, 0..1, over all masks."""
    images: int
    """Images on which it occurs."""
    regions: int | None = None
    """Of the label of cell centers: how many there are (connected regions over all masks); None of
    others, and where scikit-image is not installed."""

    @property
    def text(self) -> str:
        """What to call it in messages: ``3 (road)``."""
        return self.key if self.key == self.name else f"{self.key} ({self.name})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSummary:
    """The objects in label images."""

    total: int
    """Objects in all masks."""
    fewest: int
    """Fewest objects in a mask."""
    median: float
    """Median of the objects in a mask."""
    most: int
    """Most objects in a mask."""
    area: float
    """Median of the objects' areas in pixels; 0 if there are no objects."""
    area_um2: float | None
    """The same in square micrometers; None if the size of a pixel is not known of some image."""
    share: float
    """Share of the pixels that are in objects, 0..1, of those that are not void."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberSummary:
    """The measurements that a regression learns."""

    low: float
    """The least."""
    high: float
    """The greatest."""
    mean: float
    """The mean over all pixels that hold a number."""
    missing: float
    """Share of the pixels that are void or hold no number, 0..1."""
    unit: str
    """The unit, if the user gave it."""


def summarize_sizes(every: Sequence[ImageFacts]) -> SizeSummary | None:
    """Return how large pictures are; None if there are none."""
    if not every:
        return None
    heights = sorted(facts.size[0] for facts in every)
    widths = sorted(facts.size[1] for facts in every)
    middle = (len(every) - 1) // 2
    return SizeSummary(
        smallest=(heights[0], widths[0]),
        median=(heights[middle], widths[middle]),
        largest=(heights[-1], widths[-1]),
        all_equal=len({facts.size for facts in every}) == 1,
    )


def summarize_classes(split: Sequence[ImageFacts], spec: TargetSpec) -> tuple[ClassSummary, ...]:
    """Return what the masks of a split show of each class or label; nothing for other codings."""
    if spec.coding == "planes":
        return tuple(
            _summarize_plane(split, name, color)
            for name, color in zip(spec.names, spec.colors, strict=True)
        )
    if spec.coding not in ("values", "colors"):
        return ()
    pixels: Counter[int] = Counter()
    images: Counter[int] = Counter()
    for mask in single_masks(split):
        counts = mask.counted_as(spec.coding)
        pixels.update(counts)
        images.update(counts.keys())
    total = sum(pixels[value] for value in spec.values)
    return tuple(
        ClassSummary(
            key=value_text(value, spec.coding),
            name=name,
            color=color,
            share=pixels[value] / total if total else 0.0,
            images=images[value],
        )
        for value, name, color in zip(spec.values, spec.names, spec.colors, strict=True)
    )


def summarize_objects(split: Sequence[ImageFacts], spec: TargetSpec) -> ObjectSummary | None:
    """Return how many objects the masks of a split show, and how large; None if they show none."""
    masks = single_masks(split)
    if spec.coding != "objects" or not masks:
        return None
    numbers, no_object = [mask.objects for mask in masks], (0, spec.void)
    sides = [facts.pixel_size or spec.pixel_size for facts in split if facts.mask is not None]
    sizes = [
        (size, size * (side or 0.0) ** 2)
        for mask, side in zip(masks, sides, strict=True)
        for value, size in mask.counts.items()
        if value not in no_object
    ]
    areas, known_areas = np.array(sizes, np.float64).reshape(-1, 2).T
    median, in_um2 = (float(np.median(each)) if sizes else 0.0 for each in (areas, known_areas))
    known = sum(mask.known for mask in masks)
    return ObjectSummary(
        total=sum(numbers),
        fewest=min(numbers),
        median=float(np.median(numbers)),
        most=max(numbers),
        area=median,
        area_um2=None if None in sides else in_um2,
        share=float(areas.sum()) / known if known else 0.0,
    )


def summarize_numbers(split: Sequence[ImageFacts], spec: TargetSpec) -> NumberSummary | None:
    """Return what numbers the masks of a split hold; None if they hold none."""
    masks = single_masks(split)
    known = [mask for mask in masks if mask.known]
    if spec.coding != "numbers" or not known:
        return None
    pixels = sum(mask.known for mask in known)
    return NumberSummary(
        low=min(mask.least for mask in known),
        high=max(mask.greatest for mask in known),
        mean=sum(mask.mean * mask.known for mask in known) / pixels,
        missing=1 - pixels / sum(mask.size[0] * mask.size[1] for mask in masks),
        unit=spec.unit,
    )


def _summarize_plane(split: Sequence[ImageFacts], name: str, color: Color) -> ClassSummary:
    planes = [facts.planes[name] for facts in split if name in facts.planes]
    known = sum(plane.known for plane in planes)
    # Void is not known, and 0 is not the label.
    shown = sum(plane.known - plane.zeros for plane in planes)
    regions = [plane.regions for plane in planes if plane.regions is not None]
    return ClassSummary(
        key=name,
        name=name,
        color=color,
        share=shown / known if known else 0.0,
        images=sum(plane.objects > 0 for plane in planes),
        regions=sum(regions) if name == POSITION and len(regions) == len(planes) else None,
    )
