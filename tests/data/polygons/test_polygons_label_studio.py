"""Label Studio: JSON and JSON-MIN, percent and brush strokes, addresses of pictures, annotators."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.polygons.polygon_files import (
    Corners,
    bits,
    distances,
    inside,
    read,
    save_picture,
    square,
)

from imseg.data.polygons import convert_polygons, read_annotations
from imseg.data.polygons.formats import label_studio
from imseg.errors import ImsegError

SIZE = (24, 20)
SIZES = (3, 4, 8, 16)  # of lengths of groups, as Label Studio has them


def result(kind: str, value: dict[str, Any], labels: str | None = "cell", **more) -> dict[str, Any]:
    """Return one region as the whole export has it."""
    named = {} if labels is None else {kind: [labels]}
    return {
        "original_width": SIZE[1],
        "original_height": SIZE[0],
        "image_rotation": 0,
        "value": value | named,
        "id": f"r{abs(hash(json.dumps(value))) % 10**8}",
        "from_name": "label",
        "to_name": "image",
        "type": kind,
        "origin": "manual",
    } | more


def percent(corners: Corners) -> list[list[float]]:
    return [[100 * x / SIZE[1], 100 * y / SIZE[0]] for x, y in corners]


def polygon(corners: Corners, labels: str | None = "cell", **more) -> dict[str, Any]:
    value = {"points": percent(corners), "closed": True}
    return result("polygonlabels", value, labels, **more)


def annotation(*results: dict[str, Any], **more) -> dict[str, Any]:
    return {
        "id": 7,
        "completed_by": 1,
        "result": list(results),
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2024-05-01T10:00:00.000000Z",
        "updated_at": "2024-05-01T10:00:00.000000Z",
        "lead_time": 12.5,
        "prediction": {},
        "result_count": len(results),
    } | more


def task(image: str, *annotations: dict[str, Any], **more) -> dict[str, Any]:
    return {
        "id": sum(image.encode()),
        "annotations": list(annotations),
        "file_upload": image.rpartition("/")[2],
        "drafts": [],
        "predictions": [],
        "data": {"image": image},
        "meta": {},
        "inner_id": 1,
    } | more


def write(path: Path, *tasks: object) -> Path:
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def convert(folder: Path, *results: dict[str, Any]) -> tuple[Any, np.ndarray]:
    """Return what is made of regions on one picture, and the mask."""
    save_picture(folder / "a.png")
    source = write(folder / "project.json", task("/data/upload/3/a.png", annotation(*results)))
    made = convert_polygons(source, folder / "out")
    return made, read(folder / "out/labeled/masks/a.png")


def pack(
    values: np.ndarray, sizes: tuple[int, ...] = (3, 4, 8, 16), shortest: int = 3
) -> list[int]:
    """Return bytes packed as a text of bits, one group after another."""
    text = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    at, rest = 0, values.tolist()

    def group(repeats: bool, found: list[int]) -> str:
        which = next(i for i, size in enumerate(sizes) if len(found) <= 1 << size)
        words = found[:1] if repeats else found
        head = f"{int(repeats)}{which:02b}{len(found) - 1:0{sizes[which]}b}"
        return head + "".join(f"{word:08b}" for word in words)

    plain: list[int] = []
    while at < len(rest):
        end = at
        while end < len(rest) and rest[end] == rest[at] and end - at < 1 << sizes[-1]:
            end += 1
        if end - at >= shortest:
            text += group(False, plain) if plain else ""
            text, plain = text + group(True, rest[at:end]), []
        else:
            plain += rest[at:end]
            if len(plain) > 200:
                text, plain = text + group(False, plain), []
        at = end
    text += group(False, plain) if plain else ""
    text += "0" * (-len(text) % 8)
    return [int(text[i : i + 8], 2) for i in range(0, len(text), 8)]


def painted(mask: np.ndarray, color: tuple[int, int, int] = (220, 20, 60)) -> np.ndarray:
    """Return the bytes of a picture that shows a mask in a color on nothing, as a canvas has it."""
    pixels = np.zeros((*mask.shape, 4), np.uint8)
    pixels[mask] = (*color, 255)
    return pixels.reshape(-1)


def unfold(counts: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts)


def test_polygons_in_percent_cover_the_pixels_that_were_drawn(tmp_path):
    corners = [(1.0, 1.0), (15.0, 3.0), (8.0, 20.0)]
    made, mask = convert(tmp_path, polygon(corners), polygon(square(14, 14, 5), "dish"))
    assert made.format == "Label Studio" and made.objects == {"cell": 1, "dish": 1}
    assert np.array_equal(mask == 2, bits(SIZE, 14, 14, 5, 5))
    sure = (distances(corners, SIZE) > 0.34) & (mask != 2)
    assert np.array_equal((mask == 1)[sure], inside(corners, SIZE)[sure])


@given(
    flat=st.lists(st.booleans(), min_size=1, max_size=120),
    color=st.sampled_from([(0, 0, 0), (255, 255, 255), (220, 20, 60)]),
    sizes=st.sampled_from([(3, 4, 8, 16), (2, 6, 9, 12)]),
    shortest=st.integers(1, 9),
)
def test_brush_strokes_are_unpacked_to_what_was_painted(flat, color, sizes, shortest):
    mask = np.array(flat)[None]
    packed = bytes(pack(painted(mask, color), sizes, shortest))
    counts = label_studio.painted_counts(packed, mask.size)
    assert np.array_equal(unfold(counts), mask[0])


def test_brush_strokes_lie_along_the_rows_of_the_picture(tmp_path):
    mask = bits(SIZE, 3, 5, 9, 4)
    value = {"format": "rle", "rle": pack(painted(mask))}
    made, found = convert(tmp_path, result("brushlabels", value))
    assert np.array_equal(found == 1, mask) and made.objects == {"cell": 1}


def test_groups_longer_than_their_numbers_can_say_follow_each_other():
    mask = np.zeros((100, 180), bool)
    mask[95:, 20:] = True
    counts = label_studio.painted_counts(bytes(pack(painted(mask, (255, 255, 255)))), mask.size)
    assert np.array_equal(unfold(counts).reshape(mask.shape), mask)


DAMAGED = {
    "too short": lambda packed: packed[:-2],
    "nothing": lambda packed: [],
    "another picture": lambda packed: pack(painted(bits((5, 5), 1, 1, 2, 2))),
    "a claim": lambda packed: [255] * 4 + packed[4:],
    "a text": lambda packed: "abc",
    "no bytes": lambda packed: [300],
    "missing": lambda packed: None,
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_brush_strokes_that_are_damaged_are_refused(tmp_path, damage):
    value = {"format": "rle", "rle": damage(pack(painted(bits(SIZE, 3, 5, 9, 4))))}
    value |= {"points": percent(square(1, 1, 9))}
    with pytest.raises(ImsegError, match=r"project\.json: task 0, result 0 has brush strokes"):
        convert(tmp_path, result("brushlabels", value))


def test_rectangles_turn_about_their_first_corner_and_ellipses_about_their_middle(tmp_path):
    (x, y), (width, height) = percent([(12, 4), (8, 5)])
    box = {"x": x, "y": y, "width": width, "height": height, "rotation": 90}
    (cx, cy), (rx, ry) = percent([(14, 18), (5, 2)])
    oval = {"x": cx, "y": cy, "radiusX": rx, "radiusY": ry, "rotation": 0}
    oval_result = result("ellipselabels", oval, "dish")
    _, mask = convert(tmp_path, result("rectanglelabels", box), oval_result)
    # A quarter turn clockwise lays the rectangle to the left of its corner.
    assert np.array_equal(mask == 1, bits(SIZE, 7, 4, 5, 8))
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    equation = ((columns - 14) / 5) ** 2 + ((rows - 18) / 2) ** 2
    sure = np.abs(equation - 1) > 0.2
    assert np.array_equal((mask == 2)[sure], (equation < 1)[sure])


def test_a_region_and_its_label_may_be_two_results_of_one_id(tmp_path):
    plain = polygon(square(2, 3, 6), None, type="polygon", id="x")
    value = {"points": percent(square(2, 3, 6)), "labels": ["dish"]}
    made, mask = convert(tmp_path, plain, result("labels", value, None, id="x"))
    assert made.objects == {"dish": 1} and not made.noted
    assert np.array_equal(mask == 1, bits(SIZE, 2, 3, 6, 6))


def test_regions_without_a_label_are_taken_and_said(tmp_path):
    made, _ = convert(tmp_path, polygon(square(2, 3, 6), None))
    assert made.objects == {"unclassified": 1} and list(made.noted) == [label_studio.NO_LABEL]


def test_points_and_open_outlines_are_noted_and_choices_are_not(tmp_path):
    point = result("keypointlabels", {"x": 50, "y": 50, "width": 0.5})
    line = polygon(square(2, 3, 6))
    line["value"]["closed"] = False
    choice = result("choices", {"choices": ["sharp"]}, None)
    made, _ = convert(tmp_path, polygon(square(9, 9, 5)), point, line, choice)
    assert set(made.noted) == {
        "shapes without an area (keypointlabels)",
        "shapes without an area (polygonlabels, not closed)",
    }
    assert made.objects == {"cell": 1}


def test_kinds_of_regions_that_are_too_new_are_refused_by_name(tmp_path):
    value = {"vertices": [{"x": 1, "y": 1}], "closed": True}
    with pytest.raises(ImsegError, match=r"kind that is not read[\s\S]*vertices"):
        convert(tmp_path, result("vectorlabels", value))


def test_a_picture_that_was_turned_in_label_studio_is_refused(tmp_path):
    with pytest.raises(ImsegError, match=r"turned in Label Studio[\s\S]*90[\s\S]*turn the"):
        convert(tmp_path, polygon(square(2, 3, 6), image_rotation=90))


def test_a_picture_of_another_size_than_it_had_in_label_studio_is_refused(tmp_path):
    with pytest.raises(ImsegError, match=r"another size[\s\S]*24x20, the annotations say 48x40"):
        convert(tmp_path, polygon(square(2, 3, 6), original_width=40, original_height=48))


def test_percent_of_an_unknown_size_is_refused(tmp_path):
    region = polygon(square(2, 3, 6))
    del region["original_width"], region["original_height"]
    with pytest.raises(ImsegError, match="does not say how large the picture is"):
        convert(tmp_path, region)


ADDRESSES = {
    "/data/upload/3/a b.png": "data/upload/3/a b.png",
    "/data/upload/3/a%20b.png": "data/upload/3/a b.png",
    "/data/local-files/?d=day%201/a.PNG": "day 1/a.PNG",
    "/data/local-files/?d=day1\\a.png": "day1\\a.png",
    "http://localhost:8080/data/upload/3/a.jpg": "data/upload/3/a.jpg",
    "s3://bucket/day1/a.tif": "day1/a.tif",
    "https://bucket.s3.amazonaws.com/day1/a.png?X-Amz-Date=1&sig=x/y": "day1/a.png",
    "/tasks/3/resolve/?fileuri="
    + base64.urlsafe_b64encode(b"s3://bucket/day1/a.png").decode().rstrip("="): "day1/a.png",
    "/storage-data/uploaded/?filepath=upload/3/a.png": "upload/3/a.png",
    "images/a.png": "images/a.png",
}


@pytest.mark.parametrize(("address", "name"), ADDRESSES.items(), ids=range(len(ADDRESSES)))
def test_the_path_of_a_picture_is_read_from_every_kind_of_address(tmp_path, address, name):
    source = write(tmp_path / "p.json", task(address, annotation(polygon(square(2, 3, 6)))))
    assert [each.name for each in read_annotations(source).pictures] == [name]


def test_the_picture_is_found_under_any_key_unless_there_are_several(tmp_path):
    region = annotation(polygon(square(2, 3, 6)))
    plain = task("a.png", region, data={"photo_url": "x/a.png", "note": "two cells"})
    assert read_annotations(write(tmp_path / "p.json", plain)).pictures[0].name == "x/a.png"
    two = task("a.png", region, data={"before": "a.png", "after": "b.png"})
    with pytest.raises(ImsegError, match=r"task 0 does not name one picture[\s\S]*a\.png, b\.png"):
        read_annotations(write(tmp_path / "p.json", two))
    image = task("a.png", region, data={"image": "a.png", "preview": "b.png"})
    assert read_annotations(write(tmp_path / "p.json", image)).pictures[0].name == "a.png"


def test_uploads_are_found_with_and_without_the_prefix_of_label_studio(tmp_path):
    save_picture(tmp_path / "images/dish one (1).png")
    save_picture(tmp_path / "images/0a1b2c3d-two.png")
    region = annotation(polygon(square(2, 3, 6)))
    source = write(
        tmp_path / "p.json",
        task("/data/upload/3/1a2b3c4d-dish_one_1.png", region),
        task("/data/upload/3/0a1b2c3d-two.png", region),
    )
    convert_polygons(source, tmp_path / "out")
    found = sorted(path.stem for path in (tmp_path / "out/labeled/masks").iterdir())
    assert found == ["0a1b2c3d-two", "dish one (1)"]


def test_the_latest_annotation_counts_and_ground_truth_before_it(tmp_path):
    for name in "ab":
        save_picture(tmp_path / f"{name}.png")
    old = annotation(polygon(square(1, 1, 5)))
    new = annotation(polygon(square(9, 9, 5)), updated_at="2024-06-01T10:00:00.000000Z")
    truth = old | {"ground_truth": True}
    source = write(tmp_path / "p.json", task("a.png", new, old), task("b.png", new, truth))
    made = convert_polygons(source, tmp_path / "out")
    masks = tmp_path / "out/labeled/masks"
    assert np.array_equal(read(masks / "a.png") == 1, bits(SIZE, 9, 9, 5, 5))
    assert np.array_equal(read(masks / "b.png") == 1, bits(SIZE, 1, 1, 5, 5))
    assert made.noted == {label_studio.SEVERAL: ["a.png"]}


def test_empty_annotations_are_empty_masks_and_what_was_not_submitted_is_unlabeled(tmp_path):
    for name in "abcd":
        save_picture(tmp_path / f"{name}.png")
    drawn = annotation(polygon(square(2, 3, 6)))
    source = write(
        tmp_path / "p.json",
        task("a.png", drawn),
        task("b.png", annotation()),
        task("c.png", drawn | {"was_cancelled": True}),
        task("d.png", predictions=[drawn]),
    )
    made = convert_polygons(source, tmp_path / "out")
    assert (made.labeled, made.unlabeled) == (2, 2)
    assert not read(tmp_path / "out/labeled/masks/b.png").any()
    assert made.noted == {
        label_studio.EMPTY: ["b.png"],
        label_studio.SKIPPED: ["c.png"],
        label_studio.PREDICTED: ["d.png"],
    }


def small(identity: int, image: str, **controls: Any) -> dict[str, Any]:
    """Return an entry of JSON-MIN."""
    return {
        "image": image,
        "id": identity,
        "annotator": 1,
        "annotation_id": 10 + identity,
        "created_at": "2024-05-01T10:00:00.000000Z",
        "updated_at": "2024-05-01T10:00:00.000000Z",
        "lead_time": 3.5,
    } | controls


def flat(region: dict[str, Any]) -> dict[str, Any]:
    sizes = {key: region[key] for key in ("original_width", "original_height")}
    return region["value"] | sizes


def test_json_min_gives_what_the_whole_export_gives(tmp_path):
    for name in "abc":
        save_picture(tmp_path / f"{name}.png")
    first = polygon(square(2, 3, 6))
    brush = result("brushlabels", {"format": "rle", "rle": pack(painted(bits(SIZE, 9, 9, 5, 5)))})
    named = {"points": percent(square(2, 3, 6)), "closed": True, "labels": ["dish"]}
    bare = flat(polygon(square(2, 3, 6), None))
    twice = [bare, bare | named]
    source = write(
        tmp_path / "p.json",
        small(1, "/data/upload/3/a.png", label=[flat(first)], tag=[flat(brush)]),
        small(2, "b.png", quality="sharp"),
        small(3, "c.png", region=twice[:1], label=twice[1:]),
    )
    made = convert_polygons(source, tmp_path / "out")
    masks = tmp_path / "out/labeled/masks"
    wanted = bits(SIZE, 2, 3, 6, 6) | bits(SIZE, 9, 9, 5, 5)
    assert np.array_equal(read(masks / "a.png") == 1, wanted)
    assert not read(masks / "b.png").any() and made.labeled == 3
    assert made.objects == {"cell": 2, "dish": 1}
    assert list(made.noted) == [label_studio.EMPTY]


def test_a_file_per_annotation_as_storages_have_it_is_read(tmp_path):
    save_picture(tmp_path / "a.png")
    inner = {key: value for key, value in task("a.png").items() if key != "annotations"}
    path = tmp_path / "17.json"
    path.write_text(json.dumps(annotation(polygon(square(2, 3, 6)), task=inner)))
    assert convert_polygons(path, tmp_path / "out").objects == {"cell": 1}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (task("a.png", annotation(5)), "task 1, result 0 is not an object"),
        (task("a.png", annotation() | {"result": "x"}), "task 1 has no list of result"),
        (
            task("a.png", annotation(polygon([]) | {"value": 5})),
            "task 1, result 0 has a wrong value",
        ),
        (5, "task 1 is not an object"),
    ],
)
def test_what_is_not_as_label_studio_has_it_is_refused_with_its_place(tmp_path, entry, reason):
    good = task("b.png", annotation(polygon(square(2, 3, 6))))
    with pytest.raises(ImsegError, match=f"p\\.json: {reason}"):
        read_annotations(write(tmp_path / "p.json", good, entry))
