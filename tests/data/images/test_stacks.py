"""Files with several planes: which of them is read, and what the file calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from imseg.data.folder.scan import read_folder
from imseg.data.images.image_files import load_pixels
from imseg.data.images.picture_file import probe, read_image
from imseg.data.masks.io import load_target, read_mask
from imseg.errors import ImsegError
from imseg.types import Image, LabeledImage, Pages, Reading, TargetSpec

SIZE = (20, 24)
STACK = np.random.Generator(np.random.PCG64(3)).integers(0, 255, (5, *SIZE), np.uint8)
IN_TWO_COLORS = np.random.Generator(np.random.PCG64(4)).integers(0, 255, (4, 2, *SIZE), np.uint8)


def under_one_header(path: Path, stack: np.ndarray, *, order: str = "<", told: int = 0) -> Path:
    """Write a stack as ImageJ does from 4 GB on: one header, then all planes."""
    count = told or len(stack)
    with tifffile.TiffWriter(path, byteorder=order) as file:
        text = f"ImageJ=1.53t\nimages={count}\nslices={count}\n"
        kind = "rgb" if stack.ndim == 4 else "minisblack"
        file.write(stack[0], photometric=kind, metadata=None, description=text)
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].dataoffsets[0]
    planes = stack.astype(stack.dtype.newbyteorder(order)).tobytes()
    path.write_bytes(path.read_bytes()[:place] + planes)
    return path


def channels_last(plane: np.ndarray) -> np.ndarray:
    return np.moveaxis(plane, 0, -1)


WAYS = {
    "pages": {"photometric": "minisblack"},
    "pages without a word": {"photometric": "minisblack", "metadata": None},
    "ImageJ": {"imagej": True},
    "ImageJ with depths": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "ImageJ with times": {"imagej": True, "metadata": {"axes": "TYX"}},
    "one header of tifffile": {"photometric": "minisblack", "truncate": True},
    "compressed": {"photometric": "minisblack", "compression": "zstd"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_the_plane_that_is_asked_for_is_read(tmp_path: Path, way: str, kind: str) -> None:
    stack, path = STACK.astype(kind), tmp_path / "a.tif"
    tifffile.imwrite(path, stack, **WAYS[way])
    wanted: dict[Pages, np.ndarray] = {"first": stack[0], "max": stack.max(0)}
    wanted |= {1: stack[0], 4: stack[3], 5: stack[4]}
    for pages, expected in wanted.items():
        found = read_image(path, pages=pages)
        assert np.array_equal(found[..., 0], expected)
        info = probe(path, pages=pages)
        assert (*info.size, info.channels, info.depth) == (*SIZE, 1, str(found.dtype))
    assert np.array_equal(read_image(path, pages="channels"), channels_last(stack))


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_planes_that_follow_one_header_are_a_stack(tmp_path: Path, kind: str, order: str) -> None:
    stack = STACK.astype(kind)
    path = under_one_header(tmp_path / "a.tif", stack, order=order)
    with pytest.raises(ImsegError, match=r"has 5 pages \(5 depths \(Z\)\)"):
        read_image(path)
    assert np.array_equal(read_image(path, pages=3)[..., 0], stack[2])
    assert np.array_equal(read_image(path, pages="max")[..., 0], stack.max(0))
    assert np.array_equal(read_image(path, pages="channels"), channels_last(stack))


def test_planes_of_colors_may_follow_one_header(tmp_path: Path) -> None:
    stack = np.stack([STACK, STACK[::-1], 255 - STACK], axis=-1)
    path = under_one_header(tmp_path / "a.tif", stack)
    assert np.array_equal(read_image(path, pages="max"), stack.max(0))


def test_missing_planes_are_damage_and_one_plane_is_a_picture(tmp_path: Path) -> None:
    path = under_one_header(tmp_path / "a.tif", STACK)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ImsegError, match="4 of 5 planes are there"):
        read_image(path, pages="first")
    # A page that another program saved alone, with the description of its stack.
    path = under_one_header(tmp_path / "b.tif", STACK[:1], told=5)
    assert np.array_equal(read_image(path)[..., 0], STACK[0])


@pytest.mark.parametrize(
    ("name", "options", "axis"),
    [
        ("a.tif", {"imagej": True, "metadata": {"axes": "ZCYX"}}, 1),
        ("a.ome.tif", {"metadata": {"axes": "ZCYX"}}, 1),
        ("a.ome.tif", {"metadata": {"axes": "TCYX"}}, 1),
        ("a.ome.tif", {"metadata": {"axes": "CZYX"}}, 0),
    ],
)
def test_channels_stay_together_where_planes_are_chosen(
    tmp_path: Path, name: str, options: dict[str, Any], axis: int
) -> None:
    tifffile.imwrite(tmp_path / name, IN_TWO_COLORS, **options)
    planes = np.moveaxis(IN_TWO_COLORS, axis, 1)
    for pages, expected in {"first": planes[0], "max": planes.max(0), 2: planes[1]}.items():
        found = read_image(tmp_path / name, pages=pages)
        assert np.array_equal(found, channels_last(expected))
    with pytest.raises(ImsegError, match=r"channels.*(.*\n)*.*first.*max.*number"):
        read_image(tmp_path / name)


def test_depths_at_several_times_have_no_maximum_but_an_order(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, IN_TWO_COLORS, metadata={"axes": "TZYX"})
    with pytest.raises(ImsegError, match=r"4 times x 2 depths(.*\n)*.*each time as a file"):
        read_image(path, pages="max")
    assert np.array_equal(read_image(path, pages=4)[..., 0], IN_TWO_COLORS[1, 1])


def test_a_plane_that_is_not_there_is_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    with pytest.raises(ImsegError, match=r"a\.tif has 5 planes(.*\n)*.*from 1 to 5"):
        read_image(tmp_path / "a.tif", pages=6)
    # A file with one page is no stack.
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], photometric="minisblack")
    assert np.array_equal(read_image(tmp_path / "a.tif", pages=6)[..., 0], STACK[0])


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_films_are_stacks(tmp_path: Path, suffix: str) -> None:
    colored = np.stack([STACK, STACK[::-1], 255 - STACK], axis=-1) // 85 * 85
    first, *others = [Pillow.fromarray(frame) for frame in colored[:3]]
    path, options = tmp_path / f"a.{suffix}", {"lossless": True} if suffix == "webp" else {}
    first.save(path, save_all=True, append_images=others, **options)
    with pytest.raises(ImsegError, match="is a film of 3 pictures"):
        read_image(path)
    assert np.array_equal(read_image(path, pages="first"), colored[0])
    assert np.array_equal(read_image(path, pages=3), colored[2])
    assert np.array_equal(read_image(path, pages="max"), colored[:3].max(0))


def test_a_volume_in_one_page_is_refused(tmp_path: Path) -> None:
    stack = np.zeros((4, 32, 32), np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", stack, photometric="minisblack", volumetric=True, tile=(4, 16, 16)
    )
    with pytest.raises(ImsegError, match="stores 4 planes as one volume"):
        read_image(tmp_path / "a.tif", pages="first")


def test_planes_of_a_mask_are_laid_over_one_another_where_they_agree(tmp_path: Path) -> None:
    planes = np.zeros((3, *SIZE), np.uint8)
    planes[0, 2:5, 2:9], planes[1, 4:9, 4:9], planes[2, 12:15, 2:9] = 1, 1, 2
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, planes, photometric="minisblack")
    assert np.array_equal(read_mask(path, pages="max").values, planes.max(0))
    assert np.array_equal(read_mask(path, pages=2).values, planes[1])
    colors = ((0, 0, 0),) * 3
    spec = TargetSpec(
        kind="multiclass", values=(0, 1, 2), names=("a", "b", "c"), colors=colors, pages="first"
    )
    pair = LabeledImage(Image("a", np.zeros((*SIZE, 1), np.uint8)), path)
    assert np.array_equal(load_target(pair, spec)[0], planes[0] + 1)
    planes[1, 2:5, 2:9] = 2
    tifffile.imwrite(path, planes, photometric="minisblack")
    with pytest.raises(ImsegError, match="one pixel different values"):
        read_mask(path, pages="max")


def test_a_run_reads_new_stacks_as_it_has_learned_to(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    for pages in ("first", "max", 1, 3):
        reading = Reading(channels=1, pages=pages)
        kept = Reading.from_dict(json.loads(json.dumps(reading.as_dict())))
        assert kept == reading
        assert type(kept.pages) is type(pages)
        found = load_pixels(Image("a", tmp_path / "a.tif"), kept)
        assert np.array_equal(found, read_image(tmp_path / "a.tif", pages=pages))


def test_records_that_said_yes_or_no_to_pages_mean_the_same_now() -> None:
    for plain, word in ((True, "channels"), (False, "refuse")):
        assert Reading.from_dict({"channels": 2, "pages": plain}).pages == word
        assert Reading(channels=2, pages=word).as_dict()["pages"] is plain
    for wrong in (0, -1, "last", 1.5):
        with pytest.raises(ValueError, match=r"pages|numbered"):
            Reading.from_dict({"channels": 1, "pages": wrong})


def test_pages_in_the_settings_choose_planes_of_images_and_masks(maker) -> None:
    for index in range(3):
        picture = np.stack([maker.picture() for _ in range(4)])
        mask = np.stack([maker.mask(values) for values in ((0, 255), (255, 0), (0, 0), (0, 0))])
        for kind, stack in (("images", picture), ("masks", mask)):
            path = maker.root / f"labeled/{kind}/{index}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, stack, photometric="minisblack")
    with pytest.raises(ImsegError, match=r'"first"(.*\n)*.*"max"'):
        read_folder(maker.root)
    maker.write("imseg.toml", "pages = 2")
    found = read_folder(maker.root)
    assert (found.reading.pages, found.spec.pages, found.reading.channels) == (2, 2, 1)
    drawn = load_target(found.labeled[0], found.spec)
    assert drawn[0, 0].all()
    assert not drawn[0, -1].any()
    maker.write("imseg.toml", "pages = 0")
    with pytest.raises(ImsegError, match="1 is the first"):
        read_folder(maker.root)
