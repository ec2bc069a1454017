"""Data sets from arrays and from torch Datasets, checked like files are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy.typing as npt

from imseg.data.array_items import (
    image_from_array,
    image_from_item,
    mask_from_array,
    mask_from_item,
)
from imseg.data.array_survey import ClassNames, Meaning, survey_arrays
from imseg.data.config import TaskWord
from imseg.data.problems import as_findings, find_problems, redundant
from imseg.data.reading import find_reading
from imseg.data.recognize import recognize
from imseg.errors import ImsegError, raise_all
from imseg.types import DataSet, Image, Kind, LabeledImage

Arrays = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
"""``n h w`` or ``n h w c``, or a list of ``h w`` or ``h w c`` arrays of different sizes."""

_Array = TypeVar("_Array", bound=npt.NDArray[Any])
_SHOWN = 5
_KINDS: Mapping[str | None, Kind] = {"multilabel": "multilabel", "regression": "regression"}


class Samples(Protocol):
    """What is needed of a torch Dataset: a length, and items by number."""

    def __len__(self) -> int:
        """Return the number of items."""

    def __getitem__(self, index: int, /) -> Any:
        """Return (image, mask), or an image."""


def dataset_from_arrays(
    labeled: tuple[Arrays, Arrays],
    unlabeled: Arrays | None = None,
    *,
    val: tuple[Arrays, Arrays] | None = None,
    test: tuple[Arrays, Arrays] | None = None,
    task: TaskWord | None = None,
    class_names: ClassNames | None = None,
    void: int | None = None,
    pixel_size: float | None = None,
    unit: str = "",
) -> DataSet:
    """Return a data set from arrays in memory; they are not copied.

    Args:
        labeled: Images and masks to learn from. Images are unsigned bytes, 16 bits or floats, with
            any number of channels. Masks are ``h w``, of whole numbers (or booleans) with the same
            meaning as in mask files; label images for task "instances"; floats for "regression",
            not a number where nothing was measured; ``t h w`` planes of booleans for "multilabel".
        unlabeled: Images without masks.
        val: Images and masks to choose by; None takes a fifth of ``labeled``.
        test: Images and masks for the final score.
        task: What the masks are; None: recognized from them.
        class_names: Names for mask values; for planes in their order ("multilabel").
        void: The mask value of pixels that are never trained on nor scored.
        pixel_size: Side of a pixel in micrometers.
        unit: The unit of the numbers ("regression").

    Raises:
        ImsegError: If anything is wrong with the arrays; everything at once.
    """
    meaning = Meaning(task, class_names, void, pixel_size=pixel_size, unit=unit)
    errors: list[ImsegError] = []
    pairs = {
        "labeled": _pairs("labeled", labeled, task, errors),
        "val": _pairs("val", val, task, errors),
        "test": _pairs("test", test, task, errors),
    }
    alone = []
    for index, array in enumerate(unlabeled if unlabeled is not None else ()):
        name = f"unlabeled[{index}]"
        if (pixels := _collect(image_from_array, array, name, errors)) is not None:
            alone.append(Image(name, pixels))
    _raise_some(errors)
    return _checked_set(pairs, tuple(alone), meaning)


def dataset_from_torch(
    labeled: Samples,
    unlabeled: Samples | None = None,
    *,
    val: Samples | None = None,
    test: Samples | None = None,
    task: TaskWord | None = None,
    class_names: ClassNames | None = None,
    void: int | None = None,
    pixel_size: float | None = None,
    unit: str = "",
) -> DataSet:
    """Return a data set from torch Datasets; every item is read once and kept in memory.

    An image is a tensor (``c h w`` or ``h w``; bytes, or floats 0..1), an array (``h w c`` or
    ``h w`` of unsigned bytes) or a Pillow picture; a mask is a tensor (``h w`` or ``1 h w``), an
    array or a Pillow picture of whole numbers. Reading once freezes random augmentation.

    Args:
        labeled: Yields (image, mask).
        unlabeled: Yields images; of tuples only the first part is looked at.
        val: Yields (image, mask) to choose by; None takes a fifth of ``labeled``.
        test: Yields (image, mask) for the final score.
        task: What the masks are; None: recognized from them.
        class_names: Names for mask values; for planes in their order ("multilabel").
        void: The mask value of pixels that are never trained on nor scored.
        pixel_size: Side of a pixel in micrometers.
        unit: The unit of the numbers ("regression").

    Raises:
        ImsegError: If anything is wrong with the items; everything at once.
    """
    meaning = Meaning(task, class_names, void, pixel_size=pixel_size, unit=unit)
    errors: list[ImsegError] = []
    pairs = {
        "labeled": _item_pairs("labeled", labeled, task, errors),
        "val": _item_pairs("val", val, task, errors),
        "test": _item_pairs("test", test, task, errors),
    }
    alone = []
    for name, item in _items("unlabeled", unlabeled):
        image = item[0] if isinstance(item, (tuple, list)) and item else item
        if (pixels := _collect(image_from_item, image, name, errors)) is not None:
            alone.append(Image(name, pixels))
    _raise_some(errors)
    return _checked_set(pairs, tuple(alone), meaning)


def _checked_set(
    pairs: Mapping[str, tuple[LabeledImage, ...]], unlabeled: tuple[Image, ...], meaning: Meaning
) -> DataSet:
    """Return the data set if it passes the checks that folders pass."""
    labeled = pairs["labeled"]
    if not labeled:
        raise ImsegError(
            "There are no labeled images.",
            expected="at least 2 images with masks.",
            hint="label some, or check what is passed as labeled.",
        )
    survey, config = survey_arrays(pairs, unlabeled, meaning)
    findings = []
    spec = None
    try:
        spec = recognize(survey, task=meaning.task, config=config)
    except ImsegError as error:
        findings += as_findings(error)
    reading, unlike = find_reading(survey, pages=False)
    findings += unlike
    findings += find_problems(survey, spec, labeled=len(labeled))
    raise_all(finding.as_error() for finding in findings)
    if spec is None or reading is None:
        raise RuntimeError("arrays without errors have a spec and a reading")
    left_out = redundant(survey)
    return DataSet(
        name="arrays",
        spec=spec,
        reading=reading,
        labeled=labeled,
        unlabeled=tuple(image for image in unlabeled if image.name not in left_out),
        val=pairs["val"],
        test=pairs["test"],
        digests=survey.digests(),
    )


def _pairs(
    split: str,
    arrays: tuple[Arrays, Arrays] | None,
    task: TaskWord | None,
    errors: list[ImsegError],
) -> tuple[LabeledImage, ...]:
    """Return the pairs of a split; what is wrong goes to ``errors``."""
    if arrays is None:
        return ()
    if not isinstance(arrays, tuple) or len(arrays) != 2:
        got = f"{type(arrays).__name__}."
        errors.append(
            ImsegError(f"{split} cannot be used.", expected="a pair (images, masks).", got=got)
        )
        return ()
    images, masks = arrays
    if len(images) != len(masks):
        errors.append(
            ImsegError(
                f"{split} has images without masks, or masks without images.",
                expected="as many masks as images, in the same order.",
                got=f"{len(images)} images and {len(masks)} masks.",
            )
        )
        return ()
    found = []
    for index, (array, values) in enumerate(zip(images, masks, strict=True)):
        name = f"{split}[{index}]"
        pixels = _collect(image_from_array, array, name, errors)
        mask = _collect(_reader(mask_from_array, task), values, f"mask of {name}", errors)
        if pixels is not None and mask is not None:
            found.append(LabeledImage(Image(name, pixels), mask))
    return tuple(found)


def _item_pairs(
    split: str, samples: Samples | None, task: TaskWord | None, errors: list[ImsegError]
) -> tuple[LabeledImage, ...]:
    """Return the pairs of a Dataset; what is wrong goes to ``errors``."""
    found = []
    for name, item in _items(split, samples):
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            got = f"{len(item)} parts." if isinstance(item, (tuple, list)) else "one object."
            errors.append(ImsegError(f"{name} is no pair.", expected="(image, mask).", got=got))
            continue
        pixels = _collect(image_from_item, item[0], name, errors)
        mask = _collect(_reader(mask_from_item, task), item[1], f"mask of {name}", errors)
        if pixels is not None and mask is not None:
            found.append(LabeledImage(Image(name, pixels), mask))
    return tuple(found)


def _items(split: str, samples: Samples | None) -> Iterator[tuple[str, Any]]:
    """Yield the name and the content of each item of a Dataset."""
    if samples is None:
        return
    if not hasattr(samples, "__len__") or not hasattr(samples, "__getitem__"):
        raise ImsegError(
            f"{split} has no length, so it cannot be read once and kept.",
            expected="a Dataset with __len__ and __getitem__.",
            got=f"{type(samples).__name__}.",
            hint="collect an iterable Dataset first: list(dataset).",
        )
    for index in range(len(samples)):
        yield f"{split}[{index}]", samples[index]


def _reader(
    convert: Callable[..., npt.NDArray[Any]], task: TaskWord | None
) -> Callable[[Any, str], npt.NDArray[Any]]:
    """Return what converts the masks of a task."""
    return functools.partial(convert, kind=_KINDS.get(task))


def _collect(
    convert: Callable[[Any, str], _Array], item: Any, name: str, errors: list[ImsegError]
) -> _Array | None:
    """Return the converted item, or None after noting what is wrong with it."""
    try:
        return convert(item, name)
    except ImsegError as error:
        errors.append(error)
        return None


def _raise_some(errors: Sequence[ImsegError]) -> None:
    """Raise the first few errors; with arrays, all items tend to have the same one."""
    rest = len(errors) - _SHOWN
    more = [ImsegError(f"{rest} more items cannot be used.")] if rest > 0 else []
    raise_all([*errors[:_SHOWN], *more])
