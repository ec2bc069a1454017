"""Formats that are recognized but not read, and the program that converts each of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_BIO_FORMATS = (
    "bfconvert in{suffix} out.ome.tif  (of the Bio-Formats command line tools), or open it in Fiji "
    "and save it as TIFF"
)
_SLIDE = "cut the regions you need in QuPath and export them as TIFF or PNG"
_HEIF = "heif-convert in{suffix} out.png  (of libheif)"
_NUMPY = (
    "python -c \"import numpy, tifffile; tifffile.imwrite('out.tif', numpy.load('in{suffix}'))\""
)
_RENAME = "rename it to end in .tif: it is a TIFF file"
_HEAD = 352


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFormat:
    """A format of pictures or volumes that is not read."""

    name: str
    """What people call it."""
    suffixes: tuple[str, ...]
    """In lower case."""
    convert: str = _BIO_FORMATS
    """How to convert it; ``{suffix}`` stands for its suffix."""
    starts: tuple[tuple[int, bytes], ...] = ()
    """Where in the file there are which bytes; any of them tells."""

    def begins(self, head: bytes) -> bool:
        """Return whether a file that begins so is one of these."""
        return any(head[place:].startswith(told) for place, told in self.starts)


_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif")
FORMATS = (
    ForeignFormat(name="Zeiss CZI", suffixes=(".czi",), starts=((0, b"ZISRAWFILE"),)),
    ForeignFormat(name="Nikon ND2", suffixes=(".nd2",), starts=((0, b"\xda\xce\xbe\n"),)),
    ForeignFormat(name="Leica LIF", suffixes=(".lif",), starts=((0, b"p\0\0\0"),)),
    ForeignFormat(
        name="Olympus OIB, OIF, OIR or VSI",
        suffixes=(".oib", ".oif", ".oir", ".vsi"),
        starts=((0, b"OLYMPUSRAWFORMAT"),),
    ),
    ForeignFormat(name="Imaris", suffixes=(".ims",)),
    ForeignFormat(
        name="HDF5",
        suffixes=(".h5", ".hdf5"),
        starts=((0, b"\x89HDF\r\n\x1a\n"),),
        convert="export its pictures as TIFF with the program that wrote it",
    ),
    ForeignFormat(name="DICOM", suffixes=(".dcm", ".dicom"), starts=((128, b"DICM"),)),
    ForeignFormat(
        name="NIfTI",
        suffixes=(".nii", ".nii.gz"),
        starts=((344, b"n+1\0"), (344, b"ni1\0"), (4, b"n+2\0")),
    ),
    ForeignFormat(name="NRRD", suffixes=(".nrrd",), starts=((0, b"NRRD0"),)),
    ForeignFormat(name="whole slide", suffixes=(".svs", ".ndpi", ".scn", ".mrxs"), convert=_SLIDE),
    ForeignFormat(name="Zeiss LSM or MetaMorph STK", suffixes=(".lsm", ".stk"), convert=_RENAME),
    ForeignFormat(
        name="HEIC or AVIF",
        suffixes=(".heic", ".heif", ".avif"),
        convert=_HEIF,
        starts=tuple((4, b"ftyp" + brand) for brand in _BRANDS),
    ),
    ForeignFormat(name="NumPy", suffixes=(".npy",), convert=_NUMPY, starts=((0, b"\x93NUMPY"),)),
    ForeignFormat(
        name="Photoshop PSD",
        suffixes=(".psd",),
        convert="save it as PNG or TIFF in Photoshop, or: magick 'in{suffix}[0]' out.png",
        starts=((0, b"8BPS"),),
    ),
)
"""All that are recognized."""


def foreign_format(path: Path) -> ForeignFormat | None:
    """Return what a file is by its name, or else by its first bytes; None if it is none of these.

    The name comes first, because Imaris files begin as HDF5 files do.
    """
    name = path.name.lower()
    named = next((each for each in FORMATS if name.endswith(each.suffixes)), None)
    if named is not None:
        return named
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    return next((each for each in FORMATS if each.begins(head)), None)


def how_to_convert(paths: Iterable[Path]) -> tuple[str, str] | None:
    """Return what files are and how to convert them, in words; None if no format is recognized.

    Args:
        paths: Files that are no pictures; each format, and each way to convert, is told once.
    """
    found: dict[str, dict[str, str]] = {}
    for path in paths:
        if path.is_file() and (each := foreign_format(path)) is not None:
            suffix = next((s for s in each.suffixes if path.name.lower().endswith(s)), path.suffix)
            found.setdefault(each.convert, {}).setdefault(each.name, suffix)
    if not found:
        return None
    *names, last = [name for suffixes in found.values() for name in suffixes]
    ways = []
    for way, suffixes in found.items():
        first, *others = suffixes.values()
        # By replacement: the commands have braces of their own.
        way = way.replace("{suffix}", first)
        ways.append(f"{way}; {', '.join(others)} likewise." if others else f"{way}.")
    return f"{', '.join(names)} and {last}" if names else last, "\n".join(ways)
