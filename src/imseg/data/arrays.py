"""Data sets from arrays and from torch Datasets, checked like files are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from imseg.data.array_items import (
    image_from_array,
    image_from_item,
    mask_from_array,
    mask_from_item,
)
from imseg.data.config import FolderConfig
from imseg.data.encoding import find_spec
from imseg.data.facts import Facts, Survey, image_facts, mask_facts
from imseg.data.problems import as_findings, find_problems, redundant
from imseg.errors import ImsegError, and_more, raise_all
from imseg.types import DataSet, Image, Kind, LabeledImage

Arrays = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
"""``n h w`` or ``n h w c``, or a list of ``h w`` or ``h w c`` arrays of different sizes."""

ClassNames = Sequence[str] | Mapping[int, str]
"""Names by mask value; a list names 0, 1, 2, ..., or else the values found, in ascending order."""


_Array = TypeVar("_Array", bound=npt.NDArray[Any])
_SHOWN = 5


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
    task: Kind | None = None,
    class_names: ClassNames | None = None,
    void: int | None = None,
) -> DataSet:
    """Return a data set from arrays in memory; they are not copied.

    Args:
        labeled: Images and masks to learn from. Images are unsigned bytes, gray or RGB; masks hold
            any whole numbers (or booleans), with the same meaning as in mask files.
        unlabeled: Images without masks.
        val: Images and masks to choose by; None takes a fifth of ``labeled``.
        test: Images and masks for the final score.
        task: What a pixel is; None: recognized from the masks.
        class_names: Names for mask values.
        void: The mask value of pixels that are never trained on nor scored.

    Raises:
        ImsegError: If anything is wrong with the arrays; everything at once.
    """
    errors: list[ImsegError] = []
    pairs = {
        "labeled": _pairs("labeled", labeled, errors),
        "val": _pairs("val", val, errors),
        "test": _pairs("test", test, errors),
    }
    alone = []
    for index, array in enumerate(unlabeled if unlabeled is not None else ()):
        name = f"unlabeled[{index}]"
        if (pixels := _collect(image_from_array, array, name, errors)) is not None:
            alone.append(Image(name, pixels))
    _raise_some(errors)
    return _checked_set(pairs, tuple(alone), task=task, class_names=class_names, void=void)


def dataset_from_torch(
    labeled: Samples,
    unlabeled: Samples | None = None,
    *,
    val: Samples | None = None,
    test: Samples | None = None,
    task: Kind | None = None,
    class_names: ClassNames | None = None,
    void: int | None = None,
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
        task: What a pixel is; None: recognized from the masks.
        class_names: Names for mask values.
        void: The mask value of pixels that are never trained on nor scored.

    Raises:
        ImsegError: If anything is wrong with the items; everything at once.
    """
    errors: list[ImsegError] = []
    pairs = {
        "labeled": _item_pairs("labeled", labeled, errors),
        "val": _item_pairs("val", val, errors),
        "test": _item_pairs("test", test, errors),
    }
    alone = []
    for name, item in _items("unlabeled", unlabeled):
        image = item[0] if isinstance(item, (tuple, list)) and item else item
        if (pixels := _collect(image_from_item, image, name, errors)) is not None:
            alone.append(Image(name, pixels))
    _raise_some(errors)
    return _checked_set(pairs, tuple(alone), task=task, class_names=class_names, void=void)


def _checked_set(
    pairs: Mapping[str, tuple[LabeledImage, ...]],
    unlabeled: tuple[Image, ...],
    *,
    task: Kind | None,
    class_names: ClassNames | None,
    void: int | None,
) -> DataSet:
    """Return the data set if it passes the checks that folders pass."""
    survey = Survey(
        unlabeled=tuple(_facts(image) for image in unlabeled),
        **{split: tuple(_facts(pair) for pair in members) for split, members in pairs.items()},
    )
    labeled = pairs["labeled"]
    if not labeled:
        raise ImsegError(
            "There are no labeled images.",
            expected="at least 2 images with masks.",
            hint="label some, or check what is passed as labeled.",
        )
    counts = survey.label_counts()
    findings = []
    spec = None
    try:
        names = _names_by_value(class_names, [value for value in sorted(counts) if value != void])
        spec = find_spec(counts, task=task, config=FolderConfig(void=void, names=names))
    except ImsegError as error:
        findings += as_findings(error)
    findings += find_problems(survey, spec, labeled=len(labeled))
    raise_all(finding.as_error() for finding in findings)
    if spec is None:
        raise RuntimeError("arrays without errors have a spec")
    left_out = redundant(survey)
    return DataSet(
        name="arrays",
        spec=spec,
        channels=survey.channels,
        labeled=labeled,
        unlabeled=tuple(image for image in unlabeled if image.name not in left_out),
        val=pairs["val"],
        test=pairs["test"],
    )


def _facts(entry: Image | LabeledImage) -> Facts:
    image = entry.image if isinstance(entry, LabeledImage) else entry
    mask = None
    if isinstance(entry, LabeledImage):
        mask = mask_facts(f"mask of {entry.name}", np.asarray(entry.mask))
    return image_facts(image.name, np.asarray(image.pixels), mask)


def _pairs(
    split: str, arrays: tuple[Arrays, Arrays] | None, errors: list[ImsegError]
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
        mask = _collect(mask_from_array, values, f"mask of {name}", errors)
        if pixels is not None and mask is not None:
            found.append(LabeledImage(Image(name, pixels), mask))
    return tuple(found)


def _item_pairs(
    split: str, samples: Samples | None, errors: list[ImsegError]
) -> tuple[LabeledImage, ...]:
    """Return the pairs of a Dataset; what is wrong goes to ``errors``."""
    found = []
    for name, item in _items(split, samples):
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            got = f"{len(item)} parts." if isinstance(item, (tuple, list)) else "one object."
            errors.append(ImsegError(f"{name} is no pair.", expected="(image, mask).", got=got))
            continue
        pixels = _collect(image_from_item, item[0], name, errors)
        mask = _collect(mask_from_item, item[1], f"mask of {name}", errors)
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


def _names_by_value(names: ClassNames | None, values: Sequence[int]) -> dict[int, str]:
    """Return class names by mask value; a list counts from 0, or names the values found."""
    if names is None:
        return {}
    if isinstance(names, Mapping):
        return dict(names)
    if not values or values[-1] < len(names):
        return dict(enumerate(names))
    if len(names) == len(values):
        return dict(zip(values, names, strict=True))
    raise ImsegError(
        "The class names do not fit the mask values.",
        expected=f"{len(values)} names, one for each value, or a dict from value to name.",
        got=f"{len(names)} names; values {and_more([str(value) for value in values], shown=8)}.",
    )
