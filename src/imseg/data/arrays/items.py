"""From what users hold in memory (arrays, tensors, Pillow pictures) to checked pixels and masks."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from imseg.data.images.decoding import in_own_type, pixels_of
from imseg.data.images.tiff_decoding import MAX_CHANNELS
from imseg.data.masks.io import mask_of
from imseg.errors import ImsegError
from imseg.types import Kind, Pixels

_IMAGE = (
    "an array (h, w) or (h, w, c) of unsigned bytes, unsigned 16-bit numbers or floats, "
    f"with at most {MAX_CHANNELS} channels."
)
_TENSOR = f"a tensor (c, h, w), c at most {MAX_CHANNELS}."
_MASK = "an array (h, w) of whole numbers or booleans."
_PLANES = "an array (t, h, w) of booleans, one plane per label, or (h, w) of object numbers."
_NUMBERS = "an array (h, w) of numbers."
_FEW = 4
"""An axis of so many or fewer entries is taken for the channels, not for rows or columns."""


def image_from_array(given: Any, name: str) -> Pixels:
    """Return an array as ``h w c`` pixels: uint8, uint16 or float32.

    Booleans become 0 and 255. Bytes, 16-bit numbers and float32 are not copied.

    Args:
        given: What the user passed.
        name: What to call it in errors.

    Raises:
        ImsegError: If it is no picture of such numbers.
    """
    if not isinstance(given, np.ndarray):
        raise _wrong(name, _IMAGE, _kind_of(given), "np.asarray(image) may help.")
    array: npt.NDArray[Any] = given
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise _wrong(name, _IMAGE, f"shape {array.shape}.", "pass one picture at a time.")
    if array.ndim == 2:
        array = array[..., None]
    if hint := _shape_hint(array):
        raise _wrong(name, _IMAGE, f"shape {array.shape}.", hint)
    floats = array.dtype.kind == "f"
    if not floats and array.dtype not in (np.bool_, np.uint8, np.uint16):
        ends = f", {array.min():g} to {array.max():g}" if array.dtype.kind in "iu" else ""
        hint = "convert it to the type that holds its values: image.astype(np.uint8) or np.uint16."
        raise _wrong(name, _IMAGE, f"{array.dtype}{ends}.", hint)
    return in_own_type(array)


def mask_from_array(given: Any, name: str, *, kind: Kind | None = None) -> npt.NDArray[Any]:
    """Return an array as mask values.

    Args:
        given: What the user passed.
        name: What to call it in errors.
        kind: What the user says a pixel is; None: to be recognized, as a class.

    Returns:
        ``h w`` whole numbers; of measurements also float32; of several labels ``t h w`` whole
        numbers, or ``h w`` object numbers. Booleans become 0 and 1.

    Raises:
        ImsegError: If it is no such array.
    """
    expected = {"multilabel": _PLANES, "regression": _NUMBERS}.get(kind or "", _MASK)
    if not isinstance(given, np.ndarray):
        raise _wrong(name, expected, _kind_of(given), "np.asarray(mask) may help.")
    array: npt.NDArray[Any] = given
    if array.ndim == 3 and array.shape[2] == 1 and kind != "multilabel":
        array = array[..., 0]
    axes = (2, 3) if kind == "multilabel" else (2,)
    if array.ndim not in axes or 0 in array.shape:
        raise _wrong(name, expected, f"shape {array.shape}.", _axes_hint(kind))
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if kind == "regression" and array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind not in "iu":
        hint = "convert class numbers with mask.astype(np.uint8); do not scale masks to 0..1."
        if kind is None and array.dtype.kind == "f":
            hint += '\nFor measurements, pass task="regression".'
        raise _wrong(name, expected, f"{array.dtype}.", hint)
    return array


def image_from_item(item: Any, name: str) -> Pixels:
    """Return an image of a Dataset as ``h w c`` pixels: uint8, uint16 or float32.

    Args:
        item: A tensor (``c h w`` or ``h w``; bytes, 16 bits, or floats 0..1, which become bytes),
            an array or a Pillow picture.
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
        if array.shape[0] > MAX_CHANNELS or array.shape[2] <= _FEW < array.shape[0]:
            hint = "image.permute(2, 0, 1) puts the channels first."
            raise _wrong(name, _TENSOR, f"shape {array.shape}.", hint)
        array = np.ascontiguousarray(np.moveaxis(array, 0, 2))
    if np.issubdtype(array.dtype, np.floating):
        # The comparison is false for "not a number" as well.
        if not (array.size and array.min() >= 0 and array.max() <= 1):
            got = f"{array.min():g} to {array.max():g}." if array.size else "an empty tensor."
            hint = (
                "leave out normalization (such as transforms.Normalize); it is done here.\n"
                "Pass measurements as an array (h, w, c): image.permute(1, 2, 0).numpy()."
            )
            raise _wrong(name, "a tensor of bytes, or of floats from 0 to 1.", got, hint)
        array = np.rint(array * 255).astype(np.uint8)
    return image_from_array(array, name)


def mask_from_item(item: Any, name: str, *, kind: Kind | None = None) -> npt.NDArray[Any]:
    """Return a mask of a Dataset as values.

    Args:
        item: A tensor (``h w`` or ``1 h w``; ``t h w`` for several labels), an array or a Pillow
            picture.
        name: What to call it in errors.
        kind: What the user says a pixel is; None: to be recognized, as a class.

    Returns:
        What ``mask_from_array`` returns.

    Raises:
        ImsegError: If it is none of these.
    """
    if isinstance(item, Pillow.Image):
        found = mask_of(item, name)
        if found.form == "colors":
            hint = "convert each color to a class value (0, 1, 2, ...)."
            raise _wrong(name, _MASK, "a color mask.", hint)
        return mask_from_array(found.values, name, kind=kind)
    if not _is_tensor(item):
        return mask_from_array(item, name, kind=kind)
    array: npt.NDArray[Any] = item.detach().cpu().numpy()
    if array.ndim == 3 and array.shape[0] == 1 and kind != "multilabel":
        array = array[0]
    if np.issubdtype(array.dtype, np.floating) and kind != "regression":
        hint = "use transforms.PILToTensor for masks; ToTensor scales class numbers to 0..1."
        raise _wrong(name, "a tensor (h, w) of whole numbers.", f"{array.dtype}.", hint)
    return mask_from_array(array, name, kind=kind)


def _shape_hint(array: npt.NDArray[Any]) -> str | None:
    """Return what to try with ``h w c`` pixels of a wrong shape; None if it is right."""
    first, _, channels = array.shape
    if first <= _FEW < channels:
        return "put the channels last: image.transpose(1, 2, 0)."
    if channels > MAX_CHANNELS:
        return "select the channels that show what is to be found, or put the channels last."
    if channels == 4 and array.dtype == np.uint8 and (array[..., 3] == 255).all():
        return "drop the alpha channel: image[..., :3]."
    return None


def _axes_hint(kind: Kind | None) -> str:
    if kind == "multilabel":
        return "put the labels first: np.stack([mask_of_a, mask_of_b])."
    if kind == "regression":
        return "give each pixel one number."
    hint = "give each pixel the number of its class; for one-hot masks, argmax over the classes."
    if kind is None:
        hint += '\nFor labels that overlap, pass task="multilabel" and masks (t, h, w).'
    return hint


def _is_tensor(item: Any) -> bool:
    # Torch is not imported for this: a caller who passes a tensor has imported it.
    return hasattr(item, "detach") and hasattr(item, "numpy")


def _kind_of(item: object) -> str:
    return f"{type(item).__module__}.{type(item).__qualname__}.".removeprefix("builtins.")


def _wrong(name: str, expected: str, got: str, hint: str) -> ImsegError:
    return ImsegError(f"{name} cannot be used.", expected=expected, got=got, hint=hint)
