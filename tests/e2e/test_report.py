"""Reports from the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.e2e.conftest import SMALL

FEW = [word for word in SMALL if word != "--no-report"]
FEW[FEW.index("--max-steps") + 1] = "2"


def test_training_ends_with_a_report_of_validation_images(cli, cells, tmp_path):
    words = ["train", cells, "--approach", "im", "--generations", "1", *FEW]
    status, out, _ = cli(*words, "--out", tmp_path / "run")
    assert status == 0
    assert f"Report: {tmp_path / 'run' / 'report.html'}" in out
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "6 validation images" in page and "score is optimistic" in page
    assert not (tmp_path / "run" / "report" / "tables" / "test-scores.csv").exists()


def test_a_training_can_do_without_a_report(im_run):
    assert not (im_run / "report.html").exists()


def test_a_report_that_fails_loses_no_run(cli, cells, tmp_path, monkeypatch):
    from imseg.report.html import make

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(make, "make_report", fail)
    status, out, err = cli(
        "train", cells, "--approach", "ldt", *FEW, "--out", tmp_path / "run", "--json"
    )
    assert status == 0 and json.loads(out)["report"] is None
    assert "warning: no report could be made (no ink)" in err
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.rest
def test_a_report_with_data_has_test_scores(cli, cli_json, cells, im_run, tmp_path):
    found = cli_json("report", im_run, cells, "--out", tmp_path / "page.html")
    assert found == {"report": str(tmp_path / "page.html"), "files": str(tmp_path / "page")}
    scores = cli_json("evaluate", im_run, cells)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"{scores['per_image']['iou']:.3f}" in page and "8 test images that it never saw" in page


def test_a_report_says_where_it_goes_and_what_to_do_next(cli, im_run, tmp_path):
    status, out, err = cli("report", im_run, "--out", tmp_path / "page.html")
    assert status == 0
    assert f"The report goes to {tmp_path / 'page.html'}" in err
    assert f"Report: {tmp_path / 'page.html'}" in out and f"imseg report {im_run} DATA" in out


def test_a_page_that_loses_its_images_is_told(cli, im_run, tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<img src="data:image/jpeg;base64,">')
    assert "it replaced one that had some" in cli("report", im_run, "--out", page)[2]
    assert "replaced" not in cli("report", im_run, "--out", page)[2]


def test_a_report_of_no_run_is_the_users_to_mend(cli, tmp_path):
    status, _, err = cli("report", tmp_path)
    assert status == 2 and "There is no run" in err


@pytest.mark.rest
def test_neither_help_nor_workers_load_what_draws():
    code = (
        "import sys; from imseg.cli.main import run; run(['--help']);"
        " import imseg.engine.workers.worker, imseg.report.html.make;"
        " print([n for n in ('matplotlib', 'jinja2') if n in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip().endswith("[]"), found.stdout + found.stderr
