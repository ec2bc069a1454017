"""TIFF files of every kind: depths, channels, byte orders, codings, pages."""

from __future__ import annotations

import itertools
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from tests.data.images.by_hand import DEFLATE, tiff_bytes

from imseg.data.images.picture_file import PAGES_HINT, ImageInfo, probe, read_image
from imseg.data.images.tiff_pages import read_pages
from imseg.data.masks.io import read_mask
from imseg.errors import ImsegError

SIZE = (20, 24)
TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]


def numbers(kind: str, *shape: int) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(5))
    if np.dtype(kind).kind == "f":
        return generator.normal(size=shape).astype(kind)
    ends = np.iinfo(kind)
    return generator.integers(ends.min, ends.max, shape, np.dtype(kind).type, endpoint=True)


def written(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """Write ``h w c`` pixels as one page."""
    samples = pixels.shape[2]
    plain = pixels[..., 0] if samples == 1 else pixels
    if options.get("planarconfig") == "separate":
        plain = np.moveaxis(pixels, 2, 0)
    options.setdefault("photometric", "rgb" if samples in (3, 4) else "minisblack")
    options.setdefault("planarconfig", "contig" if samples > 1 else None)
    tifffile.imwrite(path, plain, metadata=None, **options)
    return path


def in_own_type(pixels: np.ndarray) -> np.ndarray:
    kept = pixels.dtype in (np.uint8, np.uint16)
    return pixels if kept else pixels.astype(np.float32)


@pytest.mark.parametrize("samples", [1, 3, 5])
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_read_exactly_in_every_coding(
    tmp_path: Path, kind: str, samples: int
) -> None:
    pixels = numbers(kind, *SIZE, samples)
    planars = ("contig", "separate") if samples > 1 else (None,)
    codings = itertools.product("<>", (None, "zlib", "lzw"), (None, (16, 16)), planars)
    for byteorder, compression, tile, planar in codings:
        path = written(
            tmp_path / "a.tif",
            pixels,
            byteorder=byteorder,
            compression=compression,
            tile=tile,
            planarconfig=planar,
            extrasamples=[0] * (samples - 3 if samples == 3 else samples - 1) or None,
        )
        found = read_image(path)
        assert np.array_equal(found, in_own_type(pixels)), (byteorder, compression, tile, planar)
        assert found.dtype == in_own_type(pixels).dtype
        assert probe(path) == ImageInfo(*pixels.shape, str(found.dtype))


@pytest.mark.parametrize("compression", ["packbits", "zstd", "lzma"])
@pytest.mark.parametrize(("kind", "samples"), [("u1", 3), ("u2", 1), ("u2", 5), ("f4", 2)])
def test_other_codings_are_read_exactly(
    tmp_path: Path, compression: str, kind: str, samples: int
) -> None:
    pixels = numbers(kind, *SIZE, samples)
    path = written(tmp_path / "a.tif", pixels, compression=compression)
    assert np.array_equal(read_image(path), pixels)


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_predictors_are_undone(tmp_path: Path, kind: str, byteorder: str) -> None:
    for samples in (1, 3):
        pixels = numbers(kind, *SIZE, samples)
        path = written(
            tmp_path / "a.tif", pixels, compression="zlib", predictor=True, byteorder=byteorder
        )
        assert np.array_equal(read_image(path), pixels)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(("kind", "samples"), [("u1", 3), ("u2", 1), ("u2", 7), ("f4", 1)])
def test_big_tiff_is_read(tmp_path: Path, byteorder: str, kind: str, samples: int) -> None:
    pixels = numbers(kind, *SIZE, samples)
    path = written(tmp_path / "a.tif", pixels, byteorder=byteorder, bigtiff=True)
    assert np.array_equal(read_image(path), pixels)
    assert probe(path).channels == samples
    with path.open("rb") as file:
        # Pillow takes it for an ordinary TIFF, and would look for the header among the pixels.
        assert byteorder == "<" or not read_pages(path, file)[0].suits_pillow


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize(
    ("samples", "extra", "channels"),
    [
        (2, ["unassalpha"], 1),
        (4, ["unassalpha"], 3),
        (4, ["assocalpha"], 3),
        (4, ["unspecified"], 4),
        (5, ["unspecified", "unassalpha"], 4),
    ],
)
def test_alpha_is_dropped_and_other_extra_channels_are_kept(
    tmp_path: Path, kind: str, samples: int, extra: list[str], channels: int, planar: str
) -> None:
    pixels = numbers(kind, *SIZE, samples)
    photometric = "minisblack" if samples == 2 else "rgb"
    path = written(
        tmp_path / "a.tif", pixels, extrasamples=extra, photometric=photometric, planarconfig=planar
    )
    found = read_image(path)
    assert found.shape == (*SIZE, channels)
    assert probe(path).channels == channels
    # Pillow divides premultiplied bytes by alpha; all others are as they stand.
    if extra != ["assocalpha"] or kind != "u1":
        assert np.array_equal(found, pixels[..., :channels])


def test_a_fourth_number_without_a_word_is_alpha_as_in_other_programs(tmp_path: Path) -> None:
    blob = numbers("u1", *SIZE, 4).tobytes()
    tags = {256: 24, 257: 20, 258: (8,) * 4, 262: 2, 277: 4}
    (tmp_path / "a.tif").write_bytes(tiff_bytes(blob, [tags]))
    assert read_image(tmp_path / "a.tif").shape == (20, 24, 3)
    assert probe(tmp_path / "a.tif").channels == 3


@pytest.mark.parametrize("order", ["<", ">"])
def test_12_bits_in_a_row_are_16_bit_pixels(tmp_path: Path, order: str) -> None:
    values = numbers("u2", *SIZE) >> 4
    digits = "".join(f"{value:03x}" for value in values.ravel())
    tags = {256: 24, 257: 20, 258: 12, 262: 1}
    (tmp_path / "a.tif").write_bytes(tiff_bytes(bytes.fromhex(digits), [tags], order=order))
    pixels = read_image(tmp_path / "a.tif")
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels[..., 0], values)


def test_12_bits_in_16_are_as_they_stand(tmp_path: Path) -> None:
    pixels = numbers("u2", *SIZE, 1) >> 4
    assert np.array_equal(read_image(written(tmp_path / "a.tif", pixels)), pixels)


def test_floats_that_are_no_numbers_stay_so(tmp_path: Path) -> None:
    pixels = numbers("f4", *SIZE, 2)
    pixels[0, 0] = np.nan, np.inf
    for kept in (pixels, pixels[..., :1]):
        path = written(tmp_path / "a.tif", kept)
        assert np.array_equal(read_image(path), kept, equal_nan=True)


@pytest.mark.filterwarnings("error")
def test_doubles_too_large_become_infinite_without_a_word(tmp_path: Path) -> None:
    pixels = np.full((*SIZE, 1), 1e300)
    assert np.isposinf(read_image(written(tmp_path / "a.tif", pixels))).all()


def test_white_is_0_is_turned_for_bytes_and_left_for_numbers(tmp_path: Path) -> None:
    for kind, expected in (("u1", lambda p: 255 - p), ("u2", lambda p: p)):
        pixels = numbers(kind, *SIZE, 1)
        path = written(tmp_path / "a.tif", pixels, photometric="miniswhite")
        assert np.array_equal(read_image(path), expected(pixels))


@pytest.mark.parametrize("kind", ["u1", "u2", "f4", "f8"])
@pytest.mark.parametrize("samples", [1, 3])
def test_pages_become_channels_on_demand_only(tmp_path: Path, kind: str, samples: int) -> None:
    pages = numbers(kind, 4, *SIZE, samples)
    path = tmp_path / "stack.tif"
    photometric = "rgb" if samples == 3 else "minisblack"
    tifffile.imwrite(path, pages.squeeze(), photometric=photometric)
    expected = in_own_type(np.concatenate(list(pages), axis=2))
    assert np.array_equal(read_image(path, pages="channels"), expected)
    assert probe(path, pages="channels") == ImageInfo(*expected.shape, str(expected.dtype))
    for read in (read_image, probe):
        with pytest.raises(ImsegError, match=r"stack\.tif has 4 pages(.*\n)*.*pages = .channels"):
            read(path)
    assert "imseg.toml" in PAGES_HINT


def test_a_file_of_one_page_is_the_same_with_and_without_pages(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", numbers("u2", *SIZE, 3))
    assert np.array_equal(read_image(path, pages="channels"), read_image(path))


@pytest.mark.parametrize("axes", ["TZCYX", "TCZYX", "CZTYX"])
def test_ome_files_give_their_planes_in_the_order_of_their_series(
    tmp_path: Path, axes: str
) -> None:
    planes = numbers("u2", 2, 3, 4, *SIZE)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, planes, metadata={"axes": axes}, ome=True)
    series = tifffile.imread(path).reshape(-1, *SIZE)
    assert np.array_equal(read_image(path, pages="channels"), np.moveaxis(series, 0, 2))


@pytest.mark.parametrize("samples", [1, 3])
def test_imagej_hyperstacks_give_their_planes_in_the_order_of_their_series(
    tmp_path: Path, samples: int
) -> None:
    planes = numbers("u1", 2, 3, 4, *SIZE, samples)
    path = tmp_path / "a.tif"
    axes = "TZCYX" if samples == 1 else "TZCYXS"
    stored = planes[..., 0] if samples == 1 else planes
    tifffile.imwrite(path, stored, metadata={"axes": axes}, imagej=True)
    expected = np.concatenate(list(planes.reshape(-1, *SIZE, samples)), axis=2)
    if samples == 3:
        with pytest.raises(ImsegError, match="has 72 channels, which is more than 64"):
            read_image(path, pages="channels")
        tifffile.imwrite(path, stored[:1], metadata={"axes": axes}, imagej=True)
        expected = expected[..., :36]
    assert np.array_equal(read_image(path, pages="channels"), expected)


def test_pages_of_different_kinds_are_refused(tmp_path: Path) -> None:
    one = numbers("u2", *SIZE)
    for other in (numbers("u2", 30, 24), numbers("u1", *SIZE), numbers("u2", *SIZE, 3)):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            file.write(one)
            file.write(other, photometric="rgb" if other.ndim == 3 else "minisblack")
        for read in (read_image, probe):
            with pytest.raises(ImsegError, match="first is 24x20, uint16, 1 channels, page 2 is"):
                read(tmp_path / "a.tif", pages="channels")


def test_smaller_copies_and_transparency_are_no_pages(tmp_path: Path) -> None:
    pixels = numbers("u2", *SIZE)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(pixels[::2, ::2], subfiletype=1)
        file.write(pixels)
        file.write(pixels > 9, subfiletype=4)
    for pages in ("refuse", "channels"):
        assert np.array_equal(read_image(tmp_path / "a.tif", pages=pages)[..., 0], pixels)


def test_turned_pages_are_all_turned(tmp_path: Path) -> None:
    pages = numbers("u1", 3, *SIZE)
    for kind, side in (("u1", 1), ("f8", 1), ("u2", 2)):
        stored = np.repeat(pages.astype(kind)[..., None], side, axis=3).squeeze()
        options = {"photometric": "minisblack"} | ({"planarconfig": "contig"} if side > 1 else {})
        tifffile.imwrite(tmp_path / "a.tif", stored, extratags=[(274, 3, 1, 6, False)], **options)
        found = read_image(tmp_path / "a.tif", pages="channels")
        assert np.array_equal(found[..., ::side], np.rot90(np.moveaxis(pages, 0, 2), -1))
        assert probe(tmp_path / "a.tif", pages="channels").size == (24, 20)


def test_palettes_are_expanded_or_refused(tmp_path: Path) -> None:
    indices = numbers("u1", *SIZE)
    colormap = numbers("u2", 3, 256)
    tifffile.imwrite(tmp_path / "a.tif", indices, photometric="palette", colormap=colormap)
    colors = (colormap >> 8).astype(np.uint8).T[indices]
    assert np.array_equal(read_image(tmp_path / "a.tif"), colors)
    mask = read_mask(tmp_path / "a.tif")
    assert np.array_equal(mask.values, indices)
    assert mask.palette is not None
    assert np.array_equal(np.array(mask.palette)[mask.values], colors)
    stack = np.stack([indices, indices[::-1]])
    tifffile.imwrite(tmp_path / "c.tif", stack, photometric="palette", colormap=colormap)
    twice = np.concatenate([colors, colors[::-1]], axis=2)
    assert np.array_equal(read_image(tmp_path / "c.tif", pages="channels"), twice)
    tifffile.imwrite(
        tmp_path / "b.tif",
        indices.astype(np.uint16),
        photometric="palette",
        colormap=numbers("u2", 3, 65536),
    )
    with pytest.raises(ImsegError, match=r"b\.tif has a palette and 1 x 16 bits"):
        read_image(tmp_path / "b.tif")


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", numbers("f4", *SIZE).astype(np.complex64))
    for read in (read_image, probe, read_mask):
        with pytest.raises(ImsegError, match="holds complex numbers"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize(("kind", "samples"), [("u1", 3), ("u2", 1), ("u2", 3), ("f4", 2)])
def test_a_file_cut_short_is_never_filled_up(
    tmp_path: Path, compression: str | None, tile: tuple[int, int] | None, kind: str, samples: int
) -> None:
    path = written(
        tmp_path / "a.tif", numbers(kind, *SIZE, samples), compression=compression, tile=tile
    )
    whole = path.read_bytes()
    for share in (0.2, 0.5, 0.8):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ImsegError, match=r"a\.tif is cut short or damaged"):
            read_image(path)


def test_headers_that_lead_in_circles_or_nowhere_are_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tags = {256: 24, 257: 20, 258: 8, 262: 1}
    blob = numbers("u1", *SIZE).tobytes()
    good = tiff_bytes(blob, [tags])
    path.write_bytes(good)
    assert np.array_equal(read_image(path).ravel(), np.frombuffer(blob, np.uint8))
    end = 8 + 2 + 12 * 7
    path.write_bytes(good[:end] + (8).to_bytes(4, "little") + good[end + 4 :])
    assert np.array_equal(read_image(path).ravel(), np.frombuffer(blob, np.uint8))
    path.write_bytes(good[:end] + (10**6).to_bytes(4, "little") + good[end + 4 :])
    with pytest.raises(ImsegError, match="cut short or damaged"):
        read_image(path)
    path.write_bytes(good[:4] + bytes(4) + good[8:])
    with pytest.raises(ImsegError, match="no page found"):
        read_image(path)
    path.write_bytes(tiff_bytes(blob, [{**tags, 256: 0}]))
    with pytest.raises(ImsegError, match="0 x 20 pixels"):
        read_image(path)


def test_very_many_pages_are_refused(tmp_path: Path) -> None:
    blob = zlib.compress(bytes(480))
    tags = {256: 24, 257: 20, 258: 8, 259: DEFLATE, 262: 1}
    few = tmp_path / "few.tif"
    few.write_bytes(tiff_bytes(blob, [tags] * 65))
    with pytest.raises(ImsegError, match="has 65 channels, which is more than 64"):
        read_image(few, pages="channels")
    with few.open("rb") as file:
        assert len(read_pages(few, file)) == 65


def test_strips_that_burst_are_refused(tmp_path: Path) -> None:
    blob = zlib.compress(bytes(1 << 17), 0)
    tags = {256: 24, 257: 20, 258: (16,) * 2, 259: DEFLATE, 262: 1, 277: 2}
    (tmp_path / "a.tif").write_bytes(tiff_bytes(blob, [tags]))
    with pytest.raises(ImsegError, match="far larger than its pixels"):
        read_image(tmp_path / "a.tif")


def test_what_pillow_reads_is_what_tifffile_reads(tmp_path: Path) -> None:
    """A file without tricks needs no extra: Pillow's own files are read by Pillow."""
    for array in (numbers("u1", *SIZE, 3), numbers("u2", *SIZE), numbers("f4", *SIZE)):
        for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
            Pillow.fromarray(array).save(tmp_path / "a.tif", compression=compression)
            with (tmp_path / "a.tif").open("rb") as file:
                assert all(page.suits_pillow for page in read_pages(tmp_path / "a.tif", file))
            assert np.array_equal(read_image(tmp_path / "a.tif").squeeze(), array)
            assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), array)


MISSING = """
import sys
from pathlib import Path
sys.modules[sys.argv[1]] = None
from imseg.data.images.picture_file import probe, read_image
print(probe(Path(sys.argv[2])).channels)
read_image(Path(sys.argv[2]))
"""


@pytest.mark.parametrize("compression", ["lzw", "zstd"])
def test_without_imagecodecs_the_error_names_the_extra(tmp_path: Path, compression: str) -> None:
    path = written(tmp_path / "many.tif", numbers("u2", *SIZE, 5), compression=compression)
    command = [sys.executable, "-c", MISSING, "imagecodecs", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert found.stdout == "5\n"
    assert f"imagecodecs is needed to read {path}." in found.stderr
    assert "pip install 'imseg[microscopy]'" in found.stderr
