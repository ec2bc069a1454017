"""Pictures of any size are read a few rows at a time, as they are read whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from imseg.data.images import by_rows, decoding
from imseg.data.images.by_rows import read_rows
from imseg.data.images.image_files import load_pixels
from imseg.errors import ImsegError
from imseg.types import Image, Reading

SIZE = (301, 223)
GRAY, COLOR = (), (3,)


def values(dtype: str, deep: tuple[int, ...]) -> np.ndarray:
    found = np.random.default_rng(0).integers(0, 250, (*SIZE, *deep))
    return found.astype(dtype) * (100 if dtype != "uint8" else 1)


def reading_for(array: np.ndarray) -> Reading:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype == np.uint8:
        return Reading(channels=channels)
    low, high = (0.0,) * channels, (25000.0,) * channels
    depth = "uint16" if array.dtype == np.uint16 else "float32"
    return Reading(channels=channels, depth=depth, low=low, high=high)


WAYS = {
    "plain": {},
    "strips": {"rowsperstrip": 32},
    "compressed strips": {"rowsperstrip": 50, "compression": "zlib"},
    "compressed tiles": {"tile": (64, 48), "compression": "zlib", "predictor": True},
    "plain tiles": {"tile": (32, 32)},
    "LZW": {"rowsperstrip": 20, "compression": "lzw", "predictor": True},
    "BigTIFF": {"tile": (128, 128), "compression": "zlib", "bigtiff": True},
    "big-endian": {"tile": (64, 64), "byteorder": ">"},
    "big-endian rows": {"byteorder": ">"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("dtype", "deep"), [("uint8", GRAY), ("uint8", COLOR), ("uint16", (5,)), ("float32", GRAY)]
)
def test_rows_are_what_reading_it_whole_gives(tmp_path, monkeypatch, way, dtype, deep) -> None:
    if way == "LZW" or "zlib" in str(WAYS[way]):
        pytest.importorskip("imagecodecs")
    array, path = values(dtype, deep), tmp_path / "a.tif"
    photometric = "rgb" if deep == COLOR else "minisblack"
    told = {"photometric": photometric, "metadata": None, **WAYS[way]}
    tifffile.imwrite(path, array, planarconfig="contig" if deep else None, **told)
    monkeypatch.setattr(by_rows, "AT_ONCE", array[0].nbytes * 40)
    image, reading = Image("a", path), reading_for(array)
    rows = read_rows(image, reading)
    chunks = list(rows.chunks)
    assert rows.size == SIZE == by_rows.size_of(image, reading)
    assert len(chunks) > 2
    np.testing.assert_array_equal(np.concatenate(chunks), load_pixels(image, reading))


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_channels_may_lie_side_by_side_or_in_planes_with_alpha_left_out(tmp_path, planes) -> None:
    array, path = values("uint8", (4,)), tmp_path / "a.tif"
    if planes == "separate":
        array = np.moveaxis(array, -1, 0)
    tifffile.imwrite(
        path, array, photometric="rgb", planarconfig=planes, extrasamples=["unassalpha"],
        metadata=None, tile=(64, 64),
    )  # fmt: skip
    image, reading = Image("a", path), Reading(channels=3)
    found = np.concatenate(list(read_rows(image, reading).chunks))
    np.testing.assert_array_equal(found, load_pixels(image, reading))


def test_pages_are_channels_and_planes_of_a_stack_are_chosen(tmp_path) -> None:
    stack, path = np.stack([values("uint8", GRAY) // (n + 1) for n in range(3)]), tmp_path / "s.tif"
    tifffile.imwrite(path, stack, imagej=True)
    for reading in (Reading(channels=3, pages="channels"), Reading(channels=1, pages=2)):
        image = Image("s", path)
        found = np.concatenate(list(read_rows(image, reading).chunks))
        np.testing.assert_array_equal(found, load_pixels(image, reading))


def test_white_may_be_zero(tmp_path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values("uint8", GRAY), photometric="miniswhite", rowsperstrip=16)
    image, reading = Image("a", path), Reading(channels=1)
    found = np.concatenate(list(read_rows(image, reading).chunks))
    np.testing.assert_array_equal(found, load_pixels(image, reading))


def test_jpeg_inside_of_tiff_is_read_by_tiles(tmp_path) -> None:
    pytest.importorskip("imagecodecs")
    smooth = np.linspace(0, 250, SIZE[1])[None, :, None] * np.ones((SIZE[0], 1, 3))
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, smooth.astype(np.uint8), photometric="ycbcr", compression="jpeg", tile=(64, 64),
        metadata=None,
    )  # fmt: skip
    image, reading = Image("a", path), Reading(channels=3)
    chunks = list(read_rows(image, reading).chunks)
    assert len(chunks) == 5
    far = np.abs(np.concatenate(chunks).astype(int) - load_pixels(image, reading))
    assert far.max() <= 3


@pytest.mark.parametrize("below", [True, False])
def test_of_a_pyramid_the_smallest_copy_that_is_large_enough_is_read(tmp_path, below) -> None:
    array, path = values("uint8", COLOR), tmp_path / "p.tif"
    copies = [array[::step, ::step] for step in (2, 4)]
    told = {"photometric": "rgb", "tile": (32, 32), "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(array, subifds=len(copies) if below else None, **told)
        for copy in copies:
            file.write(copy, subfiletype=1, **told)
    image, reading = Image("p", path), Reading(channels=3)
    for least, wanted in (
        (None, array), ((302, 200), array), ((200, 100), array), ((150, 112), copies[0]),
        ((100, 60), copies[0]), ((75, 55), copies[1]), ((10, 10), copies[1]),
    ):  # fmt: skip
        rows = read_rows(image, reading, least=least)
        assert rows.size == wanted.shape[:2]
        np.testing.assert_array_equal(np.concatenate(list(rows.chunks)), wanted)


def test_what_has_no_rows_is_decoded_whole(tmp_path) -> None:
    array = values("uint8", COLOR)
    Pillow.fromarray(array).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "t.tif", array, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    for name in ("a.png", "t.tif"):
        image, reading = Image("a", tmp_path / name), Reading(channels=3)
        rows = read_rows(image, reading)
        (whole,) = rows.chunks
        assert rows.size == whole.shape[:2] == by_rows.size_of(image, reading)
        np.testing.assert_array_equal(whole, load_pixels(image, reading))
    array_itself = Image("b", array)
    np.testing.assert_array_equal(next(read_rows(array_itself, reading).chunks), array)


def test_only_what_is_decoded_whole_has_a_limit(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values("uint8", GRAY), tile=(64, 64), metadata=None)
    monkeypatch.setattr(decoding, "MAX_BYTES", 10_000)
    image, reading = Image("a", path), Reading(channels=1)
    assert by_rows.size_of(image, reading) == SIZE
    with pytest.raises(ImsegError, match="which is more than 0 MiB"):
        load_pixels(image, reading)
    tifffile.imwrite(path, values("uint8", GRAY), compression="zlib", rowsperstrip=SIZE[0])
    monkeypatch.setattr(by_rows, "MOST_AT_ONCE", 10_000)
    with pytest.raises(ImsegError, match="more than 0 MiB") as told:
        by_rows.size_of(image, reading)
    assert "tiled TIFF" in str(told.value)


@pytest.mark.parametrize("lost", [0.3, 0.9])
def test_a_file_that_is_cut_short_names_itself(tmp_path, lost) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values("uint8", GRAY), tile=(64, 64), bigtiff=True, metadata=None)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * lost)])
    with pytest.raises(ImsegError, match=r"a\.tif is cut short or damaged"):
        list(read_rows(Image("a", path), Reading(channels=1)).chunks)


def test_a_tile_that_is_damaged_is_found_when_its_rows_are_read(tmp_path) -> None:
    pytest.importorskip("imagecodecs")
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, values("uint8", GRAY), tile=(64, 64), bigtiff=True, compression="zlib", metadata=None
    )
    with tifffile.TiffFile(path) as file:
        place = file.pages.first.dataoffsets[9]
    content = bytearray(path.read_bytes())
    content[place : place + 200] = b"\0" * 200
    path.write_bytes(content)
    rows = read_rows(Image("a", path), Reading(channels=1))
    assert [len(each) for each in itertools.islice(rows.chunks, 2)] == [64, 64]
    with pytest.raises(ImsegError, match=r"a\.tif is cut short or damaged"):
        next(rows.chunks)


def test_another_kind_of_picture_is_refused(tmp_path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values("uint16", GRAY), tile=(64, 64), metadata=None)
    with pytest.raises(ImsegError, match="not of the kind"):
        list(read_rows(Image("a", path), Reading(channels=1)).chunks)


def test_a_copy_of_another_page_or_an_overview_is_no_level(tmp_path) -> None:
    one, two, path = values("uint8", GRAY), 255 - values("uint8", GRAY), tmp_path / "p.tif"
    overview = one[::3, ::2]
    told = {"photometric": "minisblack", "tile": (32, 32), "metadata": None}
    with tifffile.TiffWriter(path) as file:
        for page in (one, two):
            file.write(page, **told)
            file.write(page[::2, ::2], subfiletype=1, **told)
        file.write(overview, subfiletype=1, **told)
    for number, page in ((1, one), (2, two)):
        rows = read_rows(Image("p", path), Reading(channels=1, pages=number), least=(60, 50))
        assert rows.size == page[::2, ::2].shape
        np.testing.assert_array_equal(np.concatenate(list(rows.chunks))[..., 0], page[::2, ::2])


def test_planes_of_colors_under_one_header_are_read_as_ever(tmp_path) -> None:
    stack, path = (
        np.stack([values("uint8", COLOR), 255 - values("uint8", COLOR)]),
        tmp_path / "s.tif",
    )
    tifffile.imwrite(
        path, np.moveaxis(stack, -1, 1), photometric="rgb", planarconfig="separate", truncate=True
    )
    image, reading = Image("s", path), Reading(channels=3, pages=2)
    found = np.concatenate(list(read_rows(image, reading).chunks))
    np.testing.assert_array_equal(found, load_pixels(image, reading))


@pytest.mark.parametrize("way", ["plain", "plain tiles"])
def test_headers_tell_that_a_file_is_cut_short(tmp_path, way) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values("uint8", GRAY), metadata=None, **WAYS[way])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImsegError, match=r"a\.tif is cut short or damaged"):
        by_rows.size_of(Image("a", path), Reading(channels=1))
