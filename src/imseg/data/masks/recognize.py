"""Whether the numbers in masks are objects, each with a number of its own, or classes."""

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imseg.data.checks.appearance import unpack_sketch
from imseg.data.files.listing import by_number
from imseg.data.folder.config import FILE_NAME, FolderConfig, TaskWord, parse_key
from imseg.data.folder.facts import MaskFacts, Survey
from imseg.data.folder.mask_facts import ABRUPT, FEW_VALUES, SMALLEST_OBJECT
from imseg.data.masks.classes import MINUS_ONE, find_color_spec, find_spec, void_value
from imseg.data.masks.colors import fill_colors
from imseg.data.masks.regions import CELLS, count_regions
from imseg.errors import ImsegError, and_more, near_miss
from imseg.types import OBJECT_PLANES, POSITION, Coding, Color, TargetSpec

_NEARLY_ALL = 0.9
_ONE_PIECE = 0.95
_SEVERAL = 5  # class masks of nested or neighboring parts have seldom as many, all in one piece
_COUNTS = 3
_POSSIBLE = 3
_MANY = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEvidence:
    """What speaks for numbers of objects, over all masks that hold more than 0."""

    masks: int
    """Masks that hold a number above 0."""
    most: int
    """Most numbers in a mask."""
    counts: int
    """How many different counts of numbers there are: objects vary from image to image, but the
    classes of small class masks do not."""
    gapless: float
    """Share of the masks that hold 1, 2, ... without gaps."""
    whole: float | None
    """Numbers per connected region, 0..1: 1 if every number is one region; None: unknown."""

    abrupt: float
    """Share of the steps between unequal neighbors that lead from or to 0, or jump."""
    area: float
    """Mean area of a number, in pixels."""

    @property
    def _in_one_piece(self) -> bool:
        """Whether numbers are connected regions, as neither noise nor ramps of measurements are."""
        pieces = self.whole is not None and self.whole >= _ONE_PIECE
        return pieces and self.abrupt >= ABRUPT and self.area >= SMALLEST_OBJECT

    @property
    def is_strong(self) -> bool:
        """Whether the numbers are objects; classes look like this next to never.

        Raises:
            ImsegError: If only the regions could tell, and scikit-image is not there to find them.
        """
        crowd = self.most > FEW_VALUES
        varied = self.most >= _SEVERAL and self.counts >= min(_COUNTS, self.masks)
        if not (crowd or (varied and self.gapless >= _NEARLY_ALL)):
            return False
        if self.whole is None:
            raise ImsegError(
                "The masks may number objects, or hold class values; "
                "scikit-image, which could tell, is not installed.",
                expected=f"up to {self.most} values above 0 in a mask, as objects have.",
                hint=f"pip install 'imseg[{CELLS}]', or say which in {FILE_NAME}: "
                'task = "instances" or task = "multiclass".',
            )
        return self._in_one_piece

    @property
    def is_weak(self) -> bool:
        """Whether numbers that are taken for classes may be objects."""
        varied = self.most >= _POSSIBLE and self.counts > 1
        many = varied or self.most >= _MANY
        return self._in_one_piece and self.gapless >= _NEARLY_ALL and many


def weigh_objects(masks: Iterable[MaskFacts]) -> ObjectEvidence:
    """Return what speaks for numbers of objects in masks of whole numbers."""
    marked = [mask for mask in masks if mask.whole and mask.objects]
    looked_at = [mask for mask in marked if mask.regions is not None]
    regions = sum(mask.regions or 0 for mask in looked_at)
    numbers = sum(mask.objects for mask in looked_at)
    abrupt = [mask.abrupt for mask in looked_at if mask.abrupt is not None]
    return ObjectEvidence(
        masks=len(marked),
        most=max((mask.objects for mask in marked), default=0),
        counts=len({mask.objects for mask in marked}),
        gapless=sum(mask.gapless for mask in marked) / max(1, len(marked)),
        whole=numbers / regions if regions else None,
        abrupt=sum(abrupt) / max(1, len(abrupt)),
        area=sum(mask.known - mask.zeros for mask in looked_at) / max(1, numbers),
    )


_FEWEST_MASKS = 4
_FEWEST_NUMBERS = 5
_TURNOVER = 1.5
_CHANCE = 1e-4
_WHOLE_SKETCH = 0.8
_AS_LARGE = 8.0


def follow_through(masks: Sequence[MaskFacts]) -> int:
    """Return how many numbers seem to follow objects through a film; 0: these are no such numbers.

    Each film, whose masks have names that differ in the last number alone, may begin anew.

    Args:
        masks: All masks of a split.
    """
    films: dict[str, list[MaskFacts]] = {}
    for mask in sorted(masks, key=lambda mask: by_number(mask.name)):
        films.setdefault(re.sub(r"\d+\D*$", "", mask.name), []).append(mask)
    found = {name: _numbers_of_film(film) for name, film in films.items()}
    telling = sum(len(films[name]) for name, numbers in found.items() if numbers)
    return max(found.values(), default=0) if 2 * telling > len(masks) else 0


def _numbers_of_film(masks: Sequence[MaskFacts]) -> int:
    """Return how many numbers follow objects through a film, or go on from mask to mask; 0: none.

    Such numbers need not be without gaps in a mask. But several are in each, more come and go, each
    is there in masks that follow one another, in one piece, and all are about as large. The classes
    of one volume in slices come near to it, but seldom have one size.

    Args:
        masks: All masks of a film, in their order.
    """
    shown = [[value for value in mask.counts if value > 0] for mask in masks]
    places: dict[int, list[int]] = {}
    for place, values in enumerate(shown):
        for value in values:
            places.setdefault(value, []).append(place)
    in_a_mask = sum(map(len, shown)) / max(1, len(masks))
    few = len(masks) < _FEWEST_MASKS or len(places) < _FEWEST_NUMBERS or in_a_mask < 2
    if few or len(places) < _TURNOVER * in_a_mask or not all(mask.whole for mask in masks):
        return 0
    if not (_are_consecutive(places, len(masks)) or _go_on(shown)):
        return 0
    largest = [max(mask.counts[v] for mask in masks if v in mask.counts) for v in places]
    low, high = np.percentile(largest, [10, 90])
    return len(places) if high <= _AS_LARGE * low and _in_one_piece(masks) else 0


def _are_consecutive(places: Mapping[int, list[int]], count: int) -> bool:
    """Return whether numbers are in masks one after the other, more than by chance."""
    again = [where for where in places.values() if 1 < len(where) < count]
    gapless = [where for where in again if where[-1] - where[0] == len(where) - 1]
    chance = sum(math.log((count - len(w) + 1) / math.comb(count, len(w))) for w in gapless)
    return len(gapless) >= _NEARLY_ALL * len(places) / 2 and (
        len(gapless) >= _NEARLY_ALL * len(again) and chance <= math.log(_CHANCE)
    )


def _go_on(shown: Sequence[Sequence[int]]) -> bool:
    """Return whether each mask goes on numbering where the last one ended."""
    some = [values for values in shown if values]
    return all(max(one) < min(other) for one, other in itertools.pairwise(some))


def _in_one_piece(masks: Sequence[MaskFacts]) -> bool:
    """Return whether nearly every number is one region, as far as sketches and libraries tell."""
    numbers = regions = 0
    for mask in masks:
        if mask.sketch is None or len(mask.counts) > 1 << 8:
            continue
        sketch = np.array(list(mask.counts))[unpack_sketch(mask.sketch)]
        sketch[sketch < 0] = 0
        regions += count_regions(sketch) or 0
        numbers += len(np.unique(sketch[sketch > 0]))
    return regions == 0 or numbers >= _WHOLE_SKETCH * regions


QUANTITY = "value"
"""What numbers are called that a regression learns."""

_SHADE: Color = (255, 160, 0)
_DEEPEST = 65535


def recognize(survey: Survey, *, task: TaskWord | None, config: FolderConfig) -> TargetSpec:
    """Return what the labeled masks mean.

    One mask per label is multilabel; colors are classes; floats are regression and whole numbers
    classes, unless everything speaks for numbers of objects (instances).

    Args:
        survey: The facts about the labeled masks.
        task: Overrides what ``config`` says and what would be recognized.
        config: What the user says about the masks.

    Raises:
        ImsegError: If the masks fit no task, or not the one that is asked for.
    """
    word = task or config.task
    if word != "regression":
        _refuse_below_zero([mask for facts in survey.labeled for mask in facts.masks], word)
    if labels := tuple(survey.labeled[0].planes) if survey.labeled else ():
        return _spec_of_planes(survey, labels, word, config)
    masks = [facts.mask for facts in survey.labeled if facts.mask is not None]
    if word == "multilabel":
        raise ImsegError(
            "The task is multilabel, but there is one mask for each image.",
            expected="a folder for each label: labeled/masks/alive/cell_07.png, "
            "labeled/masks/dead/cell_07.png, ...",
            got="masks directly in labeled/masks.",
            hint="make a folder for each label, and in it a mask of each image: 0, and 255 where "
            "the label is.",
        )
    colored = [mask for mask in masks if mask.form == "colors"]
    floats = [mask for mask in masks if mask.form == "numbers"]
    fractions = [mask for mask in floats if not mask.whole]
    distinct = max((mask.distinct for mask in masks), default=0)
    if word == "regression":
        return _spec_of_numbers(masks, colored, config)
    if fractions and word is not None:
        raise ImsegError(
            f"The task is {word}, but {_some(fractions, 'fractions')}.",
            expected="whole numbers from 0.",
            got=_named(fractions),
            hint='save whole numbers, or use task = "regression" to learn measurements.',
        )
    if word == "instances":
        return _spec_of_objects(masks, colored, config)
    if colored and floats:
        raise _mixed("colors", colored, "fractions")
    if colored:
        colors = survey.label_counts("colors")
        return find_color_spec(colors, task=word, config=config, distinct=distinct)
    if word is None and not fractions and weigh_objects(masks).is_strong:
        return _spec_of_objects(masks, colored, config)
    if word is None and floats:
        if len(floats) < len(masks):
            raise _mixed("fractions", floats, "whole numbers")
        return _spec_of_numbers(masks, colored, config)
    indexed = bool(masks) and all(mask.palette is not None for mask in masks)
    return find_spec(
        survey.label_counts(),
        task=word,
        config=config,
        palette=palette_of(masks) if indexed else None,
        distinct=distinct,
    )


def _refuse_below_zero(masks: Sequence[MaskFacts], word: TaskWord | None) -> None:
    """Refuse whole numbers below 0 that are not void; floats may be measurements without a word."""
    form = ("values", "numbers") if word else ("values",)
    below = [mask for mask in masks if mask.form in form and mask.counts and mask.least < 0]
    if not below:
        return
    least = min(mask.least for mask in below)
    raise ImsegError(
        f"{_some(below, 'whole numbers below 0')}.".capitalize(),
        expected="whole numbers from 0.",
        got=f"{least:g} in {_named(below)}",
        hint=(MINUS_ONE if least == -1 else "save class values from 0 to 65535.")
        + '\nIf they are measurements, set task = "regression".',
    )


def word_of(spec: TargetSpec) -> TaskWord:
    """Return the user's word for the task that a spec stands for."""
    return "instances" if spec.coding == "objects" else spec.kind


def palette_of(masks: Sequence[MaskFacts]) -> dict[int, Color]:
    """Return the color of each value that indexed masks hold; the first file decides."""
    colors: dict[int, Color] = {}
    for mask in masks:
        palette = mask.palette or ()
        for value in mask.counts:
            if 0 <= value < len(palette):
                colors.setdefault(value, palette[value])
    return colors


def _spec_of_planes(
    survey: Survey, labels: tuple[str, ...], word: TaskWord | None, config: FolderConfig
) -> TargetSpec:
    if word not in (None, "multilabel"):
        raise ImsegError(
            f"The task is {word}, but there is a mask for each label.",
            expected="one mask for each image, in no folders.",
            got=f"labels {', '.join(labels)}.",
            hint="drop the task (labels make it multilabel), or put one mask per image in masks/.",
        )
    if labels == (POSITION,):
        raise ImsegError(
            f'The only label is "{POSITION}", which marks the middle of cells and has no area.',
            expected=f"at least one label beside {POSITION}.",
            hint=f"rename {POSITION}/ if it holds areas, or add a folder with masks of areas.",
        )
    colors = _plane_colors(labels, config, "the masks have no folder of that name")
    if not any(plane.objects for facts in survey.labeled for plane in facts.planes.values()):
        raise ImsegError(
            "The labeled masks are empty, so there is nothing to learn.",
            expected="masks that are not 0 where the label is.",
            got="0 everywhere, in the masks of all labels.",
            hint="label images on which something is marked.",
        )
    return _multilabel(labels, colors, config, coding="planes")


def _spec_of_objects(
    masks: Sequence[MaskFacts], colored: Sequence[MaskFacts], config: FolderConfig
) -> TargetSpec:
    """Return the spec of label images: 0 is background, every object has a number."""
    if colored:
        raise ImsegError(
            f"The task is instances, but {_some(colored, 'colors')}.",
            expected="label images: 0 for background, and a number for each object.",
            got=_named(colored),
            hint="export label images of 8, 16 or 32 bits, or drop the task.",
        )
    most = max((mask.objects for mask in masks), default=0)
    values = {mask.greatest for mask in masks if mask.objects}
    if most < 2 and len(values) < 2:
        got = f"0 and {values.pop():.0f}, in all labeled masks." if values else "0 everywhere."
        raise ImsegError(
            "The task is instances, but no mask tells one object from another.",
            expected="label images: 0 for background, and objects numbered 1, 2, 3, ...",
            got=got,
            hint="export label images (Cellpose, StarDist and ImageJ write them), or use "
            'task = "binary", which learns where objects are.',
        )
    colors = _plane_colors(OBJECT_PLANES, config, "the masks number objects, not classes")
    return _multilabel(OBJECT_PLANES, colors, config, coding="objects")


def _multilabel(
    labels: tuple[str, ...], colors: tuple[Color, ...], config: FolderConfig, *, coding: Coding
) -> TargetSpec:
    return TargetSpec(
        kind="multilabel",
        coding=coding,
        names=labels,
        colors=colors,
        void=void_value(config.void, coding),
        pixel_size=config.pixel_size,
    )


def _spec_of_numbers(
    masks: Sequence[MaskFacts], colored: Sequence[MaskFacts], config: FolderConfig
) -> TargetSpec:
    """Return the spec of maps of measurements."""
    if colored:
        raise ImsegError(
            f"A regression learns numbers, but {_some(colored, 'colors')}.",
            expected="gray pictures of 8 or 16 bits, or float TIFF.",
            got=_named(colored),
            hint="save the numbers themselves, not a picture of them in colors.",
        )
    if config.listed:
        raise ImsegError(
            f"{FILE_NAME} lists classes, but the masks hold measurements.",
            expected="no [classes]: a regression learns numbers.",
            got=and_more([str(key) for key in config.listed]) + ".",
            hint="remove [classes], or save the masks as whole numbers, one a class.",
        )
    known = [mask for mask in masks if mask.known]
    low = min((mask.least for mask in known), default=0.0)
    high = max((mask.greatest for mask in known), default=0.0)
    if not low < high:
        raise ImsegError(
            "The labeled masks hold one number only, so there is nothing to learn.",
            expected="measurements that differ.",
            got=f"{low:g} everywhere." if known else "no number, or only void, in all of them.",
            hint="check how the maps were saved.",
        )
    return TargetSpec(
        kind="regression",
        coding="numbers",
        names=(QUANTITY,),
        colors=(_SHADE,),
        void=void_value(config.void, "numbers"),
        low=low,
        high=high,
        stored=_stored_type(masks, low, high),
        unit=config.unit,
        pixel_size=config.pixel_size,
    )


def _plane_colors(
    labels: tuple[str, ...], config: FolderConfig, otherwise: str
) -> tuple[Color, ...]:
    """Return a color for each label.

    Raises:
        ImsegError: If ``imseg.toml`` lists something else, or gives a label another name.
    """
    keys = {parse_key(label): label for label in labels}
    if strange := [key for key in config.listed if key not in keys]:
        guess = near_miss(str(strange[0]), labels)
        raise ImsegError(
            f"{FILE_NAME} lists classes that there are no masks of: {otherwise}.",
            expected=", ".join(labels) + ".",
            got=and_more([f'"{key}"' for key in strange]) + ".",
            hint=f'did you mean "{guess}"?' if guess else f"remove them from {FILE_NAME}.",
        )
    for key, label in keys.items():
        name = config.names.get(key, label)
        if name not in (label, f"class {key}" if isinstance(key, int) else key):
            raise ImsegError(
                f'{FILE_NAME} calls the label "{label}" by another name.',
                expected="a label is called as the folder with its masks.",
                got=f'"{name}".',
                hint=f"rename the folder {label}/, or list it as  {label} = "
                '{ color = "#rrggbb" }.',
            )
    return fill_colors(labels, {keys[key]: color for key, color in config.colors.items()})


def _stored_type(masks: Sequence[MaskFacts], low: float, high: float) -> str:
    """Return the smallest type that holds the numbers of all files."""
    if any(mask.form == "numbers" for mask in masks) or low < 0 or high > _DEEPEST:
        return "float32"
    return "uint8" if all(mask.dtype == "uint8" for mask in masks) else "uint16"


def _mixed(one: str, masks: Sequence[MaskFacts], other: str) -> ImsegError:
    return ImsegError(
        f"Some labeled masks hold {one}, others {other}.",
        expected="masks of one kind.",
        got=f"{one} in {_named(masks)}",
        hint="save all masks in the same way; if all are measurements, say so: "
        f'task = "regression" in {FILE_NAME}.',
    )


def _some(masks: Sequence[MaskFacts], what: str) -> str:
    count = len(masks)
    return f"1 labeled mask holds {what}" if count == 1 else f"{count} labeled masks hold {what}"


def _named(masks: Sequence[MaskFacts]) -> str:
    return and_more([mask.name for mask in masks]) + "."
