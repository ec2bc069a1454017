"""Label Studio (JSON and JSON-MIN): outlines in percent of the picture, brush strokes as runs."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import numpy.typing as npt
from pydantic import Field

from imseg.data.images.decoding import SUFFIXES
from imseg.data.polygons import drawings
from imseg.errors import ImsegError, and_more

SEVERAL = "tasks with several annotations (the latest is taken)"
"""What is noted where annotators did a task more than once."""
PREDICTED = "predictions of a model, which no annotator submitted (left out)"
"""What is noted for tasks without annotations."""
SKIPPED = "annotations that were cancelled (left out)"
"""What is noted for tasks that annotators skipped."""
EMPTY = "annotations without a region: nothing is on these pictures (masks of background)"
"""What is noted for pictures on which annotators found nothing."""
NO_LABEL = f"regions without a label (taken for {drawings.UNCLASSIFIED})"
"""What is noted for outlines that were given no label."""
_LISTS = {"annotations", "completions", "predictions"}
_NOT_DATA = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time"}
_UNREAD = ("vertices", "imageDataURL")  # of kinds of regions that are too new


class StudioResult(drawings.SizedEntry):
    """One region, or what else was said about a picture."""

    kind: drawings.Text = Field("region", alias="type")
    identity: drawings.Identity = Field("", alias="id")
    height: drawings.Whole = Field(0, alias="original_height")
    width: drawings.Whole = Field(0, alias="original_width")
    turned: drawings.Number = Field(0.0, alias="image_rotation")
    value: dict[str, Any] = Field(default_factory=dict)


class StudioLabels(drawings.ParsedEntry):
    """What a region was named."""

    labels: list[drawings.LabelText]


class StudioPolygon(drawings.ParsedEntry):
    """Corners in percent of the picture."""

    points: drawings.Ring
    closed: bool = True


class StudioBox(drawings.ParsedEntry):
    """A rectangle in percent of the picture, turned about its first corner."""

    x: drawings.Number
    y: drawings.Number
    width: drawings.Number
    height: drawings.Number
    rotation: drawings.Number = 0.0


class StudioEllipse(drawings.ParsedEntry):
    """An ellipse in percent of the picture, turned about its middle."""

    x: drawings.Number
    y: drawings.Number
    across: drawings.Number = Field(alias="radiusX")
    down: drawings.Number = Field(alias="radiusY")
    rotation: drawings.Number = 0.0


@dataclass(slots=True)
class StudioTask:
    """A picture, and what was drawn on it."""

    place: str
    """Where it stands, for messages."""
    data: Mapping[str, Any]
    """What names the picture."""
    annotations: list[Mapping[str, Any]] = field(default_factory=list)
    """Each with a list ``result``."""
    predicted: bool = False
    """Whether a model drew something on it."""


def is_label_studio(file: drawings.AnnotationFile) -> bool:
    """Return whether a file looks like an export of Label Studio."""
    entries = file.plain if isinstance(file.plain, list) else [file.plain]
    first = entries[0] if entries and isinstance(entries[0], Mapping) else {}
    task = first.get("task")
    return (
        (isinstance(first.get("data"), Mapping) and bool(_LISTS & first.keys()))
        or ("annotation_id" in first and "id" in first and isinstance(file.plain, list))
        or (isinstance(task, Mapping) and "data" in task and "result" in first)
    )


def read_label_studio(
    files: Sequence[drawings.AnnotationFile], source: Path
) -> drawings.Annotations:
    """Return what exports of Label Studio say. Labels come in alphabetical order.

    Args:
        files: At least one.
        source: The file or folder that the user named.

    Raises:
        ImsegError: If an entry is not as Label Studio has it.
    """
    tally = drawings.Tally(list)
    pictures = []
    for file in files:
        for task in _tasks(file):
            name = _picture_name(task)
            latest = _latest(task, name, tally)
            results = [] if latest is None else _results(latest, task.place)
            size = _size_of(results, task.place)
            if latest is not None and not results:
                tally[EMPTY].append(name)
            pictures.append(
                drawings.AnnotatedPicture(
                    name=name,
                    size=size,
                    regions=tuple(_regions(results, size, task.place, tally)),
                    file=file.path,
                    finished=latest is not None and not results,
                )
            )
    return drawings.alphabetical(pictures, format="Label Studio", source=source, tally=tally)


def _tasks(file: drawings.AnnotationFile) -> list[StudioTask]:
    """Return the tasks of a file, whichever of the three exports it is."""
    tasks: dict[str, StudioTask] = {}
    entries = file.plain if isinstance(file.plain, list) else [file.plain]
    for index, entry in enumerate(entries):
        place = f"{file.path}: task {index}"
        if not isinstance(entry, Mapping):
            reason = drawings.wrong("is not an object.", "{...} with named values.", entry)
            raise drawings.entry_error(place, reason)
        if isinstance(entry.get("task"), Mapping) and "result" in entry:  # synced to a storage
            parts, data, annotations = entry["task"], entry["task"].get("data"), [entry]
        elif isinstance(entry.get("data"), Mapping):
            parts, data = entry, entry["data"]
            annotations = entry.get("annotations") or entry.get("completions") or []
        else:  # JSON-MIN has an entry for each annotation
            parts, data = entry, {key: entry[key] for key in entry.keys() - _NOT_DATA}
            annotations = [{**entry, "result": list(_unfold(data))}]
        if not isinstance(data, Mapping) or not isinstance(annotations, list):
            reason = drawings.wrong("has no data.", '"data": {"image": ...}.', data)
            raise drawings.entry_error(place, reason)
        key = str(parts.get("id", place))
        task = tasks.setdefault(key, StudioTask(place, data))
        task.annotations += [each for each in annotations if isinstance(each, Mapping)]
        task.predicted |= bool(parts.get("predictions"))
    return list(tasks.values())


def _unfold(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the regions of an entry of JSON-MIN in the form of the whole export."""
    for key in sorted(data):
        values = data[key] if isinstance(data[key], list) else []
        for value in values:
            if isinstance(value, Mapping) and "original_width" in value:
                place = {each: value[each] for each in value if not each.endswith("labels")}
                yield {**value, "type": key, "id": repr(sorted(place.items())), "value": value}


def _picture_name(task: StudioTask) -> str:
    """Return the path of a task's picture, which stands in an address under any name."""
    found = {
        key: path
        for key, value in task.data.items()
        if isinstance(value, str) and (path := _path_in(value)).lower().endswith(tuple(SUFFIXES))
    }
    named = {found[key] for key in ("image", "img") if key in found} or set(found.values())
    if len(named) == 1:
        return named.pop()
    texts = [value[:80] for value in task.data.values() if isinstance(value, str)]
    raise ImsegError(
        f"{task.place} does not name one picture.",
        expected=f"an address that ends with a picture ({', '.join(sorted(SUFFIXES))}).",
        got=f"{and_more(texts) or 'no texts among its data'}.",
        hint="export a project with one picture per task.",
    )


def _path_in(address: str) -> str:
    """Return the path in an address: of an upload, a local file, a bucket or a web page."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    queries = parse_qs(parts.query)
    for key in ("d", "filepath", "fileuri"):
        if key in queries:
            inner = queries[key][0]
            return _path_in(_decoded(inner)) if key == "fileuri" else inner
    if len(parts.scheme) == 1:  # a drive of Windows
        return address
    served = parts.netloc or address.startswith("/data/")
    return unquote(parts.path).lstrip("/") if served else unquote(parts.path)


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return text


def _latest(task: StudioTask, name: str, tally: drawings.Tally) -> Mapping[str, Any] | None:
    """Return the annotation that counts, or None if there is none."""
    whole = [each for each in task.annotations if not each.get("was_cancelled")]
    if len(whole) < len(task.annotations):
        tally[SKIPPED].append(name)
    if not task.annotations and task.predicted:
        tally[PREDICTED].append(name)
    chosen = [each for each in whole if each.get("ground_truth")] or whole
    if len(chosen) > 1:
        tally[SEVERAL].append(name)
    # Times are in one form (ISO 8601) in one export.
    return max(chosen, key=lambda each: str(each.get("updated_at") or ""), default=None)


def _results(annotation: Mapping[str, Any], place: str) -> list[StudioResult]:
    """Return what was said about a picture, with all values checked."""
    found = annotation.get("result") or []
    if not isinstance(found, list):
        reason = drawings.wrong("has no list of result.", '"result": [...].', found)
        raise drawings.entry_error(place, reason)
    return [
        drawings.parse(StudioResult, each, f"{place}, result {index}")
        for index, each in enumerate(found)
    ]


def _size_of(results: Sequence[StudioResult], place: str) -> tuple[int, int] | None:
    """Return height and width of the picture on which regions were drawn; None: not said."""
    sizes = {each.size for each in results if each.size is not None}
    if len(sizes) > 1:
        reason = drawings.wrong(
            "has regions for pictures of several sizes.",
            '"original_width" and "original_height", the same for all regions of a picture.',
            sorted(sizes),
        )
        raise drawings.entry_error(place, reason)
    return sizes.pop() if sizes else None


def _regions(
    results: Sequence[StudioResult], size: tuple[int, int] | None, task: str, tally: drawings.Tally
) -> Iterator[drawings.Region]:
    """Yield the regions of a picture; several results of one id are one region."""
    labels: dict[str, list[str]] = {}
    places: dict[str, str] = {}
    for index, each in enumerate(results):
        key = each.identity or str(index)
        places.setdefault(key, f"{task}, result {index}")
        named = drawings.parse(StudioLabels, {"labels": _labels_in(each.value)}, places[key])
        labels.setdefault(key, []).extend(named.labels)
    done = set()
    for index, each in enumerate(results):
        key = each.identity or str(index)
        place = places[key]
        if key in done:
            continue
        drawn = _drawn(each, size, place)
        if drawn is None:
            continue
        done.add(key)
        if isinstance(drawn, str):
            tally[drawings.NO_AREA.format(drawn)].append(place)
            continue
        area = drawings.as_area(drawn, place, tally)
        if area is None:
            continue
        if not labels[key]:
            tally[NO_LABEL].append(place)
        for label in dict.fromkeys(labels[key] or [drawings.UNCLASSIFIED]):
            yield drawings.Region(label=label, area=area, place=place)


def _labels_in(value: Mapping[str, Any]) -> list[Any]:
    """Return the labels of a result, whichever kind of label it is."""
    lists = [found for key, found in value.items() if key.endswith("labels")]
    return [label for found in lists if isinstance(found, list) for label in found]


def _drawn(
    result: StudioResult, size: tuple[int, int] | None, place: str
) -> drawings.Runs | list[drawings.Corners] | str | None:
    """Return where a region is, its kind if it has no area, or None if nothing is drawn."""
    value = result.value
    kind = next((key for key in _UNREAD if key in value), None)
    if kind is not None:
        expected = "polygons, brush strokes, rectangles and ellipses."
        raise drawings.entry_error(
            place, drawings.wrong("is a region of a kind that is not read.", expected, kind)
        )
    if not value.keys() & {"points", "rle", "x"}:
        return None
    if result.turned % 360:
        raise ImsegError(
            f"{place}: the picture was turned in Label Studio.",
            expected="outlines drawn on the picture as it is.",
            got=f'"image_rotation": {result.turned:g}.',
            hint="turn the picture back in Label Studio, where the outlines turn with it, submit"
            " it, and export again.",
        )
    if size is None:
        expected = '"original_width" and "original_height" in pixels.'
        raise drawings.entry_error(
            place, drawings.wrong("does not say how large the picture is.", expected, value)
        )
    scale = np.array(size[::-1]) / 100
    if "rle" in value or result.kind.startswith("brush"):
        return _brush(value.get("rle"), size, place)
    if "points" in value:
        polygon = drawings.parse(StudioPolygon, value, place)
        return [polygon.points * scale] if polygon.closed else f"{result.kind}, not closed"
    if "radiusX" in value:
        oval = drawings.parse(StudioEllipse, value, place)
        middle, radii = scale * (oval.x, oval.y), scale * (oval.across, oval.down)
        return [drawings.ellipse(tuple(middle), tuple(radii), oval.rotation)]
    if "height" in value:
        box = drawings.parse(StudioBox, value, place)
        corners = drawings.rectangle(box.x, box.y, box.x + box.width, box.y + box.height) * scale
        return [drawings.turn(corners, tuple(corners[0]), box.rotation)]
    return result.kind


def _brush(packed: object, size: tuple[int, int], place: str) -> drawings.Runs:
    """Return the pixels that brush strokes cover."""
    try:
        if not isinstance(packed, list):
            raise ValueError("they are no list of bytes")
        counts = painted_counts(bytes(packed), size[0] * size[1])
    except (ValueError, TypeError) as error:
        what = f"has brush strokes that cannot be read: {error}."
        expected = '"rle": bytes that fill the picture of "original_width" x "original_height".'
        raise drawings.entry_error(place, drawings.wrong(what, expected, packed)) from error
    return drawings.Runs(counts=counts, height=size[0], width=size[1])


class PackedBits:
    """Numbers of any number of bits, one after another, highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _advance(self, bits: int) -> tuple[int, int]:
        start, self._at = self._at, self._at + bits
        if self._at > 8 * len(self._data):
            raise ValueError("they end too early")
        return start, self._at

    def take(self, bits: int) -> int:
        """Return one number of so many bits."""
        start, end = self._advance(bits)
        window = int.from_bytes(self._data[start >> 3 : (end + 7) >> 3], "big")
        return (window >> (-end % 8)) & ((1 << bits) - 1)

    def take_nonzero(self, count: int, bits: int) -> npt.NDArray[np.bool_]:
        """Return which of so many numbers of so many bits are not 0."""
        start, end = self._advance(count * bits)
        window = np.frombuffer(self._data, np.uint8)[start >> 3 : (end + 7) >> 3]
        found = np.unpackbits(window)[start & 7 :][: count * bits]
        return np.asarray(found.reshape(count, bits).any(axis=1))


def painted_counts(packed: bytes, pixels: int) -> npt.NDArray[np.int64]:
    """Return the lengths of runs of pixels along the rows: clear, painted, clear, ...

    Label Studio packs the bytes of a picture, red, green, blue and alpha of each pixel (thi.ng's
    ``rle-pack``): the number of bytes in 32 bits, the bits of a byte less one in 5, and four sizes
    less one in 4 each. Then come groups: one bit whether a byte is repeated, two bits which of the
    sizes the length has, the length less one, and the byte, or so many bytes. A pixel is painted
    where alpha is not 0.

    Args:
        packed: The packed bytes.
        pixels: Pixels of the picture.

    Raises:
        ValueError: If they end too early, or are for another number of pixels.
    """
    bits = PackedBits(packed)
    total = bits.take(32)
    if total != 4 * pixels:
        raise ValueError(f"they are for {total / 4:g} pixels, not {pixels}")
    width = bits.take(5) + 1
    sizes = [bits.take(4) + 1 for _ in range(4)]
    painted, lengths = [np.zeros(1, bool)], [np.zeros(1, np.int64)]
    at = 0
    while at < total:
        repeats = bits.take(1)
        end = at + 1 + bits.take(sizes[bits.take(2)])
        if end > total:
            raise ValueError("they are for more pixels than the picture has")
        if repeats:
            painted.append(np.array([bits.take(width) > 0]))
            lengths.append(np.array([end // 4 - at // 4]))
        else:
            alphas = bits.take_nonzero(end - at, width)[3 - at % 4 :: 4]
            painted.append(alphas)
            lengths.append(np.ones(len(alphas), np.int64))
        at = end
    steps = np.concatenate(lengths)
    kept = steps > 0
    kept[0] = True  # counts begin with clear pixels, even if there are none
    values, steps = np.concatenate(painted)[kept], steps[kept]
    starts = np.flatnonzero(np.diff(values, prepend=~values[:1]))
    counts: npt.NDArray[np.int64] = np.add.reduceat(steps, starts)
    return counts
