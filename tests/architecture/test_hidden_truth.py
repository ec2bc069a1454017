"""Hidden truth is out of reach: images have no target, and fdt alone is given hidden masks."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest

import imseg
from imseg.approaches.catalog import APPROACHES
from imseg.approaches.material import Material
from imseg.approaches.settings import settings_from
from imseg.errors import ImsegError
from imseg.types import DataSet, Image

ROOT = Path(imseg.__file__).parent


def test_an_image_has_a_name_and_pixels_and_nothing_else() -> None:
    assert [field.name for field in dataclasses.fields(Image)] == ["name", "pixels"]
    with pytest.raises((AttributeError, TypeError)):
        Image("a.png", Path("a.png")).mask = Path("truth.png")


def test_a_data_set_has_no_field_for_hidden_masks() -> None:
    names = [field.name for field in dataclasses.fields(DataSet)]
    assert names == ["name", "spec", "reading", "labeled", "unlabeled", "val", "test", "digests"]


def test_the_material_of_an_approach_has_no_test_images() -> None:
    names = [field.name for field in dataclasses.fields(Material)]
    assert names == ["labeled", "validation", "unlabeled", "hidden", "indices"]


def test_fdt_alone_uses_hidden_masks() -> None:
    assert [name for name, each in APPROACHES.items() if each.labeled.hidden_too] == ["fdt"]
    assert all(
        not each.start.labeled.hidden_too for each in APPROACHES.values() if each.start is not None
    )


@pytest.mark.parametrize("approach", sorted(set(APPROACHES) - {"fdt"}))
def test_hidden_masks_are_refused_to_every_other_approach(approach: str) -> None:
    with pytest.raises(ImsegError, match=f"{approach} may not see the hidden masks"):
        settings_from({"approach": approach, "unlabeled_masks": "hidden/masks"})


def test_fdt_without_hidden_masks_is_refused() -> None:
    with pytest.raises(ImsegError, match="fdt needs the hidden masks"):
        settings_from({"approach": "fdt"})


def test_test_images_are_read_by_the_evaluation_alone() -> None:
    """The attribute ``.test`` of a data set is looked at where data sets are made and scored."""
    readers = set()
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "test":
                readers.add(path.relative_to(ROOT).as_posix())
    rooms = ("experiment", "intake", "generations", "material", "news")
    training = ("stages", *(f"approaches/{room}" for room in rooms))
    assert {name for name in readers if name.startswith((*training, "engine/trainer"))} == set()
