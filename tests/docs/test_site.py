"""The documentation builds without a complaint, and needs nothing from the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from imseg.cli.main import app

ROOT = Path(__file__).parents[2]
MOST_BYTES = 200_000
"""Of one picture."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make docs`` builds. Links and anchors that lead nowhere end it with an error."""
    out = tmp_path_factory.mktemp("site")
    found = subprocess.run(
        # Not --quiet: warnings that are not shown are not counted by --strict.
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return out


def test_the_command_is_that_of_make_docs() -> None:
    assert "mkdocs build --strict $(ARGS)" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.rest
def test_every_page_is_there(site: Path) -> None:
    for path in (ROOT / "docs").rglob("*.md"):
        page = site / path.relative_to(ROOT / "docs").with_suffix(".html")
        assert page.is_file(), page


@pytest.mark.rest
def test_every_command_and_option_is_on_the_page_of_commands(site: Path) -> None:
    page = (site / "reference/command-line.html").read_text(encoding="utf-8")
    for name, command in get_command(app).commands.items():
        assert f'id="imseg-{name}"' in page
        for option in command.params:
            if option.param_type_name == "option":
                for spelled in (*option.opts, *option.secondary_opts):
                    assert spelled == "--help" or spelled in page, f"{name} {spelled}"


@pytest.mark.rest
def test_every_public_name_is_on_the_page_of_python(site: Path) -> None:
    import imseg

    page = (site / "reference/python.html").read_text(encoding="utf-8")
    for name in imseg.__all__:
        assert f'id="imseg.{name}"' in page, name


@pytest.mark.rest
def test_nothing_is_loaded_from_the_network(site: Path) -> None:
    """Links may lead out, but scripts, styles, fonts and pictures are here."""
    loads = re.compile(
        r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^>]*>"
    )
    for page in site.rglob("*.html"):
        found = loads.findall(page.read_text(encoding="utf-8"))
        assert [each for each in found if 'rel="canonical"' not in each] == [], page
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", text), sheet


def test_pictures_are_small() -> None:
    for path in (ROOT / "docs/pictures").glob("*.png"):
        assert path.stat().st_size <= MOST_BYTES, path


def test_the_site_is_no_part_of_the_repository() -> None:
    assert "/site/" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()


def test_links_lead_somewhere_in_the_repository_too() -> None:
    """Pages are also read where they lie; only the list of decisions exists on the site alone."""
    pages = [*ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md"), *(ROOT / "docs").rglob("*.md")]
    link = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)")
    for page in pages:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
        for aim in link.findall(text):
            assert (page.parent / aim).exists(), f"{page.relative_to(ROOT)} links to {aim}"
