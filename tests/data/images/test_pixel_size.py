"""Sizes of pixels in the headers of TIFF files, and what is no such thing."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imseg.data.images.picture_file import read_upright
from imseg.data.images.pixel_size import read_pixel_size, summarize_pixel_sizes

PIXELS = np.zeros((8, 12), np.uint8)


def said(path: Path, pixels: np.ndarray = PIXELS, **options: Any) -> float | None:
    """Return the size that a file written so has; from its header alone, and when decoded."""
    tifffile.imwrite(path, pixels, **options)
    found = read_pixel_size(path)
    assert read_upright(path).pixel_size == found
    return found


def ome(width: object, height: object, unit: str | None = None) -> dict[str, Any]:
    sizes = {"PhysicalSizeX": width, "PhysicalSizeY": height}
    units = {} if unit is None else {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    return {"ome": True, "metadata": {"axes": "YX", **sizes, **units}}


def imagej(size: float, unit: str, *, height: float | None = None) -> dict[str, Any]:
    resolution = (1 / size, 1 / (height or size))
    return {"imagej": True, "resolution": resolution, "metadata": {"unit": unit}}


def plain(per_unit: object, unit: str) -> dict[str, Any]:
    return {"resolution": per_unit, "resolutionunit": unit, "metadata": None}


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (ome(0.65, 0.65), 0.65),
        (ome(0.65, 0.65, "µm"), 0.65),
        (ome(160, 160, "nm"), 0.16),
        (ome(0.002, 0.002, "mm"), 2.0),
        (ome(50, 50, "mm"), 50_000.0),
        (ome(2.5, 2.5, "Å"), 0.00025),
        (ome(0.65, 0.7), 0.675),
        (imagej(0.65, "um"), 0.65),
        (imagej(0.65, "micron"), 0.65),
        (imagej(0.65, "microns"), 0.65),
        (imagej(0.65, "\\u00B5m"), 0.65),
        (imagej(250.0, "nm"), 0.25),
        (imagej(0.5, "mm"), 500.0),
        (imagej(0.0001, "cm"), 1.0),
        (plain((20_000, 20_000), "CENTIMETER"), 0.5),
        (plain((50_800, 50_800), "INCH"), 0.5),
    ],
)
def test_sizes_that_headers_say_are_known(tmp_path: Path, options: Any, size: float) -> None:
    assert said(tmp_path / "a.tif", **options) == pytest.approx(size, rel=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        *(plain((dpi, dpi), "INCH") for dpi in (72, 96, 150, 300, 600, 2400)),
        plain((118, 118), "CENTIMETER"),  # 300 dpi
        plain((20_000, 20_000), "NONE"),
        plain(((0, 1), (0, 1)), "CENTIMETER"),
        plain((20_000, 10_000), "CENTIMETER"),
        ome(0.65, 0.75),
        ome(0, 0),
        ome(-1, -1),
        ome("nan", "nan"),
        ome("large", "large"),
        ome(1e300, 1e300),
        ome(1, 1, "pixel"),
        ome(1, 1, "reference frame"),
        imagej(0.65, "pixel"),
        imagej(0.65, ""),
        imagej(0.65, "um", height=1.0),
        imagej(1 / 72, "inch"),
    ],
    ids=str,
)
def test_what_is_no_size_of_a_pixel_is_not_known(tmp_path: Path, options: Any) -> None:
    assert said(tmp_path / "a.tif", **options) is None


def test_pages_of_a_stack_are_as_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((3, 8, 12), np.uint8), **imagej(0.65, "um"))
    assert read_upright(path, pages=2).pixel_size == pytest.approx(0.65)


def xml(text: str) -> dict[str, Any]:
    start = '<?xml version="1.0" encoding="UTF-8"?>'
    return {"description": f"{start}{text}".encode("ascii", "xmlcharrefreplace"), "metadata": None}


PIXELS_OF = '<Pixels ID="P" PhysicalSizeX="{0}" PhysicalSizeXUnit="&#181;m" PhysicalSizeY="{0}"/>'


def test_ome_xml_is_never_expanded_and_may_be_written_in_many_ways(tmp_path: Path) -> None:
    path, one, other = tmp_path / "a.tif", PIXELS_OF.format(0.5), PIXELS_OF.format(0.25)
    assert said(path, **xml(f"<OME>{one}</OME>")) == 0.5
    assert said(path, **xml(f"<ome:OME>{one.replace('<', '<ome:')}</ome:OME>")) == 0.5
    quoted = one.replace('"', "'").replace("ID", "Name='a > b' ID")
    assert said(path, **xml(f"<OME>{quoted}</OME>")) == 0.5
    assert said(path, **xml(f"<OME>{one}{one}</OME>")) == 0.5
    assert said(path, **xml(f"<OME>{one}{other}</OME>")) is None, "two images of several sizes"
    bomb = '<!DOCTYPE OME [<!ENTITY a "0.5"><!ENTITY b SYSTEM "file:///etc/passwd">]>'
    for entity in ("&a;", "&b;"):
        assert said(path, **xml(f"{bomb}<OME>{PIXELS_OF.format(entity)}</OME>")) is None


@given(text=st.text(st.characters(codec="latin-1"), max_size=60), unit=st.text(max_size=4))
def test_no_header_is_an_error(tmp_path_factory: Any, text: str, unit: str) -> None:
    path = tmp_path_factory.mktemp("odd") / "a.tif"
    for said_so in (f"ImageJ=1.11a\nunit={unit}\n{text}", f"<OME><Pixels {text}/></OME> {unit}"):
        content = io.BytesIO()
        tifffile.imwrite(content, PIXELS, description=said_so.encode(), metadata=None)
        path.write_bytes(content.getvalue())
        assert read_pixel_size(path) is None


def test_files_that_are_no_tiff_say_nothing(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "a.bmp"):
        Image.fromarray(PIXELS).save(tmp_path / name, dpi=(50_800, 50_800))
        assert read_pixel_size(tmp_path / name) is None is read_upright(tmp_path / name).pixel_size
    (tmp_path / "b.tif").write_bytes(b"II*\0" + b"\xff" * 30)
    for name in ("b.tif", "missing.tif"):
        assert read_pixel_size(tmp_path / name) is None


def test_the_reference_is_a_size_that_labeled_images_have() -> None:
    found = summarize_pixel_sizes([0.65, None, 0.16, 0.65, 0.16], [None, 0.08, 0.65])
    assert found is not None and (found.least, found.reference, found.greatest) == (
        0.08,
        0.16,
        0.65,
    )
    assert found.differ and "pixels of 0.32 um (scale 0.5 for 0.16 um)" in found.seen_in_words(0.5)
    alike = summarize_pixel_sizes([0.65, 0.66])
    assert alike is not None and not alike.differ
    assert summarize_pixel_sizes([None], [0.5]) is None
