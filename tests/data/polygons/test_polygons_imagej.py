"""ROIs of ImageJ: every kind with an area, files and zip files, names, groups, slices."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from roifile import ROI_OPTIONS, ROI_SUBTYPE, ROI_TYPE, ImagejRoi
from tests.data.polygons.polygon_files import (
    Corners,
    bits,
    distances,
    inside,
    read,
    save_picture,
    square,
)

from imseg.data.checks.folder_check import check_folder
from imseg.data.folder.config import parse_pages, read_config
from imseg.data.polygons import convert_polygons, read_annotations
from imseg.data.polygons.formats import imagej
from imseg.errors import ImsegError

SIZE = (24, 20)


def polygon(corners: Corners, kind: ROI_TYPE = ROI_TYPE.POLYGON, **more: Any) -> ImagejRoi:
    whole = all(float(x).is_integer() and float(y).is_integer() for x, y in corners)
    roi = ImagejRoi.frompoints(np.array(corners, int if whole else float), name="0003-0005")
    roi.roitype = kind
    for key, value in more.items():
        setattr(roi, key, value)
    return roi


def box(left: int, top: int, right: int, bottom: int, **more: Any) -> ImagejRoi:
    kind = more.pop("roitype", ROI_TYPE.RECT)
    roi = ImagejRoi(roitype=kind, left=left, top=top, right=right, bottom=bottom)
    for key, value in more.items():
        setattr(roi, key, value)
    return roi


def composite(*rings: Corners) -> ImagejRoi:
    """Return a ROI of several rings, as ImageJ stores it: moves, lines and ends of rings."""
    path: list[float] = []
    for ring in rings:
        path += [0, *ring[0]] + [part for corner in ring[1:] for part in (1, *corner)] + [4]
    corners = np.array([corner for ring in rings for corner in ring])
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return box(
        int(left),
        int(top),
        int(right),
        int(bottom),
        multi_coordinates=np.array(path, np.float32),
        shape_roi_size=len(path),
    )


def write(path: Path, *rois: ImagejRoi | bytes) -> Path:
    """Write a .roi file, or a zip file as the ROI Manager saves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = [roi if isinstance(roi, bytes) else roi.tobytes() for roi in rois]
    if path.suffix == ".roi":
        path.write_bytes(*contents)
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, content in enumerate(contents):
            archive.writestr(f"{index:04d}-0005.roi", content)
    return path


def convert(folder: Path, *rois: ImagejRoi | bytes) -> tuple[Any, np.ndarray]:
    save_picture(folder / "cell_01.tif")
    source = write(folder / "cell_01.zip", *rois)
    made = convert_polygons(source, folder / "out", mode="classes")
    return made, read(folder / "out/labeled/masks/cell_01.png")


SHAPES = {
    "polygon": polygon(square(2, 3, 6)),
    "freehand": polygon(square(2, 3, 6), ROI_TYPE.FREEHAND),
    "traced": polygon(square(2, 3, 6), ROI_TYPE.TRACED),
    "parts of pixels": polygon([(2.2, 3.2), (7.9, 3.2), (7.9, 8.8), (2.2, 8.8)]),
    "rectangle": box(2, 3, 8, 9),
    "rectangle of parts of pixels": box(
        2,
        3,
        9,
        10,
        options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION,
        xd=2.1,
        yd=3.2,
        widthd=5.7,
        heightd=5.6,
    ),
    "rings": composite(square(2, 3, 6)),
}


@pytest.mark.parametrize("roi", SHAPES.values(), ids=SHAPES)
def test_every_kind_of_roi_covers_the_pixels_that_were_drawn(tmp_path, roi):
    made, mask = convert(tmp_path, roi)
    assert made.format == "ImageJ" and made.objects == {"object": 1} and not made.noted
    assert np.array_equal(mask == 1, bits(SIZE, 2, 3, 6, 6))


def test_a_roi_that_was_made_by_hand_from_the_published_header_is_read(tmp_path):
    corners = square(2, 3, 6)
    header = struct.pack(">4shBxhhhhH", b"Iout", 227, 0, 3, 2, 9, 8, len(corners)) + bytes(46)
    xs = [int(x) - 2 for x, _ in corners]
    ys = [int(y) - 3 for _, y in corners]
    content = header + struct.pack(">8h", *xs, *ys)
    _, mask = convert(tmp_path, content)
    assert np.array_equal(mask == 1, bits(SIZE, 2, 3, 6, 6))


def test_a_triangle_with_slopes_covers_the_pixels_whose_centers_are_inside(tmp_path):
    corners = [(1.5, 1.5), (18.5, 4.5), (6.5, 21.5)]
    _, mask = convert(tmp_path, polygon(corners))
    sure = distances(corners, SIZE) > 0.34
    assert np.array_equal((mask == 1)[sure], inside(corners, SIZE)[sure]) and mask.sum() > 150


def test_holes_are_cut_out_and_islands_in_holes_belong(tmp_path):
    _, mask = convert(tmp_path, composite(square(2, 2, 16), square(4, 4, 12), square(7, 7, 4)))
    wanted = bits(SIZE, 2, 2, 16, 16) & ~bits(SIZE, 4, 4, 12, 12) | bits(SIZE, 7, 7, 4, 4)
    assert np.array_equal(mask == 1, wanted)


def test_an_oval_covers_the_pixels_that_its_equation_says(tmp_path):
    _, mask = convert(tmp_path, box(3, 5, 17, 15, roitype=ROI_TYPE.OVAL))
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    value = ((columns - 10) / 7) ** 2 + ((rows - 10) / 5) ** 2
    sure = np.abs(value - 1) > 0.15
    assert np.array_equal((mask == 1)[sure], (value < 1)[sure])


@pytest.mark.parametrize("subtype", [ROI_SUBTYPE.ELLIPSE, ROI_SUBTYPE.ROTATED_RECT])
def test_turned_ellipses_and_rectangles_have_the_corners_that_imagej_stores(tmp_path, subtype):
    corners = [(10.0, 2.5), (16.5, 9.0), (10.0, 15.5), (3.5, 9.0)]
    _, mask = convert(tmp_path, polygon(corners, ROI_TYPE.FREEHAND, subtype=subtype))
    sure = distances(corners, SIZE) > 0.34
    assert np.array_equal((mask == 1)[sure], inside(corners, SIZE)[sure]) and mask.sum() > 70


def test_lines_points_and_texts_are_noted(tmp_path):
    made, _ = convert(
        tmp_path,
        polygon(square(2, 3, 6)),
        polygon([(1, 1)], ROI_TYPE.POINT),
        polygon([(1, 1), (5, 5)], ROI_TYPE.POLYLINE),
        polygon([(1, 1), (5, 5)], ROI_TYPE.FREELINE),
        box(1, 1, 5, 5, subtype=ROI_SUBTYPE.TEXT, text="x"),
        box(0, 0, 0, 0, roitype=ROI_TYPE.LINE, x2=5.0, y2=5.0),
    )
    kinds = ("point", "polyline", "freeline", "text", "line")
    assert set(made.noted) == {f"shapes without an area ({kind})" for kind in kinds}


def test_smoothed_outlines_and_round_corners_are_noted(tmp_path):
    smooth = polygon(square(2, 3, 6), options=ROI_OPTIONS.SPLINE_FIT)
    made, _ = convert(tmp_path, smooth, box(10, 10, 18, 18, rounded_rect_arc_size=4))
    assert [len(made.noted[what]) for what in made.noted] == [2] and imagej.CURVED in made.noted


def test_rois_are_objects_of_one_class_whatever_their_names(tmp_path):
    save_picture(tmp_path / "a.png")
    rois = [
        polygon(square(2, 3, 6), name="0006-0005"),
        polygon(square(9, 9, 5), name="0011-0011-1"),
        polygon(square(2, 15, 4), name="7"),
        polygon(square(15, 2, 4), name="nucleus-3"),
    ]
    made = convert_polygons(write(tmp_path / "a.zip", *rois), tmp_path / "out")
    assert made.mode == "instances" and made.objects == {"object": 4} and not made.noted
    assert np.unique(read(tmp_path / "out/labeled/masks/a.png")).tolist() == [0, 1, 2, 3, 4]


def test_names_that_may_mean_classes_are_said(tmp_path):
    names = ("nucleus-1", "nucleus-2", "Cytoplasm 1", "0012-0345")
    rois = [polygon(square(2, 3, 6), name=name) for name in names]
    found = read_annotations(write(tmp_path / "a.zip", *rois))
    assert found.labels == ("object",) and found.tally[imagej.NAMES] == ["cytoplasm", "nucleus"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("56959ba2-ecb9-11f1-ba5c-02fc00000001", "dabebade-ecba-41fb-babe-deadbeefcafe"), []),
        (("56959ba2ecb911f1ba5c02fc00000001", "cell_5696923c", "8F3A91C"), []),
        (("bad0001", "dead-0001", "5696923c"), ["bad", "dead"]),
        (("facade 1", "beads12"), ["beads", "facade"]),
    ],
)
def test_hexadecimal_numbers_are_no_words(tmp_path, names, words):
    rois = [polygon(square(2, 3, 6), name=name) for name in names]
    found = read_annotations(write(tmp_path / "a.zip", *rois))
    assert found.tally.get(imagej.NAMES, []) == words


def test_groups_are_classes_in_the_order_of_their_numbers(tmp_path):
    groups = (10, 2, 2, 0)
    rois = [
        polygon(square(1 + 5 * index, 3, 4), group=group, name=f"word{'abcd'[index]}")
        for index, group in enumerate(groups)
    ]
    made, mask = convert(tmp_path, *rois)
    assert made.objects == {"group 2": 2, "group 10": 1, "no group": 1}
    assert list(made.noted) == [imagej.UNGROUPED]
    assert mask[4, 2] == 2 and mask[4, 7] == mask[4, 12] == 1 and mask[4, 17] == 3


def test_rois_on_several_slices_are_refused(tmp_path):
    with pytest.raises(ImsegError, match=r"several slices[\s\S]*slice 2, slice 5"):
        convert(tmp_path, *(polygon(square(2, 3, 6), position=slice_) for slice_ in (2, 5, 0)))
    frames = [polygon(square(2, 3, 6), z_position=1, t_position=frame) for frame in (1, 2)]
    with pytest.raises(ImsegError, match="slice 1, frame 2"):
        convert(tmp_path, *frames)


def test_rois_on_channels_of_one_slice_are_read_and_a_later_slice_is_noted(tmp_path):
    first = [polygon(square(2, 3, 6), c_position=c, z_position=1) for c in (1, 2)]
    assert not read_annotations(write(tmp_path / "a.zip", *first)).tally
    later = polygon(square(2, 3, 6), position=4)
    first_slice = polygon(square(2, 3, 6), position=0)
    tally = read_annotations(write(tmp_path / "b.zip", later, first_slice, later)).tally
    places = [f"{tmp_path / 'b.zip'}: {index:04d}-0005.roi (slice 4)" for index in (0, 2)]
    assert tally == {imagej.LATER: places}


NAMES = [
    ("cell_01.tif", "cell_01.zip"),
    ("cell_01.png", "cell_01_RoiSet.zip"),
    ("cell_01.png", "RoiSet_cell_01.zip"),
    ("cell_01.png", "RoiSet-cell_01.zip"),
    ("cell_01.png", "cell_01-rois.zip"),
    ("cell_01.ome.tif", "cell_01.ome.zip"),
    ("ROI_1.png", "ROI_1.zip"),
    ("0012-0345.png", "0012-0345.zip"),
    ("0012-0345.png", "0012-0345.roi"),
    ("cell_01.png", "cell_01.roi"),
]


@pytest.mark.parametrize(("picture", "name"), NAMES, ids=range(len(NAMES)))
def test_a_picture_is_found_by_the_name_of_the_file(tmp_path, picture, name):
    save_picture(tmp_path / picture)
    save_picture(tmp_path / "other.png")
    made = convert_polygons(write(tmp_path / name, polygon(square(2, 3, 6))), tmp_path / "out")
    assert (made.labeled, made.unlabeled) == (1, 1)
    assert (tmp_path / "out/labeled/images" / picture).exists()


@pytest.mark.parametrize("name", ["RoiSet.zip", "0012-0345.roi", "7.roi"])
def test_a_file_without_a_name_of_its_own_means_the_one_picture_beside_it(tmp_path, name):
    save_picture(tmp_path / "cell_01.png")
    made = convert_polygons(write(tmp_path / name, polygon(square(2, 3, 6))), tmp_path / "out")
    assert made.labeled == 1


def test_single_rois_in_a_folder_are_the_objects_of_the_picture_of_its_name(tmp_path):
    save_picture(tmp_path / "data/cell_01.png")
    for index, corner in enumerate((2, 10)):
        path = tmp_path / f"data/cell_01/{index:04d}-0345.roi"
        write(path, polygon(square(corner, corner, 5)))
    made = convert_polygons(tmp_path / "data/cell_01", tmp_path / "out", images=tmp_path / "data")
    assert made.objects == {"object": 2} and made.labeled == 1


def test_rois_never_land_on_a_picture_of_another_name(tmp_path):
    save_picture(tmp_path / "data/cell_01.png")
    write(tmp_path / "data/cell_01.zip", polygon(square(2, 3, 6)))
    write(tmp_path / "data/2.roi", polygon(square(2, 3, 6)))
    with pytest.raises(ImsegError, match="no 2"):
        convert_polygons(tmp_path / "data", tmp_path / "out")


def test_a_folder_of_zip_files_gives_a_mask_for_each(tmp_path):
    for name in ("a", "b"):
        save_picture(tmp_path / f"data/{name}.png")
        write(tmp_path / f"data/{name}_RoiSet.zip", polygon(square(2, 3, 6)))
    made = convert_polygons(tmp_path / "data", tmp_path / "out")
    assert made.objects == {"object": 2} and made.labeled == 2


WHOLE = polygon(square(2, 3, 6)).tobytes()
DAMAGED = {
    "cut short": WHOLE[:40],
    "without its corners": WHOLE[:66],
    "another kind of file": b"P5 2 2 255\n" + bytes(80),
    "more corners than there are": WHOLE[:16] + b"\xff\xff" + WHOLE[18:],
    "a rectangle of no numbers": box(
        2, 3, 8, 9, options=ROI_OPTIONS.SUB_PIXEL_RESOLUTION, xd=float("nan"), widthd=5.0
    ).tobytes(),
    "a kind that is not known": WHOLE[:6] + b"\x63" + WHOLE[7:],
    "a curve": composite(square(2, 3, 6)).tobytes()[:64] + struct.pack(">16f", 3, *[1.0] * 15),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_rois_are_refused_with_their_place(tmp_path, content):
    with pytest.raises(ImsegError, match=r"cell_01\.zip: 0001-0005\.roi cannot be read"):
        convert(tmp_path, WHOLE, content)


def test_a_zip_file_that_would_fill_the_memory_is_refused(tmp_path):
    save_picture(tmp_path / "a.png")
    source = write(tmp_path / "a.zip", WHOLE, b"Iout" + bytes(65 << 20))
    with pytest.raises(ImsegError, match=r"a\.zip holds the entry '0001-0005\.roi', which unpacks"):
        convert_polygons(source, tmp_path / "out")


def test_a_zip_file_of_rois_and_other_files_is_unpacked_as_before(tmp_path):
    save_picture(tmp_path / "data/cell_01.png")
    write(tmp_path / "data/cell_01.roi", WHOLE)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in (tmp_path / "data").iterdir():
            archive.write(path, path.name)
    assert convert_polygons(tmp_path / "all.zip", tmp_path / "out").labeled == 1


def test_a_number_for_a_name_is_not_that_of_another_picture(tmp_path):
    save_picture(tmp_path / "raw/1.tif")
    roi = ImagejRoi.frompoints(np.array(square(2, 2, 5)))
    (tmp_path / "raw/2.roi").write_bytes(roi.tobytes())
    with pytest.raises(ImsegError, match="not beside it"):
        convert_polygons(tmp_path / "raw", tmp_path / "out")
    (tmp_path / "raw/1.tif").rename(tmp_path / "raw/cell.tif")
    assert convert_polygons(tmp_path / "raw", tmp_path / "out").labeled == 1


def save_stack(path: Path, sizes: tuple[tuple[int, int], ...] = (SIZE,) * 3) -> Path:
    """Write a file of several pages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pages = [Image.new("L", size[::-1], 40 * number) for number, size in enumerate(sizes, start=1)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


@pytest.mark.parametrize("pages", ["first", "max", "channels", 2])
def test_stacks_are_read_as_the_option_says_and_the_new_folder_knows(tmp_path, pages):
    path = save_stack(tmp_path / "in/cell_01.tif")
    save_stack(tmp_path / "in/cell_02.tif")
    save_stack(tmp_path / "in/cell_03.tif", (SIZE,) * 4 if pages != "channels" else (SIZE,) * 3)
    for name in ("cell_01.zip", "cell_03.zip"):
        write(tmp_path / "in" / name, polygon(square(2, 3, 6)))
    with pytest.raises(ImsegError, match=r"3 pages[\s\S]*--pages max") as caught:
        convert_polygons(tmp_path / "in", tmp_path / "out")
    assert "imseg.toml" not in str(caught.value)
    made = convert_polygons(tmp_path / "in", tmp_path / "out", pages=pages)
    assert (made.labeled, made.unlabeled) == (2, 1)
    assert (tmp_path / "out/labeled/images/cell_01.tif").read_bytes() == path.read_bytes()
    assert read_config(tmp_path / "out").pages == pages
    assert not check_folder(tmp_path / "out").errors


def test_the_size_is_that_of_the_plane_that_is_asked_for(tmp_path):
    save_stack(tmp_path / "cell_01.tif", (SIZE, (30, 40)))
    source = write(tmp_path / "cell_01.zip", polygon(square(25, 3, 6)))
    convert_polygons(source, tmp_path / "out", mode="classes", pages=2)
    assert read(tmp_path / "out/labeled/masks/cell_01.png").shape == (30, 40)
    with pytest.raises(ImsegError, match="2 planes, but pages = 3"):
        convert_polygons(source, tmp_path / "other", pages=3)


@pytest.mark.parametrize("text", ["3", "max", "channels"])
def test_the_command_line_says_what_pages_are(text):
    assert str(parse_pages(text)) == text


@pytest.mark.parametrize("text", ["0", "-1", "maxx", "", "2.5", "²", "9" * 5000])
def test_other_words_for_pages_are_refused_with_what_may_be_meant(text):
    with pytest.raises(ImsegError, match="--pages max"):
        parse_pages(text)
