"""WebP, JPEG 2000, GIF and PNM files, and formats that are told and not read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from PIL import Image as Pillow

from imseg.data.datasets.download import pictures_by_name
from imseg.data.files.picture_list import find_pictures
from imseg.data.folder.scan import read_folder
from imseg.data.images import picture_file
from imseg.data.images.decoding import SUFFIXES
from imseg.data.images.foreign_formats import FORMATS, foreign_format, how_to_convert
from imseg.data.images.picture_file import lossy_coding, probe, read_image
from imseg.data.masks.io import read_mask
from imseg.data.polygons import convert_polygons
from imseg.errors import ImsegError

GENERATOR = np.random.Generator(np.random.PCG64(5))
GRAY = GENERATOR.integers(0, 256, (20, 24), np.uint8)
COLOR = GENERATOR.integers(0, 256, (20, 24, 3), np.uint8)
DEEP = GENERATOR.integers(0, 65536, (20, 24), np.uint16)
CLASSES = np.repeat(np.array([0, 3, 7, 255], np.uint8), 120).reshape(20, 24)


def saved(path: Path, array: np.ndarray, **options: Any) -> Path:
    Pillow.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "array", "options"),
    [
        ("a.webp", COLOR, {"lossless": True}),
        ("a.jp2", GRAY, {}),
        ("a.jp2", COLOR, {}),
        ("a.jp2", DEEP, {}),
        ("a.j2k", DEEP, {}),
        ("a.JPX", COLOR, {"format": "JPEG2000"}),
        ("a.gif", COLOR // 64 * 64, {}),
        ("a.pgm", GRAY, {}),
        ("a.pgm", DEEP, {}),
        ("a.ppm", COLOR, {}),
        ("a.pnm", COLOR, {"format": "PPM"}),
    ],
)
def test_pictures_without_loss_are_as_they_were(
    tmp_path: Path, name: str, array: np.ndarray, options: dict[str, Any]
) -> None:
    path = saved(tmp_path / name, array, **options)
    found = read_image(path)
    assert found.dtype == array.dtype
    assert np.array_equal(found.squeeze(), array)
    info = probe(path)
    assert (*info.size, info.channels, info.depth) == (*found.shape, str(found.dtype))
    assert lossy_coding(path) is None
    assert path.suffix.lower() in SUFFIXES


@pytest.mark.parametrize("kind", ["jp2", "j2k"])
@pytest.mark.parametrize(
    ("array", "bits"), [(np.dstack([DEEP, DEEP[::-1], DEEP[:, ::-1]]), 16), (DEEP >> 4, 12)]
)
def test_jpeg_2000_keeps_all_of_its_bits(
    tmp_path: Path, kind: str, array: np.ndarray, bits: int
) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(
        imagecodecs.jpeg2k_encode(array, level=0, codecformat=kind, bitspersample=bits)
    )
    assert np.array_equal(read_image(path).squeeze(), array)
    assert probe(path).depth == "uint16"


@pytest.mark.parametrize(
    ("name", "options"),
    [("m.gif", {}), ("m.webp", {"lossless": True}), ("m.jp2", {}), ("m.pgm", {})],
)
def test_masks_have_the_values_that_were_saved(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    """Indices of a GIF differ from file to file, so its colors count."""
    for mask in (CLASSES, np.where(CLASSES == 7, 7, 0).astype(np.uint8)):
        found = read_mask(saved(tmp_path / name, mask, **options))
        assert (found.form, found.palette) == ("values", None)
        assert np.array_equal(found.values, mask)


def test_what_is_transparent_in_a_gif_is_background(tmp_path: Path) -> None:
    picture = Pillow.new("RGBA", (24, 20), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 255), (6, 5, 14, 12))
    picture.save(tmp_path / "m.gif")
    found = read_mask(tmp_path / "m.gif").values
    assert (found[5:12, 6:14] > 0).all()
    assert (found > 0).sum() == 7 * 8


@pytest.mark.parametrize(
    ("name", "options", "how"),
    [
        ("a.jpg", {}, "JPEG"),
        ("a.webp", {"quality": 80}, "lossy WebP"),
        ("a.webp", {"lossless": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}, None),
        ("a.jp2", {"irreversible": True}, "lossy JPEG 2000"),
        ("a.j2k", {"irreversible": True}, "lossy JPEG 2000"),
        ("a.png", {}, None),
    ],
)
def test_files_are_lossy_by_their_coding_and_not_by_their_name(
    tmp_path: Path, name: str, options: dict[str, Any], how: str | None
) -> None:
    assert lossy_coding(saved(tmp_path / name, COLOR, **options)) == how


def test_transparent_colors_of_a_lossy_webp_are_told_from_lossless_ones(tmp_path: Path) -> None:
    picture = np.dstack([COLOR, GRAY])
    assert lossy_coding(saved(tmp_path / "a.webp", picture, quality=80)) == "lossy WebP"
    assert lossy_coding(saved(tmp_path / "b.webp", picture, lossless=True)) is None


@pytest.mark.parametrize(("name", "codec"), [("a.webp", "webp"), ("a.jp2", "jpg_2000")])
def test_a_codec_that_pillow_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str
) -> None:
    path = saved(tmp_path / name, COLOR)
    monkeypatch.setattr(picture_file.features, "check", lambda one: one != codec)
    with pytest.raises(ImsegError, match=r"Pillow that is installed(.*\n)*.*--upgrade pillow"):
        read_image(path)


BEGINNINGS = {
    "Zeiss CZI": b"ZISRAWFILE",
    "Nikon ND2": b"\xda\xce\xbe\n",
    "DICOM": bytes(128) + b"DICM",
    "NIfTI": bytes(344) + b"n+1\0",
    "HEIC or AVIF": bytes(3) + b"\x18ftypheic",
    "NumPy": b"\x93NUMPY",
    "HDF5": b"\x89HDF\r\n\x1a\n",
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_renamed_file_of_another_program_is_recognized(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(BEGINNINGS[name] + bytes(500))
    converter = next(each.convert for each in FORMATS if each.name == name).split()[0]
    with pytest.raises(ImsegError, match=rf"is a {name} file(.*\n)*.*{converter}"):
        read_image(path)


def test_files_of_other_programs_are_told_once_with_their_converter(good, complaint) -> None:
    for number in range(3):
        good.write(f"labeled/images/x{number}.czi", b"ZISRAWFILE")
        good.write(f"unlabeled/x{number}.nii.gz", gzip.compress(b"x"))
    text = complaint()
    assert text.count("bfconvert") == 1 and "bfconvert in.czi out.ome.tif" in text
    assert "Zeiss CZI and NIfTI files are not read here" in text and ".nii.gz likewise" in text


def test_a_folder_of_other_files_alone_is_one_error(good, complaint) -> None:
    for place in ("labeled/images", "labeled/masks", "val/masks"):
        for path in (good.root / place).iterdir():
            path.rename(path.with_suffix(".nd2"))
    text = complaint()
    assert text.count("Expected:") == 1 and "holds no" not in text and "no mask" not in text
    assert "files are not pictures that can be read." in text and "Nikon ND2" in text


def test_masks_of_labels_in_another_format_are_told_as_such(maker, complaint) -> None:
    maker.save("labeled/images/a.png", maker.picture())
    maker.write("labeled/masks/cell/a.npy", b"x")
    text = complaint()
    assert "1 file in labeled/masks/cell is not a picture" in text and "holds no" not in text


def test_the_name_of_a_file_of_another_program_counts_before_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.ims").write_bytes(BEGINNINGS["HDF5"])
    (tmp_path / "letter.doc").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    found = [foreign_format(tmp_path / name) for name in ("a.ims", "letter.doc")]
    assert [each and each.name for each in found] == ["Imaris", None]


def test_a_folder_of_other_files_to_predict_names_the_converter(tmp_path: Path) -> None:
    for name in ("a.heic", "b.heic", "c.npy"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ImsegError, match=r"heif-convert in\.heic out\.png(.*\n)*.*in\.npy"):
        find_pictures(tmp_path)


def test_a_picture_is_no_foreign_file(tmp_path: Path) -> None:
    suffixes = sorted(SUFFIXES - {".pgm", ".pbm"})
    paths = [saved(tmp_path / f"a{suffix}", COLOR) for suffix in suffixes]
    assert [foreign_format(path) for path in paths] == [None] * len(paths)
    assert how_to_convert([*paths, tmp_path / "gone.czi"]) is None


def test_a_set_of_webp_and_jpeg_2000_files_is_read(maker) -> None:
    for index, (one, other) in enumerate([("webp", "gif"), ("jp2", "webp"), ("pgm", "jp2")]):
        options = {"lossless": True} if "webp" in (one, other) else {}
        maker.save(f"labeled/images/a{index}.{one}", maker.picture(), **options)
        maker.save(f"labeled/masks/a{index}.{other}", maker.mask(), **options)
    found = read_folder(maker.root)
    assert (found.spec.values, len(found.labeled)) == ((0, 255), 3)


def test_prepare_and_polygons_name_the_converter_too(tmp_path: Path) -> None:
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE")
    with pytest.raises(
        ImsegError, match=r"holds no images(.*\n)*.*a\.czi(.*\n)*.*bfconvert in\.czi"
    ):
        pictures_by_name(tmp_path, noun="images", example="a.png")
    points = [[1, 1], [9, 1], [9, 9]]
    shape = {"label": "cell", "shape_type": "polygon", "points": points}
    drawn = {"imagePath": "a.czi", "imageHeight": 20, "imageWidth": 24, "shapes": [shape]}
    (tmp_path / "a.json").write_text(json.dumps(drawn))
    with pytest.raises(ImsegError, match=r"suffix \.czi(.*\n)*.*bfconvert in\.czi"):
        convert_polygons(tmp_path, tmp_path / "out")


def test_a_moving_png_is_a_stack(tmp_path: Path) -> None:
    first, second = (Pillow.fromarray(np.full((9, 8), gray, np.uint8)) for gray in (10, 200))
    first.save(tmp_path / "a.png", save_all=True, append_images=[second])
    with pytest.raises(ImsegError, match="is a film of 2 pictures"):
        read_image(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", pages=2).max() == 200


def test_one_label_in_another_format_is_one_error(maker, complaint) -> None:
    maker.save("labeled/images/a.png", maker.picture())
    maker.save("labeled/masks/one/a.png", maker.mask())
    maker.write("labeled/masks/two/a.nii.gz", b"x")
    text = complaint()
    assert text.startswith("1 file in labeled/masks/two is not a picture") and "missing" not in text
