"""TIFF and PNG files written byte by byte, for what no library writes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

DEFLATE = 8


def tiff_bytes(
    blob: bytes, pages: Sequence[Mapping[int, int | tuple[int, ...]]], *, order: str = "<"
) -> bytes:
    """Return a TIFF file whose pages all have ``blob`` as their only strip.

    Args:
        blob: The strip, as compressed.
        pages: Numbers by tag, without those that say where the strip lies.
        order: ``<`` or ``>``.
    """
    content = bytearray(struct.pack(order + "2sHL", b"II" if order == "<" else b"MM", 42, 8))
    strip = 1 << 15
    for place, page in enumerate(pages):
        tags = {**page, 273: strip, 278: page[257], 279: len(blob)}
        end = len(content) + 2 + 12 * len(tags) + 4
        later = b""
        content += struct.pack(order + "H", len(tags))
        for tag, value in sorted(tags.items()):
            numbers = value if isinstance(value, tuple) else (value,)
            packed = struct.pack(f"{order}{len(numbers)}L", *numbers)
            content += struct.pack(order + "HHL", tag, 4, len(numbers))
            if len(packed) <= 4:
                content += packed
            else:
                content += struct.pack(order + "L", end + len(later))
                later += packed
        last = place == len(pages) - 1
        content += struct.pack(order + "L", 0 if last else end + len(later)) + later
    return bytes(content.ljust(strip, b"\0")) + blob


def big_tiff(path: Path, side: int, *, bits: int = 1, pages: int = 1) -> Path:
    """Write a whole, valid, small TIFF file of very many black pixels."""
    blob = zlib.compress(bytes(-(-side * bits // 8)) * side, 1)
    tags = {256: side, 257: side, 258: bits, 259: DEFLATE, 262: 1}
    path.write_bytes(tiff_bytes(blob, [tags] * pages))
    return path


def big_png(path: Path, side: int) -> Path:
    """Write a whole, valid, small PNG file of very many black pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">L", len(content)) + name + content + struct.pack(">L", check)

    header = chunk(b"IHDR", struct.pack(">LLBBBBB", side, side, 1, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(1 + -(-side // 8)) * side, 1))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b""))
    return path
