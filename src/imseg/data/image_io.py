"""The one place that opens and writes picture files (with Pillow)."""

from __future__ import annotations

import hashlib
import os
import struct
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageOps, TiffImagePlugin, UnidentifiedImageError

from imseg.errors import ImsegError
from imseg.types import Bytes

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
"""Suffixes of picture files, in lower case; compare with ``path.suffix.lower()``."""

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_GRAY_MODES = frozenset({"1", "L", "LA", "La"})
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_TURNED = frozenset({5, 6, 7, 8})
_ORIENTATION, _TIFF_WIDTH, _TIFF_HEIGHT = 0x0112, 0x0100, 0x0101
# What Pillow raises for files that are broken in one way or another, beside OSError.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError)
_BROKEN_INSIDE = (struct.error, zlib.error, OverflowError, NotImplementedError)


class UnreadablePicture(ImsegError):
    """A picture file that cannot be used, and why.

    Args:
        path: The file.
        reason: What is wrong, as the end of a sentence that begins with the file.
        expected: What would have been right.
        hint: What to try.
    """

    def __init__(self, path: Path, reason: str, *, expected: str, hint: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} {reason}.", expected=expected, hint=hint)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header of a picture file says."""

    height: int
    """Pixels, after the turn that the EXIF data asks for."""
    width: int
    """Pixels, after the turn that the EXIF data asks for."""
    channels: int
    """1 (gray) or 3."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


def probe(path: Path) -> ImageInfo:
    """Return size and channels of a picture, from its header where the format allows that.

    Raises:
        ImsegError: If the file cannot be opened or is not a picture.
    """
    with _opened(path) as picture:
        width, height = picture.size
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            # Some versions of Pillow have turned the size of a TIFF file already, but no other.
            width, height = picture.tag_v2[_TIFF_WIDTH], picture.tag_v2[_TIFF_HEIGHT]
        if picture.getexif().get(_ORIENTATION) in _TURNED:
            width, height = height, width
        gray = picture.mode in _GRAY_MODES or picture.mode in _DEEP_MODES
        return ImageInfo(height, width, 1 if gray else 3)


def read_image(path: Path, channels: int | None = None) -> Bytes:
    """Return the pixels of a picture as ``h w c``, upright, without alpha, palettes expanded.

    Args:
        path: A PNG, JPEG, BMP or TIFF file with 8 bits a channel.
        channels: 1 or 3 to make the picture gray or colored; None leaves it as it is.

    Raises:
        ImsegError: If the file cannot be read as such a picture.
    """
    with _opened(path) as picture:
        return _image_pixels(path, _upright(picture), channels)


def read_mask(path: Path) -> npt.NDArray[Any]:
    """Return the values of a mask file as an ``h w`` array of integers, as they stand in the file.

    A 1-bit file gives 0 and 255, a palette file its indices, a gray RGB file its gray value.

    Raises:
        ImsegError: If the file cannot be read or holds colors or fractions instead of class values.
    """
    with _opened(path) as picture:
        return _mask_values(path, _upright(picture))


def pixels_of(picture: Pillow.Image, name: str) -> Bytes:
    """Return the pixels (``h w c``) of an open Pillow picture; ``name`` is used in errors."""
    return _image_pixels(Path(name), picture, None)


def mask_of(picture: Pillow.Image, name: str) -> npt.NDArray[Any]:
    """Return the mask values (``h w``) of an open Pillow picture; ``name`` is used in errors."""
    return _mask_values(Path(name), picture)


def write_png(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as a PNG file that appears whole or not at all.

    Args:
        path: Where to; an existing file is replaced.
        array: ``h w`` of unsigned 8 or 16 bits, or ``h w 3`` of unsigned 8 bits.

    Raises:
        ValueError: If the array has another shape or type.
        ImsegError: If the file cannot be written.
    """
    gray = array.ndim == 2 and array.dtype in (np.uint8, np.uint16)
    colored = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if not gray and not colored:
        raise ValueError(f"cannot write {array.dtype} of shape {array.shape} as PNG")
    # The leading dot keeps a left-over from a crash out of folders that are read as data.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            Pillow.fromarray(np.ascontiguousarray(array)).save(file, format="PNG")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ImsegError(
            f"{path} cannot be written.",
            got=str(error.strerror or error),
            hint="check that the folder exists, is yours to write to, and the disk is not full.",
        ) from error


def to_channels(pixels: Bytes, channels: int) -> Bytes:
    """Return ``h w c`` pixels with 1 or 3 channels: gray is repeated, color becomes lightness."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(Pillow.fromarray(np.ascontiguousarray(pixels)).convert("L"))[..., None]


def resize_image(pixels: Bytes, size: tuple[int, int]) -> Bytes:
    """Return ``h w c`` pixels at another (height, width): bilinear, smoothed when shrinking."""
    if pixels.shape[:2] == size:
        return pixels
    height, width = size
    flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    picture = Pillow.fromarray(np.ascontiguousarray(flat))
    resized = np.asarray(picture.resize((width, height), Pillow.Resampling.BILINEAR), np.uint8)
    return resized.reshape(height, width, pixels.shape[2])


def resize_mask(mask: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Return an ``h w`` mask at another (height, width), by nearest neighbor."""
    if mask.shape == size:
        return mask
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(size, mask.shape, strict=True)
    )
    resized: npt.NDArray[Any] = mask[rows[:, None], columns[None, :]]
    return resized


def hash_pixels(pixels: Bytes) -> str:
    """Return the SHA-256 of ``h w c`` pixels and their shape; gray RGB counts as gray.

    The same picture saved as PNG and as BMP has one hash.
    """
    if pixels.shape[2] == 3 and is_gray(pixels):
        pixels = pixels[..., :1]
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def is_gray(pixels: npt.NDArray[Any]) -> bool:
    """Return whether the first three channels of ``h w c`` pixels are equal everywhere."""
    first = pixels[..., 0]
    return bool(np.array_equal(first, pixels[..., 1]) and np.array_equal(first, pixels[..., 2]))


@contextmanager
def _opened(path: Path) -> Iterator[Pillow.Image]:
    """Open a picture; whatever goes wrong while it is open becomes an error that names the file."""
    try:
        # By file, not by name: Pillow maps named files, and scrambles turned TIFF files doing so.
        with path.open("rb") as file, Pillow.open(file, formats=_FORMATS) as picture:
            _check_container(path, picture)
            yield picture
    except ImsegError:
        raise
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        raise _too_large(path) from error
    except FileNotFoundError as error:
        raise _unreadable(path, "does not exist", "check the path.") from error
    except PermissionError as error:
        raise _unreadable(path, "may not be read", "check the file's permissions.") from error
    except IsADirectoryError as error:
        raise _unreadable(path, "is a folder", "name a picture file.") from error
    except UnidentifiedImageError as error:
        if path.stat().st_size == 0:
            raise _unreadable(path, "is empty", "copy it again, or remove it.") from error
        reason = "is not a PNG, JPEG, BMP or TIFF picture, or is damaged at its start"
        raise _unreadable(path, reason, "convert it, copy it again, or remove it.") from error
    except _BROKEN + _BROKEN_INSIDE as error:
        reason = f"is cut short or damaged ({error})"
        raise _unreadable(path, reason, "copy it again, or remove it.") from error


def _check_container(path: Path, picture: Pillow.Image) -> None:
    limit = Pillow.MAX_IMAGE_PIXELS
    if limit is not None and picture.width * picture.height > limit:
        raise _too_large(path)
    # A phone JPEG with a depth map has one main picture; among pages there is no main one.
    if isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.n_frames > 1:
        reason = f"has {picture.n_frames} pages"
        raise _unreadable(path, reason, "save each page as a file of its own.")


def _upright(picture: Pillow.Image) -> Pillow.Image:
    picture.load()
    return ImageOps.exif_transpose(picture)


def _image_pixels(path: Path, picture: Pillow.Image, channels: int | None) -> Bytes:
    if picture.mode in _DEEP_MODES:
        reason = "has more than 8 bits a channel, which is not read yet"
        raise _unreadable(path, reason, "convert it to 8 bits.")
    gray = picture.mode in _GRAY_MODES
    pixels = np.asarray(picture.convert("L" if gray else "RGB"), np.uint8)
    pixels = pixels[..., None] if gray else pixels
    return pixels if channels is None else to_channels(pixels, channels)


def _mask_values(path: Path, picture: Pillow.Image) -> npt.NDArray[Any]:
    mode = picture.mode
    if mode == "F":
        reason = "holds fractions, but a mask holds a whole number for each pixel"
        raise _unreadable(path, reason, "save the class values as 8-bit PNG.")
    if mode == "1":
        # Black and white, as any viewer shows them and as the same mask is saved with 8 bits.
        return np.asarray(picture.convert("L"))
    if mode in ("L", "P"):
        return np.asarray(picture).astype(np.uint8)
    if mode in ("LA", "La", "PA"):
        return np.asarray(picture, np.uint8)[..., 0]
    if mode in _DEEP_MODES:
        values = np.asarray(picture)
        return values.astype(values.dtype.newbyteorder("="))
    colored = np.asarray(picture.convert("RGB") if mode != "RGBA" else picture, np.uint8)
    if is_gray(colored):
        return colored[..., 0]
    reason = "is a color mask, which is not read yet"
    raise _unreadable(path, reason, "convert each color to a class value (0, 1, 2, ...).")


def _unreadable(path: Path, reason: str, hint: str) -> UnreadablePicture:
    expected = "a whole PNG, JPEG, BMP or TIFF file with 8 bits a channel (masks: class values)."
    return UnreadablePicture(path, reason, expected=expected, hint=hint)


def _too_large(path: Path) -> UnreadablePicture:
    limit = (Pillow.MAX_IMAGE_PIXELS or 0) // 1_000_000
    reason = f"claims more than {limit} million pixels"
    return _unreadable(path, reason, "cut it into tiles.")
