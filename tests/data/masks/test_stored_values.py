"""Masks are what is stored: inverting tables, alpha channels, numbers below 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from tests.data.images.by_hand import tiff_bytes

from imseg.data.arrays.dataset import dataset_from_arrays
from imseg.data.checks.folder_check import check_folder
from imseg.data.folder.scan import read_folder
from imseg.data.images.picture_file import read_image
from imseg.data.masks.io import decode, encode, load_target, read_mask
from imseg.errors import ImsegError

SIZE = (20, 24)
FOREGROUND = np.zeros(SIZE, bool)
FOREGROUND[5:12, 6:14] = True
WHITE, BLACK = np.full(SIZE, 255, np.uint8), np.zeros(SIZE, np.uint8)
ALPHA = np.where(FOREGROUND, WHITE, BLACK)

CODINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "deflate": {"compression": "deflate"},
    "lzw": {"compression": "lzw"},
    "zstd": {"compression": "zstd"},
    "tiles": {"tile": (16, 16)},
    "high byte first": {"byteorder": ">"},
    "big": {"bigtiff": True, "byteorder": ">"},
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("kind", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
def test_a_table_that_shows_0_as_white_changes_no_mask(
    tmp_path: Path, kind: str, coding: str
) -> None:
    stored = (FOREGROUND if kind == "?" else FOREGROUND * (100 if kind == "i1" else 255)).astype(
        kind
    )
    expected = stored * 255 if kind == "?" else stored
    for photometric, inverting in (("minisblack", False), ("miniswhite", True)):
        path = tmp_path / f"{photometric}.tif"
        tifffile.imwrite(path, stored, photometric=photometric, **CODINGS[coding])
        found = read_mask(path)
        assert np.array_equal(found.values, expected)
        bits = 1 if kind == "?" else 8 * stored.itemsize
        assert found.inverting == (bits if inverting else 0)


@pytest.mark.parametrize(("bits", "blob"), [(1, b"\xa0"), (2, b"\x88"), (4, b"\xf0\xf0")])
def test_masks_of_few_bits_are_as_stored_too(tmp_path: Path, bits: int, blob: bytes) -> None:
    found = []
    for photometric in (0, 1):
        tags = {256: 4, 257: 1, 258: bits, 259: 1, 262: photometric, 277: 1, 278: 1}
        path = tmp_path / f"{photometric}.tif"
        path.write_bytes(tiff_bytes(blob, [tags]))
        found.append(read_mask(path).values)
    assert np.array_equal(*found)
    assert found[0].max() > found[0].min() == 0


@pytest.mark.parametrize("coding", ["group3", "group4", "tiff_ccitt"])
def test_fax_codings_mean_black_and_white(tmp_path: Path, coding: str) -> None:
    for number in (0, 1):
        path = tmp_path / "m.tif"
        Pillow.fromarray(FOREGROUND).save(path, compression=coding, tiffinfo={262: number})
        found = read_mask(path)
        assert np.array_equal(found.values, ALPHA)
        assert found.inverting == 0


@pytest.mark.parametrize("coding", CODINGS)
def test_pictures_of_bytes_are_read_as_viewers_show_them(tmp_path: Path, coding: str) -> None:
    gray = np.arange(480, dtype=np.uint16).reshape(SIZE)
    for kind in ("u1", "u2"):
        path, stored = tmp_path / "a.tif", gray.astype(kind)
        tifffile.imwrite(path, stored, photometric="miniswhite", **CODINGS[coding])
        assert np.array_equal(read_image(path)[..., 0], 255 - stored if kind == "u1" else stored)


def painted(*channels: np.ndarray) -> np.ndarray:
    return np.dstack(channels)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (painted(BLACK, BLACK, BLACK, ALPHA), "mask"),
        (painted(255 - ALPHA, 255 - ALPHA, 255 - ALPHA, ALPHA), "mask"),
        (painted(WHITE, WHITE, WHITE, ALPHA), ""),
        (painted(ALPHA, ALPHA, ALPHA, ALPHA), ""),
        (painted(ALPHA, ALPHA, ALPHA, WHITE), ""),
        (painted(ALPHA, ALPHA, ALPHA, BLACK), ""),
    ],
)
def test_what_can_be_seen_in_a_mask_is_foreground(
    tmp_path: Path, suffix: str, picture: np.ndarray, told: str
) -> None:
    path = tmp_path / f"m.{suffix}"
    Pillow.fromarray(picture).save(
        path, **({"lossless": True, "exact": True} if suffix == "webp" else {})
    )
    found = read_mask(path)
    assert np.array_equal(found.values, ALPHA)
    assert found.alpha == told


def test_gray_and_deep_masks_may_lie_in_alpha_too(tmp_path: Path) -> None:
    Pillow.fromarray(painted(BLACK, ALPHA)).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png").values, ALPHA)
    deep = painted(BLACK, BLACK, BLACK, ALPHA).astype(np.uint16)
    tifffile.imwrite(tmp_path / "m.tif", deep, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(read_mask(tmp_path / "m.tif").values, ALPHA)


def test_alpha_that_tells_classes_apart_is_the_mask(tmp_path: Path) -> None:
    classes = np.arange(480).reshape(SIZE) % 4
    for color in (BLACK, WHITE):
        picture = painted(color, color, color, classes.astype(np.uint8))
        Pillow.fromarray(picture).save(tmp_path / "m.png")
        assert np.array_equal(read_mask(tmp_path / "m.png").values, classes)


def warnings_of(root: Path) -> str:
    return "\n".join(str(each.as_error()) for each in check_folder(root).warnings)


def test_one_set_with_and_without_an_inverting_table_is_read_right_and_told(maker) -> None:
    for index in range(6):
        maker.save(f"labeled/images/{index}.png", maker.picture(SIZE))
        path = maker.root / f"labeled/masks/{index}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, ALPHA, photometric="miniswhite" if index < 2 else "minisblack")
    found = read_folder(maker.root)
    for pair in found.labeled:
        assert np.array_equal(load_target(pair, found.spec)[0], FOREGROUND)
    text = warnings_of(maker.root)
    assert "2 masks are shown by viewers with 0 as white (an inverting table)" in text
    assert "labeled/masks/0.tif, labeled/masks/1.tif." in text
    for index in range(6):
        tifffile.imwrite(maker.root / f"labeled/masks/{index}.tif", ALPHA, photometric="miniswhite")
    assert "inverting" not in warnings_of(maker.root)


@pytest.mark.parametrize(("kind", "how"), [("u1", "as viewers show them"), ("u2", "as stored")])
def test_one_set_of_images_with_and_without_an_inverting_table_is_told(
    maker, kind: str, how: str
) -> None:
    maker.pairs()
    for index in range(4):
        path, picture = maker.root / f"labeled/images/cell_{index:02}.tif", maker.picture(SIZE)
        path.with_suffix(".png").unlink()
        photometric = "minisblack" if index else "miniswhite"
        tifffile.imwrite(path, picture.astype(kind), photometric=photometric)
        maker.save(f"labeled/masks/cell_{index:02}.png", ALPHA)
    text = warnings_of(maker.root)
    assert "1 image is shown by viewers with 0 as white" in text
    assert f"read {how}" in text


def test_1_bit_masks_with_an_inverting_table_are_doubtful(maker) -> None:
    for index in range(3):
        maker.save(f"labeled/images/{index}.png", maker.picture(SIZE))
        path = maker.root / f"labeled/masks/{index}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, FOREGROUND, photometric="miniswhite")
    assert "stored with 1 bit and shown with 0 as white" in warnings_of(maker.root)


def test_a_set_of_masks_in_alpha_is_told_with_what_is_doubtful_in_it(maker) -> None:
    pictures = [painted(BLACK, BLACK, BLACK, ALPHA)] * 3 + [painted(BLACK, BLACK, BLACK, WHITE)]
    pictures += [painted(WHITE, WHITE, WHITE, BLACK), ALPHA]
    for index, picture in enumerate(pictures):
        maker.save(f"labeled/images/{index}.png", maker.picture(SIZE))
        maker.save(f"labeled/masks/{index}.png", picture)
    found = read_folder(maker.root)
    areas = [load_target(pair, found.spec)[0].sum() for pair in found.labeled]
    assert areas == [56, 56, 56, 0, 0, 56]
    text = warnings_of(maker.root)
    assert "3 masks are of one color everywhere; the alpha channel" in text
    assert "1 mask is black and opaque everywhere" in text
    assert "1 mask is transparent everywhere" in text
    assert "alpha" not in warnings_of(plain_set(maker))


def plain_set(maker: Any) -> Path:
    for path in (maker.root / "labeled/masks").iterdir():
        path.unlink()
    for index in range(6):
        maker.save(f"labeled/masks/{index}.png", ALPHA if index else BLACK)
    return maker.root


UNDECIDED = FOREGROUND.astype(int)
UNDECIDED[:2] = -1


@pytest.mark.parametrize("kind", ["i2", "i4", "f4"])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_minus_1_is_void_where_the_settings_say_so(maker, kind: str, task: str) -> None:
    top = 2 if task == "multiclass" else 1
    for index in range(3):
        maker.save(f"labeled/images/{index}.png", maker.picture(SIZE))
        path = maker.root / f"labeled/masks/{index}.tif"
        path.parent.mkdir(exist_ok=True)
        drawn = UNDECIDED.copy()
        drawn[-1] = top
        tifffile.imwrite(path, drawn.astype(kind))
    maker.write("imseg.toml", f'task = "{task}"')
    with pytest.raises(ImsegError, match=r"whole numbers below 0(.*\n)*.*void = -1"):
        read_folder(maker.root)
    maker.write("imseg.toml", f'task = "{task}"\nvoid = -1')
    found = read_folder(maker.root)
    assert found.spec.values == tuple(range(top + 1))
    target = load_target(found.labeled[0], found.spec)[0]
    assert (target[:2] == 255).all()
    assert (target[2:] != 255).all()
    assert decode(target[None], found.spec).min() >= 0


@pytest.mark.parametrize(
    ("kind", "told"), [("u1", "void = 255"), ("u2", "void = 65535"), ("u4", "signed numbers")]
)
def test_minus_1_that_was_saved_without_a_sign_is_told(maker, kind: str, told: str) -> None:
    for index in range(3):
        maker.save(f"labeled/images/{index}.png", maker.picture(SIZE))
        path = maker.root / f"labeled/masks/{index}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, UNDECIDED.astype(kind))
    assert told in "".join(str(each.as_error()) for each in check_folder(maker.root).findings)


def test_minus_1_in_floats_without_a_task_is_doubted(maker) -> None:
    for index in range(3):
        maker.save(f"labeled/images/{index}.png", maker.picture(SIZE))
        maker.save(f"labeled/masks/{index}.tif", UNDECIDED.astype(np.float32))
    text = warnings_of(maker.root)
    assert "taken for measurements, because they are floats" in text
    assert "void = -1" in text


def images_and(masks: list[np.ndarray]) -> tuple[Any, Any]:
    generator = np.random.Generator(np.random.PCG64(8))
    return [generator.integers(0, 256, SIZE, np.uint8) for _ in masks], masks


def test_minus_1_in_arrays_is_told_and_can_be_void() -> None:
    given = images_and([UNDECIDED] * 3)
    with pytest.raises(ImsegError, match=r"-1 in mask of labeled\[0\](.*\n)*.*void = -1"):
        dataset_from_arrays(given)
    spec = dataset_from_arrays(given, void=-1).spec
    assert (spec.values, spec.void) == ((0, 1), -1)
    assert (encode(UNDECIDED, spec)[0, :2] == 255).all()
    objects = UNDECIDED + 2 * (np.arange(24) > 20) * FOREGROUND.any(1)[:, None]
    labels = images_and([objects, objects.T.copy().reshape(SIZE)])
    with pytest.raises(ImsegError, match="below 0"):
        dataset_from_arrays(labels, task="instances")
    spec = dataset_from_arrays(labels, task="instances", void=-1).spec
    assert (encode(objects, spec)[:, :2] == 255).all()


def test_minus_1_may_be_a_measurement_and_is_doubted_where_it_stands_alone(maker) -> None:
    measured = np.arange(480, dtype=np.int16).reshape(SIZE)
    for index in range(3):
        maker.save(f"labeled/images/{index}.png", maker.picture(SIZE))
        path = maker.root / f"labeled/masks/{index}.tif"
        path.parent.mkdir(exist_ok=True)
        tifffile.imwrite(path, np.where(measured < 40, -1, measured + index).astype(np.int16))
    maker.write("imseg.toml", 'task = "regression"')
    assert read_folder(maker.root).spec.low == -1
    assert "-1 was taken for a measurement, in 3 of 3 masks" in warnings_of(maker.root)
    maker.write("imseg.toml", 'task = "regression"\nvoid = -1')
    assert read_folder(maker.root).spec.low == 40
    assert "measurement" not in warnings_of(maker.root)


@pytest.mark.parametrize(
    ("code", "told"),
    [(-9999, "set void = -9999"), (np.finfo(np.float32).min, "not a number (NaN)"), (-3, "")],
)
def test_codes_for_missing_measurements_are_doubted(maker, code: float, told: str) -> None:
    for index in range(3):
        maker.save(f"labeled/images/{index}.png", maker.picture(SIZE))
        heights = np.linspace(index, 7.5, 480, dtype=np.float32).reshape(SIZE)
        heights[:2, :3] = code
        maker.save(f"labeled/masks/{index}.tif", heights)
    text = warnings_of(maker.root)
    assert ("was taken for a measurement" in text) is bool(told)
    assert told in text


def test_a_void_of_minus_1_leaves_255_in_masks_of_bytes_unknown() -> None:
    spec = dataset_from_arrays(images_and([UNDECIDED] * 3), void=-1).spec
    with pytest.raises(ImsegError, match="unknown values"):
        encode(ALPHA, spec)
