"""The facts about arrays, and what their user says about them, as for files."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from imseg.data.arrays import items
from imseg.data.folder.config import TASK_WORDS, FolderConfig, TaskWord
from imseg.data.folder.facts import ImageFacts, MaskFacts, Survey
from imseg.data.folder.folder_layout import FolderLayout
from imseg.data.folder.inspection import Scope, image_facts, with_masks
from imseg.data.folder.mask_facts import mask_facts
from imseg.data.folder.scan import data_set_of, understand
from imseg.data.masks.io import MaskFile
from imseg.errors import ImsegError, and_more, near_miss, raise_all
from imseg.types import DataSet, Image, Kind, LabeledImage, Pixels

ValueNames = Sequence[str] | Mapping[int, str]
"""Names by mask value; a list names 0, 1, 2, ..., or else the values found, in ascending order.
Of planes, a name each."""


def _survey(
    pairs: Mapping[str, Sequence[LabeledImage]],
    unlabeled: Sequence[Image],
    config: FolderConfig,
    class_names: ValueNames | None,
) -> tuple[Survey, FolderConfig]:
    """Return the facts about arrays, and the config with the names of mask values.

    Raises:
        ImsegError: If the names do not fit the masks.
    """
    total = len(unlabeled) + sum(map(len, pairs.values()))
    scope = Scope(config=config, regions=config.task in (None, "instances"), pictures=total)
    every = [pair for members in pairs.values() for pair in members]
    labels = _labels(every, class_names) if config.task == "multilabel" else ()
    alone = [image_facts(image.name, np.asarray(image.pixels), scope=scope) for image in unlabeled]
    facts = {split: tuple(_facts(pair, labels, scope) for pair in pairs[split]) for split in pairs}
    survey = Survey(unlabeled=tuple(alone), **facts)
    if class_names is None or labels:
        return survey, config
    values = [value for value in sorted(survey.label_counts()) if value != config.void]
    return survey, replace(config, names=_names_by_value(class_names, values))


def _facts(pair: LabeledImage, labels: Sequence[str], scope: Scope) -> ImageFacts:
    mask, name = np.asarray(pair.mask), f"mask of {pair.name}"
    found: dict[str | None, MaskFacts] = {}
    for label, values in zip(labels, mask, strict=True) if labels else [(None, mask)]:
        file = MaskFile(values, "numbers" if values.dtype.kind == "f" else "values")
        called = name if label is None else f"{name} ({label})"
        found[label] = mask_facts(called, file, scope=scope, label=label)
    picture = image_facts(pair.name, np.asarray(pair.image.pixels), scope=scope)
    return with_masks(picture, found)


def _labels(pairs: Sequence[LabeledImage], class_names: ValueNames | None) -> tuple[str, ...]:
    """Return the names of planes, in their order.

    Raises:
        ImsegError: If masks have different numbers of planes, or not as many as there are names.
    """
    shapes = {pair.name: np.asarray(pair.mask).shape for pair in pairs}
    flat = [name for name, shape in shapes.items() if len(shape) != 3]
    if flat:
        raise ImsegError(
            "The task is multilabel, but some masks have no axis of labels.",
            expected="arrays (t, h, w): one plane per label.",
            got=f"shape {shapes[flat[0]]} for {flat[0]}.",
            hint="put the labels first: np.stack([mask_of_a, mask_of_b]); for label images of "
            'objects, pass task="instances".',
        )
    counts = {shape[0]: name for name, shape in reversed(shapes.items())}
    if len(counts) > 1:
        shown = [f"{planes} for {name}" for planes, name in sorted(counts.items())]
        raise ImsegError(
            "The masks have different numbers of planes.",
            expected="a plane for every label in every mask, empty where it does not occur.",
            got=and_more(shown) + ".",
            hint="np.stack the same labels in the same order for every mask.",
        )
    planes = next(iter(counts))
    if class_names is None or isinstance(class_names, Mapping):
        given = class_names or {}
        names = [given.get(index, f"label {index}") for index in range(planes)]
    else:
        names = list(class_names)
    if len(names) != planes or len(set(names)) != planes:
        raise ImsegError(
            "The class names do not fit the planes of the masks.",
            expected=f"{planes} different names, in the order of the planes.",
            got=", ".join(names) + ".",
            hint="name each plane once, or leave class_names out.",
        )
    return tuple(names)


def _names_by_value(names: ValueNames, values: Sequence[int]) -> dict[int | str, str]:
    """Return class names by mask value; a list counts from 0, or names the values found."""
    if isinstance(names, Mapping):
        return dict(names.items())
    if not values or values[-1] < len(names):
        return dict(enumerate(names))
    if len(names) == len(values):
        return dict(zip(values, names, strict=True))
    raise ImsegError(
        "The class names do not fit the mask values.",
        expected=f"{len(values)} names, one for each value, or a dict from value to name.",
        got=f"{len(names)} names; values {and_more([str(value) for value in values], most=8)}.",
        hint=f'class_names={{{values[0]}: "name"}} names that value alone.',
    )


Arrays = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
"""``n h w`` or ``n h w c``, or a list of ``h w`` or ``h w c`` arrays of different sizes."""

_Array = TypeVar("_Array", bound=npt.NDArray[Any])
_SHOWN = 5
_KINDS: Mapping[str | None, Kind] = {"multilabel": "multilabel", "regression": "regression"}


class TorchItems(Protocol):
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
    class_names: ValueNames | None = None,
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
    config = FolderConfig(task=task, void=void, pixel_size=pixel_size, unit=unit)
    splits = {"labeled": labeled, "val": val, "test": test}
    given = unlabeled if unlabeled is not None else ()
    alone = ((f"unlabeled[{index}]", array) for index, array in enumerate(given))
    convert = items.image_from_array, items.mask_from_array
    return _data_set(splits, alone, config, class_names, pairs_of=_array_pairs, convert=convert)


def dataset_from_torch(
    labeled: TorchItems,
    unlabeled: TorchItems | None = None,
    *,
    val: TorchItems | None = None,
    test: TorchItems | None = None,
    task: TaskWord | None = None,
    class_names: ValueNames | None = None,
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
    config = FolderConfig(task=task, void=void, pixel_size=pixel_size, unit=unit)
    splits = {"labeled": labeled, "val": val, "test": test}
    alone = (
        (name, item[0] if isinstance(item, (tuple, list)) and item else item)
        for name, item in _items("unlabeled", unlabeled)
    )
    convert = items.image_from_item, items.mask_from_item
    return _data_set(splits, alone, config, class_names, pairs_of=_item_pairs, convert=convert)


def _check_config(config: FolderConfig, class_names: ValueNames | None) -> None:
    """Refuse what no user can mean about masks in memory."""
    task, size = config.task, config.pixel_size
    if task is not None and task not in TASK_WORDS:
        guess = near_miss(str(task), TASK_WORDS)
        raise ImsegError(
            f"There is no task {task!r}.",
            expected=", ".join(TASK_WORDS) + ".",
            hint=f'did you mean "{guess}"?' if guess else None,
        )
    if size is not None and not (math.isfinite(size) and size > 0):
        raise ImsegError(
            "pixel_size is wrong.",
            expected="micrometers, above 0.",
            got=f"{size}.",
            hint="pixel_size=0.65, or leave it out.",
        )
    if class_names is not None and task in ("instances", "regression"):
        raise ImsegError(
            f"class_names has no use, because the task is {task}.",
            expected="no class_names.",
            hint="leave it out, or choose another task.",
        )


def _data_set(
    splits: Mapping[str, Any],
    unlabeled: Iterable[tuple[str, Any]],
    config: FolderConfig,
    class_names: ValueNames | None,
    *,
    pairs_of: Callable[[str, Any, list[ImsegError]], Iterable[tuple[str, Any, Any]]],
    convert: tuple[Callable[..., Pixels], Callable[..., npt.NDArray[Any]]],
) -> DataSet:
    """Return the data set of what users hold in memory, if it passes the checks of folders.

    Args:
        splits: What the user passed for each split with masks.
        unlabeled: Name and image of the others.
        config: What the user says about the masks.
        class_names: Names for mask values, or planes.
        pairs_of: Yields name, image and mask of each pair of a split, and notes errors.
        convert: What returns the pixels of an image, and the values of a mask.
    """
    _check_config(config, class_names)
    errors: list[ImsegError] = []
    to_pixels, to_values = convert[0], partial(convert[1], kind=_KINDS.get(config.task))
    pairs: dict[str, tuple[LabeledImage, ...]] = {}
    for split, given in splits.items():
        found = []
        for name, image, mask in pairs_of(split, given, errors):
            pixels = _collect(to_pixels, image, name, errors)
            values = _collect(to_values, mask, f"mask of {name}", errors)
            if pixels is not None and values is not None:
                found.append(LabeledImage(Image(name, pixels, config.pixel_size), values))
        pairs[split] = tuple(found)
    alone = [(name, _collect(to_pixels, item, name, errors)) for name, item in unlabeled]
    # With arrays, all items tend to have the same problem.
    rest = len(errors) - _SHOWN
    more = [ImsegError(f"{rest} more items cannot be used.")] if rest > 0 else []
    raise_all([*errors[:_SHOWN], *more])
    size = config.pixel_size
    images = tuple(Image(name, pixels, size) for name, pixels in alone if pixels is not None)
    if not pairs["labeled"]:
        raise ImsegError(
            "There are no labeled images.",
            expected="at least 2 images with masks.",
            hint="label some, or check what is passed as labeled.",
        )
    survey, config = _survey(pairs, images, config, class_names)
    layout = FolderLayout(root=Path("arrays"), unlabeled=images)
    layout.labeled, layout.val, layout.test = pairs["labeled"], pairs["val"], pairs["test"]
    return data_set_of(understand(layout, survey, config))


def _array_pairs(
    split: str, arrays: tuple[Arrays, Arrays] | None, errors: list[ImsegError]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, image and mask of each pair of a split; what is wrong goes to ``errors``."""
    if arrays is None:
        return
    if not isinstance(arrays, tuple) or len(arrays) != 2:
        got = f"{type(arrays).__name__}."
        errors.append(
            ImsegError(
                f"{split} cannot be used.",
                expected="a pair (images, masks).",
                got=got,
                hint=f"{split}=(images, masks).",
            )
        )
    elif len(arrays[0]) != len(arrays[1]):
        errors.append(
            ImsegError(
                f"{split} has images without masks, or masks without images.",
                expected="as many masks as images, in the same order.",
                got=f"{len(arrays[0])} images and {len(arrays[1])} masks.",
                hint="pass images without a mask as unlabeled.",
            )
        )
    else:
        for index, (image, mask) in enumerate(zip(*arrays, strict=True)):
            yield f"{split}[{index}]", image, mask


def _item_pairs(
    split: str, given: TorchItems | None, errors: list[ImsegError]
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, image and mask of each item of a Dataset."""
    for name, item in _items(split, given):
        if isinstance(item, (tuple, list)) and len(item) == 2:
            yield name, *item
        else:
            got = f"{len(item)} parts." if isinstance(item, (tuple, list)) else "one object."
            hint = "let the Dataset return both."
            wrong = ImsegError(f"{name} is no pair.", expected="(image, mask).", got=got, hint=hint)
            errors.append(wrong)


def _items(split: str, samples: TorchItems | None) -> Iterator[tuple[str, Any]]:
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
