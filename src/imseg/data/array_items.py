"""From what users hold in memory (arrays, tensors, Pillow pictures) to checked pixels and masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.image_io import mask_of, pixels_of
from imseg.errors import ImsegError
from imseg.types import Bytes

_IMAGE = "an array (h, w) or (h, w, c) of unsigned bytes, with 1 (gray) or 3 (RGB) channels."
_MASK = "an array (h, w) of whole numbers or booleans."


def image_from_array(given: Any, name: str) -> Bytes:
    """Return an array as ``h w c`` pixels.

    Args:
        given: What the user passed.
        name: What to call it in errors.

    Raises:
        ImsegError: If it is no gray or RGB picture of unsigned bytes.
    """
    if not isinstance(given, np.ndarray):
        raise _wrong(name, _IMAGE, _kind_of(given), "np.asarray(image) may help.")
    array: npt.NDArray[Any] = given
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise _wrong(name, _IMAGE, f"shape {array.shape}.", "pass one picture at a time.")
    if array.ndim == 3 and array.shape[2] not in (1, 3):
        hint = "select the three color channels."
        if array.shape[0] in (1, 3):
            hint = "put the channels last: image.transpose(1, 2, 0)."
        elif array.shape[2] == 4:
            hint = "drop the alpha channel: image[..., :3]."
        raise _wrong(name, _IMAGE, f"shape {array.shape}.", hint)
    if array.dtype != np.uint8:
        got = f"{array.dtype}" + (
            f", {array.min():g} to {array.max():g}." if _ordered(array) else "."
        )
        hint = "scale the pixels to 0..255 and convert them: image.astype(np.uint8)."
        raise _wrong(name, _IMAGE, got, hint)
    return array if array.ndim == 3 else array[..., None]


def mask_from_array(given: Any, name: str) -> npt.NDArray[Any]:
    """Return an array as ``h w`` mask values.

    Args:
        given: What the user passed.
        name: What to call it in errors.

    Raises:
        ImsegError: If it is no array of whole numbers with two axes.
    """
    if not isinstance(given, np.ndarray):
        raise _wrong(name, _MASK, _kind_of(given), "np.asarray(mask) may help.")
    array: npt.NDArray[Any] = given
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 or 0 in array.shape:
        hint = (
            "give each pixel the number of its class; for one-hot masks, argmax over the classes."
        )
        raise _wrong(name, _MASK, f"shape {array.shape}.", hint)
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        hint = "convert class numbers with mask.astype(np.uint8); do not scale masks to 0..1."
        raise _wrong(name, _MASK, f"{array.dtype}.", hint)
    return array


def image_from_item(item: Any, name: str) -> Bytes:
    """Return an image of a Dataset as ``h w c`` pixels.

    Args:
        item: A tensor (``c h w`` or ``h w``; bytes or floats 0..1), an array or a Pillow picture.
        name: What to call it in errors.

    Raises:
        ImsegError: If it is none of these.
    """
    if isinstance(item, Pillow.Image):
        return pixels_of(item, name)
    if not _is_tensor(item):
        return image_from_array(item, name)
    array: npt.NDArray[Any] = item.detach().cpu().numpy()
    if array.ndim == 3:
        if array.shape[0] not in (1, 3):
            hint = "image.permute(2, 0, 1) puts the channels first; drop an alpha channel."
            raise _wrong(name, "a tensor (c, h, w), c 1 or 3.", f"shape {array.shape}.", hint)
        array = np.ascontiguousarray(np.moveaxis(array, 0, 2))
    if np.issubdtype(array.dtype, np.floating):
        # The comparison is false for "not a number" as well.
        if not (array.size and array.min() >= 0 and array.max() <= 1):
            got = f"{array.min():g} to {array.max():g}." if array.size else "an empty tensor."
            hint = "leave out normalization (such as transforms.Normalize); it is done here."
            raise _wrong(name, "a tensor of bytes, or of floats from 0 to 1.", got, hint)
        array = np.rint(array * 255).astype(np.uint8)
    return image_from_array(array, name)


def mask_from_item(item: Any, name: str) -> npt.NDArray[Any]:
    """Return a mask of a Dataset as ``h w`` values.

    Args:
        item: A tensor (``h w`` or ``1 h w``), an array or a Pillow picture, of whole numbers.
        name: What to call it in errors.

    Raises:
        ImsegError: If it is none of these.
    """
    if isinstance(item, Pillow.Image):
        return mask_of(item, name)
    if not _is_tensor(item):
        return mask_from_array(item, name)
    array: npt.NDArray[Any] = item.detach().cpu().numpy()
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if np.issubdtype(array.dtype, np.floating):
        hint = "use transforms.PILToTensor for masks; ToTensor scales class numbers to 0..1."
        raise _wrong(name, "a tensor (h, w) of whole numbers.", f"{array.dtype}.", hint)
    return mask_from_array(array, name)


def _is_tensor(item: Any) -> bool:
    # Torch is not imported for this: whoever passes a tensor has done so.
    return hasattr(item, "detach") and hasattr(item, "numpy")


def _ordered(array: npt.NDArray[Any]) -> bool:
    return bool(array.size) and array.dtype.kind in "iuf"


def _kind_of(item: object) -> str:
    return f"{type(item).__module__}.{type(item).__qualname__}.".removeprefix("builtins.")


def _wrong(name: str, expected: str, got: str, hint: str) -> ImsegError:
    return ImsegError(f"{name} cannot be used.", expected=expected, got=got, hint=hint)
