"""The work on each picture of a prediction: its mask, and what tables are made from."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from imseg.approaches.runs import run as runs
from imseg.approaches.runs.orientations import check_pixel_sizes
from imseg.approaches.runs.predictions import prediction_of
from imseg.data.images import by_rows
from imseg.engine.hardware.device import usable_cores
from imseg.engine.inference import large, pictures
from imseg.engine.workers.executors import Spread
from imseg.errors import ImsegError, parts_of, raise_all
from imseg.report.predictions import mask_writing, measurements, places
from imseg.types import Image

MOST_WRITERS = 4
"""Threads that write masks while the next pictures are predicted."""
PIECE = 1 << 26
"""Pixels of the pictures that a node is given at once, and one picture at least."""
Sized = tuple[Image, tuple[int, int]]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Done:
    """A picture whose files are written."""

    image: Image
    wrote: list[Path]
    content: dict[str, Any]
    """What tables are made from, as plain values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """What is done to pictures: plain values, so that a node can be told.

    Fields are as the arguments of ``write_predictions``.
    """

    run: str
    digest: str
    """What tells the run from others, and from itself trained again."""
    out: str
    networks: tuple[str, ...]
    overlay: bool
    inconsistency: bool
    tta: bool
    scale: float | None
    device: str


def _ignore(_: Image) -> None:
    return None


@dataclass(frozen=True)
class Work:
    """What is done to each picture."""

    run: runs.Run
    """Whose networks look at them."""
    how: How
    """What is asked for."""
    rows: Callable[[str, int, int], None] | None = None
    """Told about a large picture by name: finished and all rows."""
    begin: Callable[[Image], None] = _ignore
    """Told about each picture before anything is written for it."""

    @cached_property
    def predictor(self) -> pictures.Predictor:
        """The networks, ready to look."""
        how = self.how
        return self.run.predictor(
            networks=how.networks,
            disagreement=how.inconsistency,
            tta=how.tta,
            scale=how.scale,
            device=how.device,
        )

    def spread_on(
        self, spread: Spread, known: Sequence[Sized], left_out: pictures.Unreadable
    ) -> Iterator[Done]:
        """Yield what nodes of a cluster wrote for each picture, in the order in which they do."""
        pieces, out = _pieces(known), Path(self.how.out)
        here = {"run": str(Path(self.how.run).absolute()), "out": str(out.absolute())}

        def asked() -> Iterator[Mapping[str, Any]]:
            for piece in pieces:
                for image in piece:
                    self.begin(image)
                yield {
                    "how": asdict(self.how) | here,
                    "images": [_as_plain(image) for image in piece],
                }

        for number, found in spread.each(write_piece, asked(), cores=usable_cores()):
            for image, said in zip(pieces[number], found, strict=True):
                if "error" in said:
                    try:
                        raise_all(ImsegError(**parts) for parts in said["error"])
                    except ImsegError as error:
                        left_out(image, error)
                else:
                    content = said["content"] | {"mask": str(out / said["content"]["mask"])}
                    yield Done(image, [out / each for each in said["wrote"]], content)

    def on(self, known: Sequence[Sized], left_out: pictures.Unreadable) -> Iterator[Done]:
        """Yield what was written for each picture, in order; unreadable ones are told about."""
        for is_large, some in itertools.groupby(known, self._is_large):
            if is_large:
                yield from self._in_bands([image for image, _ in some], left_out)
            else:
                found = self.predictor.segment([image for image, _ in some], unreadable=left_out)
                yield from _beside(self._at_once, found)

    def readable(self, images: Sequence[Image], left_out: pictures.Unreadable) -> list[Sized]:
        """Return pictures with their sizes, by their headers; unreadable ones are told about.

        So that what is no picture, and a network that cannot be loaded, is told before anything is
        computed.
        """
        known = []
        for image in images:
            try:
                if self.how.scale is None:
                    check_pixel_sizes(self.run.plan, [image])
                known.append((image, by_rows.size_of(image, self.predictor.reading)))
            except ImsegError as error:
                left_out(image, error)
        return known

    def _totals(self, image: Image) -> measurements.Totals:
        size = image.pixel_size or self.run.spec.pixel_size
        return measurements.Totals(image.name, replace(self.run.spec, pixel_size=size))

    def _is_large(self, known: Sized) -> bool:
        return large.needs_bands(self.predictor, *known)

    def _at_once(self, segmented: pictures.Segmented) -> Done:
        predicted = prediction_of(segmented, self.run.task)
        totals = self._totals(segmented.image)
        self.begin(segmented.image)
        written, wrote = mask_writing.write_at_once(
            predicted, Path(self.how.out), self.run.spec, overlay=self.how.overlay
        )
        totals.add(predicted)
        return self._done(segmented.image, written, wrote, totals)

    def _in_bands(self, images: Sequence[Image], left_out: pictures.Unreadable) -> Iterator[Done]:
        for image in images:
            totals = self._totals(image)
            self.begin(image)
            told = None if self.rows is None else _named(self.rows, image.name)
            try:
                written, wrote = mask_writing.write_in_bands(
                    self.run,
                    self.predictor,
                    image,
                    Path(self.how.out),
                    totals,
                    overlay=self.how.overlay,
                    progress=told,
                )
            except mask_writing.CannotRead as error:
                left_out(image, error.reason)
            else:
                yield self._done(image, written, wrote, totals)

    def _done(
        self, image: Image, written: places.Written, wrote: list[Path], totals: measurements.Totals
    ) -> Done:
        content = {
            "mask": written.mask,
            "inconsistent": written.inconsistent,
            "measured": list(totals.measured()),
            "objects": list(totals.counted()),
        }
        return Done(image, wrote, content)


def _named(rows: Callable[[str, int, int], None], name: str) -> Callable[[int, int], None]:
    return lambda done, total: rows(name, done, total)


def _beside(write: Callable[[Item], Result], found: Iterable[Item]) -> Iterator[Result]:
    """Yield what ``write`` returns for each picture, in order; threads do it while others compute.

    Where a picture cannot be made, those before it are yielded first.
    """
    pictures, failure = iter(found), None
    with ThreadPoolExecutor(min(usable_cores(), MOST_WRITERS)) as pool:
        waiting: deque[Future[Result]] = deque()
        while failure is None:
            try:
                waiting.append(pool.submit(write, next(pictures)))
            except StopIteration:
                break
            except ImsegError as error:
                failure = error
            while waiting and (len(waiting) > 2 * MOST_WRITERS or waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    if failure is not None:
        raise failure


def _pieces(known: Sequence[Sized]) -> list[list[Image]]:
    """Return pictures in pieces of about as many pixels."""
    pieces: list[list[Image]] = []
    room = 0
    for image, (height, width) in known:
        if room < height * width or not pieces:
            pieces.append([])
            room = PIECE
        pieces[-1].append(image)
        room -= height * width
    return pieces


def _as_plain(image: Image) -> dict[str, Any]:
    """Return a picture that is a file as plain values."""
    return {
        "name": image.name,
        "pixels": str(Path(str(image.pixels)).absolute()),
        "pixel_size": image.pixel_size,
    }


@lru_cache(maxsize=1)
def _opened(how: How) -> Work:
    """Return who does it; networks are loaded once for all pieces."""
    return Work(runs.load_run(how.run, trust_network=True), how)


def write_piece(
    *, how: Mapping[str, Any], images: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Write the masks of some pictures, and return what is known of each, or its error.

    Paths in what is returned are below OUT: who asks may call it by another name.

    Args:
        how: The fields of ``How``.
        images: Those of ``Image``.
    """
    work = _opened(How(**{**how, "networks": tuple(how["networks"])}))
    asked = [Image(**{**each, "pixels": Path(each["pixels"])}) for each in images]
    found: dict[str, dict[str, Any]] = {}

    def left_out(image: Image, error: ImsegError) -> None:
        found[image.name] = {"error": parts_of(error)}

    for each in work.on(work.readable(asked, left_out), left_out):
        wrote = [str(path.relative_to(work.how.out)) for path in each.wrote]
        mask = str(Path(each.content["mask"]).relative_to(work.how.out))
        found[each.image.name] = {"wrote": wrote, "content": each.content | {"mask": mask}}
    return [found[image.name] for image in asked]
