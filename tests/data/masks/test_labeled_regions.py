"""Images of which only some boxes are labeled."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from tests.e2e.small_sets import KINDS, Watched, small_set, train
from tests.sets import rest_but

from imseg.data.cache.store import store_split
from imseg.data.checks.folder_check import check_folder
from imseg.data.checks.repair import repair_folder
from imseg.data.folder.scan import read_folder
from imseg.data.masks.io import load_target
from imseg.data.masks.labeled_regions import outside
from imseg.errors import ImsegError
from imseg.ops.tiling import Tiling
from imseg.report.html.run_facts import RunFacts, score_split
from imseg.types import VOID, LabeledImage

HEAD = "image,left,top,width,height\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for split, count in (("labeled", 4), ("val", 2), ("test", 2)):
        for kind in ("images", "masks"):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros((40, 60), np.uint8)
            mask[10:25, 12:40] = 255
            image = np.clip(generator.normal(80, 20, mask.shape) + mask // 2, 0, 255)
            name = f"{split}{number}.png"
            Pillow.fromarray(image.astype(np.uint8)).save(
                tmp_path / "data" / split / "images" / name
            )
            Pillow.fromarray(mask).save(tmp_path / "data" / split / "masks" / name)
    return tmp_path / "data"


def test_what_is_outside_of_the_boxes_has_no_label(folder) -> None:
    (folder / "labeled/regions.csv").write_text(
        HEAD
        + "labeled0.png,5,6,20,10\nlabeled0,30,20,10,20\n labeled/images/labeled2.png,0,0,60,40\n"
    )
    data = read_folder(folder)
    first, second, third, _ = data.labeled
    assert first.regions == ((5, 6, 20, 10), (30, 20, 10, 20)) and second.regions is None
    target, known = load_target(first, data.spec)[0], np.zeros((40, 60), bool)
    known[6:16, 5:25] = known[20:40, 30:40] = True
    whole = load_target(replace(first, regions=None), data.spec)[0]
    np.testing.assert_array_equal(target, np.where(known, whole, VOID))
    np.testing.assert_array_equal(load_target(third, data.spec)[0], whole)
    half = load_target(first, data.spec, (20, 30))[0]
    np.testing.assert_array_equal(half != VOID, known[1::2, 1::2])
    notes = [each.what for each in check_folder(folder).of_severity("note")]
    assert any("2 of 4 images in labeled are labeled in part: 58 %" in each for each in notes)


@given(
    box=st.tuples(*[st.integers(0, 30)] * 2, *[st.integers(1, 30)] * 2),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_a_pixel_is_labeled_where_its_middle_is_in_a_box(box, size) -> None:
    left, top, width, height = box
    found = outside([box], (37, 41), size)
    for row, column in np.ndindex(size):
        y, x = (row + 0.5) * 37 / size[0], (column + 0.5) * 41 / size[1]
        inside = left <= x < left + width and top <= y < top + height
        assert found[row, column] != inside


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the first line is empty"),
        ("image,x,y,w,h\na,1,2,3,4\n", "the first line is image,x,y,w,h"),
        (HEAD + "labeled0.png,1,2,three,4\n", "line 2: labeled0.png,1,2,three,4"),
        (HEAD + "labeled0.png,1,2\n", "line 2: labeled0.png,1,2"),
        ("left,top,width,height,image\n1,2,3,4\n", "line 2: 1,2,3,4"),
        (HEAD + "labeled0.png,1,2,0,4\n", "line 2: 1,2,0,4 is no box"),
        (HEAD + "labeled9.png,1,2,3,4\n", "there is no image labeled9.png in labeled"),
        (
            HEAD + "labeled0.png,50,2,11,4\n",
            "50,2,11,4 on labeled/images/labeled0.png, which has 60x40",
        ),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(folder, text, told) -> None:
    (folder / "labeled/regions.csv").write_text(text)
    with pytest.raises(ImsegError) as error:
        read_folder(folder)
    assert told in str(error.value) and "labeled/regions.csv" in str(error.value)


def test_the_copy_that_is_mended_has_the_table_too(folder, tmp_path) -> None:
    boxes = ["labeled0.png,5,6,20,10", "labeled1.png,1,1,9,9", "labeled2,2,2,20,20"]
    (folder / "labeled/regions.csv").write_text(HEAD + "\n".join(boxes) + "\n")
    (folder / "labeled/images/labeled1.png").write_bytes(b"no picture")
    repaired = repair_folder(folder, tmp_path / "mended")
    first, second, _ = read_folder(tmp_path / "mended").labeled
    assert (first.regions, second.regions) == (((5, 6, 20, 10),), ((2, 2, 20, 20),))
    assert [each.did for each in repaired.repairs if "regions" in each.file] == [
        "1 line of images that were left out"
    ]


@pytest.mark.parametrize("name", ["Regions.csv", "region.csv", "labeled_regions.csv"])
def test_a_table_under_another_name_is_not_passed_over(folder, name) -> None:
    (folder / "val" / name).write_text(HEAD)
    with pytest.raises(ImsegError, match=f"val/{name} is not read"):
        read_folder(folder)


def test_what_is_counted_lies_in_the_boxes(folder) -> None:
    (folder / "labeled/regions.csv").write_text(
        HEAD + "".join(f"labeled{n}.png,10,8,20,20\n" for n in range(4))
    )
    shares = {each.name: each.share for each in check_folder(folder).classes}
    assert shares["foreground"] == pytest.approx(18 * 15 / 400)
    mask = np.array(Pillow.open(folder / "labeled/masks/labeled3.png"))
    mask[0, 0] = 77  # a value that is no class, where nothing is labeled
    Pillow.fromarray(mask).save(folder / "labeled/masks/labeled3.png")
    assert read_folder(folder).spec.values == (0, 255)
    train(read_folder(folder), "ldt", folder.parent / "run", networks=1)


def test_a_run_notices_that_boxes_have_changed(folder, tmp_path) -> None:
    table = folder / "labeled/regions.csv"
    table.write_text(HEAD + "labeled0.png,5,6,20,10\n")
    train(read_folder(folder), "ldt", tmp_path / "run", networks=1)
    for text in (HEAD + "labeled0.png,5,6,20,12\n", None):
        table.unlink()
        if text is not None:
            table.write_text(text)
        with pytest.raises(ImsegError, match="changed"):
            train(read_folder(folder), "ldt", tmp_path / "run", networks=1)
        table.write_text(HEAD + "labeled0.png,5,6,20,10\n")


def test_tiles_without_a_label_are_not_learned_from(folder, tmp_path) -> None:
    (folder / "labeled/regions.csv").write_text(
        HEAD + "".join(f"labeled{n}.png,2,2,9,9\n" for n in range(3))
    )
    executor = Watched()
    train(
        read_folder(folder), "ldt", tmp_path / "run", networks=1, executor=executor,
        leave_out=("image_size",), scale=1.0, patch=(32, 32),
    )  # fmt: skip
    (job, *_) = executor.jobs["start"]
    tiles = Tiling((48, 48), (32, 32)).corners((40, 60))
    seen = sum(row < 11 and column < 11 for row, column in tiles)
    assert len(job.samples[0].indices) == 3 * seen + len(tiles) < 4 * len(tiles)


def test_the_report_scores_what_is_labeled(folder, tmp_path) -> None:
    (folder / "test/regions.csv").write_text(HEAD + "test0.png,10,8,20,20\ntest1,0,0,30,30\n")
    shutil.copytree(folder / "val/images", folder / "unlabeled")
    for path in (folder / "unlabeled").iterdir():
        pixels = np.array(Pillow.open(path))[:, ::-1]
        Pillow.fromarray(pixels).save(path)
    data = read_folder(folder)
    run = train(data, "im", tmp_path / "run")
    facts = RunFacts(run)
    scored = score_split(facts, data, test=True, quick=False, device="cpu", progress=lambda _: None)
    assert scored is not None
    assert scored.found.per_image == run.evaluate(data).per_image


def test_other_boxes_are_other_targets(folder, tmp_path) -> None:
    arrays = []
    for text in (None, "labeled0.png,5,6,20,10\n", "labeled0.png,5,6,20,12\n"):
        if text is not None:
            (folder / "labeled/regions.csv").write_text(HEAD + text)
        data = read_folder(folder)
        stored = store_split(
            data.labeled, tmp_path / "store", "labeled", spec=data.spec, reading=data.reading,
            size=(40, 60), workers=1,
        )  # fmt: skip
        arrays.append(np.array(np.load(stored.targets)))
    known = [int((each != VOID).sum()) for each in arrays]
    assert known == [4 * 2400, 3 * 2400 + 200, 3 * 2400 + 240]


@pytest.mark.parametrize("kind", rest_but(KINDS, lambda kind: kind in ("multiclass", "instances")))
def test_scores_count_what_is_labeled(kind, tmp_path) -> None:
    data = small_set(kind)

    def partly(pairs: tuple[LabeledImage, ...]) -> tuple[LabeledImage, ...]:
        return tuple(replace(each, regions=((4, 4, 16, 20),)) for each in pairs)

    spec = replace(data.spec, partly=True)
    data = replace(data, spec=spec, labeled=partly(data.labeled), val=partly(data.val))
    run = train(data, "ldt", tmp_path / "run", networks=1)
    data = replace(data, test=data.val)
    part = run.evaluate(data)
    assert all(np.isfinite(value) for value in part.per_image.values() if value is not None)
    wrong = [
        replace(each, mask=np.where(inside(each.mask.shape[:2]), each.mask, each.mask[::-1]))
        if np.ndim(each.mask) == 2
        else each
        for each in data.test
    ]
    again = run.evaluate(replace(data, test=tuple(wrong)))
    if kind != "instances":  # an object that a box cuts may be another one outside
        assert again.per_image == part.per_image, "what lies outside makes no difference"


def inside(shape: tuple[int, int]) -> np.ndarray:
    found = np.zeros(shape, bool)
    found[4:24, 4:20] = True
    return found
