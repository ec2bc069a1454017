"""Links that lead out, names that garble terminals, and folders that may not be written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imseg.cli.commands.data_folders import as_text
from imseg.data.checks.fitness import errors_of
from imseg.data.checks.folder_check import check_folder
from imseg.data.checks.repair import repair_folder
from imseg.data.folder.scan import read_folder, scan
from imseg.errors import ImsegError

Complaint = Callable[[], str]


def moved_out(path: Path, outside: Path) -> None:
    """Replace a file or folder by a link to where it is now."""
    outside.mkdir(exist_ok=True)
    shutil.move(path, outside / path.name)
    path.symlink_to(outside / path.name)


@pytest.mark.parametrize(
    "name",
    [
        "labeled/images/cell_01.png",
        "labeled/masks/cell_01.png",
        "unlabeled/cell_u0.png",
        "val/masks/cell_01.png",
        "labeled/images",
        "labeled/masks",
        "labeled",
        "unlabeled",
        "test",
    ],
)
def test_links_that_lead_out_are_refused_and_nobody_else_is_blamed(
    good, tmp_path, name: str
) -> None:
    moved_out(good.root / name, tmp_path / "outside")
    errors = errors_of(scan(good.root))
    assert [error.what for error in errors] == ["1 link leads out of the data folder."]
    assert errors[0].files[0].startswith(name)
    assert "copy what is meant to where the link is" in errors[0].hint


def test_links_to_labels_are_refused(maker, tmp_path, complaint: Complaint) -> None:
    maker.planes()
    moved_out(maker.root / "labeled/masks/dead", tmp_path / "outside")
    moved_out(maker.root / "labeled/masks/alive/cell_00.png", tmp_path / "outside")
    text = complaint()
    assert text.startswith("1 link leads out of the data folder.")
    assert "labeled/masks/dead" in text


def test_nothing_is_opened_through_a_link_that_leads_out(good, tmp_path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("not for you")
    (good.root / "unlabeled/cell_u9.png").symlink_to(secret)
    report = str([error.as_error() for error in errors_of(scan(good.root))])
    assert "leads out" in report
    assert "picture" not in report


@pytest.mark.parametrize("name", ["labeled", "labeled/images", "labeled/masks", "unlabeled", "val"])
def test_links_to_folders_are_followed_where_that_is_asked_for(good, tmp_path, name: str) -> None:
    before = read_folder(good.root)
    moved_out(good.root / name, tmp_path / "outside")
    after = read_folder(good.root, follow_links=True)
    assert after.digests == before.digests and len(after.labeled) == 4
    assert check_folder(good.root).errors == ()


def all_moved_out(root: Path, outside: Path) -> int:
    """Replace every file by a link to a name without suffix, as a store of contents has them."""
    outside.mkdir()
    files = [path for path in root.rglob("*") if path.is_file()]
    for number, path in enumerate(files):
        shutil.move(path, outside / f"{number:032x}")
        path.symlink_to(outside / f"{number:032x}")
    return len(files)


def test_a_check_reads_through_links_and_says_what_others_need(good, tmp_path) -> None:
    count = all_moved_out(good.root, tmp_path / "outside")
    with pytest.raises(ImsegError, match=f"{count} links lead out") as refusal:
        read_folder(good.root)
    assert "--follow-links" in str(refusal.value)
    report = check_folder(good.root)
    told = [each for each in report.findings if "links lead out" in each.what]
    assert report.errors == () and report.links == count
    assert [each.severity for each in told] == ["warning"] and "--follow-links" in told[0].hint
    assert "--follow-links" in as_text(report, None).splitlines()[-1]
    report = check_folder(good.root, links_are="follow")
    told = [each for each in report.findings if "links lead out" in each.what]
    assert [each.severity for each in told] == ["note"]
    assert len(read_folder(good.root, follow_links=True).labeled) == 4


def test_links_to_what_is_no_picture_are_errors_where_links_are_followed(good, tmp_path) -> None:
    (tmp_path / "secret.txt").write_text("user:password")
    (good.root / "unlabeled/cell_u8.png").symlink_to(tmp_path / "secret.txt")
    (good.root / "unlabeled/cell_u9.png").symlink_to(tmp_path / "nothing.png")
    for links_are in ("read", "follow"):
        report = check_folder(good.root, links_are=links_are)
        text = str([each.as_error() for each in report.errors])
        assert "2 files cannot be read" in text and "password" not in text


def test_a_repaired_copy_holds_what_links_lead_to_only_if_that_is_asked_for(good, tmp_path) -> None:
    moved_out(good.root / "val/images", tmp_path / "outside")
    moved_out(good.root / "unlabeled/cell_u0.png", tmp_path / "outside")
    (good.root / "unlabeled/whole").symlink_to(tmp_path)
    fixed = repair_folder(good.root, tmp_path / "without")
    assert fixed.report.counts == {"labeled": 4, "unlabeled": 2, "val": 0, "test": 2}
    assert "unlabeled/cell_u0.png" in [each.file for each in fixed.repairs]
    fixed = repair_folder(good.root, tmp_path / "with", follow_links=True)
    assert fixed.report.counts == {"labeled": 4, "unlabeled": 3, "val": 2, "test": 2}
    assert not any(path.is_symlink() for path in (tmp_path / "with").rglob("*"))
    assert not (tmp_path / "with/unlabeled/whole").exists()
    all_moved_out(good.root / "labeled", tmp_path / "more")
    with pytest.raises(ImsegError, match="no labeled pair is left to copy") as refusal:
        repair_folder(good.root, tmp_path / "nothing")
    assert "--follow-links" in str(refusal.value) and not (tmp_path / "nothing").exists()


def test_links_inside_the_data_folder_are_fine(good) -> None:
    (good.root / "unlabeled/again.png").symlink_to(good.root / "unlabeled/cell_u0.png")
    moved_out(good.root / "val/images", good.root / "hidden")
    assert len(read_folder(good.root).unlabeled) == 4


def test_the_data_folder_may_itself_be_a_link(good, tmp_path) -> None:
    (tmp_path / "link").symlink_to(good.root)
    assert len(read_folder(tmp_path / "link").labeled) == 4


def test_links_in_a_circle_are_unreadable_files(good, complaint: Complaint) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (good.root / f"unlabeled/{one}.png").symlink_to(good.root / f"unlabeled/{other}.png")
    assert "2 files cannot be read" in complaint()


@pytest.mark.parametrize("odd", ["\x1b[31m", "\n", "\u202e", "\x7f", "\udcff"])
def test_names_with_control_characters_are_refused(good, complaint, odd: str) -> None:
    for kind in ("images", "masks"):
        place = good.root / "labeled" / kind
        (place / "cell_01.png").rename(place / f"cell{odd}.png")
    text = complaint()
    assert text.startswith("2 names have control characters.")
    assert "has no" not in text
    assert text.isprintable() or "\n" in text
    assert odd not in text.replace("\n", " ") if odd != "\n" else "\\n" in text
    assert repr(odd)[1:-1] in text
    text.encode()


def test_a_label_with_control_characters_is_refused(maker, complaint: Complaint) -> None:
    maker.planes(labels=("alive", "de\x07ad"))
    text = complaint()
    assert text.startswith("1 name has control characters.")
    assert "\\x07" in text
    assert "\x07" not in text


@pytest.mark.parametrize("name", ["Zellkern äöü.png", "细胞 07.png", "a.b.c (copy).png"])
def test_all_other_names_are_fine(good, name: str) -> None:
    for kind in ("images", "masks"):
        place = good.root / "labeled" / kind
        (place / "cell_01.png").rename(place / name)
    assert len(read_folder(good.root).labeled) == 4


def test_a_folder_that_may_not_be_written_is_read(good) -> None:
    def writable(root: Path, mode: int) -> None:
        for folder, _, files in os.walk(root):
            for file in files:
                (Path(folder) / file).chmod(mode & 0o666)
            Path(folder).chmod(mode)

    before = sorted(path for path in good.root.rglob("*"))
    writable(good.root, 0o555)
    try:
        assert len(read_folder(good.root).labeled) == 4
    finally:
        writable(good.root, 0o755)
    assert sorted(path for path in good.root.rglob("*")) == before


def test_a_pipe_among_the_pictures_is_named_and_not_waited_for(good) -> None:
    path = good.root / "unlabeled/cell_u0.png"
    path.unlink()
    os.mkfifo(path)
    (error,) = errors_of(scan(good.root))
    assert error.what == "1 file in unlabeled is not a picture that can be read."
    assert error.got == "unlabeled/cell_u0.png (a pipe or the like)."


@pytest.mark.parametrize("places", [("labeled/masks",), ("labeled/images", "val/masks"), ("",)])
def test_folders_of_links_alone_are_one_error(good, tmp_path, places) -> None:
    for number, place in enumerate(places):
        all_moved_out(good.root / place, tmp_path / f"outside{number}")
    (error,) = errors_of(scan(good.root))
    assert "lead out of the data folder" in error.what
