"""Odd pictures, odd masks and damaged bytes, drawn from a ``random.Random``."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

Array = npt.NDArray[Any]


def numbers(rng: random.Random) -> np.random.Generator:
    """Return a generator of arrays that depends on ``rng`` alone."""
    return np.random.Generator(np.random.PCG64(rng.getrandbits(64)))


def encoded(array: Array, kind: str = "PNG", **options: Any) -> bytes:
    """Return an array as a file that Pillow writes."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def as_tiff(array: Array, **options: Any) -> bytes:
    """Return an array as a TIFF file of any type, one page unless told otherwise."""
    file = io.BytesIO()
    options = {"photometric": "minisblack", "metadata": None, **options}
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def claiming(height: int, width: int) -> bytes:
    """Return a whole PNG header that claims a size, and almost no pixels."""
    pieces = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0" * 64)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in pieces
    )


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Return bytes after something has happened to them."""
    found = bytearray(content or b"\0")
    way = rng.randrange(9)
    if way == 0:
        return b""
    if way == 1:
        return bytes(found[: rng.randrange(1, len(found) + 1)])
    if way == 2:
        return rng.randbytes(rng.randrange(1, 400))
    if way == 3:
        return content + rng.randbytes(rng.randrange(1, 100))
    if way == 4:
        place = rng.randrange(len(found))
        return bytes(found[:place]) + rng.randbytes(8) + bytes(found[place:])
    if way == 5:
        begin = rng.randrange(len(found))
        del found[begin : begin + rng.randrange(1, 50)]
        return bytes(found)
    # The first bytes hold the header, whose damage leads farthest.
    end = len(found) if way == 6 else min(len(found), 64 if way == 7 else 160)
    for _ in range(rng.randint(1, 6)):
        found[rng.randrange(end)] = rng.choice((0, 1, 127, 255, rng.randrange(256)))
    return bytes(found)


def odd_picture(rng: random.Random) -> tuple[str, bytes]:
    """Return the suffix and the content of a picture that few folders hold."""
    draw = numbers(rng)
    size = rng.choice(((32, 32), (1, 1), (15, 32), (16, 16), (33, 47), (3, 700), (600, 17)))
    byte = draw.integers(0, 256, (*size, 3), np.uint8)
    gray = byte[..., 0]
    floats = draw.normal(0, 10.0 ** rng.choice((-40, 0, 3, 37)), size).astype(np.float32)
    floats.flat[:: rng.choice((2, 7, 1))] = rng.choice((np.nan, np.inf, -np.inf, 3e38, 0.0))
    whole = draw.integers(-(2**31), 2**31 - 1, size, np.int32)
    way = rng.randrange(28)
    if way == 0:
        return ".png", claiming(
            *rng.choice(((60000, 60000), (0, 9), (9, 0), (2**31 - 1, 1), (5000, 5000)))
        )
    if way == 1:
        return ".jpg", _in_mode(byte, rng.choice(("CMYK", "L", "RGB")), "JPEG")
    if way == 2:
        return ".png", _in_mode(byte, rng.choice(("P", "1", "LA", "RGBA", "I;16")), "PNG")
    if way == 3:
        mode = rng.choice(("LAB", "CMYK", "YCbCr", "1", "P", "LA", "RGBA", "F", "I", "I;16B"))
        return ".tif", _in_mode(byte, mode, "TIFF")
    if way == 4:
        return ".png", encoded(gray, bits=rng.choice((1, 2, 4)))
    if way == 5:
        exif = Image.Exif()
        exif[0x0112] = rng.choice((0, 3, 5, 6, 8, 9, 700))
        return ".jpg", encoded(byte, "JPEG", exif=exif)
    if way == 6:
        pages = [Image.fromarray(gray), Image.fromarray(byte)]
        return ".tif", _pages(pages if rng.random() < 0.5 else pages[:1] * 3, "TIFF")
    if way == 7:
        return ".png", _pages([Image.fromarray(byte)] * 3, "PNG")
    if way == 8:
        count = rng.choice((2, 4, 5, 64, 65))
        planes = draw.integers(0, 256, (count, *size), np.uint8)
        return ".tif", as_tiff(planes, planarconfig="separate")
    if way == 9:
        return ".tif", as_tiff(floats)
    if way == 10:
        return ".tif", as_tiff(floats.astype(np.float64) * 10.0 ** rng.choice((0, 200)))
    if way == 11:
        return ".tif", as_tiff(floats.astype(np.complex64))
    if way == 12:
        return ".tif", as_tiff(
            whole.astype(rng.choice(("int8", "int16", "int32", "int64", "uint64")))
        )
    if way == 13:
        return ".tif", as_tiff(whole.view(np.uint32), byteorder=">")
    if way == 14:
        return ".tif", as_tiff(
            gray, bigtiff=True, compression=rng.choice(("zlib", "lzw", "packbits"))
        )
    if way == 15:
        return ".tif", as_tiff(byte, photometric="rgb", tile=(16, 16), compression="deflate")
    if way == 16:
        return ".tif", as_tiff(gray.astype(np.float16))
    if way == 17:
        return ".png", encoded(gray.astype(np.uint16) * rng.choice((1, 257)))
    if way == 18:
        return ".bmp", encoded(rng.choice((gray, byte)), "BMP")
    if way == 19:
        return ".png", encoded(byte, "GIF" if rng.random() < 0.5 else "WEBP")
    if way == 20:
        return ".png", encoded(np.full_like(byte, rng.choice((0, 128, 255))))
    if way == 21:
        return ".tif", as_tiff(np.full(size, rng.choice((np.nan, np.inf, 0.0)), np.float32))
    if way == 22:
        return rng.choice((".png", ".tif", ".jpg", ".PNG")), rng.randbytes(rng.randrange(2000))
    if way == 23:
        return ".tif", as_tiff(np.packbits(gray > 99, axis=1)) + b"\0" * 9
    if way == 24:
        return ".png", _deep_colors(byte)
    if way == 25:
        return ".png", _with_chunk(encoded(byte), b"tEXt", b"k\0" + b"v" * rng.choice((9, 2**21)))
    if way == 26:
        return ".png", _with_chunk(
            encoded(byte), rng.choice((b"eXIf", b"iCCP", b"tRNS")), rng.randbytes(40)
        )
    return ".TIFF", encoded(gray, "TIFF", compression=rng.choice(("tiff_lzw", "packbits", "jpeg")))


def odd_mask(rng: random.Random, size: tuple[int, int] = (32, 32)) -> tuple[str, bytes]:
    """Return the suffix and the content of a mask that does not go with the others."""
    draw = numbers(rng)
    values = draw.integers(0, rng.choice((2, 3, 5, 300, 65535)), size).astype(np.uint16)
    floats = draw.normal(3, 10.0 ** rng.choice((-3, 0, 30)), size).astype(np.float32)
    colors = draw.integers(0, rng.choice((2, 256)), (*size, 3)).astype(np.uint8) * rng.choice(
        (1, 255)
    )
    way = rng.randrange(16)
    if way == 0:
        return ".png", encoded(values)
    if way == 1:
        return ".png", encoded(values.astype(np.uint8))
    if way == 2:
        return ".png", encoded(colors)
    if way == 3:
        return ".jpg", encoded((values > 0).astype(np.uint8) * 255, "JPEG")
    if way == 4:
        return ".tif", as_tiff(floats)
    if way == 5:
        floats.flat[:: rng.choice((1, 3))] = rng.choice((np.nan, np.inf, -np.inf, 3.4e38))
        return ".tif", as_tiff(floats)
    if way == 6:
        return ".tif", as_tiff(values.astype(np.int32) - rng.choice((0, 1, 70000)))
    if way == 7:
        return ".tif", as_tiff(values.astype(np.uint32) * rng.choice((1, 65537, 2**31)))
    if way == 8:
        return ".png", encoded(np.full(size, rng.choice((0, 1, 7, 255)), np.uint8))
    if way == 9:
        return ".png", encoded((values > 0)[: size[0] // 2].astype(np.uint8))
    if way == 10:
        return ".png", _in_mode(colors, rng.choice(("P", "1", "LA", "RGBA")), "PNG")
    if way == 11:
        return ".tif", as_tiff(np.stack([values] * 3), photometric="minisblack")
    if way == 12:
        return ".png", _deep_colors(colors)
    if way == 13:
        return ".tif", as_tiff(floats.astype(np.float64))
    if way == 14:
        return ".tif", as_tiff(np.arange(size[0] * size[1]).reshape(size).astype(np.float32))
    return odd_picture(rng)


def _in_mode(colors: Array, mode: str, kind: str) -> bytes:
    picture = Image.fromarray(colors)
    if mode in ("F", "I", "I;16", "I;16B", "LA"):
        picture = picture.convert("L").convert("I" if mode.startswith("I;") else mode)
    if mode == "LAB":
        picture = Image.frombytes("LAB", picture.size, picture.tobytes())
    file = io.BytesIO()
    (picture if picture.mode == mode else picture.convert(mode)).save(file, kind)
    return file.getvalue()


def _pages(pages: list[Image.Image], kind: str) -> bytes:
    file = io.BytesIO()
    pages[0].save(file, kind, save_all=True, append_images=pages[1:])
    return file.getvalue()


def _deep_colors(colors: Array) -> bytes:
    """Return a color PNG with 16 bits a channel, which Pillow does not write."""
    height, width, _ = colors.shape
    rows = colors.astype(">u2") * np.array(201, ">u2")
    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    )


def _with_chunk(png: bytes, name: bytes, data: bytes) -> bytes:
    piece = struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return png[:33] + piece + png[33:]
