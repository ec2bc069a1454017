"""Picture files of every kind, whole and broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from imseg.data import image_io
from imseg.errors import ImsegError

GRAY = np.arange(20 * 24, dtype=np.uint8).reshape(20, 24)
COLOR = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=2)


def saved(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    picture = Pillow.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "PNG", "bmp", "tif", "tiff", "TIFF"])
@pytest.mark.parametrize("pixels", [GRAY, COLOR], ids=["gray", "color"])
def test_lossless_files_are_read_exactly(tmp_path: Path, suffix: str, pixels: np.ndarray) -> None:
    path = saved(tmp_path / f"a.{suffix}", pixels)
    expected = pixels if pixels.ndim == 3 else pixels[..., None]
    assert np.array_equal(image_io.read_image(path), expected)
    assert image_io.probe(path) == image_io.ImageInfo(20, 24, expected.shape[2])


def test_a_jpeg_is_read_nearly_exactly(tmp_path: Path) -> None:
    smooth = np.repeat(np.arange(32, dtype=np.uint8)[:, None] * 4, 32, axis=1)
    path = saved(tmp_path / "a.JPG", smooth, quality=95)
    difference = image_io.read_image(path)[..., 0].astype(int) - smooth
    assert abs(difference).max() <= 3


def test_gray_becomes_color_and_color_becomes_gray_on_demand(tmp_path: Path) -> None:
    gray, color = saved(tmp_path / "g.png", GRAY), saved(tmp_path / "c.png", COLOR)
    assert np.array_equal(image_io.read_image(gray, 3), np.repeat(GRAY[..., None], 3, axis=2))
    lightness = COLOR @ np.array([0.299, 0.587, 0.114])
    assert abs(image_io.read_image(color, 1)[..., 0] - lightness).max() <= 1


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("LA", 1), ("P", 3), ("1", 1)])
def test_alpha_is_dropped_and_palettes_are_expanded(
    tmp_path: Path, mode: str, channels: int
) -> None:
    path = saved(tmp_path / "a.png", COLOR, mode)
    assert image_io.read_image(path).shape == (20, 24, channels)
    assert image_io.probe(path).channels == channels


def test_alpha_does_not_change_the_color_below_it(tmp_path: Path) -> None:
    see_through = np.dstack([COLOR, np.zeros_like(GRAY)])
    assert np.array_equal(image_io.read_image(saved(tmp_path / "a.png", see_through)), COLOR)


@pytest.mark.parametrize("pixels", [GRAY, COLOR], ids=["gray", "color"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_pictures_are_turned_upright(tmp_path: Path, suffix: str, pixels: np.ndarray) -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / f"a.{suffix}", pixels, exif=exif)
    assert np.array_equal(np.squeeze(image_io.read_image(path)), np.rot90(pixels, -1))
    if pixels is GRAY:
        assert np.array_equal(image_io.read_mask(path), np.rot90(pixels, -1))
    assert image_io.probe(path).size == (24, 20)


def test_a_16_bit_picture_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "deep.png", GRAY.astype(np.uint16) * 256)
    with pytest.raises(ImsegError, match=r"deep\.png has more than 8 bits.*\n(.*\n)*.*convert"):
        image_io.read_image(path)


def write_empty(path: Path) -> None:
    path.write_bytes(b"")


def write_text(path: Path) -> None:
    path.write_text("this is no picture")


def write_half(path: Path) -> None:
    saved(path, np.tile(COLOR, (8, 8, 1)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif"])
@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_empty, "is empty"),
        (write_text, "is not a PNG, JPEG, BMP or TIFF picture"),
        (write_half, "is cut short or damaged|is not a PNG"),
    ],
)
def test_a_broken_file_is_named(
    tmp_path: Path, suffix: str, write: Callable[[Path], None], reason: str
) -> None:
    path = tmp_path / f"bad.{suffix}"
    write(path)
    for read in (image_io.read_image, image_io.read_mask):
        with pytest.raises(ImsegError, match=rf"bad\.{suffix} ({reason})"):
            read(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "BMP", "TIFF"])
@given(data=st.data())
def test_any_damage_is_an_error_that_names_the_file_or_none(
    tmp_path_factory: pytest.TempPathFactory, format_name: str, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damage") / "bad.png"
    Pillow.fromarray(COLOR).save(path, format=format_name)
    content = bytearray(path.read_bytes())
    end = data.draw(st.integers(0, len(content)))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[:end])
    for read in (image_io.read_image, image_io.read_mask, image_io.probe):
        try:
            read(path)
        except ImsegError as error:
            assert "bad.png" in str(error)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImsegError, match=r"gone\.png does not exist"):
        image_io.read_image(tmp_path / "gone.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImsegError, match=r"folder\.png is a folder"):
        image_io.probe(tmp_path / "folder.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_huge_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "huge.png", GRAY)
    for limit in (GRAY.size // 4, GRAY.size - 1):
        monkeypatch.setattr(Pillow, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ImsegError, match=r"huge\.png claims more than (.*\n)*.*tiles"):
            image_io.read_image(path)


def test_a_tiff_with_pages_is_refused(tmp_path: Path) -> None:
    page = Pillow.fromarray(GRAY)
    page.save(tmp_path / "stack.tif", save_all=True, append_images=[page, page])
    with pytest.raises(ImsegError, match=r"stack\.tif has 3 pages"):
        image_io.read_image(tmp_path / "stack.tif")


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_gray_masks_give_their_values_in_any_mode(tmp_path: Path, mode: str) -> None:
    assert np.array_equal(image_io.read_mask(saved(tmp_path / "m.png", GRAY, mode)), GRAY)


def test_a_1_bit_mask_gives_0_and_255_like_the_same_mask_with_8_bits(tmp_path: Path) -> None:
    mask = GRAY > 100
    for suffix in ("png", "tif", "bmp"):
        values = image_io.read_mask(saved(tmp_path / f"m.{suffix}", mask))
        assert values.dtype == np.uint8
        assert np.array_equal(values, mask * 255)


def test_a_palette_mask_gives_its_indices(tmp_path: Path) -> None:
    picture = Pillow.fromarray(GRAY % 3)
    picture.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    picture.save(tmp_path / "m.png")
    assert np.array_equal(image_io.read_mask(tmp_path / "m.png"), GRAY % 3)


def test_deep_masks_give_their_values(tmp_path: Path) -> None:
    deep = GRAY.astype(np.uint16) * 200
    assert np.array_equal(image_io.read_mask(saved(tmp_path / "m.png", deep)), deep)
    assert np.array_equal(image_io.read_mask(saved(tmp_path / "m.tif", deep)), deep)
    deeper = GRAY.astype(np.int32) * 100_000
    assert np.array_equal(image_io.read_mask(saved(tmp_path / "i.tif", deeper)), deeper)


def test_a_color_mask_and_a_mask_of_fractions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImsegError, match=r"c\.png is a color mask(.*\n)*.*class value"):
        image_io.read_mask(saved(tmp_path / "c.png", COLOR))
    with pytest.raises(ImsegError, match=r"f\.tif holds fractions"):
        image_io.read_mask(saved(tmp_path / "f.tif", GRAY.astype(np.float32)))


@pytest.mark.parametrize("array", [GRAY, GRAY.astype(np.uint16) * 256, COLOR])
def test_what_is_written_is_read_again(tmp_path: Path, array: np.ndarray) -> None:
    image_io.write_png(tmp_path / "a.png", array)
    read = image_io.read_image if array.ndim == 3 else image_io.read_mask
    assert np.array_equal(read(tmp_path / "a.png"), array)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.png", GRAY)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_io.os, "fsync", full)
    with pytest.raises(ImsegError, match=r"a\.png cannot be written(.*\n)*.*No space left"):
        image_io.write_png(path, COLOR)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_writing_into_a_missing_folder_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ImsegError, match=r"a\.png cannot be written"):
        image_io.write_png(tmp_path / "none" / "a.png", GRAY)


def test_arrays_that_png_cannot_hold_are_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="float64"):
        image_io.write_png(tmp_path / "a.png", GRAY.astype(np.float64))


def test_shrinking_averages_and_keeps_flat_colors() -> None:
    checkers = (np.indices((32, 32)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None]
    assert abs(image_io.resize_image(checkers, (8, 8)).astype(int) - 127).max() <= 32
    flat = np.full((20, 30, 3), (10, 20, 30), np.uint8)
    resized = image_io.resize_image(flat, (13, 47))
    assert resized.shape == (13, 47, 3)
    assert np.array_equal(np.unique(resized.reshape(-1, 3), axis=0), [[10, 20, 30]])


@given(size=st.tuples(st.integers(1, 60), st.integers(1, 60)))
def test_each_pixel_of_a_resized_mask_is_the_nearest_one(size: tuple[int, int]) -> None:
    rows, columns = np.indices(GRAY.shape)
    for axis, numbers in enumerate((rows, columns)):
        resized = image_io.resize_mask(numbers, size)
        assert resized.shape == size
        source = (np.arange(GRAY.shape[axis]) + 0.5) / GRAY.shape[axis]
        for place in range(size[axis]):
            away = abs(source - (place + 0.5) / size[axis])
            taken = np.unique(np.take(resized, place, axis=axis))
            assert len(taken) == 1
            assert away[taken[0]] <= away.min() + 1e-9


def test_the_same_picture_has_one_hash_in_every_kind_of_file(tmp_path: Path) -> None:
    files = [saved(tmp_path / f"a.{suffix}", COLOR) for suffix in ("png", "bmp", "tif")]
    sources = [*files, COLOR]
    assert len({content_hash(source) for source in sources}) == 1


def test_a_gray_picture_saved_in_color_has_the_hash_of_the_gray_one(tmp_path: Path) -> None:
    one, other = saved(tmp_path / "a.png", GRAY), saved(tmp_path / "b.png", GRAY, "RGB")
    hashes = {content_hash(path) for path in (one, other)}
    assert len(hashes) == 1


def test_one_changed_pixel_or_another_shape_changes_the_hash() -> None:
    changed = COLOR.copy()
    changed[3, 4, 1] ^= 1
    arrays = (COLOR, changed, COLOR.reshape(24, 20, 3))
    assert len({image_io.hash_pixels(array) for array in arrays}) == 3


def content_hash(source: Path | np.ndarray) -> str:
    """Return the hash of a file's or an array's pixels."""
    pixels = image_io.read_image(source) if isinstance(source, Path) else source
    return image_io.hash_pixels(pixels if pixels.ndim == 3 else pixels[..., None])
