"""Annotation files as COCO, LabelMe and CVAT write them, every field, and a naive rule."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt
from PIL import Image

Corners = list[tuple[float, float]]


def save_picture(
    path: Path, size: tuple[int, int] = (24, 20), seed: int = 0, **options: Any
) -> Path:
    """Write a picture whose content depends on its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.Generator(np.random.PCG64(sum(path.name.encode()) + seed))
    Image.fromarray(generator.integers(0, 256, (*size, 3), np.uint8)).save(path, **options)
    return path


def square(left: float, top: float, side: float) -> Corners:
    return [(left, top), (left + side, top), (left + side, top + side), (left, top + side)]


def flat(corners: Corners) -> list[float]:
    return [number for corner in corners for number in corner]


def bits(size: tuple[int, int], left: int, top: int, width: int, height: int) -> npt.NDArray[Any]:
    """Return a picture of a box."""
    found = np.zeros(size, bool)
    found[top : top + height, left : left + width] = True
    return found


def inside(corners: Corners, size: tuple[int, int]) -> npt.NDArray[Any]:
    """Return which pixel centers are inside, by counting crossings one pixel at a time."""
    found = np.zeros(size, bool)
    edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
    for row in range(size[0]):
        for column in range(size[1]):
            x, y = column + 0.5, row + 0.5
            crossings = 0
            for (x0, y0), (x1, y1) in edges:
                if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                    crossings += 1
            found[row, column] = crossings % 2 == 1
    return found


def distances(corners: Corners, size: tuple[int, int]) -> npt.NDArray[Any]:
    """Return how far each pixel center is from the nearest edge."""
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    nearest = np.full(size, np.inf)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-12)
        share = np.clip(((columns - x0) * (x1 - x0) + (rows - y0) * (y1 - y0)) / length, 0, 1)
        nearest = np.minimum(
            nearest, np.hypot(columns - x0 - share * (x1 - x0), rows - y0 - share * (y1 - y0))
        )
    return nearest


class Coco:
    """A COCO instances file in the making."""

    def __init__(self, *names: str) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.categories = [
            {"id": number, "name": name, "supercategory": "thing"}
            for number, name in enumerate(names or ("cell",), start=1)
        ]

    def image(self, name: str, size: tuple[int, int] | None = (24, 20), **more: Any) -> int:
        number = len(self.images) + 100
        entry = {
            "id": number,
            "file_name": name,
            "license": 3,
            "coco_url": f"http://images.example.org/{name}",
            "flickr_url": "",
            "date_captured": "2024-02-30 25:61:00",
        }
        if size is not None:
            entry |= {"height": size[0], "width": size[1]}
        self.images.append(entry | more)
        return number

    def draw(self, image: int, *rings: Corners, category: int = 1, **more: Any) -> dict[str, Any]:
        entry = {
            "id": len(self.annotations) + 1,
            "image_id": image,
            "category_id": category,
            "segmentation": [flat(ring) for ring in rings],
            "area": 1.0,
            "bbox": [0, 0, 1, 1],
            "iscrowd": 0,
        } | more
        self.annotations.append(entry)
        return entry

    def plain(self) -> dict[str, Any]:
        return {
            "info": {"description": "made up", "year": 2024, "version": "1.0"},
            "licenses": [{"id": "?", "url": None}, "junk"],
            "images": self.images,
            "annotations": self.annotations,
            "categories": self.categories,
        }

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.plain()), encoding="utf-8")
        return path


def labelme_shape(
    label: str, points: Corners, kind: str = "polygon", group: int | None = None, **more: Any
) -> dict[str, Any]:
    return {
        "label": label,
        "points": [list(point) for point in points],
        "group_id": group,
        "description": "",
        "shape_type": kind,
        "flags": {"difficult": True},
        "mask": None,
    } | more


def as_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def png_text(covers: npt.NDArray[Any]) -> str:
    """Return a mask as LabelMe writes it: 0 and 1 in a PNG, as base64."""
    stream = io.BytesIO()
    Image.fromarray(covers.astype(np.uint8)).save(stream, format="PNG")
    return as_base64(stream.getvalue())


def write_labelme(
    path: Path,
    shapes: list[dict[str, Any]],
    *,
    picture: str | None = None,
    size: tuple[int, int] | None = (24, 20),
    content: bytes | None = None,
    **more: Any,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {
        "version": "5.5.0",
        "flags": {"checked": False},
        "shapes": shapes,
        "imagePath": picture if picture is not None else f"{path.stem}.png",
        "imageData": None if content is None else as_base64(content),
        "imageHeight": size[0] if size else None,
        "imageWidth": size[1] if size else None,
    } | more
    path.write_text(json.dumps(plain, indent=2), encoding="utf-8")
    return path


CVAT_START = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>7</id><name>my task</name><size>2</size><mode>annotation</mode><overlap>0</overlap>
      <bugtracker></bugtracker><created>2024-05-01</created><subset>default</subset>
      <start_frame>0</start_frame><stop_frame>1</stop_frame><frame_filter></frame_filter>
      <labels>{labels}</labels>
      <segments><segment><id>1</id><start>0</start><stop>1</stop><url></url></segment></segments>
      <owner><username>me</username><email>me@example.org</email></owner>
    </task>
    <dumped>2024-05-02</dumped>
  </meta>
"""
CVAT_LABEL = "<label><name>{}</name><color>#33ddff</color><type>any</type><attributes/></label>"


class Cvat:
    """A CVAT for images file in the making."""

    def __init__(self, *labels: str) -> None:
        self.labels = labels or ("cell",)
        self.pictures: list[str] = []

    def image(
        self, name: str, *shapes: str, size: tuple[int, int] = (24, 20), subset: str = ""
    ) -> None:
        number = len(self.pictures)
        more = f' subset={quoteattr(subset)} task_id="1"' if subset else ""
        start = (
            f'  <image id="{number}" name={quoteattr(name)}{more}'
            f' width="{size[1]}" height="{size[0]}">'
        )
        self.pictures.append("\n    ".join([start, *shapes]) + "\n  </image>\n")

    def text(self) -> str:
        labels = "".join(CVAT_LABEL.format(label) for label in self.labels)
        return CVAT_START.format(labels=labels) + "".join(self.pictures) + "</annotations>\n"

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.text(), encoding="utf-8")
        return path


def cvat_shape(kind: str, label: str = "cell", **attributes: Any) -> str:
    """Return a CVAT element, with an attribute of the user's own inside."""
    every = {"label": label, "source": "manual", "occluded": 0, **attributes}
    every.setdefault("z_order", 0)
    words = " ".join(f'{key}="{value}"' for key, value in every.items())
    return f'<{kind} {words}><attribute name="sure">true</attribute></{kind}>'


def cvat_polygon(corners: Corners, label: str = "cell", **attributes: Any) -> str:
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)
    return cvat_shape("polygon", label, points=points, **attributes)


def read(path: Path) -> npt.NDArray[Any]:
    """Return the values of a mask file, without the package's own reader."""
    with Image.open(path) as picture:
        return np.array(picture)
