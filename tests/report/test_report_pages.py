"""Pages of real tiny runs of every kind, and of a comparison."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from tests.e2e.small_sets import KINDS
from tests.report.pages import Page
from tests.sets import rest_but

from imseg.approaches.runs.run import load_run
from imseg.engine.storage.sealed import read_sealed, write_sealed
from imseg.errors import ImsegError
from imseg.report.html import make, run_facts
from imseg.report.html.make import make_report
from imseg.report.html.parts import inline
from imseg.types import Image, LabeledImage

MOST_BYTES = 3_000_000


def quiet(event: object) -> None:
    """Say nothing."""


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def table(page: Path, name: str) -> list[dict[str, str]]:
    file = page.with_suffix("") / "tables" / f"{name}.csv"
    return list(csv.DictReader(file.read_text().splitlines()))


@pytest.mark.parametrize("kind", rest_but(KINDS, lambda kind: kind == "multiclass"))
def test_a_page_of_every_kind_is_whole_and_stands_alone(tiny, tmp_path, kind):
    run, data = tiny(kind)
    path = make_report(run.path, data, out=tmp_path / "page.html", progress=quiet)
    page = read(path)
    assert page.foreign == [], "nothing is fetched"
    assert "script" not in {tag for tag, _ in page.elements}
    assert len(page.ids) == len(set(page.ids)), "every place has one name"
    links = [found["href"] for tag, found in page.elements if tag == "a"]
    assert links and {link.removeprefix("#") for link in links} <= set(page.ids)
    assert page.headings.count("h1") == 1
    assert f"{run.plan.approach.name} on " in page.text and "Approach(" not in page.text
    pictures = [found for tag, found in page.elements if tag == "img"]
    assert len(pictures) >= 5 * 4 and all(found["alt"] for found in pictures)
    drawn = [found for _, found in page.elements if found.get("role") == "img"]
    assert len(drawn) >= 2 and all(found["aria-label"] for found in drawn)
    assert path.stat().st_size < MOST_BYTES
    assert "5 test images" in page.text
    assert "chosen by these validation images" not in page.text


def test_without_data_a_page_says_how_to_get_images(tiny, tmp_path):
    run, _ = tiny("binary")
    page = read(make_report(run.path, out=tmp_path / "page.html", progress=quiet))
    assert "img" not in {tag for tag, _ in page.elements}
    assert "There are none here: without the data" in page.text and "imseg report" in page.text


def test_validation_scores_are_called_optimistic_and_test_images_stay_untouched(
    tiny, tmp_path, monkeypatch
):
    run, data = tiny("binary")
    pairs = [
        LabeledImage(Image(pair.name, Path("missing.png")), Path("missing.png"))
        for pair in data.test
    ]
    hidden = dataclasses.replace(data, test=tuple(pairs))
    path = make_report(run.path, hidden, out=tmp_path / "page.html", test=False, progress=quiet)
    page = read(path)
    assert "4 validation images" in page.text and "score is optimistic" in page.text
    assert "test images (95" not in page.text
    assert {entry["split"] for entry in table(path, "val-scores")} == {"val"}


def test_numbers_in_tables_are_those_of_the_run(tiny, tmp_path):
    run, data = tiny("multiclass")
    path = make_report(run.path, data, out=tmp_path / "page.html", progress=quiet)
    summary = json.loads((run.path / "summary.json").read_text())
    wanted = [
        (net["name"], net["scores"]["iou"], net["steps"], net["flops"])
        for stage in summary["stages"]
        for net in stage["networks"]
    ]
    found = [
        (each["network"], float(each["validation_iou"]), int(each["steps"]), float(each["flops"]))
        for each in table(path, "networks")
    ]
    assert found == wanted
    evaluation = run.evaluate(data)
    values = {
        each["score"]: float(each["value"])
        for each in table(path, "test-scores")
        if each["stage"] == summary["stage"]
    }
    assert values == pytest.approx(evaluation.per_image, abs=1e-12)
    assert [each["image"] for each in table(path, "images")] == list(evaluation.names)
    audits = run.audits["generation-1"]
    assert float(table(path, "pseudo-labels")[0]["agree_score"]) == audits["outside"]["score"]


def test_every_figure_is_beside_the_page_as_svg_and_png(tiny, tmp_path):
    run, data = tiny("binary")
    make_report(run.path, data, out=tmp_path / "some.html", progress=quiet)
    figures = tmp_path / "some" / "figures"
    names = {file.stem for file in figures.iterdir()}
    assert {"scores-by-generation", "learning-curves"} <= names
    for name in names:
        assert (figures / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        text = (figures / f"{name}.svg").read_text()
        assert "<svg" in text and "var(--" not in text
    left = [file for file in tmp_path.rglob("*") if file.name.endswith(".tmp")]
    assert left == [], "files are written whole"


EVIL = "<script>alert('x')</script>\"&**b**`c`"


def test_names_of_users_are_never_markup(tiny, tmp_path):
    run, data = tiny("multiclass")
    spec = run.spec
    names = (EVIL, *spec.names[1:])
    renamed = dataclasses.replace(
        data,
        spec=dataclasses.replace(spec, names=names),
        test=tuple(
            LabeledImage(Image(f"={EVIL}{i}", pair.image.pixels), pair.mask)
            for i, pair in enumerate(data.test)
        ),
    )
    target = run.path / "target.json"
    kept = target.read_bytes()
    write_sealed(target, {**read_sealed(target), "names": names})
    try:
        path = make_report(run.path, renamed, out=tmp_path / "page.html", progress=quiet)
    finally:
        target.write_bytes(kept)
    page = read(path)
    assert "script" not in {tag for tag, _ in page.elements}
    assert "alert('x')" in page.text, "it is shown as text"
    for file in path.with_suffix("").rglob("*.svg"):
        assert "<script" not in file.read_text()
    assert {row["image"][:2] for row in table(path, "images")} == {"'="}, "no formula"


def test_text_is_escaped_before_it_is_set_off():
    assert str(inline("**<b>**")) == "<strong>&lt;b&gt;</strong>"
    assert str(inline("`a <b>`")) == "<code><span>a</span> <span>&lt;b&gt;</span></code>"
    assert 'href="#next"' in inline("[on](#next)")
    assert "href" not in inline("[on](javascript:alert)")


def test_a_report_changes_nothing_in_the_run_but_adds_its_own_files(tiny):
    run, data = tiny("regression")
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    page = make_report(run.path, data, progress=quiet)
    assert page == run.path / "report.html"
    after = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    assert before.items() <= after.items()
    new = {path.relative_to(run.path).parts[0] for path in after.keys() - before.keys()}
    assert new == {"report.html", "report"}
    assert load_run(run.path).summary == run.summary


def test_two_reports_of_one_run_are_equal(tiny, tmp_path):
    run, data = tiny("binary")
    one = make_report(run.path, data, out=tmp_path / "a" / "page.html", progress=quiet)
    other = make_report(run.path, data, out=tmp_path / "b" / "page.html", progress=quiet)
    assert one.read_bytes() == other.read_bytes()


def test_a_comparison_has_its_page_and_its_numbers(comparison):
    path = make_report(comparison, progress=quiet)
    page = read(path)
    assert page.foreign == [] and len(page.ids) == len(set(page.ids))
    assert "8 approaches on isic" in page.text
    assert [each["name"] for each in table(path, "approaches")][-1] == "fdt"
    found = {each["name"]: float(each["difference"]) for each in table(path, "differences")}
    assert found == {"im": 0.011, "im++": 0.025, "noisy-student": -0.019}
    assert len(table(path, "stages")) == 2 * (5 + 3 * 4)


def test_a_damaged_comparison_is_named(comparison):
    content = read_sealed(comparison / "comparison.json")
    del content["rows"][0]["mean"]
    write_sealed(comparison / "comparison.json", content)
    with pytest.raises(ImsegError, match=r"comparison.json does not hold what it must") as error:
        make_report(comparison, progress=quiet)
    assert "rows.0.mean" in str(error.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("rows", 0, "runs", 0, "path"), "../../elsewhere"),
        (("rows", 0, "runs", 0, "path"), "/etc"),
        (("rows", 0, "name"), "../../x"),
        (("rows", 0, "name"), "a\x1b[2J"),
        (("rows", 0, "runs"), "x"),
        (("metric",), {}),
    ],
)
def test_a_comparison_that_leads_out_is_refused(comparison, place, value):
    file = comparison / "comparison.json"
    content = inner = read_sealed(file)
    for part in place[:-1]:
        inner = inner[part]
    inner[place[-1]] = value
    write_sealed(file, content)
    with pytest.raises(ImsegError, match=r"comparison\.json does not hold what it must"):
        make_report(comparison, progress=quiet)


def test_a_page_needs_a_name_that_ends_in_html(tiny, tmp_path):
    run, _ = tiny("binary")
    with pytest.raises(ImsegError, match="is no name for a page"):
        make_report(run.path, out=tmp_path / "page.pdf", progress=quiet)


def test_a_place_that_cannot_be_written_to_is_named(tiny, tmp_path):
    run, _ = tiny("binary")
    (tmp_path / "file").write_text("")
    with pytest.raises(ImsegError, match="cannot be written"):
        make_report(run.path, out=tmp_path / "file" / "page.html", progress=quiet)


def test_there_is_no_report_of_nothing(tmp_path):
    with pytest.raises(ImsegError, match="There is no run"):
        make_report(tmp_path, progress=quiet)


def test_a_quick_report_looks_at_few_images_and_says_so(tiny, tmp_path, monkeypatch):

    monkeypatch.setattr(run_facts, "QUICK_PIXELS", 3 * 32 * 32)
    run, data = tiny("binary")
    path = make_report(
        run.path, data, out=tmp_path / "page.html", test=False, quick=True, progress=quiet
    )
    page = read(path)
    assert "3 of them were looked at" in page.text
    assert "95\xa0% interval" not in page.text, "a part of the images has no interval of the whole"
    assert make.figures_beside(path) == tmp_path / "page"


def test_a_comparison_names_runs_that_failed_and_networks_that_are_others(tmp_path):
    from tests.report.comparisons import row, write

    twin = {**row("ldt-matched", "matched", 0.6), "same_as": "ldt"}
    lost = [{"name": "im", "seed": 1, "why": "<b>no</b> memory"}]
    rows = [row("ldt", "labels", 0.6), twin]
    page = read(make_report(write(tmp_path / "found", rows=rows, missing=lost), progress=quiet))
    assert "The networks of ldt-matched are those of ldt, bit by bit." in page.text
    assert "im, seed 1, failed: <b>no</b> memory" in page.text


def test_a_comparison_with_data_shows_the_same_images_through_all_approaches(tiny, tmp_path):
    from tests.report.comparisons import row, write

    run, data = tiny("binary")
    evaluation = run.evaluate(data)
    network = run.summary["network"]
    rows = [row(name, "labels", 0.5, seeds=(0,)) for name in ("ldt", "im")]
    folder = write(tmp_path / "found", rows=rows, images=5)
    for each in rows:
        shutil.copytree(run.path, folder / "seed-0" / each["name"])
        each["runs"][0] |= {"path": f"seed-0/{each['name']}", "network": network}
        scores = folder / "scores" / "seed-0" / f"{each['name']}.json"
        scores.parent.mkdir(parents=True, exist_ok=True)
        kept = {k: v for k, v in evaluation.as_dict().items() if k != "images"}
        kept |= {"names": evaluation.names, "each": evaluation.each}
        kept |= {"job": "", "data": ""}
        write_sealed(scores, {network: kept})
    page = read(make_report(write(folder, rows=rows, images=5), data, progress=quiet))
    shown = [found["alt"] for tag, found in page.elements if tag == "img"]
    assert len(shown) == 4 * (2 + 2), "image, truth and two predictions of four images"
    assert any(alt.startswith("prediction of im for") for alt in shown)
    worst = min(evaluation.each["iou"])
    assert f"im, {worst:.3f}" in page.text, "the hardest image is there"
