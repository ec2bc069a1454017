"""From an open picture to numbers, and what is done to them for images and masks alike."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from imseg.data.images.foreign_formats import how_to_convert
from imseg.errors import ImsegError
from imseg.types import Bytes, Color, Pixels

_SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpx", ".jpf"),
    "GIF": (".gif",),
    "PPM": (".pgm", ".ppm", ".pbm", ".pnm"),
}

SUFFIXES = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
"""Suffixes of picture files, in lower case; compare with ``path.suffix.lower()``."""

FORMATS = tuple(_SUFFIXES)
"""What Pillow may open."""

_LOSSY = {"JPEG": "JPEG", "WEBP": "lossy WebP", "JPEG2000": "lossy JPEG 2000"}

READABLE = "PNG, JPEG, BMP, TIFF, WebP, JPEG 2000, GIF or PNM"
"""The formats in words."""

MAX_BYTES = 1 << 29
"""Most bytes of one decoded picture: twice the largest 8-bit RGB picture that Pillow lets through.
Decoding takes up to twice as much for a moment, and one picture per core is decoded at a time."""

# What Pillow modes are converted to.
_GRAY_MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA"}
_COLOR_MODES = {"RGBA": "RGBA", "RGBa": "RGBA"} | dict.fromkeys(
    ("RGB", "RGBX", "CMYK", "YCbCr"), "RGB"
)
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_PALETTE_MODES = frozenset({"P", "PA"})
_BLACK = (0, 0, 0)
_WHITE = np.uint8(255)


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
class Decoded:
    """What lies in a picture file, upright."""

    values: Pixels
    """``h w c`` in the file's own type, without alpha; the indices of a palette file."""
    alpha: npt.NDArray[Any] | None = None
    """How opaque each pixel is, ``h w``; None: the file does not say."""
    palette: tuple[Color, ...] | None = None
    """The color of each index."""
    inverting: int = 0
    """Bits per number of a file whose 0 is to be shown as white; 0: of any other file. The values
    are as stored."""
    orientation: int = 1
    """The EXIF number: how the values were turned to be upright; 1: they were not."""
    pixel_size: float | None = None
    """Micrometers on a side of a pixel; None: the file does not say."""


def lossy_suffix(name: str) -> str | None:
    """Return the coding that files of such a name may have, if it changes values; else None."""
    suffix = Path(name).suffix.lower()
    return next((how for kind, how in _LOSSY.items() if suffix in _SUFFIXES[kind]), None)


def unreadable(path: Path, reason: str, hint: str) -> UnreadablePicture:
    """Return the error for a file; ``reason`` ends a sentence that begins with the file."""
    expected = f"a whole {READABLE} file."
    return UnreadablePicture(path, reason, expected=expected, hint=hint)


def damaged(path: Path, what: object) -> UnreadablePicture:
    """Return the error for a broken file."""
    reason = f"is cut short or damaged ({what})"
    return unreadable(path, reason, "copy it again, or remove it.")


def check_size(path: Path, height: int, width: int, *, depth: int = 1) -> None:
    """Refuse a picture that would need too much memory, before it is decoded.

    Args:
        path: The file, for the error.
        height: Pixels, as the header says.
        width: Pixels, as the header says.
        depth: Bytes per pixel, over all channels and pages.

    Raises:
        UnreadablePicture: If it has more pixels than Pillow allows, or more bytes than MAX_BYTES.
    """
    hint = (
        "cut it into tiles (of 2048 x 2048 pixels, say), or scale it down. To predict it, save it"
        " as a tiled TIFF: such files are read a few rows at a time."
    )
    limit = Pillow.MAX_IMAGE_PIXELS
    if limit is not None and height * width > limit:
        size = f"{width} x {height} pixels, which is more than {limit / 1e6:.0f} million"
        raise unreadable(path, f"claims {size}", hint)
    if height * width * depth > MAX_BYTES:
        size = f"{height * width * depth / 2**20:.0f} MiB of pixels"
        reason = f"claims {size}, which is more than {MAX_BYTES // 2**20} MiB"
        raise unreadable(path, reason, hint.replace(", or", ", keep fewer channels, or"))


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into an error that names the file."""
    try:
        yield
    except ImsegError:
        raise
    except (Pillow.DecompressionBombError, Pillow.DecompressionBombWarning) as error:
        limit = (Pillow.MAX_IMAGE_PIXELS or 0) / 1e6
        reason = f"claims more than {limit:.0f} million pixels"
        raise unreadable(path, reason, "cut it into tiles, or scale it down.") from error
    except MemoryError as error:
        raise unreadable(path, "does not fit in memory", "cut it into tiles.") from error
    except FileNotFoundError as error:
        raise unreadable(path, "does not exist", "check the path.") from error
    except PermissionError as error:
        raise unreadable(path, "may not be read", "check the file's permissions.") from error
    except IsADirectoryError as error:
        raise unreadable(path, "is a folder", "name a picture file.") from error
    except UnidentifiedImageError as error:
        if path.stat().st_size == 0:
            raise unreadable(path, "is empty", "copy it again, or remove it.") from error
        if (known := how_to_convert([path])) is not None:
            raise unreadable(path, f"is a {known[0]} file", known[1]) from error
        reason = f"is not a {READABLE} picture, or is damaged at its start"
        raise unreadable(path, reason, "convert it, copy it again, or remove it.") from error
    # What decoders raise for files that are broken in one way or another has nothing in common.
    except Exception as error:
        raise damaged(path, error) from error


def channels_of(mode: str) -> tuple[int, str]:
    """Return the channels, without alpha, and the type of the pixels of a Pillow mode."""
    if mode in _DEEP_MODES:
        return 1, "uint16" if mode.startswith("I;16") else "float32"
    return (1 if mode in _GRAY_MODES else 3), "uint8"


def decode_pillow(path: Path, picture: Pillow.Image) -> Decoded:
    """Return what an open picture holds, as it stands.

    1-bit pictures give 0 and 255, as any viewer shows them and as the same picture is saved with
    8 bits. CMYK and YCbCr become RGB.

    Args:
        path: What to call it in errors.
        picture: Upright.

    Raises:
        UnreadablePicture: If it has a color mode that has no RGB values, such as LAB.
    """
    mode = picture.mode
    if mode in _PALETTE_MODES:
        indices = np.asarray(picture)
        alpha = indices[..., 1] if indices.ndim == 3 else None
        indices = indices[..., 0] if indices.ndim == 3 else indices
        indices = indices.astype(np.uint8)
        return Decoded(indices[..., None], alpha, _palette(picture, indices))
    if mode in _DEEP_MODES:
        values = np.asarray(picture)
        return Decoded(values.astype(values.dtype.newbyteorder("="), copy=False)[..., None])
    wanted = (_GRAY_MODES | _COLOR_MODES).get(mode)
    if wanted is None:
        raise unreadable(path, f"has the color mode {mode}", "convert it to gray or RGB.")
    values = np.asarray(picture if wanted == mode else picture.convert(wanted), np.uint8)
    if wanted in ("LA", "RGBA"):
        return Decoded(values[..., :-1], values[..., -1])
    return Decoded(values if values.ndim == 3 else values[..., None])


def upright(picture: Pillow.Image) -> Pillow.Image:
    """Decode an open file, and turn it as its EXIF data asks for."""
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)
    return picture


TURNS = {
    2: "mirrored left to right",
    3: "turned by 180 degrees",
    4: "mirrored top to bottom",
    5: "mirrored along the diagonal (transposed)",
    6: "turned by 90 degrees clockwise",
    7: "mirrored along the other diagonal",
    8: "turned by 90 degrees counterclockwise",
}
"""What is done to a stored picture so that it is seen as it was taken, by its EXIF number."""


def ways_of_turning(numbers: Sequence[int]) -> str:
    """Return what is done to stored pictures, with the EXIF number of each where these differ."""
    if len(numbers) == 1:
        return TURNS[numbers[0]]
    return " or ".join(f"{TURNS[number]} (orientation {number})" for number in numbers)


ON_THEIR_SIDE = (5, 6, 7, 8)
"""The EXIF numbers of pictures whose rows are stored as columns."""


def turned(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Return ``h w`` or ``h w c`` values as they are seen, from how they are stored.

    Args:
        array: Rows and columns as stored.
        orientation: The EXIF number: 2 mirrored, 3 upside down, 4 both, 5 to 8 on their side.
    """
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array


def as_pixels(decoded: Decoded) -> Pixels:
    """Return ``h w c`` pixels of one of three types, palettes expanded.

    Bytes whose 0 is to be shown as white are turned around, as viewers show them; numbers of more
    bits are as stored.
    """
    if decoded.palette is not None:
        return np.array(decoded.palette, np.uint8)[decoded.values[..., 0]]
    pixels = in_own_type(decoded.values)
    return _WHITE - pixels if decoded.inverting and pixels.dtype == np.uint8 else pixels


def in_own_type(values: npt.NDArray[Any]) -> Pixels:
    """Return numbers as one of the three types pixels have: uint8, uint16 or float32.

    Booleans become 0 and 255; whole numbers of other types, and other floats, become float32.

    Raises:
        ValueError: If they are neither booleans nor real numbers.
    """
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "uif":
        raise ValueError(f"pixels of type {values.dtype} are not supported")
    native = values.dtype.newbyteorder("=")
    kept = native if native in (np.uint8, np.uint16, np.float32) else np.dtype(np.float32)
    # Beyond the largest float32 is infinity, which is clipped like any other glaring pixel. Some
    # bytes of damaged files are no number in a way that processors complain about.
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(kept, copy=False)


def _palette(picture: Pillow.Image, indices: npt.NDArray[np.uint8]) -> tuple[Color, ...]:
    flat = picture.getpalette("RGB") or []
    colors = [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat) - 2, 3)]
    used = int(indices.max(initial=0)) + 1
    return tuple(colors + [_BLACK] * (used - len(colors)))


def pixels_of(picture: Pillow.Image, name: str) -> Pixels:
    """Return the pixels (``h w c``) of an open Pillow picture; ``name`` is used in errors."""
    return as_pixels(decode_pillow(Path(name), picture))


def to_channels(pixels: Bytes, channels: int) -> Bytes:
    """Return ``h w c`` pixels with 1 or 3 channels: gray is repeated, color becomes lightness."""
    if pixels.shape[2] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return np.asarray(Pillow.fromarray(np.ascontiguousarray(pixels)).convert("L"))[..., None]


Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels, between pixels too."""


def resize_image(pixels: Bytes, size: tuple[int, int], *, box: Box | None = None) -> Bytes:
    """Return ``h w c`` pixels at another (height, width): bilinear, smoothed when shrinking.

    Args:
        pixels: What is around ``box`` is looked at where pixels are smoothed.
        size: Height and width wanted.
        box: The part of the picture that is wanted; None: all of it.
    """
    if box is None and pixels.shape[:2] == size:
        return pixels
    if pixels.shape[2] == 3:
        return _resized(pixels, size, box)
    # Each channel by itself: Pillow would take two or four channels for colors with alpha.
    channels = [_resized(pixels[..., index], size, box) for index in range(pixels.shape[2])]
    return np.stack(channels, axis=2)


def hash_pixels(pixels: Pixels) -> str:
    """Return the SHA-256 of ``h w c`` pixels and their shape; gray RGB counts as gray.

    The same picture saved as PNG and as BMP has one hash, on machines of either byte order.
    """
    if pixels.shape[2] == 3 and is_gray(pixels):
        pixels = pixels[..., :1]
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def is_gray(pixels: npt.NDArray[Any]) -> bool:
    """Return whether the first three channels of ``h w c`` pixels are equal everywhere."""
    first = pixels[..., 0]
    unknown = pixels.dtype.kind == "f"
    return all(np.array_equal(first, pixels[..., i], equal_nan=unknown) for i in (1, 2))


def _resized(pixels: Bytes, size: tuple[int, int], box: Box | None) -> Bytes:
    """Return ``h w`` or ``h w 3`` pixels, or a part of them, at another (height, width)."""
    height, width = size
    picture = Pillow.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(
        picture.resize((width, height), Pillow.Resampling.BILINEAR, box=box), np.uint8
    )
